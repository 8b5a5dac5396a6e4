//! PostgreSQL's text format of every type: what psql prints and what a cast to text gives.
//!
//! # Not here
//! Reading text (`text/input.rs`); `to_char` patterns (`datetime/format.rs`).

pub mod array;
pub mod input;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::datetime::{self, Civil, interval, zone};
use crate::datum::Datum;
use crate::types::Type;

pub use input::input;

/// Appends the text of a value; nothing for NULL. A session has only time zones that exist; an
/// unknown one here means UTC.
pub fn output(datum: &Datum, ty: &Type, time_zone: &str, out: &mut String) {
    match datum {
        Datum::Null => {}
        Datum::Bool(b) => out.push(if *b { 't' } else { 'f' }),
        Datum::Int(n) => write_integer(*n, ty, out),
        Datum::Float(x) => match ty {
            Type::Float4 => write_float4(*x as f32, out),
            _ => write_float8(*x, out),
        },
        Datum::Numeric(n) => {
            let _ = write!(out, "{n}");
        }
        Datum::Text(s) => out.push_str(s),
        Datum::Bytea(bytes) => {
            out.push_str("\\x");
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
        }
        Datum::Date(days) => write_date(*days, out),
        Datum::Time(us) => write_time(*us, out),
        Datum::Timestamp(us) => match ty {
            Type::Timestamptz => write_timestamptz(*us, ' ', time_zone, out),
            _ => write_timestamp(*us, ' ', out),
        },
        Datum::Interval(value) => interval::write(value, out),
        Datum::Uuid(bytes) => {
            let _ = write!(out, "{}", base::Uuid(**bytes));
        }
        Datum::Json(value) => crate::json::write_text(value.raw(), out),
        Datum::Array(items) => {
            let element = match ty {
                Type::Array(element) => (**element).clone(),
                _ => crate::json::build::guess_type(datum),
            };
            array::write(items, &element, time_zone, out);
        }
        Datum::Record(items) => array::write_record(items, time_zone, out),
    }
}

/// The text of a value as a string.
pub fn to_string(datum: &Datum, ty: &Type, time_zone: &str) -> String {
    let mut out = String::new();
    output(datum, ty, time_zone, &mut out);
    out
}

/// Catalogue types print names for the numbers they know.
fn write_integer(n: i64, ty: &Type, out: &mut String) {
    match ty {
        Type::Regtype => match crate::functions::system::type_of_oid(n) {
            Some(ty) => out.push_str(&ty.to_string()),
            None if n == 0 => out.push('-'),
            None => {
                let _ = write!(out, "{n}");
            }
        },
        Type::Regclass | Type::Regproc | Type::Regnamespace if n == 0 => out.push('-'),
        Type::Regnamespace if n == 11 => out.push_str("pg_catalog"),
        Type::Regnamespace if n == 2200 => out.push_str("public"),
        _ => {
            let _ = write!(out, "{n}");
        }
    }
}

/// The fewest digits that read back as the same number; from 1e15 on and below 1e-4 with exponent.
pub fn write_float8(x: f64, out: &mut String) {
    if write_special(x, out) {
        return;
    }
    write_shortest(&format!("{x:e}"), 15, out);
}

/// The same for a real: exponents from 1e6 on.
pub fn write_float4(x: f32, out: &mut String) {
    if write_special(f64::from(x), out) {
        return;
    }
    write_shortest(&format!("{x:e}"), 6, out);
}

fn write_special(x: f64, out: &mut String) -> bool {
    if x.is_nan() {
        out.push_str("NaN");
    } else if x.is_infinite() {
        out.push_str(if x > 0.0 { "Infinity" } else { "-Infinity" });
    }
    !x.is_finite()
}

fn write_shortest(scientific: &str, exponent_from: i32, out: &mut String) {
    let (mantissa, exponent) = scientific.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if exponent < -4 || exponent >= exponent_from {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
        return;
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    out.push_str(sign);
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', whole - digits.len()));
    } else {
        out.push_str(&digits[..whole]);
        out.push('.');
        out.push_str(&digits[whole..]);
    }
}

fn write_ymd(year: i64, month: i64, day: i64, out: &mut String) -> bool {
    let before_christ = year <= 0;
    let shown = if before_christ { 1 - year } else { year };
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}");
    before_christ
}

pub fn write_date(days: i32, out: &mut String) {
    match days {
        datetime::DATE_INFINITY => out.push_str("infinity"),
        datetime::DATE_NEGATIVE_INFINITY => out.push_str("-infinity"),
        _ => {
            let (year, month, day) = datetime::civil_from_days(i64::from(days));
            if write_ymd(year, month, day, out) {
                out.push_str(" BC");
            }
        }
    }
}

pub fn write_time(us: i64, out: &mut String) {
    let (hour, minute, second) = (us / datetime::HOUR_US, us / datetime::MINUTE_US % 60, us / datetime::SECOND_US % 60);
    let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
    interval::write_fraction((us % datetime::SECOND_US) as u64, out);
}

fn write_infinite(us: i64, out: &mut String) -> bool {
    match us {
        datetime::INFINITY => out.push_str("infinity"),
        datetime::NEGATIVE_INFINITY => out.push_str("-infinity"),
        _ => return false,
    }
    true
}

pub fn write_timestamp(us: i64, separator: char, out: &mut String) {
    if write_infinite(us, out) {
        return;
    }
    let civil = Civil::from_us(us);
    let before_christ = write_ymd(civil.year, civil.month, civil.day, out);
    out.push(separator);
    write_time(civil.time_us(), out);
    if before_christ {
        out.push_str(" BC");
    }
}

pub fn write_timestamptz(us: i64, separator: char, time_zone: &str, out: &mut String) {
    if write_infinite(us, out) {
        return;
    }
    let offset = zone::offset_at(us, time_zone).unwrap_or(0);
    let civil = Civil::from_us(us.saturating_add(offset * datetime::SECOND_US));
    let before_christ = write_ymd(civil.year, civil.month, civil.day, out);
    out.push(separator);
    write_time(civil.time_us(), out);
    zone::write_offset(offset, out);
    if before_christ {
        out.push_str(" BC");
    }
}

/// As JSON: ISO 8601 with `T`, and minutes in every offset.
pub fn json_timestamptz(us: i64, time_zone: &str) -> String {
    let mut out = String::new();
    write_timestamptz(us, 'T', time_zone, &mut out);
    let sign = out.rfind(['+', '-']).filter(|at| out.len() - at == 3);
    if sign.is_some() && !datetime::is_infinite(us) {
        out.push_str(":00");
    }
    out
}

pub fn json_timestamp(us: i64) -> String {
    let mut out = String::new();
    write_timestamp(us, 'T', &mut out);
    out
}
