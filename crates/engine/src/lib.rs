//! The waist of Headwater: one database, opened from a directory, used from Rust.
//!
//! ```text
//!   mongo-wire   pg-wire   dashboard   your program
//!        └──────────┴────┬─────┴───────────┘
//!                    Headwater
//!        documents: find, write, aggregate, watch, collections, transactions
//!        sql: sessions, streams, views, sinks      handle: changes to closures
//!                        │
//!                store ─ changes ─ views
//! ```
//!
//! ```
//! use engine::documents::{Caller, Find};
//! use engine::{BatchLimit, Headwater, Namespace, Options};
//! # let dir = tempfile::tempdir().unwrap();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let db = Headwater::open(Options::new(dir.path()))?;
//! let orders = Namespace::new("shop", "orders");
//! db.insert(orders.clone(), vec![document::Doc::new().with("_id", 1).to_buf()]).await?;
//! let mut found = db.find(&Caller::default(), Find::new(orders, Default::default()))?;
//! let batch = found.next_batch(BatchLimit::default(), None).await?;
//! assert_eq!(batch.documents.len(), 1);
//! # Ok::<(), engine::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Not here
//! Bytes of any wire protocol. Everything outside — wires, dashboard, binary — enters here and
//! names nothing behind it.
//!
//! Read next: `documents/mod.rs`, `cursor.rs`, `sessions.rs`, `error.rs`.

pub mod documents;
pub mod sql;
pub mod users;

mod cursor;
mod delivery;
mod error;
mod operations;
mod sessions;

use std::path::PathBuf;
use std::sync::Arc;

use base::{Clock, ClusterTime, SystemClock};
use changes::Hub;
use store::{Store, StoreOptions};

pub use capture::{
    HistoryLost, MirrorState, MirrorStatus, Source, SourceOptions, SourceState, SourceStatus, SourceTls, Watched,
};
pub use cursor::{Batch, BatchLimit, Cursor, DocumentCursor, Opened, Rows};
pub use delivery::{Change, Failure, HandlerBuilder, TopicMessage, TopicReader};
pub use error::{Error, ErrorKind, Result};
pub use operations::{OperationInfo, Operations, Running};
pub use sessions::{Expired, Sessions};
pub use sql::{
    BuildStatus, ChangeFeed, ChangeSummary, CopyOptions, CopySource, Datum, Description, Executed, Feed, Field,
    Outcome, SinkStatus, SqlError, SqlSession, Status, StreamStatus, Topic, TransactionStatus, Type, ViewProgress,
    ViewStatus, ViewSubscription, datum_text, token_after,
};
pub use store::{LogRetention, Namespace, SyncMode};
pub use views::StateLimits;

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; created if it does not exist.
    pub dir: PathBuf,
    pub clock: Arc<dyn Clock>,
    /// Whether an acknowledged write has been synced to the disk.
    pub sync: SyncMode,
    /// How much of the change log is kept for streams to resume from.
    pub log_retention: LogRetention,
    /// Fail points and other commands that only tests should have.
    pub enable_test_commands: bool,
    /// A MongoDB deployment whose changes are captured; then nothing else may write here.
    pub source: Option<SourceOptions>,
    /// How much a materialized view may hold that does not say it itself.
    pub view_limits: StateLimits,
    /// Who may log in; without it nobody has to.
    pub users: Option<Arc<users::Users>>,
}

impl Options {
    /// Durable writes and the machine's clock.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            clock: Arc::new(SystemClock),
            sync: SyncMode::default(),
            log_retention: LogRetention::default(),
            enable_test_commands: false,
            source: None,
            view_limits: StateLimits::default(),
            users: None,
        }
    }
}

/// A database. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Headwater {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    store: Store,
    hub: Hub,
    sessions: Sessions,
    operations: Arc<Operations>,
    /// Databases whose last collection was dropped, and which have not been dropped themselves.
    emptied: parking_lot::Mutex<rustc_hash::FxHashSet<String>>,
    /// Snapshots that readers may come back to, and since when.
    held: parking_lot::Mutex<std::collections::BTreeMap<ClusterTime, (store::Snapshot, i64)>>,
    /// Wakes cursors at the end of capped collections.
    growth: Arc<tokio::sync::Notify>,
    sql: sql::SqlRuntime,
    source: Option<Source>,
    deliveries: delivery::Deliveries,
}

impl Headwater {
    /// Opens a database. Fails with kind `Unavailable` if another process has it open, `Corrupt`
    /// if its files are damaged.
    pub fn open(options: Options) -> Result<Self> {
        let store = Store::open(StoreOptions {
            sync: options.sync,
            log_retention: options.log_retention,
            clock: Arc::clone(&options.clock),
            captured: options.source.is_some(),
            ..StoreOptions::new(&options.dir)
        })?;
        if options.source.is_none() && capture::is_captured(&store)? {
            let message = "it holds changes captured from a source; start with that --source";
            return Err(Error::unavailable(message));
        }
        let source = options.source.clone().map(|source| Source::start(store.clone(), source)).transpose();
        let source = source.map_err(Error::unavailable)?;
        let hub = match &source {
            Some(source) => Hub::start(Arc::new(source.log())),
            None => Hub::start(Arc::new(store.clone())),
        };
        let growth = documents::growth_of(&store);
        let sessions = Sessions::new(Arc::clone(&options.clock));
        documents::restore_settings(&store)?;
        let sql = sql::SqlRuntime::open(&store, &hub, source.as_ref(), &options)?;
        if let Some(source) = &source {
            source.needs_are_complete();
        }
        let deliveries = delivery::Deliveries::open(&store, &hub, &sql.views(), &options);
        let inner = Inner {
            options,
            store,
            hub,
            sessions,
            operations: Arc::default(),
            emptied: Default::default(),
            held: Default::default(),
            growth,
            sql,
            deliveries,
            source,
        };
        let inner = Arc::new(inner);
        inner.deliveries.follow_group(Arc::downgrade(&inner));
        Ok(Headwater { inner })
    }

    /// Finishes what has been acknowledged and stops accepting writes.
    pub fn close(&self) {
        self.inner.sessions.end_all();
        self.inner.held.lock().clear();
        if let Some(source) = &self.inner.source {
            source.stop();
        }
        self.inner.deliveries.close();
        self.inner.sql.close();
        self.inner.store.close();
    }

    /// The deployment that changes are captured from, if there is one.
    pub fn source(&self) -> Option<&Source> {
        self.inner.source.as_ref()
    }

    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.options.clock
    }

    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// What is running now.
    pub fn operations(&self) -> &Arc<Operations> {
        &self.inner.operations
    }

    /// The cluster time of the last applied write.
    pub fn applied_time(&self) -> ClusterTime {
        self.inner.store.applied()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn held(&self) -> &parking_lot::Mutex<std::collections::BTreeMap<ClusterTime, (store::Snapshot, i64)>> {
        &self.inner.held
    }

    pub(crate) fn emptied(&self) -> &parking_lot::Mutex<rustc_hash::FxHashSet<String>> {
        &self.inner.emptied
    }

    pub(crate) fn growth(&self) -> Arc<tokio::sync::Notify> {
        Arc::clone(&self.inner.growth)
    }

    pub(crate) fn sql(&self) -> &sql::SqlRuntime {
        &self.inner.sql
    }

    pub(crate) fn deliveries(&self) -> &delivery::Deliveries {
        &self.inner.deliveries
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.inner.hub
    }
}

/// Runs something that may take long without holding up other tasks of the runtime.
pub(crate) fn blocking<T>(run: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(run),
        _ => run(),
    }
}
