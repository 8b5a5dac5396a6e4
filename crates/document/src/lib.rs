//! BSON documents: bytes, values, order, paths, queries, updates, aggregation. Pure: no I/O, no clock.
//!
//! A document stays the bytes it arrived as (`DocBuf`, a reference-counted slice) from the wire to
//! the log and the expression; `Raw` walks those bytes without copying, `Value` is the owned form
//! for what must be computed.
//!
//! ```text
//!   DocBuf (bytes)  --iterate-->  Raw<'_> (borrowed element)  --to_value-->  Value / Doc (owned)
//!        ^------------------------------- DocWriter / Doc::to_buf --------------------'
//! ```
//!
//! # Not here
//! Storage and indexes (`store`); events and tokens (`changes`); commands (`mongo-wire`).
//!
//! # Invariants
//! - A `DocBuf` has been validated: lengths, terminators, element types, UTF-8 and nesting are sound.
//! - Field order and duplicate names survive every step that does not say otherwise.
//! - Errors carry MongoDB's code, because callers and clients branch on it.
//!
//! Read next: `raw.rs`, `value.rs`, `compare.rs`, then `matcher`, `update`, `expression`, `pipeline`.

pub mod collation;
pub mod compare;
pub mod context;
pub mod diff;
pub mod error;
pub mod expression;
pub mod json;
pub mod key_string;
pub mod matcher;
pub mod number;
pub mod path;
pub mod pipeline;
pub mod projection;
pub mod raw;
pub mod sort;
pub mod update;
pub mod value;
pub mod write;

pub use compare::{compare_raw, compare_values};
pub use context::Context;
pub use error::{Error, Result};
pub use raw::{DocBuf, Raw, RawDoc};
pub use value::{Binary, Doc, Regex, Value};
pub use write::DocWriter;
