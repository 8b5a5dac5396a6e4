//! The open store: the handle that everything else holds.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::{Clock, ClusterTime, SystemClock};
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::committer::{self, Inbox, TypedJob};
use crate::entry::{LogPosition, Namespace};
use crate::error::{Error, Result};
use crate::keeper::{Keeper, LogRetention, Stop};
use crate::kv::{FjallKv, Kv, SyncMode};
use crate::log::LogReader;
use crate::open;
use crate::pending::{Committed, Pending};
use crate::shared::{DurableListener, Shared};
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use crate::write::WriteTxn;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Created if it does not exist.
    pub dir: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub sync: SyncMode,
    pub log_retention: LogRetention,
    /// How often dropped contents are removed, the log is cut and TTL indexes are looked at; `None`:
    /// only by `Store::upkeep`.
    pub upkeep_interval: Option<Duration>,
    /// The log is captured from another one and begins with that one's times, not with this clock's.
    pub captured: bool,
}

impl StoreOptions {
    /// Durable writes, the machine's clock, the default retention.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        StoreOptions {
            dir: dir.into(),
            clock: Arc::new(SystemClock),
            sync: SyncMode::default(),
            log_retention: LogRetention::default(),
            upkeep_interval: Some(Duration::from_secs(20)),
            captured: false,
        }
    }
}

/// Cheap to clone; the last clone closes.
///
/// ```
/// use store::{Namespace, Reader, Store, StoreOptions};
/// # let dir = tempfile::tempdir().unwrap();
/// let store = Store::open(StoreOptions::new(dir.path()))?;
/// let orders = Namespace::new("shop", "orders");
/// let document = document::Doc::new().with("_id", 1).with("status", "new").to_buf();
/// let written = store
///     .write(move |txn| {
///         let orders = txn.ensure_collection(&orders)?;
///         txn.insert(orders.id, document)
///     })
///     .wait()?;
/// assert_eq!(store.durable(), written.time);
/// let snapshot = store.snapshot()?;
/// let orders = snapshot.catalog().find("shop", "orders").unwrap();
/// assert_eq!(snapshot.counts(orders)?.documents, 1);
/// # Ok::<(), store::Error>(())
/// ```
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    keeper: Arc<Keeper>,
    stop: Arc<Stop>,
    /// The keeper's, then the committer's, which must outlive it.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    fn close(&self) {
        self.stop.stop();
        self.inbox.close();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // The last handle may have been given away in a write closure.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Store {
    /// Opens a data directory, or makes one. Errors: `Locked`, `Unwritable`, `NewerFormat`,
    /// `Corrupt`, `Io`.
    pub fn open(options: StoreOptions) -> Result<Store> {
        open::prepare_directory(&options.dir)?;
        let kv = FjallKv::open(&options.dir.join("kv"), options.sync)?;
        Store::open_on(Arc::new(kv), options)
    }

    /// Opens on any key-value store; `options.dir` is not touched.
    pub fn open_on(kv: Arc<dyn Kv>, options: StoreOptions) -> Result<Store> {
        let clock = (!options.captured).then_some(&*options.clock);
        let recovered = open::recover(&*kv, clock)?;
        let shared = Arc::new(Shared::new(kv, options.clock, recovered));
        let inbox = Arc::new(Inbox::new());
        let retention = options.log_retention;
        let keeper = Keeper { shared: Arc::clone(&shared), inbox: Arc::clone(&inbox), retention };
        let keeper = Arc::new(keeper);
        let stop = Arc::new(Stop::default());
        let mut threads = Vec::new();
        if let Some(interval) = options.upkeep_interval {
            let (keeper, stop) = (Arc::clone(&keeper), Arc::clone(&stop));
            threads.push(spawn("store-keeper", move || keeper.run(&stop, interval))?);
        }
        let committer = {
            let (shared, inbox) = (Arc::clone(&shared), Arc::clone(&inbox));
            spawn("store-committer", move || committer::run(&shared, &inbox))
        };
        match committer {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                stop.stop();
                return Err(error);
            }
        }
        Ok(Store(Arc::new(Inner { shared, inbox, keeper, stop, threads: Mutex::new(threads) })))
    }

    /// Refuses further writes, finishes and syncs those that are queued. Reads still work.
    pub fn close(&self) {
        self.0.close();
    }

    /// The catalog of the newest commit.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.shared.catalog()
    }

    /// Time of the newest commit; it may not be durable yet.
    pub fn applied(&self) -> ClusterTime {
        self.0.shared.applied()
    }

    /// No commit from now on gets this time or an earlier one.
    pub fn reserve_time(&self, time: ClusterTime) {
        self.0.shared.reserved.fetch_max(time.0, std::sync::atomic::Ordering::AcqRel);
    }

    /// Everything up to here survives a crash. Never later than `applied()`.
    pub fn durable(&self) -> ClusterTime {
        self.0.shared.durable()
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.shared.clock
    }

    /// A consistent view of the newest commit.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.0.shared.snapshot()
    }

    /// Queues a write. The closure runs on the committer's thread, after those queued before and
    /// alone; if it refuses or panics, what it wrote is dropped. Blocks while the queue is full.
    pub fn write<R, F>(&self, closure: F) -> Pending<R>
    where
        F: FnOnce(&mut WriteTxn) -> Result<R> + Send + 'static,
        R: Send + 'static,
    {
        self.write_sized(0, closure)
    }

    /// A write that carries about so many bytes, so that the queue can bound its memory.
    pub fn write_sized<R, F>(&self, bytes: usize, closure: F) -> Pending<R>
    where
        F: FnOnce(&mut WriteTxn) -> Result<R> + Send + 'static,
        R: Send + 'static,
    {
        let (pending, slot) = Pending::new();
        match self.0.inbox.push(bytes, Box::new(TypedJob::new(closure, slot))) {
            Ok(()) => pending,
            // Its slot was told by the drop of the job; that it is closed says more.
            Err(_) => Pending::ready(Err(Error::Closed)),
        }
    }

    /// Opens a multi-document transaction on a snapshot of now.
    pub fn begin(&self) -> Result<Transaction> {
        Transaction::begin(&self.0.shared, &self.0.inbox)
    }

    /// Does at once what otherwise happens in the background.
    pub fn upkeep(&self) -> Result<()> {
        self.0.keeper.keep()
    }

    /// Writes, and where an open transaction is in the way, waits for it to end and tries again
    /// with a fresh closure until the deadline. Blocks the thread.
    pub fn write_waiting<R, F>(&self, deadline: Instant, mut make: impl FnMut() -> F) -> Result<Committed<R>>
    where
        F: FnOnce(&mut WriteTxn) -> Result<R> + Send + 'static,
        R: Send + 'static,
    {
        loop {
            let seen = self.0.shared.locks.releases();
            match self.write(make()).wait() {
                Err(Error::WriteConflict(reason)) => {
                    if !self.0.shared.locks.wait_released(seen, deadline) {
                        return Err(Error::WriteConflict(reason));
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// The durable entries after a position (from the oldest kept one if `None`), up to and
    /// including a time. The first item is `HistoryLost` if entries after it have been removed.
    pub fn log(&self, after: Option<LogPosition>, up_to: ClusterTime) -> LogReader {
        self.read_log(after.unwrap_or_else(|| self.0.shared.log.removed()), up_to)
    }

    /// The durable entries from a time on, that time included, up to and including another.
    pub fn log_from_time(&self, from: ClusterTime, up_to: ClusterTime) -> LogReader {
        let before = LogPosition { time: ClusterTime(from.0.saturating_sub(1)), index: u32::MAX };
        self.read_log(before, up_to)
    }

    fn read_log(&self, after: LogPosition, up_to: ClusterTime) -> LogReader {
        let shared = &self.0.shared;
        let up_to = up_to.min(shared.durable());
        let expiry = shared.log.image_seconds().map(|seconds| seconds.saturating_mul(1000));
        let images_from_ms = expiry.map_or(i64::MIN, |ms| shared.clock.now_ms().saturating_sub(ms));
        let bounds = (shared.log.removed(), after.next());
        let reader = LogReader::open(&*shared.kv, bounds, up_to, images_from_ms);
        // Looked at after the reader has its view: entries that went meanwhile must not go unnoticed.
        if after < shared.log.removed() {
            return LogReader::failed(Error::HistoryLost { asked: after.time, oldest: self.oldest_time() });
        }
        reader.unwrap_or_else(LogReader::failed)
    }

    /// Every entry from this time on is still in the log.
    pub fn oldest_time(&self) -> ClusterTime {
        self.0.shared.log.oldest()
    }

    /// Calls back with every group of entries, in log order, once it is durable and before its
    /// writers learn of it. Runs on the committer's thread: hand over and return.
    pub fn on_durable(&self, listener: DurableListener) {
        self.0.shared.listeners.write().push(listener);
    }

    /// Keeps pre-images of a namespace in the log (`by_option: false`) although its collection was
    /// not created with them. An empty collection means the whole database, an empty database
    /// everything. Counted: each `true` wants its `false`.
    pub fn set_image_interest(&self, pattern: &Namespace, on: bool) {
        self.0.shared.interest.set(pattern, on);
    }

    /// Keeps the log from this time on, whatever the retention, until pinned elsewhere; `None`
    /// lets go.
    pub fn pin_log(&self, name: &str, time: Option<ClusterTime>) {
        self.0.shared.log.pin(name, time);
    }

    /// After so many seconds clients get null for a pre-image; `None`: as long as its entry lives.
    pub fn set_image_expiry(&self, seconds: Option<i64>) {
        self.0.shared.log.set_image_seconds(seconds);
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(run)?)
}
