//! Reading every type from PostgreSQL's text format.

use bytes::Bytes;

use crate::datetime::parse;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::numeric::Numeric;
use crate::types::Type;

fn invalid(ty: &str, text: &str) -> SqlError {
    SqlError::new("22P02", format!("invalid input syntax for type {ty}: \"{text}\""))
}

/// Reads a value of `ty`. Errors with 22P02, 22003, 22007, 22008 as PostgreSQL's input functions.
pub fn input(text: &str, ty: &Type, ctx: &EvalContext<'_>) -> Result<Datum> {
    Ok(match ty {
        Type::Unknown | Type::Text | Type::Varchar(None) | Type::Name => Datum::text(text),
        Type::Varchar(Some(limit)) => varchar(text, *limit)?,
        Type::Char => Datum::text(text.chars().take(1).collect::<String>()),
        Type::Bool => Datum::Bool(boolean(text).ok_or_else(|| invalid("boolean", text))?),
        Type::Int2 | Type::Int4 | Type::Int8 => Datum::Int(integer(text, ty)?),
        Type::Oid => Datum::Int(oid(text)?),
        Type::Float4 => Datum::Float(float(text, "real", |s| s.parse::<f32>().ok().map(f64::from))?),
        Type::Float8 => Datum::Float(float(text, "double precision", |s| s.parse().ok())?),
        Type::Numeric(limits) => {
            let n = Numeric::parse(text).ok_or_else(|| invalid("numeric", text))??;
            Datum::Numeric(match limits {
                Some((precision, scale)) => n.fit(*precision, *scale)?,
                None => n,
            })
        }
        Type::Bytea => Datum::Bytea(bytea(text)?),
        Type::Date => Datum::Date(parse::date(text, ctx.now_us, ctx.time_zone)?),
        Type::Time => Datum::Time(parse::time(text, ctx.now_us, ctx.time_zone)?),
        Type::Timestamp => Datum::Timestamp(parse::timestamp(text, ctx.now_us, ctx.time_zone)?),
        Type::Timestamptz => Datum::Timestamp(parse::timestamptz(text, ctx.now_us, ctx.time_zone)?),
        Type::Interval => Datum::Interval(Box::new(crate::datetime::interval::parse(text)?)),
        Type::Uuid => Datum::Uuid(Box::new(uuid(text).ok_or_else(|| invalid("uuid", text))?)),
        Type::Json => Datum::Json(crate::json::parse::parse(text)?),
        Type::Array(element) => super::array::read(text, element, ctx)?,
        Type::Regtype => Datum::Int(crate::functions::system::oid_of_type_name(text)?),
        Type::Regclass | Type::Regproc | Type::Regnamespace => Datum::Int(catalogue_number(text, ty)?),
        Type::Record => return Err(SqlError::new("0A000", "input of anonymous composite types is not implemented")),
        Type::Void => Datum::Null,
    })
}

fn varchar(text: &str, limit: u32) -> Result<Datum> {
    match text.char_indices().nth(limit as usize) {
        None => Ok(Datum::text(text)),
        // Blanks beyond the limit are cut without a word.
        Some((end, _)) if text[end..].bytes().all(|b| b == b' ') => Ok(Datum::text(&text[..end])),
        Some(_) => Err(SqlError::new("22001", format!("value too long for type character varying({limit})"))),
    }
}

/// Any unambiguous beginning of true, false, yes, no, on, off; 1 and 0.
pub fn boolean(text: &str) -> Option<bool> {
    let word = text.trim_matches(|c: char| c.is_ascii_whitespace()).to_ascii_lowercase();
    let begins = |full: &str, at_least: usize| word.len() >= at_least && full.starts_with(&word);
    match word.as_str() {
        "1" | "on" => Some(true),
        "0" => Some(false),
        _ if begins("true", 1) || begins("yes", 1) => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Some(false),
        _ => None,
    }
}

/// Whole number of an integer type.
pub fn integer(text: &str, ty: &Type) -> Result<i64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(&ty.to_string(), text));
    }
    let range = || SqlError::new("22003", format!("value \"{text}\" is out of range for type {ty}"));
    let n: i64 = trimmed.parse().map_err(|_| range())?;
    let fits = match ty {
        Type::Int2 => i16::try_from(n).is_ok(),
        Type::Int4 => i32::try_from(n).is_ok(),
        _ => true,
    };
    if fits { Ok(n) } else { Err(range()) }
}

fn oid(text: &str) -> Result<i64> {
    let n = integer(text, &Type::Int8).map_err(|_| invalid("oid", text))?;
    if u32::try_from(n).is_ok() {
        Ok(n)
    } else {
        Err(SqlError::new("22003", format!("value \"{text}\" is out of range for type oid")))
    }
}

/// Names of tables and functions are looked up by the catalogue, not here; numbers pass.
fn catalogue_number(text: &str, ty: &Type) -> Result<i64> {
    if text == "-" {
        return Ok(0);
    }
    if let Ok(n) = text.parse::<u32>() {
        return Ok(i64::from(n));
    }
    if let Some(oid) = crate::functions::system::oid_of_system_name(ty, text) {
        return Ok(oid);
    }
    Err(match ty {
        Type::Regclass => SqlError::new("42P01", format!("relation \"{text}\" does not exist")),
        Type::Regnamespace => match text {
            "pg_catalog" => return Ok(11),
            "public" => return Ok(2200),
            _ => SqlError::new("3F000", format!("schema \"{text}\" does not exist")),
        },
        _ => SqlError::new("42883", format!("function \"{text}\" does not exist")),
    })
}

fn float(text: &str, ty: &str, parse: impl Fn(&str) -> Option<f64>) -> Result<f64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let body = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let lower = body.to_ascii_lowercase();
    let special = matches!(lower.as_str(), "nan" | "inf" | "infinity");
    if !special && !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(invalid(ty, text));
    }
    let x = parse(trimmed).ok_or_else(|| invalid(ty, text))?;
    let has_digit = lower.split('e').next().is_some_and(|m| m.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    if !special && (x.is_infinite() || x == 0.0 && has_digit) {
        return Err(SqlError::new("22003", format!("\"{text}\" is out of range for type {ty}")));
    }
    Ok(x)
}

/// Hex (`\x6869`) or the older escape format (`hi\001\\`).
pub fn bytea(text: &str) -> Result<Bytes> {
    if let Some(hex) = text.strip_prefix("\\x") {
        return crate::functions::encoding::decode_hex(hex).map(Bytes::from);
    }
    let bad = || SqlError::new("22P02", "invalid input syntax for type bytea");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => out.push(b'\\'),
            Some(high @ b'0'..=b'3') => {
                let (middle, low) = (bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?);
                if !(b'0'..=b'7').contains(&middle) || !(b'0'..=b'7').contains(&low) {
                    return Err(bad());
                }
                out.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
            }
            _ => return Err(bad()),
        }
    }
    Ok(Bytes::from(out))
}

/// With or without hyphens (after any group of four digits), possibly in braces.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let body = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut digits = Vec::with_capacity(32);
    for (i, byte) in body.bytes().enumerate() {
        if byte == b'-' {
            if digits.is_empty() || digits.len() % 4 != 0 || body.as_bytes()[i - 1] == b'-' {
                return None;
            }
            continue;
        }
        digits.push(char::from(byte).to_digit(16)? as u8);
        if digits.len() > 32 {
            return None;
        }
    }
    if digits.len() != 32 || body.ends_with('-') {
        return None;
    }
    let mut out = [0; 16];
    for (i, pair) in digits.chunks_exact(2).enumerate() {
        out[i] = pair[0] << 4 | pair[1];
    }
    Some(out)
}
