//! BSON as JSON text, in three dialects.
//!
//! ```text
//!                 {a: 5.0, t: ObjectId(..), d: Date(..)}
//!   canonical     {"a":{"$numberDouble":"5.0"},"t":{"$oid":".."},"d":{"$date":{"$numberLong":".."}}}
//!   relaxed       {"a":5.0,"t":{"$oid":".."},"d":{"$date":"2026-01-02T03:04:05.678Z"}}
//!   plain         {"a": 5, "t": "..", "d": "2026-01-02T03:04:05.678Z"}
//! ```
//!
//! Canonical and relaxed are MongoDB Extended JSON v2 and lose nothing (canonical) or only number
//! types (relaxed). Plain is what SQL's `jsonb` shows: spaced like PostgreSQL prints it, with every
//! BSON type reduced to an ordinary JSON value.
//!
//! # Not here
//! Reading JSON (`parse.rs`).

mod parse;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::number::Decimal;
use crate::raw::{Raw, RawDoc};

pub use parse::parse_extended_json;
pub(crate) use parse::unhex;

/// Which Extended JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Every value with its type.
    Canonical,
    /// Numbers and dates as people write them.
    Relaxed,
}

/// Extended JSON v2 of a value.
pub fn to_extended_json(value: Raw<'_>, dialect: Dialect) -> String {
    let mut out = String::new();
    extended(value, dialect, &mut out);
    out
}

/// Appends the plain JSON of a value.
pub fn to_plain_json(value: Raw<'_>, out: &mut String) {
    plain(value, out);
}

/// The plain JSON of a value.
pub fn to_plain_string(value: Raw<'_>) -> String {
    let mut out = String::new();
    plain(value, &mut out);
    out
}

/// Writes to a `String` cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { write!($out, $($arg)*).expect("a String takes every write") };
}

fn extended(value: Raw<'_>, dialect: Dialect, out: &mut String) {
    let relaxed = dialect == Dialect::Relaxed;
    match value {
        Raw::Double(n) if relaxed && n.is_finite() => put!(out, "{n:?}"),
        Raw::Double(n) => put!(out, r#"{{"$numberDouble":"{}"}}"#, double_text(n)),
        Raw::String(s) => quote(s, out),
        Raw::Document(doc) => extended_fields(doc, dialect, out),
        Raw::Array(array) => {
            out.push('[');
            for (i, element) in array.values().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                extended(element, dialect, out);
            }
            out.push(']');
        }
        Raw::Binary { subtype, bytes } => {
            put!(out, r#"{{"$binary":{{"base64":"{}","subType":"{subtype:02x}"}}}}"#, base64(bytes));
        }
        Raw::Undefined => out.push_str(r#"{"$undefined":true}"#),
        Raw::ObjectId(id) => put!(out, r#"{{"$oid":"{}"}}"#, hex(&id)),
        Raw::Bool(b) => put!(out, "{b}"),
        Raw::Date(ms) if relaxed && (0..=MAX_RELAXED_DATE_MS).contains(&ms) => {
            put!(out, r#"{{"$date":"{}"}}"#, iso_date_short(ms));
        }
        Raw::Date(ms) => put!(out, r#"{{"$date":{{"$numberLong":"{ms}"}}}}"#),
        Raw::Null => out.push_str("null"),
        Raw::Regex { pattern, options } => {
            put!(out, r#"{{"$regularExpression":{{"pattern":"#);
            quote(pattern, out);
            out.push_str(r#","options":"#);
            quote(options, out);
            out.push_str("}}");
        }
        Raw::DbPointer { namespace, id } => {
            put!(out, r#"{{"$dbPointer":{{"$ref":"#);
            quote(namespace, out);
            put!(out, r#","$id":{{"$oid":"{}"}}}}}}"#, hex(&id));
        }
        Raw::Code(code) => tagged("$code", code, out),
        Raw::Symbol(s) => tagged("$symbol", s, out),
        Raw::CodeWithScope { code, scope } => {
            out.push_str(r#"{"$code":"#);
            quote(code, out);
            out.push_str(r#","$scope":"#);
            extended_fields(scope, dialect, out);
            out.push('}');
        }
        Raw::Int32(n) if relaxed => put!(out, "{n}"),
        Raw::Int32(n) => put!(out, r#"{{"$numberInt":"{n}"}}"#),
        Raw::Timestamp(t) => put!(out, r#"{{"$timestamp":{{"t":{},"i":{}}}}}"#, t >> 32, t & 0xffff_ffff),
        Raw::Int64(n) if relaxed => put!(out, "{n}"),
        Raw::Int64(n) => put!(out, r#"{{"$numberLong":"{n}"}}"#),
        Raw::Decimal128(bytes) => put!(out, r#"{{"$numberDecimal":"{}"}}"#, Decimal::from_bytes(bytes)),
        Raw::MinKey => out.push_str(r#"{"$minKey":1}"#),
        Raw::MaxKey => out.push_str(r#"{"$maxKey":1}"#),
    }
}

fn extended_fields(doc: RawDoc<'_>, dialect: Dialect, out: &mut String) {
    out.push('{');
    for (i, (name, value)) in doc.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        quote(name, out);
        out.push(':');
        extended(value, dialect, out);
    }
    out.push('}');
}

fn tagged(tag: &str, text: &str, out: &mut String) {
    put!(out, r#"{{"{tag}":"#);
    quote(text, out);
    out.push('}');
}

fn plain(value: Raw<'_>, out: &mut String) {
    match value {
        Raw::Double(n) if n.is_finite() => put!(out, "{n}"),
        Raw::Double(n) => put!(out, "\"{}\"", double_text(n)),
        Raw::String(s) | Raw::Symbol(s) | Raw::Code(s) => quote(s, out),
        Raw::Document(doc) => plain_fields(doc, out),
        Raw::Array(array) => {
            out.push('[');
            for (i, element) in array.values().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                plain(element, out);
            }
            out.push(']');
        }
        Raw::Binary { subtype: 4, bytes } if bytes.len() == 16 => {
            let bytes = <[u8; 16]>::try_from(bytes).expect("the guard has checked the length");
            put!(out, "\"{}\"", base::Uuid(bytes));
        }
        Raw::Binary { bytes, .. } => put!(out, "\"{}\"", base64(bytes)),
        Raw::Undefined | Raw::Null => out.push_str("null"),
        Raw::ObjectId(id) => put!(out, "\"{}\"", hex(&id)),
        Raw::Bool(b) => put!(out, "{b}"),
        Raw::Date(ms) => put!(out, "\"{}\"", iso_date(ms)),
        Raw::Regex { pattern, options } => quote(&format!("/{pattern}/{options}"), out),
        Raw::DbPointer { namespace, id } => {
            out.push_str(r#"{"$ref": "#);
            quote(namespace, out);
            put!(out, r#", "$id": "{}"}}"#, hex(&id));
        }
        Raw::CodeWithScope { code, .. } => quote(code, out),
        Raw::Int32(n) => put!(out, "{n}"),
        Raw::Timestamp(t) => put!(out, r#"{{"t": {}, "i": {}}}"#, t >> 32, t & 0xffff_ffff),
        Raw::Int64(n) => put!(out, "{n}"),
        Raw::Decimal128(bytes) => match Decimal::from_bytes(bytes) {
            finite @ Decimal::Finite { .. } => put!(out, "{finite}"),
            special => put!(out, "\"{special}\""),
        },
        Raw::MinKey => out.push_str("\"MinKey\""),
        Raw::MaxKey => out.push_str("\"MaxKey\""),
    }
}

fn plain_fields(doc: RawDoc<'_>, out: &mut String) {
    out.push('{');
    for (i, (name, value)) in doc.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        quote(name, out);
        out.push_str(": ");
        plain(value, out);
    }
    out.push('}');
}

/// A JSON string literal.
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        from = at + 1;
        if escape.is_empty() {
            put!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

fn double_text(n: f64) -> String {
    if n.is_nan() {
        "NaN".to_owned()
    } else if n.is_infinite() {
        if n > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        format!("{n:?}")
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        put!(out, "{byte:02x}");
        out
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(BASE64[(group >> (18 - 6 * i)) as usize & 0x3f]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// Last millisecond of the year 9999; later dates have no relaxed form.
const MAX_RELAXED_DATE_MS: i64 = 253_402_300_799_999;

/// `2026-01-02T03:04:05.678Z`. Years beyond four digits are written in full, years before 0 with a sign.
pub fn iso_date(ms: i64) -> String {
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil_from_days(days);
    let (h, m, s, milli) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60, in_day % 1000);
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z", year.abs())
}

/// As Extended JSON wants it: no fraction when it is zero.
fn iso_date_short(ms: i64) -> String {
    let full = iso_date(ms);
    if ms % 1000 == 0 { full.replace(".000Z", "Z") } else { full }
}

/// Gregorian date of a day number (1970-01-01 is 0), counted in 400-year eras that start in March.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day number of a Gregorian date; the inverse of `civil_from_days`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
