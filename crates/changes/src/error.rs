//! The errors that a change stream has of its own, with the server's codes and sentences.

pub use document::{Error, Result};

pub(crate) mod code {
    pub const BAD_VALUE: i32 = 2;
    pub const ILLEGAL_OPERATION: i32 = 20;
    pub const NO_MATCHING_DOCUMENT: i32 = 47;
    pub const INVALID_OPTIONS: i32 = 72;
    pub const INVALID_NAMESPACE: i32 = 73;
    pub const INVALID_UUID: i32 = 207;
    pub const INVALID_RESUME_TOKEN: i32 = 260;
    pub const CHANGE_STREAM_FATAL_ERROR: i32 = 280;
    pub const CHANGE_STREAM_HISTORY_LOST: i32 = 286;
    pub const BSON_OBJECT_TOO_LARGE: i32 = 10334;
    pub const UNKNOWN_FIELD: i32 = 40415;
}

/// 280: the stream is at its end and cannot be resumed from where it is.
pub(crate) fn fatal(message: impl Into<String>) -> Error {
    Error::new(code::CHANGE_STREAM_FATAL_ERROR, message)
}

/// 280: the event that the token names is not (or no longer) part of this stream.
pub(crate) fn token_not_found(token: &crate::ResumeToken) -> Error {
    fatal(format!("cannot resume stream; the resume token was not found. {{_data: \"{}\"}}", token.data()))
}

/// 286: what the stream must read next has been removed from the log.
pub(crate) fn history_lost() -> Error {
    Error::new(
        code::CHANGE_STREAM_HISTORY_LOST,
        "Resume of change stream was not possible, as the resume point may no longer be in the oplog.",
    )
}
