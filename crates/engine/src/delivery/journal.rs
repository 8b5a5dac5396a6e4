//! What people read of deliveries, as collections of the database `config`, where no change stream
//! sees them (a sink that watches a whole cluster must not be fed by its own log).
//!
//! ```text
//!   config.change_event_log              one document per event and sink, the newest 200,000
//!   config.change_stream_processing_log  the same as a view, with other names
//!   config.dead_letters                  open letters, and those done with in the last 30 days
//!   config.event_processor_status        one document per sink: heartbeat, counters
//!   config.change_stream_resume_tokens   one document per sink: its position
//! ```

use std::sync::Arc;

use base::Uuid;
use bytes::Bytes;
use delivery::runner::Done;
use delivery::{Event, Letter, LetterState, Position};
use document::{Doc, DocBuf, Value};
use store::{Change, Collection, Namespace, Reader, WriteTxn};

use super::definition::SinkDefinition;
use super::records::SPACE;

const LOG_BYTES: i64 = 256 * 1024 * 1024;
const LOG_DOCUMENTS: i64 = 200_000;
/// How long a letter that was delivered, discarded or skipped is still shown.
const LETTERS_KEPT_MS: i64 = 30 * 24 * 3600 * 1000;
/// Letters forgotten in one commit.
const PRUNED_AT_ONCE: usize = 1000;

pub(crate) const EVENT_LOG: &str = "change_event_log";
pub(super) const PROCESSING_LOG: &str = "change_stream_processing_log";
pub(crate) const LETTERS: &str = "dead_letters";
pub(super) const STATUS: &str = "event_processor_status";
pub(crate) const TOKENS: &str = "change_stream_resume_tokens";

pub(crate) fn namespace(name: &str) -> Namespace {
    Namespace::new("config", name)
}

/// What a sink reports of itself.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    pub status: DocBuf,
    pub token: DocBuf,
}

fn log_collection(txn: &mut WriteTxn) -> store::Result<Arc<Collection>> {
    let place = namespace(EVENT_LOG);
    if let Some(collection) = txn.collection(&place) {
        return Ok(collection);
    }
    let options = Doc::new().with("capped", true).with("size", LOG_BYTES).with("max", LOG_DOCUMENTS);
    let collection = txn.create_collection(&place, options.to_buf())?;
    if txn.collection(&namespace(PROCESSING_LOG)).is_none() {
        let shown = Doc::new()
            .with("stream_name", "$streamId")
            .with("sink_name", "$processorId")
            .with("collection_name", "$collection")
            .with("event_id", "$eventId")
            .with("event_timestamp", "$timestamp")
            .with("processed_at", "$processedAt")
            .with("processing_duration_ms", "$processingDurationMs")
            .with("processed_successfully", "$processed")
            .with("attempts", "$processingAttempts")
            .with("error_message", "$error");
        let pipeline = vec![Value::Document(Doc::new().with("$project", Value::Document(shown)))];
        let options = Doc::new().with("viewOn", EVENT_LOG).with("pipeline", Value::Array(pipeline));
        txn.create_view(&namespace(PROCESSING_LOG), options.to_buf())?;
    }
    Ok(collection)
}

/// Logs events that are done with.
pub(super) fn log(txn: &mut WriteTxn, sink: &SinkDefinition, done: &[Done]) -> store::Result<()> {
    if done.is_empty() {
        return Ok(());
    }
    let collection = log_collection(txn)?;
    for done in done {
        txn.insert(collection.id, logged(sink, done))?;
    }
    Ok(())
}

fn logged(sink: &SinkDefinition, done: &Done) -> DocBuf {
    let event = &done.event;
    let errors = done.error.iter().map(|error| Value::String(error.clone())).collect();
    let fields = event.body.get("updated_fields").and_then(document::Raw::as_document);
    let fields = fields.or_else(|| super::handlers::updated_fields(&event.body));
    let names = fields.map(|f| f.iter().map(|(name, _)| Value::String(name.to_owned())).collect()).unwrap_or_default();
    let collection = event.namespace.split_once('.').map_or(&*event.namespace, |(_, collection)| collection);
    let mut doc = Doc::new()
        .with("_id", Value::ObjectId(base::id::new_object_id(done.at_ms)))
        .with("eventId", &*event.id)
        .with("streamId", &*event.source)
        .with("processorId", sink.full_name())
        .with("collection", collection)
        .with("operationType", &*event.operation)
        .with("documentKey", Value::Document(event.key.to_doc()))
        .with("timestamp", Value::Date(event.time_ms))
        .with("processedAt", Value::Date(done.at_ms))
        .with("processingDurationMs", done.duration_us as f64 / 1000.0)
        .with("hasFullDocument", event.kind == delivery::Kind::Upsert)
        .with("updateFields", Value::Array(names))
        .with("processed", done.error.is_none())
        .with("processingAttempts", i64::from(done.attempts))
        .with("processingErrors", Value::Array(errors));
    if let Some(error) = &done.error {
        doc.push("error", error.as_str());
    }
    doc.to_buf()
}

/// The `_id` of a letter's document.
pub(super) fn letter_id(uid: Uuid, position: Position) -> String {
    format!("{uid}-{position}")
}

/// Shows new letters, or what became of old ones.
pub(super) fn letters(
    txn: &mut WriteTxn,
    sink: &SinkDefinition,
    letters: &[Letter<Arc<Event>>],
    now_ms: i64,
) -> store::Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    let collection = txn.ensure_collection(&namespace(LETTERS))?;
    for letter in letters {
        put(txn, &collection, letter_document(sink, letter, now_ms))?;
    }
    Ok(())
}

fn letter_document(sink: &SinkDefinition, letter: &Letter<Arc<Event>>, now_ms: i64) -> DocBuf {
    let event = &letter.event;
    let status = if letter.state == LetterState::Dead { "dead" } else { "waiting" };
    let mut doc = Doc::new()
        .with("_id", letter_id(sink.uid, letter.position))
        .with("sink_name", sink.full_name())
        .with("status", status)
        .with("event_id", &*event.id)
        .with("operation_type", &*event.operation)
        .with("source", &*event.source)
        .with("namespace", &*event.namespace)
        .with("key", Value::Document(event.key.to_doc()))
        .with("data", Value::Document(event.body.to_doc()))
        .with("attempts", i64::from(letter.attempts))
        .with("error", if letter.error.is_empty() { Value::Null } else { Value::String(letter.error.clone()) })
        .with("event_timestamp", Value::Date(event.time_ms))
        .with("updated_at", Value::Date(now_ms));
    doc.push("position", letter.position.to_string());
    doc.push("lane", Value::Binary(document::Binary { subtype: 0, bytes: letter.key.to_vec() }));
    doc.to_buf()
}

/// Gives letters another status: `delivered`, `discarded`.
pub(super) fn mark_letters(
    txn: &mut WriteTxn,
    uid: Uuid,
    positions: impl IntoIterator<Item = Position>,
    status: &str,
    now_ms: i64,
) -> store::Result<()> {
    let Some(collection) = txn.collection(&namespace(LETTERS)) else { return Ok(()) };
    for position in positions {
        let id = letter_id(uid, position);
        let Some(found) = txn.get(collection.id, document::Raw::String(&id))? else { continue };
        let mut doc = found.document.to_doc();
        doc.set("status", status);
        doc.set("updated_at", Value::Date(now_ms));
        txn.replace(collection.id, found.record, &found.document, doc.to_buf(), Change::Replace)?;
        txn.put_record(SPACE, &done_key(now_ms, &id), Bytes::new());
    }
    Ok(())
}

/// Marks the letters of a life that are shown as open and are done with elsewhere.
pub(super) fn close_letters(txn: &mut WriteTxn, uid: Uuid, is_done: impl Fn(Position) -> bool) -> store::Result<()> {
    let Some(collection) = txn.collection(&namespace(LETTERS)) else { return Ok(()) };
    let prefix = format!("{uid}-");
    let mut done = Vec::new();
    for stored in txn.scan(collection.id, store::Direction::Forward) {
        let letter = stored?.document;
        let text = |name: &str| letter.get(name).and_then(document::Raw::as_str);
        let position = text("_id").and_then(|id| id.strip_prefix(&prefix)).and_then(|text| text.parse().ok());
        if let Some(position) = position
            && matches!(text("status"), Some("dead" | "waiting"))
            && is_done(position)
        {
            done.push(position);
        }
    }
    let now_ms = txn.now_ms();
    mark_letters(txn, uid, done, "closed", now_ms)
}

/// Before every record of a letter that is done with.
const DONE: &[u8] = b"x\0";

fn done_key(at_ms: i64, id: &str) -> Vec<u8> {
    [DONE, &at_ms.max(0).to_be_bytes(), id.as_bytes()].concat()
}

/// Forgets letters that have been done with for long, some at a time.
pub(super) fn prune_letters(txn: &mut WriteTxn, now_ms: i64) -> store::Result<()> {
    let end = done_key(now_ms.saturating_sub(LETTERS_KEPT_MS), "");
    let mut old: Vec<Bytes> = Vec::new();
    for record in txn.records(SPACE, DONE).take(PRUNED_AT_ONCE) {
        let (place, _) = record?;
        if place[..] >= end[..] {
            break;
        }
        old.push(place);
    }
    let collection = txn.collection(&namespace(LETTERS));
    for place in old {
        let id = String::from_utf8_lossy(place.get(DONE.len() + 8..).unwrap_or_default());
        if let Some(collection) = &collection
            && let Some(found) = txn.get(collection.id, document::Raw::String(&id))?
        {
            txn.delete(collection.id, found.record, &found.document)?;
        }
        txn.delete_record(SPACE, &place);
    }
    Ok(())
}

/// Writes a sink's heartbeat.
pub(super) fn heartbeat(txn: &mut WriteTxn, heartbeat: &Heartbeat) -> store::Result<()> {
    for (name, document) in [(STATUS, &heartbeat.status), (TOKENS, &heartbeat.token)] {
        let collection = txn.ensure_collection(&namespace(name))?;
        put(txn, &collection, document.clone())?;
    }
    Ok(())
}

/// Forgets the heartbeat of a sink that is gone.
pub(super) fn forget_heartbeat(txn: &mut WriteTxn, full_name: &str) -> store::Result<()> {
    for name in [STATUS, TOKENS] {
        let Some(collection) = txn.collection(&namespace(name)) else { continue };
        if let Some(found) = txn.get(collection.id, document::Raw::String(full_name))? {
            txn.delete(collection.id, found.record, &found.document)?;
        }
    }
    Ok(())
}

/// Inserts or replaces by `_id`.
pub(super) fn put(txn: &mut WriteTxn, collection: &Collection, document: DocBuf) -> store::Result<()> {
    let id = document.get("_id").ok_or_else(|| store::Error::Internal("a document of ours has no _id".to_owned()))?;
    match txn.get(collection.id, id)? {
        Some(found) => txn.replace(collection.id, found.record, &found.document, document, Change::Replace),
        None => txn.insert(collection.id, document).map(|_| ()),
    }
}
