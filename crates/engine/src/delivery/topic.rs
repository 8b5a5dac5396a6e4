//! A topic as the target: a window of messages in this store, for browsers that follow it.
//!
//! ```text
//!   CREATE SINK k FROM s INTO 'topic:prices'
//!     records: 'm' uid number ─> the message     written with the sink's position: each event is in once
//!     window:  the same in memory                 what GET /topics/prices reads
//! ```
//!
//! Numbers count up from 1 without a hole, so a reader that comes back with a number knows whether it
//! has missed anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ::sql::SqlError;
use async_trait::async_trait;
use base::Uuid;
use delivery::envelope::{Format, render};
use delivery::{Delivery, Fault, Marks, Target};
use parking_lot::Mutex;
use store::{Reader as _, Store, WriteTxn};
use tokio::sync::watch;

use super::definition::SinkDefinition;
use super::records::{self, Part, SPACE};

/// How many of the newest messages are kept for readers that come back.
const KEPT_MESSAGES: usize = 10_000;
/// And of how many bytes at most.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// One message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMessage {
    /// From 1, without holes.
    pub number: u64,
    /// What a reader comes back with.
    pub id: String,
    /// The event in the sink's format.
    pub json: String,
}

/// The messages of one sink's life.
pub(crate) struct TopicLog {
    store: Store,
    uid: Uuid,
    sink: String,
    window: Mutex<Option<Window>>,
    /// The newest number.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Window {
    messages: VecDeque<Arc<TopicMessage>>,
    bytes: usize,
    next: u64,
}

impl Window {
    fn push(&mut self, message: Arc<TopicMessage>) {
        self.next = message.number + 1;
        self.bytes += message.json.len();
        self.messages.push_back(message);
    }

    /// Removes what is too much; says up to which number.
    fn trim(&mut self) -> Option<u64> {
        let mut gone = None;
        while self.messages.len() > KEPT_MESSAGES || (self.bytes > KEPT_BYTES && self.messages.len() > 1) {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.json.len();
            gone = Some(oldest.number);
        }
        gone
    }
}

fn place(uid: Uuid, number: u64) -> Vec<u8> {
    records::key(Part::Messages, uid, &[&number.to_be_bytes()])
}

impl std::fmt::Debug for TopicLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicLog").field("uid", &self.uid).field("sink", &self.sink).finish_non_exhaustive()
    }
}

impl TopicLog {
    fn new(store: Store, sink: &SinkDefinition) -> Self {
        let newest = watch::Sender::new(0);
        TopicLog { store, uid: sink.uid, sink: sink.full_name(), window: Mutex::new(None), newest }
    }

    fn id(&self, number: u64) -> String {
        let life = u32::from_be_bytes([self.uid.0[0], self.uid.0[1], self.uid.0[2], self.uid.0[3]]);
        format!("{life:08x}{number:016x}")
    }

    /// The number in an id; `None` if it is of another life of the topic, or no id at all.
    fn number(&self, id: &str) -> Option<u64> {
        let number = u64::from_str_radix(id.get(8..)?, 16).ok()?;
        (self.id(number) == id).then_some(number)
    }

    /// Reads what is kept, unless that was done before.
    fn loaded<T>(&self, work: impl FnOnce(&mut Window) -> T) -> store::Result<T> {
        let mut held = self.window.lock();
        if held.is_none() {
            let mut window = Window { next: 1, ..Window::default() };
            let prefix = records::key(Part::Messages, self.uid, &[]);
            for record in self.store.snapshot()?.records(SPACE, &prefix) {
                let (place, json) = record?;
                let number = place[prefix.len()..].try_into().map(u64::from_be_bytes);
                let number = number.map_err(|_| store::Error::Corrupt("a topic's message has no number".to_owned()))?;
                let json = String::from_utf8_lossy(&json).into_owned();
                window.push(Arc::new(TopicMessage { number, id: self.id(number), json }));
            }
            self.newest.send_replace(window.next - 1);
            *held = Some(window);
        }
        Ok(work(held.get_or_insert_default()))
    }

    async fn append(&self, delivery: &Delivery, format: Format) -> store::Result<()> {
        let next = self.loaded(|window| window.next)?;
        let message = |(number, event): (u64, &Arc<delivery::Event>)| {
            Arc::new(TopicMessage { number, id: self.id(number), json: render(event, format) })
        };
        let messages: Vec<_> = (next..).zip(&delivery.events).map(message).collect();
        let (uid, marks, written) = (self.uid, delivery.marks.clone(), messages.clone());
        let bytes = messages.iter().map(|message| message.json.len() + 64).sum();
        let write = move |txn: &mut WriteTxn| {
            for message in &written {
                txn.put_record(SPACE, &place(uid, message.number), message.json.clone().into_bytes());
            }
            records::write_marks(txn, uid, &marks)
        };
        self.store.write_sized(bytes, write).await?;
        let (oldest, gone, newest) = self.loaded(|window| {
            let oldest = window.messages.front().map_or(1, |message| message.number);
            messages.into_iter().for_each(|message| window.push(message));
            (oldest, window.trim(), window.next - 1)
        })?;
        self.newest.send_replace(newest);
        if let Some(gone) = gone {
            let forget = move |txn: &mut WriteTxn| {
                (oldest..=gone).for_each(|number| txn.delete_record(SPACE, &place(uid, number)));
                Ok(())
            };
            self.store.write(forget).await?;
        }
        Ok(())
    }
}

/// Every topic that a sink writes, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics(Arc<Mutex<BTreeMap<String, Arc<TopicLog>>>>);

impl Topics {
    /// A reader of a topic.
    pub fn find(&self, name: &str) -> Option<TopicReader> {
        let log = Arc::clone(self.0.lock().get(name)?);
        Some(TopicReader { newest: log.newest.subscribe(), log })
    }

    /// A life is over: its readers end.
    pub fn forget(&self, uid: Uuid) {
        self.0.lock().retain(|_, log| log.uid != uid);
    }

    fn register(&self, name: &str, log: &Arc<TopicLog>) {
        self.0.lock().insert(name.to_owned(), Arc::clone(log));
    }

    /// The log of a sink's life, which a topic may have already.
    fn log(&self, name: &str, sink: &SinkDefinition, store: &Store) -> Result<Arc<TopicLog>, SqlError> {
        match self.0.lock().get(name) {
            Some(log) if log.sink != sink.full_name() => {
                let message = format!("topic \"{name}\" is written by sink \"{}\"", log.sink);
                Err(SqlError::new("42710", message).with_hint("Give the topic another name."))
            }
            Some(log) if log.uid == sink.uid => Ok(Arc::clone(log)),
            _ => Ok(Arc::new(TopicLog::new(store.clone(), sink))),
        }
    }
}

/// Reads the messages of a topic that a sink writes.
#[derive(Clone, Debug)]
pub struct TopicReader {
    log: Arc<TopicLog>,
    newest: watch::Receiver<u64>,
}

impl TopicReader {
    /// The number of the newest message; 0 before the first.
    ///
    /// # Errors
    /// If what is kept cannot be read.
    pub fn newest(&self) -> crate::Result<u64> {
        Ok(self.log.loaded(|window| window.next - 1)?)
    }

    /// The id of a message that has this number, or would have it.
    pub fn id(&self, number: u64) -> String {
        self.log.id(number)
    }

    /// The number in an id. `None`: it is of another life of this topic.
    pub fn number(&self, id: &str) -> Option<u64> {
        self.log.number(id)
    }

    /// Messages after a number, in order, at most `limit`; fewer may be kept.
    ///
    /// # Errors
    /// If what is kept cannot be read.
    pub fn after(&self, number: u64, limit: usize) -> crate::Result<Vec<Arc<TopicMessage>>> {
        let messages = self.log.loaded(|window| {
            let from = window.messages.partition_point(|message| message.number <= number);
            window.messages.iter().skip(from).take(limit).cloned().collect()
        })?;
        Ok(messages)
    }

    /// Waits until there is something newer than `number`. False: the topic has ended.
    pub async fn wait(&mut self, number: u64) -> bool {
        self.newest.wait_for(|newest| *newest > number).await.is_ok()
    }
}

/// Writes a sink's events into its topic.
pub(super) struct TopicTarget {
    name: String,
    topics: Topics,
    log: Arc<TopicLog>,
    format: Format,
}

impl TopicTarget {
    /// # Errors
    /// 42710 if another sink writes this topic.
    pub fn new(
        name: &str,
        sink: &SinkDefinition,
        format: Format,
        topics: &Topics,
        store: &Store,
    ) -> Result<Self, SqlError> {
        Ok(TopicTarget { name: name.to_owned(), topics: topics.clone(), log: topics.log(name, sink, store)?, format })
    }
}

#[async_trait]
impl Target for TopicTarget {
    async fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn keeps_marks(&self) -> bool {
        true
    }

    /// The marks are the sink's own records. The sink starts: its topic can be read from now on.
    async fn marks(&self) -> Result<Option<Marks>, Fault> {
        self.topics.register(&self.name, &self.log);
        Ok(None)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        self.log.append(delivery, self.format).await.map_err(Fault::unreachable)
    }
}
