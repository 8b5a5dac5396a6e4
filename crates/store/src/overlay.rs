//! Uncommitted puts and removals laid over a readable view.
//!
//! A write closure reads through one; a multi-document transaction is one over its snapshot, and
//! each of its statements another one on top, so that a failed statement leaves nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::kv::{Batch, Direction, Entry, KeyRange, KvIter, KvRead, Space};

type Changes = BTreeMap<Bytes, Option<Bytes>>;

/// Changes by space and key; `None` is a removal.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    spaces: [Changes; Space::ALL.len()],
}

impl Overlay {
    fn space(&self, space: Space) -> &Changes {
        &self.spaces[space as usize]
    }

    pub fn put(&mut self, space: Space, key: Bytes, value: Bytes) {
        self.spaces[space as usize].insert(key, Some(value));
    }

    pub fn remove(&mut self, space: Space, key: Bytes) {
        self.spaces[space as usize].insert(key, None);
    }

    /// Drops what the overlay says about the key.
    pub fn forget(&mut self, space: Space, key: &[u8]) {
        self.spaces[space as usize].remove(key);
    }

    /// `None`: nothing said about the key. `Some(None)`: removed.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Option<Bytes>> {
        self.space(space).get(key).cloned()
    }

    pub fn is_empty(&self) -> bool {
        self.spaces.iter().all(BTreeMap::is_empty)
    }

    /// Lays `newer` on top of this one.
    pub fn absorb(&mut self, newer: Overlay) {
        for (mine, theirs) in self.spaces.iter_mut().zip(newer.spaces) {
            if mine.is_empty() {
                *mine = theirs;
            } else {
                mine.extend(theirs);
            }
        }
    }

    pub fn into_batch(self, batch: &mut Batch) {
        batch.ops.reserve(self.spaces.iter().map(BTreeMap::len).sum());
        for (space, changes) in Space::ALL.into_iter().zip(self.spaces) {
            batch.ops.extend(changes.into_iter().map(|(key, value)| (space, key, value)));
        }
    }

    /// Reads `base` with these changes applied; borrows them.
    pub fn merged<'a>(
        &'a self,
        base: &dyn KvRead,
        space: Space,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Entry>> + Send + 'a> {
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        let below = base.range(space, range.clone(), direction);
        let changes = self.space(space);
        if changes.is_empty() {
            return below;
        }
        let changes = changes.range::<[u8], _>(bounds(&range)).map(|(key, value)| (key.clone(), value.clone()));
        match direction {
            Direction::Forward => Box::new(Merge::new(below, changes, direction)),
            Direction::Backward => Box::new(Merge::new(below, changes.rev(), direction)),
        }
    }
}

fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(&range.from), to)
}

/// A view with an overlay on it that both outlive any borrow.
#[derive(Clone)]
pub struct Overlaid {
    base: Arc<dyn KvRead>,
    top: Arc<Overlay>,
}

impl Overlaid {
    pub fn new(base: Arc<dyn KvRead>, top: Arc<Overlay>) -> Self {
        Overlaid { base, top }
    }
}

impl KvRead for Overlaid {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        match self.top.get(space, key) {
            Some(value) => Ok(value),
            None => self.base.get(space, key),
        }
    }

    fn range(&self, space: Space, range: KeyRange, direction: Direction) -> KvIter {
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        let below = self.base.range(space, range.clone(), direction);
        if self.top.space(space).is_empty() {
            return below;
        }
        let steps = Steps { top: Arc::clone(&self.top), space, range, direction };
        Box::new(Merge::new(below, steps, direction))
    }
}

/// Walks an overlay it owns, by searching for the key after the last one.
struct Steps {
    top: Arc<Overlay>,
    space: Space,
    range: KeyRange,
    direction: Direction,
}

impl Iterator for Steps {
    type Item = (Bytes, Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let mut found = self.top.space(self.space).range::<[u8], _>(bounds(&self.range));
        let (key, value) = match self.direction {
            Direction::Forward => found.next()?,
            Direction::Backward => found.next_back()?,
        };
        match self.direction {
            Direction::Forward => {
                self.range.from.clear();
                self.range.from.extend_from_slice(key);
                self.range.from.push(0);
            }
            Direction::Backward => self.range.to = Some(key.to_vec()),
        }
        Some((key.clone(), value.clone()))
    }
}

/// Two ordered sequences as one; where both have a key, the change wins.
struct Merge<C: Iterator<Item = (Bytes, Option<Bytes>)>> {
    below: std::iter::Peekable<KvIter>,
    changes: std::iter::Peekable<C>,
    direction: Direction,
}

impl<C: Iterator<Item = (Bytes, Option<Bytes>)>> Merge<C> {
    fn new(below: KvIter, changes: C, direction: Direction) -> Self {
        Merge { below: below.peekable(), changes: changes.peekable(), direction }
    }
}

impl<C: Iterator<Item = (Bytes, Option<Bytes>)>> Iterator for Merge<C> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((change, _)) = self.changes.peek() else { return self.below.next() };
            if let Some(below) = self.below.peek() {
                let Ok((key, _)) = below else { return self.below.next() };
                let order = match self.direction {
                    Direction::Forward => key.cmp(change),
                    Direction::Backward => change.cmp(key),
                };
                if order.is_lt() {
                    return self.below.next();
                }
                if order.is_eq() {
                    self.below.next();
                }
            }
            let (key, value) = self.changes.next()?;
            if let Some(value) = value {
                return Some(Ok((key, value)));
            }
        }
    }
}
