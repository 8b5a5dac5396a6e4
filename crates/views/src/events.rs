//! Change events as rows of a stream, and as deltas of a collection.

use changes::event::Event;
use changes::scope::OperationType;
use changes::token::ResumeToken;
use dataflow::Delta;
use document::{Doc, DocBuf};
use sql::datum::Numeric;
use sql::{Datum, Json, Row, Source, SqlError};
use store::{LogEntry, Operation};

use crate::definition::{StreamDefinition, StreamScope};
use crate::scan::{ScanColumns, collection_row, document_datum};

/// The part of a stream that `SINCE` (exclusive) and `UP TO` (inclusive) leave of it, as the
/// canonical text of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamBounds {
    since: Option<String>,
    up_to: Option<String>,
}

impl StreamBounds {
    /// # Errors
    /// 22023 for what is no resume token.
    pub fn of(source: &Source) -> Result<Self, SqlError> {
        let Source::Stream { since, up_to, .. } = source else { return Ok(StreamBounds::default()) };
        let canonical = |data: &String| match ResumeToken::parse_data(data, Vec::new()) {
            Ok(token) => Ok(token.data()),
            Err(error) => Err(SqlError::new("22023", format!("invalid resume token: {error}"))
                .with_hint("a token is the change_id of an event of this stream")),
        };
        Ok(StreamBounds {
            since: since.as_ref().map(canonical).transpose()?,
            up_to: up_to.as_ref().map(canonical).transpose()?,
        })
    }

    pub fn holds(&self, entry: &LogEntry) -> bool {
        if self.since.is_none() && self.up_to.is_none() {
            return true;
        }
        let id = Event::new(entry).change_id();
        self.since.as_ref().is_none_or(|since| id > *since) && self.up_to.as_ref().is_none_or(|up_to| id <= *up_to)
    }
}

/// One column of `sql::catalog::stream_columns()` for an entry.
pub fn stream_column(entry: &LogEntry, stream: &StreamDefinition, column: usize) -> Datum {
    let event = Event::new(entry);
    let text = |s: &str| Datum::text(s);
    let document = |doc: Option<&DocBuf>| doc.map_or(Datum::Null, document_datum);
    match column {
        0 => Datum::text(event.change_id()),
        1 => cluster_time(entry.position.time),
        2 | 3 => Datum::Timestamp(entry.wall_ms.saturating_mul(1000)),
        4 => text(event.operation_type()),
        5 if entry.namespace.db.is_empty() => Datum::Null,
        5 => text(&entry.namespace.db),
        6 if entry.namespace.collection.is_empty() => Datum::Null,
        6 => text(&entry.namespace.collection),
        7 => document(event.document_key()),
        8 => match &entry.operation {
            Operation::Update { .. } if !stream.images.full_document => Datum::Null,
            _ => document(event.full_document()),
        },
        9 if !stream.images.before_change => Datum::Null,
        9 => document(event.before()),
        10 => gap(entry).or_else(|| event.update_description()).map_or(Datum::Null, |doc| document_datum(&doc)),
        11 => inner(&event, "updatedFields"),
        12 => inner(&event, "removedFields"),
        13 => event.txn_number().map_or(Datum::Null, Datum::Int),
        _ => document(event.lsid()),
    }
}

/// `{from, reason}` of a gap, in the place of an update's description.
fn gap(entry: &LogEntry) -> Option<DocBuf> {
    let Operation::Gap { from, reason } = &entry.operation else { return None };
    let from = ResumeToken::high_water_mark(*from).data();
    Some(Doc::new().with("from", from).with("reason", reason.to_string()).to_buf())
}

/// Seconds, with the increment as the last ten decimal places.
pub fn cluster_time(time: base::ClusterTime) -> Datum {
    let unscaled = i128::from(time.seconds()) * 10_000_000_000 + i128::from(time.increment());
    Datum::Numeric(Numeric::from_i128(unscaled, 10))
}

fn inner(event: &Event<'_>, field: &str) -> Datum {
    let Operation::Update { description, .. } = &event.entry().operation else { return Datum::Null };
    description.get(field).map_or(Datum::Null, |value| Datum::Json(Json::document(description).share(value)))
}

impl StreamDefinition {
    /// Is the entry an event of this stream? A filter that fails on it leaves it out.
    pub fn takes(&self, entry: &LogEntry, now_us: i64) -> bool {
        self.judge(entry, now_us).unwrap_or(false)
    }

    /// The same, with the reason if the filter fails. The scope and operation come first, the filter last.
    pub fn judge(&self, entry: &LogEntry, now_us: i64) -> Result<bool, SqlError> {
        let time = entry.position.time;
        if time <= self.start
            || self.paused_at.is_some_and(|at| time > at)
            || !self.watches(entry)
            || !self.shows(entry)
        {
            return Ok(false);
        }
        match &self.filter {
            None => Ok(true),
            Some(filter) => self.satisfies(entry, filter, now_us),
        }
    }

    /// An expression over the stream's columns, for the entry.
    ///
    /// # Errors
    /// The expression's own, as of a cast that is not possible.
    pub fn value_of(&self, entry: &LogEntry, expr: &sql::Expr, now_us: i64) -> Result<Datum, SqlError> {
        let row: Row = (0..sql::catalog::stream_columns().len())
            .map(|column| if reads(expr, column) { stream_column(entry, self, column) } else { Datum::Null })
            .collect();
        expr.eval(&row, &sql::EvalContext::at(now_us))
    }

    /// Does a condition over the stream's columns hold for the entry?
    ///
    /// # Errors
    /// The condition's own, as of a cast that is not possible.
    pub fn satisfies(&self, entry: &LogEntry, condition: &sql::Expr, now_us: i64) -> Result<bool, SqlError> {
        let found = self.value_of(entry, condition, now_us)?;
        Ok(matches!(found, Datum::Bool(true)))
    }

    fn watches(&self, entry: &LogEntry) -> bool {
        if matches!(entry.operation, Operation::Gap { .. }) {
            return true;
        }
        let (db, name) = (&*entry.namespace.db, &*entry.namespace.collection);
        if changes::scope::is_internal_db(db) || name.starts_with("system.") {
            return false;
        }
        match &self.scope {
            StreamScope::Collection { db: d, name: n } => d == db && n == name,
            StreamScope::Database(d) => d == db,
            StreamScope::Cluster => true,
        }
    }

    fn shows(&self, entry: &LogEntry) -> bool {
        let operation = OperationType::of(entry);
        match operation {
            // Whoever chose operations does not know of those that are missing.
            OperationType::Gap => return true,
            OperationType::Corrected => return false,
            _ => {}
        }
        if self.operation_types.is_empty() {
            return operation.is_classic() || self.show_expanded_events;
        }
        self.operation_types.iter().any(|wanted| wanted == operation.as_str())
    }
}

fn reads(expr: &sql::Expr, column: usize) -> bool {
    let mut found = false;
    expr.walk(&mut |e| found |= matches!(e.kind, sql::ExprKind::Column(c) if c == column));
    found
}

/// The stream's row for an entry.
pub fn stream_row(entry: &LogEntry, stream: &StreamDefinition, columns: &ScanColumns) -> Row {
    columns.row(|column| stream_column(entry, stream, column))
}

/// The collection must be read anew: the log does not tell what became of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAnew;

/// What an entry does to the rows of its collection. It cannot say so
/// if the whole collection went away or was replaced, or if the pre-image is not known.
pub fn collection_delta(entry: &LogEntry, columns: &ScanColumns, out: &mut Vec<Delta>) -> Result<(), ReadAnew> {
    let row = |doc| collection_row(columns, doc);
    match &entry.operation {
        Operation::Insert { document, .. } => out.push((row(document), 1)),
        Operation::Update { document: Some(document), before, .. } | Operation::Replace { document, before, .. } => {
            let (old, new) = (row(&before.as_ref().ok_or(ReadAnew)?.document), row(document));
            // An update of what nobody reads is no change; nor does a row that fails fail again.
            if old != new {
                out.push((old, -1));
                out.push((new, 1));
            }
        }
        Operation::Delete { before, .. } => out.push((row(&before.as_ref().ok_or(ReadAnew)?.document), -1)),
        Operation::Update { document: None, .. } => return Err(ReadAnew),
        Operation::Corrected { document, before, .. } => {
            out.extend(before.as_ref().map(|before| (row(before), -1)));
            out.extend(document.as_ref().map(|document| (row(document), 1)));
        }
        Operation::Drop | Operation::Rename { .. } | Operation::DropDatabase => return Err(ReadAnew),
        Operation::Create { .. }
        | Operation::CreateIndexes { .. }
        | Operation::DropIndexes { .. }
        | Operation::Modify { .. }
        | Operation::Gap { .. } => {}
    }
    Ok(())
}
