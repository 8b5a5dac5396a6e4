//! Conditions on one value: what a query asks of each thing its path reaches.
//!
//! # Invariants
//! - Comparisons are type-bracketed: `{$lt: 5}` never matches a string. The exceptions are the
//!   server's: `null` meets missing and undefined, and MinKey/MaxKey compare with everything.
//! - NaN equals NaN and is neither above nor below anything.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Predicate;
use super::pattern::Pattern;
use crate::collation::{Collation, compare_with};
use crate::compare::type_rank;
use crate::error::Result;
use crate::number::Decimal;
use crate::path::LeafArrays;
use crate::raw::{DocBuf, Raw, kind};
use crate::value::{Doc, Value};

/// A constant of the query, ready to be compared.
#[derive(Clone, Debug)]
pub struct Literal(Held);

#[derive(Clone, Debug)]
enum Held {
    Scalar(Value),
    /// The first element of a document; for values with structure.
    Element(DocBuf),
}

impl Literal {
    pub fn new(value: Raw<'_>) -> Self {
        Literal(match value {
            Raw::Document(_) | Raw::Array(_) | Raw::CodeWithScope { .. } => {
                let mut writer = crate::DocWriter::new();
                writer.raw("", value);
                Held::Element(writer.finish())
            }
            _ => Held::Scalar(value.to_value()),
        })
    }

    pub fn raw(&self) -> Raw<'_> {
        match &self.0 {
            Held::Scalar(value) => value.as_scalar(),
            Held::Element(doc) => doc.iter().next().map_or(Raw::Null, |(_, value)| value),
        }
    }
}

impl From<&Value> for Literal {
    fn from(value: &Value) -> Self {
        let doc = Doc::new().with("", value.clone()).to_buf();
        Literal::new(doc.iter().next().map_or(Raw::Null, |(_, value)| value))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Comparison {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Comparison::Eq => order.is_eq(),
            Comparison::Gt => order.is_gt(),
            Comparison::Gte => order.is_ge(),
            Comparison::Lt => order.is_lt(),
            Comparison::Lte => order.is_le(),
        }
    }
}

/// The members of `$in`: constants in order, and patterns.
#[derive(Clone, Debug)]
pub struct Members {
    values: Vec<Literal>,
    patterns: Vec<Pattern>,
    has_null: bool,
    collation: Option<Arc<Collation>>,
}

impl Members {
    pub fn new(mut values: Vec<Literal>, patterns: Vec<Pattern>, collation: Option<Arc<Collation>>) -> Self {
        let order = |a: &Literal, b: &Literal| compare_with(a.raw(), b.raw(), collation.as_deref());
        values.sort_by(order);
        values.dedup_by(|a, b| order(a, b).is_eq());
        let has_null = values.iter().any(|v| v.raw() == Raw::Null);
        Members { values, patterns, has_null, collation }
    }

    /// Constants, ascending and distinct.
    pub fn values(&self) -> &[Literal] {
        &self.values
    }

    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    fn contains(&self, value: Option<Raw<'_>>) -> Result<bool> {
        let Some(value) = value else { return Ok(self.has_null) };
        if value == Raw::Undefined && self.has_null {
            return Ok(true);
        }
        let found = self.values.binary_search_by(|v| compare_with(v.raw(), value, self.collation.as_deref()));
        if found.is_ok() {
            return Ok(true);
        }
        for pattern in &self.patterns {
            if pattern.matches(value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A set of BSON types, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeSet(u32);

impl TypeSet {
    pub const NUMBER: TypeSet =
        TypeSet(1 << kind::DOUBLE | 1 << kind::INT32 | 1 << kind::INT64 | 1 << kind::DECIMAL128);

    pub fn of(kind: u8) -> Self {
        TypeSet(match kind {
            kind::MIN_KEY => 1 << 30,
            kind::MAX_KEY => 1 << 31,
            _ => 1 << kind,
        })
    }

    pub fn union(self, other: TypeSet) -> Self {
        TypeSet(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, value: Raw<'_>) -> bool {
        self.0 & TypeSet::of(value.kind()).0 != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitTest {
    AllSet,
    AnySet,
    AllClear,
    AnyClear,
}

/// Which bits a `$bits…` operator looks at; bit 0 is the least significant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BitMask {
    /// Little endian.
    Bytes(Vec<u8>),
    Positions(Vec<u32>),
}

/// A condition on one value.
#[derive(Clone, Debug)]
pub enum Condition {
    Compare {
        op: Comparison,
        operand: Literal,
        collation: Option<Arc<Collation>>,
    },
    In(Members),
    Regex(Pattern),
    Exists,
    Type(TypeSet),
    Mod {
        divisor: i64,
        remainder: i64,
    },
    Size(i64),
    Bits {
        test: BitTest,
        mask: BitMask,
    },
    /// Some element is a document (or array) that the predicate matches.
    ElemMatchObject(Box<Predicate>),
    /// Some element meets conditions that have no path of their own.
    ElemMatchValue(Box<Predicate>),
}

/// Whether a condition holds, and which array element made it hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub holds: bool,
    pub element: Option<usize>,
}

impl Condition {
    pub(super) fn leaf_arrays(&self) -> LeafArrays {
        match self {
            Condition::Size(_) | Condition::ElemMatchObject(_) | Condition::ElemMatchValue(_) => LeafArrays::Keep,
            _ => LeafArrays::Traverse,
        }
    }

    /// Tests one value (`None`: missing), without looking into arrays for it.
    pub(super) fn test(&self, value: Option<Raw<'_>>) -> Result<Outcome> {
        let holds = match (self, value) {
            (Condition::Compare { op, operand, collation }, _) => {
                compares(*op, value, operand.raw(), collation.as_deref())
            }
            (Condition::In(members), _) => members.contains(value)?,
            (Condition::Exists, _) => value.is_some(),
            (_, None) => false,
            (Condition::Regex(pattern), Some(v)) => pattern.matches(v)?,
            (Condition::Type(types), Some(v)) => types.contains(v),
            (Condition::Mod { divisor, remainder }, Some(v)) => {
                truncated(v).is_some_and(|n| n.wrapping_rem(*divisor) == *remainder)
            }
            (Condition::Size(size), Some(Raw::Array(array))) => array.iter().count() as i64 == *size,
            (Condition::Bits { test, mask }, Some(v)) => bits_hold(*test, mask, v),
            (Condition::ElemMatchObject(predicate), Some(Raw::Array(array))) => {
                return first_element(array.values(), |element| match element {
                    Raw::Document(doc) | Raw::Array(doc) => predicate.matches(doc, None),
                    _ => Ok(false),
                });
            }
            (Condition::ElemMatchValue(predicate), Some(Raw::Array(array))) => {
                return first_element(array.values(), |element| predicate.matches_value(element));
            }
            _ => false,
        };
        Ok(Outcome { holds, element: None })
    }
}

fn first_element<'a>(
    elements: impl Iterator<Item = Raw<'a>>,
    mut test: impl FnMut(Raw<'a>) -> Result<bool>,
) -> Result<Outcome> {
    for (i, element) in elements.enumerate() {
        if test(element)? {
            return Ok(Outcome { holds: true, element: Some(i) });
        }
    }
    Ok(Outcome { holds: false, element: None })
}

fn compares(op: Comparison, value: Option<Raw<'_>>, operand: Raw<'_>, collation: Option<&Collation>) -> bool {
    // Missing ranks as undefined.
    let value = value.unwrap_or(Raw::Undefined);
    let (left, right) = (type_rank(value), type_rank(operand));
    if left != right {
        return match (value, operand) {
            (Raw::Undefined, Raw::Null) | (Raw::Null, Raw::Undefined) => op.accepts(Ordering::Equal),
            (_, Raw::MinKey | Raw::MaxKey) => op != Comparison::Eq && op.accepts(left.cmp(&right)),
            _ => false,
        };
    }
    match (is_nan(value), is_nan(operand)) {
        (false, false) => op.accepts(compare_with(value, operand, collation)),
        (true, true) => op.accepts(Ordering::Equal),
        _ => false,
    }
}

fn is_nan(value: Raw<'_>) -> bool {
    match value {
        Raw::Double(n) => n.is_nan(),
        Raw::Decimal128(bytes) => Decimal::from_bytes(bytes) == Decimal::NaN,
        _ => false,
    }
}

/// The whole part of a number that fits 64 bits.
pub(super) fn truncated(value: Raw<'_>) -> Option<i64> {
    match value {
        Raw::Int32(n) => Some(i64::from(n)),
        Raw::Int64(n) => Some(n),
        Raw::Double(n) => Raw::Double(n.trunc()).as_whole(),
        Raw::Decimal128(bytes) => match Decimal::from_bytes(bytes) {
            Decimal::Finite { negative, coefficient, exponent } => {
                let magnitude = if exponent >= 0 {
                    10i128.checked_pow(exponent as u32).and_then(|p| p.checked_mul(coefficient as i128))
                } else {
                    Some(10i128.checked_pow(exponent.unsigned_abs()).map_or(0, |p| coefficient as i128 / p))
                };
                // Zero times any power is zero, also where the power does not fit.
                let magnitude = if coefficient == 0 { 0 } else { magnitude? };
                i64::try_from(if negative { -magnitude } else { magnitude }).ok()
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether a number has no fraction (and fits 64 bits).
pub(super) fn whole(value: Raw<'_>) -> Option<i64> {
    let n = truncated(value)?;
    crate::number::compare(value, Raw::Int64(n)).is_eq().then_some(n)
}

fn bits_hold(test: BitTest, mask: &BitMask, value: Raw<'_>) -> bool {
    let number;
    // A negative number has all higher bits set, in two's complement.
    let (bytes, beyond): (&[u8], bool) = match value {
        Raw::Binary { bytes, .. } => (bytes, false),
        _ => {
            let Some(n) = whole_if_number(value) else { return false };
            number = n.to_le_bytes();
            (&number, n < 0)
        }
    };
    let bit = |at: usize| bytes.get(at / 8).map_or(beyond, |byte| byte >> (at % 8) & 1 == 1);
    let mut asked = mask.positions().map(bit);
    match test {
        BitTest::AllSet => asked.all(|set| set),
        BitTest::AnySet => asked.any(|set| set),
        BitTest::AllClear => asked.all(|set| !set),
        BitTest::AnyClear => asked.any(|set| !set),
    }
}

fn whole_if_number(value: Raw<'_>) -> Option<i64> {
    if value.is_number() { whole(value) } else { None }
}

impl BitMask {
    fn positions(&self) -> impl Iterator<Item = usize> {
        let (bytes, listed): (&[u8], &[u32]) = match self {
            BitMask::Bytes(bytes) => (bytes, &[]),
            BitMask::Positions(listed) => (&[], listed),
        };
        let in_bytes = bytes
            .iter()
            .enumerate()
            .flat_map(|(i, byte)| (0..8).filter(move |b| byte >> b & 1 == 1).map(move |b| i * 8 + b));
        in_bytes.chain(listed.iter().map(|at| *at as usize))
    }
}
