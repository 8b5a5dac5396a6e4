//! findAndModify: one document changed and returned, in one step.

use std::sync::Arc;

use document::projection::{Mode as ProjectionMode, Projection};
use document::{Doc, DocBuf};
use store::WriteTxn;

use super::access::Found;
use super::requests::{Caller, DeleteStatement, FindAndModify, Modified, UpdateStatement, WriteBatch};
use super::retry;
use super::search::{Search, Searches};
use super::write::{PreparedBatch, PreparedUpdate, Target, apply_update, target_of};
use crate::sessions::{Mode, RetryKey};
use crate::{Headwater, Namespace, Result, blocking};

/// A findAndModify that has been parsed.
struct Prepared {
    namespace: Namespace,
    action: Action,
    projection: Option<Projection>,
    return_new: bool,
    statement: i32,
    retry: Option<RetryKey>,
    /// Holds what inserts need: validation, context, time.
    batch: PreparedBatch,
}

enum Action {
    Update(Box<PreparedUpdate>),
    Remove(Box<super::access::Query>),
}

impl Headwater {
    /// Updates, replaces or removes one document, and returns it as it was or as it became.
    pub async fn find_and_modify(&self, caller: &Caller, operation: FindAndModify) -> Result<Modified> {
        match self.mode(caller)? {
            Mode::Transaction(open) => {
                let result = self
                    .prepare_modify(operation, None)
                    .and_then(|mut prepared| {
                        prepared.batch.searches = Searches::unbounded();
                        blocking(|| open.statement(|txn| Ok(run(txn, &prepared))))?
                    })
                    .map(|modified| modified.expect("nothing bounds a transaction's searches"));
                if result.is_err() {
                    open.abort();
                }
                result
            }
            Mode::Plain => self.commit_modify(caller, self.prepare_modify(operation, None)?).await,
            Mode::Retryable(key) => self.commit_modify(caller, self.prepare_modify(operation, Some(key))?).await,
        }
    }

    async fn commit_modify(&self, caller: &Caller, prepared: Prepared) -> Result<Modified> {
        let prepared = Arc::new(prepared);
        loop {
            caller.check_deadline()?;
            let committed = self.commit_once(caller, &prepared).await?;
            if let Some(mut modified) = committed.value? {
                modified.time = (!modified.retried).then_some(committed.time);
                return Ok(modified);
            }
            let query = match &prepared.action {
                Action::Update(update) => &update.targets.query,
                Action::Remove(query) => query,
            };
            self.search(caller, &prepared.batch.searches, 0, query, &prepared.namespace)?;
        }
    }

    async fn commit_once(
        &self,
        caller: &Caller,
        prepared: &Arc<Prepared>,
    ) -> Result<store::Committed<Result<Option<Modified>>>> {
        self.commit(caller, || {
            let prepared = Arc::clone(prepared);
            // A refusal travels as a value: its details do not fit the store's error.
            move |txn: &mut WriteTxn| match run_retryable(txn, &prepared) {
                Err(error) if error.code() == 112 => Err(store::Error::WriteConflict(error.message().to_owned())),
                result => Ok(result),
            }
        })
        .await
    }

    fn prepare_modify(&self, operation: FindAndModify, retry: Option<RetryKey>) -> Result<Prepared> {
        let catalog = self.store().catalog();
        let collection = catalog.collection(&operation.namespace).map(|collection| &**collection);
        let batch = WriteBatch {
            bypass_validation: operation.bypass_validation,
            variables: operation.variables.clone(),
            ..WriteBatch::on(operation.namespace.clone(), [])
        };
        let batch = self.prepare(batch, retry)?;
        let evaluation = self.evaluation(operation.variables.as_ref());
        let projection = match &operation.projection {
            Some(spec) if !spec.is_empty() => {
                let context = evaluation.context(operation.collation.as_ref(), collection)?;
                Some(Projection::parse(spec.as_doc(), &context, ProjectionMode::Find)?)
            }
            _ => None,
        };
        let action = match operation.modification {
            Some(modification) => {
                let statement = UpdateStatement {
                    upsert: operation.upsert,
                    array_filters: operation.array_filters,
                    collation: operation.collation,
                    hint: operation.hint,
                    sort: operation.sort,
                    ..UpdateStatement::new(operation.filter, modification)
                };
                Action::Update(Box::new(super::write::prepare_update(statement, &evaluation, collection)?))
            }
            None => {
                let delete = DeleteStatement {
                    filter: operation.filter,
                    multi: false,
                    collation: operation.collation,
                    hint: operation.hint,
                };
                let context = evaluation.context(delete.collation.as_ref(), collection)?;
                let query = super::access::Query::parse(
                    &delete.filter,
                    operation.sort.as_ref(),
                    delete.hint.as_ref(),
                    &context,
                )?;
                Action::Remove(Box::new(query))
            }
        };
        Ok(Prepared {
            namespace: operation.namespace,
            action,
            projection,
            return_new: operation.return_new,
            statement: operation.statement_id,
            retry,
            batch,
        })
    }
}

/// `None`: the document has to be searched outside of the committer first.
fn run_retryable(txn: &mut WriteTxn, prepared: &Prepared) -> Result<Option<Modified>> {
    let Some(key) = &prepared.retry else { return run(txn, prepared) };
    let recalled = retry::Recalled::default();
    let mut attempt = retry::enter(txn, key, &recalled)?;
    if let Some(modified) = attempt.recall_modified(prepared.statement)? {
        return Ok(Some(modified));
    }
    let Some(modified) = run(txn, prepared)? else { return Ok(None) };
    attempt.remember_modified(prepared.statement, &modified);
    attempt.finish(txn);
    Ok(Some(modified))
}

fn run(txn: &mut WriteTxn, prepared: &Prepared) -> Result<Option<Modified>> {
    let target = target_of(txn, &prepared.namespace)?;
    let (query, upsert) = match &prepared.action {
        Action::Remove(query) => (&**query, false),
        Action::Update(update) => (&update.targets.query, update.upsert),
    };
    let search = match &target {
        Some(target) => prepared.batch.searches.find(txn, 0, query, &target.collection, upsert)?,
        None => Search::Nothing,
    };
    let found = match search {
        Search::Found(found) => Some(*found),
        Search::Nothing => None,
        Search::Unfinished => return Ok(None),
    };
    let modified = match (&prepared.action, target, found) {
        (Action::Remove(_), target, found) => remove(txn, target.as_ref(), found, prepared),
        (Action::Update(update), Some(target), Some(found)) => change(txn, &target, update, found, prepared),
        (Action::Update(update), ..) if update.upsert => insert(txn, update, prepared),
        (Action::Update(_), ..) => Ok(nothing(true)),
    };
    modified.map(Some)
}

fn nothing(update: bool) -> Modified {
    let mut last_error = Doc::new().with("n", 0);
    if update {
        last_error.push("updatedExisting", false);
    }
    Modified { last_error_object: last_error, ..Modified::default() }
}

fn remove(txn: &mut WriteTxn, target: Option<&Target>, found: Option<Found>, prepared: &Prepared) -> Result<Modified> {
    let (Some(target), Some(found)) = (target, found) else { return Ok(nothing(false)) };
    super::write::refuse_capped(&target.collection)?;
    let value = project(prepared, &found.stored.document, found.details.array_index)?;
    txn.delete(target.collection.id, found.stored.record, &found.stored.document)?;
    Ok(Modified { last_error_object: Doc::new().with("n", 1), value: Some(value), ..Modified::default() })
}

fn change(
    txn: &mut WriteTxn,
    target: &Target,
    update: &PreparedUpdate,
    found: Found,
    prepared: &Prepared,
) -> Result<Modified> {
    let after = apply_update(txn, target, update, &found, prepared.batch.bypass_validation)?;
    let shown = match &after {
        Some(after) if prepared.return_new => after,
        _ => &found.stored.document,
    };
    let value = project(prepared, shown, found.details.array_index)?;
    let last_error_object = Doc::new().with("n", 1).with("updatedExisting", true);
    Ok(Modified { last_error_object, value: Some(value), ..Modified::default() })
}

fn insert(txn: &mut WriteTxn, update: &PreparedUpdate, prepared: &Prepared) -> Result<Modified> {
    let document = super::write::insert_upsert(txn, &prepared.namespace, update, &prepared.batch)?;
    let mut last_error = Doc::new().with("n", 1).with("updatedExisting", false);
    if let Some(id) = document.get("_id") {
        last_error.push("upserted", id.to_value());
    }
    let value = match prepared.return_new {
        true => Some(project(prepared, &document, None)?),
        false => None,
    };
    Ok(Modified { last_error_object: last_error, value, ..Modified::default() })
}

fn project(prepared: &Prepared, document: &DocBuf, array_index: Option<usize>) -> Result<DocBuf> {
    match &prepared.projection {
        Some(projection) => Ok(projection.apply(document.as_doc(), array_index)?),
        None => Ok(document.clone()),
    }
}
