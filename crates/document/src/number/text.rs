//! Numbers as text: decimal128's scientific notation, and doubles the way the server prints them.

use std::fmt;

use num_bigint::BigUint;

use super::{Decimal, MIN_EXPONENT};

/// Longest text that is looked at; a longer one is no sensible number.
const MAX_TEXT: usize = 16 * 1024;

impl fmt::Display for Decimal {
    /// The IEEE 754 "to-scientific-string" form: `1.50`, `1E+3`, `-1.2E-10`, `NaN`, `-Infinity`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, coefficient, exponent) = match *self {
            Decimal::NaN => return f.write_str("NaN"),
            Decimal::Infinity { negative } => return f.write_str(if negative { "-Infinity" } else { "Infinity" }),
            Decimal::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
        };
        if negative {
            f.write_str("-")?;
        }
        let digits = coefficient.to_string();
        let scientific = exponent + digits.len() as i32 - 1;
        if exponent > 0 || scientific < -6 {
            f.write_str(&digits[..1])?;
            if digits.len() > 1 {
                write!(f, ".{}", &digits[1..])?;
            }
            return write!(f, "E{}{}", if scientific < 0 { "-" } else { "+" }, scientific.abs());
        }
        if exponent == 0 {
            return f.write_str(&digits);
        }
        let point = digits.len() as i32 + exponent;
        if point > 0 {
            write!(f, "{}.{}", &digits[..point as usize], &digits[point as usize..])
        } else {
            write!(f, "0.{}{digits}", "0".repeat(-point as usize))
        }
    }
}

impl std::str::FromStr for Decimal {
    type Err = ();

    /// Accepts what decimal128 parsers accept: digits with an optional point and exponent, `NaN`,
    /// `Inf`/`Infinity` in any case. More than 34 digits are rounded.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() > MAX_TEXT {
            return Err(());
        }
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if body.eq_ignore_ascii_case("inf") || body.eq_ignore_ascii_case("infinity") {
            return Ok(Decimal::Infinity { negative });
        }
        if body.eq_ignore_ascii_case("nan") {
            return Ok(Decimal::NaN);
        }
        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], parse_exponent(&body[at + 1..])?),
            None => (body, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(());
        }
        if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        let digits = format!("{whole}{fraction}");
        let coefficient = BigUint::parse_bytes(digits.as_bytes(), 10).ok_or(())?;
        // The fraction is at most MAX_TEXT long and the exponent is clamped, so this cannot overflow.
        Ok(Decimal::rounded(negative, coefficient, exponent - fraction.len() as i32))
    }
}

impl Decimal {
    /// `from_str` without an error value to name.
    pub fn parse(text: &str) -> Option<Decimal> {
        text.parse().ok()
    }
}

fn parse_exponent(text: &str) -> Result<i32, ()> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    let magnitude = digits.parse::<i32>().unwrap_or(i32::MAX).min(-MIN_EXPONENT * 10);
    Ok(if negative { -magnitude } else { magnitude })
}

/// A double with at most `precision` significant digits, in C's `%g` form: `5.7`, `1e+21`, `1e-07`.
pub fn general(n: f64, precision: usize) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{n:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} prints an exponent");
    let exponent: i32 = exponent.parse().expect("a whole exponent");
    if exponent < -4 || exponent >= precision as i32 {
        let mantissa = trim_zeros(mantissa);
        return format!("{mantissa}e{}{:02}", if exponent < 0 { "-" } else { "+" }, exponent.abs());
    }
    let fixed = format!("{n:.*}", (precision as i32 - 1 - exponent).max(0) as usize);
    trim_zeros(&fixed).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A double as `$toString` prints it.
pub fn double_text(n: f64) -> String {
    general(n, 16)
}
