//! Keeps queries alive: the SQL catalogue, running views, their checkpoints, reads, subscriptions.
//!
//! ```text
//!   change log ──subscribe──> runtime (one thread)
//!                               │ one tick: entries up to a cluster time
//!                               ├─ decode once per source and column set ─> deltas
//!                               ├─ every view's dataflow steps ─> its output delta
//!                               │        ├─ rows of the view (what a reader sees)
//!                               │        └─ subscribers (token, deltas)
//!                               └─ now and then: changed state + position ─> checkpoint thread
//!   a new view ──a thread of its own──> built, saved, caught up ──> joins the ticks
//! ```
//!
//! # Not here
//! Operators (`dataflow`), SQL text (`sql`), who may ask (`pg-wire`).
//!
//! # Invariants
//! - All views stand at the same cluster time whenever anyone looks.
//! - A checkpoint holds a view's state, rows, dead letters and position of one tick: whole or not at all.
//! - A slow subscriber gets fewer, larger batches; it never delays the runtime.
//!
//! Read next: `definition.rs`, `scan.rs`, `runtime.rs`, `subscription.rs`, `read.rs`.

pub mod build;
pub mod checkpoint;
mod checkpoint_writer;
pub mod dead_letters;
pub mod definition;
pub mod events;
mod letters;
pub mod names;
pub mod progress;
pub mod read;
pub mod retention;
pub mod runtime;
pub mod scan;
pub mod source_filter;
pub mod subscription;
#[cfg(test)]
mod testing;
pub mod view;

pub use dead_letters::DeadLetter;
pub use definition::{Definitions, StateLimits, StreamDefinition, StreamScope, ViewDefinition};
pub use read::{QueryResult, SystemTables};
pub use runtime::{Views, ViewsOptions};
pub use subscription::{Progress, Subscription};
