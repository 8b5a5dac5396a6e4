//! A sink's memory in this store: what a runner writes in one step is one commit of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::Position;
use delivery::runner::{Memory, Records, RecordsError, Step, StoredLetter};
use rustc_hash::FxHashSet;
use store::{Store, WriteTxn};

use super::definition::SinkDefinition;
use super::heartbeat::heartbeat;
use super::status::SinkStatus;
use super::{journal, records};

/// How long to wait for someone's open transaction that holds one of the documents that people read.
const CONFLICT: Duration = Duration::from_millis(50);

pub(super) struct LocalRecords {
    pub sink: Arc<SinkDefinition>,
    pub store: Store,
    pub status: Arc<SinkStatus>,
    /// The log is another's: what is written here leaves no entries in it.
    pub captured: bool,
}

/// Runs statements of ours; in a captured log they leave no entry, which would push the deployment's
/// own out of their places.
pub(super) fn quietly<R>(
    txn: &mut WriteTxn,
    captured: bool,
    write: impl FnOnce(&mut WriteTxn) -> store::Result<R>,
) -> store::Result<R> {
    if captured { txn.unlogged(write) } else { write(txn) }
}

impl LocalRecords {
    /// Writes until nobody is in the way.
    pub async fn commit<T: Send + 'static>(
        &self,
        write: impl Fn(&mut WriteTxn) -> store::Result<T> + Clone + Send + 'static,
    ) -> Result<T, RecordsError> {
        loop {
            let (write, captured) = (write.clone(), self.captured);
            match self.store.write(move |txn| quietly(txn, captured, write)).await {
                Ok(written) => return Ok(written.value),
                Err(store::Error::WriteConflict(_)) => tokio::time::sleep(CONFLICT).await,
                Err(error) => return Err(RecordsError::failed(error)),
            }
        }
    }

    /// What people read of a step, without what a restart needs.
    pub fn journal(&self, txn: &mut WriteTxn, step: &Step) -> store::Result<()> {
        let Step { changes, done, .. } = step;
        let (sink, now_ms) = (&self.sink, txn.now_ms());
        journal::letters(txn, sink, &changes.letters, now_ms)?;
        let skipped: FxHashSet<Position> =
            done.iter().filter(|done| done.error.is_some()).map(|done| done.event.position).collect();
        let (lost, delivered): (Vec<Position>, Vec<Position>) =
            changes.settled.iter().map(|(_, position)| *position).partition(|position| skipped.contains(position));
        journal::mark_letters(txn, sink.uid, delivered, "delivered", now_ms)?;
        journal::mark_letters(txn, sink.uid, lost, "skipped", now_ms)?;
        journal::log(txn, sink, done)?;
        if step.heartbeat {
            journal::heartbeat(txn, &heartbeat(sink, &self.status, changes.progress.low, now_ms))?;
            journal::prune_letters(txn, now_ms)?;
        }
        Ok(())
    }

    /// A handle for closures that outlive a call.
    pub fn share(&self) -> LocalRecords {
        LocalRecords {
            sink: Arc::clone(&self.sink),
            store: self.store.clone(),
            status: Arc::clone(&self.status),
            captured: self.captured,
        }
    }

    fn write_step(&self, txn: &mut WriteTxn, step: &Step) -> store::Result<()> {
        let sink = &self.sink;
        // DROP or REPLAY may have come first: an earlier life leaves no traces.
        if !records::is_current(txn, sink)? {
            return Ok(());
        }
        records::write_changes(txn, sink.uid, &step.changes)?;
        if !sink.reads_log() {
            records::trim_outbox(txn, sink.uid, step.changes.progress.low)?;
        }
        let delivered = step.done.iter().filter(|done| done.error.is_none()).count();
        records::count_delivered(txn, sink, delivered as u64)?;
        self.journal(txn, step)
    }
}

#[async_trait]
impl Records for LocalRecords {
    async fn load(&self) -> Result<Memory, RecordsError> {
        records::load(&self.store, self.sink.uid).map_err(RecordsError::failed)
    }

    async fn write(&self, step: Arc<Step>) -> Result<(), RecordsError> {
        let own = Arc::new(self.share());
        self.commit(move |txn| own.write_step(txn, &step)).await
    }

    async fn letters(&self, lane: &Bytes, limit: usize) -> Result<Vec<StoredLetter>, RecordsError> {
        records::letters(&self.store, self.sink.uid, lane, limit).map_err(RecordsError::failed)
    }

    async fn discard(&self, letters: &[(Bytes, Position)]) -> Result<usize, RecordsError> {
        let (uid, letters) = (self.sink.uid, letters.to_vec());
        self.commit(move |txn| {
            let mut gone = Vec::new();
            for (lane, position) in &letters {
                if records::remove_letter(txn, uid, lane, *position)? {
                    gone.push(*position);
                }
            }
            let count = gone.len();
            let now_ms = txn.now_ms();
            journal::mark_letters(txn, uid, gone, "discarded", now_ms)?;
            Ok(count)
        })
        .await
    }
}
