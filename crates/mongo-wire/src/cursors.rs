//! The open cursors of a server.
//!
//! A cursor is in the registry, or checked out by the one getMore that reads it. Killing a
//! checked-out cursor tells that getMore to stop.
//!
//! # Invariants
//! - At most one reader per cursor; a second one gets 143 CursorInUse.
//! - A cursor that fails, ends, or whose reader vanishes is gone, with everything it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use base::Uuid;
use engine::{Cursor, Error, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::watch;

/// Most open cursors. Each may hold a snapshot and a batch.
pub const MAX_CURSORS: usize = 100_000;
/// An unused cursor lives so long, unless set otherwise. One of a session lives as long as that.
pub const IDLE_TIMEOUT_MS: i64 = 10 * 60 * 1000;

/// What a cursor belongs to.
#[derive(Clone, Debug)]
pub struct Owner {
    pub namespace: String,
    pub lsid: Option<Uuid>,
    /// The transaction that it reads in.
    pub txn_number: Option<i64>,
    pub no_timeout: bool,
    /// It began with `$changeStream`; errors get that operation's labels.
    pub change_stream: bool,
    /// What is left of the time that the operation was given.
    pub time_left: Option<Duration>,
}

pub struct CursorRegistry {
    entries: Mutex<FxHashMap<i64, Entry>>,
    pub timeout_ms: AtomicI64,
    /// Cursors of sessions time out as well.
    pub also_of_sessions: AtomicBool,
}

impl Default for CursorRegistry {
    fn default() -> Self {
        CursorRegistry {
            entries: Mutex::default(),
            timeout_ms: AtomicI64::new(IDLE_TIMEOUT_MS),
            also_of_sessions: AtomicBool::new(false),
        }
    }
}

struct Entry {
    owner: Owner,
    /// `None` while checked out.
    cursor: Option<Box<Cursor>>,
    killed: watch::Sender<bool>,
    last_used_ms: i64,
}

/// A cursor in use. Give it back with `check_in`; dropping it ends the cursor.
pub struct CheckedOut {
    registry: Arc<crate::server::Shared>,
    id: i64,
    pub owner: Owner,
    cursor: Option<Box<Cursor>>,
    pub killed: watch::Receiver<bool>,
}

impl CursorRegistry {
    /// Keeps a cursor; returns its identifier, positive and not guessable.
    pub fn register(&self, owner: Owner, cursor: Box<Cursor>, now_ms: i64) -> Result<i64> {
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_CURSORS {
            return Err(Error::new(
                262,
                format!("too many open cursors (limit {MAX_CURSORS}); close some and try again"),
            ));
        }
        let mut random = base::Random::from_os();
        let id = loop {
            let id = (random.next_u64() >> 1) as i64;
            if id != 0 && !entries.contains_key(&id) {
                break id;
            }
        };
        let (killed, _) = watch::channel(false);
        entries.insert(id, Entry { owner, cursor: Some(cursor), killed, last_used_ms: now_ms });
        Ok(id)
    }

    /// Takes a cursor for reading, if `check` agrees with its owner.
    pub fn check_out(
        shared: &Arc<crate::server::Shared>,
        id: i64,
        check: impl FnOnce(&Owner) -> Result<()>,
    ) -> Result<CheckedOut> {
        let mut entries = shared.cursors.entries.lock();
        let entry = entries.get_mut(&id).ok_or_else(|| not_found(id))?;
        check(&entry.owner)?;
        let cursor = entry.cursor.take().ok_or_else(|| Error::new(143, format!("cursor id {id} is already in use")))?;
        Ok(CheckedOut {
            registry: Arc::clone(shared),
            id,
            owner: entry.owner.clone(),
            cursor: Some(cursor),
            killed: entry.killed.subscribe(),
        })
    }

    /// Ends a cursor; false if there is none.
    pub fn kill(&self, id: i64, may: impl FnOnce(&Owner) -> bool) -> bool {
        let mut entries = self.entries.lock();
        if !entries.get(&id).is_some_and(|entry| may(&entry.owner)) {
            return false;
        }
        let entry = entries.remove(&id);
        drop(entries);
        if let Some(entry) = entry {
            entry.killed.send_replace(true);
        }
        true
    }

    /// Ends every cursor whose owner satisfies `which`.
    pub fn kill_where(&self, which: impl Fn(&Owner) -> bool) {
        let killed: Vec<Entry> = {
            let mut entries = self.entries.lock();
            let ids: Vec<i64> = entries.iter().filter(|(_, entry)| which(&entry.owner)).map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| entries.remove(&id)).collect()
        };
        for entry in killed {
            entry.killed.send_replace(true);
        }
    }

    /// Ends cursors that nobody has used for a while.
    pub fn expire(&self, now_ms: i64) {
        let expired: Vec<Entry> = {
            let mut entries = self.entries.lock();
            let timeout_ms = self.timeout_ms.load(Ordering::Relaxed);
            let all = self.also_of_sessions.load(Ordering::Relaxed);
            let old = |entry: &Entry| {
                entry.cursor.is_some()
                    && !entry.owner.no_timeout
                    && (all || entry.owner.lsid.is_none())
                    && now_ms - entry.last_used_ms > timeout_ms
            };
            let ids: Vec<i64> = entries.iter().filter(|(_, entry)| old(entry)).map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| entries.remove(&id)).collect()
        };
        drop(expired);
    }

    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

impl CheckedOut {
    pub fn cursor(&mut self) -> &mut Cursor {
        self.cursor.as_mut().expect("a checked-out cursor is present until it is given back")
    }

    /// Gives the cursor back for the next getMore. If it was killed meanwhile it ends here.
    pub fn check_in(mut self) {
        let now_ms = self.registry.engine.clock().now_ms();
        let mut entries = self.registry.cursors.entries.lock();
        if let Some(entry) = entries.get_mut(&self.id) {
            entry.cursor = self.cursor.take();
            entry.owner.time_left = self.owner.time_left;
            entry.last_used_ms = now_ms;
        }
    }
}

impl Drop for CheckedOut {
    fn drop(&mut self) {
        if self.cursor.is_some() {
            self.registry.cursors.entries.lock().remove(&self.id);
        }
    }
}

pub fn not_found(id: i64) -> Error {
    Error::new(43, format!("cursor id {id} not found"))
}
