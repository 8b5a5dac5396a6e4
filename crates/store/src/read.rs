//! Reads that a snapshot and a write transaction have in common.

use std::sync::Arc;

use bytes::Bytes;
use document::key_string::encode_value;
use document::{DocBuf, Raw};

use crate::catalog::{Catalog, Collection, CollectionId, RecordId};
use crate::error::Result;
use crate::index::Index;
use crate::kv::{Direction, Entry, KeyRange, Space};
use crate::layout;

/// A document with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub record: RecordId,
    pub document: DocBuf,
}

pub type Rows<'a> = Box<dyn Iterator<Item = Result<Stored>> + Send + 'a>;

/// Something documents can be read from.
pub trait Reader {
    #[doc(hidden)]
    fn kv_get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>>;
    #[doc(hidden)]
    fn kv_range<'a>(
        &'a self,
        space: Space,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Entry>> + Send + 'a>;

    fn catalog(&self) -> &Catalog;

    /// The document with this `_id`.
    fn get(&self, collection: CollectionId, id: Raw<'_>) -> Result<Option<Stored>> {
        let collection = self.catalog().need(collection)?;
        let Some(record) = self.find_unique(collection.id_index()?, id)? else { return Ok(None) };
        let document = self.fetch(collection.id, record)?;
        Ok(document.map(|document| Stored { record, document }))
    }

    /// The document at a place.
    fn fetch(&self, collection: CollectionId, record: RecordId) -> Result<Option<DocBuf>> {
        let bytes = self.kv_get(Space::Documents, &layout::document_key(collection, record))?;
        Ok(bytes.map(DocBuf::trusted))
    }

    /// All documents in insertion order, or backwards.
    fn scan(&self, collection: CollectionId, direction: Direction) -> Rows<'_> {
        self.scan_range(layout::collection_range(collection), direction)
    }

    /// The documents after a place, in insertion order; for tailable cursors.
    fn scan_after(&self, collection: CollectionId, record: RecordId) -> Rows<'_> {
        let mut range = layout::collection_range(collection);
        range.from = layout::document_key(collection, RecordId(record.0.saturating_add(1))).to_vec();
        self.scan_range(range, Direction::Forward)
    }

    #[doc(hidden)]
    fn scan_range(&self, range: KeyRange, direction: Direction) -> Rows<'_> {
        Box::new(self.kv_range(Space::Documents, range, direction).map(|entry| {
            let (key, document) = entry?;
            Ok(Stored { record: layout::record_of_key(&key)?, document: DocBuf::trusted(document) })
        }))
    }

    /// The documents in the order of their `_id`, those after one.
    fn by_id_after<'a>(&'a self, collection: CollectionId, after: Option<Raw<'_>>) -> Result<Rows<'a>>
    where
        Self: Sync,
    {
        let index = Arc::clone(self.catalog().need(collection)?.id_index()?);
        let mut range = KeyRange::prefix(&index.prefix());
        if let Some(after) = after {
            encode_value(after, &mut range.from, false, index.collation.as_deref());
            // The least key after that one.
            range.from.push(0);
        }
        Ok(Box::new(self.kv_range(Space::Indexes, range, Direction::Forward).filter_map(move |entry| {
            let found = entry.and_then(|(key, value)| {
                let record = index.record_of(&key, &value)?;
                let document = self.fetch(collection, record)?;
                Ok(document.map(|document| Stored { record, document }))
            });
            found.transpose()
        })))
    }

    /// Documents and bytes in a collection.
    fn counts(&self, collection: &Collection) -> Result<layout::Counts>;

    #[doc(hidden)]
    fn find_unique(&self, index: &Index, value: Raw<'_>) -> Result<Option<RecordId>> {
        let mut key = Vec::with_capacity(24);
        encode_value(value, &mut key, index.parts[0].descending, index.collation.as_deref());
        let key = index.place(&key);
        let found = self.kv_get(Space::Indexes, &key)?;
        found.map(|value| index.record_of(&key, &value)).transpose()
    }

    /// A record of a side table.
    fn get_record(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>> {
        self.kv_get(Space::Meta, &layout::side_key(space, key))
    }

    /// The records of a side table whose keys start with `prefix`, in key order.
    fn records<'a>(&'a self, space: &str, prefix: &[u8]) -> Box<dyn Iterator<Item = Result<Entry>> + Send + 'a> {
        let skip = layout::side_key(space, b"").len();
        let range = KeyRange::prefix(&layout::side_key(space, prefix));
        Box::new(self.kv_range(Space::Meta, range, Direction::Forward).map(move |entry| {
            let (key, value) = entry?;
            Ok((key.slice(skip..), value))
        }))
    }

    /// The same from a key on, which begins with the prefix.
    fn records_from<'a>(
        &'a self,
        space: &str,
        prefix: &[u8],
        from: &[u8],
    ) -> Box<dyn Iterator<Item = Result<Entry>> + Send + 'a> {
        let skip = layout::side_key(space, b"").len();
        let mut range = KeyRange::prefix(&layout::side_key(space, prefix));
        range.from = layout::side_key(space, from).to_vec();
        Box::new(self.kv_range(Space::Meta, range, Direction::Forward).map(move |entry| {
            let (key, value) = entry?;
            Ok((key.slice(skip..), value))
        }))
    }
}
