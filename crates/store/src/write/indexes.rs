//! The index entries of a document that comes, changes or goes.

use std::sync::Arc;

use bytes::Bytes;
use document::key_string::encode_value;
use document::{DocBuf, DocWriter, Raw, RawDoc};

use super::WriteTxn;
use crate::catalog::{Collection, IndexId, RecordId};
use crate::error::{DuplicateKey, Error, Result};
use crate::index::{Index, Keys, is_long};
use crate::kv::Space;
use crate::read::Reader;

/// Entries to write and to remove over all indexes of a collection. Checked before applied.
#[derive(Default)]
pub(super) struct IndexChange {
    pub(super) put: Vec<(Bytes, Bytes)>,
    pub(super) remove: Vec<Bytes>,
    /// What indexes met for the first time: arrays on parts, long keys.
    marks: Vec<(IndexId, u64, bool)>,
}

impl IndexChange {
    pub(super) fn mark(&mut self, index: &Index, keys: &Keys) {
        let long_keys = keys.has_long();
        if keys.multikey & !index.multikey != 0 || (long_keys && !index.long_keys) {
            self.marks.push((index.id, keys.multikey, long_keys));
        }
    }
}

impl WriteTxn {
    /// What the indexes need when `record` changes from `before` to `after`; refuses a key that a
    /// unique index holds for another document.
    pub(super) fn plan_entries(
        &self,
        collection: &Collection,
        record: RecordId,
        before: Option<&DocBuf>,
        after: Option<&DocBuf>,
    ) -> Result<IndexChange> {
        let mut change = IndexChange::default();
        for index in &collection.indexes {
            if index.is_id() {
                // `_id` never changes, so a replacement leaves its entry alone.
                if before.is_some() != after.is_some() {
                    self.plan_id(collection, index, record, (before, after), &mut change)?;
                }
                continue;
            }
            let old = keys_of(index, before)?;
            let new = keys_of(index, after)?;
            change.mark(index, &new);
            for gone in old.keys.difference(&new.keys) {
                let (key, _) = index.entry(gone, record);
                self.claim_unique(collection, index, &key)?;
                change.remove.push(key);
            }
            for added in new.keys.difference(&old.keys) {
                let (key, value) = index.entry(added, record);
                self.check_unique(collection, index, &key, record, after)?;
                change.put.push((key, value));
            }
        }
        for building in &collection.building {
            self.plan_building(collection.id, building, record, (before, after), &mut change)?;
        }
        Ok(change)
    }

    fn plan_id(
        &self,
        collection: &Collection,
        index: &Index,
        record: RecordId,
        (before, after): (Option<&DocBuf>, Option<&DocBuf>),
        change: &mut IndexChange,
    ) -> Result<()> {
        let id = before.or(after).and_then(|doc| doc.get("_id")).unwrap_or(Raw::Null);
        let mut bytes = Vec::with_capacity(20);
        encode_value(id, &mut bytes, false, index.collation.as_deref());
        if after.is_some() && is_long(&bytes) && !index.long_keys {
            change.marks.push((index.id, 0, true));
        }
        let (key, value) = index.entry(&bytes, record);
        if after.is_some() {
            self.check_unique(collection, index, &key, record, after)?;
            change.put.push((key, value));
        } else {
            self.claim_unique(collection, index, &key)?;
            change.remove.push(key);
        }
        Ok(())
    }

    fn claim_unique(&self, collection: &Collection, index: &Index, key: &[u8]) -> Result<()> {
        if index.unique { self.claim(collection.id, Space::Indexes, key) } else { Ok(()) }
    }

    fn check_unique(
        &self,
        collection: &Collection,
        index: &Index,
        key: &[u8],
        record: RecordId,
        document: Option<&DocBuf>,
    ) -> Result<()> {
        if !index.unique {
            return Ok(());
        }
        self.claim(collection.id, Space::Indexes, key)?;
        match self.kv_get(Space::Indexes, key)? {
            None => Ok(()),
            Some(value) if index.record_of(key, &value)? == record => Ok(()),
            Some(_) => Err(duplicate(collection, index, document)),
        }
    }

    pub(super) fn apply_entries(&mut self, collection: &Collection, change: IndexChange) {
        for key in change.remove {
            self.overlay.remove(Space::Indexes, key);
        }
        for (key, value) in change.put {
            self.overlay.put(Space::Indexes, key, value);
        }
        if !change.marks.is_empty() {
            let mut collection = collection.clone();
            for (index, multikey, long_keys) in change.marks {
                collection.mark(index, multikey, long_keys);
            }
            self.put_collection(Arc::new(collection));
        }
    }

    /// Enters every document of the collection into a new index.
    pub(super) fn build(&mut self, collection: &Collection, index: &mut Index) -> Result<()> {
        let mut entries = Vec::new();
        let (mut multikey, mut long_keys) = (0, false);
        for row in self.scan(collection.id, crate::kv::Direction::Forward) {
            let row = row?;
            let keys = index.keys(row.document.as_doc())?;
            multikey |= keys.multikey;
            long_keys |= keys.has_long();
            for key in &keys.keys {
                entries.push((index.entry(key, row.record), row.record));
            }
        }
        for ((key, value), record) in entries {
            if index.unique
                && let Some(holder) = self.kv_get(Space::Indexes, &key)?
                && index.record_of(&key, &holder)? != record
            {
                let document = self.fetch(collection.id, record)?;
                return Err(duplicate(collection, index, document.as_ref()));
            }
            self.overlay.put(Space::Indexes, key, value);
        }
        index.multikey = multikey;
        index.long_keys = long_keys;
        Ok(())
    }
}

fn keys_of(index: &Index, document: Option<&DocBuf>) -> Result<Keys> {
    document.map_or_else(|| Ok(Keys::default()), |document| index.keys(document.as_doc()))
}

pub(super) fn duplicate(collection: &Collection, index: &Index, document: Option<&DocBuf>) -> Error {
    let mut key_value = DocWriter::new();
    for part in &index.parts {
        let document = document.map_or(RawDoc::EMPTY, DocBuf::as_doc);
        key_value.raw(&part.path, value_at(document, &part.path));
    }
    Error::DuplicateKey(Box::new(DuplicateKey {
        namespace: collection.namespace.clone(),
        index: index.name.clone(),
        key_pattern: index.key_pattern().to_buf(),
        key_value: key_value.finish(),
    }))
}

/// What stands at a path; of an array its first element that has something there.
fn value_at<'a>(document: RawDoc<'a>, path: &str) -> Raw<'a> {
    let mut value = Raw::Document(document);
    for name in path.split('.') {
        let below = |value: Raw<'a>| value.as_document().and_then(|doc| doc.get(name));
        let found = match value {
            Raw::Array(array) => array.get(name).or_else(|| array.values().find_map(below)),
            other => below(other),
        };
        match found {
            Some(found) => value = found,
            None => return Raw::Null,
        }
    }
    match value {
        Raw::Array(array) => array.values().next().unwrap_or(Raw::Undefined),
        other => other,
    }
}
