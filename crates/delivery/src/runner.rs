//! One sink at work: reads its source, lets the scheduler decide, delivers, writes down.
//!
//! ```text
//!   loop: commit what changed │ bring letters back │ launch batches
//!         then wait for one of: commit, command, landing, source, deadline, heartbeat
//! ```
//!
//! It knows neither store nor network, and its waits are looked at in a fixed order: under a paused
//! clock a seed replays a whole life of it (`tests/lives.rs`).
//!
//! # Invariants
//! - One commit at a time; what it writes is one consistent state of the scheduler.
//! - Where the target keeps marks, a batch starts only when every letter before it is on disk.
//! - No batch starts unless the lease is surely held.

mod parts;

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use bytes::Bytes;
use futures::FutureExt;
use rustc_hash::FxHashSet;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use parts::{
    Done, Lease, Memory, Numbers, Observer, Portion, Records, RecordsError, Round, Sole, Source, Step, StoredLetter,
};

use crate::event::{Event, Position};
use crate::policy::Policy;
use crate::scheduler::{Circuit, LetterState, Offer, Offered, Outcome, Scheduler};
use crate::target::{Delivery, Fault, FaultKind, Marks, Target};

/// How often a sink says that it is alive and how far it is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long flights may take to land when the sink is stopped.
const GRACE: Duration = Duration::from_secs(10);
/// How long the last commit may take when the sink is stopped.
const LAST_COMMIT: Duration = Duration::from_secs(5);
/// Letters of one key brought back at a time.
const LETTERS_AT_ONCE: usize = 64;
/// Keys whose letters are on their way at once.
const REDRIVES_AT_ONCE: usize = 256;
/// Between attempts to start from a target that cannot be reached.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How often a lease that is in doubt is looked at.
const LEASE_AGAIN: Duration = Duration::from_millis(100);

/// What a runner is told.
#[derive(Debug)]
pub enum Command {
    /// Letters of these lanes are tried again.
    Redrive(Vec<Bytes>),
    /// Answers how many of these letters were discarded.
    Discard { letters: Vec<(Bytes, Position)>, reply: oneshot::Sender<Result<usize, RecordsError>> },
    /// Lets flights land, writes down, ends.
    Stop,
    /// Ends at once and writes nothing: another process may be at work already.
    Abandon,
}

/// What a runner is made with.
pub struct Sink {
    /// For the log of the process.
    pub name: String,
    pub policy: Policy,
    pub paused: bool,
    /// Of the jitter of retries.
    pub seed: u64,
    pub target: Arc<dyn Target>,
    pub records: Arc<dyn Records>,
    pub lease: Arc<dyn Lease>,
    pub observer: Arc<dyn Observer>,
    pub clock: Arc<dyn Clock>,
}

/// How a runner ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Another process delivers this sink now.
    Superseded,
    /// It cannot go on, and why.
    Failed(String),
}

/// Opens the source from a position on.
pub type Open = Box<dyn FnOnce(Position) -> Result<Box<dyn Source>, String> + Send>;

type Commit = Pin<Box<dyn Future<Output = Result<(), RecordsError>> + Send>>;

struct Landed {
    number: u64,
    result: Result<(), Fault>,
    duration_us: i64,
}

struct Runner {
    sink: Sink,
    scheduler: Scheduler<Arc<Event>>,
    source: Box<dyn Source>,
    flights: JoinSet<Landed>,
    commit: Option<Commit>,
    /// The position that the running commit makes durable.
    committing: Position,
    sets_aside: bool,
    done: Vec<Done>,
    redriving: FxHashSet<Bytes>,
    redrive_next: VecDeque<Bytes>,
    /// When the changes happened that are read and may be unfinished.
    pending: VecDeque<(Position, i64)>,
    heartbeat_at: Instant,
}

/// Why the loop ended.
enum End {
    Stop,
    Abandon,
    Failed(String),
}

/// Runs a sink until it is stopped or cannot go on.
pub async fn run(sink: Sink, open: Open, mut commands: mpsc::UnboundedReceiver<Command>) -> Ended {
    let memory = match memory(&sink, &mut commands).await {
        Ok(memory) => memory,
        Err(ended) => return ended,
    };
    let source = match open(memory.low) {
        Ok(source) => source,
        Err(message) => return Ended::Failed(message),
    };
    let mut runner = Runner::new(sink, source, memory);
    match runner.work(&mut commands).await {
        End::Abandon => Ended::Superseded,
        End::Stop => {
            runner.end().await;
            Ended::Stopped
        }
        End::Failed(message) => {
            runner.end().await;
            Ended::Failed(message)
        }
    }
}

/// What the sink remembers, here and at the target. Waits for a target that cannot be reached.
async fn memory(sink: &Sink, commands: &mut mpsc::UnboundedReceiver<Command>) -> Result<Memory, Ended> {
    loop {
        // Raises the fence at the target before anything is read: what a holder before this one still has under
        // way can no longer have an effect there.
        let problem = match sink.target.marks(sink.lease.fence()).await {
            Err(fault) if fault.kind == FaultKind::Superseded => return Err(Ended::Superseded),
            Err(fault) => fault.message,
            Ok(marks) => match sink.records.load().await {
                Err(error) if error.superseded => return Err(Ended::Superseded),
                Err(error) => return Err(Ended::Failed(error.message)),
                Ok(mut memory) => {
                    if let Some(marks) = marks {
                        memory.low = memory.low.max(marks.low);
                        memory.ledger.extend(marks.finished);
                    }
                    return Ok(memory);
                }
            },
        };
        sink.observer.waits(&problem);
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                None | Some(Command::Stop) => return Err(Ended::Stopped),
                Some(Command::Abandon) => return Err(Ended::Superseded),
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
    fn new(sink: Sink, source: Box<dyn Source>, memory: Memory) -> Self {
        let mut policy = sink.policy.clone();
        policy.parallelism = policy.parallelism.min(sink.target.parallelism_max());
        Runner {
            committing: memory.low,
            scheduler: Scheduler::new(policy, sink.seed, memory.low, memory.ledger, memory.parked),
            sink,
            source,
            flights: JoinSet::new(),
            commit: None,
            sets_aside: false,
            done: Vec::new(),
            redriving: FxHashSet::default(),
            redrive_next: VecDeque::new(),
            pending: VecDeque::new(),
            heartbeat_at: Instant::now(),
        }
    }

    fn now_us(&self) -> i64 {
        self.sink.clock.now_us()
    }

    async fn work(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> End {
        loop {
            self.start_commit();
            if let Err(error) = self.bring_letters_back().await {
                return End::of(error);
            }
            self.launch();
            self.report();
            if let Some(reason) = self.scheduler.stopped() {
                return End::Failed(reason.to_owned());
            }
            let wait = self.wait();
            let reads = !self.sink.paused && self.scheduler.wants_more();
            tokio::select! {
                biased;
                result = committed(&mut self.commit) => if let Err(error) = self.committed(result) {
                    return End::of(error);
                },
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return End::Stop,
                    Some(Command::Abandon) => return End::Abandon,
                    Some(command) => if let Err(error) = self.command(command).await {
                        return End::of(error);
                    },
                },
                Some(landed) = self.flights.join_next() => {
                    let mut next = Some(landed);
                    while let Some(landed) = next {
                        if self.landed(landed).is_err() {
                            return End::Abandon;
                        }
                        next = self.flights.try_join_next();
                    }
                }
                portion = self.source.next(), if reads => match portion {
                    Ok(portion) => self.take_in(portion),
                    Err(message) => return End::Failed(message),
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// How long until there may be something to do that nothing else tells of.
    fn wait(&self) -> Duration {
        // One that is due waits for the commit under way, whose end wakes.
        let heartbeat = match self.commit {
            Some(_) => HEARTBEAT,
            None => self.heartbeat_at.saturating_duration_since(Instant::now()),
        };
        let deadline = match self.scheduler.deadline_us() {
            Some(_) if self.sink.paused => heartbeat,
            // What could start must not: what keeps it from starting tells nobody when it is over.
            Some(_) if !self.sink.lease.is_held() => LEASE_AGAIN,
            // The end of a commit wakes.
            Some(_) if self.awaits_commit() => heartbeat,
            Some(deadline) => {
                let wait = deadline.saturating_sub(self.now_us()).max(1000);
                Duration::from_micros(wait as u64)
            }
            None => heartbeat,
        };
        deadline.min(heartbeat)
    }

    fn take_in(&mut self, portion: Portion) {
        let now_us = self.now_us();
        self.sink.observer.rows_failed(portion.failed, portion.failure);
        for event in portion.events {
            let (position, time_ms) = (event.position, event.time_ms);
            if self.scheduler.offer(offer(Arc::new(event)), now_us) == Offered::Queued {
                self.pending.push_back((position, time_ms));
            }
        }
        self.scheduler.read_up_to(portion.before);
    }

    /// What the target will count as finished must be remembered here first.
    fn awaits_commit(&self) -> bool {
        self.sink.target.keeps_marks() && (self.scheduler.has_unwritten() || self.sets_aside)
    }

    fn launch(&mut self) {
        if self.sink.paused || self.awaits_commit() || !self.sink.lease.is_held() {
            return;
        }
        let keeps_marks = self.sink.target.keeps_marks();
        let fence = self.sink.lease.fence();
        let now_us = self.now_us();
        while let Some(batch) = self.scheduler.poll(now_us) {
            let marks = if keeps_marks {
                let (low, finished) = self.scheduler.progress_after(&batch);
                Marks { low, finished }
            } else {
                Marks::default()
            };
            let (attempt, redriven) = (batch.attempt, batch.redriven);
            let delivery = Delivery { events: batch.events, attempt, marks, fence, redriven };
            let (target, clock) = (Arc::clone(&self.sink.target), Arc::clone(&self.sink.clock));
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

    /// `Err`: the target knows of a newer holder.
    fn landed(&mut self, landed: Result<Landed, tokio::task::JoinError>) -> Result<(), ()> {
        // A panic was caught within, so the task was cancelled: the runtime stops.
        let Ok(landed) = landed else { return Ok(()) };
        let now_us = self.now_us();
        let outcomes = match &landed.result {
            Ok(()) => self.scheduler.succeeded(landed.number),
            Err(fault) if fault.kind == FaultKind::Superseded => return Err(()),
            Err(fault) => {
                self.sink.observer.attempt_failed(&fault.message, now_us / 1000);
                self.scheduler.failed(landed.number, fault, now_us)
            }
        };
        for outcome in outcomes {
            self.conclude(outcome, landed.duration_us, now_us / 1000);
        }
        Ok(())
    }

    fn conclude(&mut self, outcome: Outcome<Arc<Event>>, duration_us: i64, at_ms: i64) {
        if outcome.error.is_some() {
            self.redriving.remove(&outcome.event.lane);
        }
        self.sink.observer.concluded(&outcome.event, at_ms);
        let Outcome { event, attempts, error } = outcome;
        self.done.push(Done { event, attempts, error, duration_us, at_ms });
    }

    /// Starts a commit if there is something to write that should not wait for the heartbeat.
    fn start_commit(&mut self) {
        let heartbeat = Instant::now() >= self.heartbeat_at;
        let urgent = !self.done.is_empty() || self.scheduler.has_unwritten() || heartbeat;
        if self.commit.is_some() || !urgent {
            return;
        }
        if heartbeat {
            self.heartbeat_at = Instant::now() + HEARTBEAT;
        }
        let changes = self.scheduler.take_changes();
        self.committing = changes.progress.low;
        self.sets_aside = changes.sets_aside();
        let step = Arc::new(Step { changes, done: std::mem::take(&mut self.done), heartbeat });
        let records = Arc::clone(&self.sink.records);
        self.commit = Some(Box::pin(async move { records.write(step).await }));
    }

    fn committed(&mut self, result: Result<(), RecordsError>) -> Result<(), RecordsError> {
        self.commit = None;
        self.sets_aside = false;
        result?;
        self.scheduler.changes_written();
        self.source.finished(self.committing);
        Ok(())
    }

    async fn command(&mut self, command: Command) -> Result<(), RecordsError> {
        match command {
            Command::Redrive(lanes) => self.redrive_next.extend(lanes),
            Command::Discard { letters, reply } => {
                let discarded = self.discard(letters).await;
                let superseded = discarded.as_ref().err().filter(|error| error.superseded).cloned();
                let _ = reply.send(discarded);
                superseded.map_or(Ok(()), Err)?;
            }
            Command::Stop | Command::Abandon => {}
        }
        Ok(())
    }

    async fn discard(&mut self, mut letters: Vec<(Bytes, Position)>) -> Result<usize, RecordsError> {
        // What is on its way again is no longer a letter to discard.
        letters.retain(|(lane, _)| !self.redriving.contains(lane));
        let count = self.sink.records.discard(&letters).await?;
        let lanes: FxHashSet<Bytes> = letters.into_iter().map(|(lane, _)| lane).collect();
        for lane in lanes {
            let head = self.sink.records.letters(&lane, 1).await?;
            if head.first().is_none_or(|letter| letter.state == LetterState::Waiting) {
                self.redrive_next.push_back(lane);
            }
        }
        Ok(count)
    }

    /// Lanes on their way get their next letters; lanes without any are free.
    async fn bring_letters_back(&mut self) -> Result<(), RecordsError> {
        let nothing = self.redriving.is_empty() && self.redrive_next.is_empty();
        if nothing || self.sink.paused || self.commit.is_some() || self.scheduler.has_unwritten() {
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
            let letters = self.sink.records.letters(&lane, LETTERS_AT_ONCE).await?;
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

    /// Updates what others look at.
    fn report(&mut self) {
        let low = self.scheduler.low();
        while self.pending.front().is_some_and(|(position, _)| *position < low) {
            self.pending.pop_front();
        }
        let counters = self.scheduler.counters();
        let numbers = Numbers {
            delivered: counters.delivered,
            failures: counters.failures,
            dead: counters.dead,
            skipped: counters.skipped,
            waiting: self.scheduler.unfinished() as u64,
            flying: self.scheduler.flying() as u64,
            parked_keys: self.scheduler.parked_len() as u64,
            circuit_open: self.scheduler.circuit() != Circuit::Closed,
        };
        let oldest_ms = self.pending.front().map(|(_, time_ms)| *time_ms);
        let now_ms = self.now_us() / 1000;
        self.sink.observer.report(&Round { paused: self.sink.paused, numbers, low, oldest_ms, now_ms });
    }

    /// Lets flights land, gives back those that do not, writes down what is known.
    async fn end(mut self) {
        let landing = async {
            while let Some(landed) = self.flights.join_next().await {
                if self.landed(landed).is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(GRACE, landing).await;
        self.flights.abort_all();
        let last = async {
            if let Some(commit) = self.commit.take() {
                commit.await?;
            }
            self.report();
            self.heartbeat_at = Instant::now();
            self.start_commit();
            self.commit.take().expect("a heartbeat is written").await
        };
        let problem = match tokio::time::timeout(LAST_COMMIT, last).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.message,
            Err(_) => format!("no answer within {LAST_COMMIT:?}"),
        };
        tracing::warn!(sink = self.sink.name, problem, "a sink's last position was not written");
    }
}

impl End {
    fn of(error: RecordsError) -> Self {
        if error.superseded { End::Abandon } else { End::Failed(error.message) }
    }
}

fn offer(event: Arc<Event>) -> Offer<Arc<Event>> {
    Offer { position: event.position, key: event.lane.clone(), bytes: event.bytes(), priority: event.priority, event }
}

async fn committed(commit: &mut Option<Commit>) -> Result<(), RecordsError> {
    match commit {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}
