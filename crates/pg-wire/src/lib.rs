//! The PostgreSQL protocol: bytes in, bytes out.
//!
//! ```text
//!   socket ─ message.rs (frames) ─ session.rs (one connection's state) ─ engine::SqlSession
//!                                        └ encode.rs (values as text or binary)
//! ```
//!
//! # Not here
//! What a statement means (`engine`); TLS and passwords (connections are trusted, listen on loopback).
//!
//! # Invariants
//! - Rows of a subscription are flushed when they are written: a reader sees a change at once.
//! - A message that is too long or malformed ends its own connection only.
//! - A cancel request ends the running statement of one session, with 57014.
//!
//! Read next: `message.rs`, `session.rs`, `encode.rs`.

mod copy;
mod encode;
mod message;
mod oid;
mod server;
mod session;

pub use message::{Frontend, decode, decode_startup};
pub use server::serve;

#[cfg(test)]
mod tests;
