//! The SQL dialect: statements, names and types, functions, plans. Pure: no I/O, no clock.
//!
//! ```text
//!   text --parse--> Statement --bind(catalog)--> Plan (typed relational algebra)
//!                                                  │ Expr::eval, one row at a time
//!                                                  ▼
//!                                    dataflow: incremental or run once over a snapshot
//! ```
//!
//! PostgreSQL's syntax, types and meaning wherever PostgreSQL has them; change streams, views,
//! subscriptions and sinks on top.
//!
//! # Not here
//! State and operators (`dataflow`), catalogue storage (`views`), the wire (`pg-wire`).
//!
//! # Invariants
//! - A bound plan is fully typed: no name, no unknown type, no implicit cast is left in it.
//! - Evaluation never panics and never reads a clock; `now` is an argument.
//! - An unsupported construct is refused by name with SQLSTATE 0A000 and its position.
//!
//! Read next: `types.rs`, `datum.rs`, `expr.rs`, `plan.rs`, then `parser`, `binder`, `functions`.

pub mod aggregates;
pub mod binder;
pub mod cast;
pub mod catalog;
pub mod compare;
pub mod datetime;
pub mod datum;
pub mod error;
pub mod eval;
pub mod explain;
pub mod expr;
pub mod functions;
pub mod json;
pub mod numeric;
pub mod optimize;
pub mod parser;
pub mod plan;
mod rewrite;
pub mod text;
pub mod types;

pub use catalog::{Catalog, Relation};
pub use datum::{Datum, Interval, Json, Row};
pub use error::{Notice, Result, SqlError};
pub use expr::{EvalContext, Expr, ExprKind};
pub use plan::{Field, Plan, Source};
pub use types::Type;
