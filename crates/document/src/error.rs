//! One error type: MongoDB's code and a sentence.

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a client did wrong, or a value that an operator cannot take. `code` is MongoDB's error
/// code (`error_codes.yml` of the server, or a `Location` number where the server uses one).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub code: i32,
    pub message: String,
}

impl Error {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }

    /// 2 BadValue.
    pub fn bad_value(message: impl Into<String>) -> Self {
        Error::new(2, message)
    }

    /// 9 FailedToParse.
    pub fn failed_to_parse(message: impl Into<String>) -> Self {
        Error::new(9, message)
    }

    /// 14 TypeMismatch.
    pub fn type_mismatch(message: impl Into<String>) -> Self {
        Error::new(14, message)
    }

    /// 22 InvalidBSON.
    pub fn invalid_bson(message: impl Into<String>) -> Self {
        Error::new(22, message)
    }
}
