//! What can be asked of collections: one struct per operation, as MongoDB's manual names the
//! options. Nothing here has been checked against the database yet.

use std::time::{Duration, Instant};

use base::{ClusterTime, Uuid};
use document::{Doc, DocBuf, Value};

use crate::{Error, Namespace};

/// On whose behalf an operation runs.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub session: Option<SessionCall>,
    /// 50 MaxTimeMSExpired after this moment.
    pub deadline: Option<Instant>,
    /// Reads see the state of this time, which `Headwater::hold_snapshot` gave.
    pub read_at: Option<ClusterTime>,
}

impl Caller {
    pub fn with_time_limit(limit: Option<Duration>) -> Self {
        Caller { deadline: limit.map(|limit| Instant::now() + limit), ..Caller::default() }
    }

    pub(crate) fn check_deadline(&self) -> crate::Result<()> {
        match self.deadline {
            Some(deadline) if Instant::now() > deadline => Err(Error::new(50, "operation exceeded time limit")),
            _ => Ok(()),
        }
    }
}

/// A session, and which of its numbered operations this is.
#[derive(Clone, Copy, Debug)]
pub struct SessionCall {
    pub lsid: Uuid,
    /// Of a retryable write or of a transaction.
    pub txn_number: Option<i64>,
    /// Part of a multi-document transaction.
    pub in_transaction: bool,
    /// The transaction's first operation.
    pub start: bool,
}

/// Which index to use.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    Name(String),
    /// A key pattern, or `{$natural: ±1}`.
    Pattern(DocBuf),
}

/// Whether a cursor stays open at the end of a capped collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    #[default]
    No,
    /// Stays open; a read at the end returns at once.
    Tail,
    /// Stays open; a read at the end waits.
    Await,
}

#[derive(Clone, Debug)]
pub struct Find {
    pub namespace: Namespace,
    pub filter: DocBuf,
    pub projection: Option<DocBuf>,
    pub sort: Option<DocBuf>,
    pub hint: Option<Hint>,
    pub skip: u64,
    pub limit: Option<u64>,
    pub collation: Option<DocBuf>,
    /// `let`.
    pub variables: Option<DocBuf>,
    pub tail: Tail,
    pub show_record_id: bool,
    /// Keys of the hinted index: the first to read, and the one to end before.
    pub min: Option<DocBuf>,
    pub max: Option<DocBuf>,
    /// The index key by which a document was found, instead of the document.
    pub return_key: bool,
}

impl Find {
    /// All documents that match `filter`.
    pub fn new(namespace: Namespace, filter: DocBuf) -> Self {
        Find {
            namespace,
            filter,
            projection: None,
            sort: None,
            hint: None,
            skip: 0,
            limit: None,
            collation: None,
            variables: None,
            tail: Tail::No,
            show_record_id: false,
            min: None,
            max: None,
            return_key: false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Count {
    pub namespace: Namespace,
    pub filter: DocBuf,
    pub skip: u64,
    pub limit: Option<u64>,
    pub hint: Option<Hint>,
    pub collation: Option<DocBuf>,
}

#[derive(Clone, Debug)]
pub struct Distinct {
    pub namespace: Namespace,
    pub key: String,
    pub filter: DocBuf,
    pub hint: Option<Hint>,
    pub collation: Option<DocBuf>,
}

/// Where a pipeline takes its documents from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    Collection(Namespace),
    /// `{aggregate: 1}`: the first stage makes them.
    Database(String),
}

impl Origin {
    pub fn db(&self) -> &str {
        match self {
            Origin::Collection(namespace) => &namespace.db,
            Origin::Database(db) => db,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub origin: Origin,
    pub pipeline: Vec<DocBuf>,
    pub hint: Option<Hint>,
    pub collation: Option<DocBuf>,
    pub variables: Option<DocBuf>,
    pub bypass_validation: bool,
}

impl Aggregate {
    pub fn new(origin: Origin, pipeline: Vec<DocBuf>) -> Self {
        Aggregate { origin, pipeline, hint: None, collation: None, variables: None, bypass_validation: false }
    }
}

/// How documents are to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Modification {
    /// Operators (`{$set: …}`) or a whole new document.
    Document(DocBuf),
    /// Aggregation stages.
    Pipeline(Vec<DocBuf>),
}

#[derive(Clone, Debug)]
pub struct UpdateStatement {
    pub filter: DocBuf,
    pub modification: Modification,
    pub multi: bool,
    pub upsert: bool,
    pub array_filters: Vec<DocBuf>,
    pub collation: Option<DocBuf>,
    pub hint: Option<Hint>,
    /// Which of several matching documents to update.
    pub sort: Option<DocBuf>,
    /// `c`: variables of a pipeline.
    pub constants: Option<DocBuf>,
}

impl UpdateStatement {
    pub fn new(filter: DocBuf, modification: Modification) -> Self {
        UpdateStatement {
            filter,
            modification,
            multi: false,
            upsert: false,
            array_filters: Vec::new(),
            collation: None,
            hint: None,
            sort: None,
            constants: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct DeleteStatement {
    pub filter: DocBuf,
    pub multi: bool,
    pub collation: Option<DocBuf>,
    pub hint: Option<Hint>,
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub enum Write {
    Insert(DocBuf),
    Update(UpdateStatement),
    Delete(DeleteStatement),
}

/// Writes, in order. `statements` names each one's collection by position in `namespaces`.
#[derive(Clone, Debug)]
pub struct WriteBatch {
    pub namespaces: Vec<Namespace>,
    pub statements: Vec<Statement>,
    /// Stop at the first error.
    pub ordered: bool,
    pub bypass_validation: bool,
    /// `let`.
    pub variables: Option<DocBuf>,
}

#[derive(Clone, Debug)]
pub struct Statement {
    pub namespace: usize,
    /// Which statement of its transaction number this is; a retry sends the same.
    pub id: i32,
    pub write: Write,
}

impl WriteBatch {
    /// A batch on one collection.
    pub fn on(namespace: Namespace, writes: impl IntoIterator<Item = Write>) -> Self {
        let statements = writes.into_iter().zip(0..).map(|(write, id)| Statement { namespace: 0, id, write }).collect();
        WriteBatch { namespaces: vec![namespace], statements, ordered: true, bypass_validation: false, variables: None }
    }
}

/// What one statement did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Documents inserted, matched, or deleted; an upsert counts.
    pub n: u64,
    pub modified: u64,
    /// The `_id` of an inserted document, of an upsert only.
    pub upserted: Option<Value>,
}

/// What a batch did.
#[derive(Clone, Debug, Default)]
pub struct WriteReport {
    /// By statement index; a statement that was not reached is missing.
    pub results: Vec<(usize, crate::Result<Written>)>,
    /// Statements that had been executed by an earlier attempt.
    pub retried: Vec<i32>,
    /// Of the last write; `None` if nothing was written.
    pub time: Option<ClusterTime>,
}

impl WriteReport {
    pub fn errors(&self) -> impl Iterator<Item = (usize, &Error)> {
        self.results.iter().filter_map(|(index, result)| Some((*index, result.as_ref().err()?)))
    }

    pub fn written(&self) -> impl Iterator<Item = (usize, &Written)> {
        self.results.iter().filter_map(|(index, result)| Some((*index, result.as_ref().ok()?)))
    }
}

/// `findAndModify`.
#[derive(Clone, Debug)]
pub struct FindAndModify {
    pub namespace: Namespace,
    pub filter: DocBuf,
    pub sort: Option<DocBuf>,
    /// `None` removes the document.
    pub modification: Option<Modification>,
    pub return_new: bool,
    pub upsert: bool,
    pub projection: Option<DocBuf>,
    pub array_filters: Vec<DocBuf>,
    pub collation: Option<DocBuf>,
    pub hint: Option<Hint>,
    pub variables: Option<DocBuf>,
    pub bypass_validation: bool,
    pub statement_id: i32,
}

/// What `findAndModify` did.
#[derive(Clone, Debug, Default)]
pub struct Modified {
    /// `{n, updatedExisting?, upserted?}`.
    pub last_error_object: Doc,
    pub value: Option<DocBuf>,
    pub time: Option<ClusterTime>,
    pub retried: bool,
}
