//! Bringing a view from nothing to the present: its sources' past, in chunks.

use std::sync::Arc;

use base::ClusterTime;
use dataflow::Delta;
use sql::{Source, SqlError};
use store::{Direction, LogEntry, Namespace, Reader as _, Snapshot, Store};

use crate::definition::{Definitions, StreamDefinition};
use crate::events::{StreamBounds, collection_delta, stream_row};
use crate::letters::attribute;
use crate::progress::{Build, BuildPhase};
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
    /// Hears how far the build is, and may end it.
    pub progress: &'a Build,
}

/// Entries between two looks at whether the build is still wanted.
const ADVANCE_EVERY: u64 = 256;

/// Feeds everything up to `past.position` into a fresh view.
pub fn build(view: &mut RunningView, past: &Past<'_>) -> Result<(), SqlError> {
    // One input at a time, in pieces: what a part of the rows gives was never so.
    view.flow.hold(true);
    for feed in 0..view.feeds.len() {
        past.progress.expect(expected(&view.feeds[feed].source, past)?);
    }
    past.progress.enter(BuildPhase::Reading);
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

/// How many events, documents or rows a source has.
fn expected(source: &Source, past: &Past<'_>) -> Result<u64, SqlError> {
    Ok(match source {
        Source::Stream { db, name, .. } => {
            let stream = past.definitions.stream(db, name).ok_or_else(|| missing("change stream", name))?;
            past.store.log_from_time(first_of(stream, past), past.position).count_entries().map_err(store_error)?
        }
        Source::Collection { db, name } => {
            let namespace = Namespace::new(db.as_str(), name.as_str());
            match past.snapshot.catalog().collection(&namespace) {
                Some(collection) => past.snapshot.counts(collection).map_err(store_error)?.documents,
                None => 0,
            }
        }
        Source::View { db, name } => {
            past.upstream.iter().find(|up| up.db == *db && up.name == *name).map_or(0, |up| up.rows.len() as u64)
        }
        Source::System { .. } | Source::Recursive(_) | Source::Working(_) => 0,
    })
}

/// Where a stream's events begin in the log.
fn first_of(stream: &StreamDefinition, past: &Past<'_>) -> ClusterTime {
    stream.start.next().max(past.store.oldest_time())
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
            view.add_row(&row, count);
        }
    }
    Ok(())
}

fn build_stream(view: &mut RunningView, feed: usize, db: &str, name: &str, past: &Past<'_>) -> Result<(), SqlError> {
    let stream = past.definitions.stream(db, name).ok_or_else(|| missing("change stream", name))?.clone();
    let columns = view.feeds[feed].columns.clone();
    let mut chunk: Vec<Delta> = Vec::with_capacity(CHUNK_ROWS);
    let bounds = StreamBounds::of(&view.feeds[feed].source)?;
    let mut wall_us = 0;
    let mut last = ClusterTime::ZERO;
    // Which event brought a row that fails is asked of the chunk's entries.
    let mut entries = Vec::new();
    let mut read = 0;
    for entry in past.store.log_from_time(first_of(&stream, past), past.position) {
        let entry = entry.map_err(store_error)?;
        read += 1;
        if u64::is_multiple_of(read, ADVANCE_EVERY) {
            past.progress.advance(ADVANCE_EVERY)?;
        }
        if chunk.len() >= CHUNK_ROWS && entry.position.time != last {
            tick(view, Some((feed, std::mem::take(&mut chunk))), wall_us)?;
            attribute(view, &entries, past.definitions, wall_us);
            entries.clear();
        }
        last = entry.position.time;
        if bounds.holds(&entry) && stream.takes(&entry, past.now_us) {
            wall_us = wall_us.max(entry.wall_ms.saturating_mul(1000));
            chunk.push((stream_row(&entry, &stream, &columns), 1));
            view.counters.last_event_ms = entry.wall_ms;
            if view.definition.keeps_dead_letters {
                entries.push(entry);
            }
        }
    }
    past.progress.advance(read % ADVANCE_EVERY)?;
    if chunk.is_empty() {
        return Ok(());
    }
    tick(view, Some((feed, chunk)), wall_us)?;
    attribute(view, &entries, past.definitions, wall_us);
    Ok(())
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
            if (chunk.len() as u64).is_multiple_of(ADVANCE_EVERY) {
                past.progress.advance(ADVANCE_EVERY)?;
            }
            if chunk.len() >= CHUNK_ROWS {
                tick_content(view, feed, std::mem::take(&mut chunk), past)?;
            }
        }
        past.progress.advance(chunk.len() as u64 % ADVANCE_EVERY)?;
        tick_content(view, feed, chunk, past)?;
    }
    let deltas = between(view, &namespace, &columns, past)?;
    tick_content(view, feed, deltas, past)
}

/// Rows that no event brings.
fn tick_content(view: &mut RunningView, feed: usize, rows: Vec<Delta>, past: &Past<'_>) -> Result<(), SqlError> {
    tick(view, Some((feed, rows)), past.now_us)?;
    let position = std::mem::replace(&mut view.position, past.position);
    attribute(view, &[], past.definitions, past.now_us);
    view.position = position;
    Ok(())
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
    past.progress.advance(rows.len() as u64)?;
    tick_content(view, feed, rows, past)
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
