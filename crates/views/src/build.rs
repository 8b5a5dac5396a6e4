//! Bringing a view from nothing to the present: its sources' past, in chunks.

use std::sync::Arc;

use base::ClusterTime;
use dataflow::Delta;
use sql::{Source, SqlError};
use store::{Direction, LogEntry, Namespace, Reader as _, Snapshot, Store};

use crate::definition::{Definitions, StreamDefinition};
use crate::events::{StreamBounds, collection_delta, stream_row};
use crate::runtime::{Upstream, store_error};
use crate::scan::{ScanColumns, collection_row};
use crate::view::RunningView;

/// Input rows per tick while building: large enough to amortise, small enough to bound memory.
const CHUNK_ROWS: usize = 4096;

/// Where the past is read from.
pub struct Past<'a> {
    pub store: &'a Store,
    pub definitions: &'a Definitions,
    /// Collections are read from here …
    pub snapshot: &'a Snapshot,
    /// … and brought from the snapshot's time to this one, forwards or backwards, by the log.
    pub position: ClusterTime,
    /// Rows of the views that this one reads, at `position`.
    pub upstream: Vec<Upstream>,
    pub now_us: i64,
}

/// Feeds everything up to `past.position` into a fresh view.
pub fn build(view: &mut RunningView, past: &Past<'_>) -> Result<(), SqlError> {
    // One input at a time, in pieces: what a part of the rows gives was never so.
    view.flow.hold(true);
    for feed in 0..view.feeds.len() {
        let source = view.feeds[feed].source.clone();
        match source {
            Source::Stream { db, name, .. } => build_stream(view, feed, &db, &name, past)?,
            Source::Collection { db, name } => build_collection(view, feed, &db, &name, past)?,
            Source::View { db, name } => build_view(view, feed, &db, &name, past)?,
            Source::Recursive(_) | Source::Working(_) => {
                return Err(SqlError::unsupported("WITH RECURSIVE in a maintained query"));
            }
            Source::System { schema, name } => {
                return Err(SqlError::unsupported(format!("a maintained query over {schema}.{name}"))
                    .with_hint("system tables are read when a query runs; use a plain SELECT"));
            }
        }
    }
    view.flow.hold(false);
    // The first tick of queries without input rows (a global count), and the present time.
    tick(view, None, past.now_us)?;
    view.position = past.position;
    Ok(())
}

fn tick(view: &mut RunningView, rows: Option<(usize, Vec<Delta>)>, now_us: i64) -> Result<(), SqlError> {
    let mut deltas = vec![Vec::new(); view.feeds.len()];
    if let Some((feed, rows)) = rows {
        deltas[feed] = rows;
    }
    view.step(deltas, now_us)?;
    let output = std::mem::take(&mut view.output);
    if !view.keeps_rows {
        // An anonymous query's first answer is its whole snapshot.
        for (row, count) in output {
            *view.rows.entry(row).or_insert(0) += count;
        }
        view.rows.retain(|_, count| *count != 0);
    }
    Ok(())
}

fn build_stream(view: &mut RunningView, feed: usize, db: &str, name: &str, past: &Past<'_>) -> Result<(), SqlError> {
    let stream = past.definitions.stream(db, name).ok_or_else(|| missing("change stream", name))?.clone();
    let columns = view.feeds[feed].columns.clone();
    let mut chunk: Vec<Delta> = Vec::with_capacity(CHUNK_ROWS);
    let bounds = StreamBounds::of(&view.feeds[feed].source)?;
    let mut ctx = dataflow::StepContext::at(past.now_us);
    let mut wall_us = 0;
    let mut last = ClusterTime::ZERO;
    for entry in past.store.log_from_time(stream.start.next().max(past.store.oldest_time()), past.position) {
        let entry = entry.map_err(store_error)?;
        if chunk.len() >= CHUNK_ROWS && entry.position.time != last {
            tick(view, Some((feed, std::mem::take(&mut chunk))), wall_us)?;
        }
        last = entry.position.time;
        if bounds.holds(&entry) && stream.takes(&entry, &mut ctx)? {
            wall_us = wall_us.max(entry.wall_ms.saturating_mul(1000));
            chunk.push((stream_row(&entry, &stream, &columns), 1));
            view.counters.last_event_ms = entry.wall_ms;
        }
    }
    if chunk.is_empty() { Ok(()) } else { tick(view, Some((feed, chunk)), wall_us) }
}

fn build_collection(
    view: &mut RunningView,
    feed: usize,
    db: &str,
    name: &str,
    past: &Past<'_>,
) -> Result<(), SqlError> {
    let columns = view.feeds[feed].columns.clone();
    let namespace = Namespace::new(db, name);
    if let Some(collection) = past.snapshot.catalog().collection(&namespace).cloned() {
        let mut chunk: Vec<Delta> = Vec::with_capacity(CHUNK_ROWS);
        for stored in past.snapshot.scan(collection.id, Direction::Forward) {
            let stored = stored.map_err(store_error)?;
            chunk.push((collection_row(&columns, &stored.document), 1));
            if chunk.len() >= CHUNK_ROWS {
                tick(view, Some((feed, std::mem::take(&mut chunk))), past.now_us)?;
            }
        }
        tick(view, Some((feed, chunk)), past.now_us)?;
    }
    let deltas = between(view, &namespace, &columns, past)?;
    tick(view, Some((feed, deltas)), past.now_us)
}

/// What leads from the snapshot to `past.position`: the log's changes after it, or, where the
/// snapshot is ahead, those up to it taken back. Marks the view stale if the log cannot tell.
fn between(
    view: &mut RunningView,
    namespace: &Namespace,
    columns: &ScanColumns,
    past: &Past<'_>,
) -> Result<Vec<Delta>, SqlError> {
    let (snapshot, position) = (past.snapshot.time(), past.position);
    let (from, up_to, sign) = if snapshot <= position { (snapshot, position, 1) } else { (position, snapshot, -1) };
    let mut deltas = Vec::new();
    if from == up_to {
        return Ok(deltas);
    }
    for entry in past.store.log_from_time(from.next(), up_to) {
        let entry = entry.map_err(store_error)?;
        if concerns(&entry, namespace) && collection_delta(&entry, columns, &mut deltas).is_err() {
            view.stale = true;
        }
    }
    deltas.iter_mut().for_each(|(_, count)| *count *= sign);
    Ok(deltas)
}

fn build_view(view: &mut RunningView, feed: usize, db: &str, name: &str, past: &Past<'_>) -> Result<(), SqlError> {
    let columns = view.feeds[feed].columns.clone();
    let upstream = past
        .upstream
        .iter()
        .find(|up| up.db == db && up.name == name)
        .ok_or_else(|| missing("materialized view", name))?;
    let rows: Vec<Delta> = upstream.rows.iter().map(|(row, n)| (columns.row(|c| row[c].clone()), *n)).collect();
    tick(view, Some((feed, rows)), past.now_us)
}

/// Does the entry change the rows of this collection (also: drop or rename it)?
pub fn concerns(entry: &LogEntry, namespace: &Namespace) -> bool {
    match &entry.operation {
        store::Operation::DropDatabase => entry.namespace.db == namespace.db,
        store::Operation::Rename { to, .. } => entry.namespace == *namespace || to == namespace,
        _ => entry.namespace == *namespace,
    }
}

/// 42P01.
pub fn missing(kind: &str, name: &str) -> SqlError {
    SqlError::new("42P01", format!("{kind} \"{name}\" does not exist"))
}

/// A stream as the runtime holds it.
pub type SharedStream = Arc<StreamDefinition>;
