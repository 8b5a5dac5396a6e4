//! Where everything stands in the key spaces.
//!
//! ```text
//! documents  collection id 4 · record id 8            -> document
//! indexes    index id 4 · key [· record id 8]         -> [record id 8]         (index.rs)
//! log        time 8 · index 4                         -> entries               (log_codec.rs)
//! meta       's'                                      -> applied time 8 · catalog version 8 · log bytes 8
//!            'k'                                      -> next collection or index id 4
//!            'c' collection id 4                      -> collection            (catalog_codec.rs)
//!            'n' collection id 4                      -> documents 8 · bytes 8
//!            'g' space 1 · id 4                       -> (dropped; contents to be removed)
//!            'b' id 4                                 -> (index being built; garbage after a crash)
//!            'o'                                      -> last position removed from the log
//!            'r' length 1 · space · key               -> a side table's record
//! ```
//! All numbers are big endian. `FORMAT` beside the spaces holds the version of this layout.

use base::ClusterTime;
use bytes::Bytes;

use crate::catalog::{CollectionId, IndexId, RecordId};
use crate::entry::{LogPosition, Namespace};
use crate::error::{Error, Result};
use crate::kv::{KeyRange, KvRead, Space};

/// Version of everything written under a data directory.
pub const FORMAT: u32 = 1;

pub const STATE: &[u8] = b"s";
pub const NEXT_ID: &[u8] = b"k";
pub const REMOVED: &[u8] = b"o";
pub const COLLECTIONS: &[u8] = b"c";
pub const GARBAGE: &[u8] = b"g";
pub const BUILDING: &[u8] = b"b";

/// What belongs to one commit: read from a snapshot, it says which commit that shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub applied: ClusterTime,
    pub catalog_version: u64,
    /// Bytes of all entries in the log.
    pub log_bytes: u64,
}

impl State {
    pub fn encode(self) -> Bytes {
        join([self.applied.0, self.catalog_version, self.log_bytes])
    }
}

pub fn read_state(kv: &dyn KvRead) -> Result<State> {
    let Some(bytes) = kv.get(Space::Meta, STATE)? else { return Ok(State::default()) };
    let [applied, catalog_version, log_bytes] = split(&bytes)?;
    Ok(State { applied: ClusterTime(applied), catalog_version, log_bytes })
}

fn join<const N: usize>(numbers: [u64; N]) -> Bytes {
    numbers.into_iter().flat_map(u64::to_be_bytes).collect()
}

fn split<const N: usize>(bytes: &[u8]) -> Result<[u64; N]> {
    if bytes.len() != 8 * N {
        return Err(Error::corrupt("a counter has the wrong size"));
    }
    let number = |i: usize| u64::from_be_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes were sliced"));
    Ok(std::array::from_fn(number))
}

/// A position in the log as a value.
pub fn encode_position(position: LogPosition) -> Bytes {
    join([position.time.0, u64::from(position.index)])
}

pub fn decode_position(bytes: &[u8]) -> Result<LogPosition> {
    let [time, index] = split(bytes)?;
    Ok(LogPosition { time: ClusterTime(time), index: u32::try_from(index).unwrap_or(u32::MAX) })
}

/// Documents of a collection, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub documents: u64,
    pub bytes: u64,
}

impl Counts {
    pub fn encode(self) -> Bytes {
        join([self.documents, self.bytes])
    }

    pub fn plus(self, documents: i64, bytes: i64) -> Self {
        Counts {
            documents: self.documents.saturating_add_signed(documents),
            bytes: self.bytes.saturating_add_signed(bytes),
        }
    }
}

pub fn read_counts(kv: &dyn KvRead, collection: CollectionId) -> Result<Counts> {
    let Some(bytes) = kv.get(Space::Meta, &counts_key(collection))? else { return Ok(Counts::default()) };
    let [documents, bytes] = split(&bytes)?;
    Ok(Counts { documents, bytes })
}

fn tagged(tag: u8, id: u32) -> [u8; 5] {
    let mut key = [tag; 5];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

pub fn collection_key(collection: CollectionId) -> [u8; 5] {
    tagged(b'c', collection.0)
}

pub fn counts_key(collection: CollectionId) -> [u8; 5] {
    tagged(b'n', collection.0)
}

pub fn building_key(index: IndexId) -> [u8; 5] {
    tagged(b'b', index.0)
}

/// The index that a building key is about.
pub fn index_of_building_key(key: &[u8]) -> Result<IndexId> {
    let id = key.get(1..).and_then(|id| id.try_into().ok());
    id.map(|id| IndexId(u32::from_be_bytes(id))).ok_or_else(|| Error::corrupt("a mark of an index being built"))
}

pub fn garbage_key(space: Space, id: u32) -> [u8; 6] {
    let id = id.to_be_bytes();
    [b'g', space as u8, id[0], id[1], id[2], id[3]]
}

/// The space and key prefix that a garbage key is about.
pub fn garbage_of_key(key: &[u8]) -> Option<(Space, [u8; 4])> {
    let space = Space::ALL.into_iter().find(|space| Some(&(*space as u8)) == key.get(1))?;
    Some((space, key.get(2..)?.try_into().ok()?))
}

pub fn document_key(collection: CollectionId, record: RecordId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&collection.0.to_be_bytes());
    key[4..].copy_from_slice(&record.0.to_be_bytes());
    key
}

pub fn record_of_key(key: &[u8]) -> Result<RecordId> {
    let record = key.get(4..).and_then(|record| record.try_into().ok());
    record.map(|record| RecordId(u64::from_be_bytes(record))).ok_or_else(|| Error::corrupt("a document's key"))
}

pub fn collection_range(collection: CollectionId) -> KeyRange {
    KeyRange::prefix(&collection.0.to_be_bytes())
}

/// Longest key of a side-table record, bytes; the key-value store ends at 65,535 for all of it.
pub const MAX_SIDE_KEY: usize = 60_000;

/// Key of a side-table record.
///
/// # Panics
/// If the name of the space is longer than 255 bytes.
pub fn side_key(space: &str, key: &[u8]) -> Vec<u8> {
    let length = u8::try_from(space.len()).expect("names of side tables are short constants");
    let mut out = Vec::with_capacity(2 + space.len() + key.len());
    out.extend_from_slice(&[b'r', length]);
    out.extend_from_slice(space.as_bytes());
    out.extend_from_slice(key);
    out
}

/// What stands for a namespace in the locks; nothing is stored there.
pub fn name_lock(namespace: &Namespace) -> Vec<u8> {
    [b"N", namespace.db.as_bytes(), b"\0", namespace.collection.as_bytes()].concat()
}
