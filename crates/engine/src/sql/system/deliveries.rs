//! What deliveries left behind, as tables: `sinks`, `dead_letters`, `change_event_log`,
//! `change_stream_processing_log`, `change_stream_resume_tokens`, `event_processor_status`.
//!
//! The documents are those of the database `config`; these are their fields under SQL names.

use ::sql::{Datum, Field, Row, SqlError, Type};
use document::Raw;
use store::{Direction, Reader as _};
use views::runtime::store_error;

use super::super::lag::Lag;
use super::super::runtime::Processed;
use super::super::sinks::{datum_of, letter_columns, letter_row};
use super::super::status::ViewStatus;
use super::tables::{Found, time};
use super::{int, text};
use crate::Headwater;
use crate::delivery::{EVENT_LOG, LETTERS, SinkSnapshot, TOKENS, journal_namespace};

/// A column, the field of the document it shows, its type.
type Shown = &'static [(&'static str, &'static str, Type)];

const EVENTS: Shown = &[
    ("event_id", "eventId", Type::Text),
    ("stream_name", "streamId", Type::Text),
    ("sink_name", "processorId", Type::Text),
    ("collection_name", "collection", Type::Text),
    ("operation_type", "operationType", Type::Text),
    ("document_key", "documentKey", Type::Json),
    ("event_timestamp", "timestamp", Type::Timestamptz),
    ("processed_at", "processedAt", Type::Timestamptz),
    ("has_full_document", "hasFullDocument", Type::Bool),
    ("update_fields", "updateFields", Type::Json),
    ("processed", "processed", Type::Bool),
    ("processing_attempts", "processingAttempts", Type::Int8),
    ("processing_errors", "processingErrors", Type::Json),
];

const POSITIONS: Shown = &[
    ("sink_name", "processorId", Type::Text),
    ("stream_name", "streamId", Type::Text),
    ("resume_token", "resumeToken", Type::Json),
    ("position", "position", Type::Text),
    ("last_updated", "lastUpdated", Type::Timestamptz),
];

fn fields(shown: Shown) -> Vec<Field> {
    shown.iter().map(|(name, _, ty)| Field::new(*name, ty.clone())).collect()
}

/// The columns of a table of deliveries.
pub(super) fn columns(name: &str) -> Option<Vec<Field>> {
    let of = |columns: &[(&str, Type)]| columns.iter().map(|(name, ty)| Field::new(*name, ty.clone())).collect();
    Some(match name {
        "dead_letters" => letter_columns(),
        "change_event_log" => fields(EVENTS),
        "change_stream_resume_tokens" => fields(POSITIONS),
        "change_stream_processing_log" => of(&[
            ("database", Type::Text),
            ("stream_name", Type::Text),
            ("sink_name", Type::Text),
            ("collection_name", Type::Text),
            ("event_timestamp", Type::Timestamptz),
            ("processed_at", Type::Timestamptz),
            ("processing_duration_ms", Type::Float8),
            ("processed_successfully", Type::Bool),
            ("error_message", Type::Text),
        ]),
        "sinks" => of(&[
            ("database", Type::Text),
            ("sink_name", Type::Text),
            ("source", Type::Text),
            ("target", Type::Text),
            ("status", Type::Text),
            ("delivered", Type::Int8),
            ("rate", Type::Float8),
            ("failures", Type::Int8),
            ("dead", Type::Int8),
            ("skipped", Type::Int8),
            ("waiting", Type::Int8),
            ("in_flight", Type::Int8),
            ("parked_keys", Type::Int8),
            ("circuit_open", Type::Bool),
            ("lag_events", Type::Int8),
            ("lag_ms", Type::Int8),
            ("last_latency_ms", Type::Int8),
            ("last_event_at", Type::Timestamptz),
            ("last_delivery_at", Type::Timestamptz),
            ("last_heartbeat", Type::Timestamptz),
            ("last_error", Type::Text),
            ("created_at", Type::Timestamptz),
            ("holder", Type::Text),
            ("fence", Type::Int8),
        ]),
        "event_processor_status" => of(&[
            ("processor_id", Type::Text),
            ("kind", Type::Text),
            ("stream_name", Type::Text),
            ("status", Type::Text),
            ("event_count", Type::Int8),
            ("error_count", Type::Int8),
            ("last_event_at", Type::Timestamptz),
            ("last_heartbeat", Type::Timestamptz),
            ("last_error", Type::Text),
        ]),
        _ => return None,
    })
}

/// Documents of one of our collections, as rows.
fn documents<T>(
    engine: &Headwater,
    name: &str,
    mut row: impl FnMut(document::RawDoc<'_>) -> T,
) -> Result<Vec<T>, SqlError> {
    let snapshot = engine.store().snapshot().map_err(store_error)?;
    let Some(collection) = snapshot.catalog().collection(&journal_namespace(name)) else { return Ok(Vec::new()) };
    let found = snapshot.scan(collection.id, Direction::Forward);
    found.map(|stored| Ok(row(stored.map_err(store_error)?.document.as_doc()))).collect()
}

/// All dead letters.
pub(crate) fn letter_rows(engine: &Headwater) -> Result<Vec<Row>, SqlError> {
    let columns = letter_columns();
    documents(engine, LETTERS, |letter| letter_row(&columns, letter))
}

fn shown_rows(engine: &Headwater, name: &str, shown: Shown) -> Result<Vec<Row>, SqlError> {
    documents(engine, name, |doc| shown.iter().map(|(_, field, ty)| datum_of(doc.get(field), ty)).collect())
}

/// Tables whose rows are documents of ours, complete and in order.
pub(super) fn whole_rows(engine: &Headwater, name: &str) -> Result<Option<Vec<Row>>, SqlError> {
    Ok(Some(match name {
        "dead_letters" => letter_rows(engine)?,
        "change_event_log" => shown_rows(engine, EVENT_LOG, EVENTS)?,
        "change_stream_resume_tokens" => shown_rows(engine, TOKENS, POSITIONS)?,
        _ => return Ok(None),
    }))
}

/// What sinks and handlers processed; for streams that none reads, what they took in.
pub(super) fn processing_log(engine: &Headwater) -> Result<Found, SqlError> {
    let mut rows = documents(engine, EVENT_LOG, |doc| {
        let value = |name: &str, ty: Type| datum_of(doc.get(name), &ty);
        let stream = doc.get("streamId").and_then(Raw::as_str).unwrap_or_default();
        let (database, stream) = stream.split_once('.').unwrap_or(("", stream));
        vec![
            ("database", text(database)),
            ("stream_name", text(stream)),
            ("sink_name", value("processorId", Type::Text)),
            ("collection_name", value("collection", Type::Text)),
            ("event_timestamp", value("timestamp", Type::Timestamptz)),
            ("processed_at", value("processedAt", Type::Timestamptz)),
            ("processing_duration_ms", value("processingDurationMs", Type::Float8)),
            ("processed_successfully", value("processed", Type::Bool)),
            ("error_message", value("error", Type::Text)),
        ]
    })?;
    let read: Vec<(String, String)> = engine
        .deliveries()
        .snapshot()
        .iter()
        .filter_map(|snapshot| snapshot.sink.stream().map(|(db, name)| (db.to_owned(), name.to_owned())))
        .collect();
    let processed = engine.sql().processed.lock();
    let unread =
        processed.iter().filter(|event| !read.iter().any(|(db, name)| *db == event.db && *name == event.stream));
    rows.extend(unread.map(processed_row));
    Ok(rows)
}

fn processed_row(event: &Processed) -> Vec<(&'static str, Datum)> {
    vec![
        ("database", text(&event.db)),
        ("stream_name", text(&event.stream)),
        ("collection_name", text(&event.collection)),
        ("event_timestamp", Datum::Timestamp(event.event_us)),
        ("processed_at", Datum::Timestamp(event.processed_us)),
        ("processing_duration_ms", Datum::Float(event.duration_us as f64 / 1000.0)),
        ("processed_successfully", Datum::Bool(event.error.is_none())),
        ("error_message", event.error.as_ref().map_or(Datum::Null, text)),
    ]
}

fn number(n: u64) -> Datum {
    int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// `sinks`.
pub(super) fn sinks(engine: &Headwater) -> Found {
    let now_ms = engine.clock().now_ms();
    let row = |snapshot: &SinkSnapshot| sink_row(snapshot, engine.sink_lag(snapshot, now_ms), now_ms);
    engine.deliveries().snapshot().iter().map(row).collect()
}

fn sink_row(snapshot: &SinkSnapshot, lag: Lag, now_ms: i64) -> Vec<(&'static str, Datum)> {
    let (sink, report) = (&snapshot.sink, &snapshot.report);
    let numbers = &report.numbers;
    vec![
        ("database", text(&sink.db)),
        ("sink_name", text(&sink.name)),
        ("source", text(sink.source.text())),
        ("target", text(sink.shown_target())),
        ("status", text(report.state.as_str())),
        ("delivered", number(report.total_delivered())),
        ("rate", Datum::Float(report.rate.per_second(now_ms))),
        ("failures", number(numbers.failures)),
        ("dead", number(numbers.dead)),
        ("skipped", number(numbers.skipped)),
        ("waiting", number(numbers.waiting)),
        ("in_flight", number(numbers.flying)),
        ("parked_keys", number(numbers.parked_keys)),
        ("circuit_open", Datum::Bool(numbers.circuit_open)),
        ("lag_events", number(lag.events)),
        ("lag_ms", int(lag.ms)),
        ("last_latency_ms", int(report.last_latency_ms)),
        ("last_event_at", time(report.last_event_ms)),
        ("last_delivery_at", time(report.last_delivery_ms)),
        ("last_heartbeat", time(report.heartbeat_ms)),
        ("last_error", report.error.as_ref().map_or(Datum::Null, text)),
        ("created_at", time(sink.created_ms)),
        ("holder", if report.holder.is_empty() { Datum::Null } else { text(&report.holder) }),
        ("fence", if report.fence == 0 { Datum::Null } else { number(report.fence) }),
    ]
}

/// `event_processor_status`: views and sinks alike.
pub(super) fn processors(engine: &Headwater, views: &[ViewStatus]) -> Found {
    let view = |view: &ViewStatus| {
        vec![
            ("processor_id", text(format!("{}.{}", view.db, view.name))),
            ("kind", text("view")),
            ("status", text(if view.error.is_some() { "stopped" } else { "running" })),
            ("event_count", number(view.events)),
            ("error_count", number(view.failures)),
            ("last_event_at", time(view.last_event_ms)),
            ("last_heartbeat", time(view.heartbeat_ms)),
            ("last_error", view.error.as_ref().map_or(Datum::Null, text)),
        ]
    };
    let sink = |snapshot: &SinkSnapshot| {
        let report = &snapshot.report;
        vec![
            ("processor_id", text(snapshot.sink.full_name())),
            ("kind", text("sink")),
            ("stream_name", text(snapshot.sink.source_name())),
            ("status", text(report.state.as_str())),
            ("event_count", number(report.total_delivered())),
            ("error_count", number(report.numbers.failures)),
            ("last_event_at", time(report.last_event_ms)),
            ("last_heartbeat", time(report.heartbeat_ms)),
            ("last_error", report.error.as_ref().map_or(Datum::Null, text)),
        ]
    };
    let sinks = engine.deliveries().snapshot();
    views.iter().map(view).chain(sinks.iter().map(sink)).collect()
}
