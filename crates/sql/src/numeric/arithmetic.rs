//! The four operations, remainders and rounding, with PostgreSQL's result scales.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, Zero};

use super::{
    MAX_RESULT_SCALE, MAX_SCALE, MIN_SIGNIFICANT_DIGITS, Numeric, digit_count, overflow, power_of_ten,
    small_power_of_ten,
};
use crate::error::{Result, SqlError};

/// 22012, for every type.
pub fn division_by_zero() -> SqlError {
    SqlError::new("22012", "division by zero")
}

/// `n / d`, rounded half away from zero.
pub(super) fn divide_rounded(n: &BigInt, d: &BigInt) -> BigInt {
    let (quotient, remainder) = n.div_rem(d);
    if (remainder.abs() << 1usize) >= d.abs() {
        if n.is_negative() == d.is_negative() { quotient + 1 } else { quotient - 1 }
    } else {
        quotient
    }
}

fn aligned(a: &Numeric, b: &Numeric) -> Option<(BigInt, BigInt, u16)> {
    let ((a, x), (b, y)) = (a.parts()?, b.parts()?);
    let scale = x.max(y);
    let shift = |n: BigInt, from: u16| if from == scale { n } else { n * power_of_ten(u32::from(scale - from)) };
    Some((shift(a, x), shift(b, y), scale))
}

impl Numeric {
    pub fn negate(&self) -> Numeric {
        match self {
            Numeric::Small { unscaled, scale } => Numeric::Small { unscaled: -unscaled, scale: *scale },
            Numeric::Big(big) => Numeric::new(-&big.0, big.1),
            Numeric::NaN => Numeric::NaN,
            Numeric::Infinity => Numeric::NegativeInfinity,
            Numeric::NegativeInfinity => Numeric::Infinity,
        }
    }

    pub fn abs(&self) -> Numeric {
        if self.signum() < 0 { self.negate() } else { self.clone() }
    }

    /// Errors with 22003 if the sum has too many digits.
    pub fn add(&self, other: &Numeric) -> Result<Numeric> {
        if let (Numeric::Small { unscaled: a, scale: x }, Numeric::Small { unscaled: b, scale: y }) = (self, other)
            && x == y
        {
            return Ok(Numeric::from_i128(i128::from(*a) + i128::from(*b), *x));
        }
        match aligned(self, other) {
            Some((a, b, scale)) => Numeric::new(a + b, scale).checked(),
            None => Ok(match (self, other) {
                (Numeric::NaN, _) | (_, Numeric::NaN) => Numeric::NaN,
                (Numeric::Infinity, Numeric::NegativeInfinity) | (Numeric::NegativeInfinity, Numeric::Infinity) => {
                    Numeric::NaN
                }
                (Numeric::Infinity | Numeric::NegativeInfinity, _) => self.clone(),
                _ => other.clone(),
            }),
        }
    }

    pub fn subtract(&self, other: &Numeric) -> Result<Numeric> {
        self.add(&other.negate())
    }

    pub fn multiply(&self, other: &Numeric) -> Result<Numeric> {
        if let (Numeric::Small { unscaled: a, scale: x }, Numeric::Small { unscaled: b, scale: y }) = (self, other)
            && i64::from(*x) + i64::from(*y) <= MAX_SCALE
        {
            return Ok(Numeric::from_i128(i128::from(*a) * i128::from(*b), x + y));
        }
        match (self.parts(), other.parts()) {
            (Some((a, x)), Some((b, y))) => {
                let scale = i64::from(x) + i64::from(y);
                let product = a * b;
                if scale > MAX_SCALE {
                    let product = divide_rounded(&product, &power_of_ten((scale - MAX_SCALE) as u32));
                    return Numeric::new(product, MAX_SCALE as u16).checked();
                }
                Numeric::new(product, scale as u16).checked()
            }
            _ if self.is_nan() || other.is_nan() => Ok(Numeric::NaN),
            _ => Ok(match self.signum() * other.signum() {
                0 => Numeric::NaN,
                1 => Numeric::Infinity,
                _ => Numeric::NegativeInfinity,
            }),
        }
    }

    /// Digits after the point that PostgreSQL gives to `self / other`: at least 16 significant
    /// ones, and not fewer than either operand shows.
    fn quotient_scale(&self, other: &Numeric) -> u16 {
        let ((weight_a, first_a), (weight_b, first_b)) = (self.leading_group(), other.leading_group());
        let quotient_weight = weight_a - weight_b - i64::from(first_a <= first_b);
        (MIN_SIGNIFICANT_DIGITS - quotient_weight * 4)
            .max(i64::from(self.scale()))
            .max(i64::from(other.scale()))
            .clamp(0, MAX_RESULT_SCALE) as u16
    }

    pub fn divide(&self, other: &Numeric) -> Result<Numeric> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NaN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        match (self.is_finite(), other.is_finite()) {
            (true, true) => self.divide_to(other, self.quotient_scale(other)),
            (true, false) => Ok(Numeric::ZERO),
            (false, true) => Ok(if other.signum() < 0 { self.negate() } else { self.clone() }),
            (false, false) => Ok(Numeric::NaN),
        }
    }

    /// The quotient with the given scale, rounded half away from zero. The divisor is not zero.
    pub(super) fn divide_to(&self, other: &Numeric, scale: u16) -> Result<Numeric> {
        if let (Numeric::Small { unscaled: a, scale: x }, Numeric::Small { unscaled: b, scale: y }) = (self, other)
            && let Some(up) = (u32::from(scale) + u32::from(*y)).checked_sub(u32::from(*x))
            && let Some(n) = small_power_of_ten(up).and_then(|factor| factor.checked_mul(i128::from(*a)))
        {
            let d = i128::from(*b);
            let (quotient, remainder) = (n / d, n % d);
            let away = remainder.abs() * 2 >= d.abs();
            let step = if (n < 0) == (d < 0) { 1 } else { -1 };
            return Ok(Numeric::from_i128(quotient + if away { step } else { 0 }, scale));
        }
        let ((a, x), (b, y)) = (self.parts().expect("finite"), other.parts().expect("finite"));
        let up = i64::from(scale) + i64::from(y) - i64::from(x);
        let quotient = if up >= 0 {
            divide_rounded(&(a * power_of_ten(up as u32)), &b)
        } else {
            divide_rounded(&a, &(b * power_of_ten(-up as u32)))
        };
        Numeric::new(quotient, scale).checked()
    }

    /// The whole part of the quotient: SQL's `div`.
    pub fn divide_whole(&self, other: &Numeric) -> Result<Numeric> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NaN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        match aligned(self, other) {
            Some((a, b, _)) => Numeric::new(a / b, 0).checked(),
            None => self.divide(other),
        }
    }

    /// The remainder, with the dividend's sign.
    pub fn remainder(&self, other: &Numeric) -> Result<Numeric> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NaN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        match aligned(self, other) {
            Some((a, b, scale)) => Ok(Numeric::new(a % b, scale)),
            None if self.is_finite() => Ok(self.clone()),
            None => Ok(Numeric::NaN),
        }
    }

    /// Rounded half away from zero to `places` digits after (or, negative, before) the point.
    pub fn round(&self, places: i32) -> Result<Numeric> {
        self.rescale(places, divide_rounded)
    }

    /// Cut at `places`.
    pub fn truncate(&self, places: i32) -> Result<Numeric> {
        self.rescale(places, |n, d| n / d)
    }

    fn rescale(&self, places: i32, divide: impl Fn(&BigInt, &BigInt) -> BigInt) -> Result<Numeric> {
        let places = i64::from(places).clamp(-2000, 2000);
        let Some((unscaled, scale)) = self.parts() else { return Ok(self.clone()) };
        let cut = i64::from(scale) - places;
        if cut <= 0 {
            return Numeric::new(unscaled * power_of_ten(-cut as u32), places as u16).checked();
        }
        // Less than a tenth of a place divides alike, however small it is: no need for a larger power.
        let cut = cut.min(digit_count(&unscaled) + 1);
        let rounded = divide(&unscaled, &power_of_ten(cut as u32));
        if places >= 0 {
            Numeric::new(rounded, places as u16).checked()
        } else {
            Numeric::new(rounded * power_of_ten(-places as u32), 0).checked()
        }
    }

    /// The value with exactly `scale` digits after the point (a `numeric(p, s)`'s rounding).
    pub(crate) fn with_scale(&self, scale: u16) -> Result<Numeric> {
        if scale == self.scale() { Ok(self.clone()) } else { self.round(i32::from(scale)) }
    }

    pub fn floor(&self) -> Result<Numeric> {
        self.rescale(0, |n, d| n.div_floor(d))
    }

    pub fn ceil(&self) -> Result<Numeric> {
        self.rescale(0, |n, d| -((-n).div_floor(d)))
    }

    /// Greatest common divisor (`least` false) or least common multiple.
    pub(crate) fn gcd_lcm(&self, other: &Numeric, least: bool) -> Result<Numeric> {
        let Some((a, b, scale)) = aligned(self, other) else { return Ok(Numeric::NaN) };
        let result = if !least {
            a.gcd(&b)
        } else if a.is_zero() || b.is_zero() {
            BigInt::zero()
        } else {
            a.lcm(&b)
        };
        Numeric::new(result, scale).checked()
    }

    /// `n!`, 22003 beyond 32177.
    pub(crate) fn factorial(n: i64) -> Result<Numeric> {
        if n < 0 {
            return Err(SqlError::new("22003", "factorial of a negative number is undefined"));
        }
        if n > 32_177 {
            return Err(overflow());
        }
        Ok(Numeric::new(product(1, n.max(1)), 0))
    }

    /// The mean as PostgreSQL divides it.
    pub fn average(sum: &Numeric, count: i64) -> Result<Numeric> {
        sum.divide(&Numeric::from_i64(count))
    }
}

/// `from * … * to` by halves, so that the factors of each multiplication are of a size.
fn product(from: i64, to: i64) -> BigInt {
    if to - from < 8 {
        return (from..=to).fold(BigInt::one(), |n, factor| n * factor);
    }
    let middle = from + (to - from) / 2;
    product(from, middle) * product(middle + 1, to)
}

/// Digits after the point for a quotient of sums; see `statistics.rs`.
pub(super) fn division_scale(a: &Numeric, b: &Numeric) -> u16 {
    a.quotient_scale(b)
}
