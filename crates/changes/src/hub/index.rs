//! Watchers by what they watch: scope, then the values that their `$match` demands.
//!
//! ```text
//! cluster ─┐            ┌ scans[operation]      no usable condition
//! database ┼─ bucket ───┤ equal[field][value]   "fullDocument.status" = "paid"
//! collection            │ ranges[field]         "fullDocument.total" > 100
//!                       └ lookups               conditions on a document that is looked up later
//! ```
//!
//! An entry visits three buckets. In each, a field that any watcher has a condition on is read from
//! the entry once, and its values lead to the watchers that want them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use store::entry::{LogEntry, Namespace};

use super::predicate::{Field, IndexKey, Key, Root, values_of};
use super::{Watcher, is_update};
use crate::scope::{OperationType, Scope, touched};

/// Watchers by number, so that one can be taken out without a search.
type Watchers = FxHashMap<u64, Arc<Watcher>>;

/// Ranges with one lower bound: watcher's number, upper bound, watcher.
type Ranges = FxHashMap<u64, (Key, Arc<Watcher>)>;

#[derive(Default)]
pub(super) struct Index {
    collections: FxHashMap<Namespace, Bucket>,
    databases: FxHashMap<Arc<str>, Bucket>,
    cluster: Bucket,
    count: usize,
}

#[derive(Default)]
struct Bucket {
    members: Watchers,
    /// By document operation: insert, update, replace, delete.
    scans: [Watchers; 4],
    equal: FxHashMap<Field, FxHashMap<Key, Watchers>>,
    /// By lower bound; the upper bound stands with the watcher. A value visits every range that
    /// begins at or below it, so many wide, stacked ranges cost a comparison each.
    ranges: FxHashMap<Field, BTreeMap<Key, Ranges>>,
    lookups: Watchers,
}

const DOCUMENT_OPERATIONS: [OperationType; 4] =
    [OperationType::Insert, OperationType::Update, OperationType::Replace, OperationType::Delete];

impl Index {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn insert(&mut self, watcher: Arc<Watcher>) {
        self.count += 1;
        let bucket = match &watcher.scope {
            Scope::Collection(namespace) => self.collections.entry(namespace.clone()).or_default(),
            Scope::Database(db) => self.databases.entry(db.clone()).or_default(),
            Scope::Cluster => &mut self.cluster,
        };
        bucket.insert(watcher);
    }

    pub fn remove(&mut self, watcher: &Watcher) {
        let removed = match &watcher.scope {
            Scope::Collection(namespace) => remove_from(&mut self.collections, namespace, watcher),
            Scope::Database(db) => remove_from(&mut self.databases, db, watcher),
            Scope::Cluster => self.cluster.remove(watcher),
        };
        self.count -= usize::from(removed);
    }

    pub fn each(&self, visit: &mut dyn FnMut(&Watcher)) {
        let buckets = self.collections.values().chain(self.databases.values()).chain([&self.cluster]);
        buckets.flat_map(|bucket| bucket.members.values()).for_each(|watcher| visit(watcher));
    }

    /// Visits every watcher that the entry may concern, some perhaps twice.
    pub fn candidates(&self, entry: &LogEntry, visit: &mut dyn FnMut(&Watcher)) {
        for namespace in touched(entry) {
            if let Some(bucket) = self.collections.get(namespace) {
                bucket.candidates(entry, visit);
            }
            if let Some(bucket) = self.databases.get(&namespace.db) {
                bucket.candidates(entry, visit);
            }
        }
        self.cluster.candidates(entry, visit);
    }
}

fn remove_from<K: Eq + std::hash::Hash>(buckets: &mut FxHashMap<K, Bucket>, key: &K, watcher: &Watcher) -> bool {
    let Some(bucket) = buckets.get_mut(key) else { return false };
    let removed = bucket.remove(watcher);
    if bucket.members.is_empty() {
        buckets.remove(key);
    }
    removed
}

impl Bucket {
    fn insert(&mut self, watcher: Arc<Watcher>) {
        let id = watcher.id;
        match &watcher.key {
            None => {
                for (scan, operation) in self.scans.iter_mut().zip(DOCUMENT_OPERATIONS) {
                    if watcher.operations.contains(operation) {
                        scan.insert(id, watcher.clone());
                    }
                }
            }
            Some(IndexKey::Equals { field, values }) => {
                let by_value = self.equal.entry(field.clone()).or_default();
                for value in values {
                    by_value.entry(value.clone()).or_default().insert(id, watcher.clone());
                }
            }
            Some(IndexKey::Range { field, low, high }) => {
                let by_low = self.ranges.entry(field.clone()).or_default();
                by_low.entry(low.clone()).or_default().insert(id, (high.clone(), watcher.clone()));
            }
        }
        if needs_lookup(&watcher) {
            self.lookups.insert(id, watcher.clone());
        }
        self.members.insert(id, watcher);
    }

    fn remove(&mut self, watcher: &Watcher) -> bool {
        let id = watcher.id;
        self.scans.iter_mut().for_each(|scan| {
            scan.remove(&id);
        });
        match &watcher.key {
            None => {}
            Some(IndexKey::Equals { field, values }) => {
                if let Some(by_value) = self.equal.get_mut(field) {
                    for value in values {
                        remove_nested(by_value, value, id);
                    }
                    if by_value.is_empty() {
                        self.equal.remove(field);
                    }
                }
            }
            Some(IndexKey::Range { field, low, .. }) => {
                if let Some(by_low) = self.ranges.get_mut(field) {
                    if let Some(ranges) = by_low.get_mut(low) {
                        ranges.remove(&id);
                        if ranges.is_empty() {
                            by_low.remove(low);
                        }
                    }
                    if by_low.is_empty() {
                        self.ranges.remove(field);
                    }
                }
            }
        }
        self.lookups.remove(&id);
        self.members.remove(&id).is_some()
    }

    fn candidates(&self, entry: &LogEntry, visit: &mut dyn FnMut(&Watcher)) {
        if self.members.is_empty() {
            return;
        }
        let operation = OperationType::of(entry);
        if !operation.is_document_change() {
            self.members.values().for_each(|watcher| visit(watcher));
            return;
        }
        let mut visit_wanting = |watcher: &Watcher| {
            if watcher.operations.contains(operation) {
                visit(watcher);
            }
        };
        self.scans[operation as usize].values().for_each(|watcher| visit_wanting(watcher));
        let mut keys = Vec::new();
        for (field, by_value) in &self.equal {
            keys.clear();
            values_of(entry, field, &mut keys);
            let found = keys.iter().filter_map(|key| by_value.get(key)).flat_map(Watchers::values);
            found.filter(|watcher| image_counts(watcher, field, entry)).for_each(|watcher| visit_wanting(watcher));
        }
        for (field, by_low) in &self.ranges {
            keys.clear();
            values_of(entry, field, &mut keys);
            let (Some(least), Some(greatest)) = (keys.iter().min(), keys.iter().max()) else { continue };
            for (high, watcher) in by_low.range(..=greatest.clone()).flat_map(|(_, ranges)| ranges.values()) {
                if high >= least && image_counts(watcher, field, entry) {
                    visit_wanting(watcher);
                }
            }
        }
        if is_update(entry) {
            // A read that is waiting now may look its document up now, and what it would find is the
            // image in the log: so the index has told it already. One that reads later must decide by
            // what is there then. Linear in the watchers that look up, but no more than a flag each.
            self.lookups.values().filter(|watcher| !watcher.is_waiting()).for_each(|watcher| visit_wanting(watcher));
        }
    }
}

fn remove_nested(by_value: &mut FxHashMap<Key, Watchers>, value: &Key, id: u64) {
    if let Some(watchers) = by_value.get_mut(value) {
        watchers.remove(&id);
        if watchers.is_empty() {
            by_value.remove(value);
        }
    }
}

/// The image of an update says nothing to a watcher whose update events show none.
fn image_counts(watcher: &Watcher, field: &Field, entry: &LogEntry) -> bool {
    !(field.root == Root::FullDocument && is_update(entry) && watcher.ignores_update_image())
}

fn needs_lookup(watcher: &Watcher) -> bool {
    watcher.looks_up() && watcher.key.as_ref().is_some_and(|key| key.field().root == Root::FullDocument)
}
