//! Delivery: every event of a source reaches its target, in order per key, whatever breaks.
//!
//! ```text
//!   source (log | outbox) ─offer─> Scheduler: one lane per key ─batches─> Target (webhook, table, …)
//!                                     │   ▲                                  │
//!                                     │   └──────── succeeded | failed ──────┘
//!                                     └─> Changes: position, ledger, dead letters   (one commit)
//! ```
//!
//! `scheduler` decides and keeps no clock, no disk and no socket: a seed can replay a whole run
//! (`tests/simulation.rs`). `runner` moves events through it, between traits: a seed can replay that
//! too (`tests/lives.rs`). The folders beside them are the targets, the same rooms in each.
//!
//! # Not here
//! Where events come from, where a sink's memory is kept, SQL (`engine`).
//!
//! # Invariants
//! - An event is finished after its effect, never before; the position never passes an unfinished one.
//! - Events of one key reach the target in order, one flight at a time.
//! - A dead letter parks its key: later events of that key wait behind it, other keys go on.
//! - What is held in memory is bounded; beyond the bound the source is not read.
//!
//! Read next: `event.rs`, `policy.rs`, `scheduler.rs`, `target.rs`, `runner.rs`, then `webhook/`.

pub mod event;
pub mod policy;
pub mod runner;
pub mod scheduler;
pub mod target;

pub mod envelope;
mod text;
mod tls;

#[cfg(test)]
mod fixture;

pub mod file;
pub mod group;
pub mod kafka;
pub mod mongodb;
pub mod nats;
pub mod postgres;
pub mod redis;
pub mod webhook;

pub use event::{Event, Kind, Position, digest};
pub use policy::{OnDeath, Policy};
pub use scheduler::{Batch, Changes, Circuit, Counters, Letter, LetterState, Offer, Offered, Outcome, Scheduler};
pub use target::{Delivery, Fault, FaultKind, Marks, Target};
