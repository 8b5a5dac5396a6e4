//! The changes of a MongoDB deployment, captured into the local log.
//!
//! One change stream reads the deployment. Its events become entries of the local store's log, in
//! order, together with the resume token after them in one batch; streams and views then read that
//! log as they read the log of local writes. Collections that queries read as tables are mirrored.
//!
//! ```text
//! deployment ─ one cursor ─> upstream ─ replies ─> translate ─> assemble ─> apply ─> store
//!                               │        events, whole          whole commits │        │
//!                               │                                             │        └─ log: entries + token
//!                               └─ chunks of collections ── load, snapshot ───┘           mirrors: documents
//! ```
//!
//! # Not here
//! What reads the log (`changes`, `views`); commands of MongoDB clients (`mongo-wire`); SQL.
//!
//! # Invariants
//! - The token is stored in the batch of the events before it: a crash repeats and loses nothing.
//! - Events of one cluster time are appended together, as far as the deployment shows them together.
//! - A mirror holds, at every entry of the log, the collection as of that entry, up to the key that
//!   its load has reached.
//! - What is missing is said: by a `gap` entry, by the status, by the log of the process.
//!
//! Read next: `options.rs`, `source.rs`, `run.rs`, `translate.rs`, `assemble.rs`, `apply.rs`,
//! `load.rs`, `snapshot.rs`.

mod apply;
mod assemble;
mod failure;
mod image;
mod load;
mod lost;
mod mirror;
mod needs;
mod options;
mod position;
mod run;
mod snapshot;
mod source;
mod status;
mod translate;
mod upstream;

pub use mirror::MirrorState;
pub use needs::Need;
pub use options::{HistoryLost, SourceOptions, Watched};
pub use source::{CapturedLog, Source, SourceTls, is_captured};
pub use status::{MirrorStatus, SourceState, SourceStatus};
