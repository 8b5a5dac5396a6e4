//! The waist of Headwater: one database, opened from a directory, used from Rust.
//!
//! Everything outside — wires, dashboard, binary — enters here and names nothing behind it.
//!
//! Read next: `documents/mod.rs`, `sessions.rs`, `error.rs`.

mod cursor;
mod error;
mod sessions;

use std::sync::Arc;

use base::{Clock, ClusterTime};

pub use cursor::{Batch, BatchLimit, Cursor, DocumentCursor, Rows};
pub use error::{Error, ErrorKind, Result};
pub use sessions::Sessions;
pub use store::Namespace;

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub clock: Arc<dyn Clock>,
    /// Fail points and other commands that only tests should have.
    pub enable_test_commands: bool,
}

/// A database. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Headwater {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    sessions: Sessions,
}

impl Headwater {
    pub fn open(options: Options) -> Result<Self> {
        Ok(Headwater { inner: Arc::new(Inner { sessions: Sessions::new(Arc::clone(&options.clock)), options }) })
    }

    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.options.clock
    }

    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// The cluster time of the last applied write.
    pub fn applied_time(&self) -> ClusterTime {
        ClusterTime::ZERO.tick(self.clock().now_ms())
    }
}
