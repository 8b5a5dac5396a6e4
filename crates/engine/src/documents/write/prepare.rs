//! Parsing a batch once, before any closure runs.

use base::ClusterTime;
use document::update::Update;
use document::{Context, DocBuf, DocWriter, Raw, RawDoc};
use store::{Catalog, Collection, Namespace};

use super::super::access::Query;
use super::super::context::Evaluation;
use super::super::requests::{DeleteStatement, Modification, UpdateStatement, Write, WriteBatch};
use super::super::search::Searches;
use super::super::validator::Validator;
use super::Retry;
use crate::{Error, Headwater, Result};

/// A batch whose filters and updates have been parsed.
pub(crate) struct PreparedBatch {
    pub namespaces: Vec<Namespace>,
    pub statements: Vec<Prepared>,
    pub ordered: bool,
    pub bypass_validation: bool,
    pub retry: Retry,
    pub recalled: super::retry::Recalled,
    /// For `Timestamp(0, 0)`, which stands for the time of the write.
    pub now: ClusterTime,
    pub context: Context,
    pub searches: Searches,
}

pub(crate) struct Prepared {
    pub namespace: usize,
    pub id: i32,
    pub write: PreparedWrite,
}

pub(crate) enum PreparedWrite {
    Insert(DocBuf),
    Update(Box<PreparedUpdate>),
    Delete(Box<Targets>),
    /// Could not be parsed; fails when its turn comes.
    Refused(Error),
}

/// Which documents a statement is about.
pub(crate) struct Targets {
    pub query: Query,
    pub multi: bool,
}

pub(crate) struct PreparedUpdate {
    pub targets: Targets,
    pub update: Update,
    pub upsert: bool,
    pub context: Context,
}

impl Prepared {
    /// The filter of a statement that may concern many documents, and whether it upserts.
    pub fn multi(&self) -> Option<(&Query, bool)> {
        match &self.write {
            PreparedWrite::Update(update) if update.targets.multi => Some((&update.targets.query, update.upsert)),
            PreparedWrite::Delete(targets) if targets.multi => Some((&targets.query, false)),
            _ => None,
        }
    }

    /// The filter of a statement that concerns one document at most.
    pub fn single(&self) -> Option<&Query> {
        match &self.write {
            PreparedWrite::Update(update) if !update.targets.multi => Some(&update.targets.query),
            PreparedWrite::Delete(targets) if !targets.multi => Some(&targets.query),
            _ => None,
        }
    }

    /// What it adds to a commit, about.
    pub fn bytes(&self) -> usize {
        match &self.write {
            PreparedWrite::Insert(document) => document.len(),
            _ => 0,
        }
    }
}

impl Headwater {
    pub(crate) fn prepare(&self, batch: WriteBatch, retry: Retry) -> Result<PreparedBatch> {
        let catalog = self.store().catalog();
        let now = self.applied_time().tick(self.clock().now_ms());
        let evaluation = self.evaluation(batch.variables.as_ref());
        if batch.statements.iter().any(|statement| takes_time(&statement.write)) {
            // The time that an update stores is no event's.
            self.store().reserve_time(now);
        }
        let context = evaluation.context(None, None)?;
        for statement in &batch.statements {
            if let Write::Update(UpdateStatement { modification: Modification::Pipeline(stages), .. }) =
                &statement.write
            {
                check_stage_shapes(stages)?;
            }
        }
        let statements = batch
            .statements
            .into_iter()
            .map(|statement| {
                let collection = collection(&catalog, &batch.namespaces[statement.namespace]);
                let write = prepare_write(statement.write, &evaluation, collection, &context, now)
                    .unwrap_or_else(PreparedWrite::Refused);
                Prepared { namespace: statement.namespace, id: statement.id, write }
            })
            .collect();
        Ok(PreparedBatch {
            namespaces: batch.namespaces,
            statements,
            ordered: batch.ordered,
            bypass_validation: batch.bypass_validation,
            retry,
            recalled: Default::default(),
            now,
            context,
            searches: Searches::default(),
        })
    }
}

fn collection<'a>(catalog: &'a Catalog, namespace: &Namespace) -> Option<&'a Collection> {
    catalog.collection(namespace).map(|collection| &**collection)
}

fn prepare_write(
    write: Write,
    evaluation: &Evaluation<'_>,
    collection: Option<&Collection>,
    context: &Context,
    now: ClusterTime,
) -> Result<PreparedWrite> {
    Ok(match write {
        Write::Insert(document) => PreparedWrite::Insert(prepare_insert(document, context, now)?),
        Write::Update(update) => PreparedWrite::Update(Box::new(prepare_update(update, evaluation, collection)?)),
        Write::Delete(delete) => PreparedWrite::Delete(Box::new(prepare_delete(delete, evaluation, collection)?)),
    })
}

/// `_id` first (made if absent), `Timestamp(0, 0)` filled in, checked.
pub(crate) fn prepare_insert(document: DocBuf, context: &Context, now: ClusterTime) -> Result<DocBuf> {
    document::update::check_document(document.as_doc())?;
    if document.iter().filter(|(name, _)| *name == "_id").nth(1).is_some() {
        return Err(Error::new(2, "can't have multiple _id fields in one document"));
    }
    let document = document::update::ensure_id(&document, context);
    Ok(document::update::fill_timestamps(&document, now))
}

fn prepare_delete(
    delete: DeleteStatement,
    evaluation: &Evaluation<'_>,
    collection: Option<&Collection>,
) -> Result<Targets> {
    let context = evaluation.context(delete.collation.as_ref(), collection)?;
    let query = Query::parse(&delete.filter, None, delete.hint.as_ref(), &context)?;
    Ok(Targets { query, multi: delete.multi })
}

pub(crate) fn prepare_update(
    statement: UpdateStatement,
    evaluation: &Evaluation<'_>,
    collection: Option<&Collection>,
) -> Result<PreparedUpdate> {
    let mut context = evaluation.context(statement.collation.as_ref(), collection)?;
    let query = Query::parse(&statement.filter, statement.sort.as_ref(), statement.hint.as_ref(), &context)?;
    if let Some(constants) = &statement.constants {
        if !matches!(statement.modification, Modification::Pipeline(_)) {
            return Err(Error::new(51198, "Constant values may only be specified for pipeline updates"));
        }
        let mut variables = (*context.variables).clone();
        for (name, value) in constants.iter() {
            variables.set(name, value.to_value());
        }
        context.variables = variables.into();
    }
    let filters: Vec<RawDoc<'_>> = statement.array_filters.iter().map(DocBuf::as_doc).collect();
    let update = match &statement.modification {
        Modification::Document(doc) => {
            if statement.multi && !is_operators(doc.as_doc()) {
                return Err(Error::new(9, "multi update is not supported for replacement-style update"));
            }
            Update::parse(Raw::Document(doc.as_doc()), &filters, &context)?
        }
        Modification::Pipeline(stages) => {
            let mut array = DocWriter::new();
            for (i, stage) in stages.iter().enumerate() {
                array.doc(&i.to_string(), stage.as_doc());
            }
            Update::parse(Raw::Array(array.finish().as_doc()), &filters, &context)?
        }
    };
    Ok(PreparedUpdate { targets: Targets { query, multi: statement.multi }, update, upsert: statement.upsert, context })
}

/// Whether an update stores the current cluster time.
fn takes_time(write: &Write) -> bool {
    match write {
        Write::Update(UpdateStatement { modification: Modification::Document(doc), .. }) => {
            doc.get("$currentDate").is_some()
        }
        _ => false,
    }
}

/// What is wrong with a pipeline as such is the command's error, not the statement's.
fn check_stage_shapes(stages: &[DocBuf]) -> Result<()> {
    for stage in stages {
        let mut fields = stage.iter();
        let (Some((name, argument)), None) = (fields.next(), fields.next()) else {
            return Err(Error::new(40323, "A pipeline stage specification object must contain exactly one field."));
        };
        match (name, argument) {
            ("$facet", Raw::Document(facets)) if !facets.is_empty() => {}
            ("$facet", _) => {
                return Err(Error::new(40169, "the $facet specification must be a non-empty object"));
            }
            _ => {
                let parsed = document::pipeline::Pipeline::parse(&[stage.as_doc()], &Context::default());
                if let Err(error) = parsed
                    && error.code == 40324
                {
                    return Err(error.into());
                }
            }
        }
    }
    Ok(())
}

fn is_operators(doc: RawDoc<'_>) -> bool {
    doc.iter().next().is_some_and(|(name, _)| name.starts_with('$'))
}

/// The rule that documents of a collection must obey, if it has one.
pub(crate) fn validator(collection: &Collection, context: &Context) -> Result<Option<Validator>> {
    Validator::of(collection, context)
}
