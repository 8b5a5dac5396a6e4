//! MongoDB's KeyString, version 1, as resume tokens carry it in `_data`.
//!
//! A key string is a row of values, each a type byte and bytes that sort like the value. What the
//! order does not need but a reader does (is this 5 an int, a long, a double?) is kept beside it as
//! *type bits*, two per number and one per string; a token shows them as `_typeBits` only if one of
//! them is set.
//!
//! ```text
//!   82 6B049C8D00000017   2B 04   2C 0100   29   6E   5A 10 04 <uuid>   46 .. 00   04
//!   timestamp             int 2   int 128   0    no   binary            object     end
//! ```
//!
//! A fraction is written as the double below it; a decimal that is no double adds its distance to
//! that double, in units of its 34th digit, as eight more bytes.
//!
//! Source: the format as the server's tokens and the public token decoder show it. The bits of
//! decimal zeros, and where exactly a decimal's extra bytes count from, are ours: no token of a
//! server with such an `_id` was at hand to compare.
//!
//! # Invariants
//! - `decode(encode(values)) == values`, bit for bit, NaN payloads excepted.
//! - Decoding never panics and nests no deeper than a document may.
//!
//! Read next: `decode.rs`, `fraction.rs`.

mod decode;
mod fraction;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::number::Decimal;
use crate::raw::{Raw, RawDoc};

pub use decode::decode;

/// Type bytes.
mod ctype {
    pub const END: u8 = 4;
    pub const MIN_KEY: u8 = 10;
    pub const UNDEFINED: u8 = 15;
    pub const NULL: u8 = 20;
    pub const NAN: u8 = 30;
    pub const NEGATIVE_LARGE: u8 = 31;
    /// One byte; eight bytes are seven below.
    pub const NEGATIVE_INT: u8 = 39;
    pub const NEGATIVE_SMALL: u8 = 40;
    pub const ZERO: u8 = 41;
    pub const POSITIVE_SMALL: u8 = 42;
    /// One byte; eight bytes are seven above.
    pub const POSITIVE_INT: u8 = 43;
    pub const POSITIVE_LARGE: u8 = 51;
    pub const STRING: u8 = 60;
    pub const OBJECT: u8 = 70;
    pub const ARRAY: u8 = 80;
    pub const BINARY: u8 = 90;
    pub const OBJECT_ID: u8 = 100;
    pub const FALSE: u8 = 110;
    pub const TRUE: u8 = 111;
    pub const DATE: u8 = 120;
    pub const TIMESTAMP: u8 = 130;
    pub const REGEX: u8 = 140;
    pub const DB_POINTER: u8 = 150;
    pub const CODE: u8 = 160;
    pub const CODE_WITH_SCOPE: u8 = 170;
    pub const MAX_KEY: u8 = 240;
}

/// Type bits of numbers.
mod number_type {
    pub const INT: u8 = 0;
    pub const LONG: u8 = 1;
    pub const DOUBLE: u8 = 2;
    pub const DECIMAL: u8 = 3;
}

/// First double that is no 64-bit integer: 2^63.
const FIRST_LARGE: f64 = 9_223_372_036_854_775_808.0;

/// An encoded row of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyString {
    pub bytes: Vec<u8>,
    /// As `_typeBits` shows them; empty if no bit is set, and then the field is left out.
    pub type_bits: Vec<u8>,
}

impl KeyString {
    /// Encodes values, ended by the end mark.
    pub fn encode<'a>(values: impl IntoIterator<Item = Raw<'a>>) -> KeyString {
        let mut encoder = Encoder::default();
        for value in values {
            encoder.value(value);
        }
        encoder.out.push(ctype::END);
        KeyString { bytes: encoder.out, type_bits: encoder.bits.finish() }
    }

    /// `_data`: upper-case hexadecimal.
    pub fn to_hex(&self) -> String {
        crate::json::hex(&self.bytes).to_uppercase()
    }
}

/// The bytes of a token's `_data`; either case. Errors with 40649 for an empty string, 9 for what is
/// not hexadecimal.
pub fn from_hex(data: &str) -> Result<Vec<u8>> {
    if data.is_empty() {
        return Err(Error::new(40649, "invalid empty resume token"));
    }
    crate::json::unhex(data).ok_or_else(|| Error::failed_to_parse("resume token string was not a valid hex string"))
}

/// Bits, lowest of a byte first.
#[derive(Debug, Default)]
struct BitWriter {
    bytes: Vec<u8>,
    count: usize,
    any_set: bool,
}

impl BitWriter {
    fn push(&mut self, bit: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if bit {
            self.bytes[self.count / 8] |= 1 << (self.count % 8);
            self.any_set = true;
        }
        self.count += 1;
    }

    /// Highest bit of `value` first.
    fn push_high_first(&mut self, value: u32, bits: u32) {
        (0..bits).rev().for_each(|at| self.push(value >> at & 1 == 1));
    }

    fn number_type(&mut self, kind: u8) {
        self.push(kind & 1 == 1);
        self.push(kind >> 1 == 1);
    }

    /// One byte below 0x80 stands for itself; otherwise a length byte with the high bit goes first.
    fn finish(self) -> Vec<u8> {
        match self.bytes.as_slice() {
            _ if !self.any_set => Vec::new(),
            [one] if *one < 0x80 => self.bytes,
            bytes => {
                // A length beyond 127 bytes is marked by 0x80 itself and four bytes.
                let mut out = match u8::try_from(bytes.len()) {
                    Ok(length) if length < 0x80 => vec![0x80 | length],
                    _ => [&[0x80][..], &(bytes.len() as u32).to_le_bytes()].concat(),
                };
                out.extend_from_slice(bytes);
                out
            }
        }
    }
}

#[derive(Debug, Default)]
struct Encoder {
    out: Vec<u8>,
    bits: BitWriter,
}

impl Encoder {
    fn value(&mut self, value: Raw<'_>) {
        match value {
            Raw::Double(n) => self.double(n),
            Raw::Decimal128(bytes) => self.decimal(Decimal::from_bytes(bytes)),
            Raw::Int32(n) => {
                self.bits.number_type(number_type::INT);
                self.integer(i64::from(n));
            }
            Raw::Int64(n) => {
                self.bits.number_type(number_type::LONG);
                self.integer(n);
            }
            _ => {
                self.out.push(value_type(value));
                self.body(value);
            }
        }
    }

    /// What follows the type byte of a value that is no number.
    fn body(&mut self, value: Raw<'_>) {
        match value {
            Raw::String(s) => {
                self.bits.push(false);
                self.text(s);
            }
            Raw::Symbol(s) => {
                self.bits.push(true);
                self.text(s);
            }
            Raw::Document(doc) => self.document(doc),
            Raw::Array(array) => {
                array.values().for_each(|element| self.value(element));
                self.out.push(0);
            }
            Raw::Binary { subtype, bytes } => {
                match u8::try_from(bytes.len()) {
                    Ok(length) if length < 0xFF => self.out.push(length),
                    _ => {
                        self.out.push(0xFF);
                        self.out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                    }
                }
                self.out.push(subtype);
                self.out.extend_from_slice(bytes);
            }
            Raw::ObjectId(id) => self.out.extend_from_slice(&id),
            Raw::Date(ms) => self.out.extend_from_slice(&(ms as u64 ^ 1 << 63).to_be_bytes()),
            Raw::Timestamp(t) => self.out.extend_from_slice(&t.to_be_bytes()),
            Raw::Regex { pattern, options } => {
                self.text(pattern);
                self.text(options);
            }
            Raw::DbPointer { namespace, id } => {
                self.out.extend_from_slice(&(namespace.len() as u32).to_be_bytes());
                self.out.extend_from_slice(namespace.as_bytes());
                self.out.extend_from_slice(&id);
            }
            Raw::Code(code) => self.text(code),
            Raw::CodeWithScope { code, scope } => {
                self.text(code);
                self.document(scope);
            }
            _ => {}
        }
    }

    fn document(&mut self, doc: RawDoc<'_>) {
        for (name, value) in doc.iter() {
            self.out.push(if value.is_number() { ctype::NAN } else { element_type(value) });
            self.text(name);
            self.value(value);
        }
        self.out.push(0);
    }

    fn text(&mut self, text: &str) {
        for (i, part) in text.split('\0').enumerate() {
            if i > 0 {
                self.out.extend_from_slice(&[0, 0xFF]);
            }
            self.out.extend_from_slice(part.as_bytes());
        }
        self.out.push(0);
    }

    fn integer(&mut self, n: i64) {
        match n {
            0 => self.out.push(ctype::ZERO),
            // The one whole number whose magnitude does not fit is written as the double it equals.
            i64::MIN => self.large(-FIRST_LARGE, false),
            _ => self.shifted(n.unsigned_abs() << 1, n < 0),
        }
    }

    /// A whole magnitude, already shifted past its "has a fraction" bit.
    fn shifted(&mut self, shifted: u64, negative: bool) {
        let skip = shifted.leading_zeros() as usize / 8;
        self.int_type(8 - skip, negative);
        self.signed(&shifted.to_be_bytes()[skip..], negative);
    }

    fn int_type(&mut self, length: usize, negative: bool) {
        let more = length as u8 - 1;
        self.out.push(if negative { ctype::NEGATIVE_INT - more } else { ctype::POSITIVE_INT + more });
    }

    /// Bytes of a magnitude; complemented they sort backwards.
    fn signed(&mut self, bytes: &[u8], negative: bool) {
        let flip = if negative { 0xFF } else { 0 };
        self.out.extend(bytes.iter().map(|byte| byte ^ flip));
    }

    fn double(&mut self, n: f64) {
        if n == 0.0 && n.is_sign_negative() {
            // Zeros that are neither int, long nor double 0: both bits, then which one.
            self.bits.number_type(number_type::DECIMAL);
            self.bits.push_high_first(0, 3);
            self.out.push(ctype::ZERO);
            return;
        }
        self.bits.number_type(number_type::DOUBLE);
        if n.is_nan() {
            self.out.push(ctype::NAN);
        } else if n == 0.0 {
            self.out.push(ctype::ZERO);
        } else if n.abs() >= FIRST_LARGE {
            self.large(n, false);
        } else if n.abs() < 1.0 {
            self.small(n, fraction::EXACT);
        } else if n.fract() == 0.0 {
            self.integer(n as i64);
        } else {
            self.fractional(n, fraction::EXACT);
        }
    }

    /// Magnitudes from 2^63; `continues` announces a decimal's extra bytes.
    fn large(&mut self, n: f64, continues: bool) {
        let bits = if n.is_finite() {
            // The exponent's top bit is always set here; its place is given up.
            (n.abs().to_bits() << 1 & !(1 << 63)) | u64::from(continues)
        } else {
            u64::MAX
        };
        self.out.push(if n > 0.0 { ctype::POSITIVE_LARGE } else { ctype::NEGATIVE_LARGE });
        self.signed(&bits.to_be_bytes(), n < 0.0);
    }

    /// Magnitudes below 1; `mark` tells how a decimal relates to this double.
    fn small(&mut self, n: f64, mark: u64) {
        self.out.push(if n > 0.0 { ctype::POSITIVE_SMALL } else { ctype::NEGATIVE_SMALL });
        self.signed(&fraction::small_bits(n.abs(), mark).to_be_bytes(), n < 0.0);
    }

    /// Magnitudes from 1 to 2^63 with a fraction, or a decimal's mark: whole part, shifted, in as
    /// many bytes as it needs, then the fraction in what is left of eight bytes.
    fn fractional(&mut self, n: f64, mark: u64) {
        let magnitude = n.abs();
        let whole = magnitude as u64;
        let fraction_bytes = (whole << 1).leading_zeros() / 8;
        let scaled = (magnitude * 256f64.powi(fraction_bytes as i32)) as u64;
        // Doubles the whole part and sets the bit that announces a fraction.
        let bits = (scaled + ((whole + 1) << (8 * fraction_bytes))) | mark;
        self.int_type(8 - fraction_bytes as usize, n < 0.0);
        self.signed(&bits.to_be_bytes(), n < 0.0);
    }
}

fn value_type(value: Raw<'_>) -> u8 {
    match value {
        Raw::Bool(true) => ctype::TRUE,
        _ => element_type(value),
    }
}

/// The type byte before a field name, where a boolean has only one.
fn element_type(value: Raw<'_>) -> u8 {
    match value {
        Raw::MinKey => ctype::MIN_KEY,
        Raw::Undefined => ctype::UNDEFINED,
        Raw::Null => ctype::NULL,
        Raw::Double(_) | Raw::Decimal128(_) | Raw::Int32(_) | Raw::Int64(_) => ctype::NAN,
        Raw::String(_) | Raw::Symbol(_) => ctype::STRING,
        Raw::Document(_) => ctype::OBJECT,
        Raw::Array(_) => ctype::ARRAY,
        Raw::Binary { .. } => ctype::BINARY,
        Raw::ObjectId(_) => ctype::OBJECT_ID,
        Raw::Bool(_) => ctype::FALSE,
        Raw::Date(_) => ctype::DATE,
        Raw::Timestamp(_) => ctype::TIMESTAMP,
        Raw::Regex { .. } => ctype::REGEX,
        Raw::DbPointer { .. } => ctype::DB_POINTER,
        Raw::Code(_) => ctype::CODE,
        Raw::CodeWithScope { .. } => ctype::CODE_WITH_SCOPE,
        Raw::MaxKey => ctype::MAX_KEY,
    }
}
