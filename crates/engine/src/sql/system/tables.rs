//! Our own status as tables: `change_streams`, `views`, `collections`; those of sinks are in
//! `deliveries.rs`.

use ::sql::{Datum, Field, SqlError, Type};
use views::definition::StreamDefinition;
use views::runtime::ViewStatus;

use super::super::objects::scope_text;
use super::{deliveries, int, text};
use crate::Headwater;

pub(super) type Found = Vec<Vec<(&'static str, Datum)>>;

/// The columns of a table of ours.
pub(super) fn columns(name: &str) -> Option<Vec<Field>> {
    let of = |columns: &[(&str, Type)]| columns.iter().map(|(name, ty)| Field::new(*name, ty.clone())).collect();
    Some(match name {
        "change_streams" => of(&[
            ("database", Type::Text),
            ("stream_name", Type::Text),
            ("watches", Type::Text),
            ("operation_types", Type::Text),
            ("filter", Type::Text),
            ("full_document", Type::Bool),
            ("full_document_before_change", Type::Bool),
            ("retention", Type::Interval),
            ("events", Type::Int8),
            ("last_event_at", Type::Timestamptz),
            ("created_at", Type::Timestamptz),
            ("statement", Type::Text),
            ("paused", Type::Bool),
        ]),
        "views" => of(&[
            ("database", Type::Text),
            ("view_name", Type::Text),
            ("status", Type::Text),
            ("row_count", Type::Int8),
            ("events_processed", Type::Int8),
            ("changes", Type::Int8),
            ("failures", Type::Int8),
            ("last_failure", Type::Text),
            ("subscribers", Type::Int8),
            ("last_event_at", Type::Timestamptz),
            ("error", Type::Text),
            ("query", Type::Text),
        ]),
        "collections" => of(&[("database", Type::Text), ("collection", Type::Text), ("kind", Type::Text)]),
        _ => return deliveries::columns(name),
    })
}

pub(super) fn rows(engine: &Headwater, name: &str) -> Result<Found, SqlError> {
    let sql = engine.sql();
    match name {
        "change_streams" => {
            let counters = sql.counters.lock().clone();
            let definitions = sql.views.definitions();
            let row = |stream: &StreamDefinition| {
                let counted = counters.get(&(stream.db.clone(), stream.name.clone())).copied().unwrap_or_default();
                stream_row(stream, counted.events, counted.last_event_ms)
            };
            Ok(definitions.streams.values().map(|stream| row(stream)).collect())
        }
        "views" | "event_processor_status" => {
            // Rows are read on a thread of their own, which may wait for the view runtime.
            let status = tokio::runtime::Handle::try_current()
                .map_err(|_| SqlError::internal("status outside of the runtime"))?
                .block_on(sql.views.status(false))?;
            Ok(match name {
                "views" => status.iter().map(view_row).collect(),
                _ => deliveries::processors(engine, &status),
            })
        }
        "change_stream_processing_log" => deliveries::processing_log(engine),
        "sinks" => Ok(deliveries::sinks(engine)),
        "collections" => {
            let catalog = engine.store().catalog();
            let row = |collection: &store::Collection| {
                vec![
                    ("database", text(&*collection.namespace.db)),
                    ("collection", text(&*collection.namespace.collection)),
                    ("kind", text(if collection.is_view() { "view" } else { "collection" })),
                ]
            };
            Ok(catalog.all().map(|collection| row(collection)).collect())
        }
        _ => Ok(Vec::new()),
    }
}

pub(super) fn time(ms: i64) -> Datum {
    if ms == 0 { Datum::Null } else { Datum::Timestamp(ms.saturating_mul(1000)) }
}

fn stream_row(stream: &StreamDefinition, events: u64, last_event_ms: i64) -> Vec<(&'static str, Datum)> {
    let retention = |ms: i64| {
        const DAY_MS: i64 = 86_400_000;
        let days = i32::try_from(ms / DAY_MS).unwrap_or(i32::MAX);
        Datum::Interval(Box::new(::sql::Interval { months: 0, days, microseconds: ms % DAY_MS * 1000 }))
    };
    vec![
        ("database", text(&stream.db)),
        ("stream_name", text(&stream.name)),
        ("watches", text(scope_text(&stream.scope))),
        (
            "operation_types",
            text(if stream.operation_types.is_empty() { "all".to_owned() } else { stream.operation_types.join(", ") }),
        ),
        ("filter", stream.filter_text.as_ref().map_or(Datum::Null, text)),
        ("full_document", Datum::Bool(stream.images.full_document)),
        ("full_document_before_change", Datum::Bool(stream.images.before_change)),
        ("retention", stream.retention_ms.map_or(Datum::Null, retention)),
        ("events", int(events as i64)),
        ("last_event_at", time(last_event_ms)),
        ("created_at", time(stream.created_ms)),
        ("paused", Datum::Bool(stream.paused_at.is_some())),
        ("statement", text(&stream.statement)),
    ]
}

fn view_row(view: &ViewStatus) -> Vec<(&'static str, Datum)> {
    vec![
        ("database", text(&view.db)),
        ("view_name", text(&view.name)),
        ("status", text(if view.error.is_some() { "stopped" } else { "running" })),
        ("row_count", int(view.rows as i64)),
        ("events_processed", int(view.counters.events as i64)),
        ("changes", int(view.counters.changes as i64)),
        ("failures", int(view.counters.failures as i64)),
        ("last_failure", view.counters.last_failure.as_ref().map_or(Datum::Null, text)),
        ("subscribers", int(view.subscribers as i64)),
        ("last_event_at", time(view.counters.last_event_ms)),
        ("error", view.error.as_ref().map_or(Datum::Null, text)),
        ("query", text(&view.query)),
    ]
}
