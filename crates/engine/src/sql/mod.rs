//! SQL over the changes: sessions, streams and views, queries, what a client asks about them.
//!
//! ```text
//!   pg-wire ── Statement ──> SqlSession::execute
//!                              ├ session, settings, cursors     this connection's own state
//!                              ├ ddl, definitions               durable definitions, one change at a time
//!                              ├ queries, explain, objects      bind ─> run over the present
//!                              └ feed                           follow: rows as they change
//!   dashboard ── status.rs ──> counters, followed views, the newest changes
//! ```
//!
//! # Not here
//! Text to statements and plans (`sql`), running views (`views`), bytes (`pg-wire`).
//!
//! # Invariants
//! - A definition is durable before its statement is answered, and bound again when a database opens.
//! - Whatever reads a collection's changes has its pre-images kept from before the first read.
//!
//! Read next: `session.rs`, `ddl.rs`, `queries.rs`, `feed.rs`, `system/mod.rs`, `status.rs`.

pub(crate) mod binding;
mod client_queries;
mod cursors;
pub(crate) mod ddl;
pub(crate) mod definitions;
mod explain;
mod feed;
pub(crate) mod interest;
mod lag;
mod objects;
mod prepared;
mod presentation;
mod queries;
mod read_after;
mod runtime;
mod session;
mod settings;
mod sinks;
mod source;
mod status;
mod system;
mod topics;
pub(crate) mod view_ddl;

#[cfg(test)]
mod tests;

use ::sql::{Notice, Row};

pub use ::sql::parser::statement::Copy as CopyOptions;
pub use ::sql::parser::{Statement, parse_size};
pub use ::sql::{Datum, Field, SqlError, Type};
pub use feed::{Feed, token_after};
pub use session::{SqlSession, TransactionStatus};
pub use status::{BuildStatus, ChangeFeed, ChangeSummary, SinkStatus, Status, StreamStatus, ViewStatus};
pub use topics::Topic;
pub use views::{Progress as ViewProgress, Subscription as ViewSubscription};

pub(crate) use definitions::NoSystemTables;
pub(crate) use objects::scope_text;
pub(crate) use runtime::SqlRuntime;

/// What a statement wants and gives, before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub parameters: Vec<Type>,
    /// `None`: no rows.
    pub fields: Option<Vec<Field>>,
}

/// A statement that ran.
#[derive(Debug)]
pub struct Executed {
    pub outcome: Outcome,
    pub notices: Vec<Notice>,
    /// Reported settings that have a new value, by their reported names.
    pub changed_parameters: Vec<(String, String)>,
}

/// What a statement answers.
#[derive(Debug)]
pub enum Outcome {
    Rows {
        fields: Vec<Field>,
        rows: Vec<Row>,
        tag: String,
    },
    /// Endless.
    Stream {
        feed: Feed,
    },
    Copy {
        source: CopySource,
        options: Box<CopyOptions>,
    },
    Command {
        tag: String,
    },
    Empty,
}

/// The rows of a COPY.
#[derive(Debug)]
pub enum CopySource {
    Rows { fields: Vec<Field>, rows: Vec<Row> },
    Stream(Feed),
}

impl Outcome {
    fn command(tag: impl Into<String>) -> Self {
        Outcome::Command { tag: tag.into() }
    }
}

/// A value as PostgreSQL prints it, times in UTC; empty for NULL.
///
/// ```
/// use engine::{Datum, Type};
/// assert_eq!(engine::datum_text(&Datum::Int(7), &Type::Int8), "7");
/// ```
pub fn datum_text(datum: &Datum, ty: &Type) -> String {
    if datum.is_null() { String::new() } else { ::sql::text::to_string(datum, ty, "UTC") }
}
