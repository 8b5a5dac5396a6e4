//! SQL's order and equality of values.
//!
//! Numbers compare by value (NaN equals itself and is greatest), text by bytes, intervals by the
//! time they span, JSON as PostgreSQL's jsonb does. NULLs are the caller's business except inside
//! arrays, records and sort keys, where PostgreSQL puts them last.
//!
//! # Invariants
//! - `compare(a, b)` is `Equal` exactly when `a.sql_key() == b.sql_key()`, for values of one type.

mod json;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::datetime::interval;
use crate::datum::{Datum, Interval};
use crate::numeric::Numeric;
use crate::plan::SortKey;

pub use json::compare_json;

/// Compares two values of one type. NULL is above everything.
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    use Datum::*;
    match (a, b) {
        (Int(a), Int(b)) | (Time(a), Time(b)) | (Timestamp(a), Timestamp(b)) => a.cmp(b),
        (Text(a), Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Float(a), Float(b)) => compare_floats(*a, *b),
        (Numeric(a), Numeric(b)) => a.compare(b),
        (Bool(a), Bool(b)) => a.cmp(b),
        (Bytea(a), Bytea(b)) => a.cmp(b),
        (Date(a), Date(b)) => a.cmp(b),
        (Interval(a), Interval(b)) => interval::total_us(a).cmp(&interval::total_us(b)),
        (Uuid(a), Uuid(b)) => a.cmp(b),
        (Json(a), Json(b)) => compare_json(a.raw(), b.raw()),
        (Array(a), Array(b)) | (Record(a), Record(b)) => compare_lists(a, b),
        (Null, Null) => Ordering::Equal,
        (Null, _) => Ordering::Greater,
        (_, Null) => Ordering::Less,
        // Numbers of different representations do not meet in a typed plan; by value all the same.
        _ => match (as_numeric(a), as_numeric(b)) {
            (Some(a), Some(b)) => a.compare(&b),
            _ => a.cmp(b),
        },
    }
}

fn as_numeric(datum: &Datum) -> Option<Numeric> {
    match datum {
        Datum::Int(n) => Some(Numeric::from_i64(*n)),
        Datum::Float(x) => Some(Numeric::from_f64_shortest(*x)),
        Datum::Numeric(n) => Some(n.clone()),
        _ => None,
    }
}

/// NaN equals itself and is above everything; the zeros are equal.
pub fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn compare_lists(a: &[Datum], b: &[Datum]) -> Ordering {
    for (x, y) in a.iter().zip(b) {
        let order = compare(x, y);
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Equality of two values that are not NULL.
pub fn sql_equal(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Text(a), Datum::Text(b)) => a == b,
        (Datum::Int(a), Datum::Int(b)) => a == b,
        _ => compare(a, b).is_eq(),
    }
}

/// Compares two values of one sort key, NULLs where the key wants them.
pub fn sort_compare(key: &SortKey, a: &Datum, b: &Datum) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) if key.nulls_first => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) if key.nulls_first => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if key.descending => compare(b, a),
        (false, false) => compare(a, b),
    }
}

/// Compares two rows' values of the same sort keys, first to last.
pub fn sort_compare_all(keys: &[SortKey], a: &[Datum], b: &[Datum]) -> Ordering {
    keys.iter()
        .zip(a.iter().zip(b))
        .map(|(key, (x, y))| sort_compare(key, x, y))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

impl Datum {
    /// The representative of all values that SQL calls equal to this one.
    pub fn sql_key(&self) -> Datum {
        match self {
            Datum::Float(x) if x.is_nan() => Datum::Float(f64::NAN),
            // Adding zero turns -0.0 into 0.0.
            Datum::Float(x) => Datum::Float(x + 0.0),
            Datum::Numeric(n) => Datum::Numeric(n.trim_scale()),
            Datum::Interval(value) => interval_key(value),
            Datum::Json(value) => Datum::Json(json::canonical(value.raw())),
            Datum::Array(items) => Datum::Array(items.iter().map(Datum::sql_key).collect()),
            Datum::Record(items) => Datum::Record(items.iter().map(Datum::sql_key).collect()),
            other => other.clone(),
        }
    }
}

/// One spelling of a span: months of 30 days of 24 hours.
fn interval_key(value: &Interval) -> Datum {
    const DAY: i128 = crate::datetime::DAY_US as i128;
    let total = interval::total_us(value);
    let (days, microseconds) = (total.div_euclid(DAY), total.rem_euclid(DAY) as i64);
    let (months, days) = (days.div_euclid(30), days.rem_euclid(30) as i32);
    match i32::try_from(months) {
        Ok(months) => Datum::Interval(Box::new(Interval { months, days, microseconds })),
        Err(_) => Datum::Numeric(Numeric::from_i128(total, 0)),
    }
}
