//! Documents: what a driver's collection methods do, without any wire.
//!
//! ```text
//!   requests ─┬─ read: find, count, distinct ──┐
//!             ├─ aggregate: pipelines, views ──┼── access ── store (snapshot or transaction)
//!             ├─ write, modify: batches ───────┘
//!             ├─ watch: change streams ─────────── changes
//!             └─ collections, indexes, listing ─── store's catalog
//! ```
//!
//! # Invariants
//! - A read sees one snapshot from its first document to its last.
//! - What is acknowledged is durable, and every change stream opened before sees it.
//!
//! Read next: `requests.rs`, `access.rs`, `write.rs`, `read.rs`, `aggregate.rs`.

mod access;
mod aggregate;
mod coll_mod;
mod collections;
mod context;
mod distinct;
mod explain;
mod index_spec;
mod indexes;
mod listing;
mod modify;
mod output;
mod read;
mod requests;
mod retry;
mod search;
mod settings;
mod sources;
mod tail;
mod validator;
mod views;
mod watch;
mod write;

pub use collections::{CollMod, CreateCollection, Dropped, IndexChange, Modified as CollModified, RenameCollection};
pub use explain::{Explained, check_verbosity};
pub use indexes::CreatedIndexes;
pub use requests::{
    Aggregate, Caller, Count, DeleteStatement, Distinct, Find, FindAndModify, Hint, Modification, Modified, Origin,
    SessionCall, Statement, Tail, UpdateStatement, Write, WriteBatch, WriteReport, Written,
};
pub use tail::TailCursor;

pub(crate) use read::check_deadline;
pub(crate) use settings::restore as restore_settings;
pub(crate) use tail::growth_of;
pub(crate) use validator::Validator;
