//! The embedded store's own change log as a source.

use base::ClusterTime;
use document::DocBuf;
use store::entry::{LogEntry, LogPosition};
use store::{Reader, Store};

use crate::error::{Error, Result, history_lost};
use crate::event::Event;
use crate::source::{Deliver, Entries, LogSource};

impl LogSource for Store {
    fn durable(&self) -> ClusterTime {
        Store::durable(self)
    }

    fn removed_up_to(&self) -> Option<ClusterTime> {
        // The oldest time is the one after the last removed; time zero has no entry.
        let removed = ClusterTime(self.oldest_time().0.saturating_sub(1));
        (removed > ClusterTime::ZERO).then_some(removed)
    }

    fn read(&self, from: LogPosition, up_to: ClusterTime) -> Entries<'_> {
        let reader = match from.index.checked_sub(1) {
            Some(index) => self.log(Some(LogPosition { time: from.time, index }), up_to),
            None => self.log_from_time(from.time.max(self.oldest_time().min(ClusterTime(1))), up_to),
        };
        Box::new(reader.map(|entry| entry.map_err(request_error)))
    }

    fn on_durable(&self, deliver: Deliver) {
        Store::on_durable(self, deliver);
    }

    fn current_document(&self, entry: &LogEntry) -> Result<Option<DocBuf>> {
        let Some((collection, key)) = entry.collection.zip(Event::new(entry).document_key()) else {
            return Ok(None);
        };
        let snapshot = self.snapshot().map_err(request_error)?;
        let (Some(collection), Some(id)) = (snapshot.catalog().by_uuid(collection), key.get("_id")) else {
            return Ok(None);
        };
        let stored = snapshot.get(collection.id, id).map_err(request_error)?;
        Ok(stored.map(|stored| stored.document))
    }
}

fn request_error(error: store::Error) -> Error {
    match error {
        store::Error::HistoryLost { .. } => history_lost(),
        other => Error::new(other.code(), other.to_string()),
    }
}
