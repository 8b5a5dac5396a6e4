//! Values on the wire: PostgreSQL's text and binary formats, both ways.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sql::numeric::Numeric;
use sql::{Datum, EvalContext, Interval, SqlError, Type};

use crate::oid;

/// Microseconds and days from 1970 to 2000, PostgreSQL's epoch.
const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// Appends a value with its length in front; `binary` chooses the format.
pub fn value(datum: &Datum, ty: &Type, binary: bool, time_zone: &str, out: &mut BytesMut) -> Result<(), SqlError> {
    if datum.is_null() {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    if !binary || !put_binary(datum, ty, time_zone, out)? {
        let mut text = String::new();
        sql::text::output(datum, ty, time_zone, &mut text);
        out.extend_from_slice(text.as_bytes());
    }
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// False for types whose binary form is their text.
fn put_binary(datum: &Datum, ty: &Type, time_zone: &str, out: &mut BytesMut) -> Result<bool, SqlError> {
    match (datum, ty) {
        (Datum::Bool(b), _) => out.put_u8(u8::from(*b)),
        (Datum::Int(n), Type::Int2) => out.put_i16(*n as i16),
        (Datum::Int(n), Type::Int8) => out.put_i64(*n),
        // 32 bits: int4 and the catalogue's numbers.
        (Datum::Int(n), _) => out.put_i32(*n as i32),
        (Datum::Float(x), Type::Float4) => out.put_f32(*x as f32),
        (Datum::Float(x), _) => out.put_f64(*x),
        (Datum::Numeric(n), _) => put_numeric(n, out),
        (Datum::Bytea(bytes), _) => out.extend_from_slice(bytes),
        (Datum::Date(days), _) => out.put_i32(days.saturating_sub(EPOCH_DAYS)),
        (Datum::Time(us), _) => out.put_i64(*us),
        (Datum::Timestamp(us @ (i64::MAX | i64::MIN)), _) => out.put_i64(*us),
        (Datum::Timestamp(us), _) => out.put_i64(us.saturating_sub(EPOCH_US)),
        (Datum::Interval(i), _) => {
            out.put_i64(i.microseconds);
            out.put_i32(i.days);
            out.put_i32(i.months);
        }
        (Datum::Uuid(bytes), _) => out.extend_from_slice(&bytes[..]),
        (Datum::Json(_), _) => {
            // jsonb: a version byte, then the text.
            out.put_u8(1);
            let mut text = String::new();
            sql::text::output(datum, ty, time_zone, &mut text);
            out.extend_from_slice(text.as_bytes());
        }
        (Datum::Array(items), Type::Array(element)) => put_array(items, element, time_zone, out)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn put_array(items: &[Datum], element: &Type, time_zone: &str, out: &mut BytesMut) -> Result<(), SqlError> {
    out.put_i32(i32::from(!items.is_empty()));
    out.put_i32(i32::from(items.iter().any(Datum::is_null)));
    out.put_u32(oid::of(element));
    if !items.is_empty() {
        out.put_i32(items.len() as i32);
        out.put_i32(1);
    }
    items.iter().try_for_each(|item| value(item, element, true, time_zone, out))
}

/// Digits in base 10,000, the weight of the first, sign and display scale.
fn put_numeric(n: &Numeric, out: &mut BytesMut) {
    let special = match n {
        Numeric::NaN => Some(0xC000),
        Numeric::Infinity => Some(0xD000),
        Numeric::NegativeInfinity => Some(0xF000),
        _ => None,
    };
    if let Some(sign) = special {
        out.put_i16(0);
        out.put_i16(0);
        out.put_u16(sign);
        out.put_i16(0);
        return;
    }
    let text = n.to_string();
    let (sign, text) = text.strip_prefix('-').map_or((0, text.as_str()), |rest| (0x4000, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = fraction.len();
    let whole = whole.trim_start_matches('0');
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded = format!("{padded_whole}{fraction}{}", "0".repeat((4 - scale % 4) % 4));
    let mut digits: Vec<i16> =
        padded.as_bytes().chunks(4).map(|c| c.iter().fold(0, |v, d| v * 10 + i16::from(d - b'0'))).collect();
    let mut weight = padded_whole.len() as i16 / 4 - 1;
    let leading = digits.iter().take_while(|d| **d == 0).count();
    digits.drain(..leading);
    weight -= leading as i16;
    while digits.last() == Some(&0) {
        digits.pop();
    }
    out.put_i16(digits.len() as i16);
    out.put_i16(if digits.is_empty() { 0 } else { weight });
    out.put_u16(sign);
    out.put_u16(scale as u16);
    digits.iter().for_each(|d| out.put_i16(*d));
}

/// A parameter's value from what a client sent.
pub fn parameter(bytes: &Bytes, ty: &Type, binary: bool, ctx: &EvalContext<'_>) -> Result<Datum, SqlError> {
    if !binary {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| SqlError::new("22021", "invalid byte sequence for encoding \"UTF8\" in a parameter"))?;
        return sql::text::input(text, ty, ctx);
    }
    let mut body = bytes.clone();
    let datum = get_binary(&mut body, ty, ctx)?;
    if body.has_remaining() {
        return Err(malformed());
    }
    Ok(datum)
}

fn malformed() -> SqlError {
    SqlError::new("22P03", "incorrect binary data format in a parameter")
}

fn need(body: &Bytes, n: usize) -> Result<(), SqlError> {
    if body.remaining() < n { Err(malformed()) } else { Ok(()) }
}

fn get_binary(body: &mut Bytes, ty: &Type, ctx: &EvalContext<'_>) -> Result<Datum, SqlError> {
    let size = usize::try_from(oid::length(ty)).unwrap_or(0);
    need(body, size)?;
    Ok(match ty {
        Type::Bool => Datum::Bool(body.get_u8() != 0),
        Type::Int2 => Datum::Int(i64::from(body.get_i16())),
        Type::Int4 => Datum::Int(i64::from(body.get_i32())),
        Type::Int8 => Datum::Int(body.get_i64()),
        Type::Oid | Type::Regclass | Type::Regtype | Type::Regproc => Datum::Int(i64::from(body.get_u32())),
        Type::Float4 => Datum::Float(f64::from(body.get_f32())),
        Type::Float8 => Datum::Float(body.get_f64()),
        Type::Numeric(_) => Datum::Numeric(get_numeric(body)?),
        Type::Bytea => Datum::Bytea(body.split_off(0)),
        Type::Date => Datum::Date(body.get_i32().saturating_add(EPOCH_DAYS)),
        Type::Time => Datum::Time(body.get_i64()),
        Type::Timestamp | Type::Timestamptz => match body.get_i64() {
            infinite @ (i64::MAX | i64::MIN) => Datum::Timestamp(infinite),
            us => Datum::Timestamp(us.saturating_add(EPOCH_US)),
        },
        Type::Interval => {
            let (microseconds, days, months) = (body.get_i64(), body.get_i32(), body.get_i32());
            Datum::Interval(Box::new(Interval { months, days, microseconds }))
        }
        Type::Uuid => {
            let mut bytes = [0; 16];
            body.copy_to_slice(&mut bytes);
            Datum::Uuid(Box::new(bytes))
        }
        Type::Array(element) => get_array(body, element, ctx)?,
        other => {
            let mut text = body.split_off(0);
            if *other == Type::Json && text.first() == Some(&1) {
                text.advance(1);
            }
            let text = std::str::from_utf8(&text).map_err(|_| malformed())?;
            sql::text::input(text, other, ctx)?
        }
    })
}

fn get_array(body: &mut Bytes, element: &Type, ctx: &EvalContext<'_>) -> Result<Datum, SqlError> {
    need(body, 12)?;
    let (dimensions, _, _) = (body.get_i32(), body.get_i32(), body.get_u32());
    if dimensions == 0 {
        return Ok(Datum::Array(std::sync::Arc::from([])));
    }
    if dimensions != 1 {
        return Err(SqlError::unsupported("a parameter that is a multidimensional array"));
    }
    need(body, 8)?;
    let (count, _) = (body.get_i32(), body.get_i32());
    let mut items = Vec::new();
    for _ in 0..count {
        need(body, 4)?;
        let length = body.get_i32();
        if length < 0 {
            items.push(Datum::Null);
            continue;
        }
        need(body, length as usize)?;
        let mut item = body.split_to(length as usize);
        items.push(get_binary(&mut item, element, ctx)?);
    }
    Ok(Datum::Array(items.into()))
}

fn get_numeric(body: &mut Bytes) -> Result<Numeric, SqlError> {
    need(body, 8)?;
    let (count, weight, sign, scale) = (body.get_i16(), body.get_i16(), body.get_u16(), body.get_u16());
    match sign {
        0xC000 => return Ok(Numeric::NaN),
        0xD000 => return Ok(Numeric::Infinity),
        0xF000 => return Ok(Numeric::NegativeInfinity),
        _ => {}
    }
    let count = usize::try_from(count).map_err(|_| malformed())?;
    need(body, count * 2)?;
    let mut whole = String::new();
    let mut fraction = String::new();
    for position in (i32::from(weight) + 1)..0 {
        let _ = position;
        fraction.push_str("0000");
    }
    for i in 0..count {
        let digit = body.get_i16();
        if !(0..10_000).contains(&digit) {
            return Err(malformed());
        }
        let target = if i as i32 <= i32::from(weight) { &mut whole } else { &mut fraction };
        target.push_str(&format!("{digit:04}"));
    }
    for _ in count as i32..=i32::from(weight) {
        whole.push_str("0000");
    }
    let scale = usize::from(scale);
    while fraction.len() < scale {
        fraction.push('0');
    }
    fraction.truncate(scale);
    let sign = if sign == 0x4000 { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { &whole };
    let text = if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
    Numeric::parse(&text).ok_or_else(malformed)?
}
