//! Mirrors being loaded while events flow: some collections at a time, each read ahead of its place.
//!
//! ```text
//!   reader of a collection ── chunk, chunk, … ──> ready ── captured far enough? ──> apply_chunk
//!   events of the collection ──────────────────> kept, until no chunk to come needs them
//! ```
//!
//! # Invariants
//! - A chunk is handed out with every event done to it that was captured since it was read.
//! - What waits here is bounded: chunks by their number, events by their bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::ClusterTime;
use document::{DocBuf, compare_raw};
use rustc_hash::FxHashMap;
use store::{Namespace, Operation};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::mirror::MirrorRecord;
use crate::snapshot::{Chunk, read_chunk};
use crate::translate::Captured;
use crate::upstream::Upstream;

/// Collections read at the same time.
const READERS: usize = 4;
/// Chunks that wait for their time; readers wait beyond it.
const READY: usize = 8;
/// Events kept for one collection. A reader that is slower than these begins again at its last key.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// What a kept event takes beside its documents.
const KEPT_EVENT_BYTES: usize = 200;

/// The mirrors of one connection that are being loaded.
pub struct Loader {
    upstream: Upstream,
    /// Everything up to here has been captured and shown to `see`.
    captured: Arc<AtomicU64>,
    readers: FxHashMap<Namespace, Reader>,
    sender: mpsc::Sender<Read>,
    chunks: mpsc::Receiver<Read>,
    readers_made: u64,
}

/// What a reader read.
pub struct Read {
    namespace: Namespace,
    reader: u64,
    chunk: Result<Chunk, Failure>,
}

struct Reader {
    number: u64,
    task: JoinHandle<()>,
    /// Everything up to this key is in its place.
    done: Option<DocBuf>,
    ready: VecDeque<Chunk>,
    kept: VecDeque<(ClusterTime, Operation)>,
    kept_bytes: usize,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Loader {
    pub fn new(upstream: Upstream, captured: ClusterTime) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        let captured = Arc::new(AtomicU64::new(captured.0));
        Loader { upstream, captured, readers: FxHashMap::default(), sender, chunks, readers_made: 0 }
    }

    pub fn may_start(&self, namespace: &Namespace) -> bool {
        self.readers.len() < READERS && !self.readers.contains_key(namespace)
    }

    /// Begins to read a collection where the mirror's record ends.
    pub fn start(&mut self, namespace: Namespace, record: &MirrorRecord) {
        self.readers_made += 1;
        let number = self.readers_made;
        let reading = read_all(
            self.upstream.clone(),
            Arc::clone(&self.captured),
            Told { namespace: namespace.clone(), reader: number, sender: self.sender.clone() },
            record.last.clone(),
        );
        let reader = Reader {
            number,
            task: tokio::spawn(reading),
            done: record.last.clone(),
            ready: VecDeque::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
        };
        self.readers.insert(namespace, reader);
    }

    /// Keeps what the chunks to come may lack. Every event goes through here before `moved`.
    pub fn see(&mut self, events: &[Captured]) {
        if self.readers.is_empty() {
            return;
        }
        for captured in events {
            let (namespace, operation) = (&captured.entry.namespace, &captured.entry.operation);
            match operation {
                Operation::DropDatabase => self.readers.retain(|reading, _| reading.db != namespace.db),
                Operation::Drop => self.stop(namespace),
                Operation::Rename { to, .. } => {
                    self.stop(namespace);
                    self.stop(to);
                }
                _ => {
                    let Some(reader) = self.readers.get_mut(namespace) else { continue };
                    if !reader.keep(captured.entry.position.time, operation) {
                        tracing::warn!(%namespace, "a collection changes faster than it is read; its mirror begins again at the last key");
                        self.stop(namespace);
                    }
                }
            }
        }
    }

    /// Everything up to `time` has been seen.
    pub fn moved(&self, time: ClusterTime) {
        self.captured.store(time.0, Ordering::Release);
    }

    pub fn has_room(&self) -> bool {
        !self.readers.is_empty() && self.readers.values().map(|reader| reader.ready.len()).sum::<usize>() < READY
    }

    /// The next thing that was read. Losing the future loses nothing.
    pub async fn next(&mut self) -> Read {
        self.chunks.recv().await.expect("a sender is kept here")
    }

    /// # Errors
    /// What kept the reader from reading.
    pub fn take(&mut self, read: Read) -> Result<(), Failure> {
        let Some(reader) = self.readers.get_mut(&read.namespace).filter(|reader| reader.number == read.reader) else {
            return Ok(());
        };
        reader.ready.push_back(read.chunk?);
        Ok(())
    }

    /// A chunk whose time has come, as of `captured`, which is what has been seen.
    pub fn due(&mut self, captured: ClusterTime) -> Option<Chunk> {
        self.readers.values_mut().find_map(|reader| reader.due(captured))
    }

    /// The chunk that was handed out is in its place, and was the last if there is no `end`.
    pub fn placed(&mut self, namespace: &Namespace, end: Option<DocBuf>) {
        match (self.readers.get_mut(namespace), end) {
            (Some(reader), Some(end)) => reader.done = Some(end),
            (_, None) => self.stop(namespace),
            (None, _) => {}
        }
    }

    /// Ends reading; what was read is of no use any more.
    pub fn stop(&mut self, namespace: &Namespace) {
        self.readers.remove(namespace);
    }
}

impl Reader {
    /// False if there is no more room.
    fn keep(&mut self, time: ClusterTime, operation: &Operation) -> bool {
        let (Operation::Insert { key, .. }
        | Operation::Replace { key, .. }
        | Operation::Update { key, .. }
        | Operation::Delete { key, .. }) = operation
        else {
            return true;
        };
        let done = self.done.as_ref().and_then(|done| done.get("_id"));
        let is_done = key.get("_id").is_none_or(|id| done.is_some_and(|done| compare_raw(id, done).is_le()));
        if is_done {
            return true;
        }
        self.kept_bytes += kept_bytes(operation);
        self.kept.push_back((time, operation.clone()));
        self.kept_bytes <= KEPT_BYTES
    }

    fn due(&mut self, captured: ClusterTime) -> Option<Chunk> {
        self.ready.front().filter(|chunk| chunk.time <= captured)?;
        let mut chunk = self.ready.pop_front()?;
        // Chunks are read one after the other: none to come lacks what is in this one.
        while let Some((time, operation)) = self.kept.front()
            && *time <= chunk.since
        {
            self.kept_bytes = self.kept_bytes.saturating_sub(kept_bytes(operation));
            self.kept.pop_front();
        }
        for (_, operation) in &self.kept {
            chunk.replay(operation);
        }
        Some(chunk)
    }
}

fn kept_bytes(operation: &Operation) -> usize {
    KEPT_EVENT_BYTES
        + match operation {
            Operation::Insert { document, .. } | Operation::Replace { document, .. } => document.len(),
            Operation::Update { description, .. } => description.len(),
            _ => 0,
        }
}

/// Where a reader puts what it reads.
struct Told {
    namespace: Namespace,
    reader: u64,
    sender: mpsc::Sender<Read>,
}

/// Reads chunk after chunk, up to the end or the first failure.
async fn read_all(upstream: Upstream, captured: Arc<AtomicU64>, told: Told, mut after: Option<DocBuf>) {
    loop {
        let position = ClusterTime(captured.load(Ordering::Acquire));
        let chunk = read_chunk(&upstream, &told.namespace, after.as_ref(), position).await;
        let next = chunk.as_ref().ok().and_then(|chunk| chunk.end().cloned());
        let read = Read { namespace: told.namespace.clone(), reader: told.reader, chunk };
        if told.sender.send(read).await.is_err() || next.is_none() {
            return;
        }
        after = next;
    }
}
