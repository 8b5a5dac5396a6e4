//! What every target offers, and how it says what went wrong.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::{Event, Position};

/// Whose fault it was: decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The target cannot be reached or asks for a pause. Says nothing about the event, so no
    /// attempt is counted; everything waits.
    Unreachable,
    /// It did not work this time. Counts as an attempt.
    Failed,
    /// It will never work with this event. No retry.
    Refused,
    /// The target has heard from a later holder of the sink's lease. Nothing was done, and the sink
    /// is no longer ours.
    Superseded,
}

/// A delivery that had no effect, or may have had none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
    /// The pause that the target asked for.
    pub retry_after: Option<Duration>,
}

/// Longest message kept of a target's answer.
const MESSAGE_MAX: usize = 1000;

impl Fault {
    fn new(kind: FaultKind, message: impl std::fmt::Display) -> Self {
        let mut message = message.to_string();
        if message.len() > MESSAGE_MAX {
            let end = (0..=MESSAGE_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        Fault { kind, message, retry_after: None }
    }

    pub fn unreachable(message: impl std::fmt::Display) -> Self {
        Fault::new(FaultKind::Unreachable, message)
    }

    pub fn failed(message: impl std::fmt::Display) -> Self {
        Fault::new(FaultKind::Failed, message)
    }

    pub fn refused(message: impl std::fmt::Display) -> Self {
        Fault::new(FaultKind::Refused, message)
    }

    pub fn superseded() -> Self {
        Fault::new(FaultKind::Superseded, "another process of the group delivers this sink now")
    }
}

/// What a sink must remember so as not to repeat itself; a target that can keeps it beside the
/// effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Everything before this is finished.
    pub low: Position,
    /// Finished, at or above `low`.
    pub finished: Vec<Position>,
}

/// One batch on its way.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Distinct keys in any order; events of one key in theirs.
    pub events: Vec<Arc<Event>>,
    /// From 1.
    pub attempt: u32,
    /// For targets that keep them.
    pub marks: Marks,
    /// Of the lease it is delivered under; 0 where no other process could deliver it.
    pub fence: u64,
    /// Letters on their way again: the marks count them as finished already.
    pub redriven: bool,
}

impl Delivery {
    /// The events in as few groups as possible in which no key comes twice, each in order: for targets
    /// that take several at once and may refuse one of them.
    pub fn waves(&self) -> Vec<Vec<&Event>> {
        let mut waves: Vec<Vec<&Event>> = Vec::new();
        let mut seen: rustc_hash::FxHashMap<&[u8], usize> = rustc_hash::FxHashMap::default();
        for event in &self.events {
            let wave = seen.entry(&event.lane).or_insert(0);
            if *wave == waves.len() {
                waves.push(Vec::new());
            }
            waves[*wave].push(event);
            *wave += 1;
        }
        waves
    }
}

/// Somewhere events go.
#[async_trait]
pub trait Target: Send + Sync {
    /// Looks whether the target is there and fits, as far as that can be known without an effect.
    async fn check(&self) -> Result<(), Fault>;

    /// Batches that it can take at once.
    fn parallelism_max(&self) -> usize {
        if self.keeps_marks() { 1 } else { usize::MAX }
    }

    /// Keeps marks beside the effect, in one transaction: then one batch is under way at a time,
    /// and events arrive exactly once in effect.
    fn keeps_marks(&self) -> bool {
        false
    }

    /// The marks that it kept. From now on it refuses deliveries with a smaller fence, where it keeps
    /// marks.
    async fn marks(&self, _fence: u64) -> Result<Option<Marks>, Fault> {
        Ok(None)
    }

    /// Delivers. `Ok` means that the effect is durable as far as the target promises it.
    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault>;
}
