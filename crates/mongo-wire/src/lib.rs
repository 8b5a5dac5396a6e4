//! MongoDB's wire protocol: bytes in, bytes out.
//!
//! ```text
//!   socket ─ connection ─ codec ─ command ─ engine
//!              one task     pure    dispatch, strict arguments, codes and labels
//! ```
//!
//! # Not here
//! What a query, update or pipeline means, and where documents are kept: behind `engine`.
//!
//! # Invariants
//! - A damaged or hostile message ends its own command or connection and nothing else.
//! - Every reply carries the cluster's time; every error a code, its name and its labels.
//!
//! Read next: `codec.rs`, `connection.rs`, `command/mod.rs`, `cursors.rs`, `front.rs`, `login.rs`.

pub mod codec;
mod command;
mod connection;
mod cursors;
pub mod error_codes;
mod failpoint;
mod front;
mod hello;
mod login;
mod reply;
mod server;
mod socket;
mod version;

pub use server::{MAX_CONNECTIONS, serve};
pub use socket::Tls;
