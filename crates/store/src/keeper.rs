//! What happens in the background: contents of dropped collections removed, the log cut to its
//! retention, documents of TTL indexes expired.
//!
//! All of it goes through the committer in small steps, so writers are never kept waiting long.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use document::matcher::Matcher;
use document::{Context, Doc, Value};
use parking_lot::{Condvar, Mutex};

use crate::catalog::{Collection, CollectionId, RecordId};
use crate::committer::{Inbox, TypedJob};
use crate::entry::LogPosition;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::kv::{Direction, KeyRange, Space};
use crate::layout;
use crate::log_codec::RecordReader;
use crate::pending::Pending;
use crate::planner::{KeyBounds, Query, plan};
use crate::read::Reader;
use crate::shared::Shared;
use crate::write::WriteTxn;

/// Keys, log records or documents removed per write.
const STEP: usize = 1000;

/// How much of the change log is kept. An entry goes when it is older than `age` or the log larger
/// than `bytes`, and nobody has pinned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRetention {
    pub age: Duration,
    pub bytes: u64,
}

impl Default for LogRetention {
    fn default() -> Self {
        LogRetention { age: Duration::from_secs(24 * 60 * 60), bytes: 2 << 30 }
    }
}

pub(crate) struct Keeper {
    pub shared: Arc<Shared>,
    pub inbox: Arc<Inbox>,
    pub retention: LogRetention,
}

/// Ends the keeper's thread.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    /// Waits; true if it is time to end.
    fn wait(&self, interval: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, interval);
        }
        *stopped
    }
}

impl Keeper {
    pub fn run(&self, stop: &Stop, interval: Duration) {
        while !stop.wait(interval) {
            match self.keep() {
                Ok(()) => {}
                Err(Error::Closed) => return,
                Err(error) => tracing::warn!(%error, "background upkeep of the store failed; it will be tried again"),
            }
        }
    }

    /// One round of everything.
    pub fn keep(&self) -> Result<()> {
        self.remove_garbage()?;
        self.trim_log()?;
        self.expire_documents()
    }

    fn write<R: Send + 'static>(&self, closure: impl FnOnce(&mut WriteTxn) -> Result<R> + Send + 'static) -> Result<R> {
        let (pending, slot) = Pending::new();
        if self.inbox.push(0, Box::new(TypedJob::new(closure, slot))).is_err() {
            return Err(Error::Closed);
        }
        Ok(pending.wait()?.value)
    }

    /// Removes what dropped collections and indexes have left.
    fn remove_garbage(&self) -> Result<()> {
        let garbage = KeyRange::prefix(layout::GARBAGE);
        let marks: Vec<_> = self.shared.kv.range(Space::Meta, garbage, Direction::Forward).collect::<Result<_>>()?;
        for (mark, _) in marks {
            let Some((space, prefix)) = layout::garbage_of_key(&mark) else {
                return Err(Error::corrupt("a mark of something dropped"));
            };
            while !self.remove_some(space, prefix, mark.clone())? {}
        }
        Ok(())
    }

    /// True when nothing is left; the mark is then gone too.
    fn remove_some(&self, space: Space, prefix: [u8; 4], mark: Bytes) -> Result<bool> {
        // Looked up outside the committer; nobody else writes under a dropped id.
        let keys = self.shared.kv.range(space, KeyRange::prefix(&prefix), Direction::Forward).take(STEP);
        let keys: Vec<Bytes> = keys.map(|entry| Ok(entry?.0)).collect::<Result<_>>()?;
        let last = keys.len() < STEP;
        self.write(move |txn| {
            keys.into_iter().for_each(|key| txn.overlay.remove(space, key));
            if last {
                txn.overlay.remove(Space::Meta, mark);
            }
            Ok(last)
        })
    }

    fn trim_log(&self) -> Result<()> {
        loop {
            let expired = self.expired_records()?;
            let Some(last) = expired.last else { return Ok(()) };
            let more = expired.keys.len() == STEP;
            self.write(move |txn| {
                expired.keys.into_iter().for_each(|key| txn.overlay.remove(Space::Log, key));
                txn.effects.log_removed = Some((last, expired.bytes));
                Ok(())
            })?;
            if !more {
                return Ok(());
            }
        }
    }

    /// The oldest records, as far as they may go.
    fn expired_records(&self) -> Result<Expired> {
        let shared = &self.shared;
        let age_ms = i64::try_from(self.retention.age.as_millis()).unwrap_or(i64::MAX);
        let cutoff_ms = shared.clock.now_ms().saturating_sub(age_ms);
        let limit = shared.log.pinned().min(shared.durable());
        let mut excess = shared.log.bytes().saturating_sub(self.retention.bytes);
        let mut expired = Expired::default();
        let from = crate::log_codec::record_key(shared.log.removed()).to_vec();
        for entry in shared.kv.range(Space::Log, KeyRange { from, to: None }, Direction::Forward) {
            let (key, record) = entry?;
            let size = record.len() as u64;
            let (last, wall_ms) = last_of_record(record)?;
            if last.time >= limit || (wall_ms >= cutoff_ms && excess == 0) || expired.keys.len() == STEP {
                break;
            }
            excess = excess.saturating_sub(size);
            expired.bytes += size;
            expired.last = Some(last);
            expired.keys.push(key);
        }
        Ok(expired)
    }

    fn expire_documents(&self) -> Result<()> {
        let catalog = self.shared.catalog();
        for collection in catalog.all() {
            for index in &collection.indexes {
                if let Some(seconds) = index.expire_after {
                    self.expire(collection, index, seconds)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes documents whose date is older than the index allows, oldest dates first.
    fn expire(&self, collection: &Arc<Collection>, index: &Arc<Index>, seconds: i64) -> Result<()> {
        let path = index.parts.first().map_or("", |part| &*part.path);
        let cutoff_ms = self.shared.clock.now_ms().saturating_sub(seconds.saturating_mul(1000));
        let old = Doc::new().with("$lte", Value::Date(cutoff_ms));
        let filter = Doc::new().with(path, old).to_buf();
        let matcher = Arc::new(Matcher::parse(filter.as_doc(), &Context::default())?);
        loop {
            let found = self.find_expired(collection, index, &matcher)?;
            let more = found.len() == STEP;
            if found.is_empty() {
                return Ok(());
            }
            let (id, index, matcher) = (collection.id, Arc::clone(index), Arc::clone(&matcher));
            let deleted = self.write(move |txn| delete_expired(txn, id, &index, &matcher, &found))?;
            // What a transaction holds is tried again in the next round.
            if !more || deleted == 0 {
                return Ok(());
            }
        }
    }

    fn find_expired(&self, collection: &Arc<Collection>, index: &Index, matcher: &Matcher) -> Result<Vec<RecordId>> {
        let snapshot = self.shared.snapshot()?;
        let Some(collection) = snapshot.catalog().by_id(collection.id) else { return Ok(Vec::new()) };
        let query = Query { matcher, sort: None, hint: None, collation: None, bounds: KeyBounds::default() };
        let plan = plan(collection, &query)?;
        let mut found = Vec::new();
        for row in plan.execute(&snapshot) {
            let row = row?;
            if matcher.matches(row.document.as_doc())? && index.covers(row.document.as_doc())? {
                found.push(row.record);
            }
            if found.len() == STEP {
                break;
            }
        }
        Ok(found)
    }
}

#[derive(Default)]
struct Expired {
    keys: Vec<Bytes>,
    bytes: u64,
    last: Option<LogPosition>,
}

fn last_of_record(record: Bytes) -> Result<(LogPosition, i64)> {
    let mut reader = RecordReader::default();
    reader.refill(record);
    let mut last = (LogPosition::default(), i64::MIN);
    while let Some(found) = reader.peek_time()? {
        last = found;
        reader.skip()?;
    }
    Ok(last)
}

/// Looks again, as the documents may have changed since they were found.
fn delete_expired(
    txn: &mut WriteTxn,
    collection: CollectionId,
    index: &Index,
    matcher: &Matcher,
    found: &[RecordId],
) -> Result<usize> {
    if txn.catalog().by_id(collection).is_none() {
        return Ok(0);
    }
    let mut deleted = 0;
    for record in found {
        let Some(document) = txn.fetch(collection, *record)? else { continue };
        if !matcher.matches(document.as_doc())? || !index.covers(document.as_doc())? {
            continue;
        }
        match txn.delete(collection, *record, &document) {
            Ok(()) => deleted += 1,
            Err(Error::WriteConflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}
