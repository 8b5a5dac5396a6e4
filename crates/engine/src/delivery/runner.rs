//! One sink at work: reads its source, lets the scheduler decide, delivers, writes down.
//!
//! ```text
//!   loop: commit what changed │ bring letters back │ launch batches
//!         then wait for one of: command, landing, commit, source, deadline, heartbeat
//! ```
//!
//! # Invariants
//! - One commit at a time; what it writes is one consistent state of the scheduler.
//! - Where the target keeps marks, a batch starts only when every letter before it is on disk.

mod report;

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::ClusterTime;
use bytes::Bytes;
use changes::Hub;
use delivery::{Delivery, Event, Fault, LetterState, Marks, Offer, Outcome, Position, Scheduler, Target};
use futures::FutureExt;
use rustc_hash::{FxHashMap, FxHashSet};
use store::{Store, WriteTxn};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use views::Views;

use super::definition::{SinkDefinition, SourcePlan};
use super::journal::{self, Done};
use super::outbox::Appender;
use super::records;
use super::source::{LogReader, OutboxReader, Portion, Reader};
use super::status::SinkStatus;

/// How often a sink says that it is alive and how far it is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long flights may take to land when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// Letters of one key brought back at a time.
const LETTERS_AT_ONCE: usize = 64;
/// Keys whose letters are on their way at once.
const REDRIVES_AT_ONCE: usize = 256;
/// Between attempts to start from a target that cannot be reached, and to follow a view anew.
const TRY_AGAIN: Duration = Duration::from_secs(2);

pub(super) enum Command {
    /// Letters of these lanes are tried again.
    Redrive(Vec<Bytes>),
    /// Answers how many of these letters were discarded.
    Discard { letters: Vec<(Bytes, Position)>, reply: oneshot::Sender<store::Result<usize>> },
    /// Lets flights land, writes down, ends.
    Stop,
}

/// What a runner is made with.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub store: Store,
    pub hub: Hub,
    pub views: Views,
}

type Commit = Pin<Box<dyn Future<Output = store::Result<()>> + Send>>;

struct Landed {
    number: u64,
    result: Result<(), Fault>,
    duration_us: i64,
}

pub(super) struct Runner {
    sink: Arc<SinkDefinition>,
    around: Surroundings,
    target: Arc<dyn Target>,
    scheduler: Scheduler<Arc<Event>>,
    reader: Option<Reader>,
    appender: Option<tokio::task::JoinHandle<()>>,
    flights: JoinSet<Landed>,
    commit: Option<Commit>,
    /// The position that the running commit makes durable.
    committing: Position,
    sets_aside: bool,
    done: Vec<Done>,
    redriving: FxHashSet<Bytes>,
    redrive_next: VecDeque<Bytes>,
    paused: bool,
    stopping: bool,
    heartbeat_due: bool,
    low: Arc<AtomicU64>,
    status: Arc<SinkStatus>,
}

/// The name under which a sink keeps the log.
pub(super) fn pin_name(db: &str, name: &str) -> String {
    format!("sink {db}.{name}")
}

/// Runs a sink until it is stopped. The error is left in its status.
pub(super) async fn run(
    sink: Arc<SinkDefinition>,
    around: Surroundings,
    target: Arc<dyn Target>,
    status: Arc<SinkStatus>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let Some(memory) = memory(&sink, &around, &*target, &status, &mut commands).await else { return };
    let mut runner = Runner::new(sink, around, target, status, memory);
    if let Err(message) = runner.work(&mut commands).await {
        tracing::error!(sink = runner.sink.full_name(), message, "a sink has stopped");
        runner.status.fail(&message);
    }
    runner.end().await;
}

/// What the sink remembers, here and at the target. Waits for a target that cannot be reached.
/// `None`: stopped meanwhile.
async fn memory(
    sink: &SinkDefinition,
    around: &Surroundings,
    target: &dyn Target,
    status: &SinkStatus,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) -> Option<records::Memory> {
    let mut memory = match records::load(&around.store, sink.uid) {
        Ok(memory) => memory,
        Err(error) => {
            status.fail(&error.to_string());
            return None;
        }
    };
    loop {
        match target.marks().await {
            Ok(None) => return Some(memory),
            Ok(Some(marks)) => {
                memory.low = memory.low.max(marks.low);
                memory.ledger.extend(marks.finished);
                return Some(memory);
            }
            Err(fault) => status.waits(&fault.message),
        }
        tokio::select! {
            command = commands.recv() => match command {
                None | Some(Command::Stop) => return None,
                // Nothing is under way; a restart finds the definition and the letters as they are.
                Some(Command::Redrive(_)) => {}
                Some(Command::Discard { reply, .. }) => {
                    let _ = reply.send(Ok(0));
                }
            },
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
}

impl Runner {
    fn new(
        sink: Arc<SinkDefinition>,
        around: Surroundings,
        target: Arc<dyn Target>,
        status: Arc<SinkStatus>,
        memory: records::Memory,
    ) -> Self {
        let mut policy = sink.policy.clone();
        policy.parallelism = policy.parallelism.min(target.parallelism_max());
        let seed = u64::from_le_bytes(base::random::os_bytes());
        let low = Arc::new(AtomicU64::new(memory.low.time));
        Runner {
            scheduler: Scheduler::new(policy, seed, memory.low, memory.ledger, memory.parked),
            paused: sink.paused,
            committing: memory.low,
            sets_aside: false,
            sink,
            around,
            target,
            reader: None,
            appender: None,
            flights: JoinSet::new(),
            commit: None,
            done: Vec::new(),
            redriving: FxHashSet::default(),
            redrive_next: VecDeque::new(),
            stopping: false,
            heartbeat_due: true,
            low,
            status,
        }
    }

    fn now_us(&self) -> i64 {
        self.around.store.clock().now_us()
    }

    /// Opens the source where the scheduler wants to read on.
    fn open_reader(&mut self) -> Result<(), String> {
        let from = self.scheduler.next_to_read();
        let reader = match &self.sink.source {
            SourcePlan::Stream { .. } | SourcePlan::StreamQuery { .. } | SourcePlan::Changes(_) => {
                let reader = LogReader::new(&self.sink, &self.around.hub, &self.around.views, from);
                Reader::Log(Box::new(reader.map_err(|error| error.message)?))
            }
            SourcePlan::View { shape, .. } | SourcePlan::Query { shape, .. } => {
                let appended = Arc::new(Notify::new());
                let store = self.around.store.clone();
                let last = last_outbox(&store, self.sink.uid).map_err(|error| error.to_string())?;
                let appender = Appender {
                    sink: Arc::clone(&self.sink),
                    shape: shape.clone(),
                    store: store.clone(),
                    views: self.around.views.clone(),
                    low: Arc::clone(&self.low),
                    appended: Arc::clone(&appended),
                    next: last.max(from.time.saturating_sub(1)) + 1,
                };
                self.follow_view(appender);
                Reader::Outbox(OutboxReader { store, uid: self.sink.uid, next: from, appended })
            }
        };
        self.reader = Some(reader);
        Ok(())
    }

    fn follow_view(&mut self, appender: Appender) {
        let status = Arc::clone(&self.status);
        let name = self.sink.full_name();
        self.appender = Some(tokio::spawn(async move {
            if let Err(error) = appender.run().await {
                tracing::error!(sink = name, %error, "a sink can no longer follow its view");
                status.fail(&error.message);
            }
        }));
    }

    async fn work(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Result<(), String> {
        self.open_reader()?;
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.start_commit();
            self.bring_letters_back().map_err(|error| error.to_string())?;
            self.launch();
            self.report();
            if let Some(reason) = self.scheduler.stopped() {
                return Err(reason.to_owned());
            }
            let wait = self.wait();
            let reads = !self.paused && self.scheduler.wants_more();
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return Ok(()),
                    Some(command) => self.command(command).await,
                },
                Some(landed) = self.flights.join_next() => {
                    self.landed(landed);
                    while let Some(landed) = self.flights.try_join_next() {
                        self.landed(landed);
                    }
                }
                result = committed(&mut self.commit) => self.committed(result).map_err(|error| error.to_string())?,
                portion = next_of(&mut self.reader), if reads => self.take_in(portion?),
                () = sleep(wait) => {}
                _ = heartbeat.tick() => self.heartbeat_due = true,
            }
        }
    }

    /// How long until the scheduler may have something that nothing else tells of.
    fn wait(&self) -> Option<Duration> {
        if self.paused {
            return None;
        }
        let wait = (self.scheduler.deadline_us()? - self.now_us()).max(1000);
        Some(Duration::from_micros(wait as u64))
    }

    fn take_in(&mut self, portion: Portion) {
        let now_us = self.now_us();
        self.status.rows_failed(portion.failed, portion.failure);
        for event in portion.events {
            self.scheduler.offer(offer(Arc::new(event)), now_us);
        }
        self.scheduler.read_up_to(portion.before);
    }

    fn launch(&mut self) {
        if self.paused || self.stopping {
            return;
        }
        let keeps_marks = self.target.keeps_marks();
        // What the target will count as finished must be remembered here first.
        if keeps_marks && (self.scheduler.has_unwritten() || self.sets_aside) {
            return;
        }
        let now_us = self.now_us();
        while let Some(batch) = self.scheduler.poll(now_us) {
            let marks = if keeps_marks {
                let (low, finished) = self.scheduler.progress_after(&batch);
                Marks { low, finished }
            } else {
                Marks::default()
            };
            let delivery = Delivery { events: batch.events, attempt: batch.attempt, marks };
            let (target, clock) = (Arc::clone(&self.target), Arc::clone(self.around.store.clock()));
            let (number, timeout) = (batch.number, self.scheduler.policy().timeout);
            self.flights.spawn(async move {
                let began_us = clock.now_us();
                let attempt = AssertUnwindSafe(tokio::time::timeout(timeout, target.deliver(&delivery)));
                let result = match attempt.catch_unwind().await {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) => Err(Fault::failed(format!("no answer within {timeout:?}"))),
                    Err(_) => Err(Fault::failed("the delivery panicked; the server's log has the details")),
                };
                Landed { number, result, duration_us: clock.now_us().saturating_sub(began_us).max(0) }
            });
        }
    }

    fn landed(&mut self, landed: Result<Landed, tokio::task::JoinError>) {
        // A panic was caught within, so the task was cancelled: the server stops.
        let Ok(landed) = landed else { return };
        let now_us = self.now_us();
        let outcomes = match &landed.result {
            Ok(()) => self.scheduler.succeeded(landed.number),
            Err(fault) => {
                self.status.attempt_failed(&fault.message, now_us / 1000);
                self.scheduler.failed(landed.number, fault, now_us)
            }
        };
        for outcome in outcomes {
            self.conclude(outcome, landed.duration_us, now_us / 1000);
        }
    }

    fn conclude(&mut self, outcome: Outcome<Arc<Event>>, duration_us: i64, at_ms: i64) {
        if outcome.error.is_some() {
            self.redriving.remove(&outcome.event.lane);
        }
        self.status.concluded(&outcome.event, at_ms);
        let Outcome { event, attempts, error } = outcome;
        self.done.push(Done { event, attempts, error, duration_us, at_ms });
    }

    /// Starts a commit if there is something to write that should not wait for the heartbeat.
    fn start_commit(&mut self) {
        let urgent = !self.done.is_empty() || self.scheduler.has_unwritten() || self.heartbeat_due;
        if self.commit.is_some() || !urgent {
            return;
        }
        let heartbeat = std::mem::take(&mut self.heartbeat_due).then(|| self.heartbeat());
        let changes = self.scheduler.take_changes();
        let done = std::mem::take(&mut self.done);
        self.committing = changes.progress.low;
        self.sets_aside = changes.sets_aside();
        let (sink, store) = (Arc::clone(&self.sink), self.around.store.clone());
        let work = Arc::new((changes, done, heartbeat));
        self.commit = Some(Box::pin(async move {
            loop {
                let (sink, work) = (Arc::clone(&sink), Arc::clone(&work));
                let written = store.write(move |txn| write(txn, &sink, &work)).await;
                match written {
                    Ok(_) => return Ok(()),
                    // Someone's open transaction holds one of the documents that people read.
                    Err(store::Error::WriteConflict(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => return Err(error),
                }
            }
        }));
    }

    fn committed(&mut self, result: store::Result<()>) -> store::Result<()> {
        self.commit = None;
        self.sets_aside = false;
        result?;
        self.scheduler.changes_written();
        self.low.store(self.committing.time, Ordering::Release);
        if self.sink.reads_log() {
            self.around
                .store
                .pin_log(&pin_name(&self.sink.db, &self.sink.name), Some(ClusterTime(self.committing.time)));
        }
        Ok(())
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Redrive(lanes) => self.redrive_next.extend(lanes),
            Command::Discard { letters, reply } => {
                let discarded = self.discard(letters).await;
                let _ = reply.send(discarded);
            }
            Command::Stop => {}
        }
    }

    async fn discard(&mut self, mut letters: Vec<(Bytes, Position)>) -> store::Result<usize> {
        // What is on its way again is no longer a letter to discard.
        letters.retain(|(lane, _)| !self.redriving.contains(lane));
        let (uid, work) = (self.sink.uid, letters.clone());
        let write = move |txn: &mut WriteTxn| {
            let mut gone = Vec::new();
            for (lane, position) in &work {
                if records::remove_letter(txn, uid, lane, *position)? {
                    gone.push(*position);
                }
            }
            let count = gone.len();
            let now_ms = txn.now_ms();
            journal::mark_letters(txn, uid, gone, "discarded", now_ms)?;
            Ok(count)
        };
        let count = self.around.store.write(write).await?.value;
        let lanes: FxHashSet<Bytes> = letters.into_iter().map(|(lane, _)| lane).collect();
        for lane in lanes {
            let head = records::letters(&self.around.store, uid, &lane, None, 1)?;
            if head.first().is_none_or(|letter| letter.state == LetterState::Waiting) {
                self.redrive_next.push_back(lane);
            }
        }
        Ok(count)
    }

    /// Lanes on their way get their next letters; lanes without any are free.
    fn bring_letters_back(&mut self) -> store::Result<()> {
        let nothing = self.redriving.is_empty() && self.redrive_next.is_empty();
        if nothing || self.paused || self.commit.is_some() || self.scheduler.has_unwritten() {
            return Ok(());
        }
        while self.redriving.len() < REDRIVES_AT_ONCE
            && let Some(lane) = self.redrive_next.pop_front()
        {
            if self.scheduler.is_parked(&lane) {
                self.redriving.insert(lane);
            }
        }
        let idle: Vec<Bytes> =
            self.redriving.iter().filter(|lane| !self.scheduler.is_redriving(lane)).cloned().collect();
        let now_us = self.now_us();
        for lane in idle {
            let letters = records::letters(&self.around.store, self.sink.uid, &lane, None, LETTERS_AT_ONCE)?;
            if letters.is_empty() {
                self.scheduler.unpark(&lane);
                self.redriving.remove(&lane);
                continue;
            }
            let offers = letters.into_iter().map(|letter| offer(Arc::new(letter.event))).collect();
            self.scheduler.redrive(offers, now_us);
        }
        Ok(())
    }

    /// Lets flights land, gives back those that do not, writes down what is known.
    async fn end(mut self) {
        self.stopping = true;
        if let Some(appender) = self.appender.take() {
            appender.abort();
        }
        let landing = async {
            while let Some(landed) = self.flights.join_next().await {
                self.landed(landed);
            }
        };
        let _ = tokio::time::timeout(GRACE, landing).await;
        self.flights.abort_all();
        if let Some(commit) = self.commit.take() {
            let _ = commit.await;
        }
        self.report();
        self.status.ended();
        self.heartbeat_due = true;
        self.start_commit();
        if let Some(commit) = self.commit.take()
            && let Err(error) = commit.await
        {
            tracing::warn!(sink = self.sink.full_name(), %error, "a sink's last position was not written");
        }
    }
}

fn offer(event: Arc<Event>) -> Offer<Arc<Event>> {
    Offer { position: event.position, key: event.lane.clone(), bytes: event.bytes(), priority: event.priority, event }
}

type Work = (delivery::Changes<Arc<Event>>, Vec<Done>, Option<journal::Heartbeat>);

fn write(txn: &mut WriteTxn, sink: &SinkDefinition, (changes, done, heartbeat): &Work) -> store::Result<()> {
    // DROP or REPLAY may have come first: an earlier life leaves no traces.
    if !records::is_current(txn, sink)? {
        return Ok(());
    }
    let now_ms = txn.now_ms();
    records::write_changes(txn, sink.uid, changes)?;
    if !sink.reads_log() {
        records::trim_outbox(txn, sink.uid, changes.progress.low)?;
    }
    journal::letters(txn, sink, &changes.letters, now_ms)?;
    let skipped: FxHashMap<Position, ()> =
        done.iter().filter(|done| done.error.is_some()).map(|done| (done.event.position, ())).collect();
    let (lost, delivered): (Vec<Position>, Vec<Position>) =
        changes.settled.iter().map(|(_, position)| *position).partition(|position| skipped.contains_key(position));
    journal::mark_letters(txn, sink.uid, delivered, "delivered", now_ms)?;
    journal::mark_letters(txn, sink.uid, lost, "skipped", now_ms)?;
    let delivered = done.iter().filter(|done| done.error.is_none()).count();
    records::count_delivered(txn, sink, delivered as u64)?;
    journal::log(txn, sink, done)?;
    heartbeat.as_ref().map_or(Ok(()), |heartbeat| journal::heartbeat(txn, heartbeat))
}

fn last_outbox(store: &Store, uid: base::Uuid) -> store::Result<u64> {
    use store::Reader;
    let snapshot = store.snapshot()?;
    let prefix = records::key(records::Part::Outbox, uid, &[]);
    let mut last = 0;
    for record in snapshot.records(records::SPACE, &prefix) {
        let (place, _) = record?;
        last = Position::from_bytes(&place[prefix.len()..]).map_or(last, |position| position.time);
    }
    Ok(last)
}

async fn committed(commit: &mut Option<Commit>) -> store::Result<()> {
    match commit {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}

async fn next_of(reader: &mut Option<Reader>) -> Result<Portion, String> {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
