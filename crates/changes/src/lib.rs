//! Change streams: the committed writes of a scope, in order, resumable.
//!
//! A stream is a filter plus a position in the change log. One hub reads the log once for everybody
//! and tells each watcher only what concerns it; a reader that is far behind reads the log itself.
//!
//! ```text
//!                    ┌─> hub ── index of predicates ──> watcher's queue ─┐
//! LogSource (log) ───┤                                                   ├─> ChangeStream ─> batches of events
//!                    └─> disk, from the stream's position ───────────────┘
//!                                                    └─> LogSubscription ─> groups of entries (views, sinks)
//! ```
//!
//! # Not here
//! Commands, cursors and error labels (`mongo-wire`, `engine`); whether a namespace is a view; how
//! the log is kept (`store`); incremental views (`dataflow`, `views`).
//!
//! # Invariants
//! - Every reader sees the log's order; nothing is delivered twice or left out, whatever the pace.
//! - Events of one transaction share one cluster time and stand together, in statement order.
//! - A write acknowledged before a read began is seen by that read.
//!
//! Read next: `scope.rs`, `event.rs`, `token.rs`, `options.rs`, `stream.rs`, `hub.rs`.

mod embedded;
pub mod error;
pub mod event;
pub mod hub;
pub mod options;
pub mod scope;
pub mod source;
pub mod split;
pub mod stages;
pub mod stream;
pub mod token;

#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use event::Event;
pub use hub::{Hub, LogBatch, LogFilter, LogSubscription};
pub use options::{BeforeChange, FullDocument, StartPoint, StreamOptions, Target, is_change_stream};
pub use scope::{OperationSet, OperationType, Scope, Shown};
pub use source::LogSource;
pub use stream::{Batch, BatchLimit, ChangeStream, StreamRequest};
pub use token::ResumeToken;
