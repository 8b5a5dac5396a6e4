//! MongoDB's total order over BSON values.
//!
//! Types first (MinKey < null/missing < numbers < string/symbol < object < array < binary <
//! ObjectId < bool < date < timestamp < regex < dbPointer < code < code with scope < MaxKey), then
//! values. Numbers compare by mathematical value over all four number types; NaN is below every
//! other number. Source: MongoDB manual, "Comparison/Sort Order".

use std::cmp::Ordering;

use crate::raw::{Raw, RawDoc};
use crate::value::{Doc, Value};

/// Rank of a value's type in the order. Values of the same rank compare by value.
pub fn type_rank(value: Raw<'_>) -> u8 {
    match value {
        Raw::MinKey => 0,
        Raw::Undefined => 1,
        Raw::Null => 2,
        Raw::Double(_) | Raw::Int32(_) | Raw::Int64(_) | Raw::Decimal128(_) => 3,
        Raw::String(_) | Raw::Symbol(_) => 4,
        Raw::Document(_) => 5,
        Raw::Array(_) => 6,
        Raw::Binary { .. } => 7,
        Raw::ObjectId(_) => 8,
        Raw::Bool(_) => 9,
        Raw::Date(_) => 10,
        Raw::Timestamp(_) => 11,
        Raw::Regex { .. } => 12,
        Raw::DbPointer { .. } => 13,
        Raw::Code(_) => 14,
        Raw::CodeWithScope { .. } => 15,
        Raw::MaxKey => 16,
    }
}

/// Compares two borrowed values.
pub fn compare_raw(a: Raw<'_>, b: Raw<'_>) -> Ordering {
    use Raw::*;
    match (a, b) {
        (Int32(x), Int32(y)) => x.cmp(&y),
        (String(x) | Symbol(x), String(y) | Symbol(y)) => x.as_bytes().cmp(y.as_bytes()),
        (Document(x), Document(y)) => compare_docs(x, y),
        (Array(x), Array(y)) => compare_arrays(x, y),
        (Binary { subtype: s, bytes: x }, Binary { subtype: t, bytes: y }) => {
            x.len().cmp(&y.len()).then(s.cmp(&t)).then(x.cmp(y))
        }
        (ObjectId(x), ObjectId(y)) => x.cmp(&y),
        (Bool(x), Bool(y)) => x.cmp(&y),
        (Date(x), Date(y)) => x.cmp(&y),
        (Timestamp(x), Timestamp(y)) => x.cmp(&y),
        (Regex { pattern: p, options: o }, Regex { pattern: q, options: r }) => p.cmp(q).then(o.cmp(r)),
        (DbPointer { namespace: n, id: x }, DbPointer { namespace: m, id: y }) => {
            n.len().cmp(&m.len()).then(n.cmp(m)).then(x.cmp(&y))
        }
        (Code(x), Code(y)) => x.cmp(y),
        (CodeWithScope { code: c, scope: s }, CodeWithScope { code: d, scope: t }) => {
            c.cmp(d).then_with(|| compare_docs(s, t))
        }
        _ if a.is_number() && b.is_number() => crate::number::compare(a, b),
        _ => type_rank(a).cmp(&type_rank(b)),
    }
}

/// Field by field: type rank, then name, then value; the shorter is less.
fn compare_docs(a: RawDoc<'_>, b: RawDoc<'_>) -> Ordering {
    let (mut left, mut right) = (a.iter(), b.iter());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((m, x)), Some((n, y))) => {
                let order = type_rank(x).cmp(&type_rank(y)).then_with(|| m.cmp(n)).then_with(|| compare_raw(x, y));
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

fn compare_arrays(a: RawDoc<'_>, b: RawDoc<'_>) -> Ordering {
    a.values().map(Ordered).cmp(b.values().map(Ordered))
}

/// A borrowed value under MongoDB's order, for maps, sorts and iterator comparison.
#[derive(Clone, Copy, Debug)]
pub struct Ordered<'a>(pub Raw<'a>);

impl PartialEq for Ordered<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Ordered<'_> {}
impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ordered<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_raw(self.0, other.0)
    }
}

/// Compares two owned values.
pub fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Document(x), Value::Document(y)) => compare_owned_docs(x, y),
        (Value::Array(x), Value::Array(y)) => {
            for (x, y) in x.iter().zip(y) {
                let order = compare_values(x, y);
                if order.is_ne() {
                    return order;
                }
            }
            x.len().cmp(&y.len())
        }
        (Value::CodeWithScope { code: c, scope: s }, Value::CodeWithScope { code: d, scope: t }) => {
            c.cmp(d).then_with(|| compare_owned_docs(s, t))
        }
        _ => compare_raw(a.as_scalar(), b.as_scalar()),
    }
}

fn compare_owned_docs(a: &Doc, b: &Doc) -> Ordering {
    for ((m, x), (n, y)) in a.iter().zip(b.iter()) {
        let order = type_rank(x.as_scalar())
            .cmp(&type_rank(y.as_scalar()))
            .then_with(|| m.cmp(n))
            .then_with(|| compare_values(x, y));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

impl Value {
    /// Borrows a scalar; containers become empty ones of their type (enough for type questions).
    pub fn as_scalar(&self) -> Raw<'_> {
        const EMPTY: RawDoc<'static> = RawDoc::EMPTY;
        match self {
            Value::Double(n) => Raw::Double(*n),
            Value::String(s) => Raw::String(s),
            Value::Document(_) => Raw::Document(EMPTY),
            Value::Array(_) => Raw::Array(EMPTY),
            Value::Binary(b) => Raw::Binary { subtype: b.subtype, bytes: &b.bytes },
            Value::Undefined => Raw::Undefined,
            Value::ObjectId(id) => Raw::ObjectId(*id),
            Value::Bool(b) => Raw::Bool(*b),
            Value::Date(ms) => Raw::Date(*ms),
            Value::Null => Raw::Null,
            Value::Regex(r) => Raw::Regex { pattern: &r.pattern, options: &r.options },
            Value::DbPointer { namespace, id } => Raw::DbPointer { namespace, id: *id },
            Value::Code(code) => Raw::Code(code),
            Value::Symbol(s) => Raw::Symbol(s),
            Value::CodeWithScope { code, .. } => Raw::CodeWithScope { code, scope: EMPTY },
            Value::Int32(n) => Raw::Int32(*n),
            Value::Timestamp(t) => Raw::Timestamp(*t),
            Value::Int64(n) => Raw::Int64(*n),
            Value::Decimal128(bytes) => Raw::Decimal128(*bytes),
            Value::MinKey => Raw::MinKey,
            Value::MaxKey => Raw::MaxKey,
        }
    }
}
