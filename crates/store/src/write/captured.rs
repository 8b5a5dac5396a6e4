//! Entries that were captured from another log: they keep their place, their time and their token.

use base::{ClusterTime, Uuid};
use document::DocBuf;

use super::{NewEntry, WriteTxn};
use crate::entry::{LogEntry, LogPosition, Namespace, Operation, TxnInfo};
use crate::error::Result;

/// What a captured entry brings along.
#[derive(Debug)]
pub(crate) struct Origin {
    position: LogPosition,
    wall_ms: i64,
    txn: Option<TxnInfo>,
    token: Option<DocBuf>,
    /// The token that follows from the position, for when that must change.
    own_token: Option<DocBuf>,
}

impl Origin {
    /// The entry at its own position, or at the first that is after `previous`.
    pub fn into_entry(
        self,
        namespace: Namespace,
        collection: Option<Uuid>,
        operation: Operation,
        previous: LogPosition,
    ) -> (LogPosition, LogEntry) {
        let Origin { position, wall_ms, txn, token, own_token } = self;
        let (position, token) =
            if position > previous { (position, token) } else { (previous.next(), token.or(own_token)) };
        (position, LogEntry { position, wall_ms, namespace, collection, operation, txn, token })
    }
}

impl WriteTxn {
    /// Appends an entry as another log has it. Where its position would not be after the last one in
    /// this log, it gets the next that is free, and keeps `own_token`, which no longer follows from it;
    /// so the order of the calls is the order of the log.
    pub fn append_captured(&mut self, entry: LogEntry, own_token: Option<DocBuf>) {
        let LogEntry { position, wall_ms, namespace, collection, operation, txn, token } = entry;
        let origin = Some(Box::new(Origin { position, wall_ms, txn, token, own_token }));
        self.effects.entries.push(NewEntry { namespace, collection, operation, origin });
    }

    /// The log is complete up to `time`: what is appended later gets a later time.
    pub fn advance_time(&mut self, time: ClusterTime) {
        self.effects.advance = self.effects.advance.max(time);
    }

    /// Runs statements that leave no entries in the log: what they do is told by other entries.
    pub fn unlogged<R>(&mut self, write: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let logged = self.effects.entries.len();
        let result = write(self);
        self.effects.entries.truncate(logged);
        result
    }
}
