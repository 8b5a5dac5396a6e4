//! The change log's entries: what a committed write did, complete enough to replay it.

use std::sync::Arc;

use base::{ClusterTime, Uuid};
use document::DocBuf;

/// Where an entry stands in the log: the commit's cluster time, and the entry's index within that
/// commit (0 unless it is part of a multi-document transaction).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    pub time: ClusterTime,
    pub index: u32,
}

impl LogPosition {
    /// The least position after this one.
    pub fn next(self) -> Self {
        match self.index.checked_add(1) {
            Some(index) => LogPosition { time: self.time, index },
            None => LogPosition { time: self.time.next(), index: 0 },
        }
    }
}

/// A database and a collection in it. `collection` is empty for database-wide operations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    pub db: Arc<str>,
    pub collection: Arc<str>,
}

impl Namespace {
    pub fn new(db: impl Into<Arc<str>>, collection: impl Into<Arc<str>>) -> Self {
        Namespace { db: db.into(), collection: collection.into() }
    }
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.db, self.collection)
    }
}

/// The transaction that an entry belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnInfo {
    /// `{id: UUID, uid: BinData}`.
    pub lsid: DocBuf,
    pub txn_number: i64,
    /// No further entry of this transaction follows.
    pub last: bool,
}

/// One committed operation. Documents are slices of one allocation, so cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    pub position: LogPosition,
    /// Wall clock at commit, milliseconds since the epoch.
    pub wall_ms: i64,
    pub namespace: Namespace,
    /// Absent for database-wide operations and views.
    pub collection: Option<Uuid>,
    pub operation: Operation,
    /// `None` for ordinary (also retryable) writes.
    pub txn: Option<TxnInfo>,
    /// `{_data, _typeBits?}`: the resume token that a captured event came with, if it is not the
    /// one that follows from the other fields.
    pub token: Option<DocBuf>,
}

/// What was done. `key` is the document key `{_id: …}`.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Insert {
        key: DocBuf,
        document: DocBuf,
    },
    /// `document` is the post-image, which only a captured event may lack; `description` is
    /// `{updatedFields, removedFields, truncatedArrays, disambiguatedPaths}`.
    Update {
        key: DocBuf,
        description: DocBuf,
        document: Option<DocBuf>,
        before: Option<PreImage>,
    },
    Replace {
        key: DocBuf,
        document: DocBuf,
        before: Option<PreImage>,
    },
    Delete {
        key: DocBuf,
        before: Option<PreImage>,
    },
    /// `description` is the event's `operationDescription` (options, or `{viewOn, pipeline}`);
    /// `kind` is "collection", "view" or "timeseries".
    Create {
        description: DocBuf,
        kind: CollectionKind,
    },
    Drop,
    Rename {
        to: Namespace,
        dropped_target: Option<Uuid>,
    },
    DropDatabase,
    /// Changes between `from` and this entry are missing: the log they were to be captured from no
    /// longer had them.
    Gap {
        from: ClusterTime,
        reason: Arc<str>,
    },
    /// A mirrored document was found to differ from its original and was corrected: nothing that
    /// happened, so no event, but a change of the collection's rows here.
    Corrected {
        key: DocBuf,
        document: Option<DocBuf>,
        before: Option<DocBuf>,
    },
    /// `{indexes: [spec, …]}`.
    CreateIndexes {
        description: DocBuf,
    },
    DropIndexes {
        description: DocBuf,
    },
    /// `description` is the collMod arguments, `before` the state before the change.
    Modify {
        description: DocBuf,
        before: DocBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionKind {
    Collection,
    View,
    TimeSeries,
}

/// The document before the operation.
#[derive(Clone, Debug, PartialEq)]
pub struct PreImage {
    pub document: DocBuf,
    /// Recorded because the collection has `changeStreamPreAndPostImages`; otherwise it was kept
    /// for our own streams and views, and a MongoDB client that asks for it gets null.
    pub by_option: bool,
}
