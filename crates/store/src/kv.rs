//! The ordered key-value store underneath: atomic batches, snapshots, one sync for many batches.
//!
//! Two backends give the same answers: `fjall_kv` on disk, `memory` in tests. Nothing above this
//! module names either.
//!
//! # Invariants
//! - A batch is visible, and after a crash present, as a whole or not at all.
//! - After a crash a prefix of the committed batches is present; it contains every batch committed
//!   before the last successful `sync`.

mod fjall_kv;
mod memory;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;

pub use fjall_kv::{FjallKv, SyncMode};
pub use memory::MemoryKv;

/// Separately ordered key spaces. One space holds all collections, by key prefix, because an open
/// space costs a write buffer and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    Documents,
    Indexes,
    Log,
    Meta,
}

impl Space {
    pub const ALL: [Space; 4] = [Space::Documents, Space::Indexes, Space::Log, Space::Meta];

    pub fn name(self) -> &'static str {
        match self {
            Space::Documents => "documents",
            Space::Indexes => "indexes",
            Space::Log => "log",
            Space::Meta => "meta",
        }
    }
}

/// Keys from `from` up to, not including, `to`; `None` is the end of the space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub from: Vec<u8>,
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    pub fn new(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        KeyRange { from: from.into(), to: Some(to.into()) }
    }

    /// Every key that starts with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        KeyRange { from: prefix.to_vec(), to: successor(prefix) }
    }

    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

/// The least key above every key that starts with `prefix`.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=keep].to_vec();
    next[keep] += 1;
    Some(next)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

pub type Entry = (Bytes, Bytes);
pub type KvIter = Box<dyn Iterator<Item = Result<Entry>> + Send>;

/// A view that can be read: the newest state, or a snapshot that does not change.
pub trait KvRead: Send + Sync {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>>;
    fn range(&self, space: Space, range: KeyRange, direction: Direction) -> KvIter;
}

/// A store of ordered keys. As a `KvRead` it shows the newest committed state.
pub trait Kv: KvRead {
    /// Makes the batch visible at once; durable with the next `sync`.
    fn commit(&self, batch: Batch) -> Result<()>;
    /// Makes every committed batch durable.
    fn sync(&self) -> Result<()>;
    /// Prepares for a quick reopening; nothing is written afterwards.
    fn settle(&self) {}
    /// A consistent view over all spaces. Keep it short-lived: old versions stay while it lives.
    fn snapshot(&self) -> Arc<dyn KvRead>;
}

/// Puts (`Some`) and removals (`None`) that happen together.
#[derive(Debug, Default)]
pub struct Batch {
    pub ops: Vec<(Space, Bytes, Option<Bytes>)>,
}

impl Batch {
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.ops.push((space, key.into(), Some(value.into())));
    }

    pub fn remove(&mut self, space: Space, key: impl Into<Bytes>) {
        self.ops.push((space, key.into(), None));
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
