//! View state on disk: operator entries, rows and position of one tick, in one batch.
//!
//! ```text
//!   records "views":   id (8) 's' operator entry key  -> operator entry value
//!                      id (8) 'r' encoded row         -> count
//!                      id (8) 'p'                     -> position (8), plan fingerprint (8)
//! ```
//!
//! An entry key or row longer than `LONGEST_KEY` stands in the value, behind its length (4), under its
//! SHA-256 and 'S' or 'R': a view may hold rows that no key of the store can.

use std::hash::{Hash, Hasher};

use base::ClusterTime;
use dataflow::codec::{Reader, encode_row};
use rustc_hash::FxHasher;
use sha2::{Digest, Sha256};
use sql::SqlError;
use store::{Reader as _, Store};

use crate::view::RunningView;

/// The record space of view state.
pub const SPACE: &str = "views";

/// One changed record: key, and value or `None` for a removal.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Longest entry key or row that is itself part of a record's key, bytes.
const LONGEST_KEY: usize = 1024;

/// The record of an entry or row. A value of `None` removes it.
fn record(id: u64, part: u8, rest: &[u8], value: Option<Vec<u8>>) -> Change {
    if rest.len() <= LONGEST_KEY {
        return (key(id, part, rest), value);
    }
    let value = value.map(|value| [&(rest.len() as u32).to_be_bytes()[..], rest, &value].concat());
    (key(id, part.to_ascii_uppercase(), &Sha256::digest(rest)), value)
}

/// The reverse of `record`: part, entry key or row, value. `None` for the position.
fn read_record<'a>(key: &'a [u8], value: &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    match *key.get(8)? {
        part @ (b's' | b'r') => Some((part, &key[9..], value)),
        part @ (b'S' | b'R') => {
            let (length, rest) = value.split_first_chunk::<4>()?;
            let (long, value) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            Some((part.to_ascii_lowercase(), long, value))
        }
        _ => None,
    }
}

fn key(id: u64, part: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + rest.len());
    key.extend_from_slice(&id.to_be_bytes());
    key.push(part);
    key.extend_from_slice(rest);
    key
}

/// The record without which a checkpoint does not count.
pub fn position_key(id: u64) -> Vec<u8> {
    key(id, b'p', &[])
}

/// The layout of operators' entries; a checkpoint in another one is built anew.
const FORMAT: u64 = 2;

/// Identifies the plan that wrote a state: another plan cannot read it.
fn fingerprint(view: &RunningView) -> u64 {
    let mut hasher = FxHasher::default();
    FORMAT.hash(&mut hasher);
    format!("{:?}", view.definition.plan).hash(&mut hasher);
    hasher.finish()
}

/// What changed since the last call.
pub fn changes(view: &mut RunningView) -> Vec<Change> {
    let id = view.definition.id;
    let mut changes = Vec::new();
    view.flow.save(&mut |entry, value| changes.push(record(id, b's', &entry, value)));
    for row in view.changed_rows.drain() {
        let mut encoded = Vec::new();
        encode_row(&row, &mut encoded);
        let count = view.rows.get(&row).map(|n| n.to_le_bytes().to_vec());
        changes.push(record(id, b'r', &encoded, count));
    }
    let mut position = view.position.0.to_be_bytes().to_vec();
    position.extend_from_slice(&fingerprint(view).to_be_bytes());
    changes.push((position_key(id), Some(position)));
    changes
}

/// Removes everything kept for a view.
pub fn removal(store: &Store, id: u64) -> Result<Vec<Change>, SqlError> {
    let mut changes = Vec::new();
    let snapshot = store.snapshot().map_err(crate::runtime::store_error)?;
    for record in snapshot.records(SPACE, &id.to_be_bytes()) {
        let (key, _) = record.map_err(crate::runtime::store_error)?;
        changes.push((key.to_vec(), None));
    }
    Ok(changes)
}

/// Fills a fresh view from its checkpoint. False if there is none that fits its plan.
pub fn restore(store: &Store, view: &mut RunningView) -> Result<bool, SqlError> {
    let id = view.definition.id;
    let snapshot = store.snapshot().map_err(crate::runtime::store_error)?;
    let stored = snapshot.get_record(SPACE, &position_key(id)).map_err(crate::runtime::store_error)?;
    let Some((position, written_by)) = stored.as_deref().and_then(|p| p.split_first_chunk::<8>()) else {
        return Ok(false);
    };
    if written_by != fingerprint(view).to_be_bytes() {
        return Ok(false);
    }
    view.position = ClusterTime(u64::from_be_bytes(*position));
    for record in snapshot.records(SPACE, &id.to_be_bytes()) {
        let (key, value) = record.map_err(crate::runtime::store_error)?;
        match read_record(&key, &value) {
            Some((b's', entry, value)) => view.flow.load(entry, value)?,
            Some((_, row, count)) => {
                let row = Reader(row).row()?;
                view.rows.insert(row, Reader(count).i64()?);
            }
            None => {}
        }
    }
    Ok(true)
}
