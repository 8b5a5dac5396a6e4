//! Roots, exponentials and logarithms of numerics.
//!
//! Computed in binary fixed point, `n / 2^bits`, with some forty bits more than the result shows;
//! then rounded to the scale PostgreSQL chooses for the result.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::arithmetic::{divide_rounded, division_by_zero};
use super::{MAX_RESULT_SCALE, MIN_SIGNIFICANT_DIGITS, Numeric, digit_count, overflow, power_of_ten};
use crate::error::{Result, SqlError};

/// Natural logarithm of ten.
const LN_10: f64 = std::f64::consts::LN_10;
/// Exponents with more digits, and logarithms with more zeros after the point, are refused: their
/// cost grows with them.
const MAX_EXPONENT_DIGITS: i64 = 2000;
/// Results whose natural logarithm is beyond this overflow or vanish.
const MAX_EXPONENT_OF_E: f64 = 6000.0;

fn clamp_scale(scale: i64, shown: u16) -> u16 {
    scale.max(i64::from(shown)).clamp(0, MAX_RESULT_SCALE) as u16
}

/// Bits for `digits` decimal digits and a margin.
fn bits_for(digits: i64) -> usize {
    (digits.max(16) as f64 * std::f64::consts::LOG2_10) as usize + 64
}

impl Numeric {
    pub fn sqrt(&self) -> Result<Numeric> {
        match self {
            Numeric::NaN | Numeric::Infinity => return Ok(self.clone()),
            _ if self.signum() < 0 => {
                return Err(SqlError::new("2201F", "cannot take square root of a negative number"));
            }
            _ => {}
        }
        let (weight, _) = self.leading_group();
        let result_weight = (weight + 1) * 4 / 2 - 1;
        self.sqrt_to(clamp_scale(MIN_SIGNIFICANT_DIGITS - result_weight, self.scale()))
    }

    /// The root of a number that is not negative, rounded to `scale`.
    pub(super) fn sqrt_to(&self, scale: u16) -> Result<Numeric> {
        let (unscaled, own) = self.parts().expect("finite");
        // One digit more than wanted decides the rounding: a root is never exactly half way.
        let up = 2 * (i64::from(scale) + 1) - i64::from(own);
        let radicand = if up >= 0 {
            unscaled * power_of_ten(up as u32)
        } else {
            unscaled / power_of_ten(up.unsigned_abs() as u32)
        };
        Numeric::new(divide_rounded(&radicand.sqrt(), &BigInt::from(10)), scale).checked()
    }

    pub fn exp(&self) -> Result<Numeric> {
        match self {
            Numeric::NaN | Numeric::Infinity => return Ok(self.clone()),
            Numeric::NegativeInfinity => return Ok(Numeric::ZERO),
            _ => {}
        }
        let approximate = self.to_f64();
        let weight = approximate * std::f64::consts::LOG10_E;
        let scale = clamp_scale(MIN_SIGNIFICANT_DIGITS - weight.clamp(-2000.0, 2000.0) as i64, self.scale());
        if approximate.abs() >= MAX_EXPONENT_OF_E {
            return if approximate > 0.0 { Err(overflow()) } else { Ok(Numeric::Small { unscaled: 0, scale }) };
        }
        let bits = bits_for(i64::from(scale) + weight.max(0.0) as i64 + 10);
        from_fixed(&exp_fixed(&to_fixed(self, bits), bits), bits, scale)
    }

    pub fn ln(&self) -> Result<Numeric> {
        match self {
            Numeric::NaN | Numeric::Infinity => return Ok(self.clone()),
            _ => self.check_logarithm()?,
        }
        let scale = clamp_scale(MIN_SIGNIFICANT_DIGITS - self.logarithm_weight(), self.scale());
        let bits = bits_for(i64::from(scale) + 20);
        from_fixed(&ln_fixed(self, bits), bits, scale)
    }

    /// The logarithm of `self` to `base`.
    pub fn log(&self, base: &Numeric) -> Result<Numeric> {
        base.check_logarithm()?;
        self.check_logarithm()?;
        if self.is_nan() || base.is_nan() {
            return Ok(Numeric::NaN);
        }
        if !self.is_finite() || !base.is_finite() {
            return Ok(if base.is_finite() {
                Numeric::Infinity
            } else if self.is_finite() {
                Numeric::ZERO
            } else {
                Numeric::NaN
            });
        }
        // A base or number this near to one would take thousands of digits to tell from it.
        if self.logarithm_weight().min(base.logarithm_weight()) < -MAX_EXPONENT_DIGITS {
            return Err(overflow());
        }
        let weight = self.logarithm_weight() - base.logarithm_weight();
        let scale = clamp_scale(MIN_SIGNIFICANT_DIGITS - weight, self.scale().max(base.scale()));
        let margin = i64::from(scale) + 20 + self.logarithm_weight().abs() + 2 * base.logarithm_weight().abs();
        let bits = bits_for(margin);
        let denominator = ln_fixed(base, bits);
        if denominator.is_zero() {
            return Err(division_by_zero());
        }
        let quotient = (ln_fixed(self, bits) << bits) / denominator;
        from_fixed(&quotient, bits, scale)
    }

    fn check_logarithm(&self) -> Result<()> {
        if self.is_zero() {
            return Err(SqlError::new("2201E", "cannot take logarithm of zero"));
        }
        if self.signum() < 0 {
            return Err(SqlError::new("2201E", "cannot take logarithm of a negative number"));
        }
        Ok(())
    }

    /// The decimal weight of the natural logarithm, estimated like PostgreSQL estimates it.
    fn logarithm_weight(&self) -> i64 {
        let near_one = |n: i64| Numeric::Small { unscaled: n, scale: 1 };
        if self.compare(&near_one(9)).is_ge() && self.compare(&near_one(11)).is_le() {
            let distance = self.subtract(&Numeric::ONE).map_or(Numeric::ZERO, |d| d.abs());
            return distance.leading_exponent();
        }
        let logarithm = self.approximate_log10() * LN_10;
        if logarithm == 0.0 { 0 } else { logarithm.abs().log10() as i64 }
    }

    /// log10 of the magnitude, to a double's precision, whatever the size.
    fn approximate_log10(&self) -> f64 {
        let distance = self.subtract(&Numeric::ONE).map_or(1.0, |d| d.to_f64());
        if distance.abs() < 0.1 {
            return distance.ln_1p() / LN_10;
        }
        let (unscaled, scale) = self.parts().expect("finite");
        let digits = digit_count(&unscaled);
        let cut = (digits - 17).max(0);
        let leading = (unscaled.abs() / power_of_ten(cut as u32)).to_f64().unwrap_or(1.0);
        leading.log10() + cut as f64 - f64::from(scale)
    }

    pub fn power(&self, exponent: &Numeric) -> Result<Numeric> {
        if !self.is_finite() || !exponent.is_finite() {
            return self.power_special(exponent);
        }
        if self.is_zero() && exponent.signum() < 0 {
            return Err(SqlError::new("2201F", "zero raised to a negative power is undefined"));
        }
        let whole = exponent.to_bigint();
        if let Some(n) = whole.as_ref().and_then(BigInt::to_i32) {
            return self.power_whole(n);
        }
        if self.signum() < 0 && whole.is_none() {
            return Err(SqlError::new(
                "2201F",
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        if self.is_zero() {
            return Ok(Numeric::Small { unscaled: 0, scale: MIN_SIGNIFICANT_DIGITS as u16 });
        }
        let negative = self.signum() < 0 && whole.is_some_and(|n| n.bit(0));
        let base = self.abs();
        let logarithm = base.approximate_log10() * LN_10 * exponent.to_f64();
        if logarithm.is_nan() || exponent.leading_exponent() > MAX_EXPONENT_DIGITS {
            return Err(overflow());
        }
        if logarithm.abs() > 3.01 * 2000.0 {
            if logarithm > 0.0 {
                return Err(overflow());
            }
            return Ok(Numeric::Small { unscaled: 0, scale: MAX_RESULT_SCALE as u16 });
        }
        let weight = (logarithm * std::f64::consts::LOG10_E) as i64;
        let scale = clamp_scale(MIN_SIGNIFICANT_DIGITS - weight, self.scale().max(exponent.scale()));
        let result = base.power_through_logarithm(exponent, scale, weight)?;
        Ok(if negative { result.negate() } else { result })
    }

    fn power_special(&self, exponent: &Numeric) -> Result<Numeric> {
        use Numeric::*;
        if exponent.is_zero() || self.compare(&Numeric::ONE).is_eq() {
            return Ok(Numeric::ONE);
        }
        if self.is_nan() || exponent.is_nan() {
            return Ok(NaN);
        }
        let infinite = self.power_f64(exponent);
        if self.is_zero() && exponent.signum() < 0 {
            return Err(SqlError::new("2201F", "zero raised to a negative power is undefined"));
        }
        Ok(if infinite.is_nan() {
            return Err(SqlError::new(
                "2201F",
                "a negative number raised to a non-integer power yields a complex result",
            ));
        } else if infinite == f64::INFINITY {
            Infinity
        } else if infinite == f64::NEG_INFINITY {
            NegativeInfinity
        } else if infinite == 0.0 {
            Numeric::ZERO
        } else {
            Numeric::ONE
        })
    }

    fn power_f64(&self, exponent: &Numeric) -> f64 {
        self.to_f64().powf(exponent.to_f64())
    }

    fn power_whole(&self, n: i32) -> Result<Numeric> {
        let scale = clamp_scale(MIN_SIGNIFICANT_DIGITS, self.scale());
        let to_scale = |value: Numeric| value.round(i32::from(scale));
        match n {
            0 => return to_scale(Numeric::ONE),
            1 => return to_scale(self.clone()),
            -1 => return Numeric::ONE.divide_to(self, scale),
            2 => return to_scale(self.multiply(self)?),
            _ if self.is_zero() => return to_scale(Numeric::ZERO),
            _ => {}
        }
        let magnitude = self.approximate_log10() * f64::from(n);
        if magnitude > 131_072.0 {
            return Err(overflow());
        }
        if magnitude + 1.0 < -f64::from(scale) {
            return to_scale(Numeric::ZERO);
        }
        let (unscaled, own) = self.parts().expect("finite");
        let exact_digits = digit_count(&unscaled) * i64::from(n.unsigned_abs());
        if exact_digits <= 140_000 && i64::from(own) * i64::from(n.unsigned_abs()) <= super::MAX_SCALE {
            let power = Numeric::new(unscaled.pow(n.unsigned_abs()), own * n.unsigned_abs() as u16);
            return if n > 0 { to_scale(power) } else { Numeric::ONE.divide_to(&power, scale) };
        }
        let digits = magnitude.max(0.0) as i64 + i64::from(scale) + 20;
        let result = self.abs().power_by_squaring(n.unsigned_abs(), n < 0, bits_for(digits), scale)?;
        Ok(if self.signum() < 0 && n % 2 != 0 { result.negate() } else { result })
    }

    /// A whole power of a positive number in binary floating point, `mantissa * 2^exponent`, of so
    /// many bits: for results too long to be computed exactly.
    fn power_by_squaring(&self, n: u32, reciprocal: bool, bits: usize, scale: u16) -> Result<Numeric> {
        let trim = |(mantissa, exponent): (BigInt, i64)| {
            let excess = (mantissa.bits() as usize).saturating_sub(bits);
            (mantissa >> excess, exponent + excess as i64)
        };
        let (unscaled, own) = self.parts().expect("finite");
        let denominator = power_of_ten(u32::from(own));
        let up = (bits + denominator.bits() as usize).saturating_sub(unscaled.bits() as usize);
        let mut square = trim(((unscaled << up) / denominator, -(up as i64)));
        let mut result = (BigInt::one(), 0i64);
        let mut rest = n;
        while rest > 0 {
            if rest & 1 == 1 {
                result = trim((&result.0 * &square.0, result.1 + square.1));
            }
            rest >>= 1;
            if rest > 0 {
                square = trim((&square.0 * &square.0, 2 * square.1));
            }
        }
        let (mut mantissa, mut exponent) = result;
        if reciprocal {
            let up = bits + mantissa.bits() as usize;
            mantissa = (BigInt::one() << up) / mantissa;
            exponent = -exponent - up as i64;
        }
        let scaled = mantissa * power_of_ten(u32::from(scale));
        let unscaled = match usize::try_from(exponent) {
            Ok(up) => scaled << up,
            Err(_) => divide_rounded(&scaled, &(BigInt::one() << exponent.unsigned_abs() as usize)),
        };
        Numeric::new(unscaled, scale).checked()
    }

    /// `e^(exponent * ln self)` for a positive `self`, whose result has about `weight` digits
    /// before the point.
    fn power_through_logarithm(&self, exponent: &Numeric, scale: u16, weight: i64) -> Result<Numeric> {
        let margin = exponent.leading_exponent().max(0) + weight.max(0) + 20;
        let bits = bits_for(i64::from(scale) + margin);
        let product = (ln_fixed(self, bits) * to_fixed(exponent, bits)) >> bits;
        from_fixed(&exp_fixed(&product, bits), bits, scale)
    }
}

fn to_fixed(n: &Numeric, bits: usize) -> BigInt {
    let (unscaled, scale) = n.parts().expect("finite");
    divide_rounded(&(unscaled << bits), &power_of_ten(u32::from(scale)))
}

fn from_fixed(n: &BigInt, bits: usize, scale: u16) -> Result<Numeric> {
    let scaled = n * power_of_ten(u32::from(scale));
    Numeric::new(divide_rounded(&scaled, &(BigInt::one() << bits)), scale).checked()
}

/// `2 atanh(z)` by its series, for a small `z`.
fn double_atanh(z: &BigInt, bits: usize) -> BigInt {
    let square = (z * z) >> bits;
    let (mut sum, mut term, mut divisor) = (BigInt::zero(), z.clone(), 1u32);
    while !term.is_zero() && !term.magnitude().is_one() {
        sum += &term / divisor;
        term = (&term * &square) >> bits;
        divisor += 2;
        // An arithmetic shift of a negative term never reaches zero; -1 is what is left.
    }
    sum << 1usize
}

/// ln 2 = 2 atanh(1/3).
fn ln2_fixed(bits: usize) -> BigInt {
    double_atanh(&((BigInt::one() << bits) / 3), bits)
}

/// The logarithm of a positive number: by powers of two into [1/2, 1), then roots towards one.
fn ln_fixed(n: &Numeric, bits: usize) -> BigInt {
    const ROOTS: usize = 4;
    let bits = bits + 16;
    let (unscaled, scale) = n.parts().expect("finite");
    let denominator = power_of_ten(u32::from(scale));
    let shift = unscaled.bits() as i64 - denominator.bits() as i64;
    let up = bits as i64 - shift;
    let mut mantissa = if up >= 0 {
        (unscaled << up as usize) / denominator
    } else {
        unscaled / (denominator << up.unsigned_abs() as usize)
    };
    for _ in 0..ROOTS {
        mantissa = (mantissa << bits).sqrt();
    }
    let one = BigInt::one() << bits;
    let z = ((&mantissa - &one) << bits) / (&mantissa + &one);
    let logarithm = (double_atanh(&z, bits) << ROOTS) + ln2_fixed(bits) * shift;
    logarithm >> 16usize
}

/// The exponential: whole multiples of ln 2 become a shift, the rest is halved, summed by Taylor's
/// series and squared back.
fn exp_fixed(x: &BigInt, bits: usize) -> BigInt {
    const HALVINGS: usize = 16;
    let extra = 64 + HALVINGS;
    let wide = bits + extra;
    let x = x << extra;
    let ln2 = ln2_fixed(wide);
    let multiple = num_integer::Integer::div_floor(&x, &ln2);
    let rest = (&x - &multiple * &ln2) >> HALVINGS;
    let (mut sum, mut term, mut n) = (BigInt::one() << wide, BigInt::one() << wide, 1u32);
    while term.is_positive() {
        term = ((&term * &rest) >> wide) / n;
        sum += &term;
        n += 1;
    }
    for _ in 0..HALVINGS {
        sum = (&sum * &sum) >> wide;
    }
    let shift = multiple.to_i64().unwrap_or(i64::MIN) - extra as i64;
    if shift >= 0 { sum << shift as usize } else { sum >> shift.unsigned_abs().min(1 << 24) as usize }
}
