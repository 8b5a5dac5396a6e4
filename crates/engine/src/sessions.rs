//! Logical sessions: who is alive, which transaction number each one is at, open transactions.
//!
//! ```text
//!   number n ─ retryable write: results kept in the store, by statement
//!            └ transaction:  Open ──commit──> Committed
//!                              └──abort, error, timeout──> Aborted
//!   a higher number ends whatever the lower one had open
//! ```
//!
//! # Invariants
//! - At most one transaction is open per session.
//! - A transaction that failed, timed out or was killed answers 251 until its number is left behind.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base::{Clock, ClusterTime, Uuid};
use document::{Doc, Value};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use store::{Store, Transaction, WriteTxn};

use crate::documents::{Caller, SessionCall};
use crate::{Error, Headwater, Result};

/// A session that nobody uses for so long is over, as drivers are told in the handshake.
pub const TIMEOUT_MS: i64 = 30 * 60 * 1000;
/// A transaction that is open for longer is aborted, unless set otherwise; it holds old versions and locks.
pub const TRANSACTION_LIFETIME_SECONDS: i64 = 60;
/// Most sessions. A client that never ends its sessions must not fill the memory.
const MAX_SESSIONS: usize = 1_000_000;

/// How an operation of a session runs.
pub(crate) enum Mode {
    Plain,
    Retryable(RetryKey),
    Transaction(Arc<OpenTransaction>),
}

/// Names the results of a retryable write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryKey {
    pub lsid: Uuid,
    pub number: i64,
}

/// The sessions of a database.
pub struct Sessions {
    clock: Arc<dyn Clock>,
    alive: Mutex<FxHashMap<Uuid, Session>>,
    transaction_lifetime_seconds: AtomicI64,
}

/// What ended because nobody went on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    Session(Uuid),
    Transaction(Uuid, i64),
}

struct Session {
    last_used_ms: i64,
    /// The highest number seen; -1 if none was.
    number: i64,
    transaction: Option<Phase>,
}

#[derive(Clone)]
enum Phase {
    Open(Arc<OpenTransaction>),
    Committed(Option<ClusterTime>),
    Aborted,
}

/// An open transaction and its place in the store.
pub(crate) struct OpenTransaction {
    pub number: i64,
    started_ms: i64,
    /// `None` once it has ended. One statement at a time.
    transaction: Mutex<Option<Transaction>>,
}

impl OpenTransaction {
    /// Runs a statement; a refused one leaves nothing. The caller aborts after an error.
    pub fn statement<R>(&self, run: impl FnOnce(&mut WriteTxn) -> store::Result<R>) -> Result<R> {
        match &mut *self.transaction.lock() {
            Some(transaction) => Ok(transaction.statement(run)?),
            None => Err(aborted(self.number)),
        }
    }

    /// What the transaction sees, as a snapshot of its own.
    pub fn view(&self) -> Result<store::Snapshot> {
        match &*self.transaction.lock() {
            Some(transaction) => Ok(transaction.view()),
            None => Err(aborted(self.number)),
        }
    }

    /// Gives up; what it wrote is gone.
    pub fn abort(&self) {
        if let Some(transaction) = self.transaction.lock().take() {
            transaction.abort();
        }
    }

    fn has_ended(&self) -> bool {
        self.transaction.lock().is_none()
    }
}

impl Sessions {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let transaction_lifetime_seconds = AtomicI64::new(TRANSACTION_LIFETIME_SECONDS);
        Sessions { clock, alive: Mutex::default(), transaction_lifetime_seconds }
    }

    /// How long a transaction may stay open.
    pub fn transaction_lifetime_seconds(&self) -> i64 {
        self.transaction_lifetime_seconds.load(Ordering::Relaxed)
    }

    pub fn set_transaction_lifetime_seconds(&self, seconds: i64) {
        self.transaction_lifetime_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Starts or keeps a session.
    pub fn touch(&self, lsid: Uuid) {
        self.with(lsid, |_| ());
    }

    fn with<T>(&self, lsid: Uuid, run: impl FnOnce(&mut Session) -> T) -> T {
        let now_ms = self.clock.now_ms();
        let mut alive = self.alive.lock();
        if alive.len() >= MAX_SESSIONS && !alive.contains_key(&lsid) {
            // Make room by forgetting half of those without a transaction; they come back when used.
            let mut nth = 0u32;
            alive.retain(|_, session| {
                nth = nth.wrapping_add(1);
                session.transaction.is_some() || nth.is_multiple_of(2)
            });
        }
        let session = alive.entry(lsid).or_insert(Session { last_used_ms: now_ms, number: -1, transaction: None });
        session.last_used_ms = now_ms;
        run(session)
    }

    /// Ends a session and its open transaction.
    pub fn end(&self, lsid: Uuid) {
        let ended = self.alive.lock().remove(&lsid);
        if let Some(session) = ended {
            session.abort();
        }
    }

    /// Ends all sessions and their transactions.
    pub fn end_all(&self) {
        let ended: Vec<Session> = self.alive.lock().drain().map(|(_, session)| session).collect();
        ended.into_iter().for_each(|session| session.abort());
    }

    /// The sessions that are alive, as `$listLocalSessions` shows them.
    pub fn list(&self) -> Vec<Doc> {
        let alive = self.alive.lock();
        alive
            .iter()
            .map(|(lsid, session)| {
                Doc::new().with("_id", lsid_document(*lsid)).with("lastUse", Value::Date(session.last_used_ms))
            })
            .collect()
    }

    /// Ends what has not been used for a while, and transactions that take too long.
    pub fn expire(&self) -> Vec<Expired> {
        let now_ms = self.clock.now_ms();
        let lifetime_ms = self.transaction_lifetime_seconds().saturating_mul(1000);
        let (mut late, mut expired) = (Vec::new(), Vec::new());
        self.alive.lock().retain(|lsid, session| {
            if let Some(Phase::Open(open)) = &session.transaction
                && now_ms - open.started_ms > lifetime_ms
            {
                expired.push(Expired::Transaction(*lsid, open.number));
                late.push(Arc::clone(open));
                session.transaction = Some(Phase::Aborted);
            }
            let alive = now_ms - session.last_used_ms <= TIMEOUT_MS;
            if !alive {
                expired.push(Expired::Session(*lsid));
            }
            alive
        });
        late.iter().for_each(|open| open.abort());
        expired
    }

    /// Takes note of a retryable write's number.
    fn enter_retryable(&self, call: &SessionCall, number: i64) -> Result<()> {
        self.with(call.lsid, |session| {
            if number < session.number {
                return Err(too_old(call.lsid, number, session.number, "Retryable write"));
            }
            if number == session.number && session.transaction.is_some() {
                return Err(Error::new(
                    225,
                    format!("Retryable write with txnNumber {number} is prohibited on session {} because a transaction with the same number has already started on this session.", call.lsid),
                ));
            }
            if number > session.number {
                session.advance(number);
            }
            Ok(())
        })
    }

    /// The transaction that a statement belongs to; begins it if it is the first.
    fn enter_transaction(&self, store: &Store, call: &SessionCall, number: i64) -> Result<Arc<OpenTransaction>> {
        if call.start {
            return self.start_transaction(store, call.lsid, number);
        }
        self.with(call.lsid, |session| match session.phase(call.lsid, number)? {
            Phase::Open(open) if !open.has_ended() => Ok(open),
            Phase::Open(_) | Phase::Aborted => Err(aborted(number)),
            Phase::Committed(_) => Err(committed(number)),
        })
    }

    fn start_transaction(&self, store: &Store, lsid: Uuid, number: i64) -> Result<Arc<OpenTransaction>> {
        let started_ms = self.clock.now_ms();
        self.with(lsid, |session| {
            if number < session.number {
                return Err(too_old(lsid, number, session.number, "Transaction"));
            }
            if number == session.number {
                return Err(Error::new(
                    50911,
                    format!("Cannot start transaction {number} on session {lsid} because a transaction or retryable write with txnNumber {number} has already started on this session."),
                ));
            }
            session.advance(number);
            let transaction = Mutex::new(Some(store.begin()?));
            let open = Arc::new(OpenTransaction { number, started_ms, transaction });
            session.transaction = Some(Phase::Open(Arc::clone(&open)));
            Ok(open)
        })
    }

    fn settle(&self, lsid: Uuid, number: i64, phase: Phase) {
        self.with(lsid, |session| {
            if session.number == number {
                session.transaction = Some(phase);
            }
        });
    }
}

impl Session {
    fn abort(self) {
        if let Some(Phase::Open(open)) = self.transaction {
            open.abort();
        }
    }

    /// Goes on to a higher number; what the old one had open is aborted.
    fn advance(&mut self, number: i64) {
        if let Some(Phase::Open(open)) = self.transaction.take() {
            open.abort();
        }
        self.number = number;
    }

    fn phase(&self, lsid: Uuid, number: i64) -> Result<Phase> {
        if number < self.number {
            return Err(too_old(lsid, number, self.number, "Transaction"));
        }
        match &self.transaction {
            Some(phase) if number == self.number => Ok(phase.clone()),
            _ => Err(Error::new(
                251,
                format!(
                    "Given transaction number {number} does not match any in-progress transactions. \
                     The active transaction number is {}",
                    self.number
                ),
            )),
        }
    }
}

fn too_old(lsid: Uuid, number: i64, newest: i64, what: &str) -> Error {
    Error::new(
        225,
        format!(
            "{what} with txnNumber {number} is prohibited on session {lsid} because a newer transaction or retryable \
             write with txnNumber {newest} has already started on this session."
        ),
    )
}

fn aborted(number: i64) -> Error {
    Error::new(251, format!("Transaction {number} has been aborted."))
}

fn committed(number: i64) -> Error {
    Error::new(256, format!("Transaction {number} has been committed."))
}

/// Digest of the empty user name: who a session belongs to when nobody has to log in.
const NOBODY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// `{id, uid}`, as change events of transactions show the session.
pub(crate) fn lsid_document(lsid: Uuid) -> Doc {
    let uid = Value::Binary(document::Binary { subtype: 0, bytes: NOBODY.to_vec() });
    Doc::new().with("id", lsid).with("uid", uid)
}

/// Side table of committed transactions: session -> number, so that a commit can be retried after
/// a restart.
const COMMITTED: &str = "committed-transactions";

impl Headwater {
    /// How an operation of this caller runs.
    pub(crate) fn mode(&self, caller: &Caller) -> Result<Mode> {
        let Some(call) = &caller.session else { return Ok(Mode::Plain) };
        let Some(number) = call.txn_number else {
            self.sessions().touch(call.lsid);
            return Ok(Mode::Plain);
        };
        if call.in_transaction {
            return Ok(Mode::Transaction(self.sessions().enter_transaction(self.store(), call, number)?));
        }
        self.sessions().enter_retryable(call, number)?;
        Ok(Mode::Retryable(RetryKey { lsid: call.lsid, number }))
    }

    /// Commits the caller's transaction. A second commit of the same one succeeds as well. The
    /// time is that of its writes, if it wrote.
    pub async fn commit_transaction(&self, caller: &Caller) -> Result<Option<ClusterTime>> {
        let (call, number) = numbered(caller)?;
        let phase = self.sessions().with(call.lsid, |session| session.phase(call.lsid, number));
        let open = match phase {
            Ok(Phase::Open(open)) => open,
            Ok(Phase::Committed(time)) => return Ok(time),
            Ok(Phase::Aborted) => return Err(aborted(number)),
            Err(error) if error.code() == 251 && self.was_committed(call.lsid, number)? => return Ok(None),
            Err(error) => return Err(error),
        };
        let taken = open.transaction.lock().take();
        let Some(mut transaction) = taken else { return Err(aborted(number)) };
        let wrote = transaction.has_writes();
        if wrote {
            transaction.statement(|txn| {
                txn.put_record(COMMITTED, &call.lsid.0, number.to_be_bytes().to_vec());
                Ok(())
            })?;
        }
        match transaction.commit(lsid_document(call.lsid).to_buf(), number).await {
            Ok(outcome) => {
                let time = wrote.then_some(outcome.time);
                self.sessions().settle(call.lsid, number, Phase::Committed(time));
                Ok(time)
            }
            Err(error) => {
                self.sessions().settle(call.lsid, number, Phase::Aborted);
                Err(error.into())
            }
        }
    }

    fn was_committed(&self, lsid: Uuid, number: i64) -> Result<bool> {
        use store::Reader;
        let record = self.store().snapshot()?.get_record(COMMITTED, &lsid.0)?;
        Ok(record.is_some_and(|record| record[..] == number.to_be_bytes()))
    }

    /// Aborts the caller's transaction.
    pub fn abort_transaction(&self, caller: &Caller) -> Result<()> {
        let (call, number) = numbered(caller)?;
        let phase = self.sessions().with(call.lsid, |session| session.phase(call.lsid, number))?;
        match phase {
            Phase::Open(open) if !open.has_ended() => {
                open.abort();
                self.sessions().settle(call.lsid, number, Phase::Aborted);
                Ok(())
            }
            Phase::Open(_) | Phase::Aborted => Err(aborted(number)),
            Phase::Committed(_) => Err(committed(number)),
        }
    }

    /// Forgets a transaction after an error of one of its operations.
    pub(crate) fn fail_transaction(&self, caller: &Caller) {
        let Ok((call, number)) = numbered(caller) else { return };
        if let Ok(Phase::Open(open)) = self.sessions().with(call.lsid, |session| session.phase(call.lsid, number)) {
            open.abort();
            self.sessions().settle(call.lsid, number, Phase::Aborted);
        }
    }

    /// For transactions whose next operation failed before it reached the engine.
    pub fn abort_after_error(&self, caller: &Caller) {
        if caller.session.is_some_and(|call| call.in_transaction) {
            self.fail_transaction(caller);
        }
    }
}

fn numbered(caller: &Caller) -> Result<(SessionCall, i64)> {
    match caller.session {
        Some(call @ SessionCall { txn_number: Some(number), .. }) => Ok((call, number)),
        _ => Err(Error::new(72, "a transaction command needs a session and a transaction number")),
    }
}
