//! The one error that leaves the engine: what the caller should do, MongoDB's code, a sentence.

use document::{Doc, DocBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fix the request.
    Invalid,
    /// Another writer was faster: run the operation again.
    Conflict,
    /// Not now; try later.
    Unavailable,
    /// The database has been closed.
    Closed,
    /// Stored data is damaged: stop, restore.
    Corrupt,
    /// A bug of ours.
    Internal,
}

/// An error of the engine.
///
/// ```
/// let error = engine::Error::new(26, "ns not found");
/// assert_eq!(error.kind(), engine::ErrorKind::Invalid);
/// assert_eq!(error.code(), 26);
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    code: i32,
    message: String,
    /// Fields that an error reply carries besides: `keyPattern`, `keyValue`, `errInfo`.
    details: Option<Box<Doc>>,
}

impl Error {
    /// An error with MongoDB's code; its kind follows from the code.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Error { kind: kind_of(code), code, message: message.into(), details: None }
    }

    /// The same, with fields that the reply should carry.
    pub fn with_details(mut self, details: Doc) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same error with a sentence in front, as the server adds "… :: caused by :: ".
    pub fn context(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix} :: caused by :: {}", self.message);
        self
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Error { kind: ErrorKind::Internal, code: 1, message: message.into(), details: None }
    }

    /// The database has been closed.
    pub fn closed() -> Self {
        Error { kind: ErrorKind::Closed, code: 91, message: "the database is closed".into(), details: None }
    }

    pub fn corrupt(message: impl Into<String>) -> Self {
        Error { kind: ErrorKind::Corrupt, code: 8, message: message.into(), details: None }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Error { kind: ErrorKind::Unavailable, code: 91, message: message.into(), details: None }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// MongoDB's error code.
    pub fn code(&self) -> i32 {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// `keyPattern`, `keyValue`, `errInfo`: what the reply carries besides code and message.
    pub fn details(&self) -> Option<&Doc> {
        self.details.as_deref()
    }

    /// A unique index refused the write.
    pub fn is_duplicate_key(&self) -> bool {
        self.code == 11000
    }

    pub(crate) fn duplicate_key(message: String, pattern: &DocBuf, value: &DocBuf) -> Self {
        let details = Doc::new().with("keyPattern", pattern.clone()).with("keyValue", value.clone());
        Error::new(11000, message).with_details(details)
    }
}

fn kind_of(code: i32) -> ErrorKind {
    match code {
        112 | 24 | 251 | 246 => ErrorKind::Conflict,
        6 | 7 | 89 | 91 | 189 | 262 | 11600 | 11602 | 10107 => ErrorKind::Unavailable,
        1 => ErrorKind::Internal,
        _ => ErrorKind::Invalid,
    }
}

impl From<document::Error> for Error {
    fn from(error: document::Error) -> Self {
        Error::new(error.code, error.message)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        use store::Error as Store;
        match error {
            Store::Request(error) => error.into(),
            Store::DuplicateKey(duplicate) => {
                Error::duplicate_key(duplicate.message(), &duplicate.key_pattern, &duplicate.key_value)
            }
            Store::Closed => Error::closed(),
            Store::Corrupt(_) | Store::NewerFormat { .. } => Error::corrupt(error.to_string()),
            Store::Locked { .. } | Store::Unwritable { .. } | Store::Io(_) | Store::Unavailable(_) => {
                Error::unavailable(error.to_string())
            }
            Store::Internal(_) => Error::internal(error.to_string()),
            other => Error::new(other.code(), other.to_string()),
        }
    }
}

/// Write closures run inside the store; what they refuse leaves through its error type.
impl From<Error> for store::Error {
    fn from(error: Error) -> Self {
        match error.kind {
            ErrorKind::Internal => store::Error::Internal(error.message),
            _ if error.code == 112 => store::Error::WriteConflict(error.message),
            _ => store::Error::Request(document::Error::new(error.code, error.message)),
        }
    }
}
