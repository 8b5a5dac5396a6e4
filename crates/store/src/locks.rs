//! Keys that open multi-document transactions have written and not yet committed.
//!
//! Ordinary writes take no locks: they run one after another and only look whether a transaction
//! holds what they want to write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

use crate::catalog::CollectionId;
use crate::error::{Error, Result};
use crate::kv::Space;

/// An open transaction, within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TxnId(pub u64);

#[derive(Default)]
pub(crate) struct Locks {
    held: Mutex<Held>,
    /// Copy of `held.keys.len()`, so that the common case costs one load.
    count: AtomicUsize,
    released: Condvar,
}

#[derive(Default)]
struct Held {
    keys: FxHashMap<(Space, Bytes), TxnId>,
    collections: FxHashMap<CollectionId, FxHashMap<TxnId, usize>>,
    releases: u64,
}

fn conflict() -> Error {
    Error::WriteConflict(
        "Caused by :: Write conflict during plan execution and yielding is disabled. :: Please retry your operation or multi-document transaction."
            .to_owned(),
    )
}

impl Locks {
    /// Fails if a transaction other than `me` holds the key.
    pub fn check(&self, space: Space, key: &[u8]) -> Result<()> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let held = self.held.lock();
        if held.keys.contains_key(&(space, Bytes::copy_from_slice(key))) { Err(conflict()) } else { Ok(()) }
    }

    /// Fails if any transaction has written into the collection.
    pub fn check_collection(&self, collection: CollectionId) -> Result<()> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        if self.held.lock().collections.contains_key(&collection) { Err(conflict()) } else { Ok(()) }
    }

    /// Takes the key for a transaction. True if it was not the transaction's yet.
    pub fn take(&self, txn: TxnId, collection: CollectionId, space: Space, key: &[u8]) -> Result<bool> {
        let mut held = self.held.lock();
        let key = (space, Bytes::copy_from_slice(key));
        match held.keys.get(&key) {
            Some(owner) if *owner == txn => return Ok(false),
            Some(_) => return Err(conflict()),
            None => {}
        }
        held.keys.insert(key, txn);
        *held.collections.entry(collection).or_default().entry(txn).or_default() += 1;
        self.count.store(held.keys.len(), Ordering::Release);
        Ok(true)
    }

    /// Ends a transaction's hold on everything.
    pub fn release(&self, txn: TxnId) {
        let mut held = self.held.lock();
        held.keys.retain(|_, owner| *owner != txn);
        held.collections.retain(|_, owners| {
            owners.remove(&txn);
            !owners.is_empty()
        });
        held.releases += 1;
        self.count.store(held.keys.len(), Ordering::Release);
        self.released.notify_all();
    }

    /// A number that grows when a transaction ends.
    pub fn releases(&self) -> u64 {
        self.held.lock().releases
    }

    /// Waits until a transaction has ended since `seen`. False at the deadline.
    pub fn wait_released(&self, seen: u64, deadline: Instant) -> bool {
        let mut held = self.held.lock();
        while held.releases == seen {
            if self.released.wait_until(&mut held, deadline).timed_out() {
                return held.releases != seen;
            }
        }
        true
    }

    pub(crate) fn changed_since_snapshot() -> Error {
        conflict()
    }
}
