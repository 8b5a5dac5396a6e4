//! Subscriptions: a view's output deltas, as they happen, to a reader of any speed.
//!
//! Each subscriber has one mailbox. While the reader is away, new deltas are added to what waits
//! there and cancel out with it, so the mailbox never holds more than the difference between two
//! states of the view, and the runtime never waits.

use std::sync::Arc;

use base::ClusterTime;
use dataflow::{Delta, consolidate};
use parking_lot::Mutex;
use sql::{Field, SqlError};
use tokio::sync::Notify;

/// Most deltas that may wait for one reader after cancelling out.
const MAX_WAITING: usize = 1_000_000;

/// What has happened since the last look.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Everything up to this time is included.
    pub token: ClusterTime,
    /// Wall clock of the youngest change in here, milliseconds since the epoch; 0 if there is none.
    pub wall_ms: i64,
    /// Consolidated; empty if nothing changed.
    pub deltas: Vec<Delta>,
}

#[derive(Debug, Default)]
struct Mailbox {
    deltas: Vec<Delta>,
    token: ClusterTime,
    wall_ms: i64,
    fresh: bool,
    /// Deltas at which the mailbox is next consolidated.
    consolidate_at: usize,
    end: Option<Result<(), SqlError>>,
}

#[derive(Debug, Default)]
struct Shared {
    mailbox: Mutex<Mailbox>,
    wake: Notify,
}

/// The reader's end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    pub fields: Vec<Field>,
}

/// The runtime's end.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
}

/// A connected pair.
pub fn subscription(fields: Vec<Field>) -> (Publisher, Subscription) {
    let shared = Arc::<Shared>::default();
    (Publisher { shared: shared.clone() }, Subscription { shared, fields })
}

impl Publisher {
    /// Adds deltas up to `token`. False if nobody listens any more.
    pub fn publish(&self, token: ClusterTime, wall_ms: i64, deltas: &[Delta]) -> bool {
        if Arc::strong_count(&self.shared) < 2 {
            return false;
        }
        let mut mailbox = self.shared.mailbox.lock();
        if mailbox.end.is_some() {
            return false;
        }
        mailbox.token = mailbox.token.max(token);
        let wakes = !deltas.is_empty();
        if wakes {
            mailbox.deltas.extend_from_slice(deltas);
            mailbox.fresh = true;
            mailbox.wall_ms = wall_ms;
            if mailbox.deltas.len() > mailbox.consolidate_at.max(4096) {
                consolidate(&mut mailbox.deltas);
                mailbox.consolidate_at = mailbox.deltas.len() * 2;
            }
            if mailbox.deltas.len() > MAX_WAITING {
                mailbox.deltas = Vec::new();
                mailbox.end =
                    Some(Err(SqlError::new("53400", "the subscriber is too slow: too many changes wait for it")
                        .with_hint("read faster, or subscribe to a view that keeps fewer rows")));
            }
        }
        drop(mailbox);
        if wakes {
            self.shared.wake.notify_one();
        }
        true
    }

    /// Ends the subscription: the view was dropped, the server stops, or its query failed.
    pub fn end(&self, end: Result<(), SqlError>) {
        self.shared.mailbox.lock().end.get_or_insert(end);
        self.shared.wake.notify_one();
    }
}

impl Subscription {
    /// Waits for the next changes. `None` when the subscription has ended in good order. Safe to
    /// cancel.
    pub async fn next(&mut self) -> Option<Result<Progress, SqlError>> {
        loop {
            if let Some(next) = self.take(false) {
                return next;
            }
            self.shared.wake.notified().await;
        }
    }

    /// What is there now, without waiting: an empty `Progress` carries how far the view has come.
    pub fn now(&mut self) -> Option<Result<Progress, SqlError>> {
        self.take(true).flatten()
    }

    /// Outer `None`: nothing to report yet.
    #[allow(clippy::option_option, reason = "nothing yet, the end, or a result")]
    fn take(&self, even_empty: bool) -> Option<Option<Result<Progress, SqlError>>> {
        let mut mailbox = self.shared.mailbox.lock();
        if mailbox.fresh || (even_empty && mailbox.end.is_none()) {
            mailbox.fresh = false;
            mailbox.consolidate_at = 0;
            let mut deltas = std::mem::take(&mut mailbox.deltas);
            consolidate(&mut deltas);
            let wall_ms = std::mem::take(&mut mailbox.wall_ms);
            return Some(Some(Ok(Progress { token: mailbox.token, wall_ms, deltas })));
        }
        match mailbox.end.take() {
            None => None,
            Some(Ok(())) => {
                mailbox.end = Some(Ok(()));
                Some(None)
            }
            Some(Err(error)) => {
                mailbox.end = Some(Ok(()));
                Some(Some(Err(error)))
            }
        }
    }
}
