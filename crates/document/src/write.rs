//! Writes BSON bytes front to back, without an intermediate tree.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::raw::{DocBuf, Raw, RawDoc, kind};
use crate::value::{Doc, Value};

/// Largest document between two stages of a pipeline, in bytes. A later stage may make it small
/// again, so this is more than a stored document may have.
const MAX_COMPUTED_DOCUMENT: usize = 4 * base::limits::MAX_DOCUMENT;

/// Builds one document. Nested documents and arrays are opened with `begin_*` and closed with
/// `end`; `finish` closes the outermost.
///
/// ```
/// use document::DocWriter;
/// let mut w = DocWriter::new();
/// w.str("name", "Ada");
/// w.begin_array("tags");
/// w.str("0", "x");
/// w.end();
/// assert_eq!(w.finish().to_doc().len(), 2);
/// ```
#[derive(Debug)]
pub struct DocWriter {
    out: Vec<u8>,
    open: Vec<usize>,
}

impl Default for DocWriter {
    fn default() -> Self {
        DocWriter::new()
    }
}

impl DocWriter {
    pub fn new() -> Self {
        DocWriter::with_capacity(256)
    }

    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes.max(5));
        out.extend([0; 4]);
        DocWriter { out, open: vec![0] }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.len() <= 4
    }

    fn header(&mut self, kind: u8, name: &str) {
        debug_assert!(!name.as_bytes().contains(&0), "a field name has no NUL");
        self.out.push(kind);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
    }

    fn text(&mut self, s: &str) {
        self.out.extend_from_slice(&(s.len() as i32 + 1).to_le_bytes());
        self.out.extend_from_slice(s.as_bytes());
        self.out.push(0);
    }

    pub fn begin_document(&mut self, name: &str) {
        self.header(kind::DOCUMENT, name);
        self.begin();
    }

    pub fn begin_array(&mut self, name: &str) {
        self.header(kind::ARRAY, name);
        self.begin();
    }

    fn begin(&mut self) {
        self.open.push(self.out.len());
        self.out.extend([0; 4]);
    }

    /// Closes the innermost open document or array.
    pub fn end(&mut self) {
        let start = self.open.pop().expect("end() matches a begin");
        self.out.push(0);
        let length = (self.out.len() - start) as i32;
        self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub fn str(&mut self, name: &str, s: &str) {
        self.header(kind::STRING, name);
        self.text(s);
    }

    pub fn i32(&mut self, name: &str, n: i32) {
        self.header(kind::INT32, name);
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    pub fn i64(&mut self, name: &str, n: i64) {
        self.header(kind::INT64, name);
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    pub fn f64(&mut self, name: &str, n: f64) {
        self.header(kind::DOUBLE, name);
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    pub fn bool(&mut self, name: &str, b: bool) {
        self.header(kind::BOOL, name);
        self.out.push(u8::from(b));
    }

    pub fn null(&mut self, name: &str) {
        self.header(kind::NULL, name);
    }

    /// Milliseconds since the epoch.
    pub fn date(&mut self, name: &str, ms: i64) {
        self.header(kind::DATE, name);
        self.out.extend_from_slice(&ms.to_le_bytes());
    }

    pub fn timestamp(&mut self, name: &str, time: base::ClusterTime) {
        self.header(kind::TIMESTAMP, name);
        self.out.extend_from_slice(&time.0.to_le_bytes());
    }

    pub fn binary(&mut self, name: &str, subtype: u8, bytes: &[u8]) {
        self.header(kind::BINARY, name);
        self.out.extend_from_slice(&(bytes.len() as i32).to_le_bytes());
        self.out.push(subtype);
        self.out.extend_from_slice(bytes);
    }

    pub fn uuid(&mut self, name: &str, uuid: base::Uuid) {
        self.binary(name, 4, &uuid.0);
    }

    pub fn doc(&mut self, name: &str, doc: RawDoc<'_>) {
        self.header(kind::DOCUMENT, name);
        self.out.extend_from_slice(doc.as_bytes());
    }

    /// `array` holds the elements under any names; BSON readers count them.
    pub fn array(&mut self, name: &str, array: RawDoc<'_>) {
        self.header(kind::ARRAY, name);
        self.out.extend_from_slice(array.as_bytes());
    }

    /// Appends every field of `doc` at this level.
    pub fn fields(&mut self, doc: RawDoc<'_>) {
        let bytes = doc.as_bytes();
        self.out.extend_from_slice(&bytes[4..bytes.len() - 1]);
    }

    /// Any borrowed value.
    pub fn raw(&mut self, name: &str, value: Raw<'_>) {
        match value {
            Raw::Double(n) => self.f64(name, n),
            Raw::String(s) => self.str(name, s),
            Raw::Document(doc) => self.doc(name, doc),
            Raw::Array(array) => self.array(name, array),
            Raw::Binary { subtype, bytes } => self.binary(name, subtype, bytes),
            Raw::ObjectId(id) => self.fixed(kind::OBJECT_ID, name, &id),
            Raw::Bool(b) => self.bool(name, b),
            Raw::Date(ms) => self.date(name, ms),
            Raw::Regex { pattern, options } => {
                self.header(kind::REGEX, name);
                for part in [pattern, options] {
                    self.out.extend_from_slice(part.as_bytes());
                    self.out.push(0);
                }
            }
            Raw::DbPointer { namespace, id } => {
                self.header(kind::DB_POINTER, name);
                self.text(namespace);
                self.out.extend_from_slice(&id);
            }
            Raw::Code(code) => {
                self.header(kind::CODE, name);
                self.text(code);
            }
            Raw::Symbol(s) => {
                self.header(kind::SYMBOL, name);
                self.text(s);
            }
            Raw::CodeWithScope { code, scope } => {
                self.header(kind::CODE_WITH_SCOPE, name);
                let total = 4 + 4 + code.len() + 1 + scope.as_bytes().len();
                self.out.extend_from_slice(&(total as i32).to_le_bytes());
                self.text(code);
                self.out.extend_from_slice(scope.as_bytes());
            }
            Raw::Int32(n) => self.i32(name, n),
            Raw::Timestamp(t) => self.timestamp(name, base::ClusterTime(t)),
            Raw::Int64(n) => self.i64(name, n),
            Raw::Decimal128(bytes) => self.fixed(kind::DECIMAL128, name, &bytes),
            Raw::Undefined | Raw::Null | Raw::MinKey | Raw::MaxKey => self.header(value.kind(), name),
        }
    }

    fn fixed(&mut self, kind: u8, name: &str, bytes: &[u8]) {
        self.header(kind, name);
        self.out.extend_from_slice(bytes);
    }

    /// Any owned value.
    pub fn value(&mut self, name: &str, value: &Value) {
        match value {
            Value::Double(n) => self.f64(name, *n),
            Value::String(s) => self.str(name, s),
            Value::Document(doc) => {
                self.begin_document(name);
                self.owned_fields(doc);
                self.end();
            }
            Value::Array(items) => {
                self.begin_array(name);
                for (i, item) in items.iter().enumerate() {
                    self.value(&i.to_string(), item);
                }
                self.end();
            }
            Value::Binary(binary) => self.binary(name, binary.subtype, &binary.bytes),
            Value::Undefined => self.raw(name, Raw::Undefined),
            Value::ObjectId(id) => self.raw(name, Raw::ObjectId(*id)),
            Value::Bool(b) => self.bool(name, *b),
            Value::Date(ms) => self.date(name, *ms),
            Value::Null => self.null(name),
            Value::Regex(regex) => self.raw(name, Raw::Regex { pattern: &regex.pattern, options: &regex.options }),
            Value::DbPointer { namespace, id } => self.raw(name, Raw::DbPointer { namespace, id: *id }),
            Value::Code(code) => self.raw(name, Raw::Code(code)),
            Value::Symbol(s) => self.raw(name, Raw::Symbol(s)),
            Value::CodeWithScope { code, scope } => {
                self.raw(name, Raw::CodeWithScope { code, scope: scope.to_buf().as_doc() });
            }
            Value::Int32(n) => self.i32(name, *n),
            Value::Timestamp(t) => self.raw(name, Raw::Timestamp(*t)),
            Value::Int64(n) => self.i64(name, *n),
            Value::Decimal128(bytes) => self.raw(name, Raw::Decimal128(*bytes)),
            Value::MinKey => self.raw(name, Raw::MinKey),
            Value::MaxKey => self.raw(name, Raw::MaxKey),
        }
    }

    /// A computed value, which nothing bounds yet. Errors with 15 if it would nest deeper than a
    /// document may, and with 10334 if the document outgrows every document that may be stored.
    pub fn computed(&mut self, name: &str, value: &Value) -> Result<()> {
        let levels = self.open.len() - 1 + value.levels();
        if levels > base::limits::MAX_NESTING_LEVELS {
            let limit = base::limits::MAX_NESTING_LEVELS;
            return Err(Error::new(15, format!("Document exceeds maximum nesting depth of {limit}")));
        }
        self.value(name, value);
        if self.len() > MAX_COMPUTED_DOCUMENT {
            return Err(Error::new(
                10334,
                format!("BSONObj size: {} is invalid. Size must be between 0 and {MAX_COMPUTED_DOCUMENT}", self.len()),
            ));
        }
        Ok(())
    }

    fn owned_fields(&mut self, doc: &Doc) {
        for (name, value) in doc.iter() {
            self.value(name, value);
        }
    }

    /// Closes the outermost document and returns it.
    pub fn finish(mut self) -> DocBuf {
        assert_eq!(self.open.len(), 1, "every begin has its end");
        self.end();
        DocBuf::trusted(Bytes::from(self.out))
    }
}
