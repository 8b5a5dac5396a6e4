//! The one thread that writes.
//!
//! ```text
//!   queue ─> closure 1 ─> batch 1 ─┐
//!            closure 2 ─> batch 2 ─┼─> one sync ─> durable time ─> listeners ─> acknowledge 1, 2, 3
//!            closure 3 ─> refused  ┘
//! ```
//! While a group syncs, the next one gathers in the queue, so the group grows with the load.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::ClusterTime;

use crate::commit::{self, Prepared};
use crate::entry::LogEntry;
use crate::error::{Error, Result};
use crate::kv::KvRead;
use crate::pending::{Committed, Slot};
use crate::queue::Queue;
use crate::shared::{Catalogs, Shared};
use crate::write::{Role, WriteTxn};

/// A queued write closure, with its result type forgotten.
pub(crate) trait Job: Send {
    /// Runs the closure; false if it refused, in which case its writes are dropped.
    fn run(&mut self, txn: &mut WriteTxn) -> bool;
    /// The commit did not happen.
    fn fail(&mut self, error: Error);
    /// Tells the writer.
    fn acknowledge(self: Box<Self>, time: ClusterTime);
}

pub(crate) struct TypedJob<F, R> {
    closure: Option<F>,
    result: Option<Result<R>>,
    /// Taken by the acknowledgement.
    slot: Option<Arc<Slot<R>>>,
}

impl<F, R> Drop for TypedJob<F, R> {
    /// No writer may wait forever, not even for a committer that is gone.
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.fill(Err(Error::Unavailable("the committer has ended".to_owned())));
        }
    }
}

impl<F, R> TypedJob<F, R> {
    pub fn new(closure: F, slot: Arc<Slot<R>>) -> Self {
        TypedJob { closure: Some(closure), result: None, slot: Some(slot) }
    }
}

impl<F, R> Job for TypedJob<F, R>
where
    F: FnOnce(&mut WriteTxn) -> Result<R> + Send,
    R: Send,
{
    fn run(&mut self, txn: &mut WriteTxn) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        let outcome = catch_unwind(AssertUnwindSafe(|| closure(txn)));
        let result = outcome.unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = %what, "a write closure panicked");
            Err(Error::Internal(format!("a write panicked: {what}")))
        });
        let fine = result.is_ok();
        self.result = Some(result);
        fine
    }

    fn fail(&mut self, error: Error) {
        self.result = Some(Err(error));
    }

    fn acknowledge(mut self: Box<Self>, time: ClusterTime) {
        let result = self.result.take().unwrap_or(Err(Error::Closed));
        if let Some(slot) = self.slot.take() {
            slot.fill(result.map(|value| Committed { value, time }));
        }
    }
}

pub(crate) type Inbox = Queue<Box<dyn Job>>;

/// Runs until the queue is closed and empty.
pub(crate) fn run(shared: &Arc<Shared>, inbox: &Inbox) {
    let ended = catch_unwind(AssertUnwindSafe(|| commit_groups(shared, inbox)));
    if ended.is_err() {
        shared.poison(&Error::Internal("the committer panicked".to_owned()));
        inbox.close();
        // Dropping a job tells its writer.
        while inbox.take_group(&mut Vec::new()).is_some() {}
    }
}

fn commit_groups(shared: &Arc<Shared>, inbox: &Inbox) {
    let mut group = Vec::new();
    while inbox.take_group(&mut group).is_some() {
        Group::default().commit(shared, inbox, &mut group);
    }
    if shared.check_healthy().is_ok() {
        match shared.kv.sync() {
            Ok(()) => shared.kv.settle(),
            Err(error) => shared.poison(&error),
        }
    }
}

/// Log entries of a group may take this many bytes before it is closed.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

#[derive(Default)]
struct Group {
    entries: Vec<LogEntry>,
    bytes: usize,
    done: Vec<(Box<dyn Job>, ClusterTime)>,
    dirty: bool,
}

impl Group {
    fn commit(mut self, shared: &Arc<Shared>, inbox: &Inbox, waiting: &mut Vec<Box<dyn Job>>) {
        let mut jobs = std::mem::take(waiting).into_iter();
        for mut job in jobs.by_ref() {
            let time = self.apply(shared, &mut *job);
            self.done.push((job, time));
            if self.bytes > MAX_GROUP_BYTES {
                break;
            }
        }
        waiting.extend(jobs);
        if waiting.is_empty() && self.bytes < MAX_GROUP_BYTES {
            self.join_late(shared, inbox);
        }
        self.finish(shared);
    }

    /// Writers that came while the group ran may still share its sync.
    fn join_late(&mut self, shared: &Arc<Shared>, inbox: &Inbox) {
        let mut late = Vec::new();
        inbox.take_more(&mut late);
        for mut job in late {
            let time = self.apply(shared, &mut *job);
            self.done.push((job, time));
        }
    }

    fn apply(&mut self, shared: &Arc<Shared>, job: &mut dyn Job) -> ClusterTime {
        let _apply = shared.apply.lock();
        if let Err(error) = shared.check_healthy() {
            job.fail(error);
            return shared.applied();
        }
        let base: Arc<dyn KvRead> = Arc::new(Newest(Arc::clone(shared)));
        let mut txn = WriteTxn::new(shared, base, shared.catalog(), Role::Ordinary);
        if !job.run(&mut txn) {
            return shared.applied();
        }
        match commit::prepare(txn).and_then(|prepared| self.publish(shared, prepared)) {
            Ok(()) => {}
            Err(error) => job.fail(error),
        }
        shared.applied()
    }

    fn publish(&mut self, shared: &Shared, prepared: Prepared) -> Result<()> {
        if prepared.batch.is_empty() {
            return Ok(());
        }
        let current = shared.catalog();
        if let Some(catalog) = &prepared.catalog {
            let next = Some(Arc::clone(catalog));
            shared.catalogs.store(Arc::new(Catalogs { current: Arc::clone(&current), next }));
        }
        if let Some((position, bytes)) = prepared.log_removed {
            // Before it happens, so that a reader that misses the entries also finds out why.
            shared.log.set_removed(position);
            shared.log.shrunk(bytes);
        }
        self.dirty = true;
        if let Err(error) = shared.kv.commit(prepared.batch) {
            shared.poison(&error);
            return Err(error);
        }
        if let Some(catalog) = prepared.catalog {
            shared.catalogs.store(Arc::new(Catalogs { current: catalog, next: None }));
        }
        shared.applied.store(prepared.applied.0, Ordering::Release);
        for changes in prepared.written {
            changes.fetch_add(1, Ordering::AcqRel);
        }
        shared.evicted.lock().extend(prepared.evicted);
        shared.log.appended(prepared.log_bytes);
        self.bytes += prepared.log_bytes;
        self.entries.extend(prepared.entries);
        Ok(())
    }

    fn finish(mut self, shared: &Shared) {
        if self.dirty {
            if let Err(error) = shared.kv.sync() {
                shared.poison(&error);
                for (job, _) in &mut self.done {
                    job.fail(error.clone());
                }
            } else {
                let durable = shared.applied();
                shared.durable.store(durable.0, Ordering::Release);
                notify(shared, self.entries, durable);
            }
        }
        for (job, time) in self.done {
            job.acknowledge(time);
        }
    }
}

fn notify(shared: &Shared, entries: Vec<LogEntry>, durable: ClusterTime) {
    if entries.is_empty() {
        return;
    }
    let entries: Arc<[LogEntry]> = entries.into();
    for listener in &*shared.listeners.read() {
        if catch_unwind(AssertUnwindSafe(|| listener(&entries, durable))).is_err() {
            tracing::error!("a listener of the change log panicked");
        }
    }
}

/// The newest state, as the base of an ordinary write.
struct Newest(Arc<Shared>);

impl KvRead for Newest {
    fn get(&self, space: crate::kv::Space, key: &[u8]) -> Result<Option<bytes::Bytes>> {
        self.0.kv.get(space, key)
    }

    fn range(
        &self,
        space: crate::kv::Space,
        range: crate::kv::KeyRange,
        direction: crate::kv::Direction,
    ) -> crate::kv::KvIter {
        self.0.kv.range(space, range, direction)
    }
}
