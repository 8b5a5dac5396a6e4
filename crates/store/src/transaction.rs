//! Multi-document transactions: snapshot isolation, first writer wins.
//!
//! ```text
//!   begin ─ snapshot ─┬─ statement ─ overlay ─┐
//!                     ├─ statement ─ overlay ─┼─> one write closure: all of it, one cluster time
//!                     └─ refused (dropped)    ┘
//! ```
//! A statement takes a lock on each document and unique key it writes. It fails with 112 if another
//! transaction holds the lock, or if what is there has changed since the snapshot; ordinary writes
//! fail with 112 while the lock is held (`Store::write_waiting` waits).
//!
//! # Invariants
//! - Locks are held from the statement until the commit is applied, or the transaction is gone.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use document::DocBuf;

use crate::catalog::{Catalog, Collection};
use crate::committer::{Inbox, TypedJob};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::kv::{KvRead, Space};
use crate::layout;
use crate::locks::TxnId;
use crate::overlay::{Overlaid, Overlay};
use crate::pending::{Committed, Pending};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::write::{Effects, Role, WriteTxn};

/// What the log entries of a transaction have in common.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    pub lsid: DocBuf,
    pub txn_number: i64,
}

/// An open transaction. Dropping it aborts. One statement at a time.
pub struct Transaction {
    inbox: Arc<Inbox>,
    snapshot: Snapshot,
    work: Work,
    locks: HeldLocks,
}

/// What the statements so far have done.
struct Work {
    overlay: Arc<Overlay>,
    catalog: Arc<Catalog>,
    effects: Effects,
}

/// Lets go of the transaction's locks when it is over, however it ends.
struct HeldLocks {
    shared: Arc<Shared>,
    txn: TxnId,
}

impl Drop for HeldLocks {
    fn drop(&mut self) {
        self.shared.locks.release(self.txn);
    }
}

impl Transaction {
    pub(crate) fn begin(shared: &Arc<Shared>, inbox: &Arc<Inbox>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let snapshot = shared.snapshot()?;
        let catalog = Arc::clone(snapshot.catalog_arc());
        let txn = TxnId(NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Transaction {
            inbox: Arc::clone(inbox),
            snapshot,
            work: Work { overlay: Arc::default(), catalog, effects: Effects::default() },
            locks: HeldLocks { shared: Arc::clone(shared), txn },
        })
    }

    /// Runs a statement on the calling thread. If it refuses, what it wrote is dropped and the
    /// transaction stays as it was; after 112 the caller should abort.
    pub fn statement<R>(&mut self, run: impl FnOnce(&mut WriteTxn) -> Result<R>) -> Result<R> {
        self.locks.shared.check_healthy()?;
        let base: Arc<dyn KvRead> = Arc::new(self.reading());
        let role = Role::Statement { txn: self.locks.txn, snapshot: Arc::clone(self.snapshot.kv()) };
        let mut txn = WriteTxn::new(&self.locks.shared, base, Arc::clone(&self.work.catalog), role);
        let value = run(&mut txn)?;
        let (overlay, catalog, effects) = txn.into_work();
        self.work.catalog = catalog;
        self.work.effects.absorb(effects);
        let mine = Arc::make_mut(&mut self.work.overlay);
        mine.absorb(overlay);
        // What the next statement reads as the counts; the commit works them out anew.
        for (collection, (documents, bytes)) in &self.work.effects.counts {
            let counts = layout::read_counts(&**self.snapshot.kv(), *collection)?.plus(*documents, *bytes);
            let key = layout::counts_key(*collection);
            mine.put(Space::Meta, bytes::Bytes::copy_from_slice(&key), counts.encode());
        }
        Ok(value)
    }

    fn reading(&self) -> Overlaid {
        Overlaid::new(Arc::clone(self.snapshot.kv()), Arc::clone(&self.work.overlay))
    }

    /// The snapshot with the transaction's own writes in it.
    pub fn view(&self) -> Snapshot {
        Snapshot::new(Arc::new(self.reading()), Arc::clone(&self.work.catalog), self.snapshot.time())
    }

    /// Whether a statement has written anything.
    pub fn has_writes(&self) -> bool {
        !self.work.overlay.is_empty() || !self.work.effects.touched.is_empty()
    }

    /// Makes everything visible and durable at once. Its log entries stand together, share one
    /// time, and carry the session and number.
    pub fn commit(self, lsid: DocBuf, txn_number: i64) -> Pending<()> {
        if !self.has_writes() {
            let time = self.locks.shared.applied();
            return Pending::ready(Ok(Committed { value: (), time }));
        }
        let Transaction { inbox, work, locks, .. } = self;
        let (pending, slot) = Pending::new();
        let closure = move |txn: &mut WriteTxn| {
            adopt(txn, work, Grouping { lsid, txn_number })?;
            // The committer still lets nobody else in until this is applied.
            drop(locks);
            Ok(())
        };
        match inbox.push(0, Box::new(TypedJob::new(closure, slot))) {
            Ok(()) => pending,
            Err(_) => Pending::ready(Err(Error::Closed)),
        }
    }

    /// Drops everything it wrote.
    pub fn abort(self) {}
}

/// Takes the work of a transaction over into the write that commits it.
fn adopt(txn: &mut WriteTxn, work: Work, grouping: Grouping) -> Result<()> {
    let Work { overlay, catalog, effects } = work;
    for id in &effects.touched {
        let Some(mine) = catalog.by_id(*id) else { continue };
        let merged = match txn.catalog.by_id(*id) {
            Some(current) => Arc::new(with_multikey(current, mine)),
            None if txn.catalog.collection(&mine.namespace).is_some() => {
                return Err(Error::WriteConflict(format!("collection {} was created meanwhile", mine.namespace)));
            }
            None => Arc::clone(mine),
        };
        Arc::make_mut(&mut txn.catalog).put(merged);
    }
    let mut overlay = Arc::try_unwrap(overlay).unwrap_or_else(|shared| Overlay::clone(&shared));
    for collection in effects.counts.keys() {
        overlay.forget(Space::Meta, &layout::counts_key(*collection));
    }
    txn.overlay.absorb(overlay);
    txn.effects.absorb(effects);
    txn.grouping = Some(grouping);
    Ok(())
}

fn with_multikey(current: &Collection, mine: &Collection) -> Collection {
    let mut merged = current.clone();
    let building = merged.building.iter_mut().map(|building| &mut building.index);
    for index in merged.indexes.iter_mut().chain(building) {
        let found = mine.all_indexes().find(|other| other.id == index.id);
        if let Some(other) = found {
            Index::mark(index, other.multikey, other.long_keys);
        }
    }
    merged
}
