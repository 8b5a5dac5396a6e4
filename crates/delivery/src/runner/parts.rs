//! What a runner works with, as traits: so that the same code runs over a store and under a simulation.
//!
//! ```text
//!   Source ──portions──> Runner ──deliveries──> Target
//!                         │  ▲
//!              Step (one commit)  Memory, letters      Lease: may it act now, and under which fence
//!                         ▼  │
//!                        Records                       Observer: who looks on
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::event::{Event, Position};
use crate::scheduler::{Changes, LetterState};

/// What a sink finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Everything before this is finished.
    pub low: Position,
    /// Finished, at or above `low`.
    pub ledger: Vec<Position>,
    /// Lanes with letters.
    pub parked: Vec<Bytes>,
}

/// An event that a sink is done with.
#[derive(Clone, Debug)]
pub struct Done {
    pub event: Arc<Event>,
    pub attempts: u32,
    pub error: Option<String>,
    /// Of the last attempt.
    pub duration_us: i64,
    pub at_ms: i64,
}

/// What one commit writes down.
#[derive(Debug)]
pub struct Step {
    pub changes: Changes<Arc<Event>>,
    pub done: Vec<Done>,
    /// It is time to say that the sink is alive.
    pub heartbeat: bool,
}

/// Why something was not written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RecordsError {
    pub message: String,
    /// Another process delivers this sink now: whoever is told so must do nothing more.
    pub superseded: bool,
}

impl RecordsError {
    pub fn failed(message: impl std::fmt::Display) -> Self {
        RecordsError { message: message.to_string(), superseded: false }
    }

    pub fn superseded() -> Self {
        RecordsError { message: "another process of the group delivers this sink now".to_owned(), superseded: true }
    }
}

/// A letter as it is kept.
#[derive(Clone, Debug)]
pub struct StoredLetter {
    pub state: LetterState,
    pub event: Event,
}

/// Where a sink's memory is kept.
#[async_trait]
pub trait Records: Send + Sync {
    async fn load(&self) -> Result<Memory, RecordsError>;

    /// Writes one step, wholly or not at all; tries again what will pass.
    async fn write(&self, step: Arc<Step>) -> Result<(), RecordsError>;

    /// The first letters of a lane, in order.
    async fn letters(&self, lane: &Bytes, limit: usize) -> Result<Vec<StoredLetter>, RecordsError>;

    /// Forgets letters for good; says how many of them there were.
    async fn discard(&self, letters: &[(Bytes, Position)]) -> Result<usize, RecordsError>;
}

/// A piece of the source.
#[derive(Debug, Default)]
pub struct Portion {
    pub events: Vec<Event>,
    /// Nothing more comes before this.
    pub before: Position,
    /// Rows that could not be made, and why the last one could not.
    pub failed: u64,
    pub failure: Option<String>,
}

/// Where a sink's events come from.
#[async_trait]
pub trait Source: Send {
    /// Waits for more. Safe to cancel.
    ///
    /// # Errors
    /// A sentence: the source can no longer be read from here.
    async fn next(&mut self) -> Result<Portion, String>;

    /// Everything before this is finished, durably: it will not be asked for again.
    fn finished(&mut self, _low: Position) {}
}

/// The right to deliver a sink, where several processes could.
pub trait Lease: Send + Sync {
    /// Grows with every holder; targets and records refuse a smaller one than they have seen.
    fn fence(&self) -> u64;

    /// Can nobody else hold it at this moment?
    fn is_held(&self) -> bool;
}

/// Nobody else could: the store is this process's own.
#[derive(Clone, Copy, Debug)]
pub struct Sole;

impl Lease for Sole {
    fn fence(&self) -> u64 {
        0
    }

    fn is_held(&self) -> bool {
        true
    }
}

/// Counted by the scheduler since the sink was started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    pub delivered: u64,
    /// Attempts that failed.
    pub failures: u64,
    pub dead: u64,
    pub skipped: u64,
    /// Read and not finished.
    pub waiting: u64,
    /// Batches under way.
    pub flying: u64,
    /// Keys with dead letters.
    pub parked_keys: u64,
    pub circuit_open: bool,
}

/// A runner after one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    pub paused: bool,
    pub numbers: Numbers,
    /// Everything before this is finished.
    pub low: Position,
    /// When the oldest change happened that is read and not finished, milliseconds since the epoch.
    pub oldest_ms: Option<i64>,
    pub now_ms: i64,
}

/// Who looks on.
pub trait Observer: Send + Sync {
    /// How it is now.
    fn report(&self, round: &Round);
    /// The target cannot be reached yet.
    fn waits(&self, message: &str);
    fn attempt_failed(&self, message: &str, now_ms: i64);
    fn rows_failed(&self, count: u64, message: Option<String>);
    fn concluded(&self, event: &Event, at_ms: i64);
}
