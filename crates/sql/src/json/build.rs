//! SQL values as JSON values: `to_jsonb`, `json_build_object` and the aggregates write through here.

use document::{DocWriter, Raw};

use crate::datum::{Datum, Json};
use crate::error::{Result, SqlError};
use crate::json;
use crate::numeric::Numeric;
use crate::text;
use crate::types::Type;

/// The JSON value of a datum. Errors with 22003 for a numeric that decimal128 cannot come near.
pub fn to_json(datum: &Datum, ty: &Type, time_zone: &str) -> Result<Json> {
    if let Datum::Json(value) = datum {
        return Ok(value.clone());
    }
    let mut result = Ok(());
    let value = json::make(|writer, name| result = write(writer, name, datum, ty, time_zone));
    result.map(|()| value)
}

/// Appends a field with the JSON value of a datum.
pub fn write(writer: &mut DocWriter, name: &str, datum: &Datum, ty: &Type, time_zone: &str) -> Result<()> {
    match (datum, ty) {
        (Datum::Null, _) => writer.null(name),
        (Datum::Bool(b), _) => writer.bool(name, *b),
        (Datum::Int(n), Type::Int2 | Type::Int4) => match i32::try_from(*n) {
            Ok(n) => writer.i32(name, n),
            Err(_) => writer.i64(name, *n),
        },
        (Datum::Int(n), Type::Int8) => writer.i64(name, *n),
        (Datum::Float(x), Type::Float4) => {
            // The digits that a real prints, not those of the double next to it.
            let mut digits = String::new();
            text::write_float4(*x as f32, &mut digits);
            writer.f64(name, digits.parse().unwrap_or(*x));
        }
        (Datum::Float(x), _) => writer.f64(name, *x),
        (Datum::Numeric(n), _) => write_numeric(writer, name, n)?,
        (Datum::Text(s), _) => writer.str(name, s),
        (Datum::Json(value), _) => writer.raw(name, value.raw()),
        (Datum::Timestamp(us), Type::Timestamptz) => writer.str(name, &text::json_timestamptz(*us, time_zone)),
        (Datum::Timestamp(us), _) => writer.str(name, &text::json_timestamp(*us)),
        (Datum::Array(items), Type::Array(element)) => {
            writer.begin_array(name);
            let mut index = Index::default();
            for item in items.iter() {
                // A further dimension; its type may be written `int[]` or `int[][]`.
                let item_type =
                    if matches!(item, Datum::Array(_)) && !matches!(**element, Type::Array(_)) { ty } else { element };
                write(writer, index.next(), item, item_type, time_zone)?;
            }
            writer.end();
        }
        (Datum::Record(items), _) => {
            writer.begin_document(name);
            for (i, item) in items.iter().enumerate() {
                write(writer, &format!("f{}", i + 1), item, &guess_type(item), time_zone)?;
            }
            writer.end();
        }
        _ => {
            let mut out = String::new();
            text::output(datum, ty, time_zone, &mut out);
            writer.str(name, &out);
        }
    }
    Ok(())
}

/// A row constructor does not carry its columns' types.
pub fn guess_type(datum: &Datum) -> Type {
    match datum {
        Datum::Null => Type::Unknown,
        Datum::Bool(_) => Type::Bool,
        Datum::Int(_) => Type::Int8,
        Datum::Float(_) => Type::Float8,
        Datum::Numeric(_) => Type::Numeric(None),
        Datum::Text(_) => Type::Text,
        Datum::Bytea(_) => Type::Bytea,
        Datum::Date(_) => Type::Date,
        Datum::Time(_) => Type::Time,
        Datum::Timestamp(_) => Type::Timestamptz,
        Datum::Interval(_) => Type::Interval,
        Datum::Uuid(_) => Type::Uuid,
        Datum::Json(_) => Type::Json,
        Datum::Array(items) => Type::array_of(items.iter().find(|i| !i.is_null()).map_or(Type::Text, guess_type)),
        Datum::Record(_) => Type::Record,
    }
}

/// Numerics keep their digits and scale as decimal128; special values become strings, as in
/// PostgreSQL's JSON.
fn write_numeric(writer: &mut DocWriter, name: &str, n: &Numeric) -> Result<()> {
    if !n.is_finite() {
        writer.str(name, &n.to_string());
        return Ok(());
    }
    writer.raw(name, Raw::Decimal128(n.to_decimal128()?));
    Ok(())
}

/// A name for an object's field: BSON names hold no NUL.
pub fn key(text: &str) -> Result<&str> {
    if text.contains('\0') {
        return Err(SqlError::new("22P05", "unsupported Unicode escape sequence")
            .with_detail("\\u0000 cannot be converted to text."));
    }
    Ok(text)
}

/// Array indices as field names, without an allocation for each.
#[derive(Debug, Default)]
pub struct Index {
    next: usize,
    text: String,
}

impl Index {
    pub fn next(&mut self) -> &str {
        use std::fmt::Write;
        self.text.clear();
        let _ = write!(self.text, "{}", self.next);
        self.next += 1;
        &self.text
    }
}

/// A JSON array of what `write_all` appends.
pub fn array(write_all: impl FnOnce(&mut DocWriter, &mut Index)) -> Json {
    json::make(|writer, name| {
        writer.begin_array(name);
        write_all(writer, &mut Index::default());
        writer.end();
    })
}

/// A JSON object of what `write_all` appends.
pub fn object(write_all: impl FnOnce(&mut DocWriter)) -> Json {
    json::make(|writer, name| {
        writer.begin_document(name);
        write_all(writer);
        writer.end();
    })
}
