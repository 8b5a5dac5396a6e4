//! The hub: one pass over each committed entry, however many watch.
//!
//! ```text
//! committer ─ group ─> bounded queue ─> hub thread ─ index ─> candidates ─ early $match ─> watcher's queue, wake
//!                        │ full: the hub          │
//!                        └ reads the gap itself   └─ each subscription's queue;  watermark = handled up to here
//! ```
//!
//! The cost of an entry grows with the watchers it may concern, not with all of them. A watcher that
//! does not keep up loses its queue, not its events: it reads the log from where it was. A watcher
//! that nothing concerns holds no memory but its entry in the index, and never runs.
//!
//! # Not here
//! Event shapes, images, the client's later stages: a stream does those for the entries it gets.
//!
//! # Invariants
//! - A watcher is told of every entry that its stream would show, from its attachment on.
//! - The watermark passes a time only after every watcher concerned has its entries up to there.
//!
//! Read next: `hub/index.rs`, `hub/predicate.rs`, `hub/subscription.rs`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use base::ClusterTime;
use document::DocBuf;
use document::matcher::Matcher;
use parking_lot::{Mutex, RwLock};
use store::entry::{LogEntry, Operation};
use tokio::sync::{Notify, watch};

use crate::error::Result;
use crate::options::FullDocument;
use crate::scope::{OperationSet, OperationType, Scope, Shown};
use crate::source::{LogSource, after_time};

mod entry;
mod index;
mod predicate;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use entry::entry_bytes;
pub use subscription::{LogBatch, LogFilter, LogSubscription};

use entry::SharedEntry;
use index::Index;
use predicate::IndexKey;
use subscription::Subscriber;

/// Groups that may wait for the hub; the committer does not wait, the hub then reads the log.
const GROUPS_QUEUED_MAX: usize = 512;
/// Entries that may wait for a watcher before it has to read the log instead.
const WATCHER_ENTRIES_MAX: usize = 1024;
const WATCHER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same for all watchers together, so that ten thousand sleeping ones cannot fill the memory.
const ALL_WATCHERS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Entries per group when the hub itself reads the log.
const CATCH_UP_ENTRIES: usize = 512;

/// The one reader of a log that tells all others. Clones are handles of the same hub; its thread
/// ends with the last of them.
#[derive(Clone)]
pub struct Hub(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    inbox: SyncSender<Message>,
}

struct Shared {
    source: Arc<dyn LogSource>,
    index: RwLock<Index>,
    subscribers: RwLock<Vec<Arc<Subscriber>>>,
    watermark: watch::Sender<ClusterTime>,
    /// Bytes in the queues of all watchers; an entry in several queues counts in each.
    queued: Arc<AtomicUsize>,
    /// A group did not fit into the inbox.
    missed: AtomicBool,
    stopping: AtomicBool,
    next_id: AtomicU64,
}

enum Message {
    Group(Arc<[LogEntry]>, ClusterTime),
    /// Look at `missed` and `stopping`.
    Wake,
}

/// What a stream wants to be told of.
#[derive(Clone)]
pub(crate) struct Watch {
    pub scope: Scope,
    pub shown: Shown,
    pub full_document: FullDocument,
    /// Rejects events that need not be told; looks at the event without images.
    pub filter: Option<Arc<Matcher>>,
    /// Specifications of the leading `$match` stages.
    pub conditions: Vec<DocBuf>,
}

/// A stream's place in the hub.
pub(crate) struct Watcher {
    id: u64,
    scope: Scope,
    shown: Shown,
    full_document: FullDocument,
    operations: OperationSet,
    key: Option<IndexKey>,
    filter: Option<Arc<Matcher>>,
    queue: Mutex<Queue>,
    /// Shared by all watchers of the hub.
    queued: Arc<AtomicUsize>,
    wake: Notify,
    /// A read is blocked until something comes.
    waiting: AtomicBool,
    /// The number of the last entry offered, so that one entry is not offered twice.
    offered: AtomicU64,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Arc<LogEntry>>,
    bytes: usize,
    overflowed: bool,
}

/// What a watcher's queue held.
pub(crate) enum Taken {
    Entries(VecDeque<Arc<LogEntry>>),
    /// Entries were dropped; they are in the log.
    Overflowed,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("watermark", &self.watermark()).field("watchers", &self.watcher_count()).finish()
    }
}

impl Hub {
    /// Starts the hub's thread on a log.
    pub fn start(source: Arc<dyn LogSource>) -> Self {
        let (inbox, outbox) = sync_channel(GROUPS_QUEUED_MAX);
        let shared = Arc::new(Shared {
            source,
            index: RwLock::default(),
            subscribers: RwLock::default(),
            watermark: watch::Sender::new(ClusterTime::ZERO),
            queued: Arc::default(),
            missed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
        });
        let (weak, sender) = (Arc::downgrade(&shared), inbox.clone());
        shared.source.on_durable(Box::new(move |group, up_to| {
            if let Some(shared) = weak.upgrade() {
                shared.accept(&sender, group, up_to);
            }
        }));
        // Nobody watches yet, so what is durable now needs no pass.
        shared.watermark.send_replace(shared.source.durable());
        let worker = shared.clone();
        std::thread::Builder::new()
            .name("change-hub".into())
            .spawn(move || worker.run(&outbox))
            .expect("the system can start one more thread");
        Hub(Arc::new(Handle { shared, inbox }))
    }

    pub fn source(&self) -> &dyn LogSource {
        &*self.0.shared.source
    }

    /// Every watcher has been told of the entries up to here.
    pub fn watermark(&self) -> ClusterTime {
        *self.0.shared.watermark.borrow()
    }

    pub fn watcher_count(&self) -> usize {
        self.0.shared.index.read().len()
    }

    /// Entries from the log that pass `filter`: those at and after `from`, or from now on.
    pub fn subscribe(&self, filter: LogFilter, from: Option<store::LogPosition>) -> LogSubscription {
        LogSubscription::new(self.clone(), filter, from)
    }

    /// Waits until the watermark covers `target`, which must be durable; returns the watermark.
    pub(crate) async fn reached(&self, target: ClusterTime) -> ClusterTime {
        let now = self.watermark();
        if now >= target {
            return now;
        }
        let mut watermark = self.0.shared.watermark.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        watermark.wait_for(|reached| *reached >= target).await.map_or(target, |reached| *reached)
    }

    pub(crate) fn attach(&self, watch: &Watch) -> Arc<Watcher> {
        let (operations, key) = predicate::analyse(&watch.conditions, watch.full_document);
        let watcher = Arc::new(Watcher {
            id: self.0.shared.next_id.fetch_add(1, Ordering::Relaxed),
            scope: watch.scope.clone(),
            shown: watch.shown,
            full_document: watch.full_document,
            operations,
            key,
            filter: watch.filter.clone(),
            queue: Mutex::default(),
            queued: self.0.shared.queued.clone(),
            wake: Notify::new(),
            waiting: AtomicBool::new(false),
            offered: AtomicU64::new(0),
        });
        self.0.shared.index.write().insert(watcher.clone());
        watcher
    }

    pub(crate) fn detach(&self, watcher: &Arc<Watcher>) {
        self.0.shared.index.write().remove(watcher);
    }

    fn add_subscriber(&self, subscriber: Arc<Subscriber>) {
        self.0.shared.subscribers.write().push(subscriber);
    }

    fn remove_subscriber(&self, subscriber: &Arc<Subscriber>) {
        self.0.shared.subscribers.write().retain(|other| !Arc::ptr_eq(other, subscriber));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // If the inbox is full, a message that is in it wakes the hub after the store above.
        let _ = self.inbox.try_send(Message::Wake);
    }
}

impl Shared {
    /// Runs on the committer's thread: must not block.
    fn accept(&self, inbox: &SyncSender<Message>, group: &Arc<[LogEntry]>, up_to: ClusterTime) {
        if let Err(TrySendError::Full(_)) = inbox.try_send(Message::Group(group.clone(), up_to)) {
            self.missed.store(true, Ordering::SeqCst);
            // If the inbox is still full, a message that is in it wakes the hub after the store above.
            let _ = inbox.try_send(Message::Wake);
        }
    }

    fn run(&self, inbox: &Receiver<Message>) {
        while let Ok(message) = inbox.recv() {
            let (group, up_to) = match message {
                Message::Group(group, up_to) => (Some(group), up_to),
                Message::Wake => (None, ClusterTime::ZERO),
            };
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            if self.missed.swap(false, Ordering::SeqCst) {
                self.catch_up();
            }
            if let Some(group) = group
                && up_to > *self.watermark.borrow()
            {
                self.handle(&group, up_to);
            }
        }
    }

    /// Reads what did not fit into the inbox.
    fn catch_up(&self) {
        let durable = self.source.durable();
        let begin = after_time(*self.watermark.borrow());
        if self.read_gap(begin, durable).is_err() || self.source.removed_up_to().is_some_and(|r| r >= begin.time) {
            // The watchers find out for themselves what the log still holds.
            self.overflow_all();
        }
        self.watermark.send_replace(durable);
    }

    fn read_gap(&self, begin: store::LogPosition, durable: ClusterTime) -> Result<()> {
        let mut group = Vec::new();
        for entry in self.source.read(begin, durable) {
            let entry: LogEntry = entry?;
            let last: Option<ClusterTime> = group.last().map(|last: &LogEntry| last.position.time);
            if let Some(last) = last
                && group.len() >= CATCH_UP_ENTRIES
                && last != entry.position.time
            {
                self.handle(&std::mem::take(&mut group).into(), last);
            }
            group.push(entry);
        }
        if let Some(last) = group.last().map(|last| last.position.time) {
            self.handle(&group.into(), last);
        }
        Ok(())
    }

    /// Tells everybody whom the group concerns, then moves the watermark.
    fn handle(&self, group: &Arc<[LogEntry]>, up_to: ClusterTime) {
        if catch_unwind(AssertUnwindSafe(|| self.tell(group))).is_err() {
            // A bug here must not stop the world: everybody reads this group from the log.
            tracing::error!("the change hub panicked on a group up to {up_to}");
            self.overflow_all();
        }
        self.watermark.send_replace(up_to);
    }

    fn tell(&self, group: &Arc<[LogEntry]>) {
        let index = self.index.read();
        if !index.is_empty() {
            for entry in group.iter() {
                let shared = SharedEntry::new(entry, self.next_id.fetch_add(1, Ordering::Relaxed));
                index.candidates(entry, &mut |watcher| watcher.offer(&shared));
            }
        }
        drop(index);
        for subscriber in self.subscribers.read().iter() {
            subscriber.offer(group);
        }
    }

    fn overflow_all(&self) {
        self.index.read().each(&mut |watcher| watcher.overflow());
        self.subscribers.read().iter().for_each(|subscriber| subscriber.overflow());
    }
}

impl Watcher {
    /// Queues the entry if the stream might show it.
    fn offer(&self, entry: &SharedEntry<'_>) {
        if self.offered.swap(entry.number(), Ordering::Relaxed) == entry.number()
            || !self.scope.shows(entry.entry(), self.shown)
        {
            return;
        }
        // Changes of collections are always told, as they may end the stream whatever it filters.
        if OperationType::of(entry.entry()).is_document_change() && !self.wants(entry) {
            return;
        }
        self.push(entry);
    }

    fn wants(&self, entry: &SharedEntry<'_>) -> bool {
        let Some(filter) = &self.filter else { return true };
        let event = entry.event(self.shown.expanded);
        // An error, or a panic, is for the stream to report.
        !matches!(catch_unwind(AssertUnwindSafe(|| filter.matches(event.as_doc()))), Ok(Ok(false)))
    }

    fn push(&self, entry: &SharedEntry<'_>) {
        let mut queue = self.queue.lock();
        if queue.overflowed {
            return;
        }
        let bytes = entry.bytes();
        let together = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        queue.bytes += bytes;
        if queue.entries.len() >= WATCHER_ENTRIES_MAX
            || queue.bytes > WATCHER_BYTES_MAX
            || together > ALL_WATCHERS_BYTES_MAX
        {
            self.clear(&mut queue, true);
        } else {
            queue.entries.push_back(entry.shared());
        }
        drop(queue);
        self.wake.notify_one();
    }

    fn overflow(&self) {
        self.clear(&mut self.queue.lock(), true);
        self.wake.notify_one();
    }

    /// Empties the queue and returns what it was.
    fn clear(&self, queue: &mut Queue, overflowed: bool) -> Queue {
        self.queued.fetch_sub(queue.bytes, Ordering::Relaxed);
        std::mem::replace(queue, Queue { overflowed, ..Queue::default() })
    }

    pub fn take(&self) -> Taken {
        match self.clear(&mut self.queue.lock(), false) {
            Queue { overflowed: true, .. } => Taken::Overflowed,
            Queue { entries, .. } => Taken::Entries(entries),
        }
    }

    /// Waits until something was queued. `false` when the deadline passed first.
    pub async fn wait(&self, deadline: tokio::time::Instant) -> bool {
        self.waiting.store(true, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        tokio::time::timeout_at(deadline, self.wake.notified()).await.is_ok()
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// May an update concern this watcher although the image in the log does not satisfy its key?
    /// So it is where the stream looks the document up later.
    fn looks_up(&self) -> bool {
        self.full_document == FullDocument::UpdateLookup
    }

    /// Does an update's event have no `fullDocument` at all?
    fn ignores_update_image(&self) -> bool {
        self.full_document == FullDocument::Default
    }
}

/// Ends the waiting also when the wait is given up.
struct Waiting<'a>(&'a AtomicBool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.queue.get_mut().bytes, Ordering::Relaxed);
    }
}

fn is_update(entry: &LogEntry) -> bool {
    matches!(entry.operation, Operation::Update { .. })
}
