//! Going on where history is missing: a gap in the log, mirrors to be compared.

use base::ClusterTime;
use store::{LogEntry, WriteTxn};

use crate::mirror;
use crate::position::Position;

/// Puts the gap into the log, moves the position past it, and has every mirror compared.
pub fn begin_again(txn: &mut WriteTxn, gap: LogEntry, position: &Position, as_events: bool) -> store::Result<()> {
    txn.append_captured(gap, None);
    txn.advance_time(ClusterTime(position.time.0.saturating_sub(1)));
    for (namespace, record) in mirror::all(txn)? {
        record.again(as_events).save(txn, &namespace);
    }
    position.save(txn);
    Ok(())
}
