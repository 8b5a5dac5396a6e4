//! Cursors that stay open at the end of a capped collection.

use std::sync::Arc;
use std::time::Duration;

use document::projection::Projection;
use store::{Collection, CollectionId, Namespace, Reader, RecordId};
use tokio::sync::Notify;

use super::access::Query;
use super::requests::{Find, Tail};
use crate::cursor::{Batch, BatchLimit};
use crate::{Error, Headwater, Result, blocking};

/// Reads a capped collection in insertion order, and waits at its end.
pub struct TailCursor {
    db: Headwater,
    namespace: Namespace,
    collection: CollectionId,
    query: Query,
    projection: Option<Projection>,
    tail: Tail,
    /// Matching documents still to be passed over.
    skip: u64,
    /// How many may still be returned.
    remaining: Option<u64>,
    /// The last document read.
    after: Option<RecordId>,
}

impl TailCursor {
    pub(crate) fn new(
        db: Headwater,
        collection: &Collection,
        query: Query,
        projection: Option<Projection>,
        find: &Find,
    ) -> Self {
        TailCursor {
            db,
            namespace: collection.namespace.clone(),
            collection: collection.id,
            query,
            projection,
            tail: find.tail,
            skip: find.skip,
            remaining: find.limit,
            after: None,
        }
    }

    pub fn awaits(&self) -> bool {
        self.tail == Tail::Await
    }

    pub async fn next_batch(&mut self, limit: BatchLimit, wait: Option<Duration>) -> Result<Batch> {
        let deadline = wait.map(|wait| tokio::time::Instant::now() + wait);
        let growth = self.db.growth();
        loop {
            let grown = growth.notified();
            tokio::pin!(grown);
            // Registered before reading, so that a write in between is not missed.
            grown.as_mut().enable();
            let batch = blocking(|| self.read(limit))?;
            if !batch.documents.is_empty() || batch.exhausted {
                return Ok(batch);
            }
            let Some(deadline) = deadline else { return Ok(batch) };
            if tokio::time::timeout_at(deadline, grown).await.is_err() {
                return blocking(|| self.read(limit));
            }
        }
    }

    fn read(&mut self, limit: BatchLimit) -> Result<Batch> {
        let snapshot = self.db.store().snapshot()?;
        let mut batch = Batch::default();
        match snapshot.catalog().collection(&self.namespace) {
            Some(collection) if collection.id == self.collection => {}
            _ => return Err(Error::new(175, "collection dropped: the tailable cursor cannot go on")),
        }
        if let Some(after) = self.after
            && snapshot.fetch(self.collection, after)?.is_none()
        {
            return Err(Error::new(136, "CollectionScan died due to position in capped collection being deleted."));
        }
        let rows = match self.after {
            Some(after) => snapshot.scan_after(self.collection, after),
            None => snapshot.scan(self.collection, store::Direction::Forward),
        };
        let mut bytes = 0;
        for stored in rows {
            if batch.documents.len() >= limit.documents || self.remaining == Some(0) {
                break;
            }
            let stored = stored?;
            let record = stored.record;
            if let Some(found) = self.query.check(stored)? {
                if self.skip > 0 {
                    self.skip -= 1;
                    self.after = Some(record);
                    continue;
                }
                let document = match &self.projection {
                    Some(projection) => projection.apply(found.stored.document.as_doc(), found.details.array_index)?,
                    None => found.stored.document,
                };
                bytes += document.len();
                if bytes > limit.bytes && !batch.documents.is_empty() {
                    break;
                }
                batch.documents.push(document);
                if let Some(remaining) = &mut self.remaining {
                    *remaining -= 1;
                }
            }
            self.after = Some(record);
        }
        // A tailable cursor on an empty collection has nothing to stand on, as on the server.
        batch.exhausted = self.after.is_none() || self.remaining == Some(0);
        Ok(batch)
    }
}

/// Woken whenever something has become durable.
pub(crate) fn growth_of(store: &store::Store) -> Arc<Notify> {
    let growth = Arc::new(Notify::new());
    let waker = Arc::clone(&growth);
    store.on_durable(Box::new(move |_, _| waker.notify_waiters()));
    growth
}
