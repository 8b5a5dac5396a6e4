//! Loading a mirror, chunk by chunk in the order of `_id`, while events flow.
//!
//! ```text
//! captured up to C ── read a chunk as of T >= C ── events up to T ── the chunk ── events after T
//!                     {_id > last}, snapshot read                    compared with what is here
//! ```
//! A chunk shows its range exactly as of T, and is put between the events up to T and those after
//! it; so there is nothing to merge. The last key of a chunk is stored with it, and a restart goes
//! on from there. A comparison is the same with documents already here: what differs is told.

use std::cmp::Ordering;

use base::ClusterTime;
use document::{Doc, DocBuf, Raw, Value, compare_raw};
use mongodb::bson::doc;
use store::{LogEntry, LogPosition, Namespace, Operation, Reader, Result, WriteTxn};

use crate::apply::{correct, put, take};
use crate::failure::Failure;
use crate::mirror::{self, MirrorRecord, MirrorState};
use crate::upstream::{Upstream, owned, reply_cursor, reply_documents, to_bson};

#[cfg(test)]
mod tests;

/// Documents in a chunk at most; the server also ends it at 16 MB.
const CHUNK_DOCUMENTS: i32 = 5_000;

/// A range of a collection as of one time.
#[derive(Debug)]
pub struct Chunk {
    pub namespace: Namespace,
    pub time: ClusterTime,
    /// `{_id}` after which the range begins.
    after: Option<DocBuf>,
    /// In the order of `_id`; none: the range reaches the end of the collection and is empty.
    documents: Vec<DocBuf>,
}

/// Reads the chunk after the record's last key, as of a time not before `captured`.
pub async fn read_chunk(
    upstream: &Upstream,
    namespace: &Namespace,
    record: &MirrorRecord,
    captured: ClusterTime,
) -> std::result::Result<Chunk, Failure> {
    let chunk = read_chunk_at(upstream, namespace, record, None).await?;
    if chunk.time >= captured {
        return Ok(chunk);
    }
    read_chunk_at(upstream, namespace, record, Some(captured)).await
}

async fn read_chunk_at(
    upstream: &Upstream,
    namespace: &Namespace,
    record: &MirrorRecord,
    at: Option<ClusterTime>,
) -> std::result::Result<Chunk, Failure> {
    let mut concern = doc! { "level": "snapshot" };
    if let Some(at) = at {
        let time = mongodb::bson::Timestamp { time: at.seconds(), increment: at.increment() };
        concern.insert("atClusterTime", time);
    }
    let command = doc! {
        "find": &*namespace.collection,
        "filter": to_bson(&after_filter(record.last.as_ref()).to_buf())?,
        "sort": { "_id": 1 },
        "limit": CHUNK_DOCUMENTS,
        "batchSize": CHUNK_DOCUMENTS,
        "singleBatch": true,
        "readConcern": concern,
        "comment": "headwater mirror",
    };
    let reply = upstream.run(&namespace.db, command, "reading a collection").await?;
    let Some(Raw::Timestamp(time)) = reply_cursor(reply.bytes())?.get("atClusterTime") else {
        return Err(Failure::reply("a snapshot read without its time"));
    };
    let documents = reply_documents(reply.bytes())?.map(owned).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Chunk { namespace: namespace.clone(), time: ClusterTime(time), after: record.last.clone(), documents })
}

/// Types in the order in which values of different types sort.
const TYPES: &[&[&str]] = &[
    &["minKey"],
    &["undefined", "null"],
    &["number"],
    &["string", "symbol"],
    &["object"],
    &["binData"],
    &["objectId"],
    &["bool"],
    &["date"],
    &["timestamp"],
    &["dbPointer"],
    &["javascript"],
    &["javascriptWithScope"],
    &["maxKey"],
];

/// Finds the documents after a key. `$gt` alone stays within one type.
fn after_filter(last: Option<&DocBuf>) -> Doc {
    let Some(id) = last.and_then(|last| last.get("_id")) else { return Doc::new() };
    let bound = match id {
        Raw::Double(number) if number.is_nan() => Doc::new().with("$gte", f64::NEG_INFINITY),
        other => Doc::new().with("$gt", other.to_value()),
    };
    let bracket = TYPES.iter().position(|bracket| bracket.contains(&type_bracket(id))).unwrap_or(0);
    let later: Vec<Value> =
        TYPES[bracket + 1..].iter().flat_map(|names| names.iter().map(|name| (*name).into())).collect();
    let mut branches: Vec<Value> = vec![Doc::new().with("_id", bound).into()];
    if !later.is_empty() {
        branches.push(Doc::new().with("_id", Doc::new().with("$type", later)).into());
    }
    Doc::new().with("$or", branches)
}

fn type_bracket(id: Raw<'_>) -> &'static str {
    if id.is_number() { "number" } else { id.type_name() }
}

/// Puts the chunk into the mirror, and says in the log what that changed where somebody may know
/// the mirror's content already.
pub fn apply_chunk(txn: &mut WriteTxn, chunk: Chunk) -> Result<()> {
    let namespace = &chunk.namespace;
    let Some(mut record) = mirror::load(txn, namespace)? else { return Ok(()) };
    if record.state == MirrorState::Live || record.last != chunk.after {
        // The collection was dropped, or the load began anew, while the chunk was on its way.
        return Ok(());
    }
    let collection = txn.unlogged(|txn| txn.ensure_collection(namespace))?;
    let template = LogEntry {
        position: LogPosition::default(),
        wall_ms: txn.now_ms(),
        namespace: namespace.clone(),
        collection: collection.log_uuid(),
        operation: Operation::Drop,
        txn: None,
        token: None,
    };
    for (key, before, document) in differences(txn, collection.id, &chunk)? {
        let Some(id) = key.get("_id") else { continue };
        match &document {
            Some(document) => put(txn, &collection, id, document.clone())?,
            None => take(txn, &collection, id)?,
        };
        match (record.state, record.as_events) {
            (MirrorState::Loading, _) => {}
            (_, false) => correct(txn, &template, key, before, document),
            (_, true) => {
                let operation = as_event(key, before, document);
                txn.append_captured(LogEntry { operation, ..template.clone() }, None);
            }
        }
    }
    record.loaded += chunk.documents.len() as u64;
    match chunk.documents.last().and_then(|last| last.get("_id")) {
        Some(id) => record.last = Some(Doc::new().with("_id", id.to_value()).to_buf()),
        None => (record.state, record.last) = (MirrorState::Live, None),
    }
    record.save(txn, namespace);
    Ok(())
}

/// What happened to a document, as far as the two states tell.
fn as_event(key: DocBuf, before: Option<DocBuf>, document: Option<DocBuf>) -> Operation {
    let image = |document| store::PreImage { document, by_option: false };
    match (before, document) {
        (None, Some(document)) => Operation::Insert { key, document },
        (before, Some(document)) => Operation::Replace { key, document, before: before.map(image) },
        (before, None) => Operation::Delete { key, before: before.map(image) },
    }
}

type Difference = (DocBuf, Option<DocBuf>, Option<DocBuf>);

/// Key, what is here, what should be here; in the order of keys.
fn differences(txn: &WriteTxn, collection: store::CollectionId, chunk: &Chunk) -> Result<Vec<Difference>> {
    let after = chunk.after.as_ref().and_then(|after| after.get("_id"));
    let end = chunk.documents.last().and_then(|last| last.get("_id"));
    let mut here = txn.by_id_after(collection, after)?.peekable();
    let mut there = chunk.documents.iter().peekable();
    let mut found = Vec::new();
    loop {
        let mine = match here.peek() {
            Some(Ok(stored)) => {
                stored.document.get("_id").filter(|id| end.is_none_or(|end| compare_raw(*id, end).is_le()))
            }
            Some(Err(_)) => return Err(here.next().and_then(std::result::Result::err).expect("it was just seen")),
            None => None,
        };
        let theirs = there.peek().and_then(|document| document.get("_id"));
        let order = match (mine, theirs) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(mine), Some(theirs)) => compare_raw(mine, theirs),
        };
        let before = if order.is_le() { here.next().transpose()?.map(|stored| stored.document) } else { None };
        let document = if order.is_ge() { there.next().cloned() } else { None };
        if before == document {
            continue;
        }
        let either = before.as_ref().or(document.as_ref());
        let id = either.and_then(|document| document.get("_id")).map(|id| id.to_value()).unwrap_or(Value::Null);
        found.push((Doc::new().with("_id", id).to_buf(), before, document));
    }
}
