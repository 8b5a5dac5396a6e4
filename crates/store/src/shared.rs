//! What the committer, the readers and the background tasks of one open store share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use base::{Clock, ClusterTime};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::catalog::{Catalog, CollectionId, RecordId};
use crate::entry::{LogEntry, Namespace};
use crate::error::{Error, Result};
use crate::interest::Interest;
use crate::kv::{Direction, Kv, KvRead, Space};
use crate::layout;
use crate::locks::Locks;
use crate::log::LogBounds;
use crate::snapshot::Snapshot;

/// Called with the entries of one group, and up to which time the log is durable.
pub type DurableListener = Box<dyn Fn(&Arc<[LogEntry]>, ClusterTime) + Send + Sync>;

/// The catalog of the newest commit, and the one of a commit that is just happening.
pub(crate) struct Catalogs {
    pub current: Arc<Catalog>,
    pub next: Option<Arc<Catalog>>,
}

pub(crate) struct Shared {
    pub kv: Arc<dyn Kv>,
    pub clock: Arc<dyn Clock>,
    pub catalogs: ArcSwap<Catalogs>,
    pub applied: AtomicU64,
    pub durable: AtomicU64,
    /// Commits get later times than this.
    pub reserved: AtomicU64,
    /// Collections and indexes draw their ids here.
    pub next_id: AtomicU32,
    pub interest: Interest,
    pub locks: Locks,
    /// Held while a write closure runs, and while a transaction takes a lock: whoever checks that
    /// a document is free must be sure that nobody is just changing it.
    pub apply: Mutex<()>,
    pub log: LogBounds,
    /// Places below which capped collections are empty, so that the next eviction starts there.
    pub evicted: Mutex<FxHashMap<CollectionId, RecordId>>,
    pub listeners: RwLock<Vec<DurableListener>>,
    poison: OnceLock<String>,
}

/// What a store starts with, read from its directory.
pub(crate) struct Recovered {
    pub catalog: Catalog,
    pub applied: ClusterTime,
    pub next_id: u32,
    pub log: LogBounds,
}

impl Shared {
    pub fn new(kv: Arc<dyn Kv>, clock: Arc<dyn Clock>, recovered: Recovered) -> Self {
        let applied = recovered.applied.0;
        Shared {
            kv,
            clock,
            catalogs: ArcSwap::from_pointee(Catalogs { current: Arc::new(recovered.catalog), next: None }),
            applied: AtomicU64::new(applied),
            durable: AtomicU64::new(applied),
            reserved: AtomicU64::new(applied),
            next_id: AtomicU32::new(recovered.next_id),
            interest: Interest::default(),
            locks: Locks::default(),
            apply: Mutex::new(()),
            log: recovered.log,
            evicted: Mutex::default(),
            listeners: RwLock::default(),
            poison: OnceLock::new(),
        }
    }

    pub fn applied(&self) -> ClusterTime {
        ClusterTime(self.applied.load(Ordering::Acquire))
    }

    pub fn durable(&self) -> ClusterTime {
        ClusterTime(self.durable.load(Ordering::Acquire))
    }

    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalogs.load().current)
    }

    /// No write is accepted from here on: what is on disk is no longer known.
    pub fn poison(&self, error: &Error) {
        tracing::error!(%error, "the store stops accepting writes");
        let _ = self.poison.set(error.to_string());
    }

    pub fn check_healthy(&self) -> Result<()> {
        match self.poison.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Unavailable(reason.clone())),
        }
    }

    /// A consistent view. The catalog is chosen by the version that the view itself holds, so no
    /// lock is needed against a commit in progress.
    pub fn snapshot(&self) -> Result<Snapshot> {
        loop {
            let kv = self.kv.snapshot();
            let state = layout::read_state(&*kv)?;
            let catalogs = self.catalogs.load();
            let candidates = [Some(&catalogs.current), catalogs.next.as_ref()];
            let found = candidates.into_iter().flatten().find(|catalog| catalog.version == state.catalog_version);
            if let Some(catalog) = found {
                return Ok(Snapshot::new(kv, Arc::clone(catalog), state.applied));
            }
            // Two statements changed the catalog between the two loads; look again.
            std::thread::yield_now();
        }
    }

    /// The place of the next document of a collection.
    pub fn allocate_record(&self, collection: &crate::catalog::Collection) -> Result<RecordId> {
        let next = match collection.next_record.get() {
            Some(next) => next,
            None => {
                let last = last_record(&*self.kv, collection.id)?;
                collection.next_record.get_or_init(|| AtomicU64::new(last + 1))
            }
        };
        Ok(RecordId(next.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn allocate_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub fn keeps_images_of(&self, namespace: &Namespace) -> bool {
        self.interest.covers(namespace)
    }
}

fn last_record(kv: &dyn KvRead, collection: CollectionId) -> Result<u64> {
    let range = layout::collection_range(collection);
    let last: Option<(Bytes, Bytes)> = kv.range(Space::Documents, range, Direction::Backward).next().transpose()?;
    match last {
        None => Ok(0),
        Some((key, _)) => Ok(layout::record_of_key(&key)?.0),
    }
}
