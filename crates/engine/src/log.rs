//! The store's change log as the source of change streams.

use std::sync::Arc;

use base::{ClusterTime, Uuid};
use changes::source::{Deliver, Entries, LogSource};
use document::{DocBuf, Raw};
use store::{LogPosition, Reader, Store};

pub struct StoreLog {
    store: Store,
}

impl StoreLog {
    pub fn new(store: Store) -> Self {
        StoreLog { store }
    }
}

fn to_document_error(error: store::Error) -> document::Error {
    document::Error::new(error.code(), error.to_string())
}

impl LogSource for StoreLog {
    fn durable(&self) -> ClusterTime {
        self.store.durable()
    }

    fn removed_up_to(&self) -> Option<ClusterTime> {
        self.store.log_removed_up_to()
    }

    fn read(&self, from: LogPosition, up_to: ClusterTime) -> Entries<'_> {
        let after = match from.index.checked_sub(1) {
            Some(index) => LogPosition { time: from.time, index },
            None => LogPosition { time: ClusterTime(from.time.0.saturating_sub(1)), index: u32::MAX },
        };
        Box::new(self.store.log(Some(after), up_to).map(|entry| entry.map_err(to_document_error)))
    }

    fn on_durable(&self, deliver: Deliver) {
        self.store.on_durable(Box::new(move |entries, durable| deliver(entries, durable)));
    }

    fn current_document(&self, collection: Uuid, key: &DocBuf) -> document::Result<Option<DocBuf>> {
        let snapshot = self.store.snapshot().map_err(to_document_error)?;
        let Some(collection) = snapshot.catalog().by_uuid(collection) else { return Ok(None) };
        let id = key.get("_id").unwrap_or(Raw::Null);
        let found = snapshot.get(collection.id, id).map_err(to_document_error)?;
        Ok(found.map(|stored| stored.document))
    }
}
