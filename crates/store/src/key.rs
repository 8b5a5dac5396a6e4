//! Values as index keys: bytes whose order is MongoDB's order of the values.
//!
//! ```text
//!   key of a compound index = component, component, …      (a descending one bit-inverted)
//!   component               = type byte, payload           (no component is a prefix of another)
//! ```
//! Numbers of all four types share one form, so that equal numbers are one key: sign, the value
//! truncated to a double, then, only if that lost something, the exact decimal digits. Keys are
//! compared and searched, never decoded: the document holds the value.
//!
//! # Invariants
//! - `encode(a) < encode(b)` exactly when `compare_raw(a, b)` is less; equal likewise.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use document::number::{self, Decimal};
use document::{Raw, RawDoc};

/// Longest index key in bytes; the key-value store ends at 65,535.
pub const MAX_KEY: usize = 60_000;

/// Type bytes. Their distances leave room for bounds between types.
pub mod tag {
    pub const MIN_KEY: u8 = 0x0a;
    pub const UNDEFINED: u8 = 0x0f;
    pub const NULL: u8 = 0x14;
    pub const NUMBER: u8 = 0x1e;
    pub const STRING: u8 = 0x3c;
    pub const DOCUMENT: u8 = 0x46;
    pub const ARRAY: u8 = 0x50;
    pub const BINARY: u8 = 0x5a;
    pub const OBJECT_ID: u8 = 0x64;
    pub const BOOL: u8 = 0x6e;
    pub const DATE: u8 = 0x78;
    pub const TIMESTAMP: u8 = 0x82;
    pub const REGEX: u8 = 0x8c;
    pub const DB_POINTER: u8 = 0x96;
    pub const CODE: u8 = 0xa0;
    pub const CODE_WITH_SCOPE: u8 = 0xaa;
    pub const MAX_KEY: u8 = 0xf0;
}

/// The type byte that the value's key starts with.
pub fn tag_of(value: Raw<'_>) -> u8 {
    match value {
        Raw::MinKey => tag::MIN_KEY,
        Raw::Undefined => tag::UNDEFINED,
        Raw::Null => tag::NULL,
        Raw::Double(_) | Raw::Int32(_) | Raw::Int64(_) | Raw::Decimal128(_) => tag::NUMBER,
        Raw::String(_) | Raw::Symbol(_) => tag::STRING,
        Raw::Document(_) => tag::DOCUMENT,
        Raw::Array(_) => tag::ARRAY,
        Raw::Binary { .. } => tag::BINARY,
        Raw::ObjectId(_) => tag::OBJECT_ID,
        Raw::Bool(_) => tag::BOOL,
        Raw::Date(_) => tag::DATE,
        Raw::Timestamp(_) => tag::TIMESTAMP,
        Raw::Regex { .. } => tag::REGEX,
        Raw::DbPointer { .. } => tag::DB_POINTER,
        Raw::Code(_) => tag::CODE,
        Raw::CodeWithScope { .. } => tag::CODE_WITH_SCOPE,
        Raw::MaxKey => tag::MAX_KEY,
    }
}

/// Maps a string to the bytes it is ordered by; `None` is binary order.
pub type StringOrder<'a> = Option<&'a dyn Fn(&str) -> Vec<u8>>;

/// Appends one component.
pub fn encode(out: &mut Vec<u8>, value: Raw<'_>, descending: bool, order: StringOrder<'_>) {
    let start = out.len();
    append(out, value, order);
    if descending {
        invert(&mut out[start..]);
    }
}

/// Turns an ascending component into a descending one and back.
pub fn invert(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = !*byte;
    }
}

fn append(out: &mut Vec<u8>, value: Raw<'_>, order: StringOrder<'_>) {
    out.push(tag_of(value));
    payload(out, value, order);
}

fn payload(out: &mut Vec<u8>, value: Raw<'_>, order: StringOrder<'_>) {
    match value {
        Raw::MinKey | Raw::MaxKey | Raw::Null | Raw::Undefined => {}
        Raw::Double(_) | Raw::Int32(_) | Raw::Int64(_) | Raw::Decimal128(_) => append_number(out, value),
        Raw::String(s) | Raw::Symbol(s) => match order {
            Some(sort_key) => append_bytes(out, &sort_key(s)),
            None => append_bytes(out, s.as_bytes()),
        },
        Raw::Document(doc) => append_document(out, doc, order),
        Raw::Array(array) => {
            for item in array.values() {
                append(out, item, order);
            }
            out.push(0);
        }
        Raw::Binary { subtype, bytes } => {
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            out.push(subtype);
            out.extend_from_slice(bytes);
        }
        Raw::ObjectId(id) => out.extend_from_slice(&id),
        Raw::Bool(b) => out.push(u8::from(b)),
        Raw::Date(ms) => out.extend_from_slice(&(ms as u64 ^ 1 << 63).to_be_bytes()),
        Raw::Timestamp(t) => out.extend_from_slice(&t.to_be_bytes()),
        Raw::Regex { pattern, options } => {
            append_bytes(out, pattern.as_bytes());
            append_bytes(out, options.as_bytes());
        }
        Raw::DbPointer { namespace, id } => {
            out.extend_from_slice(&(namespace.len() as u32).to_be_bytes());
            out.extend_from_slice(namespace.as_bytes());
            out.extend_from_slice(&id);
        }
        Raw::Code(code) => append_bytes(out, code.as_bytes()),
        Raw::CodeWithScope { code, scope } => {
            append_bytes(out, code.as_bytes());
            append_document(out, scope, order);
        }
    }
}

/// Type byte before name, because documents compare so.
fn append_document(out: &mut Vec<u8>, doc: RawDoc<'_>, order: StringOrder<'_>) {
    for (name, value) in doc.iter() {
        out.push(tag_of(value));
        append_bytes(out, name.as_bytes());
        payload(out, value, order);
    }
    out.push(0);
}

/// Zero bytes are escaped, so that the terminator sorts below every continuation.
fn append_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(zero) = memchr_zero(rest) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&[0, 0xff]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

fn memchr_zero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

/// The key of a string prefix scan: every string that starts with `prefix` has a key that starts
/// with these bytes (ascending, binary order).
pub fn string_prefix(out: &mut Vec<u8>, prefix: &str) {
    out.push(tag::STRING);
    append_bytes(out, prefix.as_bytes());
    out.truncate(out.len() - 2);
}

mod class {
    pub const NAN: u8 = 1;
    pub const NEGATIVE: u8 = 2;
    pub const ZERO: u8 = 3;
    pub const POSITIVE: u8 = 4;
}

/// A number as the nearest double towards zero, and its digits if that is not all of it.
struct Approximation {
    negative: bool,
    magnitude: f64,
    digits: Option<(u128, i32)>,
}

fn append_number(out: &mut Vec<u8>, value: Raw<'_>) {
    let parts = match value {
        Raw::Int32(n) => from_double(f64::from(n)),
        Raw::Double(n) if n.is_nan() => return out.push(class::NAN),
        Raw::Double(n) => from_double(n),
        Raw::Int64(n) => from_integer(n),
        Raw::Decimal128(bytes) => match Decimal::from_bytes(bytes) {
            Decimal::NaN => return out.push(class::NAN),
            Decimal::Infinity { negative } => Approximation { negative, magnitude: f64::INFINITY, digits: None },
            Decimal::Finite { negative, coefficient, exponent } => from_decimal(negative, coefficient, exponent),
        },
        _ => return,
    };
    if parts.magnitude == 0.0 && parts.digits.is_none() {
        return out.push(class::ZERO);
    }
    out.push(if parts.negative { class::NEGATIVE } else { class::POSITIVE });
    let start = out.len();
    out.extend_from_slice(&parts.magnitude.to_bits().to_be_bytes());
    match parts.digits {
        None => out.push(0),
        Some((coefficient, exponent)) => {
            out.push(1);
            append_digits(out, coefficient, exponent);
        }
    }
    if parts.negative {
        invert(&mut out[start..]);
    }
}

fn from_double(n: f64) -> Approximation {
    Approximation { negative: n < 0.0, magnitude: n.abs(), digits: None }
}

fn from_integer(n: i64) -> Approximation {
    let magnitude = n.unsigned_abs();
    // 53 bits fit a double; what a longer number has below them is cut off.
    let excess = (64 - magnitude.leading_zeros()).saturating_sub(53);
    let kept = magnitude >> excess << excess;
    let digits = (kept != magnitude).then_some((u128::from(magnitude), 0));
    Approximation { negative: n < 0, magnitude: kept as f64, digits }
}

fn from_decimal(negative: bool, coefficient: u128, exponent: i32) -> Approximation {
    if coefficient == 0 {
        return from_double(0.0);
    }
    let exact = Decimal::Finite { negative: false, coefficient, exponent }.to_bytes();
    let nearest = format!("{coefficient}e{exponent}").parse::<f64>().expect("digits and an exponent are a number");
    let order = |double| number::compare(Raw::Double(double), Raw::Decimal128(exact));
    let magnitude = if order(nearest).is_gt() { nearest.next_down() } else { nearest };
    let digits = (order(magnitude) != Ordering::Equal).then_some((coefficient, exponent));
    Approximation { negative, magnitude, digits }
}

/// Decimal digits in an order-preserving form: where the first one stands, then all without the
/// trailing zeros.
fn append_digits(out: &mut Vec<u8>, mut coefficient: u128, mut exponent: i32) {
    while coefficient % 10 == 0 {
        coefficient /= 10;
        exponent += 1;
    }
    let digits = coefficient.to_string();
    let first = exponent + digits.len() as i32 - 1;
    out.extend_from_slice(&((first + 0x4000) as u16).to_be_bytes());
    out.extend(digits.bytes().map(|digit| digit - b'0' + 1));
    out.push(0);
}
