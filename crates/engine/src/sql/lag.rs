//! How far something is behind the log: in changes and in milliseconds.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use base::{ClusterTime, Rate};
use parking_lot::Mutex;

/// Commit groups remembered one by one; older ones stand together, the more the older they are.
const MARKS: usize = 4096;

/// Changes committed since the database was opened, and when.
#[derive(Debug, Default)]
pub(super) struct LogCount(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    total: u64,
    rate: Rate,
    marks: VecDeque<Mark>,
}

/// A commit group, or several that stand together.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Of its last change.
    time: ClusterTime,
    /// Changes up to there.
    total: u64,
    /// Of its first change, milliseconds since the epoch.
    wall_ms: i64,
}

/// How much of the log lies after a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lag {
    pub events: u64,
    pub ms: i64,
}

impl LogCount {
    /// A commit group of `events` changes (at least one) that ends at `time` and began at `wall_ms`.
    pub fn add(&self, time: ClusterTime, events: u64, wall_ms: i64) {
        let mut counted = self.0.lock();
        counted.total += events;
        counted.rate.add(events, wall_ms);
        let total = counted.total;
        counted.marks.push_back(Mark { time, total, wall_ms });
        if counted.marks.len() >= 2 * MARKS {
            counted.join_old();
        }
    }

    pub fn total(&self) -> u64 {
        self.0.lock().total
    }

    /// Per second, lately.
    pub fn rate(&self, now_ms: i64) -> f64 {
        self.0.lock().rate.per_second(now_ms)
    }

    /// What is after `position`: exact to a commit group among the newest thousands, up to a hundredth too
    /// much further back; changes from before the start are not in it.
    pub fn after(&self, position: ClusterTime, now_ms: i64) -> Lag {
        let counted = self.0.lock();
        let next = counted.marks.partition_point(|mark| mark.time <= position);
        let Some(first) = counted.marks.get(next) else { return Lag::default() };
        let before = next.checked_sub(1).and_then(|at| counted.marks.get(at)).map_or(0, |mark| mark.total);
        Lag { events: counted.total - before, ms: now_ms.saturating_sub(first.wall_ms).max(0) }
    }
}

impl Counted {
    /// Joins each two neighbours of the older half.
    fn join_old(&mut self) {
        let young = self.marks.split_off(MARKS);
        let mut old = std::mem::take(&mut self.marks).into_iter();
        while let (Some(first), Some(second)) = (old.next(), old.next()) {
            self.marks.push_back(Mark { wall_ms: first.wall_ms, ..second });
        }
        self.marks.extend(young);
    }
}
