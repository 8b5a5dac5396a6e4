//! Walking an access path without borrowing: a cursor keeps the snapshot it reads.

use rustc_hash::FxHashSet;

use super::{Access, IndexScan, Plan};
use crate::kv::{Direction, KeyRange, Space};
use crate::layout;
use crate::read::{Reader, Rows, Stored};
use crate::snapshot::Snapshot;

impl Plan {
    /// Like `execute`, for an iterator that owns what it reads.
    pub fn execute_owned(&self, snapshot: Snapshot) -> Rows<'static> {
        match &self.access {
            Access::Nothing => Box::new(std::iter::empty()),
            Access::Collection(direction) => scan(&snapshot, layout::collection_range(self.collection), *direction),
            Access::Index(index) => self.walk(snapshot, vec![index.clone()], index.index.is_multikey()),
            Access::Union(scans) => self.walk(snapshot, scans.clone(), true),
        }
    }

    fn walk(&self, snapshot: Snapshot, scans: Vec<IndexScan>, once: bool) -> Rows<'static> {
        let collection = self.collection;
        let kv = std::sync::Arc::clone(snapshot.kv());
        let entries = scans.into_iter().flat_map(move |scan| {
            let kv = std::sync::Arc::clone(&kv);
            let IndexScan { index, ranges, direction, .. } = scan;
            ranges.into_iter().flat_map(move |range| {
                let index = std::sync::Arc::clone(&index);
                kv.range(Space::Indexes, range, direction).map(move |entry| {
                    let (key, value) = entry?;
                    index.record_of(&key, &value)
                })
            })
        });
        let mut seen = FxHashSet::default();
        Box::new(entries.filter_map(move |record| {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            if once && !seen.insert(record) {
                return None;
            }
            let document = snapshot.fetch(collection, record).transpose()?;
            Some(document.map(|document| Stored { record, document }))
        }))
    }
}

fn scan(snapshot: &Snapshot, range: KeyRange, direction: Direction) -> Rows<'static> {
    Box::new(snapshot.kv().range(Space::Documents, range, direction).map(|entry| {
        let (key, document) = entry?;
        let record = layout::record_of_key(&key)?;
        Ok(Stored { record, document: document::DocBuf::trusted(document) })
    }))
}
