//! Events as sinks deliver them, made of log entries and rows.

use std::sync::Arc;

use ::sql::catalog::stream_columns;
use ::sql::json::build;
use ::sql::{Datum, EvalContext, Expr, Field, SqlError, Type};
use bytes::Bytes;
use changes::Event as ChangeEvent;
use delivery::{Event, Kind, Position};
use document::key_string::encode_value;
use document::{Doc, DocBuf, DocWriter, Raw, Value};
use store::LogEntry;
use views::StreamDefinition;
use views::events::stream_column;

/// A row as a document: times to the millisecond as dates, JSON as it is.
pub(super) fn row_document(fields: &[Field], row: &[Datum]) -> Result<DocBuf, SqlError> {
    let mut writer = DocWriter::with_capacity(256);
    for (field, datum) in fields.iter().zip(row) {
        write_field(&mut writer, field, datum)?;
    }
    Ok(writer.finish())
}

fn write_field(writer: &mut DocWriter, field: &Field, datum: &Datum) -> Result<(), SqlError> {
    match (datum, &field.ty) {
        (Datum::Timestamp(us), Type::Timestamptz | Type::Timestamp) if *us != i64::MAX && *us != i64::MIN => {
            writer.date(&field.name, us.div_euclid(1000));
            Ok(())
        }
        _ => build::write(writer, &field.name, datum, &field.ty, "UTC"),
    }
}

/// The named fields of a document, NULL where one is missing.
pub(super) fn part_of(document: &DocBuf, names: &[String]) -> DocBuf {
    let mut writer = DocWriter::with_capacity(64);
    for name in names {
        match document.get(name) {
            Some(value) => writer.raw(name, value),
            None => writer.null(name),
        }
    }
    writer.finish()
}

/// Bytes that are equal for equal values, whatever their numeric type.
pub(super) fn lane_of(scope: &str, key: &DocBuf) -> Bytes {
    let mut lane = Vec::with_capacity(scope.len() + key.len() + 8);
    lane.extend_from_slice(scope.as_bytes());
    lane.push(0);
    encode_value(Raw::Document(key.as_doc()), &mut lane, false, None);
    // A long key (a whole row, say) stands for itself by its digest.
    if lane.len() > 200 { Bytes::copy_from_slice(&delivery::digest(&lane)) } else { lane.into() }
}

/// Where an entry's first row stands.
pub(super) fn position_of(entry: &LogEntry) -> Position {
    Position { time: entry.position.time.0, index: entry.position.index, part: 0 }
}

/// An event of a change stream.
pub(super) fn stream_event(
    entry: &LogEntry,
    stream: &StreamDefinition,
    source: &Arc<str>,
    priority: Option<&Expr>,
) -> Result<Event, SqlError> {
    let now_us = entry.wall_ms.saturating_mul(1000);
    let priority = priority.map_or(0, |expr| rank(stream.value_of(entry, expr, now_us)));
    let event = ChangeEvent::new(entry);
    let kind = match (event.full_document(), event.document_key()) {
        (Some(_), _) => Kind::Upsert,
        (None, Some(_)) => Kind::Delete,
        (None, None) => Kind::Other,
    };
    let key = event.document_key().cloned().unwrap_or_default();
    let before = event.before().cloned();
    let row = event.full_document().cloned().or_else(|| before.clone()).unwrap_or_else(|| key.clone());
    let namespace: Arc<str> = entry.namespace.to_string().into();
    Ok(Event {
        position: position_of(entry),
        id: event.change_id().into(),
        lane: lane_of(&namespace, &key),
        kind,
        operation: event.operation_type().into(),
        source: Arc::clone(source),
        time_ms: entry.wall_ms,
        row,
        before: before.filter(|_| stream.images.before_change),
        body: stream_body(entry, stream)?,
        key,
        namespace,
        priority,
    })
}

/// The stream's columns that have a value.
fn stream_body(entry: &LogEntry, stream: &StreamDefinition) -> Result<DocBuf, SqlError> {
    let mut writer = DocWriter::with_capacity(512);
    for (column, field) in stream_columns().iter().enumerate() {
        let datum = stream_column(entry, stream, column);
        if !datum.is_null() {
            write_field(&mut writer, field, &datum)?;
        }
    }
    Ok(writer.finish())
}

/// What the rows of a query are made into events with.
#[derive(Clone, Debug)]
pub(crate) struct RowShape {
    pub fields: Vec<Field>,
    /// Columns that identify a row; empty if nothing does.
    pub key: Vec<String>,
    /// Over the row's columns.
    pub priority: Option<Expr>,
}

impl RowShape {
    pub fn priority_of(&self, row: &[Datum], now_us: i64) -> i64 {
        self.priority.as_ref().map_or(0, |expr| rank(expr.eval(row, &EvalContext::at(now_us))))
    }
}

/// A priority as the scheduler compares it; NULL and what cannot be computed rank as 0.
fn rank(value: Result<Datum, SqlError>) -> i64 {
    match value {
        Ok(Datum::Int(n)) => n,
        Ok(Datum::Bool(b)) => i64::from(b),
        Ok(Datum::Float(x)) => x as i64,
        Ok(Datum::Numeric(n)) => n.to_string().parse::<f64>().map_or(0, |x| x as i64),
        _ => 0,
    }
}

/// One row that a query made of a log entry; `part` numbers the rows of the entry.
pub(super) fn query_event(
    entry: &LogEntry,
    row: &[Datum],
    part: u32,
    shape: &RowShape,
    source: &Arc<str>,
) -> Result<Event, SqlError> {
    let event = ChangeEvent::new(entry);
    let document = row_document(&shape.fields, row)?;
    let namespace: Arc<str> = entry.namespace.to_string().into();
    let document_key = event.document_key().cloned().unwrap_or_default();
    let id = if part == 0 { event.change_id() } else { format!("{}-{part}", event.change_id()) };
    let key = match shape.key.as_slice() {
        [] => Doc::new().with("change_id", Value::String(id.clone())).to_buf(),
        names => part_of(&document, names),
    };
    let lane = if shape.key.is_empty() { lane_of(&namespace, &document_key) } else { lane_of("", &key) };
    Ok(Event {
        position: Position { part, ..position_of(entry) },
        id: id.into(),
        lane,
        kind: Kind::Upsert,
        operation: event.operation_type().into(),
        source: Arc::clone(source),
        namespace,
        time_ms: entry.wall_ms,
        key,
        row: document.clone(),
        before: None,
        body: document,
        priority: shape.priority_of(row, entry.wall_ms.saturating_mul(1000)),
    })
}
