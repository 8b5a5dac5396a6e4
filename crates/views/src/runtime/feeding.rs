//! One group of log entries as one view's tick.

use dataflow::Delta;
use rustc_hash::FxHashMap;
use sql::{Source, SqlError};
use store::{LogEntry, Namespace, Store};

use super::store_error;
use crate::build::concerns;
use crate::definition::Definitions;
use crate::events::{ReadAnew, StreamBounds, collection_delta, stream_row};
use crate::letters::attribute;
use crate::progress::Build;
use crate::view::RunningView;

/// What each distinct input got in this tick, shared by all views that read it.
pub(crate) type Decoded = FxHashMap<dataflow::Input, Result<Vec<Delta>, ReadAnew>>;

/// A bug in one view ends that view, not the thread that keeps all of them.
pub(crate) fn contained<T>(work: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(SqlError::internal("the view's evaluation panicked; the server's log has the details")))
}

/// Gives a view its deltas of one group of entries, decoding each distinct input once.
pub(crate) fn feed(
    view: &mut RunningView,
    entries: &[LogEntry],
    upstream: &[RunningView],
    definitions: &Definitions,
    decoded: &mut Decoded,
    now_us: i64,
) -> Result<(), SqlError> {
    let mut deltas = Vec::with_capacity(view.feeds.len());
    for feed in &view.feeds {
        if let Source::View { db, name } = &feed.source {
            let output = upstream
                .iter()
                .find(|up| up.durable && up.definition.db == *db && up.definition.name == *name)
                .map_or(&[][..], |up| &up.output);
            deltas.push(output.iter().map(|(row, n)| (feed.columns.row(|c| row[c].clone()), *n)).collect());
            continue;
        }
        if !decoded.contains_key(&feed.input) {
            let made = decode(feed, entries, definitions, now_us)?;
            decoded.insert(feed.input.clone(), made);
        }
        match &decoded[&feed.input] {
            Ok(rows) => deltas.push(rows.clone()),
            Err(ReadAnew) => {
                view.stale = true;
                return Ok(());
            }
        }
    }
    let idle = deltas.iter().all(Vec::is_empty) && view.flow.deadline().is_none_or(|d| d > now_us);
    if idle {
        view.output.clear();
        return Ok(());
    }
    view.step(deltas, now_us)?;
    attribute(view, entries, definitions, now_us);
    Ok(())
}

pub(crate) fn decode(
    feed: &crate::view::Feed,
    entries: &[LogEntry],
    definitions: &Definitions,
    now_us: i64,
) -> Result<Result<Vec<Delta>, ReadAnew>, SqlError> {
    let mut rows = Vec::new();
    match &feed.source {
        Source::Stream { db, name, .. } => {
            let Some(stream) = definitions.stream(db, name) else { return Ok(Ok(rows)) };
            let bounds = StreamBounds::of(&feed.source)?;
            for entry in entries {
                if bounds.holds(entry) && stream.takes(entry, now_us) {
                    rows.push((stream_row(entry, stream, &feed.columns), 1));
                }
            }
        }
        Source::Collection { db, name } => {
            let namespace = Namespace::new(db.as_str(), name.as_str());
            for entry in entries.iter().filter(|entry| concerns(entry, &namespace)) {
                if collection_delta(entry, &feed.columns, &mut rows).is_err() {
                    return Ok(Err(ReadAnew));
                }
            }
        }
        Source::View { .. } | Source::System { .. } | Source::Recursive(_) | Source::Working(_) => {}
    }
    Ok(Ok(rows))
}

/// Entries of one tick while a view catches up.
const GROUP: usize = 4096;

/// Applies the log after a view's position, up to a time. A view that turns stale stays where it is.
pub(crate) fn catch_up(
    store: &Store,
    definitions: &Definitions,
    view: &mut RunningView,
    up_to: base::ClusterTime,
    progress: Option<&Build>,
) -> Result<(), SqlError> {
    if view.position >= up_to || view.stale {
        return Ok(());
    }
    let mut group: Vec<LogEntry> = Vec::with_capacity(GROUP);
    for entry in store.log_from_time(view.position.next(), up_to) {
        let entry = entry.map_err(store_error)?;
        if group.len() >= GROUP && group.last().is_some_and(|last| last.position.time != entry.position.time) {
            progress.map_or(Ok(()), |build| build.advance(group.len() as u64))?;
            feed_group(view, &group, definitions)?;
            group.clear();
            if view.stale {
                return Ok(());
            }
        }
        group.push(entry);
    }
    progress.map_or(Ok(()), |build| build.advance(group.len() as u64))?;
    feed_group(view, &group, definitions)?;
    if !view.stale {
        view.position = up_to;
    }
    Ok(())
}

fn feed_group(view: &mut RunningView, entries: &[LogEntry], definitions: &Definitions) -> Result<(), SqlError> {
    let Some(last) = entries.last() else { return Ok(()) };
    let now_us = last.wall_ms.saturating_mul(1000);
    feed(view, entries, &[], definitions, &mut Decoded::default(), now_us)?;
    view.position = last.position.time;
    Ok(())
}
