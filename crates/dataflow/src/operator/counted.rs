//! Items in order with counts, found by value or by number: an order-statistics tree.
//!
//! ```text
//!   item      a   c   d          entries: 3
//!   count     2   1   1          rows:    4
//!   row       0,1 2   3          row 2 is c; before d stand 3 rows
//! ```
//!
//! A treap: a search tree by item that is a heap by a priority drawn at insertion, so that its depth
//! is logarithmic whatever the order of arrival. Each node knows how many rows and entries stand below
//! it, which makes every question here a walk from the root.
//!
//! # Invariants
//! - An entry with count 0 is not there. One below zero (a removal that came before its insertion
//!   within a tick) is kept and counts as no row.

use std::cmp::Ordering;

use smallvec::SmallVec;

const NONE: u32 = u32::MAX;
/// Expected depth of a few million entries.
type Path = SmallVec<[u32; 48]>;

#[derive(Debug)]
struct Node<T> {
    item: T,
    count: i64,
    /// Rows of the whole subtree.
    rows: u64,
    /// Entries of the whole subtree.
    entries: u32,
    priority: u32,
    left: u32,
    right: u32,
}

/// Ordered items with counts.
#[derive(Debug)]
pub struct Counted<T> {
    nodes: Vec<Node<T>>,
    root: u32,
    random: u32,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Counted { nodes: Vec::new(), root: NONE, random: 0x9e37_79b9 }
    }
}

impl<T: Ord> Counted<T> {
    /// Adds `count` to an item's count; the count after it.
    pub fn add(&mut self, item: T, count: i64) -> i64 {
        let mut path = Path::new();
        let mut at = self.root;
        while at != NONE {
            path.push(at);
            let node = &self.nodes[at as usize];
            at = match item.cmp(&node.item) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return self.change(&path, count),
            };
        }
        if count != 0 {
            self.insert(&path, item, count);
        }
        count
    }

    /// Changes the count of the last node on the path.
    fn change(&mut self, path: &[u32], count: i64) -> i64 {
        let at = *path.last().expect("a found item has a path");
        let node = &mut self.nodes[at as usize];
        node.count += count;
        let after = node.count;
        if after == 0 {
            let (left, right) = (node.left, node.right);
            let merged = self.merge(left, right);
            self.replace(path, merged);
            self.update_upwards(&path[..path.len() - 1]);
            self.free(at);
        } else {
            self.update_upwards(path);
        }
        after
    }

    fn insert(&mut self, path: &[u32], item: T, count: i64) {
        let priority = self.draw();
        // The new node stands above the first node on its way that has a smaller priority.
        let depth = path.partition_point(|at| self.nodes[*at as usize].priority >= priority);
        let (left, right) = match path.get(depth) {
            Some(at) => self.split(*at, &item),
            None => (NONE, NONE),
        };
        let new = u32::try_from(self.nodes.len()).expect("fewer than 2^32 entries in memory");
        assert_ne!(new, NONE, "fewer than 2^32 - 1 entries in memory");
        let came_left = path[..depth].last().map(|above| item < self.nodes[*above as usize].item);
        self.nodes.push(Node { item, count, rows: 0, entries: 0, priority, left, right });
        self.update(new);
        match (path[..depth].last(), came_left) {
            (Some(above), Some(true)) => self.nodes[*above as usize].left = new,
            (Some(above), _) => self.nodes[*above as usize].right = new,
            (None, _) => self.root = new,
        }
        self.update_upwards(&path[..depth]);
    }

    /// Below `at`: what stands before `item`, and what stands after it.
    fn split(&mut self, at: u32, item: &T) -> (u32, u32) {
        if at == NONE {
            return (NONE, NONE);
        }
        let node = &self.nodes[at as usize];
        if node.item < *item {
            let (left, right) = self.split(node.right, item);
            self.nodes[at as usize].right = left;
            self.update(at);
            (at, right)
        } else {
            let (left, right) = self.split(node.left, item);
            self.nodes[at as usize].left = right;
            self.update(at);
            (left, at)
        }
    }

    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        if self.nodes[left as usize].priority >= self.nodes[right as usize].priority {
            let merged = self.merge(self.nodes[left as usize].right, right);
            self.nodes[left as usize].right = merged;
            self.update(left);
            left
        } else {
            let merged = self.merge(left, self.nodes[right as usize].left);
            self.nodes[right as usize].left = merged;
            self.update(right);
            right
        }
    }

    /// Puts `by` where the last node of the path stands.
    fn replace(&mut self, path: &[u32], by: u32) {
        let at = path[path.len() - 1];
        match path.len().checked_sub(2).map(|above| path[above]) {
            None => self.root = by,
            Some(above) if self.nodes[above as usize].left == at => self.nodes[above as usize].left = by,
            Some(above) => self.nodes[above as usize].right = by,
        }
    }

    /// Gives a node's place in memory to the last one, so that nothing is left unused.
    fn free(&mut self, at: u32) {
        let last = self.nodes.len() as u32 - 1;
        if at != last {
            let mut above = NONE;
            let mut walk = self.root;
            while walk != last {
                above = walk;
                let (node, moved) = (&self.nodes[walk as usize], &self.nodes[last as usize]);
                walk = if moved.item < node.item { node.left } else { node.right };
            }
            match above {
                NONE => self.root = at,
                above if self.nodes[above as usize].left == last => self.nodes[above as usize].left = at,
                above => self.nodes[above as usize].right = at,
            }
        }
        self.nodes.swap_remove(at as usize);
        if self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
    }

    fn update(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let (left, right) = (self.below(node.left), self.below(node.right));
        let rows = node.count.max(0) as u64 + left.0 + right.0;
        let entries = 1 + left.1 + right.1;
        let node = &mut self.nodes[at as usize];
        (node.rows, node.entries) = (rows, entries);
    }

    fn update_upwards(&mut self, path: &[u32]) {
        path.iter().rev().for_each(|at| self.update(*at));
    }

    fn below(&self, at: u32) -> (u64, u32) {
        if at == NONE { (0, 0) } else { (self.nodes[at as usize].rows, self.nodes[at as usize].entries) }
    }

    /// Priorities need no quality, only to be independent of the items: xorshift.
    fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Distinct items.
    pub fn entries(&self) -> usize {
        self.nodes.len()
    }

    /// Items with repetitions.
    pub fn rows(&self) -> u64 {
        self.below(self.root).0
    }

    /// An item's count and its stored form.
    pub fn get(&self, item: &T) -> Option<(&T, i64)> {
        let mut at = self.root;
        while at != NONE {
            let node = &self.nodes[at as usize];
            at = match item.cmp(&node.item) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return Some((&node.item, node.count)),
            };
        }
        None
    }

    /// Rows and entries before the first item of which `is_before` is not true; it must be true of a
    /// beginning of the order.
    pub fn before(&self, mut is_before: impl FnMut(&T) -> bool) -> (u64, u64) {
        let (mut rows, mut entries) = (0, 0);
        let mut at = self.root;
        while at != NONE {
            let node = &self.nodes[at as usize];
            if is_before(&node.item) {
                let left = self.below(node.left);
                rows += left.0 + node.count.max(0) as u64;
                entries += u64::from(left.1) + 1;
                at = node.right;
            } else {
                at = node.left;
            }
        }
        (rows, entries)
    }

    /// The item with `n` other items before it.
    pub fn entry(&self, n: u64) -> Option<&T> {
        let (mut at, mut n) = (self.root, n);
        while at != NONE {
            let node = &self.nodes[at as usize];
            let left = u64::from(self.below(node.left).1);
            at = match n.cmp(&left) {
                Ordering::Less => node.left,
                Ordering::Equal => return Some(&node.item),
                Ordering::Greater => {
                    n -= left + 1;
                    node.right
                }
            };
        }
        None
    }

    /// The item at a row.
    pub fn at(&self, row: u64) -> Option<&T> {
        self.forward(row).next().map(|(item, _)| item)
    }

    pub fn last(&self) -> Option<&T> {
        self.backward(self.rows()).next().map(|(item, _)| item)
    }

    /// The items with rows, in order.
    pub fn iter(&self) -> Walk<'_, T> {
        self.forward(0)
    }

    /// From a row to the end: items, and how many rows of each lie there.
    pub fn forward(&self, row: u64) -> Walk<'_, T> {
        let mut walk = Walk { tree: self, path: Path::new(), backward: false, skip: 0 };
        let (mut at, mut row) = (self.root, row);
        while at != NONE {
            let node = &self.nodes[at as usize];
            let left = self.below(node.left).0;
            if row < left {
                walk.path.push(at);
                at = node.left;
                continue;
            }
            row -= left;
            let own = node.count.max(0) as u64;
            if row < own {
                walk.path.push(at);
                walk.skip = row;
                break;
            }
            row -= own;
            at = node.right;
        }
        walk
    }

    /// From just before a row to the beginning, backwards.
    pub fn backward(&self, row: u64) -> Walk<'_, T> {
        let mut walk = Walk { tree: self, path: Path::new(), backward: true, skip: 0 };
        let (mut at, mut behind) = (self.root, self.rows().saturating_sub(row));
        while at != NONE {
            let node = &self.nodes[at as usize];
            let right = self.below(node.right).0;
            if behind < right {
                walk.path.push(at);
                at = node.right;
                continue;
            }
            behind -= right;
            let own = node.count.max(0) as u64;
            if behind < own {
                walk.path.push(at);
                walk.skip = behind;
                break;
            }
            behind -= own;
            at = node.left;
        }
        walk
    }
}

/// Goes through items in one direction.
#[derive(Debug)]
pub struct Walk<'a, T> {
    tree: &'a Counted<T>,
    /// The next item's node last; those above it that are still to come before it.
    path: Path,
    backward: bool,
    /// Rows of the next item that lie outside.
    skip: u64,
}

impl<'a, T: Ord> Iterator for Walk<'a, T> {
    type Item = (&'a T, u64);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.path.pop()?;
            let node = &self.tree.nodes[at as usize];
            let mut below = if self.backward { node.left } else { node.right };
            while below != NONE {
                self.path.push(below);
                let node = &self.tree.nodes[below as usize];
                below = if self.backward { node.right } else { node.left };
            }
            let rows = (node.count.max(0) as u64).saturating_sub(std::mem::take(&mut self.skip));
            if rows > 0 {
                return Some((&node.item, rows));
            }
        }
    }
}

#[cfg(test)]
mod tests;
