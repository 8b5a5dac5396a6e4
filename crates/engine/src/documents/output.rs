//! `$out` and `$merge`: a pipeline's result written to a collection.
//!
//! `$out` fills a temporary collection and renames it onto its target, so that readers see the old
//! content or the new one. `$merge` updates its target document by document.

use std::sync::Arc;

use crate::cursor::Deadline;
use base::{ClusterTime, Uuid};
use document::pipeline::{Merge, Output, WhenMatched, WhenNotMatched};
use document::{Doc, DocBuf, Raw, Value};
use store::{Namespace, Reader, Snapshot, WriteTxn};

use super::access::Query;
use super::aggregate::{Prepared, Surroundings, to_stream};
use super::requests::{Caller, Modification, UpdateStatement, Write, WriteBatch};
use super::write::{PreparedBatch, apply_update, insert_new, insertable, prepare_insert, prepare_update, target_of};
use crate::{Error, Headwater, Result, blocking};

/// Documents written by one commit.
const DOCUMENTS_PER_COMMIT: usize = 500;
const BYTES_PER_COMMIT: usize = 8 * 1024 * 1024;

/// Writes the result of a pipeline that ends in `$out` or `$merge`.
pub async fn write(
    db: &Headwater,
    caller: &Caller,
    snapshot: Snapshot,
    prepared: Prepared,
    bypass_validation: bool,
) -> Result<Option<ClusterTime>> {
    let Some(output) = prepared.pipeline.output() else { return Ok(None) };
    let target = output.target();
    let target = Namespace::new(target.db.as_deref().unwrap_or(&prepared.namespace.db), target.collection.as_str());
    check_target(&snapshot, &target, output)?;
    // The whole result is computed before the first write: a pipeline may read what it writes to.
    let documents = blocking(|| result(db, &snapshot, &prepared, caller))?;
    drop(snapshot);
    match output {
        Output::Out(_) => out(db, caller, target, documents, bypass_validation).await,
        Output::Merge(_) => merge(db, caller, &prepared, target, documents, bypass_validation).await,
    }
}

fn check_target(snapshot: &Snapshot, target: &Namespace, output: &Output) -> Result<()> {
    let name = match output {
        Output::Out(_) => "$out",
        Output::Merge(_) => "$merge",
    };
    if let Some(collection) = snapshot.catalog().collection(target) {
        if collection.is_view() {
            return Err(Error::new(166, format!("Namespace {target} is a view, not a collection")));
        }
        if matches!(output, Output::Out(_)) && collection.capped.is_some() {
            return Err(Error::new(17152, format!("namespace '{target}' is capped so it can't be used for $out")));
        }
        if let Output::Merge(merge) = output {
            check_unique(collection, merge)?;
        }
    } else if let Output::Merge(merge) = output
        && merge.on != ["_id"]
    {
        return Err(no_unique_index());
    }
    if matches!(&*target.db, "admin" | "config" | "local") {
        return Err(Error::new(31319, format!("Cannot {name} to internal database: {}", target.db)));
    }
    if target.collection.starts_with("system.") {
        return Err(Error::new(31321, format!("Cannot {name} to special collection: {}", target.collection)));
    }
    Ok(())
}

fn no_unique_index() -> Error {
    Error::new(51183, "Cannot find index to verify that join fields will be unique")
}

fn check_unique(collection: &store::Collection, merge: &Merge) -> Result<()> {
    let covers = collection.indexes.iter().any(|index| {
        index.unique
            && index.partial.is_none()
            && index.parts.len() == merge.on.len()
            && index.parts.iter().all(|part| merge.on.iter().any(|field| *field == *part.path))
    });
    if covers { Ok(()) } else { Err(no_unique_index()) }
}

fn result(db: &Headwater, snapshot: &Snapshot, prepared: &Prepared, caller: &Caller) -> Result<Vec<DocBuf>> {
    let environment = Surroundings { db, snapshot, home: &prepared.namespace.db };
    let input = db.input(snapshot, prepared, &Deadline::at(caller.deadline))?;
    let documents = prepared.pipeline.run(to_stream(input), &environment);
    documents
        .map(|document| document.map_err(|error| Error::from(error).context("PlanExecutor error during aggregation")))
        .collect()
}

/// Splits into pieces of one commit.
fn pieces(documents: Vec<DocBuf>) -> Vec<Vec<DocBuf>> {
    let mut pieces: Vec<Vec<DocBuf>> = Vec::new();
    let mut bytes = 0;
    for document in documents {
        let full = pieces.last().is_none_or(|piece| piece.len() >= DOCUMENTS_PER_COMMIT) || bytes > BYTES_PER_COMMIT;
        if full {
            pieces.push(Vec::new());
            bytes = 0;
        }
        bytes += document.len();
        if let Some(piece) = pieces.last_mut() {
            piece.push(document);
        }
    }
    pieces
}

async fn out(
    db: &Headwater,
    caller: &Caller,
    target: Namespace,
    documents: Vec<DocBuf>,
    bypass_validation: bool,
) -> Result<Option<ClusterTime>> {
    let temporary = Namespace::new(target.db.clone(), format!("tmp.agg_out.{}", Uuid::random()));
    let done = fill_and_rename(db, caller, &temporary, target, documents, bypass_validation).await;
    if done.is_err() {
        // Best effort: the failure that matters is the one reported.
        let _ = db.drop_collection(temporary).await;
    }
    done.map_err(|error| error.context("PlanExecutor error during aggregation"))
}

async fn fill_and_rename(
    db: &Headwater,
    caller: &Caller,
    temporary: &Namespace,
    target: Namespace,
    documents: Vec<DocBuf>,
    bypass_validation: bool,
) -> Result<Option<ClusterTime>> {
    let created = {
        let (temporary, target) = (temporary.clone(), target.clone());
        move |txn: &mut WriteTxn| {
            let old = txn.collection(&target);
            super::collections::check_new_namespace(super::collections::txn_catalog(txn), &target)?;
            let options = old.as_ref().map(|old| old.options.clone()).unwrap_or_default();
            let collection = txn.create_collection(&temporary, options)?;
            let specs: Vec<DocBuf> =
                old.iter().flat_map(|old| old.indexes.iter().skip(1)).map(|index| index.spec.clone()).collect();
            if !specs.is_empty() {
                txn.create_indexes(collection.id, &specs)?;
            }
            Ok(())
        }
    };
    db.commit(caller, || created.clone()).await?;
    for piece in pieces(documents) {
        let batch =
            WriteBatch { bypass_validation, ..WriteBatch::on(temporary.clone(), piece.into_iter().map(Write::Insert)) };
        let report = db.write(&Caller { deadline: caller.deadline, ..Caller::default() }, batch).await?;
        if let Some((_, error)) = report.errors().next() {
            return Err(error.clone());
        }
    }
    let temporary = temporary.clone();
    let renamed = move |txn: &mut WriteTxn| txn.rename_collection(&temporary, &target, true);
    Ok(Some(db.commit(caller, || renamed.clone()).await?.time))
}

/// Everything a merge needs inside a commit.
struct MergeJob {
    prepared: Prepared,
    target: Namespace,
    batch: PreparedBatch,
}

async fn merge(
    db: &Headwater,
    caller: &Caller,
    prepared: &Prepared,
    target: Namespace,
    documents: Vec<DocBuf>,
    bypass_validation: bool,
) -> Result<Option<ClusterTime>> {
    let batch = WriteBatch { bypass_validation, ..WriteBatch::on(target.clone(), []) };
    let job = Arc::new(MergeJob { prepared: prepared.share(), target, batch: db.prepare(batch, None)? });
    let mut time = None;
    for piece in pieces(documents) {
        let piece = Arc::new(piece);
        let committed = db
            .commit(caller, || {
                let (job, piece, db) = (Arc::clone(&job), Arc::clone(&piece), db.clone());
                move |txn: &mut WriteTxn| {
                    for document in &*piece {
                        match merge_one(&db, txn, &job, document) {
                            Ok(()) => {}
                            Err(error) if error.code() == 112 => {
                                return Err(store::Error::WriteConflict(error.message().to_owned()));
                            }
                            Err(error) => return Ok(Err(error)),
                        }
                    }
                    Ok(Ok(()))
                }
            })
            .await?;
        committed.value.map_err(|error: Error| error.context("PlanExecutor error during aggregation"))?;
        time = Some(committed.time);
    }
    Ok(time)
}

fn merge_one(db: &Headwater, txn: &mut WriteTxn, job: &MergeJob, document: &DocBuf) -> Result<()> {
    let Some(Output::Merge(merge)) = job.prepared.pipeline.output() else { return Ok(()) };
    let document = prepare_insert(document.clone(), &job.batch.context, job.batch.now)?;
    let filter = key_filter(merge, &document)?;
    let existing = match target_of(txn, &job.target)? {
        Some(target) => {
            let query = Query::parse(&filter, None, None, &job.batch.context)?;
            query.first(txn, &target.collection)?.map(|found| (target, found))
        }
        None => None,
    };
    let Some((target, found)) = existing else {
        return match merge.when_not_matched {
            WhenNotMatched::Discard => Ok(()),
            WhenNotMatched::Fail => Err(Error::new(
                13113,
                "$merge could not find a matching document in the target collection for at least one document in the source collection",
            )),
            WhenNotMatched::Insert => {
                let target = insertable(txn, &job.target)?;
                insert_new(txn, &target, document, &job.batch)?;
                Ok(())
            }
        };
    };
    let modification = match &merge.when_matched {
        WhenMatched::KeepExisting => return Ok(()),
        WhenMatched::Fail => {
            // The duplicate key error of the insert is the answer.
            insert_new(txn, &target, document, &job.batch)?;
            return Ok(());
        }
        WhenMatched::Replace => Modification::Document(document),
        WhenMatched::Merge => Modification::Document(set_of(&document)),
        WhenMatched::Pipeline(_) => {
            let after = merge.apply_pipeline(found.stored.document.clone(), document.as_doc())?;
            let replace = Doc::new().with("$replaceWith", Doc::new().with("$literal", after)).to_buf();
            Modification::Pipeline(vec![replace])
        }
    };
    let statement = UpdateStatement::new(filter, modification);
    let evaluation = db.evaluation(None);
    let update = prepare_update(statement, &evaluation, None)?;
    apply_update(txn, &target, &update, &found, job.batch.bypass_validation)?;
    Ok(())
}

/// `{$set: document}`, without the `_id`, which cannot change.
fn set_of(document: &DocBuf) -> DocBuf {
    let fields: Doc = document
        .iter()
        .filter(|(name, _)| *name != "_id")
        .map(|(name, value)| (name.to_owned(), value.to_value()))
        .collect();
    if fields.is_empty() {
        return Doc::new().with("$setOnInsert", Doc::new()).to_buf();
    }
    Doc::new().with("$set", fields).to_buf()
}

/// The document's values of the `on` fields.
fn key_filter(merge: &Merge, document: &DocBuf) -> Result<DocBuf> {
    let mut filter = Doc::new();
    for field in &merge.on {
        let value = document::path::Path::new(field).get(document.as_doc());
        let value = match value {
            None | Some(Raw::Null | Raw::Undefined) => {
                return Err(Error::new(51132, "$merge write error: 'on' field cannot be missing, null or undefined"));
            }
            Some(Raw::Array(_)) => {
                return Err(Error::new(51185, format!("$merge write error: 'on' field '{field}' cannot be an array")));
            }
            Some(value) => value.to_value(),
        };
        filter.push(field.as_str(), Value::Document(Doc::new().with("$eq", value)));
    }
    Ok(filter.to_buf())
}
