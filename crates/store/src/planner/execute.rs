//! Walking the access path of a plan.

use rustc_hash::FxHashSet;

use super::{Access, IndexScan, Plan};
use crate::catalog::{CollectionId, RecordId};
use crate::error::Result;
use crate::kv::{Direction, KeyRange, Space};
use crate::layout;
use crate::read::{Reader, Rows, Stored};

impl Plan {
    /// Yields every document that matches, and maybe others; each once.
    pub fn execute<'a, R: Reader + ?Sized + Sync>(&self, reader: &'a R) -> Rows<'a> {
        let collection = self.collection;
        match &self.access {
            Access::Nothing => Box::new(std::iter::empty()),
            Access::Collection(direction) => reader.scan(collection, *direction),
            Access::Index(scan) => {
                let once = scan.index.is_multikey();
                rows(reader, collection, records(reader, vec![scan.clone()], once))
            }
            Access::Union(scans) => rows(reader, collection, records(reader, scans.clone(), true)),
        }
    }

    /// How many documents match, if the access path alone can tell; otherwise they must be looked at.
    pub fn count<R: Reader + ?Sized + Sync>(&self, reader: &R) -> Result<Option<u64>> {
        if !self.exact {
            return Ok(None);
        }
        match &self.access {
            Access::Nothing => Ok(Some(0)),
            Access::Collection(_) => {
                let collection = reader.catalog().need(self.collection)?;
                Ok(Some(reader.counts(collection)?.documents))
            }
            Access::Index(scan) => {
                let mut count = 0;
                for record in records(reader, vec![scan.clone()], false) {
                    record?;
                    count += 1;
                }
                Ok(Some(count))
            }
            Access::Union(_) => Ok(None),
        }
    }
}

type Records<'a> = Box<dyn Iterator<Item = Result<RecordId>> + Send + 'a>;

/// Places of documents in the order of the scans; `once`: each only the first time.
fn records<'a, R: Reader + ?Sized + Sync>(reader: &'a R, scans: Vec<IndexScan>, once: bool) -> Records<'a> {
    let entries = scans.into_iter().flat_map(move |scan| {
        let index = scan.index;
        let direction = scan.direction;
        scan.ranges.into_iter().flat_map(move |range| {
            let index = std::sync::Arc::clone(&index);
            entries_of(reader, index.unique, range, direction).map(move |entry| {
                let (key, value) = entry?;
                index.record_of(&key, &value)
            })
        })
    });
    if !once {
        return Box::new(entries);
    }
    let mut seen = FxHashSet::default();
    Box::new(entries.filter(move |record| match record {
        Ok(record) => seen.insert(*record),
        Err(_) => true,
    }))
}

/// A whole key of a unique index is one entry: a point read, which the trees' filters make cheap.
fn entries_of<'a, R: Reader + ?Sized>(
    reader: &'a R,
    unique: bool,
    range: KeyRange,
    direction: Direction,
) -> Box<dyn Iterator<Item = Result<crate::kv::Entry>> + Send + 'a> {
    if unique && range.to == crate::kv::successor(&range.from) {
        match reader.kv_get(Space::Indexes, &range.from) {
            Ok(Some(value)) => return Box::new(std::iter::once(Ok((range.from.into(), value)))),
            Err(error) => return Box::new(std::iter::once(Err(error))),
            // Not a whole key, or not there.
            Ok(None) => {}
        }
    }
    reader.kv_range(Space::Indexes, range, direction)
}

fn rows<'a, R: Reader + ?Sized + Sync>(reader: &'a R, collection: CollectionId, records: Records<'a>) -> Rows<'a> {
    Box::new(records.filter_map(move |record| {
        let fetch = |record| {
            let bytes = reader.kv_get(Space::Documents, &layout::document_key(collection, record))?;
            Ok(bytes.map(|bytes| Stored { record, document: document::DocBuf::trusted(bytes) }))
        };
        record.and_then(fetch).transpose()
    }))
}
