//! Limits that more than one layer must agree on. Bytes unless the name says otherwise.

/// Largest stored document, MongoDB's `maxBsonObjectSize`.
pub const MAX_DOCUMENT: usize = 16 * 1024 * 1024;
/// What an internal document (an update result, an event) may have beyond `MAX_DOCUMENT`.
pub const MAX_INTERNAL_DOCUMENT: usize = MAX_DOCUMENT + 16 * 1024;
/// Largest wire message, MongoDB's `maxMessageSizeBytes`.
pub const MAX_MESSAGE: usize = 48_000_000;
/// Most writes in one command, MongoDB's `maxWriteBatchSize`.
pub const MAX_WRITE_BATCH_COUNT: usize = 100_000;
/// Deepest nesting of a BSON document, in levels; the server's default `maxBSONDepth`.
pub const MAX_NESTING_LEVELS: usize = 200;
