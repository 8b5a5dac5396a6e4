//! Decimal128 arithmetic: 34 digits, round half to even, the preferred exponents of IEEE 754-2008.
//!
//! Every operation computes on an exact (or sticky) big integer and rounds once, in `Decimal::rounded`.

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{One, ToPrimitive, Zero};

use super::{Decimal, MAX_COEFFICIENT, MAX_EXPONENT, MIN_EXPONENT};

/// Digits of a coefficient.
const PRECISION: u32 = 34;

/// How a number loses its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    HalfEven,
    TowardZero,
    Floor,
    Ceiling,
}

pub(super) fn ten_to(power: u32) -> BigUint {
    if power <= 38 { BigUint::from(10u128.pow(power)) } else { BigUint::from(10u32).pow(power) }
}

/// Decimal digits of `n`; zero has one.
pub(super) fn digits(n: &BigUint) -> u32 {
    if let Some(small) = n.to_u128() {
        return small.checked_ilog10().unwrap_or(0) + 1;
    }
    // bits * log10(2) is at most one too low.
    let estimate = ((n.bits() - 1) as f64 * std::f64::consts::LOG10_2) as u32;
    if *n >= ten_to(estimate + 1) {
        estimate + 2
    } else if *n >= ten_to(estimate) {
        estimate + 1
    } else {
        estimate
    }
}

/// `n / 10^places`, rounded.
fn drop_digits(n: &BigUint, places: u32, negative: bool, rounding: Rounding) -> BigUint {
    let unit = ten_to(places);
    let (quotient, rest) = (n / &unit, n % &unit);
    let up = match rounding {
        _ if rest.is_zero() => false,
        Rounding::TowardZero => false,
        Rounding::Floor => negative,
        Rounding::Ceiling => !negative,
        Rounding::HalfEven => {
            let twice = rest * 2u32;
            twice > unit || (twice == unit && quotient.bit(0))
        }
    };
    if up { quotient + 1u32 } else { quotient }
}

impl Decimal {
    pub const ZERO: Decimal = Decimal::Finite { negative: false, coefficient: 0, exponent: 0 };

    /// The nearest decimal128 to `± coefficient * 10^exponent`.
    pub fn rounded(negative: bool, coefficient: BigUint, exponent: i32) -> Decimal {
        let (mut coefficient, mut exponent) = (coefficient, exponent);
        let excess = digits(&coefficient).saturating_sub(PRECISION);
        let lift = i64::from(MIN_EXPONENT) - i64::from(exponent);
        let drop = i64::from(excess).max(lift);
        if drop > 0 {
            if drop > i64::from(digits(&coefficient)) + 1 {
                return Decimal::Finite { negative, coefficient: 0, exponent: MIN_EXPONENT };
            }
            coefficient = drop_digits(&coefficient, drop as u32, negative, Rounding::HalfEven);
            exponent += drop as i32;
            if digits(&coefficient) > PRECISION {
                coefficient /= 10u32;
                exponent += 1;
            }
        }
        if exponent > MAX_EXPONENT {
            let pad = (exponent - MAX_EXPONENT) as u32;
            if coefficient.is_zero() {
                exponent = MAX_EXPONENT;
            } else if digits(&coefficient).saturating_add(pad) <= PRECISION {
                coefficient *= ten_to(pad);
                exponent = MAX_EXPONENT;
            } else {
                return Decimal::Infinity { negative };
            }
        }
        let coefficient = coefficient.to_u128().expect("34 digits fit 128 bits");
        Decimal::Finite { negative, coefficient, exponent }
    }

    fn rounded_signed(n: BigInt, exponent: i32, zero_negative: bool) -> Decimal {
        let negative = if n.is_zero() { zero_negative } else { n.sign() == Sign::Minus };
        Decimal::rounded(negative, n.into_parts().1, exponent)
    }

    pub fn from_i64(n: i64) -> Decimal {
        Decimal::Finite { negative: n < 0, coefficient: u128::from(n.unsigned_abs()), exponent: 0 }
    }

    /// The double's exact value, rounded to 34 digits.
    pub fn from_f64_exact(n: f64) -> Decimal {
        if n.is_nan() {
            return Decimal::NaN;
        }
        if n.is_infinite() {
            return Decimal::Infinity { negative: n < 0.0 };
        }
        if n == 0.0 {
            return Decimal::Finite { negative: n.is_sign_negative(), coefficient: 0, exponent: 0 };
        }
        let (magnitude, exponent) = super::exact_double(n);
        let exact = Decimal::rounded(n < 0.0, magnitude.into_parts().1, exponent);
        // 0.5 is 5E-1, not 5000…E-52: the exact value with the exponent nearest to zero.
        exact.stripped_to(0)
    }

    /// The double as MongoDB coerces it: 15 significant digits.
    pub fn from_f64(n: f64) -> Decimal {
        let exact = Decimal::from_f64_exact(n);
        let Decimal::Finite { coefficient, exponent, .. } = exact else { return exact };
        if coefficient == 0 {
            return exact;
        }
        let length = coefficient.ilog10() as i32 + 1;
        let rounded = exact.quantize(exponent + length - 15, Rounding::HalfEven);
        match rounded {
            // 9.99…95 rounded up to a sixteenth digit.
            Decimal::Finite { coefficient, exponent, .. } if coefficient >= 10u128.pow(15) => {
                rounded.quantize(exponent + 1, Rounding::HalfEven)
            }
            other => other,
        }
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        let sign = |negative: bool| if negative { -1.0 } else { 1.0 };
        match self {
            Decimal::NaN => f64::NAN,
            Decimal::Infinity { negative } => sign(negative) * f64::INFINITY,
            Decimal::Finite { negative, coefficient, exponent } => {
                let magnitude: f64 = format!("{coefficient}e{exponent}").parse().expect("digits and an exponent");
                sign(negative) * magnitude
            }
        }
    }

    /// As a 64-bit integer, rounded; `None` if it does not fit or is no number.
    pub fn to_i64(self, rounding: Rounding) -> Option<i64> {
        match self.quantize(0, rounding) {
            Decimal::Finite { negative, coefficient, exponent: 0 } => {
                let n = i128::try_from(coefficient).ok()?;
                i64::try_from(if negative { -n } else { n }).ok()
            }
            // Zeros whose exponent could not be moved, and numbers beyond 34 digits.
            Decimal::Finite { coefficient: 0, .. } => Some(0),
            _ => None,
        }
    }

    pub fn is_zero(self) -> bool {
        matches!(self, Decimal::Finite { coefficient: 0, .. })
    }

    pub fn is_nan(self) -> bool {
        self == Decimal::NaN
    }

    pub fn is_infinite(self) -> bool {
        matches!(self, Decimal::Infinity { .. })
    }

    pub fn is_negative(self) -> bool {
        matches!(self, Decimal::Infinity { negative: true } | Decimal::Finite { negative: true, .. })
    }

    pub fn negate(self) -> Decimal {
        match self {
            Decimal::NaN => self,
            Decimal::Infinity { negative } => Decimal::Infinity { negative: !negative },
            Decimal::Finite { negative, coefficient, exponent } => {
                Decimal::Finite { negative: !negative, coefficient, exponent }
            }
        }
    }

    pub fn abs(self) -> Decimal {
        if self.is_negative() { self.negate() } else { self }
    }

    #[allow(clippy::should_implement_trait, reason = "named like its siblings; an operator would hide the rounding")]
    pub fn add(self, other: Decimal) -> Decimal {
        match (self, other) {
            (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
            (Decimal::Infinity { negative: a }, Decimal::Infinity { negative: b }) => {
                if a == b {
                    self
                } else {
                    Decimal::NaN
                }
            }
            (Decimal::Infinity { .. }, _) => self,
            (_, Decimal::Infinity { .. }) => other,
            (
                Decimal::Finite { negative: n, coefficient: c, exponent: e },
                Decimal::Finite { negative: m, coefficient: d, exponent: f },
            ) => {
                if e >= f {
                    add_finite((n, c, e), (m, d, f))
                } else {
                    add_finite((m, d, f), (n, c, e))
                }
            }
        }
    }

    pub fn subtract(self, other: Decimal) -> Decimal {
        self.add(other.negate())
    }

    pub fn multiply(self, other: Decimal) -> Decimal {
        let negative = self.is_negative() != other.is_negative();
        match (self, other) {
            (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
            (Decimal::Infinity { .. }, y) | (y, Decimal::Infinity { .. }) => {
                if y.is_zero() {
                    Decimal::NaN
                } else {
                    Decimal::Infinity { negative }
                }
            }
            (
                Decimal::Finite { coefficient: c, exponent: e, .. },
                Decimal::Finite { coefficient: d, exponent: f, .. },
            ) => Decimal::rounded(negative, BigUint::from(c) * BigUint::from(d), e + f),
        }
    }

    pub fn divide(self, other: Decimal) -> Decimal {
        let negative = self.is_negative() != other.is_negative();
        match (self, other) {
            (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
            (Decimal::Infinity { .. }, Decimal::Infinity { .. }) => Decimal::NaN,
            (Decimal::Infinity { .. }, _) => Decimal::Infinity { negative },
            (_, Decimal::Infinity { .. }) => Decimal::Finite { negative, coefficient: 0, exponent: MIN_EXPONENT },
            (
                Decimal::Finite { coefficient: c, exponent: e, .. },
                Decimal::Finite { coefficient: d, exponent: f, .. },
            ) => match (c, d) {
                (0, 0) => Decimal::NaN,
                (_, 0) => Decimal::Infinity { negative },
                (0, _) => Decimal::rounded(negative, BigUint::zero(), e - f),
                _ => divide_finite(negative, (c, e), (d, f)),
            },
        }
    }

    /// The remainder of the truncated quotient; it has the sign of `self`.
    pub fn modulo(self, other: Decimal) -> Decimal {
        match (self, other) {
            (Decimal::NaN, _) | (_, Decimal::NaN) | (Decimal::Infinity { .. }, _) => Decimal::NaN,
            (_, Decimal::Infinity { .. }) => self,
            (
                Decimal::Finite { negative, coefficient: c, exponent: e },
                Decimal::Finite { coefficient: d, exponent: f, .. },
            ) => {
                if d == 0 {
                    return Decimal::NaN;
                }
                let (c, d) = (BigUint::from(c), BigUint::from(d));
                if e >= f {
                    let scaled = c * BigUint::from(10u32).modpow(&BigUint::from((e - f) as u32), &d);
                    return Decimal::rounded(negative, scaled % d, f);
                }
                if f - e > 40 {
                    // The divisor is larger than anything 34 digits can hold at our exponent.
                    return self;
                }
                Decimal::rounded(negative, c % (d * ten_to((f - e) as u32)), e)
            }
        }
    }

    /// The same number with this exponent, rounded; NaN if 34 digits cannot hold it.
    pub fn quantize(self, to: i32, rounding: Rounding) -> Decimal {
        let Decimal::Finite { negative, coefficient, exponent } = self else { return self };
        if !(MIN_EXPONENT..=MAX_EXPONENT).contains(&to) {
            return Decimal::NaN;
        }
        if coefficient == 0 {
            return Decimal::Finite { negative, coefficient, exponent: to };
        }
        if to <= exponent {
            let pad = (exponent - to) as u32;
            if coefficient.ilog10() + 1 + pad > PRECISION {
                return Decimal::NaN;
            }
            return Decimal::Finite { negative, coefficient: coefficient * 10u128.pow(pad), exponent: to };
        }
        // Beyond 36 dropped digits only "something non-zero" is left to round.
        let places = ((to - exponent) as u32).min(36);
        let kept = drop_digits(&BigUint::from(coefficient), places, negative, rounding);
        Decimal::Finite { negative, coefficient: kept.to_u128().expect("fewer digits than before"), exponent: to }
    }

    /// Rounds to a whole number; numbers that have no fraction stay as they are.
    pub fn to_integral(self, rounding: Rounding) -> Decimal {
        match self {
            Decimal::Finite { exponent, .. } if exponent < 0 => self.quantize(0, rounding),
            other => other,
        }
    }

    /// Removes trailing zeros of the coefficient while the exponent is below `limit`.
    pub fn stripped_to(self, limit: i32) -> Decimal {
        let Decimal::Finite { negative, mut coefficient, mut exponent } = self else { return self };
        if coefficient == 0 {
            return Decimal::Finite { negative, coefficient, exponent: exponent.max(limit) };
        }
        while exponent < limit && coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        Decimal::Finite { negative, coefficient, exponent }
    }

    /// The square root; NaN below zero.
    pub fn sqrt(self) -> Decimal {
        match self {
            Decimal::Finite { coefficient: 0, negative, exponent } => {
                Decimal::Finite { negative, coefficient: 0, exponent: exponent.div_euclid(2) }
            }
            Decimal::NaN | Decimal::Infinity { negative: false } => self,
            Decimal::Infinity { negative: true } | Decimal::Finite { negative: true, .. } => Decimal::NaN,
            Decimal::Finite { coefficient, exponent, .. } => {
                // An even exponent and at least 36 digits of root.
                let scale = 76 - (exponent.rem_euclid(2));
                let scale = if (exponent - scale) % 2 == 0 { scale } else { scale + 1 };
                let n = BigUint::from(coefficient) * ten_to(scale as u32);
                let root = n.sqrt();
                let half = (exponent - scale) / 2;
                if &root * &root == n {
                    let exact = Decimal::rounded(false, root, half);
                    return exact.stripped_to(exponent.div_euclid(2));
                }
                Decimal::rounded(false, root * 10u32 + 1u32, half - 1)
            }
        }
    }

    /// Whole-number powers by squaring on exact integers, rounded as they grow.
    pub fn powi(self, exponent: i64) -> Decimal {
        let mut result = Decimal::from_i64(1);
        let mut square = self;
        let mut left = exponent.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                result = result.multiply(square);
            }
            left >>= 1;
            if left > 0 {
                square = square.multiply(square);
            }
        }
        if exponent < 0 { Decimal::from_i64(1).divide(result) } else { result }
    }
}

type Parts = (bool, u128, i32);

/// `high` has the larger exponent.
fn add_finite(high: Parts, low: Parts) -> Decimal {
    let (n, c, e) = high;
    let (m, d, f) = low;
    let zero_negative = n && m;
    let signed = |negative: bool, c: BigUint| BigInt::from_biguint(if negative { Sign::Minus } else { Sign::Plus }, c);
    let gap = (e - f) as u32;
    if c == 0 {
        let negative = if d == 0 { zero_negative } else { m };
        return Decimal::Finite { negative, coefficient: d, exponent: f };
    }
    if gap > 80 {
        if d == 0 {
            let pad = (PRECISION - (c.ilog10() + 1)).min(gap);
            return Decimal::Finite { negative: n, coefficient: c * 10u128.pow(pad), exponent: e - pad as i32 };
        }
        // `low` is below every digit that can be kept: it only decides the rounding.
        let sticky = signed(n, BigUint::from(c) * ten_to(41)) + signed(m, BigUint::one());
        return Decimal::rounded_signed(sticky, e - 41, zero_negative);
    }
    let sum = signed(n, BigUint::from(c) * ten_to(gap)) + signed(m, BigUint::from(d));
    Decimal::rounded_signed(sum, f, zero_negative)
}

fn divide_finite(negative: bool, (c, e): (u128, i32), (d, f): (u128, i32)) -> Decimal {
    let scale = 36 + PRECISION;
    let n = BigUint::from(c) * ten_to(scale);
    let d = BigUint::from(d);
    let (quotient, rest) = (&n / &d, &n % &d);
    let exponent = e - f - scale as i32;
    if !rest.is_zero() {
        return Decimal::rounded(negative, quotient * 10u32 + 1u32, exponent - 1);
    }
    // Exact: back towards the exponent that IEEE 754 prefers.
    let (mut quotient, mut exponent) = (quotient, exponent);
    let ten = BigUint::from(10u32);
    while exponent < e - f && (&quotient % &ten).is_zero() {
        quotient /= &ten;
        exponent += 1;
    }
    Decimal::rounded(negative, quotient, exponent)
}

/// The largest finite value.
pub const LARGEST: Decimal = Decimal::Finite { negative: false, coefficient: MAX_COEFFICIENT, exponent: MAX_EXPONENT };
