//! Aggregation: a pipeline over a collection, a view, or documents of its first stage.
//!
//! ```text
//!   origin ─ views resolved ─ parse ─ input: access path from the leading $match and $sort
//!                                │      └ or a source stage ($collStats, …)
//!                                └ stages ─ cursor, or $out / $merge
//! ```
//!
//! A pipeline borrows what it reads, a cursor must own it. A pipeline of one-by-one stages is
//! applied row by row; any other is run at once as long as its result is small, and behind a thread
//! of its own if it is not.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use document::pipeline::{DocStream, Environment, Pipeline, Stage};
use document::{Context, Doc, DocBuf, Raw, RawDoc};
use store::{Catalog, Collection, Namespace, Reader, Snapshot};

use super::access::Query;
use super::requests::{Aggregate, Caller, Hint, Origin};
use super::{output, sources, views, watch};
use crate::cursor::{Cursor, Deadline, DocumentCursor, Opened, Rows};
use crate::{Error, Headwater, Result, blocking};

/// A result up to this size is made at once; a larger one is made while it is fetched.
const EAGER_BYTES: usize = 32 * 1024 * 1024;
/// Documents between a pipeline's thread and its cursor.
const CHANNEL_DOCUMENTS: usize = 64;

impl Headwater {
    /// Runs a pipeline. `$out` and `$merge` have written when this returns; a pipeline that begins
    /// with `$changeStream` gives a cursor that awaits.
    pub async fn aggregate(&self, caller: &Caller, aggregate: Aggregate) -> Result<Opened> {
        let in_transaction = caller.session.is_some_and(|call| call.in_transaction);
        if watch::is_change_stream(&aggregate.pipeline) {
            if in_transaction {
                return Err(Error::new(263, "$changeStream cannot be used in a transaction"));
            }
            return Ok(Opened { cursor: self.watch(aggregate)?, time: None });
        }
        let snapshot = self.view(caller)?;
        let prepared = self.prepare_pipeline(&snapshot, &aggregate)?;
        if prepared.pipeline.output().is_none() {
            let cursor = blocking(|| self.open_pipeline(caller, snapshot, prepared))?;
            return Ok(Opened { cursor, time: None });
        }
        if in_transaction {
            let name = prepared.pipeline.stages().last().map_or("$out", Stage::name).to_owned();
            return Err(Error::new(263, format!("{name} cannot be used in a transaction")));
        }
        let time = output::write(self, caller, snapshot, prepared, aggregate.bypass_validation).await?;
        Ok(Opened { cursor: Cursor::of(Vec::new()), time })
    }

    /// A cursor over a pipeline that only reads.
    pub(super) fn pipeline_cursor(&self, caller: &Caller, snapshot: Snapshot, aggregate: Aggregate) -> Result<Cursor> {
        let prepared = self.prepare_pipeline(&snapshot, &aggregate)?;
        blocking(|| self.open_pipeline(caller, snapshot, prepared))
    }

    pub(super) fn prepare_pipeline(&self, snapshot: &Snapshot, aggregate: &Aggregate) -> Result<Prepared> {
        let catalog = snapshot.catalog();
        let mut stages = Vec::new();
        let mut collation = aggregate.collation.clone();
        let namespace = match &aggregate.origin {
            Origin::Database(db) => Namespace::new(db.as_str(), "$cmd.aggregate"),
            Origin::Collection(namespace) => {
                let resolved = views::resolve(catalog, namespace)?;
                if resolved.is_view {
                    refuse_on_view(&aggregate.pipeline, namespace)?;
                    if let Some(view) = catalog.collection(namespace) {
                        views::check_collation(view, collation.as_ref())?;
                    }
                    // A view without a collation compares simply, whatever its collection does.
                    let simple = || Doc::new().with("locale", "simple").to_buf();
                    collation = Some(resolved.collation.unwrap_or_else(simple));
                }
                stages.extend(resolved.pipeline);
                resolved.namespace
            }
        };
        stages.extend(aggregate.pipeline.iter().cloned());
        let collection = catalog.collection(&namespace).cloned();
        let context =
            self.evaluation(aggregate.variables.as_ref()).context(collation.as_ref(), collection.as_deref())?;
        if stages.iter().any(|stage| stage.as_doc().contains("$changeStreamSplitLargeEvent")) {
            let message = "$changeStreamSplitLargeEvent can only be used in a $changeStream pipeline";
            return Err(Error::new(20, message));
        }
        let raw: Vec<RawDoc<'_>> = stages.iter().map(DocBuf::as_doc).collect();
        let pipeline = Pipeline::parse(&raw, &context)?;
        check_origin(&aggregate.origin, &pipeline)?;
        Ok(Prepared {
            filter: leading_filter(&stages),
            namespace,
            collection,
            pipeline: Arc::new(pipeline),
            context,
            hint: aggregate.hint.clone(),
        })
    }

    fn open_pipeline(&self, caller: &Caller, snapshot: Snapshot, prepared: Prepared) -> Result<Cursor> {
        let deadline = Deadline::at(caller.deadline);
        let rows = if prepared.pipeline.stages().iter().all(Stage::is_single) {
            let input = self.input(&snapshot, &prepared, &deadline)?;
            let pipeline = Arc::clone(&prepared.pipeline);
            let rows: Rows = Box::new(input.filter_map(move |document| {
                let result = document.and_then(|document| Ok(pipeline.apply_one(document)?));
                result.transpose()
            }));
            rows
        } else {
            self.gathered(snapshot, prepared, &deadline)?
        };
        Ok(Cursor::Documents(DocumentCursor::new(rows, None).until(deadline)))
    }

    /// The result of a pipeline that must be run as a whole.
    fn gathered(&self, snapshot: Snapshot, prepared: Prepared, deadline: &Deadline) -> Result<Rows> {
        let mut documents = Vec::new();
        let mut bytes = 0;
        let environment = Surroundings { db: self, snapshot: &snapshot, home: &prepared.namespace.db };
        let input = self.input(&snapshot, &prepared, deadline)?;
        let mut output = prepared.pipeline.run(to_stream(input), &environment);
        for document in output.by_ref() {
            let last = document.is_err();
            bytes += document.as_ref().map_or(0, DocBuf::len);
            documents.push(document.map_err(Error::from));
            if last || bytes > EAGER_BYTES {
                break;
            }
        }
        let unfinished = bytes > EAGER_BYTES;
        drop(output);
        // An error belongs to the batch that would have held its document; the first batch gets it at once.
        if let Some(Err(error)) = documents.first() {
            return Err(error.clone());
        }
        if !unfinished {
            return Ok(Box::new(documents.into_iter()));
        }
        let delivered = documents.len();
        let rest = self.behind_thread(snapshot, prepared, deadline, delivered)?;
        Ok(Box::new(documents.into_iter().chain(rest)))
    }

    /// Runs the pipeline again on a thread of its own, past what has been delivered. The snapshot
    /// is the same, so the documents are; only a random choice (`$sample`) may differ.
    fn behind_thread(
        &self,
        snapshot: Snapshot,
        prepared: Prepared,
        deadline: &Deadline,
        delivered: usize,
    ) -> Result<impl Iterator<Item = Result<DocBuf>> + Send + 'static> {
        let (sender, receiver) = sync_channel(CHANNEL_DOCUMENTS);
        let (db, deadline) = (self.clone(), deadline.clone());
        let run = move || {
            let environment = Surroundings { db: &db, snapshot: &snapshot, home: &prepared.namespace.db };
            let input = match db.input(&snapshot, &prepared, &deadline) {
                Ok(input) => input,
                Err(error) => return drop(sender.send(Err(error))),
            };
            for document in prepared.pipeline.run(to_stream(input), &environment).skip(delivered) {
                // Nobody listens any more: the cursor was closed.
                if sender.send(document.map_err(Error::from)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("pipeline".to_owned())
            .spawn(run)
            .map_err(|error| Error::unavailable(format!("no thread for a large aggregation: {error}")))?;
        Ok(Remaining(receiver))
    }

    /// The documents that the pipeline begins with.
    pub(super) fn input(&self, snapshot: &Snapshot, prepared: &Prepared, deadline: &Deadline) -> Result<Rows> {
        match prepared.pipeline.stages().first() {
            Some(Stage::Documents(expression)) => documents_of(expression),
            Some(Stage::Source { name, spec }) => sources::rows(self, snapshot, prepared, name, spec),
            _ => match &prepared.collection {
                None => Ok(Box::new(std::iter::empty())),
                Some(collection) => scan(snapshot.clone(), collection, prepared, deadline),
            },
        }
    }
}

struct Remaining(Receiver<Result<DocBuf>>);

impl Iterator for Remaining {
    type Item = Result<DocBuf>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.recv().ok()
    }
}

/// A pipeline that has been parsed, and what it reads.
pub(super) struct Prepared {
    pub namespace: Namespace,
    pub collection: Option<Arc<Collection>>,
    pub pipeline: Arc<Pipeline>,
    pub context: Context,
    /// The leading `$match`, as it was written.
    filter: DocBuf,
    hint: Option<Hint>,
}

impl Prepared {
    /// The same, for another owner.
    pub fn share(&self) -> Prepared {
        Prepared {
            namespace: self.namespace.clone(),
            collection: self.collection.clone(),
            pipeline: Arc::clone(&self.pipeline),
            context: self.context.clone(),
            filter: self.filter.clone(),
            hint: self.hint.clone(),
        }
    }
}

fn refuse_on_view(pipeline: &[DocBuf], namespace: &Namespace) -> Result<()> {
    let first = pipeline.first().and_then(|stage| stage.iter().next().map(|(name, _)| name.to_owned()));
    match first.as_deref() {
        Some(name @ ("$collStats" | "$indexStats" | "$planCacheStats")) => {
            Err(Error::new(166, format!("Namespace {namespace} is a view, not a collection: {name}")))
        }
        _ => Ok(()),
    }
}

/// `{aggregate: 1}` needs a first stage that makes documents; others must not have one that
/// belongs to a database.
fn check_origin(origin: &Origin, pipeline: &Pipeline) -> Result<()> {
    let first = pipeline.stages().first();
    let database_wide = match first {
        Some(Stage::Documents(_)) => true,
        Some(Stage::Source { name, .. }) => {
            matches!(name.as_str(), "$currentOp" | "$listLocalSessions" | "$listSessions" | "$changeStream")
        }
        _ => false,
    };
    match origin {
        Origin::Database(db) if db != "admin" && first.is_some_and(|stage| stage.name() == "$currentOp") => {
            Err(Error::new(73, "$currentOp must be run against the 'admin' database with {aggregate: 1}"))
        }
        Origin::Database(_) if !database_wide => {
            let name = first.map_or("", Stage::name);
            let message = match first {
                None => "{aggregate: 1} is not valid for an empty pipeline.".to_owned(),
                Some(_) => format!("{{aggregate: 1}} is not valid for '{name}'; a collection is required."),
            };
            Err(Error::new(73, message))
        }
        Origin::Collection(_) if database_wide => {
            let name = first.map_or("", Stage::name);
            Err(Error::new(
                73,
                format!("{name} must be run against the database with {{aggregate: 1}}, not a collection"),
            ))
        }
        _ => Ok(()),
    }
}

/// The query of the leading `$match` stages, for the planner.
fn leading_filter(stages: &[DocBuf]) -> DocBuf {
    match stages.first().and_then(|stage| stage.get("$match")) {
        Some(Raw::Document(filter)) => stages[0].share(filter),
        _ => DocBuf::default(),
    }
}

/// Wraps rows for the pipeline, whose errors are plain.
pub(super) fn to_stream<'a>(rows: Rows) -> DocStream<'a> {
    Box::new(rows.map(|row| row.map_err(|error| document::Error::new(error.code(), error.message()))))
}

fn documents_of(expression: &document::expression::Expression) -> Result<Rows> {
    let value = expression.evaluate(RawDoc::EMPTY)?;
    let Some(document::Value::Array(items)) = value else {
        return Err(Error::new(5_858_203, "an array is expected for the $documents stage"));
    };
    let documents: Result<Vec<DocBuf>> = items
        .into_iter()
        .map(|item| match item {
            document::Value::Document(doc) => Ok(doc.to_buf()),
            other => Err(Error::new(40228, format!("$documents expects objects, but found {}", other.type_name()))),
        })
        .collect();
    Ok(Box::new(documents?.into_iter().map(Ok)))
}

/// Reads a collection for a pipeline: by index if the leading `$match` or `$sort` can use one. The
/// stages still run; rows that cannot match are left out early.
fn scan(snapshot: Snapshot, collection: &Collection, prepared: &Prepared, deadline: &Deadline) -> Result<Rows> {
    let query = Query::parse(&prepared.filter, None, prepared.hint.as_ref(), &prepared.context)?;
    if let Some(id) = query.wanted_id() {
        let found = snapshot.get(collection.id, id)?;
        return Ok(Box::new(found.into_iter().map(|stored| Ok(stored.document))));
    }
    let plan = query.plan(collection)?;
    let deadline = deadline.clone();
    let mut read = 0;
    Ok(Box::new(plan.execute_owned(snapshot).map(move |stored| {
        read += 1;
        deadline.check(read)?;
        Ok(stored?.document)
    })))
}

/// What a pipeline may read besides its input.
pub(super) struct Surroundings<'a> {
    pub db: &'a Headwater,
    pub snapshot: &'a Snapshot,
    /// The pipeline's own database.
    pub home: &'a str,
}

/// A view inside a view inside a view …: `$lookup` may nest them as deep as names may.
const MAX_NESTED_VIEWS: usize = 20;

impl Environment for Surroundings<'_> {
    fn collection(&self, db: Option<&str>, name: &str, filter: Option<&Doc>) -> document::Result<DocStream<'_>> {
        let namespace = Namespace::new(db.unwrap_or(self.home), name);
        self.read(&namespace, filter).map_err(|error| document::Error::new(error.code(), error.message()))
    }
}

impl Surroundings<'_> {
    fn read(&self, namespace: &Namespace, filter: Option<&Doc>) -> Result<DocStream<'_>> {
        let catalog: &Catalog = self.snapshot.catalog();
        let Some(collection) = catalog.collection(namespace).cloned() else { return Ok(Box::new(std::iter::empty())) };
        let filter = filter.map(Doc::to_buf).unwrap_or_default();
        if collection.is_view() {
            return self.read_view(namespace);
        }
        let context = self.db.evaluation(None).context(None, Some(&collection))?;
        let query = Query::parse(&filter, None, None, &context)?;
        if let Some(id) = query.wanted_id() {
            let found = self.snapshot.get(collection.id, id)?;
            return Ok(Box::new(found.into_iter().map(|stored| Ok(stored.document))));
        }
        let rows = query.plan(&collection)?.execute_owned(self.snapshot.clone());
        Ok(to_stream(Box::new(rows.map(|stored| Ok(stored?.document)))))
    }

    fn read_view(&self, namespace: &Namespace) -> Result<DocStream<'_>> {
        thread_local! {
            static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
        }
        let depth = DEPTH.get();
        if depth >= MAX_NESTED_VIEWS {
            return Err(Error::new(160, format!("views nest too deeply at {namespace}")));
        }
        DEPTH.set(depth + 1);
        let aggregate = Aggregate::new(Origin::Collection(namespace.clone()), Vec::new());
        let rows =
            self.db.pipeline_cursor(&Caller::default(), self.snapshot.clone(), aggregate).and_then(Cursor::into_rows);
        DEPTH.set(depth);
        Ok(to_stream(rows?))
    }
}
