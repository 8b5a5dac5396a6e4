//! Numbers across BSON's four number types: exact comparison, arithmetic with MongoDB's promotion
//! rules, and the decimal128 codec.
//!
//! Read next: `arithmetic.rs` (promotion), `decimal.rs` (34 digits), `text.rs` (parsing and printing).

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{Signed, Zero};

use crate::raw::Raw;

pub mod arithmetic;
pub mod decimal;
pub mod functions;
pub mod text;

pub use arithmetic::Number;
pub use decimal::Rounding;

/// A decoded decimal128: `coefficient * 10^exponent`, or a special value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimal {
    Finite { negative: bool, coefficient: u128, exponent: i32 },
    Infinity { negative: bool },
    NaN,
}

/// Largest coefficient: 34 decimal digits.
pub const MAX_COEFFICIENT: u128 = 10u128.pow(34) - 1;
/// Exponents run from -6176 to 6111.
pub const MIN_EXPONENT: i32 = -6176;
pub const MAX_EXPONENT: i32 = 6111;

impl Decimal {
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        let negative = bits >> 127 == 1;
        let combination = (bits >> 122) as u8 & 0x1f;
        match combination {
            0x1f => Decimal::NaN,
            0x1e => Decimal::Infinity { negative },
            // The "large coefficient" form never holds a canonical 34-digit value: it reads as zero.
            _ if combination >> 3 == 0b11 => {
                let exponent = ((bits >> 111) as i32 & 0x3fff) + MIN_EXPONENT;
                Decimal::Finite { negative, coefficient: 0, exponent }
            }
            _ => {
                let exponent = ((bits >> 113) as i32 & 0x3fff) + MIN_EXPONENT;
                let coefficient = bits & ((1u128 << 113) - 1);
                let coefficient = if coefficient > MAX_COEFFICIENT { 0 } else { coefficient };
                Decimal::Finite { negative, coefficient, exponent }
            }
        }
    }

    /// Encodes; the coefficient and exponent must be in range.
    pub fn to_bytes(self) -> [u8; 16] {
        let bits = match self {
            Decimal::NaN => 0x1fu128 << 122,
            Decimal::Infinity { negative } => u128::from(negative) << 127 | 0x1eu128 << 122,
            Decimal::Finite { negative, coefficient, exponent } => {
                assert!(coefficient <= MAX_COEFFICIENT, "34 digits at most");
                assert!((MIN_EXPONENT..=MAX_EXPONENT).contains(&exponent), "exponent in range");
                u128::from(negative) << 127 | ((exponent - MIN_EXPONENT) as u128) << 113 | coefficient
            }
        };
        bits.to_le_bytes()
    }
}

/// Mathematical comparison of two numbers of any types; NaN is below every number and equal to
/// itself.
///
/// # Panics
/// If either value is no number.
pub fn compare(a: Raw<'_>, b: Raw<'_>) -> Ordering {
    match (a, b) {
        (Raw::Decimal128(x), _) => compare_decimal(Decimal::from_bytes(x), b),
        (_, Raw::Decimal128(y)) => compare_decimal(Decimal::from_bytes(y), a).reverse(),
        (Raw::Double(x), Raw::Double(y)) => compare_doubles(x, y),
        (Raw::Double(x), _) => compare_double_int(x, whole(b)),
        (_, Raw::Double(y)) => compare_double_int(y, whole(a)).reverse(),
        _ => whole(a).cmp(&whole(b)),
    }
}

fn whole(n: Raw<'_>) -> i64 {
    match n {
        Raw::Int32(n) => i64::from(n),
        Raw::Int64(n) => n,
        other => panic!("{} is no integer", other.type_name()),
    }
}

fn compare_doubles(x: f64, y: f64) -> Ordering {
    x.partial_cmp(&y).unwrap_or_else(|| (!x.is_nan()).cmp(&!y.is_nan()))
}

fn compare_double_int(x: f64, n: i64) -> Ordering {
    if x.is_nan() {
        return Ordering::Less;
    }
    // 2^63 is exact as a double; beyond it no i64 can follow.
    if x >= 9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    if x < -9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    (x.trunc() as i64).cmp(&n).then_with(|| x.fract().partial_cmp(&0.0).expect("a finite fraction"))
}

fn compare_decimal(x: Decimal, other: Raw<'_>) -> Ordering {
    let y = match other {
        Raw::Double(n) if n.is_nan() => Decimal::NaN,
        Raw::Double(n) if n.is_infinite() => Decimal::Infinity { negative: n < 0.0 },
        Raw::Double(n) => return compare_scaled(x, exact_double(n)),
        Raw::Decimal128(bytes) => Decimal::from_bytes(bytes),
        _ => return compare_scaled(x, (BigInt::from(whole(other)), 0)),
    };
    match (x, y) {
        (Decimal::NaN, Decimal::NaN) => Ordering::Equal,
        (Decimal::NaN, _) => Ordering::Less,
        (_, Decimal::NaN) => Ordering::Greater,
        (Decimal::Infinity { negative: a }, Decimal::Infinity { negative: b }) => b.cmp(&a),
        (_, Decimal::Infinity { negative }) => {
            if negative {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (_, Decimal::Finite { negative, coefficient, exponent }) => {
            let magnitude = BigInt::from(coefficient);
            compare_scaled(x, (if negative { -magnitude } else { magnitude }, exponent))
        }
    }
}

/// `n` as an exact decimal: a double is `m * 2^e`, and a negative `e` is `5^-e / 10^-e`.
fn exact_double(n: f64) -> (BigInt, i32) {
    let bits = n.to_bits();
    let raw_exponent = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) =
        if raw_exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, raw_exponent - 1075) };
    let mut m = BigInt::from(mantissa);
    if n.is_sign_negative() {
        m = -m;
    }
    if exponent >= 0 { (m << exponent as usize, 0) } else { (m * BigInt::from(5).pow((-exponent) as u32), exponent) }
}

fn compare_scaled(x: Decimal, (y, y_exponent): (BigInt, i32)) -> Ordering {
    let (negative, coefficient, exponent) = match x {
        Decimal::NaN => return Ordering::Less,
        Decimal::Infinity { negative } => return if negative { Ordering::Less } else { Ordering::Greater },
        Decimal::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
    };
    let x = if negative { -BigInt::from(coefficient) } else { BigInt::from(coefficient) };
    if x.is_zero() || y.is_zero() || x.is_negative() != y.is_negative() {
        return x.signum().cmp(&y.signum());
    }
    // Far apart in magnitude: decide without building a 6000-digit number.
    let magnitude = |n: &BigInt, e: i32| n.bits() as f64 * std::f64::consts::LOG10_2 + f64::from(e);
    let (mx, my) = (magnitude(&x, exponent), magnitude(&y, y_exponent));
    if (mx - my).abs() > 2.0 {
        let order = if mx > my { Ordering::Greater } else { Ordering::Less };
        return if x.is_negative() { order.reverse() } else { order };
    }
    let low = exponent.min(y_exponent);
    let scale = |n: BigInt, e: i32| n * BigInt::from(10).pow((e - low) as u32);
    scale(x, exponent).cmp(&scale(y, y_exponent))
}

#[cfg(test)]
mod tests;
