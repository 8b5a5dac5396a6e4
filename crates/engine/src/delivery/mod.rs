//! Sinks and handlers at work: one runner each, on threads of their own.
//!
//! ```text
//!   CREATE SINK ─> definition ─┬─> source: log | view ─> outbox        (source.rs, outbox.rs)
//!                              ├─> target: webhook, table, file, …     (targets.rs, collection.rs)
//!                              └─> delivery::runner: scheduler between the two
//!                                    └─> local: records (what a restart needs), journal (what people read)
//! ```
//!
//! # Not here
//! What may start when, retries, dead letters (crate `delivery`); the statements (`sql/sinks.rs`).
//!
//! # Invariants
//! - A position never moves before its effect; both are one commit where the target is this store.
//! - The log is kept from the position on as long as the sink is defined.
//!
//! Read next: `definition.rs`, `local.rs`, `records.rs`, `journal.rs`, `source.rs`, `outbox.rs`.

pub(crate) mod definition;

mod collection;
mod group;
mod handlers;
mod heartbeat;
mod journal;
mod local;
mod outbox;
mod records;
mod rows;
mod source;
mod status;
mod targets;
mod topic;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::sql::{Source, SqlError};
use base::{ClusterTime, Uuid};
use bytes::Bytes;
use changes::Hub;
use delivery::group::{Group, HeldLease};
use delivery::runner::{self, Command, Ended, Lease, Records, Sole};
use delivery::{Position, Target};
use document::{DocBuf, Raw};
use futures::FutureExt;
use parking_lot::Mutex;
use store::{Namespace, Reader as _, Store, WriteTxn};
use tokio::sync::{Notify, mpsc, oneshot};
use views::names::SessionCatalog;
use views::runtime::store_error;
use views::{Definitions, Views};

use crate::Options;
use crate::sql::NoSystemTables;
use definition::SinkDefinition;
use local::LocalRecords;
use status::SinkStatus;

pub use handlers::{Change, Failure, HandlerBuilder};
pub(crate) use journal::{EVENT_LOG, LETTERS, TOKENS, namespace as journal_namespace};
pub(crate) use status::SinkReport;
pub use topic::{TopicMessage, TopicReader};

/// Threads that deliveries run on.
const THREADS: usize = 2;
/// Threads that closures of the embedding program run on.
const HANDLER_THREADS: usize = 4;
/// How long a sink may take to stop before it is left behind.
const STOP_TIME: Duration = Duration::from_secs(20);

/// What sinks are run with.
#[derive(Clone)]
struct Surroundings {
    store: Store,
    hub: Hub,
    views: Views,
    /// The log is a deployment's.
    captured: bool,
    /// Other processes read the same deployment for the same sinks.
    group: bool,
}

/// All sinks of a database.
pub(crate) struct Deliveries {
    around: Surroundings,
    means: targets::Means,
    running: Mutex<BTreeMap<(String, String), Running>>,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    handler_runtime: Mutex<Option<tokio::runtime::Runtime>>,
    /// Where other processes share the sinks.
    group: Option<Arc<Group>>,
    /// Leases that this process holds.
    held: Mutex<BTreeMap<(String, String), Arc<HeldLease>>>,
    /// Wakes whoever looks at the group's sinks.
    kick: Arc<Notify>,
    closing: AtomicBool,
    /// Pre-images kept for handlers that their program has not started yet, by name.
    awaited_images: Mutex<BTreeMap<String, Namespace>>,
}

struct Running {
    sink: Arc<SinkDefinition>,
    status: Arc<SinkStatus>,
    commands: mpsc::UnboundedSender<Command>,
    /// Closed when the runner has ended.
    ended: crossbeam_channel::Receiver<()>,
}

/// A sink and how it does.
#[derive(Clone, Debug)]
pub(crate) struct SinkSnapshot {
    pub sink: Arc<SinkDefinition>,
    pub report: SinkReport,
}

impl SinkSnapshot {
    /// How long the oldest unfinished change has been waiting; 0 if there is none.
    pub fn lag_ms(&self, now_ms: i64) -> i64 {
        self.report.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0))
    }
}

impl Deliveries {
    /// Starts the sinks that are defined.
    pub fn open(store: &Store, hub: &Hub, views: &Views, options: &Options) -> Self {
        let directory = options.dir.join("sinks").into();
        let captured = options.source.is_some();
        let group = options.source.as_ref().is_some_and(|source| source.group.is_some());
        let clock = Arc::clone(&options.clock);
        let topics = topic::Topics::default();
        let means = targets::Means { store: store.clone(), clock, directory, captured, topics };
        let around = Surroundings { store: store.clone(), hub: hub.clone(), views: views.clone(), captured, group };
        let group = options.source.as_ref().and_then(|source| {
            let name = source.group.clone()?;
            Some(Arc::new(Group::new(source.uri.clone(), name, group::holder(), source.group_lease)))
        });
        let deliveries = Deliveries {
            around,
            means,
            running: Mutex::default(),
            runtime: Mutex::new(None),
            handler_runtime: Mutex::new(None),
            group,
            held: Mutex::default(),
            kick: Arc::default(),
            closing: AtomicBool::new(false),
            awaited_images: Mutex::default(),
        };
        if let Err(error) = deliveries.restore() {
            tracing::error!(%error, "the sinks cannot be read; none is started");
        }
        deliveries
    }

    fn restore(&self) -> Result<(), SqlError> {
        let snapshot = self.around.store.snapshot().map_err(store_error)?;
        let definitions = self.around.views.definitions();
        for record in snapshot.records(records::SPACE, b"d\0") {
            let (key, value) = record.map_err(store_error)?;
            let name = String::from_utf8_lossy(&key).replace('\0', ".");
            if self.await_handler(&value).map_err(store_error)? {
                continue;
            }
            let started = DocBuf::validate(value)
                .map_err(|_| SqlError::new("XX001", "damaged sink catalogue entry"))
                .and_then(|stored| SinkDefinition::decode(&stored, |db| self.catalog(db, &definitions)))
                .and_then(|sink| {
                    let target = self.target(&sink)?;
                    self.start(Arc::new(sink), target)
                });
            if let Err(error) = started {
                tracing::error!(name, %error, "a stored sink cannot be started; it is left out");
            }
        }
        Ok(())
    }

    /// A handler waits for its program to start it: until then its part of the log is kept, and
    /// its pre-images are. False if this is the definition of a sink.
    fn await_handler(&self, stored: &Bytes) -> store::Result<bool> {
        let Ok(stored) = DocBuf::validate(stored.clone()) else { return Ok(false) };
        let text = |name: &str| stored.get(name).and_then(Raw::as_str);
        let (Some(""), Some(db), Some(name)) = (text("statement"), text("db"), text("name")) else { return Ok(false) };
        let Some(Raw::Binary { bytes, .. }) = stored.get("uid") else { return Ok(false) };
        let Ok(uid) = bytes.try_into().map(Uuid) else { return Ok(false) };
        let low = records::load(&self.around.store, uid)?.low;
        self.around.store.pin_log(&definition::pin_name(db, name), Some(ClusterTime(low.time)));
        let images = stored.get("imagesOf").and_then(Raw::as_array).map(|names| {
            let mut names = names.values().filter_map(Raw::as_str);
            Namespace::new(names.next().unwrap_or_default(), names.next().unwrap_or_default())
        });
        if let Some(images) = images {
            self.around.store.set_image_interest(&images, true);
            self.awaited_images.lock().insert(name.to_owned(), images);
        }
        Ok(true)
    }

    /// A handler starts or goes; what was kept while it was awaited is its own affair now.
    pub fn want_images(&self, sink: &SinkDefinition, on: bool) {
        if let Some(wanted) = sink.wanted_images() {
            self.around.store.set_image_interest(&wanted, on);
        }
        if let Some(awaited) = self.awaited_images.lock().remove(&sink.name) {
            self.around.store.set_image_interest(&awaited, false);
        }
    }

    /// Names as stored statements of a database mean them.
    pub fn catalog(&self, db: &str, definitions: &Arc<Definitions>) -> SessionCatalog {
        SessionCatalog {
            database: db.to_owned(),
            definitions: Arc::clone(definitions),
            collections: self.around.store.catalog(),
            system: Arc::new(NoSystemTables),
            absent_collections: true,
        }
    }

    /// The target of a definition, not yet looked at.
    pub fn target(&self, sink: &SinkDefinition) -> Result<Arc<dyn Target>, SqlError> {
        targets::target(sink, &self.means)
    }

    /// The topic of this name, if a sink writes one.
    pub fn topic(&self, name: &str) -> Option<TopicReader> {
        self.means.topics.find(name)
    }

    /// Runs something on the threads of the deliveries.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<tokio::task::JoinHandle<T>, SqlError> {
        Ok(threads(&self.runtime, "delivery", THREADS)?.spawn(work))
    }

    /// The threads that closures of the embedding program run on.
    fn handler_threads(&self) -> Result<tokio::runtime::Handle, SqlError> {
        threads(&self.handler_runtime, "handler", HANDLER_THREADS)
    }

    /// Starts a runner.
    pub fn start(&self, sink: Arc<SinkDefinition>, target: Arc<dyn Target>) -> Result<(), SqlError> {
        let low = self.position(&sink)?;
        if sink.reads_log() {
            self.around.store.pin_log(&sink.pin_name(), Some(ClusterTime(low.time)));
        }
        let status = Arc::new(SinkStatus::new(self.delivered_before(&sink)?));
        if self.is_shared(&sink) {
            if self.group.is_none() {
                let message = "this sink belongs to a group; start with --group to deliver it";
                self.stand_by(sink, Arc::clone(&status));
                status.fail(message);
                return Ok(());
            }
            self.stand_by(sink, status);
            return Ok(());
        }
        let local = LocalRecords {
            sink: Arc::clone(&sink),
            store: self.around.store.clone(),
            status: Arc::clone(&status),
            captured: self.around.captured,
        };
        let running = self.run(Arc::clone(&sink), target, Arc::new(local), Arc::new(Sole), status)?;
        self.running.lock().insert((sink.db.clone(), sink.name.clone()), running);
        Ok(())
    }

    /// Runs a sink over these records, as long as the lease is held.
    fn run(
        &self,
        sink: Arc<SinkDefinition>,
        target: Arc<dyn Target>,
        records: Arc<dyn Records>,
        lease: Arc<dyn Lease>,
        status: Arc<SinkStatus>,
    ) -> Result<Running, SqlError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ending, ended) = crossbeam_channel::bounded::<()>(0);
        let work = runner::Sink {
            name: sink.full_name(),
            policy: sink.policy.clone(),
            paused: sink.paused,
            seed: u64::from_le_bytes(base::random::os_bytes()),
            target,
            records,
            lease,
            observer: Arc::clone(&status) as Arc<dyn runner::Observer>,
            clock: Arc::clone(self.around.store.clock()),
        };
        let (around, opened, followed) = (self.around.clone(), Arc::clone(&sink), Arc::clone(&status));
        let open: runner::Open = Box::new(move |from| source::open(&opened, &around, &followed, from));
        let (name, running_status) = (sink.full_name(), Arc::clone(&status));
        self.spawn(async move {
            let status = running_status;
            match AssertUnwindSafe(runner::run(work, open, receiver)).catch_unwind().await {
                Ok(Ended::Stopped | Ended::Superseded) => status.ended(),
                Ok(Ended::Failed(message)) => {
                    tracing::error!(sink = name, message, "a sink has stopped");
                    status.fail(&message);
                }
                Err(_) => {
                    tracing::error!(sink = name, "a sink panicked");
                    status.fail("the sink panicked; the server's log has the details");
                }
            }
            drop(ending);
        })?;
        Ok(Running { sink, status, commands, ended })
    }

    fn position(&self, sink: &SinkDefinition) -> Result<Position, SqlError> {
        Ok(records::load(&self.around.store, sink.uid).map_err(store_error)?.low)
    }

    fn delivered_before(&self, sink: &SinkDefinition) -> Result<u64, SqlError> {
        let snapshot = self.around.store.snapshot().map_err(store_error)?;
        records::delivered(&snapshot, sink).map_err(store_error)
    }

    /// Writes a definition with the position that its life begins at, forgetting `earlier` lives; in a
    /// group, for all of it.
    pub async fn save(
        &self,
        sink: &SinkDefinition,
        start: Option<Position>,
        earlier: Option<Uuid>,
    ) -> Result<(), SqlError> {
        let is_new = start.is_some() && earlier.is_none();
        if let Some(group) = self.shares(sink).filter(|_| is_new || self.is_shared(sink)) {
            self.publish(group, sink, start, earlier).await?;
            return self.save_here(sink, start, earlier).await;
        }
        self.save_record(sink, start, earlier, false).await
    }

    /// Knows from now on what the group says of a sink.
    async fn save_here(
        &self,
        sink: &SinkDefinition,
        start: Option<Position>,
        earlier: Option<Uuid>,
    ) -> Result<(), SqlError> {
        self.save_record(sink, start, earlier, true).await
    }

    async fn save_record(
        &self,
        sink: &SinkDefinition,
        start: Option<Position>,
        earlier: Option<Uuid>,
        shared: bool,
    ) -> Result<(), SqlError> {
        let (key, stored) = (records::definition_key(&sink.db, &sink.name), sink.encode());
        let (uid, captured) = (sink.uid, self.around.captured);
        let mark = shared.then(|| records::shared_key(&sink.db, &sink.name));
        let write = move |txn: &mut WriteTxn| {
            if let Some(earlier) = earlier {
                local::quietly(txn, captured, |txn| retire(txn, earlier))?;
            }
            txn.put_record(records::SPACE, &key, stored.bytes().clone());
            if let Some(mark) = &mark {
                txn.put_record(records::SPACE, mark, Bytes::new());
            }
            if let Some(low) = start {
                records::write_marks(txn, uid, &delivery::Marks { low, finished: Vec::new() })?;
            }
            Ok(())
        };
        self.around.store.write(write).await.map_err(store_error)?;
        if let Some(earlier) = earlier {
            self.means.topics.forget(earlier);
        }
        Ok(())
    }

    /// Is it one of the group's sinks?
    fn is_shared(&self, sink: &SinkDefinition) -> bool {
        let mark = records::shared_key(&sink.db, &sink.name);
        let found = self.around.store.snapshot().and_then(|snapshot| snapshot.get_record(records::SPACE, &mark));
        matches!(found, Ok(Some(_)))
    }

    /// Forgets a sink, on disk too; in a group, for all of it. It must have been stopped.
    pub async fn forget(&self, sink: &SinkDefinition) -> Result<(), SqlError> {
        if let Some(group) = self.shares(sink).filter(|_| self.is_shared(sink)) {
            group.remove(&sink.db, &sink.name, sink.uid).await.map_err(group::sql_error)?;
        }
        self.forget_here(sink).await
    }

    async fn forget_here(&self, sink: &SinkDefinition) -> Result<(), SqlError> {
        let (gone, captured) = (sink.clone(), self.around.captured);
        let write = move |txn: &mut WriteTxn| {
            txn.delete_record(records::SPACE, &records::definition_key(&gone.db, &gone.name));
            txn.delete_record(records::SPACE, &records::shared_key(&gone.db, &gone.name));
            records::forget_delivered(txn, &gone);
            local::quietly(txn, captured, |txn| {
                journal::forget_heartbeat(txn, &gone.full_name())?;
                retire(txn, gone.uid)
            })
        };
        self.around.store.write(write).await.map_err(store_error)?;
        self.around.store.pin_log(&sink.pin_name(), None);
        self.means.topics.forget(sink.uid);
        Ok(())
    }

    pub fn find(&self, db: &str, name: &str) -> Option<Arc<SinkDefinition>> {
        self.running.lock().get(&(db.to_owned(), name.to_owned())).map(|running| Arc::clone(&running.sink))
    }

    /// The sinks that read a stream or view.
    pub fn readers(&self, source: &Source) -> Vec<Arc<SinkDefinition>> {
        let running = self.running.lock();
        running.values().filter(|r| r.sink.source.reads(source)).map(|r| Arc::clone(&r.sink)).collect()
    }

    /// Every sink, by name.
    pub fn snapshot(&self) -> Vec<SinkSnapshot> {
        let running = self.running.lock();
        running.values().map(|r| SinkSnapshot { sink: Arc::clone(&r.sink), report: r.status.snapshot() }).collect()
    }

    fn tell(&self, db: &str, name: &str, command: Command) -> bool {
        let running = self.running.lock();
        let found = running.get(&(db.to_owned(), name.to_owned()));
        found.is_some_and(|running| running.commands.send(command).is_ok())
    }

    /// Letters of these lanes are tried again.
    pub fn redrive(&self, sink: &SinkDefinition, lanes: Vec<Bytes>) -> Result<(), SqlError> {
        if self.tell(&sink.db, &sink.name, Command::Redrive(lanes)) { Ok(()) } else { Err(self.not_running(sink)) }
    }

    /// Sets letters aside for good; says how many.
    pub async fn discard(&self, sink: &SinkDefinition, letters: Vec<(Bytes, Position)>) -> Result<usize, SqlError> {
        let (reply, answer) = oneshot::channel();
        if !self.tell(&sink.db, &sink.name, Command::Discard { letters, reply }) {
            return Err(self.not_running(sink));
        }
        let discarded = answer.await.map_err(|_| SqlError::internal("the sink ended meanwhile"))?;
        discarded.map_err(|error| SqlError::new("58030", error.message))
    }

    /// Stops a runner and waits for its end.
    pub fn stop(&self, db: &str, name: &str) {
        let running = self.running.lock().remove(&(db.to_owned(), name.to_owned()));
        if let Some(running) = running {
            let _ = running.commands.send(Command::Stop);
            let _ = running.ended.recv_timeout(STOP_TIME);
        }
        self.release([(db.to_owned(), name.to_owned())]);
    }

    fn not_running(&self, sink: &SinkDefinition) -> SqlError {
        let error = |message| SqlError::new("55000", message);
        let holder = self.running.lock().get(&(sink.db.clone(), sink.name.clone())).map(|r| r.status.snapshot().holder);
        match holder {
            Some(holder) if !holder.is_empty() => {
                error(format!("sink \"{}\" is delivered by another process: {holder}", sink.name))
                    .with_hint("Say it there.")
            }
            _ => {
                error(format!("sink \"{}\" does not run", sink.name)).with_hint("ALTER SINK … RESUME starts it again.")
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Lets every sink finish or give back what is under way, and write where it is.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let all: Vec<Running> = std::mem::take(&mut *self.running.lock()).into_values().collect();
        for running in &all {
            let _ = running.commands.send(Command::Stop);
        }
        let deadline = std::time::Instant::now() + STOP_TIME;
        for running in all {
            let _ = running.ended.recv_deadline(deadline);
        }
        let held: Vec<_> = self.held.lock().keys().cloned().collect();
        self.release(held);
        for runtime in [&self.runtime, &self.handler_runtime] {
            if let Some(runtime) = runtime.lock().take() {
                runtime.shutdown_background();
            }
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.close();
    }
}

/// Threads of that name, started when they are first wanted.
fn threads(
    runtime: &Mutex<Option<tokio::runtime::Runtime>>,
    name: &str,
    count: usize,
) -> Result<tokio::runtime::Handle, SqlError> {
    let mut runtime = runtime.lock();
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let made = tokio::runtime::Builder::new_multi_thread().worker_threads(count).thread_name(name).enable_all().build();
    let made = made.map_err(|error| SqlError::new("58000", format!("cannot start threads for sinks: {error}")))?;
    let handle = made.handle().clone();
    *runtime = Some(made);
    Ok(handle)
}

/// A life is over: its memory goes, its letters are marked.
fn retire(txn: &mut WriteTxn, uid: Uuid) -> store::Result<()> {
    let now_ms = txn.now_ms();
    let open = records::all_letters(txn, uid)?;
    journal::mark_letters(txn, uid, open, "discarded", now_ms)?;
    records::forget(txn, uid)
}
