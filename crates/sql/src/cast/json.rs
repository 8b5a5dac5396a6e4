//! JSON values as SQL values.
//!
//! A number converts as PostgreSQL's `jsonb` number, a string as its text (what `->>` would have
//! given), null to NULL; BSON's own types keep their meaning: a date is an instant, a UUID a UUID,
//! decimal128 a numeric without loss.

use std::sync::Arc;

use bytes::Bytes;
use document::Raw;

use super::{cast, fit_numeric};
use crate::datetime::check_timestamp;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::json::{Plain, number};
use crate::text;
use crate::types::Type;

fn refused(value: &Plain<'_>, to: &Type) -> SqlError {
    let kind = match value {
        Plain::Number(_) => "numeric",
        other => other.type_name(),
    };
    SqlError::new("22023", format!("cannot cast jsonb {kind} to type {to}"))
}

/// Converts to `to`. Errors with 22023 for a value of the wrong kind, 22P02 and others for text
/// that does not read as one.
pub(super) fn from_json(datum: &Datum, to: &Type, explicit: bool, ctx: &EvalContext<'_>) -> Result<Datum> {
    let raw = datum.as_json()?.raw();
    let plain = Plain::of(raw);
    match (raw, to) {
        (_, Type::Json) => return Ok(datum.clone()),
        (Raw::Date(ms), Type::Timestamptz | Type::Timestamp | Type::Date | Type::Time) => {
            let us = check_timestamp(i128::from(ms) * 1000)?;
            return cast(&Datum::Timestamp(us), &Type::Timestamptz, to, explicit, ctx);
        }
        (Raw::Timestamp(t), Type::Timestamptz | Type::Timestamp | Type::Date | Type::Time) => {
            let us = check_timestamp(i128::from(t >> 32) * 1_000_000)?;
            return cast(&Datum::Timestamp(us), &Type::Timestamptz, to, explicit, ctx);
        }
        (Raw::Binary { subtype: 3 | 4, bytes }, Type::Uuid) => {
            if let Ok(uuid) = <[u8; 16]>::try_from(bytes) {
                return Ok(Datum::Uuid(Box::new(uuid)));
            }
        }
        (Raw::Binary { bytes, .. }, Type::Bytea) => return Ok(Datum::Bytea(Bytes::copy_from_slice(bytes))),
        (Raw::ObjectId(id), Type::Bytea) => return Ok(Datum::Bytea(Bytes::copy_from_slice(&id))),
        (Raw::Double(x), Type::Float8) => return Ok(Datum::Float(x)),
        (Raw::Double(x), Type::Float4) => return super::narrow_float(x),
        (Raw::Int32(n), Type::Int4 | Type::Int8) => return Ok(Datum::Int(i64::from(n))),
        (Raw::Int64(n), Type::Int2 | Type::Int4 | Type::Int8) => return super::fit_integer(n, to),
        _ => {}
    }
    match (&plain, to) {
        (Plain::Null, _) => Ok(Datum::Null),
        (Plain::Bool(b), Type::Bool) => Ok(Datum::Bool(*b)),
        (Plain::Number(raw), _) if to.is_numeric() => {
            let n = number(*raw).ok_or_else(|| refused(&plain, to))?;
            match to {
                Type::Numeric(_) => fit_numeric(n, to),
                _ => cast(&Datum::Numeric(n), &Type::Numeric(None), to, explicit, ctx),
            }
        }
        (Plain::Array(array), Type::Array(element)) => {
            let convert = |item: Raw<'_>| {
                let item = Datum::Json(datum.as_json()?.share(item));
                cast(&item, &Type::Json, element, explicit, ctx)
            };
            array.values().map(convert).collect::<Result<Arc<[Datum]>>>().map(Datum::Array)
        }
        (Plain::String(s), _) => text::input(s, to, ctx),
        _ => Err(refused(&plain, to)),
    }
}
