//! Indexes: what they index, and the keys a document has in them.
//!
//! A document has one key per combination of array elements on the index's paths; all arrays must
//! lie on one path ("parallel arrays" are refused), so there are at most as many keys as elements.
//!
//! ```text
//!   unique:     index id · key              -> record id
//!   not unique: index id · key · record id  -> (nothing)
//! ```
//! A key longer than `MAX_KEY` stands there as its start and a digest of the whole (`key.rs`).

mod extract;
mod key;
mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use document::collation::Collation;
use document::matcher::Matcher;
use document::{Context, DocBuf, DocWriter, RawDoc};

use crate::catalog::{IndexId, RecordId};
use crate::error::{Error, Result};
use crate::kv::Direction;

pub use extract::Keys;
pub(crate) use key::{is_long, widen};
pub use spec::{parse_spec, parse_stored};

pub const ID_INDEX: &str = "_id_";

/// One component of an index key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPart {
    pub path: Arc<str>,
    pub descending: bool,
    pub hashed: bool,
}

/// An index, with what its specification means.
#[derive(Clone, Debug)]
pub struct Index {
    pub id: IndexId,
    pub name: String,
    /// As `listIndexes` shows it.
    pub spec: DocBuf,
    pub parts: Vec<KeyPart>,
    pub unique: bool,
    pub sparse: bool,
    pub hidden: bool,
    /// TTL, seconds after the date in the document.
    pub expire_after: Option<i64>,
    pub partial: Option<Arc<Partial>>,
    /// `None` is the simple collation.
    pub collation: Option<Arc<Collation>>,
    /// Bit `i`: some document had an array on the path of part `i`. Never cleared.
    pub multikey: u64,
    /// Some document had a key too long to be stored whole, so the order of the entries is not
    /// quite the order of the keys. Never cleared.
    pub long_keys: bool,
}

/// The filter of a partial index.
#[derive(Debug)]
pub struct Partial {
    pub filter: DocBuf,
    pub matcher: Matcher,
}

impl Index {
    /// The index that every collection has, in the collection's own collation.
    pub fn on_id(id: IndexId, collation: Option<Arc<Collation>>) -> Self {
        let mut spec = DocWriter::new();
        spec.i32("v", 2);
        spec.begin_document("key");
        spec.i32("_id", 1);
        spec.end();
        spec.str("name", ID_INDEX);
        if let Some(collation) = &collation {
            spec.doc("collation", collation.to_doc().to_buf().as_doc());
        }
        Index {
            id,
            name: ID_INDEX.to_owned(),
            spec: spec.finish(),
            parts: vec![KeyPart { path: "_id".into(), descending: false, hashed: false }],
            unique: true,
            sparse: false,
            hidden: false,
            expire_after: None,
            partial: None,
            collation,
            multikey: 0,
            long_keys: false,
        }
    }

    pub fn is_id(&self) -> bool {
        self.name == ID_INDEX
    }

    pub fn key_pattern(&self) -> RawDoc<'_> {
        self.spec.get("key").and_then(|key| key.as_document()).unwrap_or(RawDoc::EMPTY)
    }

    pub fn is_multikey(&self) -> bool {
        self.multikey != 0
    }

    /// Notes what a document's keys were like. False if it was known.
    pub(crate) fn mark(index: &mut Arc<Index>, multikey: u64, long_keys: bool) -> bool {
        if multikey & !index.multikey == 0 && (index.long_keys || !long_keys) {
            return false;
        }
        let index = Arc::make_mut(index);
        index.multikey |= multikey;
        index.long_keys |= long_keys;
        true
    }

    /// Whether the document has keys in this index at all.
    pub fn covers(&self, doc: RawDoc<'_>) -> Result<bool> {
        match &self.partial {
            None => Ok(true),
            Some(partial) => Ok(partial.matcher.matches(doc)?),
        }
    }

    /// The document's keys, each without index id and record id.
    pub fn keys(&self, doc: RawDoc<'_>) -> Result<Keys> {
        if !self.covers(doc)? {
            return Ok(Keys::default());
        }
        extract::keys(self, doc)
    }

    /// The bytes that every entry of this index starts with.
    pub fn prefix(&self) -> [u8; 4] {
        self.id.0.to_be_bytes()
    }

    /// Where an entry stands, and what it holds.
    pub(crate) fn entry(&self, key: &[u8], record: RecordId) -> (Bytes, Bytes) {
        let key = key::stored(key);
        let mut out = Vec::with_capacity(4 + key.len() + 8);
        out.extend_from_slice(&self.prefix());
        out.extend_from_slice(&key);
        let record = record.0.to_be_bytes();
        if self.unique {
            out.shrink_to_fit();
            return (out.into(), Bytes::copy_from_slice(&record));
        }
        out.extend_from_slice(&record);
        (out.into(), Bytes::new())
    }

    /// Where the entry of a whole key of a unique index stands.
    pub(crate) fn place(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix()[..], &key::stored(key)].concat()
    }

    /// The first key of the document within the ranges, in the order of a scan, as fields of the key
    /// pattern; `None` if it has none there.
    pub(crate) fn key_document(
        &self,
        doc: RawDoc<'_>,
        within: impl Fn(&[u8]) -> bool,
        direction: Direction,
    ) -> Result<Option<DocBuf>> {
        if !self.covers(doc)? {
            return Ok(None);
        }
        let keys = extract::keys_with_values(self, doc)?;
        let mut inside = keys.into_iter().filter(|(key, _)| within(&self.place(key))).map(|(_, values)| values);
        Ok(match direction {
            Direction::Forward => inside.next(),
            Direction::Backward => inside.next_back(),
        })
    }

    /// The record that an entry points to.
    pub(crate) fn record_of(&self, key: &[u8], value: &[u8]) -> Result<RecordId> {
        let bytes = if self.unique { value } else { key.get(key.len().saturating_sub(8)..).unwrap_or(&[]) };
        let bytes = bytes.try_into().map_err(|_| Error::corrupt(format!("an entry of index {}", self.name)))?;
        Ok(RecordId(u64::from_be_bytes(bytes)))
    }
}

impl Partial {
    fn parse(filter: DocBuf) -> Result<Self> {
        let matcher = Matcher::parse(filter.as_doc(), &Context::default())?;
        Ok(Partial { filter, matcher })
    }
}
