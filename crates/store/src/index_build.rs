//! Indexes built on large collections while others write.
//!
//! ```text
//!   committer: the index is entered as "building" ──> every writer keeps it from here on
//!   builder:   snapshot ─ keys of 1000 documents ─┐
//!   committer: those documents that are unchanged ┘ enter them; again until the snapshot is read
//!   committer: doubts settled, the index becomes one of the collection's, the log entry
//! ```
//! A document whose key is taken, or that has no keys at all, becomes a *doubt*: whether it is an
//! error shows when the build ends, as the document may be gone by then.
//!
//! # Invariants
//! - Readers never see an index that is not whole.
//! - A build that fails, or that a crash ends, leaves no entries (`layout.rs`, key `b`).

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use document::DocBuf;
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashSet;

use crate::catalog::{Collection, CollectionId, IndexId, RecordId};
use crate::error::Result;
use crate::index::{Index, Keys};
use crate::pending::Committed;
use crate::read::Reader;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::write::{IndexCounts, WriteTxn};

/// Documents and bytes of documents entered by one commit.
const STEP_DOCUMENTS: usize = 1000;
const STEP_BYTES: usize = 4 * 1024 * 1024;
/// Doubts are settled before the end when there are more: they are in memory.
const MAX_DOUBTS: usize = 10_000;
/// How long open transactions may hold a build up.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// An index that writers keep and nobody reads.
#[derive(Clone, Debug)]
pub(crate) struct Building {
    pub index: Arc<Index>,
    /// Documents that could not be entered.
    pub doubts: Arc<Mutex<FxHashSet<RecordId>>>,
    pub end: BuildEnd,
}

/// Tells when a build is over, well or not.
#[derive(Clone, Debug, Default)]
pub struct BuildEnd(Arc<(Mutex<bool>, Condvar)>);

impl BuildEnd {
    pub(crate) fn set(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Blocks the thread until the build is over.
    pub fn wait(&self) {
        let mut over = self.0.0.lock();
        while !*over {
            self.0.1.wait(&mut over);
        }
    }
}

/// What became of a wish for indexes.
#[derive(Debug)]
pub enum IndexCreation {
    /// They exist.
    Done(IndexCounts),
    /// They are to be built by the caller: `IndexBuild::run`.
    Build(IndexBuild),
    /// Somebody else is building one of them; wait and ask again.
    Wait(BuildEnd),
}

/// Indexes of one collection being built. Dropping it unfinished leaves them to `dropIndexes`.
#[derive(Debug)]
pub struct IndexBuild {
    pub(crate) collection: CollectionId,
    pub(crate) indexes: Vec<Arc<Index>>,
    pub(crate) end: BuildEnd,
    pub(crate) before: usize,
}

/// A document and its keys in each index; `None` if it has none that could be stored.
pub(crate) struct Row {
    pub record: RecordId,
    pub document: DocBuf,
    pub keys: Vec<Option<Keys>>,
}

impl IndexBuild {
    pub(crate) fn ids(&self) -> Vec<IndexId> {
        self.indexes.iter().map(|index| index.id).collect()
    }

    /// Builds. Blocks the thread. Errors: 11000 if the documents do not fit a unique index, 171
    /// parallel arrays, 276 if the collection or the index was dropped meanwhile.
    pub fn run(self, store: &Store) -> Result<Committed<IndexCounts>> {
        let result = self.enter_all(store).and_then(|()| self.finish(store));
        if result.is_err() {
            self.abandon(store);
        }
        self.end.set();
        result
    }

    fn enter_all(&self, store: &Store) -> Result<()> {
        let snapshot = store.snapshot()?;
        let mut after = RecordId(0);
        while let Some(next) = self.enter_some(store, &snapshot, after, STEP_DOCUMENTS)? {
            after = next;
            self.settle_if_many(store)?;
        }
        Ok(())
    }

    /// Enters the next documents of the snapshot. Answers the last of them; `None` at the end.
    pub(crate) fn enter_some(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        after: RecordId,
        limit: usize,
    ) -> Result<Option<RecordId>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        for stored in snapshot.scan_after(self.collection, after) {
            let stored = stored?;
            bytes += stored.document.len();
            let keys = self.indexes.iter().map(|index| index.keys(stored.document.as_doc()).ok()).collect();
            rows.push(Row { record: stored.record, document: stored.document, keys });
            if rows.len() == limit || bytes > STEP_BYTES {
                break;
            }
        }
        let Some(last) = rows.last().map(|row| row.record) else { return Ok(None) };
        let rows: Arc<[Row]> = rows.into();
        self.write(store, |collection, ids| {
            let rows = Arc::clone(&rows);
            move |txn: &mut WriteTxn| txn.enter_built(collection, &ids, &rows)
        })?;
        Ok(Some(last))
    }

    fn settle_if_many(&self, store: &Store) -> Result<()> {
        let catalog = store.catalog();
        let many = |collection: &Collection| {
            collection.building.iter().any(|building| building.doubts.lock().len() > MAX_DOUBTS)
        };
        if !catalog.by_id(self.collection).is_some_and(|collection| many(collection)) {
            return Ok(());
        }
        self.write(store, |collection, ids| move |txn: &mut WriteTxn| txn.settle_doubts(collection, &ids)).map(|_| ())
    }

    /// Makes them indexes of the collection, once no transaction that has written to it is open.
    pub(crate) fn finish(&self, store: &Store) -> Result<Committed<IndexCounts>> {
        let before = self.before;
        self.write(store, |collection, ids| move |txn: &mut WriteTxn| txn.finish_builds(collection, &ids, before))
    }

    /// Commits, and where an open transaction is in the way waits for its end, which comes by itself.
    fn write<R, F>(&self, store: &Store, make: impl Fn(CollectionId, Vec<IndexId>) -> F) -> Result<Committed<R>>
    where
        F: FnOnce(&mut WriteTxn) -> Result<R> + Send + 'static,
        R: Send + 'static,
    {
        store.write_waiting(Instant::now() + PATIENCE, || make(self.collection, self.ids()))
    }

    pub(crate) fn abandon(&self, store: &Store) {
        let abandoned = self.write(store, |collection, ids| move |txn: &mut WriteTxn| txn.abandon(collection, &ids));
        if let Err(error) = abandoned {
            tracing::debug!(%error, "the remains of an index build stay until the next start");
        }
    }
}
