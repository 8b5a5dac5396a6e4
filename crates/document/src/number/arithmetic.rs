//! Arithmetic over the four number types with MongoDB's promotion: int32 → int64 → double, and
//! decimal128 as soon as one side is one.
//!
//! Two flavours where they differ on int64 overflow: the plain functions go on as a double
//! (aggregation), the `checked_` ones return `None` (`$inc`, `$mul`).

use super::decimal::Rounding;
use super::{Decimal, text};
use crate::raw::Raw;
use crate::value::Value;

/// A number of any BSON type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int32(i32),
    Int64(i64),
    Double(f64),
    Decimal(Decimal),
}

impl From<Number> for Value {
    fn from(n: Number) -> Value {
        match n {
            Number::Int32(n) => Value::Int32(n),
            Number::Int64(n) => Value::Int64(n),
            Number::Double(n) => Value::Double(n),
            Number::Decimal(n) => Value::Decimal128(n.to_bytes()),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Int32(n) => write!(f, "{n}"),
            Number::Int64(n) => write!(f, "{n}"),
            Number::Double(n) => f.write_str(&text::general(*n, 6)),
            Number::Decimal(n) => write!(f, "{n}"),
        }
    }
}

impl Number {
    pub fn from_raw(value: Raw<'_>) -> Option<Number> {
        match value {
            Raw::Int32(n) => Some(Number::Int32(n)),
            Raw::Int64(n) => Some(Number::Int64(n)),
            Raw::Double(n) => Some(Number::Double(n)),
            Raw::Decimal128(bytes) => Some(Number::Decimal(Decimal::from_bytes(bytes))),
            _ => None,
        }
    }

    pub fn from_value(value: &Value) -> Option<Number> {
        match value {
            Value::Int32(n) => Some(Number::Int32(*n)),
            Value::Int64(n) => Some(Number::Int64(*n)),
            Value::Double(n) => Some(Number::Double(*n)),
            Value::Decimal128(bytes) => Some(Number::Decimal(Decimal::from_bytes(*bytes))),
            _ => None,
        }
    }

    /// int32 if it fits, else int64.
    pub fn narrow(n: i64) -> Number {
        i32::try_from(n).map_or(Number::Int64(n), Number::Int32)
    }

    pub fn is_decimal(self) -> bool {
        matches!(self, Number::Decimal(_))
    }

    pub fn is_zero(self) -> bool {
        match self {
            Number::Int32(n) => n == 0,
            Number::Int64(n) => n == 0,
            Number::Double(n) => n == 0.0,
            Number::Decimal(n) => n.is_zero(),
        }
    }

    pub fn is_nan(self) -> bool {
        match self {
            Number::Double(n) => n.is_nan(),
            Number::Decimal(n) => n.is_nan(),
            _ => false,
        }
    }

    pub fn to_f64(self) -> f64 {
        match self {
            Number::Int32(n) => f64::from(n),
            Number::Int64(n) => n as f64,
            Number::Double(n) => n,
            Number::Decimal(n) => n.to_f64(),
        }
    }

    pub fn to_decimal(self) -> Decimal {
        match self {
            Number::Int32(n) => Decimal::from_i64(i64::from(n)),
            Number::Int64(n) => Decimal::from_i64(n),
            Number::Double(n) => Decimal::from_f64(n),
            Number::Decimal(n) => n,
        }
    }

    /// The value if it is of an integer type.
    pub fn as_integer(self) -> Option<i64> {
        match self {
            Number::Int32(n) => Some(i64::from(n)),
            Number::Int64(n) => Some(n),
            _ => None,
        }
    }

    /// The whole number it equals, if any, whatever its type.
    pub fn as_whole(self) -> Option<i64> {
        match self {
            Number::Double(n) => Raw::Double(n).as_whole(),
            Number::Decimal(n) => {
                let whole = n.to_i64(Rounding::TowardZero)?;
                n.subtract(Decimal::from_i64(whole)).is_zero().then_some(whole)
            }
            other => other.as_integer(),
        }
    }

    /// Truncated towards zero into an int64, saturating; NaN is 0.
    pub fn to_i64_saturating(self) -> i64 {
        match self {
            Number::Double(n) => n as i64,
            Number::Decimal(n) => n.to_i64(Rounding::TowardZero).unwrap_or(match n {
                Decimal::NaN => 0,
                _ if n.is_negative() => i64::MIN,
                _ => i64::MAX,
            }),
            other => other.as_integer().expect("the integer types are left"),
        }
    }
}

fn both_int32(a: Number, b: Number) -> bool {
    matches!((a, b), (Number::Int32(_), Number::Int32(_)))
}

/// The three operations that differ only in their leaves.
struct Leaves {
    integer: fn(i64, i64) -> Option<i64>,
    double: fn(f64, f64) -> f64,
    decimal: fn(Decimal, Decimal) -> Decimal,
}

const ADD: Leaves = Leaves { integer: i64::checked_add, double: |x, y| x + y, decimal: Decimal::add };
const SUBTRACT: Leaves = Leaves { integer: i64::checked_sub, double: |x, y| x - y, decimal: Decimal::subtract };
const MULTIPLY: Leaves = Leaves { integer: i64::checked_mul, double: |x, y| x * y, decimal: Decimal::multiply };

/// `None` on int64 overflow.
fn combine(leaves: &Leaves, a: Number, b: Number) -> Option<Number> {
    if a.is_decimal() || b.is_decimal() {
        return Some(Number::Decimal((leaves.decimal)(a.to_decimal(), b.to_decimal())));
    }
    let (Some(x), Some(y)) = (a.as_integer(), b.as_integer()) else {
        return Some(Number::Double((leaves.double)(a.to_f64(), b.to_f64())));
    };
    let n = (leaves.integer)(x, y)?;
    Some(if both_int32(a, b) { Number::narrow(n) } else { Number::Int64(n) })
}

fn combine_or_double(leaves: &Leaves, a: Number, b: Number) -> Number {
    combine(leaves, a, b).unwrap_or_else(|| Number::Double((leaves.double)(a.to_f64(), b.to_f64())))
}

pub fn add(a: Number, b: Number) -> Number {
    combine_or_double(&ADD, a, b)
}

pub fn subtract(a: Number, b: Number) -> Number {
    combine_or_double(&SUBTRACT, a, b)
}

pub fn multiply(a: Number, b: Number) -> Number {
    combine_or_double(&MULTIPLY, a, b)
}

/// `None` if two integers leave int64.
pub fn checked_add(a: Number, b: Number) -> Option<Number> {
    combine(&ADD, a, b)
}

/// `None` if two integers leave int64.
pub fn checked_multiply(a: Number, b: Number) -> Option<Number> {
    combine(&MULTIPLY, a, b)
}

/// Double or decimal128, never an integer. `None` if `b` is zero.
pub fn divide(a: Number, b: Number) -> Option<Number> {
    if b.is_zero() {
        return None;
    }
    if a.is_decimal() || b.is_decimal() {
        return Some(Number::Decimal(a.to_decimal().divide(b.to_decimal())));
    }
    Some(Number::Double(a.to_f64() / b.to_f64()))
}

/// The remainder of the truncated quotient. `None` if `b` is zero.
pub fn modulo(a: Number, b: Number) -> Option<Number> {
    if b.is_zero() {
        return None;
    }
    if a.is_decimal() || b.is_decimal() {
        return Some(Number::Decimal(a.to_decimal().modulo(b.to_decimal())));
    }
    // An integer-valued double divisor keeps the integer type of the dividend.
    let whole_divisor = match b {
        Number::Double(n) if n.fract() == 0.0 && n.abs() <= f64::from(i32::MAX) => Some(n as i64),
        other => other.as_integer(),
    };
    match (a.as_integer(), whole_divisor) {
        (Some(x), Some(y)) => {
            let rest = x.wrapping_rem(y);
            let long = matches!(a, Number::Int64(_)) || matches!(b, Number::Int64(_));
            Some(if long { Number::Int64(rest) } else { Number::narrow(rest) })
        }
        _ => Some(Number::Double(a.to_f64() % b.to_f64())),
    }
}

/// `None` for the smallest int64, which has no counterpart.
pub fn abs(n: Number) -> Option<Number> {
    Some(match n {
        Number::Int32(n) => Number::narrow(i64::from(n).abs()),
        Number::Int64(n) => Number::Int64(n.checked_abs()?),
        Number::Double(n) => Number::Double(n.abs()),
        Number::Decimal(n) => Number::Decimal(n.abs()),
    })
}

/// Sum or product of a list whose int32-ness is decided at the end: `max + 1 - 1` is an int32.
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    leaves: &'static Leaves,
    total: Number,
    all_int32: bool,
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaves")
    }
}

impl Fold {
    pub fn sum() -> Fold {
        Fold { leaves: &ADD, total: Number::Int64(0), all_int32: true }
    }

    pub fn product() -> Fold {
        Fold { leaves: &MULTIPLY, total: Number::Int64(1), all_int32: true }
    }

    pub fn push(&mut self, n: Number) {
        self.all_int32 &= matches!(n, Number::Int32(_));
        self.total = combine_or_double(self.leaves, self.total, n);
    }

    pub fn total(self) -> Number {
        match self.total {
            Number::Int64(n) if self.all_int32 => Number::narrow(n),
            other => other,
        }
    }
}

/// Rounds to `places` digits after the point (before it, if negative).
pub fn round_to(n: Number, places: i32, rounding: Rounding) -> Number {
    match n {
        Number::Int32(_) | Number::Int64(_) if places >= 0 => n,
        Number::Int32(x) => Number::narrow(round_integer(i64::from(x), places, rounding).unwrap_or(0)),
        // Rounding up may leave int64; the server then answers with a double.
        Number::Int64(x) => round_integer(x, places, rounding).map_or(Number::Double(x as f64), Number::Int64),
        Number::Double(x) if places == 0 => Number::Double(match rounding {
            Rounding::HalfEven => x.round_ties_even(),
            Rounding::TowardZero => x.trunc(),
            Rounding::Floor => x.floor(),
            Rounding::Ceiling => x.ceil(),
        }),
        Number::Double(x) if !x.is_finite() => n,
        Number::Double(x) => Number::Double(round_decimal(Decimal::from_f64_exact(x), places, rounding).to_f64()),
        Number::Decimal(x) => Number::Decimal(round_decimal(x, places, rounding)),
    }
}

fn round_decimal(n: Decimal, places: i32, rounding: Rounding) -> Decimal {
    match n {
        // Nothing to drop: the digits stay as they are.
        Decimal::Finite { exponent, .. } if exponent >= -places => n,
        _ => n.quantize(-places, rounding),
    }
}

fn round_integer(n: i64, places: i32, rounding: Rounding) -> Option<i64> {
    let rounded = Decimal::from_i64(n).quantize(-places, rounding);
    rounded.to_i64(Rounding::TowardZero)
}
