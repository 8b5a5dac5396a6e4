//! An exact sum of doubles: order does not matter, and taking a value back leaves no error.
//!
//! Every finite double is a whole multiple of 2^-1074, so the sum is one big integer in that unit.

use num_bigint::{BigInt, Sign};

/// The sum so far, with the special values counted apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExactSum {
    units: BigInt,
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

fn units_of(x: f64) -> BigInt {
    let bits = x.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as usize;
    let fraction = bits & ((1 << 52) - 1);
    let magnitude =
        if exponent == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (exponent - 1) };
    if x.is_sign_negative() { -magnitude } else { magnitude }
}

impl ExactSum {
    /// Adds `x` `count` times; a negative count takes it back.
    pub fn add(&mut self, x: f64, count: i64) {
        if x.is_nan() {
            self.nans += count;
        } else if x == f64::INFINITY {
            self.infinities += count;
        } else if x == f64::NEG_INFINITY {
            self.negative_infinities += count;
        } else {
            self.units += units_of(x) * count;
        }
    }

    /// Adds the product of two doubles, exactly up to one rounding.
    pub fn add_product(&mut self, x: f64, y: f64, count: i64) {
        self.add(x * y, count);
    }

    /// The double nearest to the sum.
    pub fn value(&self) -> f64 {
        if self.nans > 0 || (self.infinities > 0 && self.negative_infinities > 0) {
            return f64::NAN;
        }
        if self.infinities > 0 {
            return f64::INFINITY;
        }
        if self.negative_infinities > 0 {
            return f64::NEG_INFINITY;
        }
        nearest(&self.units)
    }

    pub fn to_parts(&self) -> (Vec<u8>, [i64; 3]) {
        (self.units.to_signed_bytes_le(), [self.nans, self.infinities, self.negative_infinities])
    }

    pub fn from_parts(units: &[u8], [nans, infinities, negative_infinities]: [i64; 3]) -> Self {
        ExactSum { units: BigInt::from_signed_bytes_le(units), nans, infinities, negative_infinities }
    }
}

/// Rounds `units * 2^-1074` half to even.
fn nearest(units: &BigInt) -> f64 {
    let magnitude = units.magnitude();
    let bits = magnitude.bits();
    let value = if bits <= 53 {
        let small = magnitude.iter_u64_digits().next().unwrap_or(0);
        f64::from_bits(if bits == 53 { (1 << 52) | (small & ((1 << 52) - 1)) } else { small })
    } else {
        let drop = bits - 53;
        let top = (magnitude >> drop).iter_u64_digits().next().unwrap_or(0);
        let half = magnitude.bit(drop - 1);
        let sticky = magnitude.trailing_zeros().is_some_and(|zeros| zeros < drop - 1);
        let mut top = top;
        let mut exponent = drop + 1;
        if half && (sticky || top & 1 == 1) {
            top += 1;
            if top == 1 << 53 {
                top >>= 1;
                exponent += 1;
            }
        }
        if exponent >= 0x7ff { f64::INFINITY } else { f64::from_bits(exponent << 52 | (top & ((1 << 52) - 1))) }
    };
    if units.sign() == Sign::Minus { -value } else { value }
}
