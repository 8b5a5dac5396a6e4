//! What CREATE statements defined: change streams and materialized views, as stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::ClusterTime;
use document::{Doc, DocBuf, Value};
use sql::{Expr, Plan, SqlError};

/// What a change stream watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamScope {
    Collection { db: String, name: String },
    Database(String),
    Cluster,
}

/// Which images of the document a stream's events carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// The state right after the change also for updates; otherwise only inserts and replaces have it.
    pub full_document: bool,
    pub before_change: bool,
    /// An event without the pre-image it asks for is an error.
    pub before_required: bool,
}

/// A change stream: a filter over the log from a position on. It holds no events of its own.
#[derive(Clone, Debug)]
pub struct StreamDefinition {
    pub db: String,
    pub name: String,
    pub scope: StreamScope,
    pub images: Images,
    /// Empty means all operations that MongoDB shows by default.
    pub operation_types: Vec<String>,
    pub show_expanded_events: bool,
    /// Over the stream's columns.
    pub filter: Option<Expr>,
    pub filter_text: Option<String>,
    /// Events after this time belong to the stream.
    pub start: ClusterTime,
    /// How long matching events are kept, in milliseconds; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// A paused stream ends here: later events belong to it once it is resumed.
    pub paused_at: Option<ClusterTime>,
    /// The CREATE statement as given.
    pub statement: String,
    /// WITH options as given, for SHOW.
    pub options: Vec<(String, String)>,
    pub created_ms: i64,
}

/// How much a view may hold: its operators' entries and its own rows together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateLimits {
    pub rows: Option<u64>,
    /// Estimated, as EXPLAIN ANALYZE shows them.
    pub bytes: Option<u64>,
}

/// A materialized view.
#[derive(Clone, Debug)]
pub struct ViewDefinition {
    /// Number of its checkpoint entries; never used again.
    pub id: u64,
    pub db: String,
    pub name: String,
    pub plan: Arc<Plan>,
    pub on_error: dataflow::OnError,
    /// Rows that are left out are kept to be looked at.
    pub keeps_dead_letters: bool,
    pub limits: StateLimits,
    /// How its rows are shown to a reader who asks for no order: columns of `plan`.
    pub order: Vec<sql::plan::SortKey>,
    /// Values of `$1`, …; only an anonymous query has any.
    pub parameters: Vec<sql::Datum>,
    /// The query's text.
    pub query: String,
    /// The CREATE statement as given.
    pub statement: String,
    pub created_ms: i64,
}

/// Everything defined, as one immutable snapshot.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    pub streams: BTreeMap<(String, String), Arc<StreamDefinition>>,
    pub views: BTreeMap<(String, String), Arc<ViewDefinition>>,
}

impl Definitions {
    pub fn stream(&self, db: &str, name: &str) -> Option<&Arc<StreamDefinition>> {
        self.streams.get(&(db.to_owned(), name.to_owned()))
    }

    pub fn view(&self, db: &str, name: &str) -> Option<&Arc<ViewDefinition>> {
        self.views.get(&(db.to_owned(), name.to_owned()))
    }

    /// Views whose query reads the given source, in name order.
    pub fn readers(&self, reads: impl Fn(&sql::Source) -> bool) -> Vec<&Arc<ViewDefinition>> {
        self.views.values().filter(|view| view.plan.sources().iter().any(&reads)).collect()
    }
}

/// A definition as it is stored: the statement is parsed and bound again when it is read, so that
/// what is on disk is independent of the plan's representation.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDefinition {
    pub kind: DefinitionKind,
    pub db: String,
    pub name: String,
    pub statement: String,
    pub id: u64,
    pub start: ClusterTime,
    pub created_ms: i64,
    pub paused_at: Option<ClusterTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionKind {
    Stream,
    View,
}

impl StoredDefinition {
    pub fn key(&self) -> Vec<u8> {
        definition_key(self.kind, &self.db, &self.name)
    }

    pub fn encode(&self) -> DocBuf {
        let doc = Doc::new()
            .with("kind", if self.kind == DefinitionKind::Stream { "stream" } else { "view" })
            .with("db", self.db.as_str())
            .with("name", self.name.as_str())
            .with("statement", self.statement.as_str())
            .with("id", self.id as i64)
            .with("start", self.start)
            .with("created", Value::Date(self.created_ms));
        match self.paused_at {
            Some(at) => doc.with("pausedAt", at).to_buf(),
            None => doc.to_buf(),
        }
    }

    pub fn decode(doc: &DocBuf) -> Result<Self, SqlError> {
        let damaged = || SqlError::new("XX001", "damaged SQL catalogue entry");
        let text = |name: &str| doc.get(name).and_then(|v| v.as_str()).map(str::to_owned).ok_or_else(damaged);
        let start = match doc.get("start") {
            Some(document::Raw::Timestamp(t)) => ClusterTime(t),
            _ => return Err(damaged()),
        };
        let created_ms = match doc.get("created") {
            Some(document::Raw::Date(ms)) => ms,
            _ => return Err(damaged()),
        };
        let kind = match text("kind")?.as_str() {
            "stream" => DefinitionKind::Stream,
            "view" => DefinitionKind::View,
            _ => return Err(damaged()),
        };
        Ok(StoredDefinition {
            kind,
            db: text("db")?,
            name: text("name")?,
            statement: text("statement")?,
            id: doc.get("id").and_then(|v| v.as_whole()).ok_or_else(damaged)? as u64,
            start,
            created_ms,
            paused_at: match doc.get("pausedAt") {
                Some(document::Raw::Timestamp(t)) => Some(ClusterTime(t)),
                _ => None,
            },
        })
    }
}

/// The record key of a definition.
pub fn definition_key(kind: DefinitionKind, db: &str, name: &str) -> Vec<u8> {
    let prefix = if kind == DefinitionKind::Stream { "stream" } else { "view" };
    [prefix, db, name].join("\0").into_bytes()
}
