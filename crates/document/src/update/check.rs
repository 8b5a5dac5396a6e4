//! What a document must fulfil to be stored, and what storing does to it.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::write::DocWriter;

/// Checks a document that is to be inserted: its size (2) and its `_id` (52, 53).
pub fn check_document(doc: RawDoc<'_>) -> Result<()> {
    let size = doc.as_bytes().len();
    if size > base::limits::MAX_DOCUMENT {
        let limit = base::limits::MAX_DOCUMENT;
        let message = format!("object to insert too large. size in bytes: {size}, max size: {limit}");
        return Err(Error::bad_value(message));
    }
    doc.get("_id").map_or(Ok(()), check_id)
}

/// An `_id` is no array, regular expression or undefined, and has no `$` names inside.
pub(super) fn check_id(id: Raw<'_>) -> Result<()> {
    match id {
        Raw::Array(_) | Raw::Regex { .. } | Raw::Undefined => {
            Err(Error::new(53, format!("The '_id' value cannot be of type {}", id.type_name())))
        }
        Raw::Document(doc) => match find_dollar_name(doc) {
            Some(name) => Err(Error::new(
                52,
                format!("_id fields may not contain '$'-prefixed fields: {name} is not valid for storage."),
            )),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn find_dollar_name(doc: RawDoc<'_>) -> Option<&str> {
    doc.iter().find_map(|(name, value)| match value {
        // A reference to a document elsewhere may be an `_id`.
        _ if name.starts_with('$') && !matches!(name, "$ref" | "$id" | "$db") => Some(name),
        Raw::Document(below) | Raw::Array(below) => find_dollar_name(below),
        _ => None,
    })
}

/// A top-level field whose name begins with `$`: an insert may have one, an update may not make one.
pub(super) fn dollar_field(name: &str) -> Error {
    Error::new(
        52,
        format!(
            "The dollar ($) prefixed field '{name}' in '{name}' is not allowed in the context of an update's \
             replacement document. Consider using an aggregation pipeline with $replaceWith."
        ),
    )
}

/// The document with `_id` as its first field: moved there, or made anew if it has none.
pub fn ensure_id(doc: &DocBuf, ctx: &Context) -> DocBuf {
    match doc.iter().next() {
        Some(("_id", _)) => doc.clone(),
        _ => match doc.get("_id") {
            Some(id) => with_id_first(id, doc.as_doc()),
            None => with_id_first(Raw::ObjectId(base::id::new_object_id(ctx.now_ms)), doc.as_doc()),
        },
    }
}

/// `doc` with this `_id` first, whatever `_id` it had.
pub(super) fn with_id_first(id: Raw<'_>, doc: RawDoc<'_>) -> DocBuf {
    let mut writer = DocWriter::with_capacity(doc.as_bytes().len() + 32);
    writer.raw("_id", id);
    let mut is_past_id = false;
    for (name, value) in doc.iter() {
        // Only the first of several is the `_id`; the rest stay as they came.
        if name == "_id" && !is_past_id {
            is_past_id = true;
            continue;
        }
        writer.raw(name, value);
    }
    writer.finish()
}

/// The document with every top-level `Timestamp(0, 0)` except `_id` replaced by `time`.
pub fn fill_timestamps(doc: &DocBuf, time: base::ClusterTime) -> DocBuf {
    let is_empty = |(name, value): (&str, Raw<'_>)| name != "_id" && value == Raw::Timestamp(0);
    if !doc.iter().any(is_empty) {
        return doc.clone();
    }
    let mut writer = DocWriter::with_capacity(doc.len());
    for (name, value) in doc.iter() {
        writer.raw(name, if is_empty((name, value)) { Raw::Timestamp(time.0) } else { value });
    }
    writer.finish()
}

/// The timestamp that `$currentDate` and empty timestamps get: the next of the logical clock.
pub(super) fn current_timestamp(ctx: &Context) -> base::ClusterTime {
    ctx.cluster_time.tick(ctx.now_ms)
}
