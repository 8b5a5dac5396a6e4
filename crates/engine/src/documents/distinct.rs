//! Collecting the distinct values at a path.

use std::sync::Arc;

use document::collation::Collation;
use document::path::Path;
use document::{DocBuf, DocWriter, Raw, RawDoc, Value};
use rustc_hash::FxHashSet;

use crate::{Error, Result};

/// The reply must be one document.
const MAX_BYTES: usize = base::limits::MAX_DOCUMENT;

/// Values seen so far; equality is MongoDB's, so `1` and `1.0` are one value.
pub struct Values {
    path: Path,
    collation: Option<Arc<Collation>>,
    seen: FxHashSet<Vec<u8>>,
    values: Vec<Value>,
    bytes: usize,
}

impl Values {
    pub fn new(key: &str, collation: Option<Arc<Collation>>) -> Self {
        Values { path: Path::new(key), collation, seen: FxHashSet::default(), values: Vec::new(), bytes: 0 }
    }

    /// Adds what a document has at the path: the elements of an array, anything else itself.
    pub fn add(&mut self, document: RawDoc<'_>) -> Result<()> {
        let mut found = Vec::new();
        collect(document, self.path.dotted(), &mut found);
        for value in found {
            let mut key = Vec::new();
            document::key_string::encode_value(value, &mut key, false, self.collation.as_deref());
            if self.seen.contains(&key) {
                continue;
            }
            self.bytes += key.len() + 16;
            if self.bytes > MAX_BYTES {
                return Err(Error::new(17217, "distinct too big, 16mb cap"));
            }
            self.values.push(value.to_value());
            self.seen.insert(key);
        }
        Ok(())
    }

    pub fn finish(self) -> Result<DocBuf> {
        let mut array = DocWriter::new();
        for (i, value) in self.values.iter().enumerate() {
            array.value(&i.to_string(), value);
        }
        Ok(array.finish())
    }
}

/// Follows the path through documents and arrays; a number selects an element or a field.
fn collect<'a>(document: RawDoc<'a>, path: &str, found: &mut Vec<Raw<'a>>) {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let Some(value) = document.get(name) else { return };
    match (rest, value) {
        (None, Raw::Array(elements)) => found.extend(elements.values()),
        (None, value) => found.push(value),
        (Some(rest), Raw::Document(inner)) => collect(inner, rest, found),
        (Some(rest), Raw::Array(elements)) => {
            for element in elements.values() {
                if let Raw::Document(inner) = element {
                    collect(inner, rest, found);
                }
            }
            if rest.as_bytes().first().is_some_and(u8::is_ascii_digit) {
                collect(elements, rest, found);
            }
        }
        _ => {}
    }
}
