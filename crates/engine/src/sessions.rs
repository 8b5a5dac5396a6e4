//! Logical sessions: who is alive, which transaction number each one is at.

use std::sync::Arc;

use base::{Clock, Uuid};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// A session that nobody uses for so long is over, as drivers are told in the handshake.
pub const TIMEOUT_MS: i64 = 30 * 60 * 1000;

/// The sessions of a database.
pub struct Sessions {
    clock: Arc<dyn Clock>,
    alive: Mutex<FxHashMap<Uuid, Session>>,
}

struct Session {
    last_used_ms: i64,
}

impl Sessions {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Sessions { clock, alive: Mutex::default() }
    }

    /// Starts or keeps a session.
    pub fn touch(&self, lsid: Uuid) {
        let now_ms = self.clock.now_ms();
        self.alive.lock().entry(lsid).or_insert(Session { last_used_ms: now_ms }).last_used_ms = now_ms;
    }

    /// Ends a session.
    pub fn end(&self, lsid: Uuid) {
        self.alive.lock().remove(&lsid);
    }

    /// Ends what has not been used for a while.
    pub fn expire(&self) {
        let now_ms = self.clock.now_ms();
        self.alive.lock().retain(|_, session| now_ms - session.last_used_ms <= TIMEOUT_MS);
    }
}
