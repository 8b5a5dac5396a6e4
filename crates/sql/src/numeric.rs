//! PostgreSQL's numeric: exact decimals with a display scale.
//!
//! A number is `unscaled / 10^scale`; the scale is what is printed (`1.50` has scale 2), so `1.5`
//! and `1.50` are two values that SQL calls equal. Almost all numbers of a query fit a machine
//! word; the others are big integers.
//!
//! # Invariants
//! - One representation per (unscaled, scale): `Small` below 10^18 in magnitude, else `Big`.
//! - At most 131072 digits before the point and 16383 after it, as in PostgreSQL.
//!
//! Read next: `numeric/arithmetic.rs`, `numeric/convert.rs`, `numeric/transcendental.rs`.

mod arithmetic;
mod convert;
pub mod statistics;
#[cfg(test)]
mod tests;
mod transcendental;

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{Signed, Zero};

use crate::error::{Result, SqlError};

pub use arithmetic::division_by_zero;
pub(crate) use convert::out_of_range;

/// An exact decimal `unscaled / 10^scale`, or NaN and the infinities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numeric {
    /// Up to 18 digits: no allocation.
    Small {
        unscaled: i64,
        scale: u16,
    },
    Big(Box<(BigInt, u16)>),
    NaN,
    Infinity,
    NegativeInfinity,
}

/// Magnitudes from here on are `Big`.
const SMALL_LIMIT: u64 = 1_000_000_000_000_000_000;
/// Most digits before the point.
pub const MAX_INTEGER_DIGITS: i64 = 131_072;
/// Most digits after the point of any value.
pub const MAX_SCALE: i64 = 16_383;
/// Most digits after the point of a result that is not exact (division, logarithms).
const MAX_RESULT_SCALE: i64 = 1000;
/// Significant digits that an inexact result has at least.
const MIN_SIGNIFICANT_DIGITS: i64 = 16;

pub(crate) fn overflow() -> SqlError {
    SqlError::new("22003", "value overflows numeric format")
}

/// `10^exponent`.
pub(crate) fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10u8).pow(exponent)
}

/// `10^exponent` if it fits.
fn small_power_of_ten(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// How many decimal digits a magnitude has; 0 has none.
fn digit_count(n: &BigInt) -> i64 {
    let bits = n.bits();
    if bits == 0 {
        return 0;
    }
    // 2^(bits - 1) <= n < 2^bits leaves two counts.
    let low = ((bits - 1) as f64 * std::f64::consts::LOG10_2) as i64 + 1;
    if n.magnitude() >= power_of_ten(low as u32).magnitude() { low + 1 } else { low }
}

impl Default for Numeric {
    fn default() -> Self {
        Numeric::ZERO
    }
}

impl Numeric {
    pub const ZERO: Numeric = Numeric::Small { unscaled: 0, scale: 0 };
    pub const ONE: Numeric = Numeric::Small { unscaled: 1, scale: 0 };

    /// `unscaled / 10^scale`, unchecked against the limits.
    pub fn new(unscaled: BigInt, scale: u16) -> Self {
        match i64::try_from(&unscaled) {
            Ok(small) if small.unsigned_abs() < SMALL_LIMIT => Numeric::Small { unscaled: small, scale },
            _ => Numeric::Big(Box::new((unscaled, scale))),
        }
    }

    pub fn from_i128(unscaled: i128, scale: u16) -> Self {
        match i64::try_from(unscaled) {
            Ok(small) if small.unsigned_abs() < SMALL_LIMIT => Numeric::Small { unscaled: small, scale },
            _ => Numeric::Big(Box::new((BigInt::from(unscaled), scale))),
        }
    }

    pub fn from_i64(n: i64) -> Self {
        Numeric::from_i128(i128::from(n), 0)
    }

    /// Refuses a number with too many digits: 22003.
    pub(crate) fn checked(self) -> Result<Self> {
        if let Numeric::Big(big) = &self
            && digit_count(&big.0) - i64::from(big.1) > MAX_INTEGER_DIGITS
        {
            return Err(overflow());
        }
        Ok(self)
    }

    /// The number as `unscaled / 10^scale`, unless it is special.
    pub fn parts(&self) -> Option<(BigInt, u16)> {
        match self {
            Numeric::Small { unscaled, scale } => Some((BigInt::from(*unscaled), *scale)),
            Numeric::Big(big) => Some((big.0.clone(), big.1)),
            _ => None,
        }
    }

    /// Digits after the point; 0 for special values.
    pub fn scale(&self) -> u16 {
        match self {
            Numeric::Small { scale, .. } => *scale,
            Numeric::Big(big) => big.1,
            _ => 0,
        }
    }

    pub fn is_finite(&self) -> bool {
        matches!(self, Numeric::Small { .. } | Numeric::Big(_))
    }

    pub fn is_nan(&self) -> bool {
        matches!(self, Numeric::NaN)
    }

    pub fn is_zero(&self) -> bool {
        matches!(self, Numeric::Small { unscaled: 0, .. })
    }

    /// -1, 0 or 1; 0 for NaN.
    pub fn signum(&self) -> i32 {
        match self {
            Numeric::Small { unscaled, .. } => unscaled.signum() as i32,
            Numeric::Big(big) => {
                if big.0.is_negative() {
                    -1
                } else {
                    1
                }
            }
            Numeric::NaN => 0,
            Numeric::Infinity => 1,
            Numeric::NegativeInfinity => -1,
        }
    }

    pub fn is_integral(&self) -> bool {
        self.is_finite() && self.trim_scale().scale() == 0
    }

    /// SQL's order: by value, NaN equal to itself and above everything.
    pub fn compare(&self, other: &Numeric) -> Ordering {
        use Numeric::*;
        match (self, other) {
            (Small { unscaled: a, scale: x }, Small { unscaled: b, scale: y }) => {
                if x == y {
                    return a.cmp(b);
                }
                let shift = |n: i64, by: u16| {
                    small_power_of_ten(u32::from(by)).and_then(|factor| i128::from(n).checked_mul(factor))
                };
                let (low, high) = (x.min(y), x.max(y));
                match (shift(*a, high - x), shift(*b, high - y)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    _ => compare_big((BigInt::from(*a), x - low), (BigInt::from(*b), y - low)),
                }
            }
            (Small { .. } | Big(_), Small { .. } | Big(_)) => {
                let (a, b) = (self.parts().expect("finite"), other.parts().expect("finite"));
                compare_big(a, b)
            }
            _ => self.class().cmp(&other.class()),
        }
    }

    fn class(&self) -> u8 {
        match self {
            Numeric::NegativeInfinity => 0,
            Numeric::Small { .. } | Numeric::Big(_) => 1,
            Numeric::Infinity => 2,
            Numeric::NaN => 3,
        }
    }

    /// Without trailing zeros after the point.
    pub fn trim_scale(&self) -> Numeric {
        match self {
            Numeric::Small { unscaled: 0, .. } => Numeric::ZERO,
            Numeric::Small { unscaled, scale } => {
                let (mut n, mut scale) = (*unscaled, *scale);
                while scale > 0 && n % 10 == 0 {
                    n /= 10;
                    scale -= 1;
                }
                Numeric::Small { unscaled: n, scale }
            }
            Numeric::Big(big) => {
                let digits = big.0.magnitude().to_string();
                let zeros = digits.len() - digits.trim_end_matches('0').len();
                let cut = zeros.min(usize::from(big.1)) as u16;
                if cut == 0 { self.clone() } else { Numeric::new(&big.0 / power_of_ten(u32::from(cut)), big.1 - cut) }
            }
            special => special.clone(),
        }
    }

    /// The power of ten of the leading digit; 0 for zero.
    fn leading_exponent(&self) -> i64 {
        match self {
            Numeric::Small { unscaled: 0, .. } => 0,
            Numeric::Small { unscaled, scale } => i64::from(unscaled.unsigned_abs().ilog10()) - i64::from(*scale),
            Numeric::Big(big) => digit_count(&big.0) - 1 - i64::from(big.1),
            _ => 0,
        }
    }

    /// PostgreSQL stores groups of four digits, aligned at the point, and chooses the scale of a
    /// quotient by them: the weight (power of 10000) and value of the first group.
    fn leading_group(&self) -> (i64, i64) {
        if self.is_zero() || !self.is_finite() {
            return (0, 0);
        }
        let exponent = self.leading_exponent();
        let weight = exponent.div_euclid(4);
        let wanted = exponent - 4 * weight + 1;
        let (unscaled, _) = self.parts().expect("finite");
        let have = digit_count(&unscaled);
        let magnitude = unscaled.abs();
        let group = if have > wanted {
            magnitude / power_of_ten((have - wanted) as u32)
        } else {
            magnitude * power_of_ten((wanted - have) as u32)
        };
        (weight, i64::try_from(&group).expect("at most four digits"))
    }

    pub fn to_bigint(&self) -> Option<BigInt> {
        let trimmed = self.trim_scale();
        let (unscaled, scale) = trimmed.parts()?;
        (scale == 0).then_some(unscaled)
    }
}

fn compare_big((a, x): (BigInt, u16), (b, y): (BigInt, u16)) -> Ordering {
    if a.is_zero() || b.is_zero() || a.is_negative() != b.is_negative() {
        return a.signum().cmp(&b.signum());
    }
    match x.cmp(&y) {
        Ordering::Equal => a.cmp(&b),
        Ordering::Less => (a * power_of_ten(u32::from(y - x))).cmp(&b),
        Ordering::Greater => a.cmp(&(b * power_of_ten(u32::from(x - y)))),
    }
}

impl std::fmt::Display for Numeric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (negative, digits, scale) = match self {
            Numeric::NaN => return f.write_str("NaN"),
            Numeric::Infinity => return f.write_str("Infinity"),
            Numeric::NegativeInfinity => return f.write_str("-Infinity"),
            Numeric::Small { unscaled, scale } => {
                (*unscaled < 0, unscaled.unsigned_abs().to_string(), usize::from(*scale))
            }
            Numeric::Big(big) => (big.0.is_negative(), big.0.magnitude().to_string(), usize::from(big.1)),
        };
        if negative {
            f.write_str("-")?;
        }
        if scale == 0 {
            return f.write_str(&digits);
        }
        match digits.len().checked_sub(scale) {
            Some(point) if point > 0 => write!(f, "{}.{}", &digits[..point], &digits[point..]),
            _ => write!(f, "0.{digits:0>scale$}"),
        }
    }
}
