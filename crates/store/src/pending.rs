//! A write on its way: a future, and a value that a thread can wait for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base::ClusterTime;
use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};

/// What a write closure returned, once it is durable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Committed<R> {
    pub value: R,
    /// Of the write's last log entry; of the last applied write if it logged nothing.
    pub time: ClusterTime,
}

/// Resolves when the write is durable, or was refused and left nothing. Dropping it does not
/// cancel the write.
#[must_use = "the outcome of a write is unknown until it is waited for"]
pub struct Pending<R>(Arc<Slot<R>>);

pub(crate) struct Slot<R> {
    state: Mutex<State<R>>,
    arrived: Condvar,
}

enum State<R> {
    Waiting(Option<Waker>),
    Arrived(Result<Committed<R>>),
    Taken,
}

impl<R> Pending<R> {
    pub(crate) fn new() -> (Self, Arc<Slot<R>>) {
        let slot = Arc::new(Slot { state: Mutex::new(State::Waiting(None)), arrived: Condvar::new() });
        (Pending(Arc::clone(&slot)), slot)
    }

    /// One that is already there.
    pub(crate) fn ready(result: Result<Committed<R>>) -> Self {
        let (pending, slot) = Pending::new();
        slot.fill(result);
        pending
    }

    /// Blocks the thread until the outcome is known.
    pub fn wait(self) -> Result<Committed<R>> {
        let mut state = self.0.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Arrived(result) => return result,
                State::Taken => return Err(Error::Internal("a write's outcome was asked for twice".to_owned())),
                waiting => *state = waiting,
            }
            self.0.arrived.wait(&mut state);
        }
    }
}

impl<R> Slot<R> {
    pub fn fill(&self, result: Result<Committed<R>>) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut *state, State::Arrived(result));
        self.arrived.notify_all();
        drop(state);
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<R> Future for Pending<R> {
    type Output = Result<Committed<R>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Arrived(result) => Poll::Ready(result),
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => Poll::Ready(Err(Error::Internal("a write's outcome was asked for twice".to_owned()))),
        }
    }
}
