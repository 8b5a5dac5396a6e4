//! View state on disk: operator entries, rows, dead letters and position of one tick.
//!
//! ```text
//!   records "views":   id (8) 's' operator entry key        -> operator entry value
//!                      id (8) 'r' encoded row               -> count
//!                      id (8) 'd' number (8)                -> dead letter
//!                      id (8) 'p'                           -> position (8), plan fingerprint (8), generation (8)
//!                      id (8) 'w' generation (8) number (4) -> changes that are staged
//! ```
//!
//! An entry key or row longer than `LONGEST_KEY` stands in the value, behind its length (4), under its
//! SHA-256 and 'S' or 'R': a view may hold rows that no key of the store can.
//!
//! Writers of documents wait while a batch is written, so a checkpoint of many changes is many
//! batches with room between them. Whatever happens between two of them, one whole checkpoint stands:
//!
//! ```text
//!   few changes    one batch with the position
//!   the first      position away · records, batch by batch · position
//!   many changes   staged, batch by batch · position with the generation: from here on it stands ·
//!                  each staged batch to its place and away · position without the generation
//! ```
//!
//! What an attempt staged that did not come to its position is never read, and removed at the next start.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base::ClusterTime;
use dataflow::codec::{Reader, encode_row};
use rustc_hash::FxHasher;
use sha2::{Digest, Sha256};
use sql::SqlError;
use store::{Reader as _, Store};

use crate::runtime::store_error;
use crate::view::RunningView;

/// The record space of view state.
pub const SPACE: &str = "views";

/// One changed record: key, and value or `None` for a removal.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Longest entry key or row that is itself part of a record's key, bytes.
const LONGEST_KEY: usize = 1024;

/// Most changes of one batch: a few milliseconds of the committer's time.
const BATCH_CHANGES: usize = 2048;
/// … and most bytes.
const BATCH_BYTES: usize = 512 * 1024;

/// Where checkpoints go: the store, or in tests one that refuses.
pub trait Records: Send + Sync + std::fmt::Debug {
    /// Writes a batch: durable, as a whole or not at all.
    fn write(&self, changes: Arc<Vec<Change>>) -> Result<(), SqlError>;
}

/// The store's own records.
#[derive(Clone)]
pub struct StoreRecords(pub Store);

impl std::fmt::Debug for StoreRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreRecords")
    }
}

impl Records for StoreRecords {
    fn write(&self, changes: Arc<Vec<Change>>) -> Result<(), SqlError> {
        let bytes = changes.iter().map(change_bytes).sum();
        let write = move |txn: &mut store::WriteTxn| {
            for (key, value) in &*changes {
                match value {
                    Some(value) => txn.put_record(SPACE, key, value.clone()),
                    None => txn.delete_record(SPACE, key),
                }
            }
            Ok(())
        };
        self.0.write_sized(bytes, write).wait().map(|_| ()).map_err(store_error)
    }
}

fn change_bytes((key, value): &Change) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}

/// The record of an entry or row. A value of `None` removes it.
fn record(id: u64, part: u8, rest: &[u8], value: Option<Vec<u8>>) -> Change {
    if rest.len() <= LONGEST_KEY {
        return (key(id, part, rest), value);
    }
    let value = value.map(|value| [&(rest.len() as u32).to_be_bytes()[..], rest, &value].concat());
    (key(id, part.to_ascii_uppercase(), &Sha256::digest(rest)), value)
}

/// The reverse of `record`: part, entry key or row, value. `None` for the position and what is staged.
fn read_record<'a>(key: &'a [u8], value: &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    match *key.get(8)? {
        part @ (b's' | b'r' | b'd') => Some((part, &key[9..], value)),
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

fn staged_key(id: u64, generation: u64, number: usize) -> Vec<u8> {
    let mut rest = generation.to_be_bytes().to_vec();
    rest.extend_from_slice(&(number as u32).to_be_bytes());
    key(id, b'w', &rest)
}

/// The layout of operators' entries; a checkpoint in another one is built anew.
const FORMAT: u64 = 2;

/// Identifies the plan that wrote a state: another plan cannot read it.
fn fingerprint(view: &RunningView) -> u64 {
    let mut hasher = FxHasher::default();
    FORMAT.hash(&mut hasher);
    format!("{:?}", view.definition.plan).hash(&mut hasher);
    // Which rows are in the state is a matter of the policy, too.
    format!("{:?}", view.definition.on_error).hash(&mut hasher);
    hasher.finish()
}

/// What a view changed since its last checkpoint, and where it stands.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub id: u64,
    pub changes: Vec<Change>,
    position: ClusterTime,
    fingerprint: u64,
}

impl Checkpoint {
    /// Takes the changes since the last call.
    pub fn of(view: &mut RunningView) -> Self {
        let mut changes = Vec::new();
        drain(view, &mut |change| changes.push(change));
        Checkpoint { changes, ..Checkpoint::empty(view) }
    }

    fn empty(view: &RunningView) -> Self {
        let (id, fingerprint) = (view.definition.id, fingerprint(view));
        Checkpoint { id, changes: Vec::new(), position: view.position, fingerprint }
    }

    /// Puts the changes of an attempt that failed before its own; of one record the newest stays.
    pub fn absorb(&mut self, older: Checkpoint) {
        let newer = std::mem::replace(&mut self.changes, older.changes);
        self.changes.extend(newer);
        self.changes.reverse();
        self.changes.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.changes.dedup_by(|(later, _), (earlier, _)| later == earlier);
    }

    pub fn bytes(&self) -> usize {
        self.changes.iter().map(change_bytes).sum()
    }

    /// Does it fit into one batch?
    pub fn is_small(&self) -> bool {
        self.changes.len() <= BATCH_CHANGES && self.bytes() <= BATCH_BYTES
    }

    fn position_record(&self, generation: u64) -> Change {
        let mut value = self.position.0.to_be_bytes().to_vec();
        value.extend_from_slice(&self.fingerprint.to_be_bytes());
        value.extend_from_slice(&generation.to_be_bytes());
        (position_key(self.id), Some(value))
    }

    /// The one batch of a small checkpoint.
    pub fn batch(&self) -> impl Iterator<Item = Change> {
        self.changes.iter().cloned().chain([self.position_record(0)])
    }

    /// Where there is no whole checkpoint yet.
    pub fn write_first(&self, records: &dyn Records) -> Result<(), SqlError> {
        records.write(Arc::new(vec![(position_key(self.id), None)]))?;
        for batch in batches(&self.changes) {
            records.write(Arc::new(batch.to_vec()))?;
        }
        records.write(Arc::new(vec![self.position_record(0)]))
    }

    /// Over an older checkpoint, which stands until this one does. No generation is used twice.
    pub fn write_staged(&self, records: &dyn Records, generation: u64) -> Result<(), SqlError> {
        for (number, batch) in batches(&self.changes).enumerate() {
            let staged = (staged_key(self.id, generation, number), Some(encode_changes(batch)));
            records.write(Arc::new(vec![staged]))?;
        }
        records.write(Arc::new(vec![self.position_record(generation)]))?;
        for (number, batch) in batches(&self.changes).enumerate() {
            let mut batch = batch.to_vec();
            batch.push((staged_key(self.id, generation, number), None));
            records.write(Arc::new(batch))?;
        }
        records.write(Arc::new(vec![self.position_record(0)]))
    }
}

/// Hands out everything that a view changed since the last call.
fn drain(view: &mut RunningView, sink: &mut dyn FnMut(Change)) {
    let id = view.definition.id;
    view.flow.save(&mut |entry, value| sink(record(id, b's', &entry, value)));
    for row in view.changed_rows.drain() {
        let mut encoded = Vec::new();
        encode_row(&row, &mut encoded);
        let count = view.rows.get(&row).map(|n| n.to_le_bytes().to_vec());
        sink(record(id, b'r', &encoded, count));
    }
    view.dead_letters.save(&mut |number, letter| sink((key(id, b'd', &number.to_be_bytes()), letter)));
}

/// The first checkpoint of a view that was just built, without holding all of it twice. `go_on` is
/// asked before each batch.
pub fn write_built(
    records: &dyn Records,
    view: &mut RunningView,
    go_on: &dyn Fn() -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    let last = Checkpoint::empty(view);
    records.write(Arc::new(vec![(position_key(last.id), None)]))?;
    let mut outcome = Ok(());
    let (mut batch, mut bytes) = (Vec::new(), 0);
    drain(view, &mut |change| {
        bytes += change_bytes(&change);
        batch.push(change);
        if outcome.is_ok() && (batch.len() >= BATCH_CHANGES || bytes >= BATCH_BYTES) {
            bytes = 0;
            let full = std::mem::take(&mut batch);
            outcome = go_on().and_then(|()| records.write(Arc::new(full)));
        } else if outcome.is_err() {
            batch.clear();
        }
    });
    outcome.and_then(|()| go_on())?;
    batch.push(last.position_record(0));
    records.write(Arc::new(batch))
}

/// Runs of changes, each one batch.
fn batches(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let mut rest = changes;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |change: &Change| {
            let first = bytes == 0;
            bytes += change_bytes(change);
            first || bytes <= BATCH_BYTES
        };
        let n = rest.iter().take(BATCH_CHANGES).map_while({
            let mut fits = fits;
            move |change| fits(change).then_some(())
        });
        let (batch, after) = rest.split_at(n.count());
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

fn encode_changes(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in changes {
        out.extend_from_slice(&(key.len() as u32).to_be_bytes());
        out.extend_from_slice(key);
        match value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
    out
}

fn decode_changes(mut bytes: &[u8]) -> Option<Vec<Change>> {
    fn sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (taken, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        *bytes = rest;
        Some(taken)
    }
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let key = sized(&mut bytes)?.to_vec();
        let (has_value, rest) = bytes.split_first()?;
        bytes = rest;
        let value = if *has_value == 1 { Some(sized(&mut bytes)?.to_vec()) } else { None };
        changes.push((key, value));
    }
    Some(changes)
}

/// Is there any record of a view?
pub fn exists(store: &Store, id: u64) -> Result<bool, SqlError> {
    let snapshot = store.snapshot().map_err(store_error)?;
    let found = snapshot.records(SPACE, &id.to_be_bytes()).next().transpose().map_err(store_error)?;
    Ok(found.is_some())
}

/// Removes everything kept for a view, its position first.
pub fn remove(store: &Store, records: &dyn Records, id: u64) -> Result<(), SqlError> {
    let snapshot = store.snapshot().map_err(store_error)?;
    let mut found = snapshot.records(SPACE, &id.to_be_bytes()).peekable();
    if found.peek().is_none() {
        return Ok(());
    }
    records.write(Arc::new(vec![(position_key(id), None)]))?;
    let mut batch = Vec::new();
    for record in found {
        let (key, _) = record.map_err(store_error)?;
        batch.push((key.to_vec(), None));
        if batch.len() >= BATCH_CHANGES {
            records.write(Arc::new(std::mem::take(&mut batch)))?;
        }
    }
    if batch.is_empty() { Ok(()) } else { records.write(Arc::new(batch)) }
}

/// A position record: position, fingerprint, and the generation that is staged, 0 if none is.
fn read_position(value: &[u8]) -> Option<(ClusterTime, &[u8], u64)> {
    let (position, rest) = value.split_first_chunk::<8>()?;
    let (written_by, rest) = rest.split_at_checked(8)?;
    // Before generations there was nothing behind the fingerprint.
    let generation = rest.try_into().map_or(0, u64::from_be_bytes);
    Some((ClusterTime(u64::from_be_bytes(*position)), written_by, generation))
}

/// Brings what is staged to its place, and removes what never came to stand.
fn settle(store: &Store, records: &dyn Records, id: u64) -> Result<(), SqlError> {
    let damaged = || SqlError::new("XX001", "damaged checkpoint of a view");
    let snapshot = store.snapshot().map_err(store_error)?;
    let position = snapshot.get_record(SPACE, &position_key(id)).map_err(store_error)?;
    let position = position.ok_or_else(damaged)?;
    let (_, _, generation) = read_position(&position).ok_or_else(damaged)?;
    let standing = key(id, b'w', &generation.to_be_bytes());
    for staged in snapshot.records(SPACE, &key(id, b'w', &[])) {
        let (key, value) = staged.map_err(store_error)?;
        let stands = generation != 0 && key.starts_with(&standing);
        let mut batch = if stands { decode_changes(&value).ok_or_else(damaged)? } else { Vec::new() };
        batch.push((key.to_vec(), None));
        records.write(Arc::new(batch))?;
    }
    if generation == 0 {
        return Ok(());
    }
    let mut settled = position[..16].to_vec();
    settled.extend_from_slice(&0_u64.to_be_bytes());
    records.write(Arc::new(vec![(position_key(id), Some(settled))]))
}

/// Fills a fresh view from its checkpoint. False if there is none that fits its plan.
pub fn restore(store: &Store, records: &dyn Records, view: &mut RunningView) -> Result<bool, SqlError> {
    let id = view.definition.id;
    let snapshot = store.snapshot().map_err(store_error)?;
    let stored = snapshot.get_record(SPACE, &position_key(id)).map_err(store_error)?;
    let Some((position, written_by, _)) = stored.as_deref().and_then(read_position) else {
        return Ok(false);
    };
    if written_by != fingerprint(view).to_be_bytes() {
        return Ok(false);
    }
    view.position = position;
    settle(store, records, id)?;
    let snapshot = store.snapshot().map_err(store_error)?;
    for record in snapshot.records(SPACE, &id.to_be_bytes()) {
        let (key, value) = record.map_err(store_error)?;
        match read_record(&key, &value) {
            Some((b's', entry, value)) => view.flow.load(entry, value)?,
            Some((b'd', number, letter)) => {
                let number = number.try_into().map(u64::from_be_bytes);
                let number = number.map_err(|_| SqlError::new("XX001", "damaged dead letter of a view"))?;
                view.dead_letters.load(number, letter)?;
            }
            Some((_, row, count)) => {
                let row = Reader(row).row()?;
                view.add_row(&row, Reader(count).i64()?);
            }
            None => {}
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
