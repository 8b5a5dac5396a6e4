//! Numbers with fractions in a KeyString, and decimals that lie between two doubles.
//!
//! A decimal is written as the double towards zero from it and a two-bit mark: it *is* that double,
//! it is that double rounded up to 15 digits (what people type: 0.1), or it lies below or above that
//! rounding and eight bytes with the exact distance follow.

use num_bigint::BigUint;
use num_traits::ToPrimitive;

use super::{Encoder, FIRST_LARGE, ctype, number_type};
use crate::number::{Decimal, MAX_COEFFICIENT, MIN_EXPONENT};
use crate::raw::Raw;

/// Marks, in the two lowest bits of a fraction.
pub(super) const EXACT: u64 = 0;
pub(super) const BELOW_ROUNDED: u64 = 1;
pub(super) const ROUNDED: u64 = 2;
pub(super) const ABOVE_ROUNDED: u64 = 3;

/// Whole parts from here on leave a double no room for a fraction: 2^53.
const FIRST_COARSE: u64 = 1 << 53;
/// 10^18: a decimal with a whole part of 16 digits or more has at most 18 behind the point.
const FRACTION_UNITS: u64 = 1_000_000_000_000_000_000;

/// 2^-255. Doubles from here to 1 have exponents whose two top bits are alike and can be dropped.
pub(super) fn first_ordinary() -> f64 {
    2f64.powi(-255)
}

/// A magnitude below 1 as 64 bits; the two highest tell the three ranges apart.
pub(super) fn small_bits(magnitude: f64, mark: u64) -> u64 {
    if magnitude >= first_ordinary() {
        magnitude.to_bits() << 2 | mark
    } else {
        // Scaled into the normal range; one bit is left, for "more bytes follow".
        ((magnitude * 2f64.powi(256)).to_bits() << 1 | u64::from(mark != EXACT)) + (1 << 62)
    }
}

/// `coefficient * 10^exponent`, not negative.
#[derive(Clone, Debug)]
pub(super) struct Magnitude {
    pub coefficient: BigUint,
    pub exponent: i32,
}

impl Magnitude {
    pub fn new(coefficient: impl Into<BigUint>, exponent: i32) -> Self {
        Magnitude { coefficient: coefficient.into(), exponent }
    }

    /// Exactly the double.
    pub fn of_double(n: f64) -> Self {
        let bits = n.to_bits();
        let (raw_exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let (mantissa, exponent) =
            if raw_exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, raw_exponent - 1075) };
        let mantissa = BigUint::from(mantissa);
        if exponent >= 0 {
            Magnitude::new(mantissa << exponent as usize, 0)
        } else {
            Magnitude::new(mantissa * BigUint::from(5u8).pow(exponent.unsigned_abs()), exponent)
        }
    }

    /// The coefficient at a lower (or equal) exponent.
    fn at(&self, exponent: i32) -> BigUint {
        &self.coefficient * power_of_ten((self.exponent - exponent) as u32)
    }

    /// Exactly `digits` digits: cut, or filled with zeros. The flag tells whether something was cut.
    fn with_digits(&self, digits: usize) -> (Magnitude, bool) {
        let length = self.coefficient.to_string().len();
        if length <= digits {
            let exponent = self.exponent - (digits - length) as i32;
            return (Magnitude { coefficient: self.at(exponent), exponent }, false);
        }
        let cut = length - digits;
        let power = power_of_ten(cut as u32);
        let coefficient = &self.coefficient / &power;
        let inexact = &coefficient * &power != self.coefficient;
        (Magnitude { coefficient, exponent: self.exponent + cut as i32 }, inexact)
    }

    /// Rounded up to 15 digits.
    pub fn rounded_up(&self) -> Magnitude {
        let (mut rounded, inexact) = self.with_digits(15);
        if inexact {
            rounded.coefficient += 1u8;
        }
        rounded
    }

    /// This plus `distance` units of its 34th digit.
    pub fn beyond(&self, distance: u64) -> Magnitude {
        let (cut, _) = self.with_digits(34);
        Magnitude { coefficient: cut.coefficient + distance, exponent: cut.exponent }
    }

    fn compare(&self, other: &Magnitude) -> std::cmp::Ordering {
        let low = self.exponent.min(other.exponent);
        self.at(low).cmp(&other.at(low))
    }

    /// The decimal with this value whose biased exponent ends in `exponent_bits` (six bits); at most
    /// 35 exponents can represent a value, so they name one. `None` if there is none.
    pub fn to_decimal(&self, negative: bool, exponent_bits: u32) -> Option<Decimal> {
        let digits = self.coefficient.to_string();
        let stripped = digits.trim_end_matches('0');
        let mut exponent = self.exponent + (digits.len() - stripped.len()) as i32;
        let mut coefficient = if stripped.len() > 34 { return None } else { stripped.parse::<u128>().ok()? };
        while coefficient <= MAX_COEFFICIENT && exponent >= MIN_EXPONENT {
            if (exponent - MIN_EXPONENT) as u32 & 0x3f == exponent_bits && exponent <= crate::number::MAX_EXPONENT {
                return Some(Decimal::Finite { negative, coefficient, exponent });
            }
            coefficient *= 10;
            exponent -= 1;
        }
        None
    }
}

fn power_of_ten(exponent: u32) -> BigUint {
    BigUint::from(10u8).pow(exponent)
}

impl Encoder {
    pub(super) fn decimal(&mut self, decimal: Decimal) {
        self.bits.number_type(number_type::DECIMAL);
        match decimal {
            Decimal::NaN => self.out.push(ctype::NAN),
            Decimal::Infinity { negative } => {
                self.large(if negative { f64::NEG_INFINITY } else { f64::INFINITY }, false)
            }
            Decimal::Finite { negative, coefficient: 0, exponent } => {
                // Which zero: 12288 exponents, twice. The first of the eight thousands is -0.0.
                let which = (exponent - MIN_EXPONENT) as u32 + if negative { 12_288 } else { 0 };
                self.bits.push_high_first((which >> 12) + 1, 3);
                self.bits.push_high_first(which & 0xfff, 12);
                self.out.push(ctype::ZERO);
            }
            Decimal::Finite { negative, coefficient, exponent } => {
                self.bits.push_high_first((exponent - MIN_EXPONENT) as u32 & 0x3f, 6);
                self.finite(negative, coefficient, exponent);
            }
        }
    }

    fn finite(&mut self, negative: bool, coefficient: u128, exponent: i32) {
        let positive = Decimal::Finite { negative: false, coefficient, exponent };
        let value = Raw::Decimal128(positive.to_bytes());
        let below = super::super::double_not_above(false, coefficient, exponent, value);
        if below == 0.0 {
            return self.out_of_doubles(negative, coefficient, exponent, 0);
        }
        let magnitude = Magnitude::new(coefficient, exponent);
        let signed = if negative { -below } else { below };
        let double = Magnitude::of_double(below);
        let exact = magnitude.compare(&double).is_eq();
        let distance = self.distance(&magnitude, &double);
        if below >= FIRST_LARGE {
            let Some(distance) = distance else {
                return self.out_of_doubles(negative, coefficient, exponent, 1 << 127);
            };
            self.large(signed, !exact);
            return self.continuation((!exact).then_some(distance), negative);
        }
        let distance = distance.expect("within the range of doubles neighbours are closer than 2^64 units");
        let (mark, extra) = match magnitude.compare(&double.rounded_up()) {
            _ if exact => (EXACT, None),
            std::cmp::Ordering::Less => (BELOW_ROUNDED, Some(distance)),
            std::cmp::Ordering::Equal => (ROUNDED, None),
            std::cmp::Ordering::Greater => (ABOVE_ROUNDED, Some(distance)),
        };
        if below < 1.0 {
            // Below 2^-255 there is no room for "rounded": the distance says it.
            let coarse = below < first_ordinary() && !exact;
            self.small(signed, mark);
            return self.continuation(if coarse { Some(distance) } else { extra }, negative);
        }
        match whole_part(&magnitude) {
            (whole, None) => self.shifted(whole << 1, negative),
            (_, Some(_)) if below < FIRST_COARSE as f64 => {
                self.fractional(signed, mark);
                self.continuation(extra, negative);
            }
            (whole, Some(units)) => self.coarse(whole, units, negative),
        }
    }

    /// How far a decimal is from the double below it, in units of that double's 34th digit.
    fn distance(&self, magnitude: &Magnitude, double: &Magnitude) -> Option<u64> {
        let (cut, _) = double.with_digits(34);
        (magnitude.at(cut.exponent) - cut.coefficient).to_u64()
    }

    fn continuation(&mut self, distance: Option<u64>, negative: bool) {
        if let Some(distance) = distance {
            self.signed(&distance.to_be_bytes(), negative);
        }
    }

    /// A whole part that no double can follow with a fraction: both as integers.
    fn coarse(&mut self, whole: u64, units: u64, negative: bool) {
        let shifted = whole << 1 | 1;
        let skip = shifted.leading_zeros() / 8;
        let mark = if skip > 0 { ABOVE_ROUNDED } else { 0 };
        self.int_type(8 - skip as usize, negative);
        self.signed(&(shifted << (8 * skip) | mark).to_be_bytes(), negative);
        self.continuation(Some(units), negative);
    }

    /// Decimals smaller or larger than every double: exponent and coefficient of the normal form.
    fn out_of_doubles(&mut self, negative: bool, coefficient: u128, exponent: i32, flag: u128) {
        let (mut coefficient, mut exponent) = (coefficient, exponent);
        while coefficient <= MAX_COEFFICIENT / 10 && exponent > MIN_EXPONENT {
            coefficient *= 10;
            exponent -= 1;
        }
        let small = flag == 0;
        self.out.push(match (small, negative) {
            (true, false) => ctype::POSITIVE_SMALL,
            (true, true) => ctype::NEGATIVE_SMALL,
            (false, false) => ctype::POSITIVE_LARGE,
            (false, true) => ctype::NEGATIVE_LARGE,
        });
        let bits = flag | ((exponent - MIN_EXPONENT) as u128) << 113 | coefficient;
        self.signed(&bits.to_be_bytes(), negative);
    }
}

/// The whole part of a magnitude below 2^63, and the fraction in units of 10^-18 if there is one.
/// Digits beyond the 18th are lost; a caller that uses the units knows there are none.
fn whole_part(magnitude: &Magnitude) -> (u64, Option<u64>) {
    let units = if magnitude.exponent >= -18 {
        magnitude.at(-18)
    } else {
        let cut = power_of_ten((-18 - magnitude.exponent) as u32);
        let kept = &magnitude.coefficient / &cut;
        let lost = &kept * &cut != magnitude.coefficient;
        // What is lost still makes a fraction.
        if lost && (&kept % FRACTION_UNITS).to_u64() == Some(0) { kept + 1u8 } else { kept }
    };
    let whole = (&units / FRACTION_UNITS).to_u64().expect("the caller has checked for 2^63");
    let rest = (&units % FRACTION_UNITS).to_u64().expect("a remainder is below its divisor");
    (whole, (rest != 0).then_some(rest))
}

/// The inverse of `coarse`.
pub(super) fn from_coarse(whole: u64, units: u64) -> Magnitude {
    Magnitude::new(BigUint::from(whole) * FRACTION_UNITS + units, -18)
}

/// Whether a whole part was written by `coarse`.
pub(super) fn is_coarse(whole: u64) -> bool {
    whole >= FIRST_COARSE
}
