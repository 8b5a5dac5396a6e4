//! The durable document store: collections, indexes, transactions, the change log, recovery.
//!
//! One committer thread applies writes in order; each write's documents, index entries and
//! change-log entries are one atomic batch, and a group of batches shares one sync. A write is
//! acknowledged after the sync, and only then do change readers see its log entries.
//!
//! ```text
//!   writers ──queue──> committer: run closure, assign cluster time ─> batch {documents, indexes, log}
//!                          │ sync (one for all queued)                      │
//!                          └─> durable time, acknowledge, hand entries to the tail
//! ```
//!
//! # Not here
//! Query language and update operators (`document`); event shapes and tokens (`changes`).
//!
//! # Invariants
//! - Log order is commit order; positions are strictly increasing.
//! - An acknowledged write is on disk together with its log entry, or neither is.
//! - Readers of the log never see an entry that is not yet durable.
//!
//! Read next: `entry.rs`, `catalog.rs`, `kv.rs`, `committer.rs`.

pub mod entry;

pub use entry::{LogEntry, LogPosition, Namespace, Operation, TxnInfo};
