//! Whole commits out of batches of events.
//!
//! Events of one cluster time belong together (a transaction, a bulk insert), and a batch may end in
//! their middle. What may still grow waits here for the next batch.

use base::ClusterTime;

use crate::translate::Captured;

#[cfg(test)]
mod tests;

/// Events that wait, and how long they have to.
#[derive(Debug, Default)]
pub struct Assembler {
    held: Vec<Captured>,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// It was as large as a batch gets, or comes from several shards: the next may go on in the
    /// middle of a commit.
    Cut,
    /// The server had nothing more.
    Drained,
    /// The server says that everything up to this time has been looked at.
    Complete(ClusterTime),
}

impl Assembler {
    /// The events that are complete, in order, with those that were held before.
    pub fn take(&mut self, events: Vec<Captured>, end: BatchEnd) -> Vec<Captured> {
        let mut all = std::mem::take(&mut self.held);
        let quiet = events.is_empty();
        all.extend(events);
        let Some(last) = all.last().map(|last| last.entry.position.time) else { return all };
        let complete = match end {
            BatchEnd::Complete(time) => time >= last,
            // An empty batch after a part of a commit: there is no rest.
            BatchEnd::Cut => quiet,
            BatchEnd::Drained => quiet || !may_grow(&all, last),
        };
        if !complete {
            let from = all.iter().rposition(|one| one.entry.position.time != last).map_or(0, |at| at + 1);
            self.held = all.split_off(from);
        }
        mark_last(&mut all);
        all
    }

    /// Gives up waiting for more of the last commit.
    pub fn flush(&mut self) -> Vec<Captured> {
        let mut all = std::mem::take(&mut self.held);
        mark_last(&mut all);
        all
    }

    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Only a transaction's or a bulk insert's events share a time.
fn may_grow(all: &[Captured], last: ClusterTime) -> bool {
    let tail = all.iter().rev().take_while(|one| one.entry.position.time == last);
    tail.enumerate().any(|(i, one)| i > 0 || one.entry.txn.is_some() || one.entry.position.index > 0)
}

/// Says of a transaction's last event that it is the last.
fn mark_last(all: &mut [Captured]) {
    for at in 0..all.len() {
        let next = all.get(at + 1).map(|next| next.entry.position.time);
        let entry = &mut all[at].entry;
        if let Some(txn) = &mut entry.txn {
            txn.last = next != Some(entry.position.time);
        }
    }
}
