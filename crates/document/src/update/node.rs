//! The document under change: borrowed bytes, opened only along the paths that an update touches.
//!
//! ```text
//!   Raw {a: {x: 1, y: …}, b: …}     $set a.x     Document ─ a: Document ─ x: Raw 2
//!                                  ─────────>             │             └ y: Raw …  (untouched bytes)
//!                                                         └ b: Raw …
//! ```
//!
//! # Invariants
//! - Positions are stable: a removed field leaves `Removed` behind, a new one is appended.

use std::fmt::Write;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::{Doc, Value};
use crate::write::DocWriter;

/// A value of the document being updated.
#[derive(Clone, Debug)]
pub(super) enum Node<'a> {
    Raw(Raw<'a>),
    Document(Vec<Field<'a>>),
    Array(Vec<Node<'a>>),
    /// A field that has been removed; not there for anyone who looks.
    Removed,
}

pub(super) type Field<'a> = (&'a str, Node<'a>);

/// What a path component can descend into.
pub(super) enum Container<'n, 'a> {
    Document(&'n mut Vec<Field<'a>>),
    Array(&'n mut Vec<Node<'a>>),
    Scalar,
}

impl<'a> Node<'a> {
    /// Opens one level, so that its fields or elements can be changed one by one.
    pub fn open(&mut self) -> Container<'_, 'a> {
        match *self {
            Node::Raw(Raw::Document(doc)) => {
                *self = Node::Document(doc.iter().map(|(name, value)| (name, Node::Raw(value))).collect());
            }
            Node::Raw(Raw::Array(array)) => *self = Node::Array(array.values().map(Node::Raw).collect()),
            _ => {}
        }
        match self {
            Node::Document(fields) => Container::Document(fields),
            Node::Array(items) => Container::Array(items),
            Node::Raw(_) | Node::Removed => Container::Scalar,
        }
    }

    /// The elements, if this is an array.
    pub fn elements(&self) -> Option<Vec<Node<'a>>> {
        match self {
            Node::Raw(Raw::Array(array)) => Some(array.values().map(Node::Raw).collect()),
            Node::Array(items) => Some(items.clone()),
            _ => None,
        }
    }

    /// Calls `read` with the value as bytes; an opened container is written out for it.
    pub fn with_raw<T>(&self, read: impl FnOnce(Raw<'_>) -> T) -> T {
        match self {
            Node::Raw(raw) => read(*raw),
            Node::Removed => read(Raw::Null),
            Node::Document(_) | Node::Array(_) => {
                let mut writer = DocWriter::new();
                write_node(&mut writer, "", self, &mut String::new());
                let wrapped = writer.finish();
                read(wrapped.get("").expect("the field just written"))
            }
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Node::Raw(raw) => raw.type_name(),
            Node::Document(_) => "object",
            Node::Array(_) => "array",
            Node::Removed => "missing",
        }
    }

    pub fn to_value(&self) -> Value {
        match self {
            Node::Raw(raw) => raw.to_value(),
            Node::Document(fields) => Value::Document(
                present(fields).map(|(name, node)| ((*name).to_owned(), node.to_value())).collect::<Doc>(),
            ),
            Node::Array(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Node::Removed => Value::Null,
        }
    }

    /// Bytes of the value alone, without type and name.
    fn size(&self) -> u64 {
        match self {
            Node::Raw(raw) => raw_size(*raw),
            Node::Document(fields) => {
                5 + present(fields).map(|(name, node)| 2 + name.len() as u64 + node.size()).sum::<u64>()
            }
            Node::Array(items) => {
                5 + items.iter().enumerate().map(|(i, node)| 2 + digits(i) + node.size()).sum::<u64>()
            }
            Node::Removed => 0,
        }
    }

    /// Writes the root out. Errors with 17419 if it is larger than a document may be; the size is
    /// known before a byte is written, so a small update cannot ask for a huge buffer.
    pub fn to_document(&self) -> Result<DocBuf> {
        let size = self.size();
        if size > base::limits::MAX_DOCUMENT as u64 {
            return Err(too_large());
        }
        let mut writer = DocWriter::with_capacity(size as usize + 1);
        match self {
            Node::Raw(Raw::Document(doc)) => return Ok(DocBuf::trusted(Bytes::copy_from_slice(doc.as_bytes()))),
            Node::Document(fields) => write_fields(&mut writer, fields, &mut String::new()),
            _ => unreachable!("the root of a document is a document"),
        }
        Ok(writer.finish())
    }
}

pub(super) fn too_large() -> Error {
    Error::new(17419, format!("Resulting document after update is larger than {}", base::limits::MAX_DOCUMENT))
}

pub(super) fn too_deep() -> Error {
    let limit = base::limits::MAX_NESTING_LEVELS;
    Error::new(15, format!("Document exceeds maximum nesting depth of {limit}"))
}

/// Finds a field that is there, by name.
pub(super) fn find_field(fields: &[Field<'_>], name: &str) -> Option<usize> {
    fields.iter().position(|(field, node)| *field == name && !matches!(node, Node::Removed))
}

fn present<'n, 'a>(fields: &'n [Field<'a>]) -> impl Iterator<Item = &'n Field<'a>> {
    fields.iter().filter(|(_, node)| !matches!(node, Node::Removed))
}

fn write_fields(writer: &mut DocWriter, fields: &[Field<'_>], scratch: &mut String) {
    for (name, node) in present(fields) {
        write_node(writer, name, node, scratch);
    }
}

fn write_node(writer: &mut DocWriter, name: &str, node: &Node<'_>, scratch: &mut String) {
    match node {
        Node::Raw(raw) => writer.raw(name, *raw),
        Node::Document(fields) => {
            writer.begin_document(name);
            write_fields(writer, fields, scratch);
            writer.end();
        }
        Node::Array(items) => {
            writer.begin_array(name);
            for (i, item) in items.iter().enumerate() {
                scratch.clear();
                write!(scratch, "{i}").expect("a string takes all text");
                let index = std::mem::take(scratch);
                write_node(writer, &index, item, scratch);
                *scratch = index;
            }
            writer.end();
        }
        Node::Removed => {}
    }
}

fn digits(n: usize) -> u64 {
    u64::from(n.checked_ilog10().unwrap_or(0)) + 1
}

/// Bytes that a value takes after its type and name.
pub(crate) fn raw_size(raw: Raw<'_>) -> u64 {
    let text = |s: &str| s.len() as u64 + 5;
    match raw {
        Raw::Double(_) | Raw::Date(_) | Raw::Timestamp(_) | Raw::Int64(_) => 8,
        Raw::String(s) | Raw::Code(s) | Raw::Symbol(s) => text(s),
        Raw::Document(doc) | Raw::Array(doc) => doc.as_bytes().len() as u64,
        Raw::Binary { bytes, .. } => bytes.len() as u64 + 5,
        Raw::Undefined | Raw::Null | Raw::MinKey | Raw::MaxKey => 0,
        Raw::ObjectId(_) => 12,
        Raw::Bool(_) => 1,
        Raw::Regex { pattern, options } => (pattern.len() + options.len()) as u64 + 2,
        Raw::DbPointer { namespace, .. } => text(namespace) + 12,
        Raw::CodeWithScope { code, scope } => 4 + text(code) + scope.as_bytes().len() as u64,
        Raw::Int32(_) => 4,
        Raw::Decimal128(_) => 16,
    }
}

/// Whether two values have the same type and bytes; unlike `==` this tells 0.0 from -0.0 and
/// takes a NaN for itself.
pub(crate) fn identical(a: Raw<'_>, b: Raw<'_>) -> bool {
    match (a, b) {
        (Raw::Double(x), Raw::Double(y)) => x.to_bits() == y.to_bits(),
        _ => a == b,
    }
}

/// Levels of containers in a value: 0 for a scalar, 1 for `{}`.
pub(super) fn depth(value: Raw<'_>) -> usize {
    let inner = |doc: RawDoc<'_>| 1 + doc.values().map(depth).max().unwrap_or(0);
    match value {
        Raw::Document(doc) | Raw::Array(doc) => inner(doc),
        Raw::CodeWithScope { scope, .. } => inner(scope),
        _ => 0,
    }
}

/// An array index as a path component spells it: digits only, leading zeros allowed.
pub(super) fn array_index(component: &str) -> Option<usize> {
    let numeric = !component.is_empty() && component.bytes().all(|b| b.is_ascii_digit());
    if numeric { component.parse().ok() } else { None }
}
