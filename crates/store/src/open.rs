//! Opening a data directory: the format it has, and what was in it.

use std::path::Path;
use std::sync::Arc;

use base::{Clock, ClusterTime};
use bytes::Bytes;

use crate::catalog_codec;
use crate::entry::LogPosition;
use crate::error::{Error, Result};
use crate::kv::{Batch, Direction, KeyRange, Kv, Space};
use crate::layout::{self, FORMAT, State};
use crate::log::LogBounds;
use crate::log_codec::RecordReader;
use crate::shared::Recovered;

const FORMAT_FILE: &str = "FORMAT";

/// Creates the directory if need be, and refuses one that a later version wrote.
pub fn prepare_directory(dir: &Path) -> Result<()> {
    let unwritable = |source| Error::Unwritable { dir: dir.to_owned(), source: Arc::new(source) };
    std::fs::create_dir_all(dir).map_err(unwritable)?;
    let file = dir.join(FORMAT_FILE);
    match std::fs::read_to_string(&file) {
        Ok(found) => check_format(found.trim()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write_format(&file).map_err(unwritable),
        Err(error) => Err(unwritable(error)),
    }
}

fn check_format(found: &str) -> Result<()> {
    match found.parse::<u32>() {
        Ok(version) if version <= FORMAT => Ok(()),
        _ => Err(Error::NewerFormat { found: found.to_owned(), known: FORMAT }),
    }
}

/// Through a rename, so that a crash leaves either no file or a whole one.
fn write_format(file: &Path) -> std::io::Result<()> {
    let draft = file.with_extension("new");
    std::fs::write(&draft, format!("{FORMAT}\n"))?;
    std::fs::File::open(&draft)?.sync_all()?;
    std::fs::rename(&draft, file)
}

/// Reads what the store keeps in memory. A new directory gets its first state.
pub fn recover(kv: &dyn Kv, clock: &dyn Clock) -> Result<Recovered> {
    if kv.get(Space::Meta, layout::STATE)?.is_none() {
        begin(kv, clock)?;
    }
    abandon_builds(kv)?;
    let state = layout::read_state(kv)?;
    let next_id = match kv.get(Space::Meta, layout::NEXT_ID)? {
        None => 1,
        Some(bytes) => {
            let bytes = bytes[..].try_into().map_err(|_| Error::corrupt("next collection id"))?;
            u32::from_be_bytes(bytes)
        }
    };
    let removed = match kv.get(Space::Meta, layout::REMOVED)? {
        None => LogPosition::default(),
        Some(bytes) => layout::decode_position(&bytes)?,
    };
    check_end_of_log(kv, state.applied)?;
    Ok(Recovered {
        catalog: catalog_codec::load(kv, state.catalog_version)?,
        applied: state.applied,
        next_id,
        log: LogBounds::new(removed, state.log_bytes),
    })
}

/// What was built of indexes when the process ended is of no use.
fn abandon_builds(kv: &dyn Kv) -> Result<()> {
    let mut batch = Batch::default();
    for entry in kv.range(Space::Meta, KeyRange::prefix(layout::BUILDING), Direction::Forward) {
        let (mark, _) = entry?;
        let index = layout::index_of_building_key(&mark)?;
        batch.put(Space::Meta, Bytes::copy_from_slice(&layout::garbage_key(Space::Indexes, index.0)), Bytes::new());
        batch.remove(Space::Meta, mark);
    }
    if batch.is_empty() {
        return Ok(());
    }
    kv.commit(batch)?;
    kv.sync()
}

/// The log of a new store begins now, not at the beginning of time.
fn begin(kv: &dyn Kv, clock: &dyn Clock) -> Result<()> {
    let applied = ClusterTime::ZERO.tick(clock.now_ms());
    let before = LogPosition { time: ClusterTime(applied.0 - 1), index: u32::MAX };
    let mut batch = Batch::default();
    batch.put(Space::Meta, layout::STATE, State { applied, ..State::default() }.encode());
    batch.put(Space::Meta, layout::REMOVED, layout::encode_position(before));
    kv.commit(batch)?;
    kv.sync()
}

/// A commit's entries and its applied time are one batch, so they must agree.
fn check_end_of_log(kv: &dyn Kv, applied: ClusterTime) -> Result<()> {
    let everything = KeyRange { from: Vec::new(), to: None };
    let Some((_, record)) = kv.range(Space::Log, everything, Direction::Backward).next().transpose()? else {
        return Ok(());
    };
    let mut reader = RecordReader::default();
    reader.refill(record);
    let mut last = LogPosition::default();
    while let Some(position) = reader.peek()? {
        last = position;
        reader.skip()?;
    }
    if last.time > applied {
        return Err(Error::corrupt(format!("change log ends at {}, commits at {applied}", last.time)));
    }
    Ok(())
}
