//! One follower per topic, for all its clients.
//!
//! ```text
//!   view | stream | sink's messages ─> follower: writes each change once ─> ring ─┬─> client
//!                                        and, of a view, keeps the rows           └─> client …
//! ```
//!
//! # Invariants
//! - A snapshot and the frames after it fit together: both are made under the hub's lock.
//! - A client holds a number, not a queue: a slow one costs what the ring costs anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Feed, Headwater, Topic, TopicReader, ViewProgress, ViewSubscription, token_after};
use tokio::sync::watch;

use super::client::{Client, Trouble};
use super::frame::{Columns, Frame};
use super::ring::Ring;

/// How long a topic that nobody follows is still followed, for clients that come back.
const IDLE: Duration = Duration::from_secs(60);
/// The least time between two frames grows with the clients, so that what changes meanwhile travels
/// together; 5,000 clients get a frame every 20 ms.
const PACE_PER_CLIENT: Duration = Duration::from_micros(4);
const PACE_MAX: Duration = Duration::from_millis(40);
/// Rows of a snapshot's frame, and of a view that topics take.
const SNAPSHOT_CHUNK: usize = 500;
const SNAPSHOT_ROWS_MAX: usize = 200_000;
/// Frames after a snapshot at which another one is made.
const SNAPSHOT_AGE_MAX: u64 = 256;
/// Messages of a sink's topic read at a time.
const MESSAGES_AT_ONCE: usize = 1000;
/// Clients of all topics.
const CLIENTS_MAX: usize = 20_000;

type Row = Arc<[engine::Datum]>;

/// Every topic that is followed.
#[derive(Clone)]
pub struct Hubs {
    engine: Headwater,
    hubs: Arc<tokio::sync::Mutex<HashMap<String, Arc<Hub>>>>,
    clients: Arc<AtomicUsize>,
    stopping: watch::Receiver<bool>,
}

pub struct Hub {
    pub topic: Topic,
    state: Mutex<State>,
    head: watch::Sender<Head>,
    clients: AtomicUsize,
    all_clients: Arc<AtomicUsize>,
}

/// What clients wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub next: u64,
    pub ended: bool,
}

struct State {
    ring: Ring,
    rows: HashMap<Row, i64>,
    columns: Columns,
    snapshot: Option<(u64, Vec<Arc<Frame>>)>,
    ended: Option<String>,
}

/// What a client gets first, and the number of the frame after it.
pub type Start = (Vec<Arc<Frame>>, u64);

enum Source {
    View(ViewSubscription),
    Stream(Feed),
    Messages(TopicReader),
}

impl Hubs {
    pub fn new(engine: Headwater, stopping: watch::Receiver<bool>) -> Self {
        Hubs { engine, hubs: Arc::default(), clients: Arc::default(), stopping }
    }

    /// A client of a topic, which goes on after `since` or begins anew.
    pub async fn join(&self, name: &str, since: Option<&str>) -> Result<Client, Trouble> {
        if self.clients.load(Ordering::Relaxed) >= CLIENTS_MAX {
            return Err(Trouble::Busy);
        }
        let hub = self.hub(name).await?;
        Client::start(hub, &self.engine, since).await
    }

    async fn hub(&self, name: &str) -> Result<Arc<Hub>, Trouble> {
        let mut hubs = self.hubs.lock().await;
        if let Some(hub) = hubs.get(name).filter(|hub| !hub.head.borrow().ended) {
            hub.enter();
            return Ok(Arc::clone(hub));
        }
        let topic = self.engine.topic(name).ok_or_else(|| Trouble::Missing(name.to_owned()))?;
        let (hub, source) = self.open(topic).await?;
        hub.enter();
        hubs.insert(name.to_owned(), Arc::clone(&hub));
        let (hubs, followed, name) = (self.clone(), Arc::clone(&hub), name.to_owned());
        tokio::spawn(async move { hubs.follow(&name, &followed, source).await });
        Ok(hub)
    }

    async fn open(&self, topic: Topic) -> Result<(Arc<Hub>, Source), Trouble> {
        let refused = |error: engine::SqlError| Trouble::Refused(error.message);
        let (state, source) = match &topic {
            Topic::View { db, name } => {
                let mut subscription = self.engine.follow_view(db, name).await.map_err(refused)?;
                let first = subscription.now().unwrap_or_else(|| Err(engine::SqlError::internal("the view has ended")));
                let first = first.map_err(refused)?;
                let mut state = State::new(token_after(first.token), Columns::new(&subscription.fields));
                state.apply(&first);
                (state, Source::View(subscription))
            }
            Topic::Stream { db, name } => {
                let mut feed = self.engine.follow_stream(db, name, None).await.map_err(refused)?;
                let first = feed.progress().unwrap_or_else(|| Err(engine::SqlError::internal("the stream has ended")));
                let first = first.map_err(refused)?;
                let columns = Columns::new(&feed.fields[2..]);
                // Events that are there already come before everything that clients are promised.
                (State::new(token_after(first.token), columns), Source::Stream(feed))
            }
            Topic::Messages(reader) => {
                let kept = reader.after(0, usize::MAX).map_err(|error| Trouble::Refused(error.to_string()))?;
                let before = kept.first().map_or(0, |oldest| oldest.number - 1);
                let mut state = State::new(reader.id(before), Columns::new(&[]));
                kept.iter().for_each(|message| state.ring.push(Frame::message(message.id.clone(), &message.json)));
                (state, Source::Messages(reader.clone()))
            }
        };
        let head = watch::Sender::new(Head { next: state.ring.next(), ended: false });
        let (clients, all_clients) = (AtomicUsize::new(0), Arc::clone(&self.clients));
        Ok((Arc::new(Hub { topic, state: Mutex::new(state), head, clients, all_clients }), source))
    }

    /// Follows until the topic ends, the server stops, or nobody has listened for a while.
    async fn follow(&self, name: &str, hub: &Arc<Hub>, mut source: Source) {
        let mut stopping = self.stopping.clone();
        let reason = loop {
            let more = tokio::select! {
                more = source.next(hub) => more,
                () = tokio::time::sleep(IDLE) => Ok(false),
                _ = stopping.wait_for(|stop| *stop) => break "the server stops".to_owned(),
            };
            match more {
                Err(reason) => break reason,
                Ok(false) if self.leave_alone(name, hub).await => return,
                Ok(_) => {}
            }
            let clients = u32::try_from(hub.clients.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
            tokio::time::sleep(PACE_PER_CLIENT.saturating_mul(clients).min(PACE_MAX)).await;
        };
        hub.end(reason);
        self.forget(name, hub).await;
    }

    /// Stops following if nobody listens.
    async fn leave_alone(&self, name: &str, hub: &Arc<Hub>) -> bool {
        let mut hubs = self.hubs.lock().await;
        let alone = hub.clients.load(Ordering::Relaxed) == 0;
        if alone {
            hubs.remove(name);
        }
        alone
    }

    async fn forget(&self, name: &str, hub: &Arc<Hub>) {
        let mut hubs = self.hubs.lock().await;
        if hubs.get(name).is_some_and(|current| Arc::ptr_eq(current, hub)) {
            hubs.remove(name);
        }
    }
}

impl Source {
    /// Waits for the next changes and puts them into the ring. The error is why there are no more.
    /// Safe to cancel.
    async fn next(&mut self, hub: &Hub) -> Result<bool, String> {
        const DROPPED: &str = "the view or stream has ended";
        match self {
            Source::View(subscription) => match subscription.next().await {
                Some(Ok(progress)) => hub.change(|state| state.delta(&progress)),
                Some(Err(error)) => return Err(error.message),
                None => return Err(DROPPED.to_owned()),
            },
            Source::Stream(feed) => match feed.next_progress().await {
                Some(Ok(progress)) => hub.change(|state| {
                    let frame = state.columns.events_of(&progress);
                    state.ring.push(frame);
                }),
                Some(Err(error)) => return Err(error.message),
                None => return Err(DROPPED.to_owned()),
            },
            Source::Messages(reader) => {
                let seen = hub.state().ring.newest_id().to_owned();
                let seen = reader.number(&seen).unwrap_or(0);
                if !reader.wait(seen).await {
                    return Err("the topic has ended".to_owned());
                }
                let messages = reader.after(seen, MESSAGES_AT_ONCE).map_err(|error| error.to_string())?;
                hub.change(|state| {
                    messages
                        .iter()
                        .for_each(|message| state.ring.push(Frame::message(message.id.clone(), &message.json)));
                });
            }
        }
        Ok(true)
    }
}

impl Columns {
    /// A stream's events in their order, which their first column, the token, has.
    pub fn events_of(&self, progress: &ViewProgress) -> Frame {
        let mut rows: Vec<&[engine::Datum]> =
            progress.deltas.iter().filter(|(_, diff)| *diff > 0).map(|(row, _)| &**row).collect();
        let token = |row: &[engine::Datum]| row.first().map(|token| engine::datum_text(token, &engine::Type::Text));
        rows.sort_by_cached_key(|row| token(row));
        Frame::events(token_after(progress.token), self, rows.into_iter())
    }
}

impl State {
    fn new(id: String, columns: Columns) -> Self {
        State { ring: Ring::after(id), rows: HashMap::new(), columns, snapshot: None, ended: None }
    }

    fn apply(&mut self, progress: &ViewProgress) {
        for (row, diff) in &progress.deltas {
            let count = self.rows.entry(Arc::clone(row)).or_insert(0);
            *count += diff;
            if *count == 0 {
                self.rows.remove(row);
            }
        }
    }

    fn delta(&mut self, progress: &ViewProgress) {
        self.apply(progress);
        let changes = progress.deltas.iter().map(|(row, diff)| (&**row, *diff));
        let frame = Frame::changes("delta", Some(token_after(progress.token)), &self.columns, false, changes);
        self.ring.push(frame);
    }

    /// The rows as they are now, or were a moment ago with all frames since still in the ring.
    fn snapshot(&mut self) -> Result<Start, String> {
        let next = self.ring.next();
        if let Some((at, frames)) = &self.snapshot
            && next - at <= SNAPSHOT_AGE_MAX
            && self.ring.from(*at, 0).is_some()
        {
            return Ok((frames.clone(), *at));
        }
        if self.rows.len() > SNAPSHOT_ROWS_MAX {
            return Err(format!(
                "the view has more than {SNAPSHOT_ROWS_MAX} rows; follow a smaller view, or SUBSCRIBE"
            ));
        }
        let rows: Vec<(&[engine::Datum], i64)> = self.rows.iter().map(|(row, count)| (&**row, *count)).collect();
        let chunks = rows.len().div_ceil(SNAPSHOT_CHUNK).max(1);
        let chunk = |at: usize| {
            let id = (at + 1 == chunks).then(|| self.ring.newest_id().to_owned());
            let rows = rows.iter().skip(at * SNAPSHOT_CHUNK).take(SNAPSHOT_CHUNK).copied();
            Arc::new(Frame::changes("snapshot", id, &self.columns, at == 0, rows))
        };
        let frames: Vec<Arc<Frame>> = (0..chunks).map(chunk).collect();
        self.snapshot = Some((next, frames.clone()));
        Ok((frames, next))
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, work: impl FnOnce(&mut State)) {
        let mut state = self.state();
        work(&mut state);
        let next = state.ring.next();
        drop(state);
        self.head.send_modify(|head| head.next = next);
    }

    fn end(&self, reason: String) {
        self.state().ended = Some(reason);
        self.head.send_modify(|head| head.ended = true);
    }

    fn enter(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
        self.all_clients.fetch_add(1, Ordering::Relaxed);
    }

    /// A client leaves.
    pub fn leave(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
        self.all_clients.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// Why it ended.
    pub fn ended(&self) -> Option<String> {
        self.state().ended.clone()
    }

    pub fn columns(&self) -> Columns {
        self.state().columns.clone()
    }

    /// The frame after the one with this id, where the ring has it.
    pub fn resume(&self, id: &str) -> Option<u64> {
        self.state().ring.resume(id)
    }

    /// From now on: a frame with the id that means now, so that a client can come back to it.
    pub fn now(&self) -> Start {
        let state = self.state();
        (vec![Arc::new(Frame::start(state.ring.newest_id()))], state.ring.next())
    }

    /// The number of the oldest frame kept.
    pub fn oldest(&self) -> u64 {
        self.state().ring.first()
    }

    pub fn snapshot(&self) -> Result<Start, String> {
        self.state().snapshot()
    }

    pub fn from(&self, number: u64, limit: usize) -> Option<Vec<Arc<Frame>>> {
        self.state().ring.from(number, limit)
    }
}
