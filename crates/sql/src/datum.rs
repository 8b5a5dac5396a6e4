//! Values of rows.
//!
//! `Eq`, `Ord` and `Hash` here mean *the same value in the same representation*: `1.0` and `1.00`
//! differ, so that a retraction cancels exactly the row it retracts. SQL's own equality (grouping,
//! joins, DISTINCT) is equality of `Datum::sql_key()`; SQL's order is `compare.rs`.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use document::{Raw, RawDoc};

pub use crate::numeric::Numeric;

use crate::error::{Result, SqlError};

/// One row. Cloning is cheap.
pub type Row = Arc<[Datum]>;

/// A value. Which of PostgreSQL's types it has is known from the plan: all integer types are
/// `Int`, all text types `Text`, both timestamp types `Timestamp`.
#[derive(Clone, Debug)]
pub enum Datum {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Numeric(Numeric),
    Text(Arc<str>),
    Bytea(Bytes),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00 (UTC for timestamptz). `i64::MAX` is infinity,
    /// `i64::MIN` is -infinity.
    Timestamp(i64),
    Interval(Box<Interval>),
    Uuid(Box<[u8; 16]>),
    Json(Json),
    Array(Arc<[Datum]>),
    Record(Arc<[Datum]>),
}

/// PostgreSQL's three-part interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub microseconds: i64,
}

/// A BSON value as bytes: the element type byte and the value's encoding, usually a slice of the
/// log entry or stored document it was read from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json {
    kind: u8,
    bytes: Bytes,
}

impl Json {
    /// `bytes` is the encoding of one value of type `kind`, without trailing bytes.
    pub fn new(kind: u8, bytes: Bytes) -> Self {
        debug_assert!(document::raw::split_value(kind, &bytes).is_some_and(|(_, rest)| rest.is_empty()));
        Json { kind, bytes }
    }

    pub fn kind(&self) -> u8 {
        self.kind
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn document(doc: &document::DocBuf) -> Self {
        Json { kind: document::raw::kind::DOCUMENT, bytes: doc.bytes().clone() }
    }

    pub fn raw(&self) -> Raw<'_> {
        document::raw::split_value(self.kind, &self.bytes).map_or(Raw::Null, |(value, _)| value)
    }

    /// The fields or elements, if this is an object or an array.
    pub fn container(&self) -> Option<RawDoc<'_>> {
        match self.raw() {
            Raw::Document(doc) | Raw::Array(doc) => Some(doc),
            _ => None,
        }
    }

    /// Any borrowed value, copied.
    pub fn copy(value: Raw<'_>) -> Self {
        let mut writer = document::DocWriter::with_capacity(64);
        writer.raw("", value);
        let whole = writer.finish();
        // One element with an empty name: length (4), type, name's NUL, value, terminator.
        let bytes = whole.bytes().slice(6..whole.len() - 1);
        Json { kind: value.kind(), bytes }
    }

    /// A value found inside this one, sharing its bytes where it is a container or text.
    pub fn share(&self, inner: Raw<'_>) -> Self {
        match inner {
            Raw::Document(doc) | Raw::Array(doc) => {
                Json { kind: inner.kind(), bytes: self.bytes.slice_ref(doc.as_bytes()) }
            }
            other => Json::copy(other),
        }
    }
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.raw())
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Datum {}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Datum {
    /// A total order by representation, for maps and consolidation; not SQL's order.
    fn cmp(&self, other: &Self) -> Ordering {
        use Datum::*;
        match (self, other) {
            (Null, Null) => Ordering::Equal,
            (Bool(a), Bool(b)) => a.cmp(b),
            (Int(a), Int(b)) | (Time(a), Time(b)) | (Timestamp(a), Timestamp(b)) => a.cmp(b),
            (Float(a), Float(b)) => a.total_cmp(b),
            (Numeric(a), Numeric(b)) => a.cmp(b),
            (Text(a), Text(b)) => a.cmp(b),
            (Bytea(a), Bytea(b)) => a.cmp(b),
            (Date(a), Date(b)) => a.cmp(b),
            (Interval(a), Interval(b)) => a.cmp(b),
            (Uuid(a), Uuid(b)) => a.cmp(b),
            (Json(a), Json(b)) => a.cmp(b),
            (Array(a), Array(b)) | (Record(a), Record(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl std::hash::Hash for Datum {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        use Datum::*;
        self.rank().hash(state);
        match self {
            Null => {}
            Bool(b) => b.hash(state),
            Int(n) | Time(n) | Timestamp(n) => n.hash(state),
            Float(x) => x.to_bits().hash(state),
            Numeric(n) => n.hash(state),
            Text(s) => s.hash(state),
            Bytea(b) => b.hash(state),
            Date(d) => d.hash(state),
            Interval(i) => i.hash(state),
            Uuid(u) => u.hash(state),
            Json(j) => j.hash(state),
            Array(items) | Record(items) => items.hash(state),
        }
    }
}

impl Datum {
    fn rank(&self) -> u8 {
        use Datum::*;
        match self {
            Null => 0,
            Bool(_) => 1,
            Int(_) => 2,
            Float(_) => 3,
            Numeric(_) => 4,
            Text(_) => 5,
            Bytea(_) => 6,
            Date(_) => 7,
            Time(_) => 8,
            Timestamp(_) => 9,
            Interval(_) => 10,
            Uuid(_) => 11,
            Json(_) => 12,
            Array(_) => 13,
            Record(_) => 14,
        }
    }

    pub fn text(s: impl Into<Arc<str>>) -> Self {
        Datum::Text(s.into())
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }
}

/// Typed access for functions, which receive what their signature promises. A mismatch is a bug of
/// the binder and ends the statement as XX000.
impl Datum {
    fn mismatch<T>(&self, wanted: &str) -> Result<T> {
        Err(SqlError::internal(format!("expected {wanted}, found {self:?}")))
    }

    pub fn as_bool(&self) -> Result<bool> {
        match self {
            Datum::Bool(b) => Ok(*b),
            _ => self.mismatch("a boolean"),
        }
    }

    pub fn as_int(&self) -> Result<i64> {
        match self {
            Datum::Int(n) => Ok(*n),
            _ => self.mismatch("an integer"),
        }
    }

    pub fn as_float(&self) -> Result<f64> {
        match self {
            Datum::Float(x) => Ok(*x),
            _ => self.mismatch("a float"),
        }
    }

    pub fn as_numeric(&self) -> Result<&Numeric> {
        match self {
            Datum::Numeric(n) => Ok(n),
            _ => self.mismatch("a numeric"),
        }
    }

    pub fn as_text(&self) -> Result<&str> {
        match self {
            Datum::Text(s) => Ok(s),
            _ => self.mismatch("a text"),
        }
    }

    pub fn as_bytes(&self) -> Result<&Bytes> {
        match self {
            Datum::Bytea(bytes) => Ok(bytes),
            _ => self.mismatch("a bytea"),
        }
    }

    pub fn as_date(&self) -> Result<i32> {
        match self {
            Datum::Date(days) => Ok(*days),
            _ => self.mismatch("a date"),
        }
    }

    pub fn as_time(&self) -> Result<i64> {
        match self {
            Datum::Time(us) => Ok(*us),
            _ => self.mismatch("a time"),
        }
    }

    pub fn as_timestamp(&self) -> Result<i64> {
        match self {
            Datum::Timestamp(us) => Ok(*us),
            _ => self.mismatch("a timestamp"),
        }
    }

    pub fn as_interval(&self) -> Result<&Interval> {
        match self {
            Datum::Interval(value) => Ok(value),
            _ => self.mismatch("an interval"),
        }
    }

    pub fn as_json(&self) -> Result<&Json> {
        match self {
            Datum::Json(value) => Ok(value),
            _ => self.mismatch("a JSON value"),
        }
    }

    pub fn as_array(&self) -> Result<&Arc<[Datum]>> {
        match self {
            Datum::Array(items) => Ok(items),
            _ => self.mismatch("an array"),
        }
    }
}
