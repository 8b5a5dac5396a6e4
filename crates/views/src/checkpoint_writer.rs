//! The thread that writes checkpoints, so that views go on while the disk does.
//!
//! Jobs are done in order. What a write could not do is kept and written with the next checkpoint of
//! the same view; the log stays pinned where the last one that succeeded stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use base::ClusterTime;
use rustc_hash::{FxHashMap, FxHashSet};
use sql::SqlError;
use store::Store;

use crate::checkpoint::{self, Checkpoint, Records};

/// What is told when a job is done.
pub type Done = Box<dyn FnOnce(Result<(), SqlError>) + Send>;

enum Job {
    /// Checkpoints of one tick; everything up to `position` is in them.
    Write { checkpoints: Vec<Checkpoint>, position: ClusterTime, done: Done },
    /// Everything of a view goes.
    Remove { id: u64, done: Done },
    /// The view has a whole checkpoint.
    Stored { id: u64 },
    /// The view's checkpoint stands no longer; told when nothing of earlier jobs is under way.
    Outdated { ids: Vec<u64>, done: Done },
}

/// The handle. Dropping it ends the thread when its jobs are done.
#[derive(Debug)]
pub struct CheckpointWriter {
    jobs: Option<mpsc::Sender<Job>>,
    state: Arc<State>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Writes that are not done.
    writing: AtomicUsize,
    /// The last write failed: there is something to try again.
    failed: AtomicBool,
}

impl CheckpointWriter {
    pub fn start(store: Store, records: Arc<dyn Records>) -> Result<Self, SqlError> {
        let (jobs, receiver) = mpsc::channel();
        let state = Arc::<State>::default();
        let generation = store.clock().now_us().max(1) as u64;
        let mut writer = Writer {
            store,
            records,
            state: Arc::clone(&state),
            stored: FxHashSet::default(),
            unwritten: FxHashMap::default(),
            unclean: FxHashSet::default(),
            generation,
        };
        let thread = std::thread::Builder::new()
            .name("view-checkpoints".into())
            .spawn(move || receiver.into_iter().for_each(|job| writer.run(job)))
            .map_err(|e| SqlError::new("58000", format!("cannot start a thread for checkpoints: {e}")))?;
        Ok(CheckpointWriter { jobs: Some(jobs), state, thread: Some(thread) })
    }

    fn send(&self, job: Job) {
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        assert!(matches!(sent, Some(Ok(()))), "the thread takes jobs until its handle is dropped");
    }

    pub fn is_writing(&self) -> bool {
        self.state.writing.load(Ordering::Acquire) > 0
    }

    pub fn has_failed(&self) -> bool {
        self.state.failed.load(Ordering::Acquire)
    }

    pub fn write(&self, checkpoints: Vec<Checkpoint>, position: ClusterTime, done: Done) {
        self.state.writing.fetch_add(1, Ordering::AcqRel);
        self.send(Job::Write { checkpoints, position, done });
    }

    /// Removes a view's checkpoint, also what an attempt that failed would write of it.
    pub fn remove(&self, id: u64, done: Done) {
        self.send(Job::Remove { id, done });
    }

    pub fn stored(&self, id: u64) {
        self.send(Job::Stored { id });
    }

    pub fn outdated(&self, ids: Vec<u64>, done: Done) {
        self.send(Job::Outdated { ids, done });
    }

    /// Sends a job and waits for it.
    pub fn wait(&self, send: impl FnOnce(&Self, Done)) -> Result<(), SqlError> {
        let (told, answer) = mpsc::channel();
        send(self, Box::new(move |outcome| drop(told.send(outcome))));
        answer.recv().unwrap_or_else(|_| Err(SqlError::internal("the thread for checkpoints has ended")))
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    store: Store,
    records: Arc<dyn Records>,
    state: Arc<State>,
    /// Views with a whole checkpoint in the store.
    stored: FxHashSet<u64>,
    /// What attempts that failed were to write.
    unwritten: FxHashMap<u64, Checkpoint>,
    /// Views of whose removed checkpoints something may be left.
    unclean: FxHashSet<u64>,
    generation: u64,
}

impl Writer {
    fn run(&mut self, job: Job) {
        match job {
            Job::Write { checkpoints, position, done } => {
                let outcome = self.write(checkpoints);
                if outcome.is_ok() {
                    self.store.pin_log("views", Some(position));
                }
                self.state.failed.store(outcome.is_err(), Ordering::Release);
                self.state.writing.fetch_sub(1, Ordering::AcqRel);
                done(outcome);
            }
            Job::Remove { id, done } => {
                self.unwritten.remove(&id);
                self.stored.remove(&id);
                self.unclean.insert(id);
                done(self.clean(id));
            }
            Job::Stored { id } => {
                self.stored.insert(id);
            }
            Job::Outdated { ids, done } => {
                self.stored.retain(|id| !ids.contains(id));
                done(Ok(()));
            }
        }
    }

    fn clean(&mut self, id: u64) -> Result<(), SqlError> {
        if self.unclean.contains(&id) {
            checkpoint::remove(&self.store, &*self.records, id)?;
            self.unclean.remove(&id);
        }
        Ok(())
    }

    /// Many small checkpoints share batches, a large one has its own. One that fails does not keep
    /// the others from being written.
    fn write(&mut self, checkpoints: Vec<Checkpoint>) -> Result<(), SqlError> {
        let mut outcome = Ok(());
        let mut together = Together::default();
        for mut checkpoint in checkpoints {
            if let Some(older) = self.unwritten.remove(&checkpoint.id) {
                checkpoint.absorb(older);
            }
            let written = if let Err(error) = self.clean(checkpoint.id) {
                self.keep_if_failed(vec![checkpoint], Err(error))
            } else if !checkpoint.is_small() {
                self.write_large(checkpoint)
            } else if let Some(full) = together.add(checkpoint) {
                self.write_together(full)
            } else {
                Ok(())
            };
            outcome = outcome.and(written);
        }
        outcome.and(self.write_together(together.checkpoints))
    }

    fn write_large(&mut self, checkpoint: Checkpoint) -> Result<(), SqlError> {
        self.generation += 1;
        let written = match self.stored.contains(&checkpoint.id) {
            true => checkpoint.write_staged(&*self.records, self.generation),
            false => checkpoint.write_first(&*self.records),
        };
        self.keep_if_failed(vec![checkpoint], written)
    }

    fn write_together(&mut self, checkpoints: Vec<Checkpoint>) -> Result<(), SqlError> {
        if checkpoints.is_empty() {
            return Ok(());
        }
        let batch = checkpoints.iter().flat_map(Checkpoint::batch).collect();
        let written = self.records.write(Arc::new(batch));
        self.keep_if_failed(checkpoints, written)
    }

    fn keep_if_failed(&mut self, checkpoints: Vec<Checkpoint>, written: Result<(), SqlError>) -> Result<(), SqlError> {
        for checkpoint in checkpoints {
            match written {
                Ok(()) => {
                    self.stored.insert(checkpoint.id);
                }
                Err(_) => {
                    self.unwritten.insert(checkpoint.id, checkpoint);
                }
            }
        }
        written
    }
}

/// Small checkpoints that go into one batch.
#[derive(Default)]
struct Together {
    checkpoints: Vec<Checkpoint>,
    changes: usize,
    bytes: usize,
}

impl Together {
    /// Changes and bytes after which a batch is full.
    const FULL: (usize, usize) = (2048, 512 * 1024);

    /// Gives back what was there if both do not fit together.
    fn add(&mut self, checkpoint: Checkpoint) -> Option<Vec<Checkpoint>> {
        let (changes, bytes) = (checkpoint.changes.len(), checkpoint.bytes());
        let fits = self.changes + changes <= Self::FULL.0 && self.bytes + bytes <= Self::FULL.1;
        let full = (!fits && !self.checkpoints.is_empty()).then(|| std::mem::take(self).checkpoints);
        self.checkpoints.push(checkpoint);
        self.changes += changes;
        self.bytes += bytes;
        full
    }
}

#[cfg(test)]
mod tests;
