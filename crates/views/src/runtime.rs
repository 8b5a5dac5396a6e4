//! The thread that keeps all views at one time.
//!
//! It follows the change log; each group of entries that commits is one tick for every view. Reads,
//! subscriptions and definitions arrive as commands and are answered between ticks, so what they
//! see is always one cluster time.

mod redefine;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::{Clock, ClusterTime};
use changes::Hub;
use changes::hub::LogFilter;
use changes::scope::Scope;
use dataflow::Delta;
use rustc_hash::FxHashMap;
use sql::{Field, Row, Source, SqlError};
use store::{LogEntry, LogPosition, Namespace, Store};
use tokio::sync::{mpsc, oneshot};

pub use redefine::{Redefine, Redefinition};

use crate::build::{Past, build, concerns, missing};
use crate::checkpoint;
use crate::definition::{Definitions, ViewDefinition};
use crate::events::{ReadAnew, StreamBounds, collection_delta, stream_row};
use crate::subscription::{Subscription, subscription};
use crate::view::{RunningView, ViewCounters};

/// How often changed state is written while there are changes.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the runtime to reach the time a reader asks for.
const CATCH_UP: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct ViewsOptions {
    pub clock: Arc<dyn Clock>,
}

/// The runtime's handle. Cloning is cheap.
#[derive(Clone)]
pub struct Views(Arc<Handle>);

struct Handle {
    store: Store,
    commands: mpsc::UnboundedSender<Command>,
    definitions: Arc<ArcSwap<Definitions>>,
    thread: parking_lot::Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// A view's rows when someone looked.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub db: String,
    pub name: String,
    pub rows: Vec<(Row, i64)>,
}

/// What a read of views returns: all at one time.
#[derive(Clone, Debug)]
pub struct ViewRows {
    pub time: ClusterTime,
    pub views: Vec<Upstream>,
}

/// One view in the status report.
#[derive(Clone, Debug)]
pub struct ViewStatus {
    pub db: String,
    pub name: String,
    pub query: String,
    pub rows: usize,
    pub state_bytes: usize,
    pub subscribers: usize,
    pub position: ClusterTime,
    pub counters: ViewCounters,
    pub error: Option<String>,
    pub fields: Vec<Field>,
    pub operators: Vec<dataflow::OperatorStatistics>,
}

type Reply<T> = oneshot::Sender<Result<T, SqlError>>;

enum Command {
    Add { view: Box<RunningView>, reply: Reply<()> },
    Drop { db: String, name: String, reply: Reply<()> },
    Read { names: Vec<(String, String)>, at_least: ClusterTime, reply: Reply<ViewRows> },
    Subscribe { target: Target, snapshot: bool, at_least: ClusterTime, reply: Reply<Subscription> },
    Status { detailed: bool, reply: Reply<Vec<ViewStatus>> },
    Checkpoint { reply: Reply<()> },
    Redefine { make: Redefine, reply: Reply<()> },
    Stop,
}

enum Target {
    View { db: String, name: String },
    Query(Box<RunningView>),
}

impl Views {
    /// Starts the runtime: restores every defined view from its checkpoint (or builds it), then
    /// follows the log.
    pub fn open(store: Store, hub: Hub, options: ViewsOptions, definitions: Definitions) -> Result<Self, SqlError> {
        let definitions = Arc::new(ArcSwap::from_pointee(definitions));
        let (commands, receiver) = mpsc::unbounded_channel();
        let mut runtime = Runtime {
            store: store.clone(),
            clock: options.clock,
            definitions: definitions.clone(),
            views: Vec::new(),
            position: store.durable(),
            waiting: Vec::new(),
            dirty: false,
            unwritten: Vec::new(),
        };
        runtime.restore()?;
        let from = runtime.position;
        let thread = std::thread::Builder::new()
            .name("views".into())
            .spawn(move || runtime.run(&hub, from, receiver))
            .map_err(|e| SqlError::new("58000", format!("cannot start the view runtime: {e}")))?;
        let thread = parking_lot::Mutex::new(Some(thread));
        Ok(Views(Arc::new(Handle { store, commands, definitions, thread })))
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn definitions(&self) -> Arc<Definitions> {
        self.0.definitions.load_full()
    }

    /// Replaces the definitions that names resolve to and streams filter by.
    pub fn set_definitions(&self, definitions: Definitions) {
        self.0.definitions.store(Arc::new(definitions));
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, SqlError> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Builds a view from its sources' past and keeps it running. Returns when it is up to date.
    pub async fn create(&self, definition: Arc<ViewDefinition>) -> Result<(), SqlError> {
        let view = self.start(definition, true).await?;
        self.ask(|reply| Command::Add { view: Box::new(view), reply }).await
    }

    /// A view over streams and collections is built on a thread of its own; one over other views
    /// is built between two ticks, where those stand still.
    async fn start(&self, definition: Arc<ViewDefinition>, durable: bool) -> Result<RunningView, SqlError> {
        let mut view = RunningView::new(definition, durable)?;
        if view.feeds.iter().any(|feed| matches!(feed.source, Source::View { .. })) {
            return Ok(view);
        }
        let (store, definitions) = (self.0.store.clone(), self.definitions());
        let (reply, answer) = oneshot::channel();
        std::thread::Builder::new()
            .name("view-build".into())
            .spawn(move || {
                let built = build_at_present(&store, &definitions, &mut view).map(|()| view);
                let _ = reply.send(built);
            })
            .map_err(|e| SqlError::new("58000", format!("cannot start a thread to build the view: {e}")))?;
        answer.await.map_err(|_| SqlError::internal("building the view panicked"))?
    }

    pub async fn drop_view(&self, db: &str, name: &str) -> Result<(), SqlError> {
        let (db, name) = (db.to_owned(), name.to_owned());
        self.ask(|reply| Command::Drop { db, name, reply }).await
    }

    /// The rows of several views at one time, not before everything acknowledged so far is in.
    pub async fn read(&self, names: Vec<(String, String)>, at_least: ClusterTime) -> Result<ViewRows, SqlError> {
        let read = self.ask(|reply| Command::Read { names, at_least, reply });
        tokio::time::timeout(CATCH_UP, read)
            .await
            .map_err(|_| SqlError::new("57014", "the view has not caught up with its sources in time"))?
    }

    /// Follows a view. With `snapshot` the first progress has all its rows.
    pub async fn subscribe_view(&self, db: &str, name: &str, snapshot: bool) -> Result<Subscription, SqlError> {
        let target = Target::View { db: db.to_owned(), name: name.to_owned() };
        let at_least = self.0.store.durable();
        self.ask(|reply| Command::Subscribe { target, snapshot, at_least, reply }).await
    }

    /// Follows a query that is no view.
    pub async fn subscribe_query(
        &self,
        definition: Arc<ViewDefinition>,
        snapshot: bool,
    ) -> Result<Subscription, SqlError> {
        let view = self.start(definition, false).await?;
        let at_least = self.0.store.durable();
        self.ask(|reply| Command::Subscribe { target: Target::Query(Box::new(view)), snapshot, at_least, reply }).await
    }

    /// Every view's counters; `detailed` walks their state for its size.
    pub async fn status(&self, detailed: bool) -> Result<Vec<ViewStatus>, SqlError> {
        self.ask(|reply| Command::Status { detailed, reply }).await
    }

    /// Writes a checkpoint now.
    pub async fn checkpoint(&self) -> Result<(), SqlError> {
        self.ask(|reply| Command::Checkpoint { reply }).await
    }

    /// Pauses or resumes a stream between two ticks. Events since the pause reach the views that
    /// read the stream in the tick that resumes it.
    pub async fn redefine(&self, make: Redefine) -> Result<(), SqlError> {
        self.ask(|reply| Command::Redefine { make, reply }).await
    }

    /// Writes a last checkpoint, ends all subscriptions and stops the thread.
    pub fn close(&self) {
        let _ = self.0.commands.send(Command::Stop);
        if let Some(thread) = self.0.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn stopped() -> SqlError {
    SqlError::new("57P01", "the server is shutting down")
}

/// A store failure in SQL's terms.
pub fn store_error(error: store::Error) -> SqlError {
    SqlError::new("58030", format!("the store failed: {error}"))
}

/// Everything written so far is durable when this returns: an empty write waits its turn.
fn wait_durable(store: &Store) -> Result<(), SqlError> {
    store.write(|_| Ok(())).wait().map(|_| ()).map_err(store_error)
}

fn follow(hub: &Hub, after: ClusterTime) -> changes::hub::LogSubscription {
    let filter = LogFilter::everything_in(Scope::Cluster);
    hub.subscribe(filter, Some(LogPosition { time: after.next(), index: 0 }))
}

fn build_at_present(store: &Store, definitions: &Definitions, view: &mut RunningView) -> Result<(), SqlError> {
    let snapshot = store.snapshot().map_err(store_error)?;
    let position = snapshot.time();
    wait_durable(store)?;
    let now_us = store.clock().now_us();
    let past = Past { store, definitions, snapshot: &snapshot, position, upstream: vec![], now_us };
    build(view, &past)
}

struct Runtime {
    store: Store,
    clock: Arc<dyn Clock>,
    definitions: Arc<ArcSwap<Definitions>>,
    /// In creation order: a view stands after those it reads.
    views: Vec<RunningView>,
    position: ClusterTime,
    /// Commands for a later time.
    waiting: Vec<(ClusterTime, Command)>,
    dirty: bool,
    /// What a checkpoint that failed was to write.
    unwritten: Vec<checkpoint::Change>,
}

/// What each distinct input got in this tick, shared by all views that read it.
type Decoded = FxHashMap<dataflow::Input, Result<Vec<Delta>, ReadAnew>>;

impl Runtime {
    fn restore(&mut self) -> Result<(), SqlError> {
        let definitions = self.definitions.load_full();
        let mut defined: Vec<_> = definitions.views.values().cloned().collect();
        defined.sort_by_key(|definition| definition.id);
        for definition in defined {
            let mut view = RunningView::new(definition, true)?;
            if let Err(error) = self.restore_view(&mut view, &definitions) {
                tracing::error!(view = view.definition.name, %error, "a view could not be restored");
                view.fail(error);
            }
            view.position = self.position;
            self.views.push(view);
        }
        Ok(())
    }

    fn restore_view(&mut self, view: &mut RunningView, definitions: &Definitions) -> Result<(), SqlError> {
        let found = checkpoint::restore(&self.store, view)?;
        let oldest = self.store.oldest_time();
        if found
            && view.position.next() >= oldest
            && !view.feeds.iter().any(|f| matches!(f.source, Source::View { .. }))
        {
            return self.catch_up(view);
        }
        *view = RunningView::new(view.definition.clone(), true)?;
        self.remove_checkpoint(view.definition.id)?;
        self.rebuild(view, definitions)
    }

    /// Applies the log after the view's position, up to the runtime's.
    fn catch_up(&mut self, view: &mut RunningView) -> Result<(), SqlError> {
        const GROUP: usize = 4096;
        let mut group: Vec<LogEntry> = Vec::with_capacity(GROUP);
        if view.position >= self.position {
            return Ok(());
        }
        let definitions = self.definitions.load_full();
        for entry in self.store.log_from_time(view.position.next(), self.position) {
            let entry = entry.map_err(store_error)?;
            if group.len() >= GROUP && group.last().is_some_and(|last| last.position.time != entry.position.time) {
                self.feed_one(view, &group, &definitions)?;
                group.clear();
            }
            group.push(entry);
        }
        self.feed_one(view, &group, &definitions)?;
        if view.stale {
            self.rebuild(view, &definitions)?;
        }
        Ok(())
    }

    fn feed_one(
        &self,
        view: &mut RunningView,
        entries: &[LogEntry],
        definitions: &Definitions,
    ) -> Result<(), SqlError> {
        let Some(last) = entries.last() else { return Ok(()) };
        let mut decoded = Decoded::default();
        let now_us = last.wall_ms.saturating_mul(1000);
        feed(view, entries, &[], definitions, &mut decoded, now_us)?;
        view.position = last.position.time;
        Ok(())
    }

    /// Builds a view anew at the runtime's position; subscribers see the difference.
    fn rebuild(&mut self, view: &mut RunningView, definitions: &Definitions) -> Result<(), SqlError> {
        let mut fresh = RunningView::new(view.definition.clone(), view.durable)?;
        let upstream = self.upstream_of(&fresh)?;
        let snapshot = self.store.snapshot().map_err(store_error)?;
        wait_durable(&self.store)?;
        let position = self.position;
        let now_us = self.clock.now_us();
        let past = Past { store: &self.store, definitions, snapshot: &snapshot, position, upstream, now_us };
        build(&mut fresh, &past)?;
        if fresh.stale {
            // The collection went away, or has changes without images, just after this position. The
            // view stays as it is until the ticks have passed that point.
            view.stale = true;
            view.output.clear();
            return Ok(());
        }
        let mut difference: Vec<Delta> = view.rows.drain().map(|(row, count)| (row, -count)).collect();
        difference.extend(fresh.rows.iter().map(|(row, count)| (row.clone(), *count)));
        dataflow::consolidate(&mut difference);
        if view.durable {
            self.remove_checkpoint(view.definition.id)?;
        }
        fresh.publishers = std::mem::take(&mut view.publishers);
        fresh.counters.events += view.counters.events;
        fresh.counters.changes += view.counters.changes;
        fresh.output = difference;
        *view = fresh;
        Ok(())
    }

    fn upstream_of(&self, view: &RunningView) -> Result<Vec<Upstream>, SqlError> {
        let mut upstream = Vec::new();
        for feed in &view.feeds {
            if let Source::View { db, name } = &feed.source {
                upstream.push(self.rows_of(db, name)?);
            }
        }
        Ok(upstream)
    }

    fn find(&self, db: &str, name: &str) -> Result<usize, SqlError> {
        let is_it = |view: &RunningView| view.durable && view.definition.db == db && view.definition.name == name;
        self.views.iter().position(is_it).ok_or_else(|| missing("materialized view", name))
    }

    fn rows_of(&self, db: &str, name: &str) -> Result<Upstream, SqlError> {
        let view = &self.views[self.find(db, name)?];
        if let Some(error) = &view.error {
            return Err(SqlError::new("55000", format!("materialized view \"{name}\" has stopped: {}", error.message))
                .with_hint("drop the view and create it again, perhaps WITH (on_error = 'null')"));
        }
        let rows = view.rows.iter().map(|(row, n)| (row.clone(), *n)).collect();
        Ok(Upstream { db: db.to_owned(), name: name.to_owned(), rows })
    }

    fn run(mut self, hub: &Hub, from: ClusterTime, mut commands: mpsc::UnboundedReceiver<Command>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the view runtime cannot start");
                return;
            }
        };
        runtime.block_on(async {
            let mut log = follow(hub, from);
            let mut checkpoint = tokio::time::interval(CHECKPOINT_EVERY);
            checkpoint.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let deadline = self.next_deadline();
                tokio::select! {
                    biased;
                    command = commands.recv() => match command {
                        None | Some(Command::Stop) => break,
                        Some(command) => self.command(command),
                    },
                    group = log.next(self.patience()) => match group {
                        Ok(group) => self.tick(&group.entries, group.up_to),
                        Err(error) => {
                            tracing::error!(%error, "the change log cannot be read; views stand still");
                            break;
                        }
                    },
                    () = sleep_until(deadline, &*self.clock) => self.tick(&[], self.position),
                    _ = checkpoint.tick(), if self.dirty => self.checkpoint_or_log(),
                }
            }
        });
        self.checkpoint_or_log();
        for publisher in self.views.iter_mut().flat_map(|view| view.publishers.drain(..)) {
            publisher.end(Ok(()));
        }
    }

    /// How long to wait for entries that concern us: while someone waits for a time, other entries
    /// (of internal databases) may be what brings it.
    fn patience(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(Duration::from_millis(1))
    }

    fn next_deadline(&self) -> Option<i64> {
        self.views.iter().filter(|view| view.error.is_none()).filter_map(|view| view.flow.deadline()).min()
    }

    /// Moves all views to `up_to`.
    fn tick(&mut self, entries: &[LogEntry], up_to: ClusterTime) {
        let definitions = self.definitions.load_full();
        let now_us = entries.last().map_or_else(|| self.clock.now_us(), |e| e.wall_ms.saturating_mul(1000));
        let wall_ms = entries.last().map_or_else(|| self.clock.now_ms(), |e| e.wall_ms);
        let arrived_ms = self.clock.now_ms();
        let mut decoded = Decoded::default();
        self.position = self.position.max(up_to);
        for i in 0..self.views.len() {
            let (before, rest) = self.views.split_at_mut(i);
            let view = &mut rest[0];
            view.output.clear();
            if view.error.is_some() || view.position > up_to {
                continue;
            }
            let fresh = &entries[entries.partition_point(|e| e.position.time <= view.position)..];
            let counted = view.counters.events;
            let result = if view.stale {
                Ok(())
            } else if fresh.len() == entries.len() {
                contained(|| feed(view, fresh, before, &definitions, &mut decoded, now_us))
            } else {
                contained(|| feed(view, fresh, before, &definitions, &mut Decoded::default(), now_us))
            };
            view.position = up_to.max(view.position);
            match result {
                Ok(()) if view.stale => self.rebuild_at(i, &definitions),
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(view = view.definition.name, %error, "a view has stopped");
                    view.fail(error);
                }
            }
            let view = &mut self.views[i];
            self.dirty |= !view.output.is_empty() || !entries.is_empty();
            view.counters.rate.add(view.counters.events.saturating_sub(counted), arrived_ms);
            view.counters.last_event_ms = if view.output.is_empty() { view.counters.last_event_ms } else { wall_ms };
            view.publish(wall_ms);
        }
        self.views.retain(|view| view.durable || !view.publishers.is_empty());
        self.answer_waiting();
    }

    fn rebuild_at(&mut self, i: usize, definitions: &Definitions) {
        let mut view = self.views.remove(i);
        if let Err(error) = contained(|| self.rebuild(&mut view, definitions)) {
            tracing::error!(view = view.definition.name, %error, "a view has stopped");
            view.fail(error);
        }
        self.views.insert(i, view);
    }

    fn answer_waiting(&mut self) {
        let position = self.position;
        let (due, later) = std::mem::take(&mut self.waiting).into_iter().partition(|(time, _)| *time <= position);
        self.waiting = later;
        for (_, command) in due {
            self.command(command);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Read { at_least, .. } | Command::Subscribe { at_least, .. } if at_least > self.position => {
                self.waiting.push((at_least, command));
            }
            // Built ahead of the ticks: it joins the others when they get there.
            Command::Add { ref view, .. } if view.position > self.position => {
                self.waiting.push((view.position, command));
            }
            Command::Add { view, reply } => {
                let added = self.add(*view);
                let _ = reply.send(added.map(|_| ()));
            }
            Command::Drop { db, name, reply } => {
                let _ = reply.send(self.drop_view(&db, &name));
            }
            Command::Read { names, reply, .. } => {
                let views = names.iter().map(|(db, name)| self.rows_of(db, name)).collect::<Result<_, _>>();
                let _ = reply.send(views.map(|views| ViewRows { time: self.position, views }));
            }
            Command::Subscribe { target, snapshot, reply, .. } => {
                let _ = reply.send(self.subscribe(target, snapshot));
            }
            Command::Status { detailed, reply } => {
                let _ = reply.send(Ok(self.status(detailed)));
            }
            Command::Checkpoint { reply } => {
                let _ = reply.send(self.checkpoint());
            }
            Command::Redefine { make, reply } => {
                let _ = reply.send(self.redefine(make));
            }
            Command::Stop => {}
        }
    }

    /// Takes in a view: built up to some time, or (over other views) not yet built.
    fn add(&mut self, mut view: RunningView) -> Result<usize, SqlError> {
        if view.position == ClusterTime::ZERO {
            let definitions = self.definitions.load_full();
            self.rebuild(&mut view, &definitions)?;
            view.output.clear();
        } else {
            self.catch_up(&mut view)?;
        }
        self.dirty |= view.durable;
        self.views.push(view);
        Ok(self.views.len() - 1)
    }

    fn drop_view(&mut self, db: &str, name: &str) -> Result<(), SqlError> {
        let mut view = self.views.remove(self.find(db, name)?);
        for publisher in view.publishers.drain(..) {
            publisher.end(Err(SqlError::new("42P01", format!("materialized view \"{name}\" was dropped"))));
        }
        self.remove_checkpoint(view.definition.id)
    }

    fn subscribe(&mut self, target: Target, snapshot: bool) -> Result<Subscription, SqlError> {
        let at = match target {
            Target::View { db, name } => {
                self.rows_of(&db, &name)?;
                self.find(&db, &name)?
            }
            Target::Query(view) => self.add(*view)?,
        };
        let view = &mut self.views[at];
        let (publisher, subscription) = subscription(view.flow.fields().to_vec());
        let rows: Vec<Delta> = if snapshot { view.rows.iter().map(|(r, n)| (r.clone(), *n)).collect() } else { vec![] };
        publisher.publish(view.position, 0, &rows);
        if !view.keeps_rows {
            view.rows = FxHashMap::default();
        }
        view.publishers.push(publisher);
        Ok(subscription)
    }

    fn status(&self, detailed: bool) -> Vec<ViewStatus> {
        let of_view = |view: &RunningView| {
            let operators = if detailed { view.flow.statistics() } else { vec![] };
            ViewStatus {
                db: view.definition.db.clone(),
                name: view.definition.name.clone(),
                query: view.definition.query.clone(),
                rows: view.rows.len(),
                state_bytes: operators.iter().map(|o| o.state_bytes).sum(),
                subscribers: view.publishers.len(),
                position: view.position,
                counters: view.counters.clone(),
                error: view.error.as_ref().map(|e| e.message.clone()),
                fields: view.flow.fields().to_vec(),
                operators,
            }
        };
        self.views.iter().filter(|view| view.durable).map(of_view).collect()
    }

    fn checkpoint_or_log(&mut self) {
        if let Err(error) = self.checkpoint() {
            tracing::error!(%error, "a checkpoint of the views failed; the next one will have its changes");
        }
    }

    /// One batch: every view's changed state, rows and position, and what an attempt that failed left.
    fn checkpoint(&mut self) -> Result<(), SqlError> {
        self.dirty = false;
        let mut changes = std::mem::take(&mut self.unwritten);
        let again = !changes.is_empty();
        for view in self.views.iter_mut().filter(|view| view.durable && !view.stale && view.error.is_none()) {
            changes.extend(checkpoint::changes(view));
        }
        let position = self.position;
        if changes.is_empty() {
            return Ok(());
        }
        if again {
            // The newest of several changes of one record is the last: attempts that fail one after
            // the other must not pile up.
            changes.reverse();
            changes.sort_by(|(one, _), (other, _)| one.cmp(other));
            changes.dedup_by(|(later, _), (earlier, _)| later == earlier);
        }
        let changes = Arc::new(changes);
        if let Err(error) = self.write_shared(Arc::clone(&changes)) {
            self.unwritten = Arc::unwrap_or_clone(changes);
            self.dirty = true;
            return Err(error);
        }
        self.store.pin_log("views", Some(position));
        Ok(())
    }

    fn write_records(&self, changes: Vec<checkpoint::Change>) -> Result<(), SqlError> {
        self.write_shared(Arc::new(changes))
    }

    fn write_shared(&self, changes: Arc<Vec<checkpoint::Change>>) -> Result<(), SqlError> {
        let write = move |txn: &mut store::WriteTxn| {
            for (key, value) in &*changes {
                match value {
                    Some(value) => txn.put_record(checkpoint::SPACE, key, value.clone()),
                    None => txn.delete_record(checkpoint::SPACE, key),
                }
            }
            Ok(())
        };
        self.store.write(write).wait().map(|_| ()).map_err(store_error)
    }

    /// Removes a view's checkpoint, also what a failed attempt would write of it.
    fn remove_checkpoint(&mut self, id: u64) -> Result<(), SqlError> {
        self.unwritten.retain(|(key, _)| !key.starts_with(&id.to_be_bytes()));
        self.write_records(checkpoint::removal(&self.store, id)?)
    }
}

/// A bug in one view ends that view, not the thread that keeps all of them.
fn contained<T>(work: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(SqlError::internal("the view's evaluation panicked; the server's log has the details")))
}

async fn sleep_until(deadline_us: Option<i64>, clock: &dyn Clock) {
    match deadline_us {
        None => std::future::pending().await,
        Some(deadline) => {
            let wait = (deadline - clock.now_us()).clamp(0, 3_600_000_000);
            tokio::time::sleep(Duration::from_micros(wait as u64)).await;
        }
    }
}

/// Gives a view its deltas of one group of entries, decoding each distinct input once.
fn feed(
    view: &mut RunningView,
    entries: &[LogEntry],
    upstream: &[RunningView],
    definitions: &Definitions,
    decoded: &mut Decoded,
    now_us: i64,
) -> Result<(), SqlError> {
    let mut deltas = Vec::with_capacity(view.feeds.len());
    for feed in &view.feeds {
        if let Source::View { db, name } = &feed.source {
            let output = upstream
                .iter()
                .find(|up| up.durable && up.definition.db == *db && up.definition.name == *name)
                .map_or(&[][..], |up| &up.output);
            deltas.push(output.iter().map(|(row, n)| (feed.columns.row(|c| row[c].clone()), *n)).collect());
            continue;
        }
        if !decoded.contains_key(&feed.input) {
            let made = decode(feed, entries, definitions, now_us)?;
            decoded.insert(feed.input.clone(), made);
        }
        match &decoded[&feed.input] {
            Ok(rows) => deltas.push(rows.clone()),
            Err(ReadAnew) => {
                view.stale = true;
                return Ok(());
            }
        }
    }
    let idle = deltas.iter().all(Vec::is_empty) && view.flow.deadline().is_none_or(|d| d > now_us);
    if idle {
        view.output.clear();
        return Ok(());
    }
    view.step(deltas, now_us)
}

fn decode(
    feed: &crate::view::Feed,
    entries: &[LogEntry],
    definitions: &Definitions,
    now_us: i64,
) -> Result<Result<Vec<Delta>, ReadAnew>, SqlError> {
    let mut rows = Vec::new();
    match &feed.source {
        Source::Stream { db, name, .. } => {
            let Some(stream) = definitions.stream(db, name) else { return Ok(Ok(rows)) };
            let bounds = StreamBounds::of(&feed.source)?;
            let mut ctx = dataflow::StepContext::at(now_us);
            for entry in entries {
                if bounds.holds(entry) && stream.takes(entry, &mut ctx)? {
                    rows.push((stream_row(entry, stream, &feed.columns), 1));
                }
            }
        }
        Source::Collection { db, name } => {
            let namespace = Namespace::new(db.as_str(), name.as_str());
            for entry in entries.iter().filter(|entry| concerns(entry, &namespace)) {
                if collection_delta(entry, &feed.columns, &mut rows).is_err() {
                    return Ok(Err(ReadAnew));
                }
            }
        }
        Source::View { .. } | Source::System { .. } | Source::Recursive(_) | Source::Working(_) => {}
    }
    Ok(Ok(rows))
}
