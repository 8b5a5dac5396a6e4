//! What can go wrong in the store, sorted by what the caller does about it.

use std::path::PathBuf;
use std::sync::Arc;

use base::ClusterTime;
use document::DocBuf;

use crate::entry::Namespace;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Cheap to clone: one failed sync is the answer to every writer of its group.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the directory open. Stop it, or use another directory.
    #[error("data directory {} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    /// The directory cannot be created or written. Check its owner and the free space.
    #[error("data directory {} cannot be written: {source}", dir.display())]
    Unwritable { dir: PathBuf, source: Arc<std::io::Error> },
    /// Written by a later version of this program. Upgrade, or use another directory.
    #[error("data directory has format {found}, this version reads up to {known}")]
    NewerFormat { found: String, known: u32 },
    /// The stored bytes contradict themselves. Stop and restore a copy.
    #[error("data directory is damaged: {0}")]
    Corrupt(String),
    /// The disk failed while opening or reading.
    #[error("input/output error: {0}")]
    Io(Arc<std::io::Error>),
    /// A write or sync failed, so nothing more is accepted; whether the last writes survive is
    /// unknown until the directory is opened again.
    #[error("store no longer accepts writes: {0}")]
    Unavailable(String),
    /// The store was closed.
    #[error("store is closed")]
    Closed,
    /// The request is wrong; carries MongoDB's code.
    #[error(transparent)]
    Request(#[from] document::Error),
    /// 11000: a unique index has this key already.
    #[error("{}", .0.message())]
    DuplicateKey(Box<DuplicateKey>),
    /// 112: another transaction wrote, or is writing, the same document. Retry.
    #[error("{0}")]
    WriteConflict(String),
    /// 286: the entries after the asked position have been removed from the log.
    #[error("change log no longer holds the entries after {asked}; the oldest kept time is {oldest}")]
    HistoryLost { asked: ClusterTime, oldest: ClusterTime },
    /// Our bug; the write it happened in left nothing behind.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What a client gets with code 11000.
#[derive(Clone, Debug, PartialEq)]
pub struct DuplicateKey {
    pub namespace: Namespace,
    pub index: String,
    pub key_pattern: DocBuf,
    pub key_value: DocBuf,
}

impl DuplicateKey {
    pub const CODE: i32 = 11000;

    /// The server's sentence.
    pub fn message(&self) -> String {
        format!(
            "E11000 duplicate key error collection: {} index: {} dup key: {}",
            self.namespace,
            self.index,
            crate::render::document(self.key_value.as_doc())
        )
    }
}

impl Error {
    pub(crate) fn request(code: i32, message: impl Into<String>) -> Self {
        Error::Request(document::Error::new(code, message))
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Error::Corrupt(what.into())
    }

    /// MongoDB's error code.
    pub fn code(&self) -> i32 {
        match self {
            Error::Request(error) => error.code,
            Error::DuplicateKey(_) => DuplicateKey::CODE,
            Error::WriteConflict(_) => 112,
            Error::HistoryLost { .. } => 286,
            // ShutdownInProgress.
            Error::Closed => 91,
            Error::Unavailable(_) | Error::Io(_) | Error::Unwritable { .. } | Error::Locked { .. } => 8,
            Error::Corrupt(_) | Error::NewerFormat { .. } => 8,
            Error::Internal(_) => 1,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(Arc::new(error))
    }
}
