//! Our own status as tables: `change_streams`, `views`, `collections`, `source` and `source_mirrors` (a
//! deployment that changes are captured from); those of sinks are in `deliveries.rs`.

use ::sql::{Datum, Field, SqlError, Type};
use capture::{MirrorStatus, SourceStatus};
use views::definition::StreamDefinition;

use super::super::objects::scope_text;
use super::super::status::{StreamStatus, ViewStatus};
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
            ("rate", Type::Float8),
            ("errors", Type::Int8),
            ("last_error", Type::Text),
            ("last_event_at", Type::Timestamptz),
            ("lag_events", Type::Int8),
            ("lag_ms", Type::Int8),
            ("kept_from", Type::Timestamptz),
            ("retention_left_ms", Type::Int8),
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
            ("rate", Type::Float8),
            ("changes", Type::Int8),
            ("failures", Type::Int8),
            ("last_failure", Type::Text),
            ("subscribers", Type::Int8),
            ("last_event_at", Type::Timestamptz),
            ("lag_events", Type::Int8),
            ("lag_ms", Type::Int8),
            ("last_heartbeat", Type::Timestamptz),
            ("error", Type::Text),
            ("query", Type::Text),
        ]),
        "source" => of(&[
            ("uri", Type::Text),
            ("state", Type::Text),
            ("problem", Type::Text),
            ("cluster", Type::Text),
            ("version", Type::Text),
            ("limits", Type::Text),
            ("events", Type::Int8),
            ("skipped", Type::Int8),
            ("gaps", Type::Int8),
            ("cursors_opened", Type::Int8),
            ("token", Type::Text),
            ("captured_up_to", Type::Timestamptz),
            ("lag_ms", Type::Int8),
            ("window_ms", Type::Int8),
        ]),
        "source_mirrors" => of(&[
            ("database", Type::Text),
            ("collection", Type::Text),
            ("state", Type::Text),
            ("loaded", Type::Int8),
            ("estimated", Type::Int8),
        ]),
        "collections" => of(&[("database", Type::Text), ("collection", Type::Text), ("kind", Type::Text)]),
        _ => return deliveries::columns(name),
    })
}

pub(super) fn rows(engine: &Headwater, name: &str) -> Result<Found, SqlError> {
    let sql = engine.sql();
    match name {
        "change_streams" => {
            let definitions = sql.views.definitions();
            let row = |status: StreamStatus| {
                let stream = definitions.streams.get(&(status.db.clone(), status.name.clone()))?;
                Some(stream_row(stream, &status))
            };
            Ok(engine.stream_status().into_iter().filter_map(row).collect())
        }
        "views" | "event_processor_status" => {
            // Rows are read on a thread of their own, which may wait for the view runtime.
            let status = tokio::runtime::Handle::try_current()
                .map_err(|_| SqlError::internal("status outside of the runtime"))?
                .block_on(sql.views.status(false))?;
            let status: Vec<_> = status.into_iter().map(|view| engine.view_status(view)).collect();
            Ok(match name {
                "views" => status.iter().map(view_row).collect(),
                _ => deliveries::processors(engine, &status),
            })
        }
        "source" => Ok(engine.source().map(|source| source_row(&source.status())).into_iter().collect()),
        "source_mirrors" => {
            let mirrors = engine.source().map(|source| source.status().mirrors).unwrap_or_default();
            Ok(mirrors.iter().map(mirror_row).collect())
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

fn source_row(source: &SourceStatus) -> Vec<(&'static str, Datum)> {
    let some = |value: &str| if value.is_empty() { Datum::Null } else { text(value) };
    vec![
        ("uri", text(&source.uri)),
        ("state", text(source.state.as_str())),
        ("problem", source.problem.as_ref().map_or(Datum::Null, text)),
        ("cluster", some(&source.cluster)),
        ("version", some(&source.version)),
        ("limits", some(&source.limits.join("; "))),
        ("events", int(source.events as i64)),
        ("skipped", int(source.skipped as i64)),
        ("gaps", int(source.gaps as i64)),
        ("cursors_opened", int(source.cursors_opened as i64)),
        ("token", some(&source.token)),
        ("captured_up_to", time(i64::from(source.captured.seconds()) * 1000)),
        ("lag_ms", int(source.lag_ms)),
        ("window_ms", source.window_ms.map_or(Datum::Null, int)),
    ]
}

fn mirror_row(mirror: &MirrorStatus) -> Vec<(&'static str, Datum)> {
    vec![
        ("database", text(&mirror.db)),
        ("collection", text(&mirror.collection)),
        ("state", text(mirror.state.as_str())),
        ("loaded", int(mirror.loaded as i64)),
        ("estimated", int(mirror.estimated as i64)),
    ]
}

fn stream_row(stream: &StreamDefinition, status: &StreamStatus) -> Vec<(&'static str, Datum)> {
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
        ("events", int(status.events as i64)),
        ("rate", Datum::Float(status.rate)),
        ("errors", int(status.errors as i64)),
        ("last_error", status.last_error.as_ref().map_or(Datum::Null, text)),
        ("last_event_at", time(status.last_event_ms)),
        ("lag_events", int(status.lag_events as i64)),
        ("lag_ms", int(status.lag_ms)),
        ("kept_from", time(status.kept_from_ms)),
        ("retention_left_ms", status.retention_left_ms.map_or(Datum::Null, int)),
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
        ("events_processed", int(view.events as i64)),
        ("rate", Datum::Float(view.rate)),
        ("changes", int(view.changes as i64)),
        ("failures", int(view.failures as i64)),
        ("last_failure", view.last_failure.as_ref().map_or(Datum::Null, text)),
        ("subscribers", int(view.subscribers as i64)),
        ("last_event_at", time(view.last_event_ms)),
        ("lag_events", int(view.lag_events as i64)),
        ("lag_ms", int(view.lag_ms)),
        ("last_heartbeat", time(view.heartbeat_ms)),
        ("error", view.error.as_ref().map_or(Datum::Null, text)),
        ("query", text(&view.query)),
    ]
}
