//! How far a sink is: the lowest unfinished event, and which events above it are finished.
//!
//! ```text
//!   finished finished UNFINISHED finished unfinished | not read yet
//!                     ^ low      ^ in the ledger      ^ read
//! ```

use std::collections::BTreeSet;

use crate::event::Position;

#[derive(Debug, Default)]
pub struct Progress {
    /// The source has been read up to before this.
    read: Position,
    unfinished: BTreeSet<Position>,
    /// At or above `low`.
    finished: BTreeSet<Position>,
    /// Finished since they were last taken.
    fresh: Vec<Position>,
    /// Ledger entries that are on disk.
    stored: BTreeSet<Position>,
    stored_low: Position,
}

/// What has to be written so that a restart knows as much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressChanges {
    /// Everything before this is finished.
    pub low: Position,
    pub ledger_added: Vec<Position>,
    pub ledger_removed: Vec<Position>,
}

impl Progress {
    /// As a restart finds it.
    pub fn resume(low: Position, ledger: impl IntoIterator<Item = Position>) -> Self {
        let mut stored: BTreeSet<Position> = ledger.into_iter().collect();
        let finished = stored.split_off(&low);
        stored.extend(finished.iter().copied());
        Progress { read: low, finished, stored, stored_low: low, ..Progress::default() }
    }

    /// Everything before this is finished.
    pub fn low(&self) -> Position {
        self.unfinished.first().copied().unwrap_or(self.read)
    }

    /// The source has been read up to before this.
    pub fn read(&self) -> Position {
        self.read
    }

    pub fn ledger_len(&self) -> usize {
        self.finished.len()
    }

    pub fn unfinished_len(&self) -> usize {
        self.unfinished.len()
    }

    /// Takes in an event that was read. False if it is already known.
    pub fn begin(&mut self, position: Position) -> bool {
        if position < self.low() || self.finished.contains(&position) {
            self.read = self.read.max(position.next());
            self.trim();
            return false;
        }
        self.read = self.read.max(position.next());
        self.unfinished.insert(position)
    }

    /// Nothing more comes before this.
    pub fn read_up_to(&mut self, before: Position) {
        self.read = self.read.max(before);
        self.trim();
    }

    pub fn finish(&mut self, position: Position) {
        let was = self.unfinished.remove(&position);
        assert!(was, "an event is finished once, after it was read");
        self.finished.insert(position);
        self.fresh.push(position);
        self.trim();
    }

    fn trim(&mut self) {
        let low = self.low();
        while self.finished.first().is_some_and(|first| *first < low) {
            self.finished.pop_first();
        }
    }

    pub fn is_changed(&self) -> bool {
        !self.fresh.is_empty() || self.low() != self.stored_low
    }

    /// What changed since the last call.
    pub fn take(&mut self) -> ProgressChanges {
        let low = self.low();
        let kept = self.stored.split_off(&low);
        let ledger_removed = std::mem::replace(&mut self.stored, kept).into_iter().collect();
        let ledger_added: Vec<Position> = std::mem::take(&mut self.fresh).into_iter().filter(|p| *p >= low).collect();
        self.stored.extend(ledger_added.iter().copied());
        self.stored_low = low;
        ProgressChanges { low, ledger_added, ledger_removed }
    }

    /// `low` and the ledger entries as they will be once these are finished too.
    pub fn after(&self, done: &[Position]) -> (Position, Vec<Position>) {
        let done: BTreeSet<Position> = done.iter().copied().collect();
        let low = self.unfinished.iter().find(|p| !done.contains(p)).copied().unwrap_or(self.read);
        (low, done.into_iter().filter(|p| *p >= low).collect())
    }
}
