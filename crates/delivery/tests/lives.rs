//! Whole lives of a sink under the real runner: a seed decides faults, crashes and waits.
//!
//! One thread, a paused clock, a store and a target in memory. A process is a runner; it is dropped
//! at a random one of its polls, which is every await point there is. In a group a second process may
//! start while the first is still there, as one that was paused and wakes up: the fence must hold it
//! off. What must be true at the end:
//!
//! - no event is lost: each had its effect, or is a letter that was discarded, or was left out by wish
//! - a target with marks has every effect once; others may have one again, with the same id
//! - the first effects of a key are in order
//! - a parked key holds up only itself
//!
//! `SIMULATION_SEED=n` runs one seed, `SIMULATION_SEEDS=n` the first n.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use base::Clock;
use base::random::Random;
use bytes::Bytes;
use delivery::runner::{
    Command, Done, Ended, Lease, Memory, Observer, Open, Portion, Records, RecordsError, Round, Sink, Source, Step,
    StoredLetter, run,
};
use delivery::{Delivery, Event, Fault, Kind, LetterState, Marks, OnDeath, Policy, Position, Target};
use document::Doc;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

const SEEDS: u64 = 2000;
/// Processes that a life has before it is left in peace.
const PROCESSES: u64 = 6;
/// Polls that the last process may need; one that spins needs more.
const POLLS: u64 = 100_000;
/// How long the last process may take to finish everything, by the paused clock.
const PEACE: Duration = Duration::from_secs(3600);

/// The wall clock: the paused one, and how far somebody has set it.
#[derive(Debug)]
struct Wall {
    start: Instant,
    set_us: AtomicI64,
}

impl Clock for Wall {
    fn now_ms(&self) -> i64 {
        self.now_us() / 1000
    }

    fn now_us(&self) -> i64 {
        let elapsed = Instant::now().duration_since(self.start).as_micros() as i64;
        1_000_000_000 + elapsed + self.set_us.load(Ordering::Relaxed)
    }
}

struct Disk {
    low: Position,
    ledger: BTreeSet<Position>,
    letters: BTreeMap<(Bytes, Position), StoredLetter>,
    /// Of whoever may write.
    fence: u64,
    skipped: BTreeSet<Position>,
    discarded: BTreeSet<Position>,
    /// Events that were said to be delivered.
    logged: BTreeSet<Position>,
}

#[derive(Default)]
struct Remote {
    effects: Vec<Effect>,
    low: Position,
    finished: BTreeSet<Position>,
    fence: u64,
}

#[derive(Clone)]
struct Effect {
    lane: Bytes,
    position: Position,
    /// By a process that another had followed: without a fence at the target nothing can stop what
    /// is on the wire already.
    late: bool,
}

struct World {
    seed: u64,
    random: Mutex<Random>,
    source: Vec<Event>,
    poisoned: BTreeSet<Position>,
    policy: Policy,
    keeps_marks: bool,
    /// Several processes may be there at once.
    shared: bool,
    disk: Mutex<Disk>,
    remote: Mutex<Remote>,
    clock: Arc<Wall>,
    peace: std::sync::atomic::AtomicBool,
    down_until: Mutex<Option<Instant>>,
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        let mut random = Random::seeded(seed);
        let keys = 1 + random.below(6);
        let poison = random.below(3) == 0;
        let (mut source, mut poisoned) = (Vec::new(), BTreeSet::new());
        let mut place = Position::at(1);
        for _ in 0..15 + random.below(40) {
            place = match random.below(3) {
                0 => Position { index: place.index + 1, ..place },
                more => Position::at(place.time + more),
            };
            source.push(event(place, random.below(keys) as i64, random.below(3) as i64));
            if poison && random.below(12) == 0 {
                poisoned.insert(place);
            }
        }
        let keeps_marks = random.below(2) == 0;
        let policy = Policy {
            max_retries: random.below(4) as u32,
            retry_delay: Duration::from_millis(1 + random.below(500)),
            max_retry_delay: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            parallelism: 1 + random.below(5) as usize,
            batch_size: 1 + random.below(6) as usize,
            batch_delay: Duration::from_millis(random.below(2) * 20),
            queue_events: 4 + random.below(40) as usize,
            ledger_events: 4 + random.below(40) as usize,
            on_death: [OnDeath::Park, OnDeath::Park, OnDeath::Skip][random.below(3) as usize],
            ..Policy::default()
        };
        let disk = Disk {
            low: Position::at(1),
            ledger: BTreeSet::new(),
            letters: BTreeMap::new(),
            fence: 0,
            skipped: BTreeSet::new(),
            discarded: BTreeSet::new(),
            logged: BTreeSet::new(),
        };
        Arc::new(World {
            seed,
            shared: random.below(2) == 0,
            random: Mutex::new(random),
            source,
            poisoned,
            policy,
            keeps_marks,
            disk: Mutex::new(disk),
            remote: Mutex::default(),
            clock: Arc::new(Wall { start: Instant::now(), set_us: AtomicI64::new(0) }),
            peace: false.into(),
            down_until: Mutex::new(None),
        })
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().below(bound)
    }

    fn at_peace(&self) -> bool {
        self.peace.load(Ordering::Relaxed)
    }

    /// A wait of a length that nobody knows; also none at all.
    async fn wait(&self) {
        let wait = match self.below(6) {
            0 => return,
            1 => return tokio::task::yield_now().await,
            2 if !self.at_peace() => Duration::from_millis(self.below(8000)),
            _ => Duration::from_micros(self.below(20_000)),
        };
        tokio::time::sleep(wait).await;
    }

    fn is_over(&self) -> bool {
        let disk = self.disk.lock();
        self.source.last().is_none_or(|last| last.position < disk.low) && disk.letters.is_empty()
    }

    fn is_accounted_for(&self, event: &Event) -> bool {
        let disk = self.disk.lock();
        self.remote.lock().effects.iter().any(|effect| effect.position == event.position)
            || disk.letters.contains_key(&(event.lane.clone(), event.position))
            || disk.skipped.contains(&event.position)
            || disk.discarded.contains(&event.position)
    }

    /// What is finished on disk has had its effect or is remembered.
    fn check(&self) {
        for event in &self.source {
            let finished = {
                let disk = self.disk.lock();
                event.position < disk.low || disk.ledger.contains(&event.position)
            };
            assert!(
                !finished || self.is_accounted_for(event),
                "seed {}: {} is finished and nowhere",
                self.seed,
                event.position
            );
        }
        let disk = self.disk.lock();
        for (lane, _) in disk.letters.keys() {
            let dead = disk.letters.iter().filter(|((l, _), stored)| l == lane && stored.state == LetterState::Dead);
            assert!(dead.count() <= 1, "seed {}: one dead letter per key", self.seed);
        }
    }

    fn check_end(&self) {
        for event in &self.source {
            assert!(self.is_accounted_for(event), "seed {}: {} was lost", self.seed, event.position);
        }
        let effects = self.remote.lock().effects.clone();
        let mut first: BTreeMap<Bytes, Vec<Position>> = BTreeMap::new();
        for Effect { lane, position, late } in &effects {
            if *late {
                continue;
            }
            let of_lane = first.entry(lane.clone()).or_default();
            if !of_lane.contains(position) {
                of_lane.push(*position);
            } else {
                assert!(!self.keeps_marks, "seed {}: {position} had its effect twice", self.seed);
            }
        }
        for (lane, positions) in first {
            assert!(positions.is_sorted(), "seed {}: key {lane:?} out of order: {positions:?}", self.seed);
        }
        let logged = self.disk.lock().logged.clone();
        for position in logged {
            assert!(
                effects.iter().any(|effect| effect.position == position),
                "seed {}: {position} is logged only",
                self.seed
            );
        }
    }
}

fn event(position: Position, key: i64, priority: i64) -> Event {
    let key = Doc::new().with("_id", key).to_buf();
    Event {
        position,
        id: position.to_string().into(),
        lane: key.bytes().clone(),
        kind: Kind::Upsert,
        operation: "insert".into(),
        source: "db.s".into(),
        namespace: "db.c".into(),
        time_ms: position.time as i64,
        row: key.clone(),
        before: None,
        body: key.clone(),
        key,
        priority,
    }
}

/// One process's right to work; `is_held` is what it believes.
struct Held {
    fence: u64,
    until: Option<Instant>,
}

impl Lease for Held {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn is_held(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

struct DiskRecords {
    world: Arc<World>,
    fence: u64,
}

impl DiskRecords {
    fn check(&self) -> Result<(), RecordsError> {
        if self.world.disk.lock().fence == self.fence { Ok(()) } else { Err(RecordsError::superseded()) }
    }
}

#[async_trait]
impl Records for DiskRecords {
    async fn load(&self) -> Result<Memory, RecordsError> {
        self.world.wait().await;
        self.check()?;
        let disk = self.world.disk.lock();
        let mut parked: Vec<Bytes> = disk.letters.keys().map(|(lane, _)| lane.clone()).collect();
        parked.dedup();
        Ok(Memory { low: disk.low, ledger: disk.ledger.iter().copied().collect(), parked })
    }

    async fn write(&self, step: Arc<Step>) -> Result<(), RecordsError> {
        self.world.wait().await;
        self.check()?;
        {
            let mut disk = self.world.disk.lock();
            let progress = &step.changes.progress;
            disk.low = disk.low.max(progress.low);
            let low = disk.low;
            progress.ledger_removed.iter().for_each(|position| {
                disk.ledger.remove(position);
            });
            disk.ledger.extend(progress.ledger_added.iter().filter(|position| **position >= low));
            for letter in &step.changes.letters {
                let stored = StoredLetter { state: letter.state, event: (*letter.event).clone() };
                disk.letters.insert((letter.key.clone(), letter.position), stored);
            }
            for settled in &step.changes.settled {
                disk.letters.remove(settled);
            }
            let skips = self.world.policy.on_death == OnDeath::Skip;
            for Done { event, error, .. } in &step.done {
                match error {
                    None => disk.logged.insert(event.position),
                    Some(_) if skips => disk.skipped.insert(event.position),
                    Some(_) => false,
                };
            }
        }
        self.world.check();
        self.world.wait().await;
        Ok(())
    }

    async fn letters(&self, lane: &Bytes, limit: usize) -> Result<Vec<StoredLetter>, RecordsError> {
        self.world.wait().await;
        self.check()?;
        let disk = self.world.disk.lock();
        let of_lane = disk.letters.iter().filter(|((l, _), _)| l == lane);
        Ok(of_lane.map(|(_, stored)| stored.clone()).take(limit).collect())
    }

    async fn discard(&self, letters: &[(Bytes, Position)]) -> Result<usize, RecordsError> {
        self.world.wait().await;
        self.check()?;
        let mut disk = self.world.disk.lock();
        let gone: Vec<_> = letters.iter().filter(|letter| disk.letters.remove(letter).is_some()).collect();
        disk.discarded.extend(gone.iter().map(|(_, position)| *position));
        Ok(gone.len())
    }
}

struct LogSource {
    world: Arc<World>,
    next: Position,
}

#[async_trait]
impl Source for LogSource {
    async fn next(&mut self) -> Result<Portion, String> {
        self.world.wait().await;
        let rest = self.world.source.iter().filter(|event| event.position >= self.next);
        let events: Vec<Event> = rest.take(1 + self.world.below(5) as usize).cloned().collect();
        match events.last() {
            Some(last) => self.next = last.position.next(),
            None if self.next == Position::at(u64::MAX) => std::future::pending().await,
            None => self.next = Position::at(u64::MAX),
        }
        Ok(Portion { events, before: self.next, ..Portion::default() })
    }
}

struct Fickle {
    world: Arc<World>,
}

impl Fickle {
    /// The effect, unless the fence forbids it.
    fn effect(&self, delivery: &Delivery) -> Result<(), Fault> {
        let late = !self.world.keeps_marks && self.world.disk.lock().fence > delivery.fence;
        let mut remote = self.world.remote.lock();
        if self.world.keeps_marks {
            if remote.fence > delivery.fence {
                return Err(Fault::superseded());
            }
            // As tables are written: what the marks have is written again, to no effect.
            for event in &delivery.events {
                let known = event.position < remote.low || remote.finished.contains(&event.position);
                let had = remote.effects.iter().any(|effect| effect.position == event.position);
                if !(known || delivery.redriven) || !had {
                    remote.effects.push(Effect { lane: event.lane.clone(), position: event.position, late });
                }
            }
            remote.low = remote.low.max(delivery.marks.low);
            let low = remote.low;
            remote.finished.extend(delivery.marks.finished.iter().copied());
            remote.finished.retain(|position| *position >= low);
        } else {
            let effect = |event: &Arc<Event>| Effect { lane: event.lane.clone(), position: event.position, late };
            remote.effects.extend(delivery.events.iter().map(effect));
        }
        Ok(())
    }
}

#[async_trait]
impl Target for Fickle {
    async fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn keeps_marks(&self) -> bool {
        self.world.keeps_marks
    }

    async fn marks(&self, fence: u64) -> Result<Option<Marks>, Fault> {
        if !self.world.keeps_marks {
            return Ok(None);
        }
        self.world.wait().await;
        let mut remote = self.world.remote.lock();
        if remote.fence > fence {
            return Err(Fault::superseded());
        }
        remote.fence = fence;
        Ok(Some(Marks { low: remote.low, finished: remote.finished.iter().copied().collect() }))
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let world = &self.world;
        world.wait().await;
        if world.down_until.lock().is_some_and(|until| Instant::now() < until) {
            return Err(Fault::unreachable("down"));
        }
        if delivery.events.iter().any(|event| world.poisoned.contains(&event.position)) {
            match world.below(5) {
                0 if !world.at_peace() => std::future::pending().await,
                1 => panic!("a handler that panics"),
                2 => return Err(Fault::refused("never")),
                _ => return Err(Fault::failed("poison")),
            }
        }
        if !world.at_peace() {
            match world.below(14) {
                0 => return Err(Fault::failed("no luck")),
                1 => std::future::pending().await,
                2 => return Err(Fault::unreachable("busy")),
                3 => {
                    self.effect(delivery)?;
                    return Err(Fault::failed("the answer was lost"));
                }
                4 => {
                    self.effect(delivery)?;
                    std::future::pending().await
                }
                _ => {}
            }
        }
        self.effect(delivery)?;
        world.wait().await;
        Ok(())
    }
}

struct Nobody;

impl Observer for Nobody {
    fn report(&self, round: &Round) {
        assert!(round.numbers.waiting > 0 || round.oldest_ms.is_none(), "what waits has an age");
    }
    fn waits(&self, _: &str) {}
    fn attempt_failed(&self, _: &str, _: i64) {}
    fn rows_failed(&self, _: u64, _: Option<String>) {}
    fn concluded(&self, _: &Event, _: i64) {}
}

/// A future that is dropped at one of its polls.
struct Mortal<F> {
    life: Pin<Box<F>>,
    polls_left: u64,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.life.as_mut().poll(ctx).map(Some)
    }
}

/// Starts a process, which raises the fence.
fn process(
    world: &Arc<World>,
    until: Option<Instant>,
) -> (mpsc::UnboundedSender<Command>, impl Future<Output = Ended> + use<>) {
    let fence = {
        let mut disk = world.disk.lock();
        disk.fence += 1;
        disk.fence
    };
    let (commands, receiver) = mpsc::unbounded_channel();
    let sink = Sink {
        name: "k".to_owned(),
        policy: world.policy.clone(),
        paused: false,
        seed: world.random.lock().next_u64(),
        target: Arc::new(Fickle { world: Arc::clone(world) }),
        records: Arc::new(DiskRecords { world: Arc::clone(world), fence }),
        lease: Arc::new(Held { fence, until }),
        observer: Arc::new(Nobody),
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
    };
    let opened = Arc::clone(world);
    let open: Open = Box::new(move |from| Ok(Box::new(LogSource { world: opened, next: from })));
    (commands, run(sink, open, receiver))
}

/// Somebody redrives letters and discards some, while the process lives.
async fn attend(world: Arc<World>, commands: mpsc::UnboundedSender<Command>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200 + world.below(3000))).await;
        let letters: Vec<(Bytes, Position)> = world.disk.lock().letters.keys().cloned().collect();
        let Some((lane, position)) = letters.first().cloned() else { continue };
        let told = if world.poisoned.contains(&position) && world.at_peace() || world.below(4) == 0 {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let told = commands.send(Command::Discard { letters: vec![(lane, position)], reply });
            let _ = answer.await;
            told
        } else {
            commands.send(Command::Redrive(vec![lane]))
        };
        if told.is_err() {
            return;
        }
    }
}

/// Clocks that are set, and a target that goes away.
async fn weather(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(world.below(20_000))).await;
        match world.below(3) {
            0 => *world.down_until.lock() = Some(Instant::now() + Duration::from_millis(world.below(5000))),
            1 => {
                world.clock.set_us.fetch_add(world.below(2_000_000) as i64, Ordering::Relaxed);
            }
            _ => {
                world.clock.set_us.fetch_sub(world.below(2_000_000) as i64, Ordering::Relaxed);
            }
        }
    }
}

async fn live(seed: u64) {
    let world = World::new(seed);
    let weather = tokio::spawn(weather(Arc::clone(&world)));
    let mut paused = Vec::new();
    for _ in 0..world.below(PROCESSES) {
        let lease = Duration::from_millis(500 + world.below(10_000));
        let until = world.shared.then(|| Instant::now() + lease);
        let (commands, life) = process(&world, until);
        let attending = tokio::spawn(attend(Arc::clone(&world), commands.clone()));
        let polls_left = 1 + world.below(if world.below(4) == 0 { 2000 } else { 120 });
        let mortal = Mortal { life: Box::pin(life), polls_left };
        if world.shared && world.below(2) == 0 {
            // It goes on beside the next one, until it notices.
            paused.push(tokio::spawn(async move {
                let ended = tokio::time::timeout(Duration::from_secs(600), mortal).await;
                attending.abort();
                ended.ok();
            }));
            tokio::time::sleep(lease + Duration::from_millis(world.below(2000))).await;
            continue;
        }
        let stopping = world.below(3) == 0;
        let ended = if stopping {
            let wish = commands.clone();
            let at = Duration::from_millis(world.below(20_000));
            let told = tokio::spawn(async move {
                tokio::time::sleep(at).await;
                let _ = wish.send(Command::Stop);
            });
            let ended = tokio::time::timeout(Duration::from_secs(600), mortal).await;
            told.abort();
            ended
        } else {
            tokio::time::timeout(Duration::from_secs(600), mortal).await
        };
        attending.abort();
        if let Ok(Some(Ended::Failed(message))) = ended {
            panic!("seed {seed}: {message}");
        }
        world.check();
    }
    weather.abort();
    world.peace.store(true, Ordering::Relaxed);
    *world.down_until.lock() = None;
    let (commands, life) = process(&world, None);
    let attending = tokio::spawn(attend(Arc::clone(&world), commands.clone()));
    let last = tokio::spawn(Mortal { life: Box::pin(life), polls_left: POLLS });
    let began = Instant::now();
    while !world.is_over() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let disk = world.disk.lock();
        let waited = began.elapsed();
        assert!(waited < PEACE, "seed {seed}: it never ends: low {}, {} letters", disk.low, disk.letters.len());
        assert!(!last.is_finished(), "seed {seed}: the last process ended");
    }
    commands.send(Command::Stop).expect("the last process lives");
    let ended = last.await.expect("it does not panic");
    assert_eq!(ended, Some(Ended::Stopped), "seed {seed}: none is a runner that spins");
    attending.abort();
    for process in paused {
        process.abort();
    }
    world.check();
    world.check_end();
}

fn live_through(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without sockets").block_on(live(seed));
}

#[test]
fn every_life_of_a_runner_ends_well() {
    // Handlers panic by design; their messages would bury a real one.
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some("a handler that panics") {
            shown(panic);
        }
    }));
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SIMULATION_SEED") {
        return live_through(seed);
    }
    for seed in 0..number("SIMULATION_SEEDS").unwrap_or(SEEDS) {
        if std::panic::catch_unwind(|| live_through(seed)).is_err() {
            panic!("SIMULATION_SEED={seed} shows it again");
        }
    }
}
