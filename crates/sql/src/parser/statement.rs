//! What a statement says, before names mean anything.

use std::sync::Arc;
use std::time::Duration;

use sqlparser::ast;

use super::lexer::SourceMap;

/// `name` or `db.name`, folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub db: Option<String>,
    pub name: String,
    pub position: Option<usize>,
}

/// A query with the dialect's tails.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub ast: Box<ast::Query>,
    /// `… EMIT CHANGES`: unbounded, like SUBSCRIBE.
    pub emit_changes: bool,
    /// `… AS OF TOKEN 't'`: the resume token's data.
    pub as_of: Option<String>,
    /// The query's own text, for the catalogue.
    pub text: String,
    pub source: Arc<SourceMap>,
}

/// An expression that is bound later, with the text it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    pub ast: ast::Expr,
    pub text: String,
    pub source: Arc<SourceMap>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    Query(Query),
    CreateChangeStream(Box<CreateChangeStream>),
    AlterChangeStream {
        name: Name,
        if_exists: bool,
        action: StreamAction,
    },
    DropChangeStream {
        names: Vec<Name>,
        if_exists: bool,
        cascade: bool,
    },
    DescribeChangeStream {
        name: Name,
    },
    ExplainChangeStream {
        name: Name,
    },
    CreateMaterializedView(Box<CreateView>),
    AlterMaterializedView {
        name: Name,
        if_exists: bool,
        options: ViewOptions,
    },
    DropView {
        names: Vec<Name>,
        if_exists: bool,
        cascade: bool,
        materialized: bool,
    },
    /// Views are always fresh; accepted so that scripts run.
    RefreshMaterializedView {
        name: Name,
    },
    Subscribe(Box<Subscribe>),
    Copy(Box<Copy>),
    DeclareCursor {
        name: String,
        hold: bool,
        binary: bool,
        rows: Rows,
    },
    Fetch {
        cursor: String,
        count: FetchCount,
        move_only: bool,
    },
    /// `None` closes all.
    CloseCursor {
        name: Option<String>,
    },
    Explain(Box<Explain>),
    /// What a name is: a stream, view, sink or collection.
    Describe {
        name: Name,
    },
    ShowObjects(ShowObjects),
    Transaction(Transaction),
    Set {
        local: bool,
        name: String,
        values: Option<Vec<String>>,
    },
    /// `None` shows all.
    Show {
        name: Option<String>,
    },
    /// `None` resets all.
    Reset {
        name: Option<String>,
    },
    Discard(DiscardTarget),
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Box<Statement>,
    },
    Execute {
        name: String,
        arguments: Vec<Predicate>,
    },
    Deallocate {
        name: Option<String>,
    },
    Listen {
        channel: String,
    },
    Unlisten {
        channel: Option<String>,
    },
    Notify {
        channel: String,
        payload: String,
    },
    CreateSink(Box<CreateSink>),
    AlterSink {
        name: Name,
        if_exists: bool,
        action: SinkAction,
    },
    DropSink {
        names: Vec<Name>,
        if_exists: bool,
        cascade: bool,
    },
    RedriveDeadLetters {
        sink: Name,
        filter: Option<Predicate>,
    },
    DiscardDeadLetters {
        sink: Name,
        filter: Option<Predicate>,
    },
}

// ---- change streams --------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
pub struct CreateChangeStream {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: Name,
    pub on: StreamScope,
    pub options: StreamOptions,
    pub filter: Option<Predicate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamScope {
    Collection(Name),
    Database(String),
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullDocument {
    Default,
    UpdateLookup,
    WhenAvailable,
    Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullDocumentBeforeChange {
    Off,
    WhenAvailable,
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    Now,
    Earliest,
    /// A resume token's data.
    Token(String),
    /// Microseconds since the epoch.
    Time(i64),
}

/// `None` where the statement does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    pub full_document: Option<FullDocument>,
    pub full_document_before_change: Option<FullDocumentBeforeChange>,
    pub operation_types: Option<Vec<String>>,
    pub batch_size: Option<u32>,
    pub max_await_time: Option<Duration>,
    pub retention: Option<Duration>,
    pub start_at: Option<StartAt>,
    pub show_expanded_events: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StreamAction {
    Pause,
    Resume,
    Set(StreamOptions),
    /// Compare the mirrors with their collections; with a condition, events come only of what satisfies it.
    Resnapshot(Option<Box<Predicate>>),
}

// ---- views and readers -------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: Name,
    /// Names for the query's first columns.
    pub columns: Vec<String>,
    pub options: ViewOptions,
    pub query: Query,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewOptions {
    /// How long an event of a stream counts; zero: for ever.
    pub retention: Option<Duration>,
    /// The most rows of state the view may hold; 0: any number.
    pub max_state_rows: Option<u64>,
    /// The most bytes of state the view may hold; 0: any number.
    pub max_state_bytes: Option<u64>,
    /// What a row does whose evaluation fails.
    pub on_error: Option<OnError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Stop, keeping the position.
    Fail,
    /// Take NULL for the value that fails.
    Null,
    /// Leave the row out.
    Skip,
    /// Leave the row out and keep it as a dead letter.
    DeadLetter,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SubscribeSource {
    Name(Name),
    Query(Query),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    pub source: SubscribeSource,
    /// Begin with the rows that are there.
    pub snapshot: bool,
    /// Also say when there is nothing more up to a token.
    pub progress: bool,
    /// Begin after this resume token.
    pub as_of: Option<String>,
}

/// What a cursor or COPY reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    Query(Query),
    Subscribe(Box<Subscribe>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    pub rows: Rows,
    pub format: CopyFormat,
    pub header: bool,
    pub delimiter: Option<char>,
    pub null: Option<String>,
    pub quote: Option<char>,
    pub escape: Option<char>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCount {
    /// Forward so many rows; 0 re-reads none.
    Forward(u64),
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Explain {
    pub analyze: bool,
    pub verbose: bool,
    pub format: ExplainFormat,
    pub statement: Statement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowObjects {
    ChangeStreams,
    Views,
    Sinks,
    Collections,
    DeadLetters,
}

// ---- session -----------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    Begin {
        read_only: bool,
    },
    Commit,
    Rollback,
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// SET TRANSACTION: accepted, reads are consistent anyway.
    Characteristics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardTarget {
    All,
    Plans,
    Sequences,
    Temp,
}

// ---- sinks -------------------------------------------------------------------------------------

/// Where a sink's events come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkSource {
    /// A view or change stream.
    Name(Name),
    /// `CHANGE_STREAM('s')`: `s` or `db.s`.
    Stream {
        name: String,
        position: Option<usize>,
    },
    Query(Query),
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateSink {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: Name,
    pub source: SinkSource,
    pub url: String,
    pub options: SinkOptions,
}

/// `None` where the statement does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkOptions {
    /// Columns that identify a row at the target, and whose events are kept in order.
    pub key: Option<Vec<String>>,
    pub max_retries: Option<u32>,
    pub retry_delay: Option<Duration>,
    pub max_retry_delay: Option<Duration>,
    pub timeout: Option<Duration>,
    pub batch_size: Option<u32>,
    pub batch_bytes: Option<u32>,
    /// How long a batch that is not full waits for more.
    pub batch_delay: Option<Duration>,
    /// The column that orders the backlog; higher goes first.
    pub priority: Option<String>,
    /// Batches under way at once.
    pub parallelism: Option<u32>,
    pub on_error: Option<OnError>,
    /// `json`, `extended_json`, `plain`, `cloudevents`, `cloudevents_binary` or `debezium`.
    pub format: Option<String>,
    /// Whether what is there at creation is delivered.
    pub snapshot: Option<bool>,
    /// The target's table or collection, where the URL does not name it.
    pub table: Option<String>,
    /// `Name: value` lines for HTTP.
    pub headers: Option<Vec<String>>,
    /// Signs the body (HMAC-SHA256).
    pub secret: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkAction {
    Pause,
    Resume,
    Set(Box<SinkOptions>),
    /// Deliver again from a token, or from the beginning of what is retained.
    Replay {
        since: Option<String>,
    },
}
