//! Events over the size limit: cut into fragments, or refused.
//!
//! The fields of an event, smallest first, fill fragments greedily; each fragment carries the
//! event's token with its number, and `splitEvent: {fragment, of}`.

use document::{DocBuf, DocWriter, Raw};

use crate::error::{Error, Result, code};
use crate::token::ResumeToken;

#[cfg(test)]
mod tests;

/// Largest event that leaves the server in one piece.
pub(crate) const MAX_EVENT_BYTES: usize = base::limits::MAX_INTERNAL_DOCUMENT;
/// What a fragment leaves free for its own `_id` and `splitEvent`, as the server does.
const FRAGMENT_RESERVE_BYTES: usize = 8 * 1024;

/// Events above this size are split where the stream asks for it.
pub(crate) const fn splits_above() -> usize {
    MAX_EVENT_BYTES - FRAGMENT_RESERVE_BYTES
}

/// 10334 for an event that is too large and not to be split.
pub(crate) fn check_size(event: &DocBuf) -> Result<()> {
    if event.len() <= MAX_EVENT_BYTES {
        return Ok(());
    }
    Err(Error::new(
        code::BSON_OBJECT_TOO_LARGE,
        format!(
            "BSONObj size: {} (0x{:X}) is invalid. Size must be between 0 and {MAX_EVENT_BYTES}({}MB)",
            event.len(),
            event.len(),
            MAX_EVENT_BYTES / (1024 * 1024)
        ),
    ))
}

/// The event's fragments with their tokens, in order.
///
/// # Errors
/// 7182500 if a single field does not fit into a fragment.
pub(crate) fn split(event: &DocBuf, token: &ResumeToken) -> Result<Vec<(ResumeToken, DocBuf)>> {
    split_into(event, token, splits_above().saturating_sub(token.data().len()))
}

/// Fragments of which each has `room` bytes for the event's fields.
fn split_into(event: &DocBuf, token: &ResumeToken, room: usize) -> Result<Vec<(ResumeToken, DocBuf)>> {
    let mut fields: Vec<_> =
        event.iter().filter(|(name, _)| *name != "_id").map(|field| (field_size(field), field)).collect();
    fields.sort_by(|(a_size, (a_name, _)), (b_size, (b_name, _))| (a_size, a_name).cmp(&(b_size, b_name)));
    let mut groups: Vec<Vec<(&str, Raw<'_>)>> = Vec::new();
    let mut used = usize::MAX;
    for (size, field) in fields {
        if size > room {
            return Err(Error::new(
                7182500,
                format!("Splitting change event failed: fragment size {size} exceeds the limit {room}"),
            ));
        }
        match groups.last_mut() {
            Some(group) if used + size <= room => {
                group.push(field);
                used += size;
            }
            _ => {
                groups.push(vec![field]);
                used = size;
            }
        }
    }
    let count = groups.len();
    let fragments = groups.iter().enumerate().map(|(at, fields)| fragment(token, fields, at, count));
    Ok(fragments.collect())
}

fn fragment(token: &ResumeToken, fields: &[(&str, Raw<'_>)], at: usize, count: usize) -> (ResumeToken, DocBuf) {
    let token = token.with_fragment(at as u32);
    let bytes: usize = fields.iter().map(field_size_ref).sum();
    let mut w = DocWriter::with_capacity(bytes + 512);
    w.doc("_id", token.to_document().as_doc());
    w.begin_document("splitEvent");
    w.i32("fragment", at as i32 + 1);
    w.i32("of", count as i32);
    w.end();
    for (name, value) in fields {
        w.raw(name, *value);
    }
    (token, w.finish())
}

fn field_size_ref(field: &(&str, Raw<'_>)) -> usize {
    field_size(*field)
}

/// Bytes of an element: type, name, terminator, value.
fn field_size((name, value): (&str, Raw<'_>)) -> usize {
    let value = match value {
        Raw::Document(doc) | Raw::Array(doc) => doc.as_bytes().len(),
        Raw::String(text) | Raw::Code(text) | Raw::Symbol(text) => text.len() + 5,
        Raw::Binary { bytes, .. } => bytes.len() + 5,
        Raw::Regex { pattern, options } => pattern.len() + options.len() + 2,
        Raw::DbPointer { namespace, .. } => namespace.len() + 17,
        Raw::CodeWithScope { code, scope } => code.len() + scope.as_bytes().len() + 9,
        Raw::Decimal128(_) => 16,
        Raw::ObjectId(_) => 12,
        Raw::Double(_) | Raw::Date(_) | Raw::Timestamp(_) | Raw::Int64(_) => 8,
        Raw::Int32(_) => 4,
        Raw::Bool(_) => 1,
        Raw::Undefined | Raw::Null | Raw::MinKey | Raw::MaxKey => 0,
    };
    name.len() + 2 + value
}
