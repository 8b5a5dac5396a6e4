//! The committer's inbox: bounded by count and by bytes, so that writers wait rather than fill
//! the memory.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// Writes that may wait at once.
const MAX_WAITING: usize = 4096;
/// Bytes that waiting writes may carry; one larger write is let in alone.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Writes that share one sync at most; more would only delay the first of them.
const MAX_GROUP: usize = 512;

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    drained: Condvar,
}

struct State<T> {
    waiting: VecDeque<(usize, T)>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new(), drained: Condvar::new() }
    }

    /// Waits for room. Gives the item back if the queue is closed.
    pub fn push(&self, bytes: usize, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        while !state.closed && state.is_full(bytes) {
            self.drained.wait(&mut state);
        }
        if state.closed {
            return Err(item);
        }
        state.bytes += bytes;
        state.waiting.push_back((bytes, item));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for items and takes what is there, in order. `None`: closed and empty.
    pub fn take_group(&self, group: &mut Vec<T>) -> Option<()> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
        state.move_to(group);
        drop(state);
        self.drained.notify_all();
        Some(())
    }

    /// Adds what has arrived meanwhile, without waiting.
    pub fn take_more(&self, group: &mut Vec<T>) {
        let mut state = self.state.lock();
        if !state.waiting.is_empty() {
            state.move_to(group);
            drop(state);
            self.drained.notify_all();
        }
    }

    /// Refuses further items; what is waiting is still taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }
}

impl<T> State<T> {
    fn is_full(&self, bytes: usize) -> bool {
        self.waiting.len() >= MAX_WAITING
            || (!self.waiting.is_empty() && self.bytes.saturating_add(bytes) > MAX_WAITING_BYTES)
    }

    fn move_to(&mut self, group: &mut Vec<T>) {
        let room = MAX_GROUP.saturating_sub(group.len());
        for _ in 0..room {
            let Some((bytes, item)) = self.waiting.pop_front() else { break };
            self.bytes -= bytes;
            group.push(item);
        }
    }
}
