//! What a stream of changes needs from a log, whoever keeps it.
//!
//! The embedded store is one such log; a log captured from a MongoDB cluster is another. Streams,
//! subscriptions and the hub know this trait only.

use std::sync::Arc;

use base::ClusterTime;
use document::DocBuf;
use store::entry::{LogEntry, LogPosition};

use crate::error::Result;

/// Log entries in order.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<LogEntry>> + Send + 'a>;

/// Receives each group of entries once it is durable, and the time up to which the log is durable
/// with it. Groups come in order and hold whole transactions.
pub type Deliver = Box<dyn Fn(&Arc<[LogEntry]>, ClusterTime) + Send + Sync>;

/// A durable, ordered log of changes.
///
/// # Invariants
/// - `durable` never goes back, and covers a group before the group is delivered.
/// - A write is acknowledged to its client only after `durable` covers it.
pub trait LogSource: Send + Sync + 'static {
    /// The time of the last entry that readers may see.
    fn durable(&self) -> ClusterTime;

    /// Entries at or before this time may be gone; `None` while the log reaches back to its creation.
    fn removed_up_to(&self) -> Option<ClusterTime>;

    /// The entries from `from` (inclusive) to `up_to` (inclusive).
    fn read(&self, from: LogPosition, up_to: ClusterTime) -> Entries<'_>;

    /// Hands every later group to `deliver`, which must not block.
    fn on_durable(&self, deliver: Deliver);

    /// The document that an entry changed, as it is now.
    fn current_document(&self, entry: &LogEntry) -> Result<Option<DocBuf>>;
}

/// The first position after every entry of `time`.
pub(crate) fn after_time(time: ClusterTime) -> LogPosition {
    LogPosition { time: time.next(), index: 0 }
}

/// The first position after `position`.
pub(crate) fn after(position: LogPosition) -> LogPosition {
    LogPosition { time: position.time, index: position.index + 1 }
}
