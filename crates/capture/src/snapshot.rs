//! One chunk of a mirror's load: read from the deployment, brought to the present, put in its place.
//!
//! ```text
//! captured up to C ── read {_id > last} ── events after C ──────────── captured up to P >= T
//!                     as of T, or from      kept, and done to the       the chunk, as of P, is
//!                     between C and T       chunk (`image.rs`)          compared with what is here
//! ```
//! A snapshot read shows its range exactly as of T, and the events after T bring it to P. Where there
//! are no snapshot reads (4.4), a document is read at some time between C and T, and all events after
//! C are done to it: what is done twice has no other effect than done once, as events set and remove
//! fields by their paths. The last key of a chunk is stored with it, and a restart goes on from there.
//! A comparison is the same with documents already here: what differs is told.

use std::cmp::Ordering;

use base::ClusterTime;
use bytes::Bytes;
use document::{Doc, DocBuf, Raw, Value, compare_raw};
use mongodb::bson::doc;
use store::{LogEntry, LogPosition, Namespace, Operation, Reader, Result, WriteTxn};

use crate::apply::{correct, put, take};
use crate::failure::Failure;
use crate::image::after_update;
use crate::mirror::{self, MirrorState};
use crate::upstream::{Upstream, reply_cursor, reply_documents, to_bson};

#[cfg(test)]
mod tests;

/// Documents in a chunk at most; the server also ends it at 16 MB.
const CHUNK_DOCUMENTS: i32 = 5_000;

/// A range of a collection.
#[derive(Debug)]
pub struct Chunk {
    pub namespace: Namespace,
    /// It may be put in its place once everything up to here is captured.
    pub time: ClusterTime,
    /// Events up to here are in it.
    pub since: ClusterTime,
    /// `{_id}` after which the range begins.
    after: Option<DocBuf>,
    /// `{_id}` with which the range ends; `None`: it reaches the end of the collection.
    end: Option<DocBuf>,
    /// In the order of `_id`.
    documents: Vec<DocBuf>,
    /// Documents that were read.
    read: u64,
}

/// Reads the chunk after a key. Everything up to `captured` has been captured, and what comes later is
/// kept by the caller for `Chunk::replay`.
pub async fn read_chunk(
    upstream: &Upstream,
    namespace: &Namespace,
    after: Option<&DocBuf>,
    captured: ClusterTime,
) -> std::result::Result<Chunk, Failure> {
    if upstream.identity.has_snapshot_reads() {
        let read = Reading { upstream, namespace, after };
        match read.as_of(None).await {
            Ok(chunk) if chunk.time >= captured => return Ok(chunk),
            Ok(_) => match read.as_of(Some(captured)).await {
                Err(Failure::Passing(problem)) => tracing::debug!(problem, "a snapshot read failed"),
                other => return other,
            },
            // Some collections have no snapshots for a while, capped and system ones never.
            Err(Failure::Passing(problem)) => tracing::debug!(problem, "a snapshot read failed"),
            Err(other) => return Err(other),
        }
    }
    Reading { upstream, namespace, after }.from_then_on(captured).await
}

struct Reading<'a> {
    upstream: &'a Upstream,
    namespace: &'a Namespace,
    after: Option<&'a DocBuf>,
}

impl Reading<'_> {
    /// As of one time.
    async fn as_of(&self, at: Option<ClusterTime>) -> std::result::Result<Chunk, Failure> {
        let mut concern = doc! { "level": "snapshot" };
        if let Some(at) = at {
            concern.insert("atClusterTime", timestamp(at));
        }
        let reply = self.find(concern).await?;
        let Some(Raw::Timestamp(time)) = reply_cursor(&reply)?.get("atClusterTime") else {
            return Err(Failure::reply("a snapshot read without its time"));
        };
        self.chunk(&reply, ClusterTime(time), ClusterTime(time))
    }

    /// Each document as of some time from `captured` on.
    async fn from_then_on(&self, captured: ClusterTime) -> std::result::Result<Chunk, Failure> {
        let concern = doc! { "level": "majority", "afterClusterTime": timestamp(captured) };
        let reply = self.find(concern).await?;
        // Nothing that was read is newer than this answer.
        let present = self.upstream.present().await?;
        self.chunk(&reply, present, captured)
    }

    async fn find(&self, concern: mongodb::bson::Document) -> std::result::Result<Bytes, Failure> {
        let command = doc! {
            "find": &*self.namespace.collection,
            "filter": to_bson(&after_filter(self.after).to_buf())?,
            "sort": { "_id": 1 },
            "limit": CHUNK_DOCUMENTS,
            "batchSize": CHUNK_DOCUMENTS,
            "singleBatch": true,
            "readConcern": concern,
            "comment": "headwater mirror",
        };
        self.upstream.first_batch(&self.namespace.db, command, "reading a collection").await
    }

    fn chunk(&self, reply: &Bytes, time: ClusterTime, since: ClusterTime) -> std::result::Result<Chunk, Failure> {
        let shared = |document: document::RawDoc<'_>| {
            DocBuf::validate(reply.slice_ref(document.as_bytes())).map_err(Failure::reply)
        };
        let documents = reply_documents(reply)?.map(shared).collect::<std::result::Result<Vec<_>, _>>()?;
        let end = documents.last().and_then(|last| last.get("_id"));
        Ok(Chunk {
            namespace: self.namespace.clone(),
            time,
            since,
            after: self.after.cloned(),
            end: end.map(|id| Doc::new().with("_id", id.to_value()).to_buf()),
            read: documents.len() as u64,
            documents,
        })
    }
}

fn timestamp(time: ClusterTime) -> mongodb::bson::Timestamp {
    mongodb::bson::Timestamp { time: time.seconds(), increment: time.increment() }
}

impl Chunk {
    /// Where the next chunk begins; `None` if this is the last.
    pub fn end(&self) -> Option<&DocBuf> {
        self.end.as_ref()
    }

    pub fn bytes(&self) -> usize {
        self.documents.iter().map(DocBuf::len).sum()
    }

    /// Does an event that came after `since` to the documents.
    pub fn replay(&mut self, operation: &Operation) {
        let key = match operation {
            Operation::Insert { key, .. }
            | Operation::Update { key, .. }
            | Operation::Replace { key, .. }
            | Operation::Delete { key, .. } => key,
            _ => return,
        };
        let Some(id) = key.get("_id").filter(|id| self.covers(*id)) else { return };
        let found = self
            .documents
            .binary_search_by(|document| document.get("_id").map_or(Ordering::Less, |other| compare_raw(other, id)));
        match (operation, found) {
            (Operation::Insert { document, .. } | Operation::Replace { document, .. }, Ok(at)) => {
                self.documents[at] = document.clone();
            }
            (Operation::Insert { document, .. } | Operation::Replace { document, .. }, Err(at)) => {
                self.documents.insert(at, document.clone());
            }
            (Operation::Update { description, .. }, Ok(at)) => {
                self.documents[at] = after_update(&self.documents[at], description);
            }
            (Operation::Delete { .. }, Ok(at)) => {
                self.documents.remove(at);
            }
            // Deleted later in the same range: the event that says so is still to come.
            _ => {}
        }
    }

    fn covers(&self, id: Raw<'_>) -> bool {
        let bound =
            |key: &Option<DocBuf>| key.as_ref().and_then(|key| key.get("_id").map(|other| compare_raw(id, other)));
        bound(&self.after).is_none_or(Ordering::is_gt) && bound(&self.end).is_none_or(Ordering::is_le)
    }
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
/// the mirror's content already. False: the mirror does not wait for this chunk (the collection was
/// dropped, or its load began anew).
pub fn apply_chunk(txn: &mut WriteTxn, chunk: Chunk) -> Result<bool> {
    let namespace = &chunk.namespace;
    let Some(mut record) = mirror::load(txn, namespace)? else { return Ok(false) };
    if record.state == MirrorState::Live || record.last != chunk.after {
        return Ok(false);
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
    record.loaded += chunk.read;
    match chunk.end {
        Some(end) => record.last = Some(end),
        None => (record.state, record.last) = (MirrorState::Live, None),
    }
    record.save(txn, &chunk.namespace);
    Ok(true)
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
    let end = chunk.end.as_ref().and_then(|end| end.get("_id"));
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
