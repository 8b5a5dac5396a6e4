//! Rows that a view left out because an expression failed: the newest of them, to be looked at.
//!
//! They are part of the view's checkpoint: what a replay after a restart reports again is what the
//! checkpoint does not have yet.

use std::collections::VecDeque;

use bytes::Bytes;
use dataflow::Failure;
use dataflow::codec::{Reader, encode_row};
use sql::json::build::{guess_type, object, write};
use sql::{Datum, Json, SqlError};

/// Most that are kept of one view; older ones make room.
pub const MAX_KEPT: usize = 1000;
/// Longest value of a row that is kept whole, bytes; a document may have megabytes.
const MAX_VALUE_BYTES: usize = 4096;

/// One row that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The `change_id` of the event that brought it; of a row without one (a collection's or a view's
    /// first content), the token at which the view had it.
    pub token: String,
    /// Wall clock of the event, milliseconds.
    pub at_ms: i64,
    /// SQLSTATE.
    pub code: String,
    pub message: String,
    /// The row at the operator that failed.
    pub row: Json,
}

impl DeadLetter {
    pub fn new(failure: &Failure, token: String, at_ms: i64) -> Self {
        let (code, message) = (failure.error.code.to_string(), failure.error.message.clone());
        DeadLetter { token, at_ms, code, message, row: row_json(failure) }
    }
}

/// A view's dead letters, numbered in order.
#[derive(Debug, Default)]
pub struct DeadLetters {
    kept: VecDeque<(u64, DeadLetter)>,
    next: u64,
    /// Numbers from here on are not in the checkpoint yet.
    unwritten: u64,
    /// Numbers in the checkpoint that made room.
    dropped: Vec<u64>,
}

impl DeadLetters {
    pub fn add(&mut self, letter: DeadLetter) {
        self.kept.push_back((self.next, letter));
        self.next += 1;
        if self.kept.len() > MAX_KEPT
            && let Some((number, _)) = self.kept.pop_front()
            && number < self.unwritten
        {
            self.dropped.push(number);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &DeadLetter> {
        self.kept.iter().map(|(_, letter)| letter)
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Hands out what changed since the last call: a number, and its letter or `None`.
    pub fn save(&mut self, sink: &mut dyn FnMut(u64, Option<Vec<u8>>)) {
        for number in self.dropped.drain(..) {
            sink(number, None);
        }
        let fresh = self.kept.partition_point(|(number, _)| *number < self.unwritten);
        for (number, letter) in self.kept.range(fresh..) {
            let values = [
                Datum::text(&*letter.token),
                Datum::Int(letter.at_ms),
                Datum::text(&*letter.code),
                Datum::text(&*letter.message),
                Datum::Json(letter.row.clone()),
            ];
            let mut encoded = Vec::new();
            encode_row(&values, &mut encoded);
            sink(*number, Some(encoded));
        }
        self.unwritten = self.next;
    }

    /// Reads one that `save` handed out; they come in order.
    pub fn load(&mut self, number: u64, encoded: &[u8]) -> Result<(), SqlError> {
        let row = Reader(encoded).row()?;
        let [Datum::Text(token), Datum::Int(at_ms), Datum::Text(code), Datum::Text(message), Datum::Json(row)] =
            &row[..]
        else {
            return Err(SqlError::new("XX001", "damaged dead letter of a view"));
        };
        let letter = DeadLetter {
            token: token.to_string(),
            at_ms: *at_ms,
            code: code.to_string(),
            message: message.to_string(),
            row: row.clone(),
        };
        let at = self.kept.partition_point(|(known, _)| *known < number);
        self.kept.insert(at, (number, letter));
        self.next = self.next.max(number + 1);
        self.unwritten = self.next;
        Ok(())
    }
}

/// `{"column": value, …}`; columns without a name go by their number, from 1.
fn row_json(failure: &Failure) -> Json {
    let mut known = rustc_hash::FxHashSet::default();
    let name = |i: usize| {
        let named = failure.names.as_ref().and_then(|names| names.get(i)).filter(|name| !name.contains('\0'));
        let name = named.cloned().unwrap_or_else(|| format!("column{}", i + 1));
        if known.insert(name.clone()) { name } else { format!("{name} ({})", i + 1) }
    };
    let names: Vec<String> = (0..failure.row.len()).map(name).collect();
    object(|writer| {
        for (name, value) in names.iter().zip(failure.row.iter()) {
            let value = shortened(value);
            if write(writer, name, &value, &guess_type(&value), "UTC").is_err() {
                // What has no JSON form (an infinite number) is shown as text.
                let text = Datum::text(sql::text::to_string(&value, &guess_type(&value), "UTC"));
                let _ = write(writer, name, &text, &sql::Type::Text, "UTC");
            }
        }
    })
}

/// A long value as the beginning of its text.
fn shortened(value: &Datum) -> Datum {
    if dataflow::state::row_bytes(std::slice::from_ref(value)) <= MAX_VALUE_BYTES {
        return match value {
            Datum::Json(json) => Datum::Json(Json::new(json.kind(), Bytes::copy_from_slice(json.bytes()))),
            other => other.clone(),
        };
    }
    let mut text = sql::text::to_string(value, &guess_type(value), "UTC");
    text.truncate(text.floor_char_boundary(MAX_VALUE_BYTES));
    Datum::text(text + "…")
}

#[cfg(test)]
mod tests;
