//! Reading a command's arguments as strictly as the server does.
//!
//! Every field is declared; an undeclared one is 40415, a wrong type 14, a missing one 40414, a
//! repeated one 40413. A null counts as absent, as in the server's own argument parser.

#[cfg(test)]
mod tests;

use document::{DocBuf, Raw, RawDoc};
use engine::{Error, Result};

/// Arguments that every command accepts.
const GENERIC: &[&str] = &[
    "$db",
    "lsid",
    "txnNumber",
    "autocommit",
    "startTransaction",
    "$clusterTime",
    "$readPreference",
    "readConcern",
    "writeConcern",
    "comment",
    "maxTimeMS",
    "apiVersion",
    "apiStrict",
    "apiDeprecationErrors",
    "$configTime",
    "$topologyTime",
    "$audit",
    "$client",
    "$configServerState",
    "$oplogQueryData",
    "$queryOptions",
    "$replData",
    "help",
    "shardVersion",
    "databaseVersion",
    "maxTimeMSOpOnly",
    "rawData",
    "mayBypassWriteBlocking",
    "versionContext",
    "clientOperationKey",
    "$maxTimeMS",
];

/// Whether every command accepts an argument of that name.
pub fn is_generic(name: &str) -> bool {
    GENERIC.contains(&name)
}

/// The named fields of one (sub-)document of a command.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    /// What error messages call it: "insert", "update.updates".
    path: String,
    doc: RawDoc<'a>,
}

impl<'a> Args<'a> {
    /// A whole command: its first field, the declared ones, and the generic ones.
    pub fn command(name: &str, doc: RawDoc<'a>, declared: &[&str]) -> Result<Self> {
        let args = Args { path: name.to_owned(), doc };
        args.check_names(|field, position| position == 0 || declared.contains(&field) || GENERIC.contains(&field))?;
        Ok(args)
    }

    /// A sub-document: only the declared fields.
    pub fn nested(path: impl Into<String>, doc: RawDoc<'a>, declared: &[&str]) -> Result<Self> {
        let args = Args { path: path.into(), doc };
        args.check_names(|field, _| declared.contains(&field))?;
        Ok(args)
    }

    /// For fields that have been checked elsewhere.
    pub fn unchecked(path: &str, doc: RawDoc<'a>) -> Self {
        Args { path: path.to_owned(), doc }
    }

    fn check_names(&self, known: impl Fn(&str, usize) -> bool) -> Result<()> {
        let mut seen: smallset::SmallSet<'a> = smallset::SmallSet::default();
        for (position, (field, _)) in self.doc.iter().enumerate() {
            if !known(field, position) {
                return Err(Error::new(40415, format!("BSON field '{}.{field}' is an unknown field.", self.path)));
            }
            if !seen.insert(field) {
                return Err(Error::new(40413, format!("BSON field '{}.{field}' is a duplicate field", self.path)));
            }
        }
        Ok(())
    }

    /// The field as it was sent; null and undefined count as absent.
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.doc.get(name).filter(|value| !matches!(value, Raw::Null | Raw::Undefined))
    }

    pub fn missing(&self, name: &str) -> Error {
        Error::new(40414, format!("BSON field '{}.{name}' is missing but a required field", self.path))
    }

    fn wrong(&self, name: &str, value: Raw<'_>, expected: &str) -> Error {
        wrong_type(&format!("{}.{name}", self.path), value, expected)
    }

    pub fn document(&self, name: &str) -> Result<Option<RawDoc<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Raw::Document(doc)) => Ok(Some(doc)),
            Some(other) => Err(self.wrong(name, other, "type 'object'")),
        }
    }

    /// The document, or an empty one.
    pub fn document_or_empty(&self, name: &str) -> Result<DocBuf> {
        Ok(self.document(name)?.map(RawDoc::to_buf).unwrap_or_default())
    }

    pub fn document_buf(&self, name: &str) -> Result<Option<DocBuf>> {
        Ok(self.document(name)?.map(RawDoc::to_buf))
    }

    pub fn require_document(&self, name: &str) -> Result<RawDoc<'a>> {
        self.document(name)?.ok_or_else(|| self.missing(name))
    }

    pub fn array(&self, name: &str) -> Result<Option<RawDoc<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Raw::Array(array)) => Ok(Some(array)),
            Some(other) => Err(self.wrong(name, other, "type 'array'")),
        }
    }

    /// An array whose elements must be documents.
    pub fn documents(&self, name: &str) -> Result<Option<Vec<RawDoc<'a>>>> {
        let Some(array) = self.array(name)? else { return Ok(None) };
        let mut out = Vec::new();
        for (i, value) in array.values().enumerate() {
            match value {
                Raw::Document(doc) => out.push(doc),
                other => return Err(self.wrong(&format!("{name}.{i}"), other, "type 'object'")),
            }
        }
        Ok(Some(out))
    }

    pub fn string(&self, name: &str) -> Result<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Raw::String(s)) => Ok(Some(s)),
            Some(other) => Err(self.wrong(name, other, "type 'string'")),
        }
    }

    pub fn require_string(&self, name: &str) -> Result<&'a str> {
        self.string(name)?.ok_or_else(|| self.missing(name))
    }

    /// A strict boolean.
    pub fn bool(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Raw::Bool(b)) => Ok(Some(b)),
            Some(other) => Err(self.wrong(name, other, "type 'bool'")),
        }
    }

    /// A boolean that may be spelled as a number.
    pub fn lenient_bool(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Raw::Bool(b)) => Ok(Some(b)),
            Some(number) if number.is_number() => Ok(Some(as_integer(number) != 0)),
            Some(other) => Err(self.wrong(name, other, "types '[bool, long, int, decimal, double]'")),
        }
    }

    pub fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.lenient_bool(name)?.unwrap_or(false))
    }

    /// Any number, truncated to an integer.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(number) if number.is_number() => Ok(Some(as_integer(number))),
            Some(other) => Err(self.wrong(name, other, "types '[long, int, decimal, double]'")),
        }
    }

    /// A number that must not be negative: 51024 otherwise.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        match self.integer(name)? {
            None => Ok(None),
            Some(n) => match u64::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(too_small(name, n, 0)),
            },
        }
    }
}

/// 51024: a number below the least allowed.
pub fn too_small(name: &str, value: i64, least: i64) -> Error {
    Error::new(51024, format!("BSON field '{name}' value must be >= {least}, actual value '{value}'"))
}

/// 14 TypeMismatch in the words of the server's argument parser; `expected` is "type 'x'" or
/// "types '[x, y]'".
pub fn wrong_type(path: &str, value: Raw<'_>, expected: &str) -> Error {
    Error::new(14, format!("BSON field '{path}' is the wrong type '{}', expected {expected}", value.type_name()))
}

/// A number cut to 64 bits; out-of-range values saturate, NaN is 0.
pub fn as_integer(value: Raw<'_>) -> i64 {
    match value {
        Raw::Int32(n) => i64::from(n),
        Raw::Int64(n) => n,
        Raw::Double(n) => n as i64,
        other => document::number::Number::from_raw(other).map_or(0, |number| number.to_i64_saturating()),
    }
}

/// A set that is a short list while it is short: commands have few fields, and one with a
/// million is still read in linear time.
mod smallset {
    use std::collections::HashSet;

    const SHORT: usize = 32;

    #[derive(Debug, Default)]
    pub struct SmallSet<'a> {
        short: Vec<&'a str>,
        long: HashSet<&'a str>,
    }

    impl<'a> SmallSet<'a> {
        /// False if it was there already.
        pub fn insert(&mut self, name: &'a str) -> bool {
            if self.short.contains(&name) {
                return false;
            }
            if self.short.len() < SHORT {
                self.short.push(name);
                return true;
            }
            self.long.insert(name)
        }
    }
}
