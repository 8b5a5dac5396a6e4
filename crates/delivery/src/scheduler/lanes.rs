//! Queues per key, and the order in which their fronts may start.
//!
//! The front of a ready lane stands in two orders: by priority (then position), and by position
//! alone. Every `OLDEST_TURN`-th pick goes to the oldest, so a low priority waits longer but never
//! for ever.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::Offer;
use crate::event::Position;

/// Of so many picks one goes to the oldest event whatever its priority.
const OLDEST_TURN: u64 = 8;

/// An event in its lane.
#[derive(Debug)]
pub struct Waiting<E> {
    pub position: Position,
    pub key: Bytes,
    pub event: E,
    pub attempts: u32,
    /// A letter on its way again, which the progress already counts as finished.
    pub is_letter: bool,
    priority: i64,
    bytes: usize,
    since_us: i64,
}

impl<E> Waiting<E> {
    pub fn fresh(offer: Offer<E>, now_us: i64) -> Self {
        Waiting {
            position: offer.position,
            key: offer.key,
            event: offer.event,
            attempts: 0,
            is_letter: false,
            priority: offer.priority,
            bytes: offer.bytes,
            since_us: now_us,
        }
    }

    pub fn letter(offer: Offer<E>, now_us: i64) -> Self {
        Waiting { is_letter: true, ..Waiting::fresh(offer, now_us) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Flying,
    Resting {
        until_us: i64,
    },
    /// Until `back`.
    Held,
}

#[derive(Debug)]
struct Lane<E> {
    queue: VecDeque<Waiting<E>>,
    state: State,
    /// So many from the front travel one by one: their batch failed.
    alone: usize,
}

#[derive(Debug)]
pub struct Lanes<E> {
    lanes: FxHashMap<Bytes, Lane<E>>,
    /// Fronts of ready lanes.
    by_priority: BTreeSet<(Reverse<i64>, Position, Bytes)>,
    by_age: BTreeSet<(Position, Bytes)>,
    since: BTreeSet<(i64, Bytes)>,
    resting: BTreeSet<(i64, Bytes)>,
    ready_events: usize,
    events: usize,
    bytes: usize,
    picks: u64,
}

impl<E> Default for Lanes<E> {
    fn default() -> Self {
        Lanes {
            lanes: FxHashMap::default(),
            by_priority: BTreeSet::new(),
            by_age: BTreeSet::new(),
            since: BTreeSet::new(),
            resting: BTreeSet::new(),
            ready_events: 0,
            events: 0,
            bytes: 0,
            picks: 0,
        }
    }
}

/// What `pick` chose.
#[derive(Debug)]
pub struct Picked<E> {
    pub lanes: Vec<(Bytes, usize)>,
    pub events: Vec<E>,
    pub positions: Vec<Position>,
    pub attempts: u32,
    pub redriven: bool,
}

impl<E: Clone> Lanes<E> {
    /// Events in all lanes, those under way included.
    pub fn events(&self) -> usize {
        self.events
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn ready_events(&self) -> usize {
        self.ready_events
    }

    /// Since when the ready lane that is ready longest has been here.
    pub fn ready_since(&self) -> Option<i64> {
        self.since.first().map(|(since, _)| *since)
    }

    pub fn next_wake(&self) -> Option<i64> {
        self.resting.first().map(|(until, _)| *until)
    }

    pub fn contains(&self, key: &Bytes) -> bool {
        self.lanes.contains_key(key)
    }

    pub fn push(&mut self, waiting: Waiting<E>) {
        self.events += 1;
        self.bytes += waiting.bytes;
        let key = waiting.key.clone();
        let fresh = || Lane { queue: VecDeque::new(), state: State::Ready, alone: 0 };
        let lane = self.lanes.entry(key.clone()).or_insert_with(fresh);
        lane.queue.push_back(waiting);
        match lane.state {
            State::Ready if lane.queue.len() == 1 => self.list(&key),
            State::Ready => self.ready_events += 1,
            State::Flying | State::Resting { .. } | State::Held => {}
        }
    }

    /// Enters a ready lane into the orders.
    fn list(&mut self, key: &Bytes) {
        let Some(lane) = self.lanes.get(key) else { return };
        let Some(front) = lane.queue.front() else { return };
        self.by_priority.insert((Reverse(front.priority), front.position, key.clone()));
        self.by_age.insert((front.position, key.clone()));
        self.since.insert((front.since_us, key.clone()));
        self.ready_events += lane.queue.len();
    }

    fn unlist(&mut self, key: &Bytes) {
        let Some(lane) = self.lanes.get(key) else { return };
        let Some(front) = lane.queue.front() else { return };
        if self.by_age.remove(&(front.position, key.clone())) {
            self.by_priority.remove(&(Reverse(front.priority), front.position, key.clone()));
            self.since.remove(&(front.since_us, key.clone()));
            self.ready_events -= lane.queue.len();
        }
    }

    /// Lanes whose rest is over are ready again.
    pub fn wake(&mut self, now_us: i64) {
        while let Some((until, _)) = self.resting.first()
            && *until <= now_us
            && let Some((_, key)) = self.resting.pop_first()
        {
            self.back(&key);
        }
    }

    /// Takes the fronts of ready lanes for one flight.
    pub fn pick(&mut self, limit: usize, bytes_max: usize) -> Picked<E> {
        let mut picked =
            Picked { lanes: Vec::new(), events: Vec::new(), positions: Vec::new(), attempts: 0, redriven: false };
        let mut bytes = 0;
        while picked.events.len() < limit {
            let Some(key) = self.best() else { break };
            let lane = &self.lanes[&key];
            let single = lane.alone > 0 || lane.queue.front().is_some_and(|w| w.attempts > 0 || w.is_letter);
            if single && !picked.events.is_empty() {
                break;
            }
            let room = if single { 1 } else { limit - picked.events.len() };
            let mut count = 0;
            for waiting in lane.queue.iter().take(room) {
                if (!picked.events.is_empty() && bytes + waiting.bytes > bytes_max) || (count > 0 && waiting.is_letter)
                {
                    break;
                }
                bytes += waiting.bytes;
                count += 1;
                picked.attempts = picked.attempts.max(waiting.attempts);
                picked.redriven |= waiting.is_letter;
                picked.events.push(waiting.event.clone());
                picked.positions.push(waiting.position);
            }
            if count == 0 {
                break;
            }
            self.unlist(&key);
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.state = State::Flying;
            }
            picked.lanes.push((key, count));
            if single || bytes >= bytes_max {
                break;
            }
        }
        picked
    }

    fn best(&mut self) -> Option<Bytes> {
        self.picks += 1;
        if self.picks.is_multiple_of(OLDEST_TURN) {
            return self.by_age.first().map(|(_, key)| key.clone());
        }
        self.by_priority.first().map(|(_, _, key)| key.clone())
    }

    /// A flight took these from the front, and they are done with.
    pub fn land(&mut self, key: &Bytes, count: usize) -> Vec<Waiting<E>> {
        let Some(lane) = self.lanes.get_mut(key) else { return Vec::new() };
        let landed: Vec<Waiting<E>> = lane.queue.drain(..count.min(lane.queue.len())).collect();
        lane.alone = lane.alone.saturating_sub(landed.len());
        self.events -= landed.len();
        self.bytes -= landed.iter().map(|waiting| waiting.bytes).sum::<usize>();
        self.back(key);
        landed
    }

    /// The lane is ready again, or gone if it is empty.
    pub fn back(&mut self, key: &Bytes) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if lane.queue.is_empty() {
            self.lanes.remove(key);
            return;
        }
        lane.state = State::Ready;
        self.list(key);
    }

    /// A flight failed: its front waits until then, with one more attempt behind it.
    pub fn rest(&mut self, key: &Bytes, until_us: i64) {
        let front = self.lanes.get_mut(key).and_then(|lane| lane.queue.front_mut());
        if let Some(front) = front {
            front.attempts += 1;
        }
        self.pause(key, until_us);
    }

    /// A flight was not the event's fault: its front waits until then.
    pub fn pause(&mut self, key: &Bytes, until_us: i64) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.state = State::Resting { until_us };
        self.resting.insert((until_us, key.clone()));
    }

    /// Takes a lane out of the orders until `back`. One that is gone is held too: what comes of its
    /// key must not start either.
    pub fn hold(&mut self, key: &Bytes) {
        self.unlist(key);
        let empty = || Lane { queue: VecDeque::new(), state: State::Held, alone: 0 };
        self.lanes.entry(key.clone()).or_insert_with(empty).state = State::Held;
    }

    /// A batch failed: its events travel one by one.
    pub fn separate(&mut self, key: &Bytes, count: usize) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.alone = lane.alone.max(count);
        }
        self.back(key);
    }

    /// Everything of a lane, which is gone.
    pub fn clear(&mut self, key: &Bytes) -> Vec<Waiting<E>> {
        self.unlist(key);
        let Some(lane) = self.lanes.remove(key) else { return Vec::new() };
        if let State::Resting { until_us } = lane.state {
            self.resting.remove(&(until_us, key.clone()));
        }
        self.events -= lane.queue.len();
        self.bytes -= lane.queue.iter().map(|waiting| waiting.bytes).sum::<usize>();
        lane.queue.into()
    }
}
