//! Numeric from and to text, integers, floats and decimal128.

use document::number::{Decimal, MAX_COEFFICIENT, MAX_EXPONENT, MIN_EXPONENT};
use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use super::arithmetic::divide_rounded;
use super::{MAX_SCALE, Numeric, digit_count, overflow, power_of_ten};
use crate::error::{Result, SqlError};

/// 22003, as every integer type says it.
pub(crate) fn out_of_range(ty: &str) -> SqlError {
    SqlError::new("22003", format!("{ty} out of range"))
}

impl Numeric {
    /// Reads PostgreSQL's input syntax; `None` if it is none.
    pub fn parse(text: &str) -> Option<Result<Numeric>> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let (negative, body) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        match body.to_ascii_lowercase().as_str() {
            "nan" if body.len() == text.len() => return Some(Ok(Numeric::NaN)),
            "inf" | "infinity" => {
                return Some(Ok(if negative { Numeric::NegativeInfinity } else { Numeric::Infinity }));
            }
            _ => {}
        }
        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], parse_exponent(&body[at + 1..])?),
            None => (body, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return None;
        }
        Some(assemble(negative, whole, fraction, exponent))
    }

    /// Rounded half away from zero; `None` for special values and beyond 64 bits.
    pub fn to_i64(&self) -> Option<i64> {
        match self {
            Numeric::Small { unscaled, scale: 0 } => Some(*unscaled),
            _ => self.round(0).ok()?.parts()?.0.to_i64(),
        }
    }

    pub fn to_f64(&self) -> f64 {
        match self {
            Numeric::NaN => f64::NAN,
            Numeric::Infinity => f64::INFINITY,
            Numeric::NegativeInfinity => f64::NEG_INFINITY,
            // Both operands are exact doubles, so the quotient is the nearest one.
            Numeric::Small { unscaled, scale } if unscaled.unsigned_abs() < 1 << 53 && *scale <= 22 => {
                *unscaled as f64 / 10f64.powi(i32::from(*scale))
            }
            _ => {
                let (unscaled, scale) = self.parts().expect("finite");
                format!("{unscaled}e-{scale}").parse().unwrap_or(f64::NAN)
            }
        }
    }

    /// As PostgreSQL does it: through 15 significant digits.
    pub fn from_f64(x: f64) -> Numeric {
        Numeric::from_float(x, format!("{x:.14e}"))
    }

    /// Through 6 significant digits.
    pub fn from_f32(x: f32) -> Numeric {
        Numeric::from_float(f64::from(x), format!("{x:.5e}"))
    }

    /// Through the fewest digits that read back as the same double: what the number prints as.
    pub fn from_f64_shortest(x: f64) -> Numeric {
        Numeric::from_float(x, format!("{x:e}"))
    }

    fn from_float(x: f64, scientific: String) -> Numeric {
        if x.is_nan() {
            return Numeric::NaN;
        }
        if x.is_infinite() {
            return if x > 0.0 { Numeric::Infinity } else { Numeric::NegativeInfinity };
        }
        let (mantissa, exponent) = scientific.split_once('e').expect("scientific notation has an exponent");
        let mantissa =
            if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
        Numeric::parse(&format!("{mantissa}e{exponent}"))
            .expect("a printed double is a number")
            .expect("a double has at most 309 digits")
    }

    /// Without loss.
    pub fn from_decimal128(bytes: [u8; 16]) -> Numeric {
        match Decimal::from_bytes(bytes) {
            Decimal::NaN => Numeric::NaN,
            Decimal::Infinity { negative: true } => Numeric::NegativeInfinity,
            Decimal::Infinity { negative: false } => Numeric::Infinity,
            Decimal::Finite { negative, coefficient, exponent } => {
                let magnitude = BigInt::from(coefficient);
                let unscaled = if negative { -magnitude } else { magnitude };
                match u16::try_from(-exponent) {
                    Ok(scale) => Numeric::new(unscaled, scale),
                    Err(_) => Numeric::new(unscaled * power_of_ten(exponent.unsigned_abs()), 0),
                }
            }
        }
    }

    /// The decimal128 of the same value and, where it has room, the same scale. `None` if the
    /// value has more than 34 significant digits or is out of range.
    pub fn to_decimal128_exact(&self) -> Option<[u8; 16]> {
        let (unscaled, scale) = match self {
            Numeric::NaN => return Some(Decimal::NaN.to_bytes()),
            Numeric::Infinity => return Some(Decimal::Infinity { negative: false }.to_bytes()),
            Numeric::NegativeInfinity => return Some(Decimal::Infinity { negative: true }.to_bytes()),
            _ => self.parts().expect("finite"),
        };
        let mut exponent = -i32::from(scale);
        let mut magnitude = unscaled.abs();
        let excess = digit_count(&magnitude) - 34;
        if excess > 0 {
            let divisor = power_of_ten(excess as u32);
            if !(&magnitude % &divisor).is_zero() {
                return None;
            }
            magnitude /= divisor;
            exponent = i32::try_from(i64::from(exponent) + excess).ok()?;
        }
        encode(unscaled.is_negative(), &magnitude, exponent)
    }

    /// The nearest decimal128; 22003 if it is out of range.
    pub fn to_decimal128(&self) -> Result<[u8; 16]> {
        if let Some(exact) = self.to_decimal128_exact() {
            return Ok(exact);
        }
        let (unscaled, scale) = self.parts().expect("special values are exact");
        let mut exponent = -i64::from(scale);
        let mut magnitude = unscaled.abs();
        let floor = i64::from(MIN_EXPONENT) - exponent;
        let excess = (digit_count(&magnitude) - 34).max(floor).max(0);
        magnitude = divide_rounded(&magnitude, &power_of_ten(excess as u32));
        exponent += excess;
        if digit_count(&magnitude) > 34 {
            magnitude /= 10;
            exponent += 1;
        }
        i32::try_from(exponent).ok().and_then(|e| encode(unscaled.is_negative(), &magnitude, e)).ok_or_else(overflow)
    }

    /// Applies a declared `numeric(precision, scale)`.
    pub fn fit(&self, precision: u16, scale: i16) -> Result<Numeric> {
        let limit_error = || {
            let power = i32::from(precision) - i32::from(scale);
            let limit = if power == 0 { "1".to_owned() } else { format!("10^{power}") };
            SqlError::new("22003", "numeric field overflow").with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {limit}."
            ))
        };
        match self {
            Numeric::NaN => return Ok(Numeric::NaN),
            Numeric::Infinity | Numeric::NegativeInfinity => {
                return Err(SqlError::new("22003", "numeric field overflow").with_detail(format!(
                    "A field with precision {precision}, scale {scale} cannot hold an infinite value."
                )));
            }
            _ => {}
        }
        let rounded = match u16::try_from(scale) {
            Ok(scale) => self.with_scale(scale)?,
            Err(_) => self.round(i32::from(scale))?,
        };
        let (unscaled, actual) = rounded.parts().expect("finite");
        let digits = digit_count(&unscaled) - i64::from(actual);
        if !unscaled.is_zero() && digits > i64::from(precision) - i64::from(scale) {
            return Err(limit_error());
        }
        Ok(rounded)
    }
}

fn encode(negative: bool, magnitude: &BigInt, exponent: i32) -> Option<[u8; 16]> {
    let mut coefficient = magnitude.to_u128()?;
    let mut exponent = exponent;
    // A high exponent may be moved into free digits, a low one into trailing zeros.
    while exponent > MAX_EXPONENT && coefficient <= MAX_COEFFICIENT / 10 && coefficient != 0 {
        coefficient *= 10;
        exponent -= 1;
    }
    while exponent < MIN_EXPONENT && coefficient.is_multiple_of(10) {
        if coefficient == 0 {
            exponent = MIN_EXPONENT;
            break;
        }
        coefficient /= 10;
        exponent += 1;
    }
    (coefficient <= MAX_COEFFICIENT && (MIN_EXPONENT..=MAX_EXPONENT).contains(&exponent))
        .then(|| Decimal::Finite { negative, coefficient, exponent }.to_bytes())
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse().unwrap_or(i64::from(i32::MAX));
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

fn assemble(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Result<Numeric> {
    let digits = format!("{whole}{fraction}");
    let scale = fraction.len() as i64 - exponent;
    let significant = digits.trim_start_matches('0').len() as i64;
    if scale > MAX_SCALE || (significant - scale > super::MAX_INTEGER_DIGITS && significant > 0) {
        return Err(overflow());
    }
    if digits.len() <= 18
        && (0..=MAX_SCALE).contains(&scale)
        && let Ok(n) = digits.parse::<i64>()
    {
        return Ok(Numeric::from_i128(i128::from(if negative { -n } else { n }), scale as u16));
    }
    if significant == 0 {
        return Ok(Numeric::Small { unscaled: 0, scale: scale.max(0) as u16 });
    }
    let magnitude = BigInt::parse_bytes(digits.as_bytes(), 10).expect("digits were checked");
    let unscaled = if negative { -magnitude } else { magnitude };
    Ok(match u16::try_from(scale) {
        Ok(scale) => Numeric::new(unscaled, scale),
        Err(_) => Numeric::new(unscaled * power_of_ten(scale.unsigned_abs() as u32), 0),
    })
}
