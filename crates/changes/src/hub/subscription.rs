//! Log entries in order, for views and sinks: from disk first, then live.
//!
//! The same rule as a stream's feed joins the two without gap or repeat: the hub knows the
//! subscriber before the durable time is read up to which the disk counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::ClusterTime;
use parking_lot::Mutex;
use store::entry::{LogEntry, LogPosition};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Hub, entry_bytes};
use crate::error::{Result, history_lost};
use crate::scope::{OperationSet, OperationType, Scope, Shown};
use crate::source::after_time;

/// Bytes of groups that may wait for a subscriber before it has to read the log instead.
const SUBSCRIBER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Entries of a group read from disk; a transaction is never cut, so a group may be larger.
const CHUNK_ENTRIES: usize = 1024;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Which entries a subscription gets.
#[derive(Clone, Debug)]
pub struct LogFilter {
    pub scope: Scope,
    pub operations: OperationSet,
    pub shown: Shown,
}

/// What a subscription hands out.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// Whole transactions, in log order; may be empty.
    pub entries: Arc<[LogEntry]>,
    /// Every entry up to here has been handed out.
    pub up_to: ClusterTime,
}

/// A reader of the log.
pub struct LogSubscription {
    hub: Hub,
    subscriber: Arc<Subscriber>,
    /// The disk must be read this far before the queue counts.
    catch_up_to: Option<ClusterTime>,
    /// The next entry wanted.
    floor: LogPosition,
    ready: VecDeque<LogBatch>,
    up_to: ClusterTime,
}

pub(super) struct Subscriber {
    filter: LogFilter,
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    groups: VecDeque<Arc<[LogEntry]>>,
    bytes: usize,
    overflowed: bool,
}

impl std::fmt::Debug for LogSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSubscription")
            .field("filter", &self.subscriber.filter)
            .field("up_to", &self.up_to)
            .finish_non_exhaustive()
    }
}

impl LogFilter {
    /// Every change of the scope's documents and collections.
    pub fn everything_in(scope: Scope) -> Self {
        LogFilter { scope, operations: OperationSet::EVERY, shown: Shown { expanded: true, system: false } }
    }

    pub fn accepts(&self, entry: &LogEntry) -> bool {
        let operation = OperationType::of(entry);
        let concerns = operation == OperationType::Corrected || self.scope.shows(entry, self.shown);
        self.operations.contains(operation) && concerns
    }
}

impl LogSubscription {
    pub(super) fn new(hub: Hub, filter: LogFilter, from: Option<LogPosition>) -> Self {
        let subscriber = Arc::new(Subscriber { filter, queue: Mutex::default(), wake: Notify::new() });
        hub.add_subscriber(subscriber.clone());
        let durable = hub.source().durable();
        let floor = from.unwrap_or(after_time(durable));
        let up_to = ClusterTime(floor.time.0.saturating_sub(1));
        LogSubscription { hub, subscriber, catch_up_to: Some(durable), floor, ready: VecDeque::new(), up_to }
    }

    /// Every entry up to here has been handed out.
    pub fn up_to(&self) -> ClusterTime {
        self.up_to
    }

    /// The next entries that pass the filter. Without any, waits for some, at most for `wait`
    /// (for ever if `None`); an empty batch then says how far the log has been looked through.
    ///
    /// # Errors
    /// 286 if the log no longer holds the position.
    pub async fn next(&mut self, wait: Option<Duration>) -> Result<LogBatch> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        loop {
            let durable = self.hub.source().durable();
            if let Some(batch) = self.collect(durable).await? {
                return Ok(batch);
            }
            let woken = self.subscriber.wake.notified();
            let woken = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, woken).await.is_ok(),
                None => {
                    woken.await;
                    true
                }
            };
            if !woken {
                let durable = self.hub.source().durable();
                let last = self.collect(durable).await?;
                return Ok(last.unwrap_or_else(|| LogBatch { entries: Arc::from([]), up_to: self.up_to }));
            }
        }
    }

    /// Entries up to `target`, or `None` if there are no more.
    async fn collect(&mut self, target: ClusterTime) -> Result<Option<LogBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.up_to = batch.up_to;
                return Ok(Some(batch));
            }
            if let Some(end) = self.catch_up_to {
                if self.floor.time > end {
                    self.catch_up_to = None;
                } else if let Some(batch) = self.read_disk(end)? {
                    self.ready.push_back(batch);
                }
                tokio::task::yield_now().await;
                continue;
            }
            let watermark = self.hub.reached(target).await;
            if !self.take_live(watermark) {
                self.floor = self.floor.max(after_time(watermark));
                self.up_to = self.up_to.max(watermark);
                return Ok(None);
            }
        }
    }

    /// Moves the queue to `ready`. `false` if it was empty.
    fn take_live(&mut self, watermark: ClusterTime) -> bool {
        let queue = std::mem::take(&mut *self.subscriber.queue.lock());
        if queue.overflowed {
            self.catch_up_to = Some(self.hub.source().durable());
            return true;
        }
        for group in queue.groups {
            let Some(last) = group.last().map(|entry| entry.position) else { continue };
            if last < self.floor {
                continue;
            }
            let entries = match group.first() {
                Some(first) if first.position < self.floor => {
                    group.iter().filter(|entry| entry.position >= self.floor).cloned().collect()
                }
                _ => group,
            };
            self.ready.push_back(LogBatch { entries, up_to: last.time });
            self.floor = after_time(last.time);
        }
        // The watermark was read before the queue, so nothing up to it is missing here.
        if let Some(last) = self.ready.back_mut() {
            last.up_to = last.up_to.max(watermark);
            self.floor = self.floor.max(after_time(watermark));
        }
        !self.ready.is_empty()
    }

    fn read_disk(&mut self, end: ClusterTime) -> Result<Option<LogBatch>> {
        let source = self.hub.source();
        let begin = self.floor.time;
        let (mut count, mut bytes) = (0, 0);
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut complete = true;
        for entry in source.read(self.floor, end) {
            let entry = entry?;
            if (count >= CHUNK_ENTRIES || bytes >= CHUNK_BYTES) && entry.position.time >= self.floor.time {
                complete = false;
                break;
            }
            self.floor = after_time(entry.position.time);
            count += 1;
            if self.subscriber.filter.accepts(&entry) {
                bytes += entry_bytes(&entry);
                entries.push(entry);
            }
        }
        if complete {
            self.floor = self.floor.max(after_time(end));
        }
        // Asked after reading: retention may have overtaken the read.
        if source.removed_up_to().is_some_and(|removed| removed >= begin) {
            return Err(history_lost());
        }
        let up_to = ClusterTime(self.floor.time.0 - 1);
        self.up_to = self.up_to.max(if entries.is_empty() { up_to } else { self.up_to });
        Ok((!entries.is_empty()).then(|| LogBatch { entries: entries.into(), up_to }))
    }
}

impl Drop for LogSubscription {
    fn drop(&mut self) {
        self.hub.remove_subscriber(&self.subscriber);
    }
}

impl Subscriber {
    /// Queues what passes the filter.
    pub fn offer(&self, group: &Arc<[LogEntry]>) {
        let accepted = group.iter().filter(|entry| self.filter.accepts(entry)).count();
        if accepted == 0 {
            return;
        }
        let group = if accepted == group.len() {
            group.clone()
        } else {
            group.iter().filter(|entry| self.filter.accepts(entry)).cloned().collect()
        };
        let mut queue = self.queue.lock();
        if queue.overflowed {
            return;
        }
        queue.bytes += group.iter().map(entry_bytes).sum::<usize>();
        if queue.bytes > SUBSCRIBER_BYTES_MAX {
            *queue = Queue { overflowed: true, ..Queue::default() };
        } else {
            queue.groups.push_back(group);
        }
        drop(queue);
        self.wake.notify_one();
    }

    pub fn overflow(&self) {
        *self.queue.lock() = Queue { overflowed: true, ..Queue::default() };
        self.wake.notify_one();
    }
}
