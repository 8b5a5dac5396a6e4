//! The core: which event may start now, and what its outcome means. Pure: time is an argument.
//!
//! Every key has a lane, a queue in the source's order. A lane has at most one flight (the front of
//! it, as part of a batch), so order holds however many lanes fly at once.
//!
//! ```text
//!            ┌─ ready ──poll──> flying ──succeeded──> finished
//!   offer ─> lane  ▲              │ failed
//!            └─ resting <─────────┤ retries left: wait, then ready again
//!                                 └ none left: dead letter; what waits in the lane follows it,
//!                                   and what comes later (the key is parked)
//! ```
//!
//! A dead letter counts as finished: it is remembered elsewhere, so one poisoned key neither holds
//! the position nor fills memory. Letters come back with `redrive`, in order; until the last one of
//! a key is delivered, new events of that key go on joining the letters.
//!
//! # Invariants
//! - What `take_changes` returns is one consistent state: written in one commit, a restart from it
//!   repeats at most what was under way and loses nothing.
//! - A batch that failed as a whole is taken apart, so that one event cannot kill its neighbours.

mod breaker;
mod lanes;
mod progress;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};

use base::random::Random;
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

pub use breaker::Circuit;
pub use progress::ProgressChanges;

use crate::event::Position;
use crate::policy::{OnDeath, Policy, micros};
use crate::target::{Fault, FaultKind};
use breaker::{Admission, Breaker};
use lanes::{Lanes, Waiting};
use progress::Progress;

/// An event for the scheduler: what it must know, and the event itself, which it only carries.
#[derive(Clone, Debug)]
pub struct Offer<E> {
    pub position: Position,
    pub key: Bytes,
    pub bytes: usize,
    pub priority: i64,
    pub event: E,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    Queued,
    /// Its key is parked: it became a letter.
    Parked,
    /// It was finished before, or is here already.
    Known,
}

/// Events that go to the target together.
#[derive(Clone, Debug)]
pub struct Batch<E> {
    pub number: u64,
    /// From 1.
    pub attempt: u32,
    pub events: Vec<E>,
    /// Beside `events`.
    pub positions: Vec<Position>,
    /// Letters on their way again.
    pub redriven: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterState {
    /// The target refused it, or its retries are used up.
    Dead,
    /// It stands behind a dead letter of its key.
    Waiting,
}

/// An event that is set aside.
#[derive(Clone, Debug)]
pub struct Letter<E> {
    pub position: Position,
    pub key: Bytes,
    pub state: LetterState,
    pub event: E,
    pub attempts: u32,
    /// Of the last attempt; empty for one that waits.
    pub error: String,
}

/// What must be written, in one commit.
#[derive(Clone, Debug)]
pub struct Changes<E> {
    pub progress: ProgressChanges,
    /// New letters, and letters that died again.
    pub letters: Vec<Letter<E>>,
    /// Letters that were delivered (or, with `OnDeath::Skip`, left out) after all.
    pub settled: Vec<(Bytes, Position)>,
    /// How many events were left out for good.
    pub skipped: usize,
}

impl<E> Changes<E> {
    /// Does it say of events that they count as finished although the target has not had them?
    /// Where the target keeps marks, it must not pass them before this is on disk.
    pub fn sets_aside(&self) -> bool {
        !self.letters.is_empty() || self.skipped > 0
    }
}

/// An event that left the queue for good, for the log.
#[derive(Clone, Debug)]
pub struct Outcome<E> {
    pub event: E,
    pub attempts: u32,
    /// `None`: delivered.
    pub error: Option<String>,
}

#[derive(Debug)]
struct Flight {
    /// Key and how many events from the front of its lane.
    lanes: Vec<(Bytes, usize)>,
    positions: Vec<Position>,
    attempt: u32,
}

/// Counted since the sink started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub delivered: u64,
    /// Attempts that failed.
    pub failures: u64,
    pub dead: u64,
    pub skipped: u64,
}

/// One sink's queue and memory.
#[derive(Debug)]
pub struct Scheduler<E> {
    policy: Policy,
    random: Random,
    lanes: Lanes<E>,
    flights: FxHashMap<u64, Flight>,
    next_flight: u64,
    progress: Progress,
    breaker: Breaker,
    parked: FxHashSet<Bytes>,
    letters: Vec<Letter<E>>,
    settled: Vec<(Bytes, Position)>,
    /// Lanes whose front was left out: they go on once that is written, or a crash would bring the
    /// front back after its successors.
    held: Vec<Bytes>,
    held_until_written: Vec<Bytes>,
    skipped: usize,
    stopped: Option<String>,
    counters: Counters,
}

impl<E: Clone> Scheduler<E> {
    /// Goes on where `low` and `ledger` say; `parked` are the keys with letters.
    pub fn new(
        policy: Policy,
        seed: u64,
        low: Position,
        ledger: impl IntoIterator<Item = Position>,
        parked: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        Scheduler {
            policy,
            random: Random::seeded(seed),
            lanes: Lanes::default(),
            flights: FxHashMap::default(),
            next_flight: 1,
            progress: Progress::resume(low, ledger),
            breaker: Breaker::default(),
            parked: parked.into_iter().collect(),
            letters: Vec::new(),
            settled: Vec::new(),
            held: Vec::new(),
            held_until_written: Vec::new(),
            skipped: 0,
            stopped: None,
            counters: Counters::default(),
        }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where the source is to be read from.
    pub fn next_to_read(&self) -> Position {
        self.progress.read()
    }

    /// Everything before this is finished.
    pub fn low(&self) -> Position {
        self.progress.low()
    }

    /// Events that are here and not finished.
    pub fn unfinished(&self) -> usize {
        self.progress.unfinished_len()
    }

    pub fn flying(&self) -> usize {
        self.flights.len()
    }

    pub fn circuit(&self) -> Circuit {
        self.breaker.circuit()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the sink stopped, with `OnDeath::Stop`.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    pub fn is_parked(&self, key: &Bytes) -> bool {
        self.parked.contains(key)
    }

    /// Is there room for more of the source?
    pub fn wants_more(&self) -> bool {
        self.stopped.is_none()
            && self.lanes.events() < self.policy.queue_events
            && self.lanes.bytes() < self.policy.queue_bytes
            // With nothing unfinished, reading on is what shortens the ledger: after a restart its
            // events are still to be read past.
            && (self.progress.ledger_len() < self.policy.ledger_events || self.progress.unfinished_len() == 0)
            && self.letters.len() < self.policy.queue_events
    }

    /// Takes in the next event of the source.
    pub fn offer(&mut self, offer: Offer<E>, now_us: i64) -> Offered {
        if !self.progress.begin(offer.position) {
            return Offered::Known;
        }
        if self.parked.contains(&offer.key) {
            self.progress.finish(offer.position);
            self.letters.push(Letter {
                position: offer.position,
                key: offer.key,
                state: LetterState::Waiting,
                event: offer.event,
                attempts: 0,
                error: String::new(),
            });
            return Offered::Parked;
        }
        self.lanes.push(Waiting::fresh(offer, now_us));
        Offered::Queued
    }

    /// The source holds nothing (more) before this place.
    pub fn read_up_to(&mut self, before: Position) {
        self.progress.read_up_to(before);
    }

    /// Letters of a parked key go on their way again, in this order. Later events of the key keep
    /// joining the letters until `unpark`.
    pub fn redrive(&mut self, letters: Vec<Offer<E>>, now_us: i64) {
        for letter in letters {
            assert!(self.parked.contains(&letter.key), "letters belong to parked keys");
            self.lanes.push(Waiting::letter(letter, now_us));
        }
    }

    /// Keys with letters.
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// Are there letters, new or done with, or events left out, that are not written yet?
    pub fn has_unwritten(&self) -> bool {
        !self.letters.is_empty() || !self.settled.is_empty() || self.skipped > 0
    }

    /// Are letters of this key on their way?
    pub fn is_redriving(&self, key: &Bytes) -> bool {
        self.lanes.contains(key) && self.parked.contains(key)
    }

    /// Are there letters of this key that are not written yet?
    pub fn has_unwritten_letters(&self, key: &Bytes) -> bool {
        self.letters.iter().any(|letter| letter.key == *key)
    }

    /// The key has no letters left.
    pub fn unpark(&mut self, key: &Bytes) {
        assert!(!self.has_unwritten_letters(key), "a key with letters stays parked");
        self.parked.remove(key);
    }

    /// The next batch to start, if one may start now. The caller starts it.
    pub fn poll(&mut self, now_us: i64) -> Option<Batch<E>> {
        if self.stopped.is_some() || self.flights.len() >= self.policy.parallelism {
            return None;
        }
        self.lanes.wake(now_us);
        let admission = self.breaker.admits(now_us);
        let limit = match admission {
            Admission::None => return None,
            Admission::One => 1,
            Admission::Any => self.policy.batch_size.max(1),
        };
        if admission == Admission::Any && self.waits_for_more(now_us) {
            return None;
        }
        let picked = self.lanes.pick(limit, self.policy.batch_bytes);
        if picked.lanes.is_empty() {
            return None;
        }
        if admission == Admission::One {
            self.breaker.trying();
        }
        let number = self.next_flight;
        self.next_flight += 1;
        let batch = Batch {
            number,
            attempt: picked.attempts + 1,
            events: picked.events,
            positions: picked.positions.clone(),
            redriven: picked.redriven,
        };
        let flight = Flight { lanes: picked.lanes, positions: picked.positions, attempt: batch.attempt };
        self.flights.insert(number, flight);
        Some(batch)
    }

    /// Would a batch that started now be small and young?
    fn waits_for_more(&self, now_us: i64) -> bool {
        let delay = micros(self.policy.batch_delay);
        delay > 0
            && self.lanes.ready_events() < self.policy.batch_size
            && self.lanes.ready_since().is_some_and(|since| now_us < since.saturating_add(delay))
    }

    /// When `poll` may have something that it has not now; `None` without a flight's end or an offer.
    pub fn deadline_us(&self) -> Option<i64> {
        if self.stopped.is_some() || self.flights.len() >= self.policy.parallelism {
            return None;
        }
        let gate = match self.breaker.circuit() {
            Circuit::Closed => None,
            Circuit::Trying => return None,
            Circuit::Open { until_us } => Some(until_us),
        };
        let delay = micros(self.policy.batch_delay);
        let ready = self.lanes.ready_since().map(|since| since.saturating_add(delay));
        let next = [ready, self.lanes.next_wake()].into_iter().flatten().min()?;
        Some(next.max(gate.unwrap_or(i64::MIN)))
    }

    /// `low` and the ledger entries from it on, as they will be when this batch has succeeded: for
    /// targets that write them with the effect. Only one flight may be under way.
    pub fn progress_after(&self, batch: &Batch<E>) -> (Position, Vec<Position>) {
        if batch.redriven {
            return (self.progress.low(), Vec::new());
        }
        self.progress.after(&batch.positions)
    }

    /// The batch has had its effect.
    pub fn succeeded(&mut self, number: u64) -> Vec<Outcome<E>> {
        let Some(flight) = self.flights.remove(&number) else { return Vec::new() };
        self.breaker.succeeded();
        let mut outcomes = Vec::with_capacity(flight.positions.len());
        for (key, count) in flight.lanes {
            for waiting in self.lanes.land(&key, count) {
                self.counters.delivered += 1;
                self.settle(&waiting);
                outcomes.push(Outcome { attempts: waiting.attempts + 1, event: waiting.event, error: None });
            }
        }
        outcomes
    }

    fn settle(&mut self, waiting: &Waiting<E>) {
        match waiting.is_letter {
            true => self.settled.push((waiting.key.clone(), waiting.position)),
            false => self.progress.finish(waiting.position),
        }
    }

    /// The batch had no effect. Returns the events that are given up.
    pub fn failed(&mut self, number: u64, fault: &Fault, now_us: i64) -> Vec<Outcome<E>> {
        let Some(flight) = self.flights.remove(&number) else { return Vec::new() };
        self.counters.failures += 1;
        if matches!(fault.kind, FaultKind::Unreachable | FaultKind::Superseded) {
            let asked = fault.retry_after.map(|after| now_us.saturating_add(micros(after)));
            self.breaker.unreachable(now_us, asked, &self.policy);
            // Others are tried first when the circuit lets one through: it may be this event alone
            // that the target has no time for.
            let open_until = match self.breaker.circuit() {
                Circuit::Open { until_us } => until_us,
                Circuit::Closed | Circuit::Trying => now_us,
            };
            let until = open_until.saturating_add(self.policy.delay_us(1, &mut self.random));
            flight.lanes.iter().for_each(|(key, _)| self.lanes.pause(key, until));
            return Vec::new();
        }
        let first = flight.lanes.first().map_or_else(Bytes::new, |(key, _)| key.clone());
        self.breaker.failed(hash(&first), now_us, &self.policy);
        if flight.positions.len() > 1 {
            for (key, count) in &flight.lanes {
                self.lanes.separate(key, *count);
            }
            return Vec::new();
        }
        if fault.kind == FaultKind::Refused || flight.attempt > self.policy.max_retries {
            return self.give_up(&first, flight.attempt, fault);
        }
        let until = now_us.saturating_add(self.policy.delay_us(flight.attempt, &mut self.random));
        self.lanes.rest(&first, until);
        Vec::new()
    }

    fn give_up(&mut self, key: &Bytes, attempts: u32, fault: &Fault) -> Vec<Outcome<E>> {
        match self.policy.on_death {
            OnDeath::Stop => {
                self.stopped = Some(fault.message.clone());
                self.lanes.back(key);
                Vec::new()
            }
            OnDeath::Skip => {
                let skipped = self.lanes.land(key, 1);
                self.lanes.hold(key);
                self.held.push(key.clone());
                self.counters.skipped += skipped.len() as u64;
                self.skipped += skipped.len();
                skipped.iter().for_each(|waiting| self.settle(waiting));
                let outcome = |waiting: Waiting<E>| Outcome {
                    event: waiting.event,
                    attempts,
                    error: Some(fault.message.clone()),
                };
                skipped.into_iter().map(outcome).collect()
            }
            OnDeath::Park => self.bury(key, attempts, fault),
        }
    }

    /// The front of the lane is dead; the rest of it waits behind.
    fn bury(&mut self, key: &Bytes, attempts: u32, fault: &Fault) -> Vec<Outcome<E>> {
        self.parked.insert(key.clone());
        let mut outcomes = Vec::new();
        for (i, waiting) in self.lanes.clear(key).into_iter().enumerate() {
            if i == 0 {
                self.counters.dead += 1;
                let error = Some(fault.message.clone());
                outcomes.push(Outcome { event: waiting.event.clone(), attempts, error });
            } else if waiting.is_letter {
                continue;
            }
            if !waiting.is_letter {
                self.progress.finish(waiting.position);
            }
            self.letters.push(Letter {
                position: waiting.position,
                key: key.clone(),
                state: if i == 0 { LetterState::Dead } else { LetterState::Waiting },
                event: waiting.event,
                attempts: if i == 0 { attempts } else { 0 },
                error: if i == 0 { fault.message.clone() } else { String::new() },
            });
        }
        outcomes
    }

    /// The batch was not tried, or nobody knows whether it had an effect: it starts again.
    pub fn give_back(&mut self, number: u64, now_us: i64) {
        let Some(flight) = self.flights.remove(&number) else { return };
        self.breaker.gave_back(now_us);
        flight.lanes.iter().for_each(|(key, _)| self.lanes.back(key));
    }

    /// Is there anything to write?
    pub fn has_changes(&self) -> bool {
        self.progress.is_changed() || !self.letters.is_empty() || !self.settled.is_empty()
    }

    /// What changed since the last call. `changes_written` is to follow before the next.
    pub fn take_changes(&mut self) -> Changes<E> {
        self.held_until_written.append(&mut self.held);
        Changes {
            progress: self.progress.take(),
            letters: std::mem::take(&mut self.letters),
            settled: std::mem::take(&mut self.settled),
            skipped: std::mem::take(&mut self.skipped),
        }
    }
}

impl<E: Clone> Scheduler<E> {
    /// What `take_changes` returned last is on disk.
    pub fn changes_written(&mut self) {
        for key in std::mem::take(&mut self.held_until_written) {
            self.lanes.back(&key);
        }
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}
