//! Incremental operators over deltas. Pure; time is an argument.
//!
//! A delta is a row and a signed count. Each operator turns its inputs' deltas into its output's
//! deltas, keeping only the state it needs to do so:
//!
//! ```text
//!   scan ─ filter ─ project ─┐
//!                            ├ join ─ aggregate ─ output        one tick = one atomic group of
//!   scan ─ flat map ─────────┘                                  input deltas = one output delta
//! ```
//!
//! The key of a Z-set is the whole row: an update that leaves a row's projection unchanged cancels
//! itself out. Running the graph once over a snapshot is the same as keeping it up to date from
//! nothing, so a bounded SELECT and a materialized view are one code path.
//!
//! # Not here
//! Reading sources, checkpoints in the store, subscriptions (`views`).
//!
//! # Invariants
//! - The sum of all output deltas equals the query run afresh over the sum of all input deltas.
//! - After a tick no row has a negative count in any state.
//! - A retraction carries exactly the row that was emitted before, also where it shows a time.
//!
//! Read next: `delta.rs`, `graph.rs`, then `operator/`.

pub mod codec;
pub mod delta;
pub mod graph;
mod operator;
pub mod presentation;
pub mod state;

pub use delta::{Delta, consolidate};
pub use graph::{Dataflow, Input, Mode, OperatorStatistics, run_once};
pub use operator::{Failure, OnError, StepContext};
pub use presentation::Presentation;

#[cfg(test)]
mod tests;
