//! Which event brought a row that failed: asked only when one did.

use std::collections::VecDeque;

use changes::event::Event;
use changes::token::ResumeToken;
use dataflow::Failure;
use rustc_hash::FxHashMap;
use sql::Row;
use store::LogEntry;

use crate::dead_letters::DeadLetter;
use crate::definition::Definitions;
use crate::runtime::decode;
use crate::view::RunningView;

/// The event of a failure.
struct Origin {
    token: String,
    at_ms: i64,
}

/// Makes dead letters of the rows that a view's tick over these entries left out. A row that fails where
/// it comes in has the event that brought it; one that was computed (a join's pair, a group) has the
/// token after the tick.
pub(crate) fn attribute(view: &mut RunningView, entries: &[LogEntry], definitions: &Definitions, now_us: i64) {
    if view.failures.is_empty() {
        return;
    }
    let failures = std::mem::take(&mut view.failures);
    let mut waiting: FxHashMap<Row, VecDeque<usize>> = FxHashMap::default();
    for (i, failure) in failures.iter().enumerate() {
        waiting.entry(failure.row.clone()).or_default().push_back(i);
    }
    let mut origins: Vec<Option<Origin>> = Vec::new();
    origins.resize_with(failures.len(), || None);
    let mut known = 0;
    for (feed, entry) in view.feeds.iter().flat_map(|feed| entries.iter().map(move |entry| (feed, entry))) {
        if known == failures.len() {
            break;
        }
        // What fails here failed before the tick; a view is then stale or stopped.
        let Ok(Ok(rows)) = decode(feed, std::slice::from_ref(entry), definitions, now_us) else { continue };
        for (row, _) in rows.iter().filter(|(_, count)| *count > 0) {
            let Some(at) = waiting.get_mut(row).and_then(VecDeque::pop_front) else { continue };
            origins[at] = Some(Origin { token: Event::new(entry).change_id(), at_ms: entry.wall_ms });
            known += 1;
        }
    }
    let position = entries.last().map_or(view.position, |last| last.position.time);
    let later = ResumeToken::high_water_mark(position.next()).data();
    let twice = reported_twice(&failures, &origins);
    for (i, (failure, origin)) in failures.iter().zip(origins).enumerate() {
        match origin {
            Some(Origin { token, at_ms }) => view.dead_letters.add(DeadLetter::new(failure, token, at_ms)),
            None if twice[i] => {}
            None => view.dead_letters.add(DeadLetter::new(failure, later.clone(), now_us / 1000)),
        }
    }
}

/// Failures without an event of their own whose row another one has: several aggregates of one row fail.
fn reported_twice(failures: &[Failure], origins: &[Option<Origin>]) -> Vec<bool> {
    let found: rustc_hash::FxHashSet<&Row> =
        failures.iter().zip(origins).filter(|(_, origin)| origin.is_some()).map(|(failure, _)| &failure.row).collect();
    failures.iter().map(|failure| found.contains(&failure.row)).collect()
}
