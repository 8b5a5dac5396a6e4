//! Documents as bytes, and the walker over them.
//!
//! `RawDoc` borrows validated bytes; iterating yields `(name, Raw)` pairs without copying. The
//! walker stays bounds-checked: a damaged length ends the iteration, it cannot read outside.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::value::{Binary, Doc, Regex, Value};

/// BSON element types, as on the wire.
pub mod kind {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOL: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0A;
    pub const REGEX: u8 = 0x0B;
    pub const DB_POINTER: u8 = 0x0C;
    pub const CODE: u8 = 0x0D;
    pub const SYMBOL: u8 = 0x0E;
    pub const CODE_WITH_SCOPE: u8 = 0x0F;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL128: u8 = 0x13;
    pub const MIN_KEY: u8 = 0xFF;
    pub const MAX_KEY: u8 = 0x7F;
}

/// An owned, validated document: a reference-counted slice of bytes. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DocBuf(Bytes);

impl Default for DocBuf {
    fn default() -> Self {
        DocBuf(Bytes::from_static(&[5, 0, 0, 0, 0]))
    }
}

impl std::fmt::Debug for DocBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_doc())
    }
}

impl DocBuf {
    /// Checks the whole structure. Errors with 22 InvalidBSON.
    pub fn validate(bytes: Bytes) -> Result<Self> {
        validate_document(&bytes, 0)?;
        Ok(DocBuf(bytes))
    }

    /// For bytes that this program wrote itself or has validated before.
    pub fn trusted(bytes: Bytes) -> Self {
        debug_assert!(validate_document(&bytes, 0).is_ok(), "trusted bytes are a valid document");
        DocBuf(bytes)
    }

    pub fn as_doc(&self) -> RawDoc<'_> {
        RawDoc(&self.0)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The value of a top-level field.
    pub fn get(&self, name: &str) -> Option<Raw<'_>> {
        self.as_doc().get(name)
    }

    pub fn iter(&self) -> RawIter<'_> {
        self.as_doc().iter()
    }

    /// An embedded document of this one as a slice that shares the same allocation.
    pub fn share(&self, embedded: RawDoc<'_>) -> DocBuf {
        DocBuf(self.0.slice_ref(embedded.0))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_doc().is_empty()
    }

    pub fn to_doc(&self) -> Doc {
        self.as_doc().to_doc()
    }
}

impl From<&Doc> for DocBuf {
    fn from(doc: &Doc) -> Self {
        doc.to_buf()
    }
}

impl From<Doc> for DocBuf {
    fn from(doc: Doc) -> Self {
        doc.to_buf()
    }
}

/// A borrowed document (or array: the same bytes with "0", "1", … for names).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawDoc<'a>(&'a [u8]);

impl std::fmt::Debug for RawDoc<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            map.entry(&name, &value);
        }
        map.finish()
    }
}

impl<'a> RawDoc<'a> {
    /// The document without fields.
    pub const EMPTY: RawDoc<'static> = RawDoc(&[5, 0, 0, 0, 0]);

    /// For bytes known to be a valid document.
    pub fn trusted(bytes: &'a [u8]) -> Self {
        RawDoc(bytes)
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub fn iter(self) -> RawIter<'a> {
        RawIter { rest: self.0.get(4..).unwrap_or(&[]) }
    }

    /// Values only; for arrays.
    pub fn values(self) -> impl Iterator<Item = Raw<'a>> {
        self.iter().map(|(_, value)| value)
    }

    /// The first field with this name.
    pub fn get(self, name: &str) -> Option<Raw<'a>> {
        self.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    pub fn contains(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn is_empty(self) -> bool {
        self.0.len() <= 5
    }

    pub fn to_buf(self) -> DocBuf {
        DocBuf(Bytes::copy_from_slice(self.0))
    }

    pub fn to_doc(self) -> Doc {
        Doc(self.iter().map(|(name, value)| (name.to_owned(), value.to_value())).collect())
    }
}

/// A borrowed value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Raw<'a> {
    Double(f64),
    String(&'a str),
    Document(RawDoc<'a>),
    Array(RawDoc<'a>),
    Binary {
        subtype: u8,
        bytes: &'a [u8],
    },
    Undefined,
    ObjectId([u8; 12]),
    Bool(bool),
    /// Milliseconds since the epoch.
    Date(i64),
    Null,
    Regex {
        pattern: &'a str,
        options: &'a str,
    },
    DbPointer {
        namespace: &'a str,
        id: [u8; 12],
    },
    Code(&'a str),
    Symbol(&'a str),
    CodeWithScope {
        code: &'a str,
        scope: RawDoc<'a>,
    },
    Int32(i32),
    /// `seconds << 32 | increment`.
    Timestamp(u64),
    Int64(i64),
    /// IEEE 754-2008 decimal128, binary integer encoding, little endian.
    Decimal128([u8; 16]),
    MinKey,
    MaxKey,
}

impl<'a> Raw<'a> {
    /// The element type byte.
    pub fn kind(self) -> u8 {
        match self {
            Raw::Double(_) => kind::DOUBLE,
            Raw::String(_) => kind::STRING,
            Raw::Document(_) => kind::DOCUMENT,
            Raw::Array(_) => kind::ARRAY,
            Raw::Binary { .. } => kind::BINARY,
            Raw::Undefined => kind::UNDEFINED,
            Raw::ObjectId(_) => kind::OBJECT_ID,
            Raw::Bool(_) => kind::BOOL,
            Raw::Date(_) => kind::DATE,
            Raw::Null => kind::NULL,
            Raw::Regex { .. } => kind::REGEX,
            Raw::DbPointer { .. } => kind::DB_POINTER,
            Raw::Code(_) => kind::CODE,
            Raw::Symbol(_) => kind::SYMBOL,
            Raw::CodeWithScope { .. } => kind::CODE_WITH_SCOPE,
            Raw::Int32(_) => kind::INT32,
            Raw::Timestamp(_) => kind::TIMESTAMP,
            Raw::Int64(_) => kind::INT64,
            Raw::Decimal128(_) => kind::DECIMAL128,
            Raw::MinKey => kind::MIN_KEY,
            Raw::MaxKey => kind::MAX_KEY,
        }
    }

    /// MongoDB's name of the type, as `$type` and error messages spell it.
    pub fn type_name(self) -> &'static str {
        kind_name(self.kind())
    }

    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Raw::String(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_document(self) -> Option<RawDoc<'a>> {
        match self {
            Raw::Document(doc) => Some(doc),
            _ => None,
        }
    }

    pub fn as_array(self) -> Option<RawDoc<'a>> {
        match self {
            Raw::Array(array) => Some(array),
            _ => None,
        }
    }

    pub fn as_bool(self) -> Option<bool> {
        match self {
            Raw::Bool(b) => Some(b),
            _ => None,
        }
    }

    pub fn is_number(self) -> bool {
        matches!(self, Raw::Int32(_) | Raw::Int64(_) | Raw::Double(_) | Raw::Decimal128(_))
    }

    /// The value as a whole number, if it is a number without a fraction that fits.
    pub fn as_whole(self) -> Option<i64> {
        match self {
            Raw::Int32(n) => Some(i64::from(n)),
            Raw::Int64(n) => Some(n),
            Raw::Double(n) if n.fract() == 0.0 && n >= -(2f64.powi(63)) && n < 2f64.powi(63) => Some(n as i64),
            _ => None,
        }
    }

    pub fn to_value(self) -> Value {
        match self {
            Raw::Double(n) => Value::Double(n),
            Raw::String(s) => Value::String(s.to_owned()),
            Raw::Document(doc) => Value::Document(doc.to_doc()),
            Raw::Array(array) => Value::Array(array.values().map(Raw::to_value).collect()),
            Raw::Binary { subtype, bytes } => Value::Binary(Binary { subtype, bytes: bytes.to_vec() }),
            Raw::Undefined => Value::Undefined,
            Raw::ObjectId(id) => Value::ObjectId(id),
            Raw::Bool(b) => Value::Bool(b),
            Raw::Date(ms) => Value::Date(ms),
            Raw::Null => Value::Null,
            Raw::Regex { pattern, options } => {
                Value::Regex(Regex { pattern: pattern.to_owned(), options: options.to_owned() })
            }
            Raw::DbPointer { namespace, id } => Value::DbPointer { namespace: namespace.to_owned(), id },
            Raw::Code(code) => Value::Code(code.to_owned()),
            Raw::Symbol(s) => Value::Symbol(s.to_owned()),
            Raw::CodeWithScope { code, scope } => Value::CodeWithScope { code: code.to_owned(), scope: scope.to_doc() },
            Raw::Int32(n) => Value::Int32(n),
            Raw::Timestamp(t) => Value::Timestamp(t),
            Raw::Int64(n) => Value::Int64(n),
            Raw::Decimal128(bytes) => Value::Decimal128(bytes),
            Raw::MinKey => Value::MinKey,
            Raw::MaxKey => Value::MaxKey,
        }
    }
}

/// MongoDB's name for an element type byte.
pub fn kind_name(kind: u8) -> &'static str {
    match kind {
        kind::DOUBLE => "double",
        kind::STRING => "string",
        kind::DOCUMENT => "object",
        kind::ARRAY => "array",
        kind::BINARY => "binData",
        kind::UNDEFINED => "undefined",
        kind::OBJECT_ID => "objectId",
        kind::BOOL => "bool",
        kind::DATE => "date",
        kind::NULL => "null",
        kind::REGEX => "regex",
        kind::DB_POINTER => "dbPointer",
        kind::CODE => "javascript",
        kind::SYMBOL => "symbol",
        kind::CODE_WITH_SCOPE => "javascriptWithScope",
        kind::INT32 => "int",
        kind::TIMESTAMP => "timestamp",
        kind::INT64 => "long",
        kind::DECIMAL128 => "decimal",
        kind::MIN_KEY => "minKey",
        kind::MAX_KEY => "maxKey",
        _ => "missing",
    }
}

/// Walks the elements of a document.
#[derive(Clone, Debug)]
pub struct RawIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RawIter<'a> {
    type Item = (&'a str, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        if kind == 0 {
            return None;
        }
        let (name, rest) = split_cstr(rest)?;
        let (value, rest) = split_value(kind, rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Decodes the value of an element whose type byte is `kind` from the start of `bytes`; returns it
/// and what follows. `None` if the bytes end early or the type is unknown.
pub fn split_value(kind: u8, bytes: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    Some(match kind {
        kind::DOUBLE => split_fixed(bytes, |b| Raw::Double(f64::from_le_bytes(b)))?,
        kind::STRING => split_str(bytes).map(|(s, rest)| (Raw::String(s), rest))?,
        kind::DOCUMENT => split_doc(bytes).map(|(doc, rest)| (Raw::Document(doc), rest))?,
        kind::ARRAY => split_doc(bytes).map(|(doc, rest)| (Raw::Array(doc), rest))?,
        kind::BINARY => {
            let (length, rest) = split_len(bytes)?;
            let (&subtype, rest) = rest.split_first()?;
            let (payload, rest) = rest.split_at_checked(length)?;
            (Raw::Binary { subtype, bytes: payload }, rest)
        }
        kind::UNDEFINED => (Raw::Undefined, bytes),
        kind::OBJECT_ID => split_fixed(bytes, Raw::ObjectId)?,
        kind::BOOL => split_fixed(bytes, |[b]: [u8; 1]| Raw::Bool(b != 0))?,
        kind::DATE => split_fixed(bytes, |b| Raw::Date(i64::from_le_bytes(b)))?,
        kind::NULL => (Raw::Null, bytes),
        kind::REGEX => {
            let (pattern, rest) = split_cstr(bytes)?;
            let (options, rest) = split_cstr(rest)?;
            (Raw::Regex { pattern, options }, rest)
        }
        kind::DB_POINTER => {
            let (namespace, rest) = split_str(bytes)?;
            split_fixed(rest, |id| Raw::DbPointer { namespace, id })?
        }
        kind::CODE => split_str(bytes).map(|(s, rest)| (Raw::Code(s), rest))?,
        kind::SYMBOL => split_str(bytes).map(|(s, rest)| (Raw::Symbol(s), rest))?,
        kind::CODE_WITH_SCOPE => {
            let (total, _) = split_len(bytes)?;
            let (whole, rest) = bytes.split_at_checked(total)?;
            let (code, scope) = split_str(whole.get(4..)?)?;
            let (scope, _) = split_doc(scope)?;
            (Raw::CodeWithScope { code, scope }, rest)
        }
        kind::INT32 => split_fixed(bytes, |b| Raw::Int32(i32::from_le_bytes(b)))?,
        kind::TIMESTAMP => split_fixed(bytes, |b| Raw::Timestamp(u64::from_le_bytes(b)))?,
        kind::INT64 => split_fixed(bytes, |b| Raw::Int64(i64::from_le_bytes(b)))?,
        kind::DECIMAL128 => split_fixed(bytes, Raw::Decimal128)?,
        kind::MIN_KEY => (Raw::MinKey, bytes),
        kind::MAX_KEY => (Raw::MaxKey, bytes),
        _ => return None,
    })
}

fn split_fixed<'a, const N: usize>(
    bytes: &'a [u8],
    make: impl FnOnce([u8; N]) -> Raw<'a>,
) -> Option<(Raw<'a>, &'a [u8])> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    Some((make(*head), rest))
}

fn split_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(i32::from_le_bytes(*head)).ok()?, rest))
}

fn split_cstr(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn split_str(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = split_len(bytes)?;
    let (text, rest) = rest.split_at_checked(length)?;
    let (&0, text) = text.split_last()? else { return None };
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn split_doc(bytes: &[u8]) -> Option<(RawDoc<'_>, &[u8])> {
    let (length, _) = split_len(bytes)?;
    if length < 5 {
        return None;
    }
    let (doc, rest) = bytes.split_at_checked(length)?;
    Some((RawDoc(doc), rest))
}

fn validate_document(bytes: &[u8], depth: usize) -> Result<()> {
    if depth > base::limits::MAX_NESTING_LEVELS {
        return Err(Error::new(15, format!("document nests deeper than {} levels", base::limits::MAX_NESTING_LEVELS)));
    }
    let length = bytes.first_chunk::<4>().map(|b| i32::from_le_bytes(*b));
    if length != i32::try_from(bytes.len()).ok() || bytes.len() < 5 || bytes.last() != Some(&0) {
        return Err(Error::invalid_bson("document length does not match its bytes"));
    }
    let mut rest = &bytes[4..bytes.len() - 1];
    while let Some((&kind, after_kind)) = rest.split_first() {
        let (name, after_name) =
            split_cstr(after_kind).ok_or_else(|| Error::invalid_bson("field name is not a terminated UTF-8 string"))?;
        let (value, after_value) = split_value(kind, after_name)
            .ok_or_else(|| Error::invalid_bson(format!("value of field '{name}' is not valid BSON")))?;
        match value {
            Raw::Document(doc) | Raw::Array(doc) => validate_document(doc.0, depth + 1)?,
            Raw::CodeWithScope { scope, .. } => validate_document(scope.0, depth + 1)?,
            Raw::Bool(_) if after_name[0] > 1 => {
                return Err(Error::invalid_bson(format!("boolean of field '{name}' is neither 0 nor 1")));
            }
            _ => {}
        }
        rest = after_value;
    }
    Ok(())
}
