//! The backend on disk: an LSM tree per space behind one write-ahead journal.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{
    Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, config::CompressionPolicy,
};

use super::{Batch, Direction, Entry, KeyRange, Kv, KvIter, KvRead, Space};
use crate::error::{Error, Result};

/// Blocks of the trees kept in memory, bytes.
const CACHE: u64 = 32 * 1024 * 1024;
/// A space's write buffer before it becomes a file, bytes. Four may be full and some being
/// written out at once, so this bounds the memory of a busy store to about a quarter of a GiB.
const MEMTABLE: u64 = 16 * 1024 * 1024;
/// Journals kept, bytes; what a reopening store has to replay at most.
const JOURNAL: u64 = 96 * 1024 * 1024;

/// Buffered bytes below which a clean end leaves the buffers to the journal.
const SETTLE: u64 = 4 * 1024 * 1024;
/// How long a clean end waits for buffers to be written; what is not is in the journal anyway.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// What `fdatasync` is asked for after a group of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// Acknowledged writes survive a power failure.
    #[default]
    Durable,
    /// Acknowledged writes survive the end of the process, not of the machine. For tests and
    /// benchmarks.
    Buffered,
}

pub struct FjallKv {
    db: Database,
    spaces: [Keyspace; Space::ALL.len()],
    persist: PersistMode,
}

impl FjallKv {
    pub fn open(dir: &Path, sync: SyncMode) -> Result<Self> {
        let convert = |error| open_error(dir, error);
        let db = Database::builder(dir)
            .cache_size(CACHE)
            .max_journaling_size(JOURNAL)
            .manual_journal_persist(true)
            // Compressing what is written once and rarely read again cost a tenth of the committer.
            .journal_compression(fjall::CompressionType::None)
            .worker_threads(2)
            .open()
            .map_err(convert)?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE)
                .manual_journal_persist(true)
                .data_block_compression_policy(CompressionPolicy::all(fjall::CompressionType::Lz4))
        };
        let mut spaces = Vec::with_capacity(Space::ALL.len());
        for space in Space::ALL {
            spaces.push(db.keyspace(space.name(), options).map_err(convert)?);
        }
        let spaces = spaces.try_into().ok().expect("one keyspace was opened per space");
        let persist = match sync {
            SyncMode::Durable => PersistMode::SyncData,
            SyncMode::Buffered => PersistMode::Buffer,
        };
        Ok(FjallKv { db, spaces, persist })
    }
}

fn open_error(dir: &Path, error: fjall::Error) -> Error {
    match error {
        fjall::Error::Locked => Error::Locked { dir: dir.to_owned() },
        fjall::Error::Io(source) if is_permission(&source) => {
            Error::Unwritable { dir: dir.to_owned(), source: Arc::new(source) }
        }
        other => read_error(other),
    }
}

fn is_permission(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | StorageFull | NotADirectory | AlreadyExists)
}

fn read_error(error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(source) => Error::Io(Arc::new(source)),
        fjall::Error::Poisoned => Error::Unavailable("an earlier write failed".to_owned()),
        other => Error::Corrupt(other.to_string()),
    }
}

fn entry(guard: Guard) -> Result<Entry> {
    let (key, value) = guard.into_inner().map_err(read_error)?;
    Ok((key.into(), value.into()))
}

fn walk(iter: fjall::Iter, direction: Direction) -> KvIter {
    match direction {
        Direction::Forward => Box::new(iter.map(entry)),
        Direction::Backward => Box::new(iter.rev().map(entry)),
    }
}

fn bounds(range: KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (Bound::Included(range.from), range.to.map_or(Bound::Unbounded, Bound::Excluded))
}

impl KvRead for FjallKv {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.spaces[space as usize].get(key).map_err(read_error)?.map(Bytes::from))
    }

    fn range(&self, space: Space, range: KeyRange, direction: Direction) -> KvIter {
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        walk(self.spaces[space as usize].range(bounds(range)), direction)
    }
}

impl Kv for FjallKv {
    fn commit(&self, batch: Batch) -> Result<()> {
        let mut writes = fjall::OwnedWriteBatch::with_capacity(self.db.clone(), batch.ops.len());
        for (space, key, value) in batch.ops {
            let keyspace = &self.spaces[space as usize];
            match value {
                Some(value) => writes.insert(keyspace, key, value),
                None => writes.remove(keyspace, key),
            }
        }
        writes.commit().map_err(|error| Error::Unavailable(error.to_string()))
    }

    fn sync(&self) -> Result<()> {
        self.db.persist(self.persist).map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// Writes the buffers out, so that the next opening does not build them again from the journal.
    fn settle(&self) {
        if self.db.write_buffer_size() < SETTLE {
            return;
        }
        for keyspace in &self.spaces {
            let _ = keyspace.rotate_memtable();
        }
        let deadline = Instant::now() + SETTLE_TIME;
        while self.spaces.iter().any(|keyspace| keyspace.sealed_memtable_count() > 0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(FjallSnapshot { snapshot: self.db.snapshot(), spaces: self.spaces.clone() })
    }
}

struct FjallSnapshot {
    snapshot: Snapshot,
    spaces: [Keyspace; Space::ALL.len()],
}

impl KvRead for FjallSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.snapshot.get(&self.spaces[space as usize], key).map_err(read_error)?.map(Bytes::from))
    }

    fn range(&self, space: Space, range: KeyRange, direction: Direction) -> KvIter {
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        walk(self.snapshot.range(&self.spaces[space as usize], bounds(range)), direction)
    }
}
