//! Owned BSON values, for what is computed rather than carried.

use crate::raw::{DocBuf, Raw, kind, kind_name};
use crate::write::DocWriter;

/// A binary value with its subtype byte (4 is a UUID).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    pub subtype: u8,
    pub bytes: Vec<u8>,
}

/// A regular expression value: pattern and option letters, both without NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regex {
    pub pattern: String,
    pub options: String,
}

/// An owned BSON value. `PartialEq` is structural (types and bits matter for floats as `f64`
/// equality); MongoDB's comparison order is `compare::compare_values`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Double(f64),
    String(String),
    Document(Doc),
    Array(Vec<Value>),
    Binary(Binary),
    Undefined,
    ObjectId([u8; 12]),
    Bool(bool),
    /// Milliseconds since the epoch.
    Date(i64),
    Null,
    Regex(Regex),
    DbPointer {
        namespace: String,
        id: [u8; 12],
    },
    Code(String),
    Symbol(String),
    CodeWithScope {
        code: String,
        scope: Doc,
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

/// An owned document: fields in order, duplicates allowed as BSON allows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doc(pub Vec<(String, Value)>);

impl Doc {
    pub fn new() -> Self {
        Doc::default()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Replaces the first field of that name in place, or appends.
    pub fn set(&mut self, name: impl Into<String> + AsRef<str>, value: impl Into<Value>) {
        match self.get_mut(name.as_ref()) {
            Some(slot) => *slot = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// Appends without looking for the name; for building.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Builder form of `push`.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.push(name, value);
        self
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.remove(at).1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn to_buf(&self) -> DocBuf {
        let mut writer = DocWriter::new();
        for (name, value) in self.iter() {
            writer.value(name, value);
        }
        writer.finish()
    }
}

impl FromIterator<(String, Value)> for Doc {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        Doc(fields.into_iter().collect())
    }
}

impl Value {
    /// The element type byte.
    pub fn kind(&self) -> u8 {
        match self {
            Value::Double(_) => kind::DOUBLE,
            Value::String(_) => kind::STRING,
            Value::Document(_) => kind::DOCUMENT,
            Value::Array(_) => kind::ARRAY,
            Value::Binary(_) => kind::BINARY,
            Value::Undefined => kind::UNDEFINED,
            Value::ObjectId(_) => kind::OBJECT_ID,
            Value::Bool(_) => kind::BOOL,
            Value::Date(_) => kind::DATE,
            Value::Null => kind::NULL,
            Value::Regex(_) => kind::REGEX,
            Value::DbPointer { .. } => kind::DB_POINTER,
            Value::Code(_) => kind::CODE,
            Value::Symbol(_) => kind::SYMBOL,
            Value::CodeWithScope { .. } => kind::CODE_WITH_SCOPE,
            Value::Int32(_) => kind::INT32,
            Value::Timestamp(_) => kind::TIMESTAMP,
            Value::Int64(_) => kind::INT64,
            Value::Decimal128(_) => kind::DECIMAL128,
            Value::MinKey => kind::MIN_KEY,
            Value::MaxKey => kind::MAX_KEY,
        }
    }

    /// MongoDB's name of the type.
    pub fn type_name(&self) -> &'static str {
        kind_name(self.kind())
    }

    /// Levels of containers: 0 for a scalar, 1 for `{}`.
    pub fn levels(&self) -> usize {
        match self {
            Value::Document(doc) | Value::CodeWithScope { scope: doc, .. } => {
                1 + doc.iter().map(|(_, value)| value.levels()).max().unwrap_or(0)
            }
            Value::Array(items) => 1 + items.iter().map(Value::levels).max().unwrap_or(0),
            _ => 0,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_document(&self) -> Option<&Doc> {
        match self {
            Value::Document(doc) => Some(doc),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_))
    }

    /// The value as a whole number, if it is a number without a fraction that fits.
    pub fn as_whole(&self) -> Option<i64> {
        match self {
            Value::Int32(n) => Raw::Int32(*n).as_whole(),
            Value::Int64(n) => Some(*n),
            Value::Double(n) => Raw::Double(*n).as_whole(),
            _ => None,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $make:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($x: $from) -> Self {
                $make
            }
        })*
    };
}

value_from! {
    f64 => |x| Value::Double(x);
    i32 => |x| Value::Int32(x);
    i64 => |x| Value::Int64(x);
    bool => |x| Value::Bool(x);
    &str => |x| Value::String(x.to_owned());
    String => |x| Value::String(x);
    Doc => |x| Value::Document(x);
    Vec<Value> => |x| Value::Array(x);
    Raw<'_> => |x| x.to_value();
    base::ClusterTime => |x| Value::Timestamp(x.0);
    base::Uuid => |x| Value::Binary(Binary { subtype: 4, bytes: x.0.to_vec() });
    DocBuf => |x| Value::Document(x.to_doc());
}
