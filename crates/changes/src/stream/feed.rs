//! Where a stream's entries come from: the log on disk, and once that is read, the hub.
//!
//! ```text
//! detached ──attach──> catching up: disk to D ──> live: the watcher's queue
//!                        ^   D = durable, read after  │
//!                        └──── queue overflowed ──────┘
//! ```
//!
//! The hub is told of the watcher *before* D is read, and every group that the hub has handled is
//! durable; so an entry is at or before D (read from disk) or in the queue, and where it is both,
//! its position says so.

use std::collections::VecDeque;
use std::sync::Arc;

use base::ClusterTime;
use store::entry::{LogEntry, LogPosition};
use tokio::time::Instant;

use crate::error::{Result, history_lost};
use crate::hub::{Hub, Taken, Watch, Watcher};
use crate::source::{LogSource, after, after_time};

/// Log entries scanned, and bytes of entries kept, per read from disk.
const CHUNK_ENTRIES: usize = 1024;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Feed {
    hub: Hub,
    watch: Watch,
    watcher: Option<Arc<Watcher>>,
    /// While attached: the disk must be read this far before the queue counts.
    catch_up_to: Option<ClusterTime>,
    /// The next entry wanted from disk.
    floor: LogPosition,
    /// Entries read and not yet given out, all of them before `floor`.
    buffer: VecDeque<Arc<LogEntry>>,
    /// With the buffer given out, everything up to here has been examined.
    scanned: ClusterTime,
}

impl Feed {
    pub fn new(hub: Hub, watch: Watch, floor: LogPosition) -> Self {
        Feed {
            hub,
            watch,
            watcher: None,
            catch_up_to: None,
            floor,
            buffer: VecDeque::new(),
            scanned: ClusterTime::ZERO,
        }
    }

    pub fn source(&self) -> &dyn LogSource {
        self.hub.source()
    }

    pub fn durable(&self) -> ClusterTime {
        self.hub.source().durable()
    }

    pub fn scanned(&self) -> ClusterTime {
        self.scanned
    }

    /// From now on the hub tells this stream what concerns it.
    pub fn attach(&mut self) {
        if self.watcher.is_none() {
            self.watcher = Some(self.hub.attach(&self.watch));
            self.catch_up_to = Some(self.durable());
        }
    }

    pub fn detach(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            self.hub.detach(&watcher);
        }
    }

    /// The next entry at or before `target` that may concern the stream, or a later one that the
    /// hub has delivered already. `None` once everything up to `target` was given out.
    pub async fn next(&mut self, target: ClusterTime) -> Result<Option<Arc<LogEntry>>> {
        loop {
            if let Some(entry) = self.buffer.pop_front() {
                return Ok(Some(entry));
            }
            let disk_end = match (&self.watcher, self.catch_up_to) {
                (None, _) => target,
                (Some(_), Some(end)) => end,
                (Some(_), None) => {
                    if self.take_live(target).await {
                        continue;
                    }
                    return Ok(None);
                }
            };
            if self.floor.time > disk_end {
                if self.catch_up_to.take().is_none() {
                    return Ok(None);
                }
                continue;
            }
            self.read_disk(disk_end)?;
        }
    }

    /// Waits for the hub to deliver something. `false` when the deadline passed first.
    pub async fn wait(&self, deadline: Instant) -> bool {
        match &self.watcher {
            Some(watcher) => watcher.wait(deadline).await,
            None => false,
        }
    }

    /// Takes the queue once the hub has handled everything up to `target`. `false` if it was empty.
    async fn take_live(&mut self, target: ClusterTime) -> bool {
        let watermark = self.hub.reached(target).await;
        let Some(watcher) = &self.watcher else { return false };
        match watcher.take() {
            Taken::Overflowed => {
                // The floor is where the last full read of the queue ended.
                self.catch_up_to = Some(self.hub.source().durable());
                true
            }
            Taken::Entries(entries) => {
                let floor = self.floor;
                self.buffer.extend(entries.into_iter().filter(|entry| entry.position >= floor));
                let last = self.buffer.back().map(|entry| entry.position);
                self.floor = floor.max(after_time(watermark)).max(last.map_or(floor, after));
                self.scanned = self.scanned.max(watermark);
                last.is_some()
            }
        }
    }

    /// Reads a chunk of the log from the floor to `end`, keeping what is in scope.
    fn read_disk(&mut self, end: ClusterTime) -> Result<()> {
        let source = self.hub.source();
        let begin = self.floor.time;
        let (mut count, mut bytes) = (0, 0);
        let mut complete = true;
        for entry in source.read(self.floor, end) {
            let entry = entry?;
            self.floor = after(entry.position);
            self.scanned = self.scanned.max(entry.position.time);
            count += 1;
            if self.watch.scope.shows(&entry, self.watch.shown) {
                bytes += crate::hub::entry_bytes(&entry);
                self.buffer.push_back(Arc::new(entry));
            }
            if count >= CHUNK_ENTRIES || bytes >= CHUNK_BYTES {
                complete = false;
                break;
            }
        }
        if complete {
            self.floor = self.floor.max(after_time(end));
            self.scanned = self.scanned.max(end);
        }
        // Asked after reading: retention may have overtaken the read.
        match source.removed_up_to() {
            Some(removed) if removed >= begin => Err(history_lost()),
            _ => Ok(()),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.detach();
    }
}
