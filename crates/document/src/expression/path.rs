//! Field paths of expressions: `a.b.c`, reading through arrays of documents.

use crate::error::{Error, Result};
use crate::raw::{Raw, RawDoc};
use crate::value::{Doc, Value};

/// A validated dotted path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    text: String,
    parts: Vec<String>,
}

impl FieldPath {
    pub fn parse(text: &str) -> Result<FieldPath> {
        if text.is_empty() {
            return Err(Error::new(40352, "FieldPath cannot be constructed with empty string"));
        }
        if text.ends_with('.') {
            return Err(Error::new(40353, "FieldPath must not end with a '.'."));
        }
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        if parts.len() > base::limits::MAX_NESTING_LEVELS {
            return Err(Error::new(5984700, "FieldPath is too long"));
        }
        for part in &parts {
            check_name(part)?;
        }
        Ok(FieldPath { text: text.to_owned(), parts })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The value below a document; `None` if missing. An array in the middle yields the array of
    /// what its documents have there; other elements of it are skipped.
    pub fn read_raw(&self, doc: RawDoc<'_>) -> Option<Value> {
        read_raw(doc, &self.parts)
    }

    pub fn read_value(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Document(doc) => read_doc(doc, &self.parts),
            Value::Array(items) => Some(Value::Array(read_items(items, &self.parts))),
            _ => None,
        }
    }
}

/// Rules for one name of a path, and for a name in an object expression.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(15998, "FieldPath field names may not be empty strings."));
    }
    if name.starts_with('$') {
        return Err(Error::new(
            16410,
            "FieldPath field names may not start with '$'. Consider using $getField or $setField.",
        ));
    }
    if name.contains('\0') {
        return Err(Error::new(16411, "FieldPath field names may not contain '\\0'."));
    }
    if name.contains('.') {
        return Err(Error::new(
            16412,
            "FieldPath field names may not contain '.'. Consider using $getField or $setField.",
        ));
    }
    Ok(())
}

fn read_raw(doc: RawDoc<'_>, parts: &[String]) -> Option<Value> {
    let (first, rest) = parts.split_first()?;
    let value = doc.get(first)?;
    if rest.is_empty() {
        return Some(value.to_value());
    }
    match value {
        Raw::Document(doc) => read_raw(doc, rest),
        Raw::Array(items) => {
            let documents = items.values().filter_map(Raw::as_document);
            Some(Value::Array(documents.filter_map(|doc| read_raw(doc, rest)).collect()))
        }
        _ => None,
    }
}

fn read_doc(doc: &Doc, parts: &[String]) -> Option<Value> {
    let (first, rest) = parts.split_first()?;
    let value = doc.get(first)?;
    if rest.is_empty() {
        return Some(value.clone());
    }
    match value {
        Value::Document(doc) => read_doc(doc, rest),
        Value::Array(items) => Some(Value::Array(read_items(items, rest))),
        _ => None,
    }
}

fn read_items(items: &[Value], parts: &[String]) -> Vec<Value> {
    items.iter().filter_map(Value::as_document).filter_map(|doc| read_doc(doc, parts)).collect()
}
