//! JSON values over BSON bytes: seen as plain JSON, built, and read from text.
//!
//! Every BSON type answers to one of JSON's six: an ObjectId, a date or binary is the string that
//! it prints as, all four number types are numbers. `Plain` is that view; nothing is converted
//! until it is asked for.
//!
//! Read next: `json/build.rs`, `json/parse.rs`.

pub mod build;
pub mod parse;

use std::borrow::Cow;

use document::{DocBuf, DocWriter, Raw, RawDoc};

use crate::datum::{Datum, Json};
use crate::numeric::Numeric;

/// A value as JSON sees it.
#[derive(Clone, Debug)]
pub enum Plain<'a> {
    Null,
    Bool(bool),
    Number(Raw<'a>),
    String(Cow<'a, str>),
    Array(RawDoc<'a>),
    Object(RawDoc<'a>),
    /// The object that a timestamp or a DBPointer prints as.
    Made(DocBuf),
}

impl<'a> Plain<'a> {
    pub fn of(value: Raw<'a>) -> Plain<'a> {
        match value {
            Raw::Null | Raw::Undefined => Plain::Null,
            Raw::Bool(b) => Plain::Bool(b),
            Raw::Int32(_) | Raw::Int64(_) => Plain::Number(value),
            Raw::Double(n) if n.is_finite() => Plain::Number(value),
            Raw::Decimal128(bytes) if Numeric::from_decimal128(bytes).is_finite() => Plain::Number(value),
            Raw::String(s) | Raw::Symbol(s) | Raw::Code(s) | Raw::CodeWithScope { code: s, .. } => {
                Plain::String(Cow::Borrowed(s))
            }
            Raw::Document(doc) => Plain::Object(doc),
            Raw::Array(array) => Plain::Array(array),
            Raw::Timestamp(t) => {
                let mut writer = DocWriter::new();
                writer.i64("t", (t >> 32) as i64);
                writer.i64("i", (t & 0xffff_ffff) as i64);
                Plain::Made(writer.finish())
            }
            Raw::DbPointer { namespace, id } => {
                let mut writer = DocWriter::new();
                writer.str("$ref", namespace);
                writer.str("$id", &document::json::hex(&id));
                Plain::Made(writer.finish())
            }
            other => Plain::String(Cow::Owned(unquoted(other))),
        }
    }

    /// `json_typeof`'s word.
    pub fn type_name(&self) -> &'static str {
        match self {
            Plain::Null => "null",
            Plain::Bool(_) => "boolean",
            Plain::Number(_) => "number",
            Plain::String(_) => "string",
            Plain::Array(_) => "array",
            Plain::Object(_) | Plain::Made(_) => "object",
        }
    }

    pub fn as_object(&self) -> Option<RawDoc<'_>> {
        match self {
            Plain::Object(doc) => Some(*doc),
            Plain::Made(doc) => Some(doc.as_doc()),
            _ => None,
        }
    }

    pub fn is_scalar(&self) -> bool {
        !matches!(self, Plain::Array(_) | Plain::Object(_) | Plain::Made(_))
    }
}

/// The text of a type that plain JSON shows as a string.
fn unquoted(value: Raw<'_>) -> String {
    let mut out = String::new();
    document::json::to_plain_json(value, &mut out);
    match out.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
        // None of these texts needs escapes, except a regular expression's.
        Some(inner) if !inner.contains('\\') => inner.to_owned(),
        _ => match value {
            Raw::Regex { pattern, options } => format!("/{pattern}/{options}"),
            _ => out,
        },
    }
}

/// The exact value of a number.
pub fn number(value: Raw<'_>) -> Option<Numeric> {
    match value {
        Raw::Int32(n) => Some(Numeric::from_i64(i64::from(n))),
        Raw::Int64(n) => Some(Numeric::from_i64(n)),
        Raw::Double(n) => Some(Numeric::from_f64_shortest(n)),
        Raw::Decimal128(bytes) => Some(Numeric::from_decimal128(bytes)),
        _ => None,
    }
}

/// What `->>` gives: a string unquoted, anything else as JSON text, null as NULL.
pub fn as_text(value: Raw<'_>) -> Datum {
    match value {
        Raw::String(s) => Datum::text(s),
        Raw::Null | Raw::Undefined => Datum::Null,
        value => match Plain::of(value) {
            Plain::String(s) => Datum::text(s.as_ref()),
            Plain::Number(Raw::Decimal128(bytes)) => Datum::text(Numeric::from_decimal128(bytes).to_string()),
            _ => {
                let mut out = String::new();
                document::json::to_plain_json(value, &mut out);
                Datum::text(out)
            }
        },
    }
}

/// Appends the JSON text of a value. A decimal128 alone is written out in digits, as PostgreSQL
/// writes every number.
pub fn write_text(value: Raw<'_>, out: &mut String) {
    match value {
        Raw::Decimal128(bytes) if matches!(Plain::of(value), Plain::Number(_)) => {
            out.push_str(&Numeric::from_decimal128(bytes).to_string());
        }
        _ => document::json::to_plain_json(value, out),
    }
}

/// The one value that `write` puts under the name it is given.
pub fn make(write: impl FnOnce(&mut DocWriter, &str)) -> Json {
    let mut writer = DocWriter::with_capacity(64);
    write(&mut writer, "");
    let whole = writer.finish();
    let kind = whole.bytes().get(4).copied().unwrap_or(0);
    if whole.len() <= 6 || kind == 0 {
        return Json::copy(Raw::Null);
    }
    Json::new(kind, whole.bytes().slice(6..whole.len() - 1))
}

/// The element of an array at an index from 0, or from the end if negative.
pub fn element(array: RawDoc<'_>, index: i64) -> Option<Raw<'_>> {
    if index >= 0 {
        return array.values().nth(usize::try_from(index).ok()?);
    }
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    let count = array.values().count();
    array.values().nth(count.checked_sub(from_end)?)
}

/// The value of a field.
pub fn field<'a>(doc: RawDoc<'a>, name: &str) -> Option<Raw<'a>> {
    doc.get(name)
}

/// One step of a path: a field of an object, an element of an array.
pub fn step<'a>(value: Raw<'a>, key: &str) -> Option<Raw<'a>> {
    match value {
        Raw::Document(doc) => field(doc, key),
        Raw::Array(array) => element(array, key.parse::<i32>().ok()?.into()),
        _ => None,
    }
}
