//! PostgreSQL's order of jsonb, over BSON.
//!
//! Object > array > boolean > number > string > null, except that an empty array is below
//! everything else of its level. Containers go by size first; objects compare their pairs in the
//! order of their keys (shorter first), arrays their elements.

use std::cmp::Ordering;

use document::value::{Doc, Value};
use document::{Raw, RawDoc};

use crate::datum::Json;
use crate::json::{Plain, number, parse::numeric_value};

/// Compares two values at top level.
pub fn compare_json(a: Raw<'_>, b: Raw<'_>) -> Ordering {
    let (x, y) = (Plain::of(a), Plain::of(b));
    // Top-level scalars are stored as one-element arrays: below real arrays of their size, but
    // above the empty one.
    match (&x, &y) {
        (Plain::Array(array), other) if other.is_scalar() => {
            if array.is_empty() {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (other, Plain::Array(array)) if other.is_scalar() => {
            if array.is_empty() {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        _ => compare_plain(&x, &y),
    }
}

fn rank(value: &Plain<'_>) -> u8 {
    match value {
        Plain::Null => 0,
        Plain::String(_) => 1,
        Plain::Number(_) => 2,
        Plain::Bool(_) => 3,
        Plain::Array(_) => 4,
        Plain::Object(_) | Plain::Made(_) => 5,
    }
}

fn compare_plain(x: &Plain<'_>, y: &Plain<'_>) -> Ordering {
    match (x, y) {
        (Plain::Null, Plain::Null) => Ordering::Equal,
        (Plain::String(a), Plain::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Plain::Number(a), Plain::Number(b)) => compare_numbers(*a, *b),
        (Plain::Bool(a), Plain::Bool(b)) => a.cmp(b),
        (Plain::Array(a), Plain::Array(b)) => compare_arrays(*a, *b),
        _ => match (x.as_object(), y.as_object()) {
            (Some(a), Some(b)) => compare_objects(a, b),
            _ => rank(x).cmp(&rank(y)),
        },
    }
}

fn compare_numbers(a: Raw<'_>, b: Raw<'_>) -> Ordering {
    match (a, b) {
        (Raw::Int32(a), Raw::Int32(b)) => a.cmp(&b),
        (Raw::Int32(a), Raw::Int64(b)) => i64::from(a).cmp(&b),
        (Raw::Int64(a), Raw::Int32(b)) => a.cmp(&i64::from(b)),
        (Raw::Int64(a), Raw::Int64(b)) => a.cmp(&b),
        // The zeros are equal.
        (Raw::Double(a), Raw::Double(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.compare(&b),
            _ => Ordering::Equal,
        },
    }
}

fn compare_arrays(a: RawDoc<'_>, b: RawDoc<'_>) -> Ordering {
    let by_size = a.values().count().cmp(&b.values().count());
    if by_size.is_ne() {
        return by_size;
    }
    a.values()
        .zip(b.values())
        .map(|(x, y)| compare_plain(&Plain::of(x), &Plain::of(y)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Fields in jsonb's order: by length of the key, then by its bytes; of repeated keys the last.
fn sorted<'a>(doc: RawDoc<'a>) -> Vec<(&'a str, Raw<'a>)> {
    let mut fields: Vec<_> = doc.iter().collect();
    fields.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes())));
    // The sort is stable: of equal keys the last written stands last.
    let mut kept: Vec<(&str, Raw<'_>)> = Vec::with_capacity(fields.len());
    for field in fields {
        match kept.last_mut() {
            Some(last) if last.0 == field.0 => *last = field,
            _ => kept.push(field),
        }
    }
    kept
}

fn compare_objects(a: RawDoc<'_>, b: RawDoc<'_>) -> Ordering {
    let (x, y) = (sorted(a), sorted(b));
    x.len().cmp(&y.len()).then_with(|| {
        x.iter()
            .zip(&y)
            .map(|((k, v), (l, w))| {
                k.as_bytes().cmp(l.as_bytes()).then_with(|| compare_plain(&Plain::of(*v), &Plain::of(*w)))
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    })
}

/// The representative of all equal values: keys in order, one spelling for each number, every
/// other BSON type as the JSON value it prints as.
pub(super) fn canonical(value: Raw<'_>) -> Json {
    let value = canonical_value(value);
    crate::json::make(|writer, name| writer.value(name, &value))
}

fn canonical_value(value: Raw<'_>) -> Value {
    let plain = Plain::of(value);
    if let Some(doc) = plain.as_object() {
        let fields = sorted(doc).into_iter().map(|(name, value)| (name.to_owned(), canonical_value(value)));
        return Value::Document(Doc(fields.collect()));
    }
    match plain {
        Plain::Bool(b) => Value::Bool(b),
        Plain::Number(raw) => number(raw).map_or(Value::Null, |n| match numeric_value(&n.trim_scale()) {
            Value::Int32(n) => Value::Int64(i64::from(n)),
            other => other,
        }),
        Plain::String(s) => Value::String(s.into_owned()),
        Plain::Array(array) => Value::Array(array.values().map(canonical_value).collect()),
        _ => Value::Null,
    }
}
