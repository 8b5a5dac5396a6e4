//! The thread that keeps all views at one time.
//!
//! It follows the change log; each group of entries that commits is one tick for every view. Reads,
//! subscriptions and definitions arrive as commands and are answered between ticks, so what they
//! see is always one cluster time.

mod building;
mod feeding;
mod handle;
mod redefine;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::{Clock, ClusterTime};
use changes::Hub;
use changes::hub::LogFilter;
use changes::scope::Scope;
use dataflow::Delta;
use sql::{Field, Row, Source, SqlError};
use store::{LogEntry, LogPosition, Store};
use tokio::sync::{mpsc, oneshot};

pub(crate) use feeding::decode;
use feeding::{Decoded, catch_up, contained, feed};
pub use redefine::{Redefine, Redefinition};

use crate::build::{Past, build, missing};
use crate::checkpoint::{self, Checkpoint, Records};
use crate::checkpoint_writer::{CheckpointWriter, Done};
use crate::dead_letters::DeadLetter;
use crate::definition::{Definitions, ViewDefinition};
use crate::progress::{Build, BuildProgress, Builds};
use crate::subscription::{Subscription, subscription};
use crate::view::{Phase, RunningView, ViewCounters};

/// How often changed state is written while there are changes.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the runtime to reach the time a reader asks for.
const CATCH_UP: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct ViewsOptions {
    pub clock: Arc<dyn Clock>,
    /// Where checkpoints go; `None`: to the store.
    pub records: Option<Arc<dyn Records>>,
}

/// The runtime's handle. Cloning is cheap.
#[derive(Clone)]
pub struct Views(Arc<Handle>);

struct Handle {
    store: Store,
    commands: mpsc::UnboundedSender<Command>,
    definitions: Arc<ArcSwap<Definitions>>,
    builds: Builds,
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
    /// Estimated bytes, and entries and rows, of everything that the view holds.
    pub state_bytes: usize,
    pub state_rows: usize,
    /// Bytes of the rows that a reader sees, in `state_bytes`.
    pub rows_bytes: usize,
    /// `None`: it is built.
    pub build: Option<BuildProgress>,
    /// It waits for a view that it reads to be built.
    pub awaiting: bool,
    /// Rows that were left out and can be looked at.
    pub dead_letters: usize,
    pub definition: Arc<ViewDefinition>,
    pub subscribers: usize,
    pub position: ClusterTime,
    pub counters: ViewCounters,
    pub error: Option<String>,
    pub fields: Vec<Field>,
    pub operators: Vec<dataflow::OperatorStatistics>,
}

type Reply<T> = oneshot::Sender<Result<T, SqlError>>;

enum Command {
    Create {
        definition: Arc<ViewDefinition>,
        reply: Reply<()>,
    },
    Alter {
        definition: Arc<ViewDefinition>,
        rebuild: bool,
        reply: Reply<()>,
    },
    /// Another thread has built a view, or could not.
    Built {
        build: Arc<Build>,
        result: Result<Box<RunningView>, SqlError>,
    },
    DeadLetters {
        reply: Reply<Vec<(Arc<ViewDefinition>, DeadLetter)>>,
    },
    Drop {
        db: String,
        name: String,
        reply: Reply<()>,
    },
    Read {
        names: Vec<(String, String)>,
        at_least: ClusterTime,
        reply: Reply<ViewRows>,
    },
    Subscribe {
        target: Target,
        snapshot: bool,
        at_least: ClusterTime,
        reply: Reply<Subscription>,
    },
    Status {
        detailed: bool,
        reply: Reply<Vec<ViewStatus>>,
    },
    Checkpoint {
        reply: Reply<()>,
    },
    Redefine {
        make: Redefine,
        reply: Reply<()>,
    },
    Stop,
}

enum Target {
    View { db: String, name: String },
    Query(Box<RunningView>),
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

fn build_at_present(
    store: &Store,
    definitions: &Arc<Definitions>,
    view: &mut RunningView,
    progress: &Build,
) -> Result<(), SqlError> {
    view.built_with = Some(Arc::clone(definitions));
    let snapshot = store.snapshot().map_err(store_error)?;
    let position = snapshot.time();
    wait_durable(store)?;
    let now_us = store.clock().now_us();
    let past = Past { store, definitions, snapshot: &snapshot, position, upstream: vec![], now_us, progress };
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
    /// Reads of views that are being built.
    blocked: Vec<Command>,
    creators: Vec<building::Creator>,
    builds: Builds,
    gate: Arc<building::Gate>,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// For threads that build.
    commands: mpsc::WeakUnboundedSender<Command>,
    dirty: bool,
    writer: CheckpointWriter,
    records: Arc<dyn Records>,
}

impl Runtime {
    /// Every defined view from its checkpoint; those without one are built while the others go on.
    fn restore(&mut self) -> Result<(), SqlError> {
        let definitions = self.definitions.load_full();
        let mut defined: Vec<_> = definitions.views.values().cloned().collect();
        defined.sort_by_key(|definition| definition.id);
        for definition in defined {
            let mut view = RunningView::new(definition, true)?;
            let restored = contained(|| self.restore_view(&mut view, &definitions));
            view.position = self.position;
            self.views.push(view);
            let at = self.views.len() - 1;
            match restored {
                Ok(true) => self.writer.stored(self.views[at].definition.id),
                Ok(false) => self.start_build(at)?,
                Err(error) => {
                    let view = &mut self.views[at];
                    tracing::error!(view = view.definition.name, %error, "a view could not be restored");
                    view.fail(error);
                }
            }
        }
        self.revive();
        self.remove_leftovers()
    }

    /// A process that died between forgetting a view and removing its checkpoint left records that nobody
    /// reads. Numbers are given in order, so those below the newest view's are all to look at.
    fn remove_leftovers(&self) -> Result<(), SqlError> {
        let known: Vec<u64> = self.views.iter().map(|view| view.definition.id).collect();
        let newest = known.iter().max().copied().unwrap_or(0);
        for id in (1..newest).filter(|id| known.binary_search(id).is_err()) {
            if checkpoint::exists(&self.store, id)? {
                self.remove_checkpoint(id);
            }
        }
        Ok(())
    }

    /// Fills a view from its checkpoint and the log since. False: it has to be built.
    fn restore_view(&mut self, view: &mut RunningView, definitions: &Definitions) -> Result<bool, SqlError> {
        if view.reads_views() {
            return Ok(false);
        }
        let found = checkpoint::restore(&self.store, &*self.records, view)?;
        if found && view.position.next() >= self.store.oldest_time() {
            view.check_limits()?;
            catch_up(&self.store, definitions, view, self.position, None)?;
            if !view.stale {
                return Ok(true);
            }
        }
        *view = RunningView::new(view.definition.clone(), true)?;
        Ok(false)
    }

    /// Builds a view anew at the runtime's position; subscribers see the difference.
    fn rebuild(&self, view: &mut RunningView, definitions: &Definitions) -> Result<(), SqlError> {
        let mut fresh = RunningView::new(view.definition.clone(), view.durable)?;
        let upstream = self.upstream_of(&fresh)?;
        let snapshot = self.store.snapshot().map_err(store_error)?;
        wait_durable(&self.store)?;
        let position = self.position;
        let now_us = self.clock.now_us();
        let progress = &Build::of(&view.definition);
        let past = Past { store: &self.store, definitions, snapshot: &snapshot, position, upstream, now_us, progress };
        build(&mut fresh, &past)?;
        if fresh.stale {
            // The collection went away, or has changes without images, just after this position. The
            // view stays as it is until the ticks have passed that point.
            view.stale = true;
            view.output.clear();
            return Ok(());
        }
        if view.durable {
            self.remove_checkpoint(view.definition.id);
        }
        supersede(view, fresh, true);
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
            return Err(stopped_error(name, error));
        }
        if !matches!(view.phase, Phase::Running) {
            return Err(SqlError::new("55000", format!("materialized view \"{name}\" is still being built")));
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
                    _ = checkpoint.tick(), if self.wants_checkpoint() => self.checkpoint(Box::new(log_failure)),
                }
            }
        });
        self.end_builds();
        let last = self.checkpoints();
        let position = self.position;
        log_failure(self.writer.wait(|writer, done| writer.write(last, position, done)));
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
        self.views.iter().filter(|view| view.is_running()).filter_map(|view| view.flow.deadline()).min()
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
            if !view.is_running() || view.position > up_to {
                continue;
            }
            if orphan(view, before) {
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
            Command::Built { result: Ok(ref view), .. } if view.position > self.position => {
                self.waiting.push((view.position, command));
            }
            Command::Built { build, result } => self.built(&build, result),
            Command::Read { ref names, .. } if self.waits_for_build(names) => self.block(command),
            Command::Subscribe { target: Target::View { ref db, ref name }, .. }
                if self.waits_for_build(&[(db.clone(), name.clone())]) =>
            {
                self.block(command);
            }
            Command::Create { definition, reply } => self.create(definition, reply),
            Command::Alter { definition, rebuild, reply } => self.alter(definition, rebuild, reply),
            Command::DeadLetters { reply } => {
                let views = self.views.iter().filter(|view| view.durable);
                let of_view = |view: &RunningView| -> Vec<_> {
                    view.dead_letters.iter().map(|letter| (Arc::clone(&view.definition), letter.clone())).collect()
                };
                let _ = reply.send(Ok(views.flat_map(of_view).collect()));
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
            Command::Checkpoint { reply } => self.checkpoint(Box::new(move |outcome| drop(reply.send(outcome)))),
            Command::Redefine { make, reply } => {
                let _ = reply.send(self.redefine(make));
            }
            Command::Stop => {}
        }
    }

    /// Takes in an anonymous query: built up to some time, or (over views) not yet built.
    fn add(&mut self, mut view: RunningView) -> Result<usize, SqlError> {
        let definitions = self.definitions.load_full();
        if view.position == ClusterTime::ZERO || is_outdated(&view, &definitions) {
            self.rebuild(&mut view, &definitions)?;
            view.output.clear();
        } else {
            self.join(&mut view, &definitions)?;
        }
        self.views.push(view);
        Ok(self.views.len() - 1)
    }

    /// Brings a view that was built before this time to it.
    fn join(&self, view: &mut RunningView, definitions: &Definitions) -> Result<(), SqlError> {
        catch_up(&self.store, definitions, view, self.position, None)?;
        if view.stale { self.rebuild(view, definitions) } else { Ok(()) }
    }

    fn drop_view(&mut self, db: &str, name: &str) -> Result<(), SqlError> {
        let mut view = self.views.remove(self.find(db, name)?);
        let id = view.definition.id;
        let dropped = || SqlError::new("42P01", format!("materialized view \"{name}\" was dropped"));
        for publisher in view.publishers.drain(..) {
            publisher.end(Err(dropped()));
        }
        if let Phase::Building(build) = &view.phase {
            build.cancel();
            self.builds.remove(build);
            self.answer_creator(build.id, Err(dropped()));
        }
        // What it held is let go of where nobody waits.
        let removed = move |outcome| {
            log_failure(outcome);
            drop(view);
        };
        self.writer.remove(id, Box::new(removed));
        self.unblock();
        Ok(())
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
            view.take_rows();
        }
        view.publishers.push(publisher);
        Ok(subscription)
    }

    fn status(&self, detailed: bool) -> Vec<ViewStatus> {
        let of_view = |view: &RunningView| {
            let (state_bytes, state_rows) = view.size();
            ViewStatus {
                db: view.definition.db.clone(),
                name: view.definition.name.clone(),
                query: view.definition.query.clone(),
                rows: view.rows.len(),
                state_bytes,
                state_rows,
                rows_bytes: view.rows_bytes(),
                build: match &view.phase {
                    Phase::Building(build) => Some(build.progress()),
                    _ => None,
                },
                awaiting: matches!(view.phase, Phase::Awaiting),
                dead_letters: view.dead_letters.len(),
                definition: Arc::clone(&view.definition),
                subscribers: view.publishers.len(),
                position: view.position,
                counters: view.counters.clone(),
                error: view.error.as_ref().map(|e| e.message.clone()),
                fields: view.flow.fields().to_vec(),
                operators: if detailed { view.flow.statistics() } else { vec![] },
            }
        };
        self.views.iter().filter(|view| view.durable).map(of_view).collect()
    }

    /// While one is being written the next one gathers.
    fn wants_checkpoint(&self) -> bool {
        (self.dirty || self.writer.has_failed()) && !self.writer.is_writing()
    }

    /// Every view's changed state, rows and position. The disk is waited for elsewhere.
    fn checkpoint(&mut self, done: Done) {
        let checkpoints = self.checkpoints();
        self.writer.write(checkpoints, self.position, done);
    }

    fn checkpoints(&mut self) -> Vec<Checkpoint> {
        self.dirty = false;
        let saved = |view: &&mut RunningView| view.durable && !view.stale && view.is_running();
        self.views.iter_mut().filter(saved).map(Checkpoint::of).collect()
    }

    fn remove_checkpoint(&self, id: u64) {
        self.writer.remove(id, Box::new(log_failure));
    }
}

fn log_failure(outcome: Result<(), SqlError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "a checkpoint of the views failed; the next one will have its changes");
    }
}

/// A view goes on as one that was built anew; its output is the difference, if anybody hears it.
fn supersede(view: &mut RunningView, mut fresh: RunningView, heard: bool) {
    let mut difference: Vec<Delta> = Vec::new();
    if heard {
        difference.extend(view.take_rows().into_iter().map(|(row, count)| (row, -count)));
        difference.extend(fresh.rows.iter().map(|(row, count)| (row.clone(), *count)));
        dataflow::consolidate(&mut difference);
    }
    fresh.publishers = std::mem::take(&mut view.publishers);
    fresh.counters.events += view.counters.events;
    fresh.counters.changes += view.counters.changes;
    fresh.output = difference;
    *view = fresh;
}

/// Is there a stream among a view's that has other events now than when the view was built?
fn is_outdated(view: &RunningView, now: &Definitions) -> bool {
    let Some(then) = &view.built_with else { return false };
    view.feeds.iter().any(|feed| {
        let Source::Stream { db, name, .. } = &feed.source else { return false };
        let events = |definitions: &Definitions| {
            let stream = definitions.stream(db, name)?;
            Some((stream.start, stream.paused_at, stream.created_ms, stream.filter_text.clone()))
        };
        events(then) != events(now)
    })
}

/// What a reader of a view that stopped is told.
fn stopped_error(name: &str, error: &SqlError) -> SqlError {
    // What is short stays recognisable to programs.
    let code = if error.code == "53200" { "53200" } else { "55000" };
    let hint = match &error.hint {
        Some(hint) if code == "53200" => hint.clone(),
        _ => format!(
            "ALTER MATERIALIZED VIEW {name} SET (on_error = 'null') or 'dead_letter' builds it again and goes on past \
             such rows."
        ),
    };
    SqlError::new(code, format!("materialized view \"{name}\" has stopped: {}", error.message)).with_hint(hint)
}

/// Stops a view if one that it reads has stopped.
fn orphan(view: &mut RunningView, before: &[RunningView]) -> bool {
    let stopped = view.feeds.iter().find_map(|feed| {
        let Source::View { db, name } = &feed.source else { return None };
        let is_it = |up: &&RunningView| up.durable && up.definition.db == *db && up.definition.name == *name;
        before.iter().find(is_it)?.error.as_ref().map(|error| stopped_error(name, error))
    });
    let Some(error) = stopped else { return false };
    view.fail(error);
    view.orphaned = true;
    true
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
