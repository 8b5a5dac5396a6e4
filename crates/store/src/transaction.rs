//! Multi-document transactions.

use document::DocBuf;

/// What the log entries of a transaction have in common.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    pub lsid: DocBuf,
    pub txn_number: i64,
}
