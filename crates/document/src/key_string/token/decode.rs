//! KeyString bytes back to values.

use super::fraction::{self, Magnitude};
use super::{FIRST_LARGE, ctype, number_type};
use crate::error::{Error, Result};
use crate::number::{Decimal, MIN_EXPONENT};
use crate::value::{Binary, Doc, Regex, Value};

/// The values of a key string. The end mark may be missing, and what follows it is ignored, as the
/// server does. Errors: 15 if the bytes stop inside a value, 50811 for an unknown type byte, 50810
/// for a number its type bits contradict.
pub fn decode(bytes: &[u8], type_bits: &[u8]) -> Result<Vec<Value>> {
    let mut reader = Reader { bytes, at: 0, bits: BitReader::new(type_bits)? };
    let mut values = Vec::new();
    while let Some(&kind) = bytes.get(reader.at) {
        reader.at += 1;
        match kind {
            ctype::END => break,
            // Marks that a search key lies before or after equal keys; no value of their own.
            1 | 254 => {}
            _ => values.push(reader.value(kind, 0)?),
        }
    }
    Ok(values)
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    fn new(type_bits: &'a [u8]) -> Result<Self> {
        let bad = || Error::new(50615, "Invalid size byte(s) of TypeBits");
        let bytes = match type_bits {
            [] => type_bits,
            [first, ..] if *first < 0x80 => &type_bits[..1],
            [0x80, rest @ ..] => {
                let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
                rest.get(..u32::from_le_bytes(*length) as usize).ok_or_else(bad)?
            }
            [first, rest @ ..] => rest.get(..usize::from(first & 0x7f)).ok_or_else(bad)?,
        };
        Ok(BitReader { bytes, at: 0 })
    }

    /// Bits that were not written are zero.
    fn next(&mut self) -> bool {
        let bit = self.bytes.get(self.at / 8).is_some_and(|byte| byte >> (self.at % 8) & 1 == 1);
        self.at += 1;
        bit
    }

    fn high_first(&mut self, bits: u32) -> u32 {
        (0..bits).fold(0, |n, _| n << 1 | u32::from(self.next()))
    }

    fn number_type(&mut self) -> u8 {
        u8::from(self.next()) | u8::from(self.next()) << 1
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    bits: BitReader<'a>,
}

fn malformed(what: &str) -> Error {
    Error::new(50810, format!("KeyString format error: {what}"))
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            Error::new(15, format!("Invalid advance ({length}) past end of buffer[{}] at offset: {}", rest.len(), 0))
        })?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take returns what was asked"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u64(&mut self, negative: bool) -> Result<u64> {
        let n = u64::from_be_bytes(self.array()?);
        Ok(if negative { !n } else { n })
    }

    /// Up to the terminator; 00 FF stands for a NUL.
    fn text(&mut self) -> Result<String> {
        let mut out = Vec::new();
        loop {
            let rest = &self.bytes[self.at..];
            let Some(end) = memchr::memchr(0, rest) else {
                return Err(Error::new(50816, "KeyString format error: Failed to find null terminator in string."));
            };
            out.extend_from_slice(&rest[..end]);
            self.at += end + 1;
            if self.bytes.get(self.at) != Some(&0xFF) {
                break;
            }
            out.push(0);
            self.at += 1;
        }
        String::from_utf8(out).map_err(|_| malformed("string is not UTF-8"))
    }

    fn name(&mut self) -> Result<String> {
        let name = self.text()?;
        if name.contains('\0') { Err(malformed("field name contains a null byte")) } else { Ok(name) }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Value> {
        if depth > base::limits::MAX_NESTING_LEVELS {
            return Err(malformed("too many levels of nesting"));
        }
        Ok(match kind {
            ctype::MIN_KEY => Value::MinKey,
            ctype::UNDEFINED => Value::Undefined,
            ctype::NULL => Value::Null,
            ctype::NAN..=ctype::POSITIVE_LARGE => return self.number(kind),
            ctype::STRING => {
                let symbol = self.bits.next();
                let text = self.text()?;
                if symbol { Value::Symbol(text) } else { Value::String(text) }
            }
            ctype::OBJECT => Value::Document(self.document(depth)?),
            ctype::ARRAY => {
                let mut items = Vec::new();
                loop {
                    match self.byte()? {
                        0 => break,
                        kind => items.push(self.value(kind, depth + 1)?),
                    }
                }
                Value::Array(items)
            }
            ctype::BINARY => {
                let length = match self.byte()? {
                    0xFF => u32::from_be_bytes(self.array()?) as usize,
                    short => usize::from(short),
                };
                let subtype = self.byte()?;
                Value::Binary(Binary { subtype, bytes: self.take(length)?.to_vec() })
            }
            ctype::OBJECT_ID => Value::ObjectId(self.array()?),
            ctype::FALSE => Value::Bool(false),
            ctype::TRUE => Value::Bool(true),
            ctype::DATE => Value::Date((u64::from_be_bytes(self.array()?) ^ 1 << 63) as i64),
            ctype::TIMESTAMP => Value::Timestamp(u64::from_be_bytes(self.array()?)),
            ctype::REGEX => Value::Regex(Regex { pattern: self.name()?, options: self.name()? }),
            ctype::DB_POINTER => {
                let length = u32::from_be_bytes(self.array()?) as usize;
                let namespace = self.take(length)?.to_vec();
                let namespace = String::from_utf8(namespace).map_err(|_| malformed("string is not UTF-8"))?;
                Value::DbPointer { namespace, id: self.array()? }
            }
            ctype::CODE => Value::Code(self.text()?),
            ctype::CODE_WITH_SCOPE => {
                let code = self.text()?;
                Value::CodeWithScope { code, scope: self.document(depth)? }
            }
            ctype::MAX_KEY => Value::MaxKey,
            _ => return Err(Error::new(50811, format!("KeyString format error: Unknown type: {kind}"))),
        })
    }

    fn document(&mut self, depth: usize) -> Result<Doc> {
        let mut doc = Doc::new();
        // The type before a name is for sorting; the value repeats it.
        while self.byte()? != 0 {
            let name = self.name()?;
            let kind = self.byte()?;
            doc.push(name, self.value(kind, depth + 1)?);
        }
        Ok(doc)
    }

    fn number(&mut self, kind: u8) -> Result<Value> {
        let number_type = self.bits.number_type();
        match kind {
            ctype::ZERO => self.zero(number_type),
            ctype::NAN => match number_type {
                number_type::DOUBLE => Ok(Value::Double(f64::NAN)),
                number_type::DECIMAL => Ok(Value::Decimal128(Decimal::NaN.to_bytes())),
                _ => Err(malformed("NaN is no integer")),
            },
            ctype::NEGATIVE_LARGE | ctype::POSITIVE_LARGE => self.large(number_type, kind == ctype::NEGATIVE_LARGE),
            ctype::NEGATIVE_SMALL | ctype::POSITIVE_SMALL => self.small(number_type, kind == ctype::NEGATIVE_SMALL),
            _ => self.whole_or_fractional(number_type, kind),
        }
    }

    fn zero(&mut self, number_type: u8) -> Result<Value> {
        Ok(match number_type {
            number_type::INT => Value::Int32(0),
            number_type::LONG => Value::Int64(0),
            number_type::DOUBLE => Value::Double(0.0),
            _ => match self.bits.high_first(3) {
                0 => Value::Double(-0.0),
                thousands @ 1..=6 => {
                    let which = (thousands - 1) << 12 | self.bits.high_first(12);
                    let (negative, biased) = (which >= 12_288, (which % 12_288) as i32);
                    let zero = Decimal::Finite { negative, coefficient: 0, exponent: biased + MIN_EXPONENT };
                    Value::Decimal128(zero.to_bytes())
                }
                _ => return Err(malformed("unknown zero")),
            },
        })
    }

    fn large(&mut self, number_type: u8, negative: bool) -> Result<Value> {
        let exponent_bits = self.bits_of_finite_decimal(number_type, negative)?;
        let bits = self.u64(negative)?;
        if bits == u64::MAX {
            return match number_type {
                number_type::DOUBLE => Ok(Value::Double(signed(f64::INFINITY, negative))),
                number_type::DECIMAL => Ok(Value::Decimal128(Decimal::Infinity { negative }.to_bytes())),
                _ => Err(malformed("infinity is no integer")),
            };
        }
        if bits >> 63 == 1 {
            return self.out_of_doubles(bits, exponent_bits, negative);
        }
        let n = f64::from_bits(bits >> 1 | 1 << 62);
        match number_type {
            number_type::DOUBLE => Ok(Value::Double(signed(n, negative))),
            number_type::LONG if n == FIRST_LARGE && negative => Ok(Value::Int64(i64::MIN)),
            number_type::DECIMAL if n.is_finite() => {
                let double = Magnitude::of_double(n);
                let magnitude = if bits & 1 == 1 { double.beyond(self.u64(negative)?) } else { double };
                decimal(&magnitude, negative, exponent_bits)
            }
            _ => Err(malformed("large number is no integer")),
        }
    }

    /// The exponent bits behind the type bits; an infinite decimal has none, which only the bytes
    /// that follow can tell.
    fn bits_of_finite_decimal(&mut self, number_type: u8, negative: bool) -> Result<u32> {
        if number_type != number_type::DECIMAL {
            return Ok(0);
        }
        let infinite = if negative { [0; 8] } else { [0xFF; 8] };
        if self.bytes[self.at..].starts_with(&infinite) {
            return Ok(0);
        }
        Ok(self.bits.high_first(6))
    }

    fn small(&mut self, number_type: u8, negative: bool) -> Result<Value> {
        let exponent_bits = if number_type == number_type::DECIMAL { self.bits.high_first(6) } else { 0 };
        let bits = self.u64(negative)?;
        let (n, mark) = match bits >> 62 {
            0 => return self.out_of_doubles(bits, exponent_bits, negative),
            3 => (f64::from_bits(bits >> 2), bits & 3),
            _ => {
                let n = f64::from_bits((bits - (1 << 62)) >> 1) * 2f64.powi(-256);
                (n, if bits & 1 == 1 { fraction::ABOVE_ROUNDED } else { fraction::EXACT })
            }
        };
        match number_type {
            number_type::DOUBLE => Ok(Value::Double(signed(n, negative))),
            number_type::DECIMAL => {
                let magnitude = self.marked(n, mark, negative)?;
                decimal(&magnitude, negative, exponent_bits)
            }
            _ => Err(malformed("fraction is no integer")),
        }
    }

    /// The decimal that a double and its mark stand for.
    fn marked(&mut self, n: f64, mark: u64, negative: bool) -> Result<Magnitude> {
        let double = Magnitude::of_double(n);
        Ok(match mark {
            fraction::EXACT => double,
            fraction::ROUNDED => double.rounded_up(),
            _ => double.beyond(self.u64(negative)?),
        })
    }

    fn out_of_doubles(&mut self, high: u64, exponent_bits: u32, negative: bool) -> Result<Value> {
        let low = self.u64(negative)?;
        let bits = (u128::from(high) << 64 | u128::from(low)) & !(1 << 127);
        let exponent = (bits >> 113) as i32 + MIN_EXPONENT;
        decimal(&Magnitude::new(bits & ((1 << 113) - 1), exponent), negative, exponent_bits)
    }

    fn whole_or_fractional(&mut self, number_type: u8, kind: u8) -> Result<Value> {
        let exponent_bits = if number_type == number_type::DECIMAL { self.bits.high_first(6) } else { 0 };
        let negative = kind <= ctype::NEGATIVE_INT;
        let length = usize::from(if negative { ctype::NEGATIVE_INT - kind } else { kind - ctype::POSITIVE_INT }) + 1;
        let flip = if negative { 0xFF } else { 0 };
        let shifted = self.take(length)?.iter().fold(0u64, |n, byte| n << 8 | u64::from(byte ^ flip));
        let whole = shifted >> 1;
        if shifted & 1 == 0 {
            // 63 bits always fit.
            let n = if negative { -(whole as i64) } else { whole as i64 };
            return match number_type {
                number_type::INT => {
                    i32::try_from(n).map(Value::Int32).map_err(|_| malformed("int does not fit 32 bits"))
                }
                number_type::LONG => Ok(Value::Int64(n)),
                number_type::DOUBLE => Ok(Value::Double(n as f64)),
                _ => decimal(&Magnitude::new(whole, 0), negative, exponent_bits),
            };
        }
        let fraction_bytes = 8 - length;
        let bits = self.take(fraction_bytes)?.iter().fold(whole, |n, byte| n << 8 | u64::from(byte ^ flip));
        let n = (bits & !3) as f64 * 256f64.powi(-(fraction_bytes as i32));
        match number_type {
            number_type::DOUBLE => Ok(Value::Double(signed(n, negative))),
            number_type::DECIMAL if fraction::is_coarse(whole) => {
                let magnitude = fraction::from_coarse(whole, self.u64(negative)?);
                decimal(&magnitude, negative, exponent_bits)
            }
            number_type::DECIMAL => {
                let magnitude = self.marked(n, bits & 3, negative)?;
                decimal(&magnitude, negative, exponent_bits)
            }
            _ => Err(malformed("fraction is no integer")),
        }
    }
}

fn signed(n: f64, negative: bool) -> f64 {
    if negative { -n } else { n }
}

fn decimal(magnitude: &Magnitude, negative: bool, exponent_bits: u32) -> Result<Value> {
    let decimal = magnitude.to_decimal(negative, exponent_bits).ok_or_else(|| malformed("no such decimal"))?;
    Ok(Value::Decimal128(decimal.to_bytes()))
}
