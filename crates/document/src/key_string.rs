//! Order-preserving bytes: comparing encodings with `memcmp` compares values as `compare_raw` does.
//!
//! ```text
//!   42           30 | 8 bytes of the double | 00
//!   2^53 + 1     30 | 8 bytes of 2^53       | 01 exact decimal digits ..
//!   "ab"         38 | 61 62 | 00 00
//!   {a: 42}      40 | 30 61 00 00 | <42> | 00
//! ```
//!
//! A number is written as the largest double not above it, then whether it *is* that double; what
//! is not (a long beyond 2^53, most decimals) adds its exact decimal digits. So ordinary numbers
//! stay short, the four number types meet, and no two different numbers share a key.
//!
//! # Not here
//! MongoDB's own KeyString, which resume tokens show to the outside (`token.rs`). Decoding: an index
//! entry leads to its document, nobody reads values from the key.
//!
//! # Invariants
//! - Prefix-free: no encoding is the start of another, so compound keys are concatenations.
//! - A descending component is the complement of the ascending one.
//! - Equal values (5, 5.0, Decimal 5.00; string and symbol) have equal encodings, and only they.

#[cfg(test)]
pub(crate) mod tests;
pub mod token;

use crate::collation::Collation;
use crate::compare::type_rank;
use crate::number::{self, Decimal};
use crate::raw::{Raw, RawDoc};

/// Ends strings (with itself) and documents; below every type byte.
const END: u8 = 0x00;
/// Follows a NUL that belongs to the text.
const ESCAPED: u8 = 0xFF;
/// After a number's double: nothing is left, or exact digits follow.
const EXACT: u8 = 0x00;
const BEYOND: u8 = 0x01;

/// Appends the encoding of one value. `descending` reverses its order; with a collation, strings
/// are represented by their sort keys.
pub fn encode_value(value: Raw<'_>, out: &mut Vec<u8>, descending: bool, collation: Option<&Collation>) {
    let start = out.len();
    encode(value, out, collation);
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The encoding of one ascending value under the simple collation.
pub fn encoded(value: Raw<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    encode(value, &mut out, None);
    out
}

/// The first byte of every value of this value's type bracket.
fn type_byte(value: Raw<'_>) -> u8 {
    0x18 + type_rank(value) * 8
}

/// Smallest key above every encoding of values in the bracket of `value` (ascending): the exclusive
/// upper bound of a type-bracketed range scan.
pub fn bracket_end(value: Raw<'_>) -> u8 {
    type_byte(value) + 1
}

/// Smallest key of the bracket of `value` (ascending): its inclusive lower bound.
pub fn bracket_start(value: Raw<'_>) -> u8 {
    type_byte(value)
}

/// The first key above every key that starts with `prefix`; `None` if there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn encode(value: Raw<'_>, out: &mut Vec<u8>, collation: Option<&Collation>) {
    out.push(type_byte(value));
    match value {
        Raw::MinKey | Raw::MaxKey | Raw::Undefined | Raw::Null => {}
        Raw::Int32(_) | Raw::Int64(_) | Raw::Double(_) | Raw::Decimal128(_) => encode_number(value, out),
        Raw::String(s) | Raw::Symbol(s) => match collation {
            None => encode_text(s.as_bytes(), out),
            Some(collation) => encode_text(&collation.key(s), out),
        },
        Raw::Document(doc) => encode_document(doc, out, collation),
        Raw::Array(array) => {
            array.values().for_each(|element| encode(element, out, collation));
            out.push(END);
        }
        Raw::Binary { subtype, bytes } => {
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            out.push(subtype);
            out.extend_from_slice(bytes);
        }
        Raw::ObjectId(id) => out.extend_from_slice(&id),
        Raw::Bool(b) => out.push(u8::from(b)),
        Raw::Date(ms) => out.extend_from_slice(&ordered_i64(ms)),
        Raw::Timestamp(t) => out.extend_from_slice(&t.to_be_bytes()),
        Raw::Regex { pattern, options } => {
            encode_text(pattern.as_bytes(), out);
            encode_text(options.as_bytes(), out);
        }
        Raw::DbPointer { namespace, id } => {
            out.extend_from_slice(&(namespace.len() as u32).to_be_bytes());
            out.extend_from_slice(namespace.as_bytes());
            out.extend_from_slice(&id);
        }
        Raw::Code(code) => encode_text(code.as_bytes(), out),
        Raw::CodeWithScope { code, scope } => {
            encode_text(code.as_bytes(), out);
            encode_document(scope, out, None);
        }
    }
}

/// Field by field in the order of comparison: type, name, value.
fn encode_document(doc: RawDoc<'_>, out: &mut Vec<u8>, collation: Option<&Collation>) {
    for (name, value) in doc.iter() {
        out.push(type_byte(value));
        encode_text(name.as_bytes(), out);
        encode(value, out, collation);
    }
    out.push(END);
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[0, ESCAPED]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[END, END]);
}

fn ordered_i64(n: i64) -> [u8; 8] {
    (n as u64 ^ 1 << 63).to_be_bytes()
}

/// NaN first, then -Infinity up to Infinity; -0 is 0.
fn ordered_double(n: f64) -> [u8; 8] {
    let bits = if n.is_nan() {
        0
    } else if n == 0.0 {
        1 << 63
    } else if n < 0.0 {
        !n.to_bits()
    } else {
        n.to_bits() | 1 << 63
    };
    bits.to_be_bytes()
}

/// The largest integer below which every whole number is a double.
const EXACT_DOUBLES: i64 = 1 << 53;

fn encode_number(value: Raw<'_>, out: &mut Vec<u8>) {
    let exactly = |n: f64, out: &mut Vec<u8>| {
        out.extend_from_slice(&ordered_double(n));
        out.push(EXACT);
    };
    match value {
        Raw::Int32(n) => exactly(f64::from(n), out),
        Raw::Int64(n) if (-EXACT_DOUBLES..=EXACT_DOUBLES).contains(&n) => exactly(n as f64, out),
        Raw::Double(n) => exactly(n, out),
        Raw::Int64(n) => encode_beyond(n < 0, u128::from(n.unsigned_abs()), 0, value, out),
        Raw::Decimal128(bytes) => match Decimal::from_bytes(bytes) {
            Decimal::NaN => exactly(f64::NAN, out),
            Decimal::Infinity { negative: true } => exactly(f64::NEG_INFINITY, out),
            Decimal::Infinity { negative: false } => exactly(f64::INFINITY, out),
            Decimal::Finite { coefficient: 0, .. } => exactly(0.0, out),
            Decimal::Finite { negative, coefficient, exponent } => {
                encode_beyond(negative, coefficient, exponent, value, out);
            }
        },
        _ => unreachable!("the caller has matched a number"),
    }
}

/// A number that may lie between two doubles.
fn encode_beyond(negative: bool, coefficient: u128, exponent: i32, value: Raw<'_>, out: &mut Vec<u8>) {
    let below = double_not_above(negative, coefficient, exponent, value);
    out.extend_from_slice(&ordered_double(below));
    if below.is_finite() && number::compare(value, Raw::Double(below)).is_eq() {
        out.push(EXACT);
        return;
    }
    out.push(BEYOND);
    let start = out.len();
    encode_digits(coefficient, exponent, out);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The largest double that is not above `±coefficient * 10^exponent`; -Infinity below all of them.
fn double_not_above(negative: bool, coefficient: u128, exponent: i32, value: Raw<'_>) -> f64 {
    let sign = if negative { "-" } else { "" };
    let nearest: f64 = format!("{sign}{coefficient}e{exponent}").parse().expect("digits and an exponent are a number");
    if nearest == f64::INFINITY {
        f64::MAX
    } else if nearest != f64::NEG_INFINITY && number::compare(value, Raw::Double(nearest)).is_lt() {
        nearest.next_down()
    } else {
        nearest
    }
}

/// Magnitude as `0.d1d2d3.. * 10^e`: the exponent, then two digits per byte, then the end.
fn encode_digits(coefficient: u128, exponent: i32, out: &mut Vec<u8>) {
    let digits = coefficient.to_string();
    let point = digits.len() as i32 + exponent;
    out.extend_from_slice(&((point + 0x4000) as u16).to_be_bytes());
    let digits = digits.trim_end_matches('0').as_bytes();
    for pair in digits.chunks(2) {
        let tens = (pair[0] - b'0') * 10;
        let ones = pair.get(1).map_or(0, |digit| digit - b'0');
        out.push(tens + ones + 1);
    }
    out.push(END);
}
