//! The durable document store: collections, indexes, transactions, the change log, recovery.
//!
//! One committer thread applies writes in order; each write's documents, index entries and
//! change-log entries are one atomic batch, and a group of batches shares one sync. A write is
//! acknowledged after the sync, and only then do change readers see its log entries.
//!
//! ```text
//!   writers ──queue──> committer: run closure, assign cluster time ─> batch {documents, indexes, log}
//!                          │ sync (one for all queued)                      │
//!                          └─> durable time, hand entries to the tail, acknowledge
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
//! Read next: `store.rs`, `entry.rs`, `layout.rs`, `committer.rs`, `write.rs`, `catalog.rs`,
//! `index.rs`, `planner.rs`, `log.rs`.

mod store;

pub mod catalog;
pub mod entry;
pub mod error;
pub mod index;
pub mod kv;
pub mod planner;
pub mod read;
pub mod snapshot;
pub mod write;

mod catalog_codec;
mod commit;
mod committer;
mod index_build;
mod interest;
mod keeper;
mod layout;
mod locks;
mod log;
mod log_codec;
mod open;
mod overlay;
mod pending;
mod queue;
mod render;
mod shared;
#[cfg(test)]
mod testing;
mod transaction;

pub use catalog::{Capped, Catalog, Collection, CollectionId, IndexId, RecordId};
pub use entry::{CollectionKind, LogEntry, LogPosition, Namespace, Operation, PreImage, TxnInfo};
pub use error::{DuplicateKey, Error, Result};
pub use index::Index;
pub use index_build::{BuildEnd, IndexBuild, IndexCreation};
pub use keeper::LogRetention;
pub use kv::{Direction, MemoryKv, SyncMode};
pub use layout::Counts;
pub use log::LogReader;
pub use pending::{Committed, Pending};
pub use planner::{Hint, KeyBounds, Plan, Query, plan};
pub use read::{Reader, Rows, Stored};
pub use shared::DurableListener;
pub use snapshot::Snapshot;
pub use store::{Store, StoreOptions};
pub use transaction::Transaction;
pub use write::{Change, DropIndexes, IndexCounts, Modification, WriteTxn};
