//! Which types convert to which, where PostgreSQL does it unasked, and the conversions.
//!
//! # Not here
//! Reading and writing text (`text.rs`).
//!
//! # Invariants
//! - `cast` accepts exactly the pairs that `can_cast` knows.

mod json;

use std::sync::Arc;

use crate::datetime::{self, zone};
use crate::datum::{Datum, Interval};
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::numeric::{Numeric, out_of_range};
use crate::text;
use crate::types::Type;

/// Where a conversion applies by itself; each includes the ones after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CastContext {
    /// In any expression.
    Implicit,
    /// When a value is stored in a column.
    Assignment,
    /// Only with `CAST` or `::`.
    Explicit,
}

/// PostgreSQL's type categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    Array,
    Boolean,
    DateTime,
    Number,
    Pseudo,
    String,
    TimeSpan,
    Unknown,
    User,
}

/// The category of a type, and whether it is the category's preferred type.
pub fn category(ty: &Type) -> (Category, bool) {
    match ty {
        Type::Unknown => (Category::Unknown, false),
        Type::Bool => (Category::Boolean, true),
        Type::Float8 | Type::Oid => (Category::Number, true),
        Type::Int2
        | Type::Int4
        | Type::Int8
        | Type::Float4
        | Type::Numeric(_)
        | Type::Regclass
        | Type::Regtype
        | Type::Regproc
        | Type::Regnamespace => (Category::Number, false),
        Type::Text => (Category::String, true),
        Type::Varchar(_) | Type::Name | Type::Char => (Category::String, false),
        Type::Timestamptz => (Category::DateTime, true),
        Type::Date | Type::Time | Type::Timestamp => (Category::DateTime, false),
        Type::Interval => (Category::TimeSpan, true),
        Type::Bytea | Type::Uuid | Type::Json => (Category::User, false),
        Type::Array(_) => (Category::Array, false),
        Type::Record | Type::Void => (Category::Pseudo, false),
    }
}

/// A type without its modifiers.
pub fn base(ty: &Type) -> Type {
    match ty {
        Type::Numeric(_) => Type::Numeric(None),
        Type::Varchar(_) => Type::Varchar(None),
        Type::Array(element) => Type::array_of(base(element)),
        other => other.clone(),
    }
}

/// The same type, whatever the modifiers.
pub fn same_base(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Numeric(_), Type::Numeric(_)) | (Type::Varchar(_), Type::Varchar(_)) => true,
        (Type::Array(a), Type::Array(b)) => same_base(a, b),
        _ => a == b,
    }
}

fn is_registry(ty: &Type) -> bool {
    matches!(ty, Type::Regclass | Type::Regtype | Type::Regproc | Type::Regnamespace)
}

/// Where `from` converts to `to`, if at all.
pub fn can_cast(from: &Type, to: &Type) -> Option<CastContext> {
    use CastContext::*;
    use Type::*;
    if same_base(from, to) {
        return Some(Implicit);
    }
    Some(match (from, to) {
        (Unknown, Void) => return None,
        (Unknown, _) => Implicit,
        (Array(a), Array(b)) => can_cast(a, b)?,
        (Int2, Int4 | Int8 | Float4 | Float8 | Numeric(_)) => Implicit,
        (Int4, Int8 | Float4 | Float8 | Numeric(_)) => Implicit,
        (Int8, Float4 | Float8 | Numeric(_)) => Implicit,
        (Float4, Float8) | (Numeric(_), Float4 | Float8) => Implicit,
        (a, b) if a.is_numeric() && b.is_numeric() => Assignment,
        (Int2 | Int4 | Int8, Oid | Regclass | Regtype | Regproc | Regnamespace) => Implicit,
        (Oid, b) if is_registry(b) => Implicit,
        (a, Oid) if is_registry(a) => Implicit,
        (Oid, Int8) => Assignment,
        (Oid, Int4) => Assignment,
        (a, Int4 | Int8) if is_registry(a) => Assignment,
        (Int4, Bool) | (Bool, Int4) => Explicit,
        (Int4, Char) | (Char, Int4) => Explicit,
        (Text | Varchar(_) | Name | Char, Text) => Implicit,
        (Text | Varchar(_) | Name, Varchar(_)) => Implicit,
        (Text | Varchar(_), Name | Regclass) => Implicit,
        (Text | Varchar(_) | Name | Char, Varchar(_) | Char | Name) => Assignment,
        (Date, Timestamp | Timestamptz) | (Timestamp, Timestamptz) | (Time, Interval) => Implicit,
        (Timestamp | Timestamptz, Date | Time | Timestamp) | (Interval, Time) => Assignment,
        (Json, Text | Varchar(_) | Name) => Assignment,
        (
            Json,
            Bool | Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_) | Timestamptz | Timestamp | Date | Time | Interval
            | Uuid | Bytea | Array(_),
        ) => Explicit,
        (Void | Record, Text | Varchar(_)) => Assignment,
        (Void | Record, _) | (_, Void | Record | Unknown) => return None,
        (_, Text | Varchar(_) | Name) => Assignment,
        (Text | Varchar(_) | Name, _) => Explicit,
        _ => return None,
    })
}

/// The type that UNION, CASE, COALESCE, ARRAY and VALUES give their branches.
pub fn common_type(types: &[Type]) -> Result<Type> {
    common_type_for("UNION", types)
}

/// The same, with the construct's name for the message. Errors with 42804.
pub fn common_type_for(context: &str, types: &[Type]) -> Result<Type> {
    let mut known = types.iter().filter(|ty| **ty != Type::Unknown);
    let Some(first) = known.next() else { return Ok(Type::Text) };
    let mut chosen = first.clone();
    for ty in known {
        if *ty == chosen {
            continue;
        }
        if same_base(ty, &chosen) {
            chosen = base(&chosen);
            continue;
        }
        let ((wanted, preferred), (found, _)) = (category(&chosen), category(ty));
        let implicit = |a: &Type, b: &Type| can_cast(a, b) == Some(CastContext::Implicit);
        let matched = wanted == found && (implicit(ty, &chosen) || implicit(&chosen, ty));
        if !matched {
            return Err(SqlError::new("42804", format!("{context} types {chosen} and {ty} cannot be matched")));
        }
        if !preferred && implicit(&chosen, ty) && !implicit(ty, &chosen) {
            chosen = ty.clone();
        }
        // A declared length or scale stays only if all have it.
        chosen = base(&chosen);
    }
    Ok(chosen)
}

/// Reads an undecorated literal as a value of a type.
pub fn parse_literal(text: &str, ty: &Type, ctx: &EvalContext<'_>) -> Result<Datum> {
    text::input(text, ty, ctx)
}

/// 42846.
pub fn cannot_cast(from: &Type, to: &Type) -> SqlError {
    SqlError::new("42846", format!("cannot cast type {from} to {to}"))
}

/// Converts a value. `explicit` casts cut text to a declared length instead of refusing it.
pub fn cast(datum: &Datum, from: &Type, to: &Type, explicit: bool, ctx: &EvalContext<'_>) -> Result<Datum> {
    if datum.is_null() || from == to {
        return Ok(datum.clone());
    }
    match (from, to) {
        (_, Type::Text | Type::Name | Type::Char | Type::Varchar(_)) => to_text(datum, from, to, explicit, ctx),
        (Type::Json, _) => json::from_json(datum, to, explicit, ctx),
        (_, Type::Json) if !from.is_text() && *from != Type::Unknown => Err(cannot_cast(from, to)),
        (Type::Char, Type::Int4) => match datum {
            Datum::Text(s) => Ok(Datum::Int(s.bytes().next().map_or(0, |b| i64::from(b as i8)))),
            _ => Err(cannot_cast(from, to)),
        },
        (_, _) if from.is_text() || *from == Type::Unknown => text::input(datum.as_text()?, to, ctx),
        _ => convert(datum, from, to, explicit, ctx),
    }
}

fn to_text(datum: &Datum, from: &Type, to: &Type, explicit: bool, ctx: &EvalContext<'_>) -> Result<Datum> {
    let value: Arc<str> = match datum {
        Datum::Text(s) => s.clone(),
        Datum::Bool(b) => Arc::from(if *b { "true" } else { "false" }),
        Datum::Json(value) => match crate::json::as_text(value.raw()) {
            Datum::Text(s) => s,
            other => return Ok(other),
        },
        Datum::Int(n) if *to == Type::Char && *from == Type::Int4 => {
            return u8::try_from(*n)
                .ok()
                .filter(u8::is_ascii)
                .map(|b| Datum::text(if b == 0 { String::new() } else { char::from(b).to_string() }))
                .ok_or_else(|| out_of_range("\"char\""));
        }
        _ => text::to_string(datum, from, ctx.time_zone).into(),
    };
    match to {
        Type::Varchar(Some(limit)) => match value.char_indices().nth(*limit as usize) {
            None => Ok(Datum::Text(value)),
            Some((end, _)) if explicit || value[end..].bytes().all(|b| b == b' ') => Ok(Datum::text(&value[..end])),
            Some(_) => Err(SqlError::new("22001", format!("value too long for type character varying({limit})"))),
        },
        Type::Char => Ok(Datum::text(value.chars().take(1).collect::<String>())),
        Type::Name if value.len() > 63 => {
            let end = (0..=63).rev().find(|i| value.is_char_boundary(*i)).unwrap_or(0);
            Ok(Datum::text(&value[..end]))
        }
        _ => Ok(Datum::Text(value)),
    }
}

/// An integer of a type. Errors with 22003.
pub fn fit_integer(n: i64, ty: &Type) -> Result<Datum> {
    let fits = match ty {
        Type::Int2 => i16::try_from(n).is_ok(),
        Type::Int4 => i32::try_from(n).is_ok(),
        Type::Oid | Type::Regclass | Type::Regtype | Type::Regproc | Type::Regnamespace => {
            // A negative int4 is the same 32 bits.
            return match u32::try_from(n).or(i32::try_from(n).map(|n| n as u32)) {
                Ok(oid) => Ok(Datum::Int(i64::from(oid))),
                Err(_) => Err(SqlError::new("22003", "OID out of range")),
            };
        }
        _ => true,
    };
    if fits { Ok(Datum::Int(n)) } else { Err(out_of_range(&ty.to_string())) }
}

fn float_to_integer(x: f64, ty: &Type) -> Result<Datum> {
    let rounded = x.round_ties_even();
    if !(-(2f64.powi(63))..2f64.powi(63)).contains(&rounded) {
        return Err(out_of_range(&ty.to_string()));
    }
    fit_integer(rounded as i64, ty)
}

fn numeric_to_integer(n: &Numeric, ty: &Type) -> Result<Datum> {
    match n {
        Numeric::NaN => Err(SqlError::new("0A000", format!("cannot convert NaN to {ty}"))),
        Numeric::Infinity | Numeric::NegativeInfinity => {
            Err(SqlError::new("0A000", format!("cannot convert infinity to {ty}")))
        }
        _ => fit_integer(n.to_i64().ok_or_else(|| out_of_range(&ty.to_string()))?, ty),
    }
}

/// A double as a real.
pub fn narrow_float(x: f64) -> Result<Datum> {
    let narrow = x as f32;
    if narrow.is_infinite() && x.is_finite() {
        return Err(SqlError::new("22003", "value out of range: overflow"));
    }
    if narrow == 0.0 && x != 0.0 {
        return Err(SqlError::new("22003", "value out of range: underflow"));
    }
    Ok(Datum::Float(f64::from(narrow)))
}

fn fit_numeric(n: Numeric, to: &Type) -> Result<Datum> {
    Ok(Datum::Numeric(match to {
        Type::Numeric(Some((precision, scale))) => n.fit(*precision, *scale)?,
        _ => n,
    }))
}

fn convert(datum: &Datum, from: &Type, to: &Type, explicit: bool, ctx: &EvalContext<'_>) -> Result<Datum> {
    use Type::*;
    match (datum, to) {
        (Datum::Int(n), Bool) => Ok(Datum::Bool(*n != 0)),
        (Datum::Int(n), Float4) => Ok(Datum::Float(f64::from(*n as f32))),
        (Datum::Int(n), Float8) => Ok(Datum::Float(*n as f64)),
        (Datum::Int(n), Numeric(_)) => fit_numeric(crate::numeric::Numeric::from_i64(*n), to),
        (Datum::Int(n), _) => fit_integer(*n, to),
        (Datum::Float(x), Float4) => narrow_float(*x),
        (Datum::Float(x), Float8) => Ok(Datum::Float(*x)),
        (Datum::Float(x), Numeric(_)) if *from == Float4 => {
            fit_numeric(crate::numeric::Numeric::from_f32(*x as f32), to)
        }
        (Datum::Float(x), Numeric(_)) => fit_numeric(crate::numeric::Numeric::from_f64(*x), to),
        (Datum::Float(x), Int2 | Int4 | Int8) => float_to_integer(*x, to),
        (Datum::Numeric(n), Numeric(_)) => fit_numeric(n.clone(), to),
        (Datum::Numeric(n), Float8) => Ok(Datum::Float(n.to_f64())),
        (Datum::Numeric(n), Float4) => narrow_float(n.to_f64()),
        (Datum::Numeric(n), Int2 | Int4 | Int8) => numeric_to_integer(n, to),
        (Datum::Bool(b), Int4) => Ok(Datum::Int(i64::from(*b))),
        (Datum::Date(days), Timestamp) => datetime::date_to_timestamp(*days).map(Datum::Timestamp),
        (Datum::Date(days), Timestamptz) => {
            zone::to_instant(datetime::date_to_timestamp(*days)?, ctx.time_zone).map(Datum::Timestamp)
        }
        (Datum::Timestamp(us), Timestamptz) => zone::to_instant(*us, ctx.time_zone).map(Datum::Timestamp),
        (Datum::Timestamp(us), Timestamp) => zone::to_local(*us, ctx.time_zone).map(Datum::Timestamp),
        (Datum::Timestamp(us), Date | Time) => {
            let local = if *from == Timestamptz { zone::to_local(*us, ctx.time_zone)? } else { *us };
            Ok(match to {
                Date => Datum::Date(datetime::timestamp_to_date(local)),
                _ if datetime::is_infinite(local) => Datum::Null,
                _ => Datum::Time(local.rem_euclid(datetime::DAY_US)),
            })
        }
        (Datum::Time(us), Interval) => {
            Ok(Datum::Interval(Box::new(self::Interval { months: 0, days: 0, microseconds: *us })))
        }
        (Datum::Interval(value), Time) => Ok(Datum::Time(value.microseconds.rem_euclid(datetime::DAY_US))),
        (Datum::Array(items), Array(element)) => {
            let from = match from {
                Array(inner) => inner,
                _ => return Err(cannot_cast(from, to)),
            };
            cast_items(items, from, element, explicit, ctx)
        }
        _ if same_base(from, to) => Ok(datum.clone()),
        _ => Err(cannot_cast(from, to)),
    }
}

fn cast_items(items: &[Datum], from: &Type, to: &Type, explicit: bool, ctx: &EvalContext<'_>) -> Result<Datum> {
    let cast_one = |item: &Datum| match item {
        // A further dimension of the same element type.
        Datum::Array(inner) if !matches!(from, Type::Array(_)) => cast_items(inner, from, to, explicit, ctx),
        _ => cast(item, from, to, explicit, ctx),
    };
    items.iter().map(cast_one).collect::<Result<Arc<[Datum]>>>().map(Datum::Array)
}
