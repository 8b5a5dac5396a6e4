//! `$unwind`: one document per element of an array.

use super::edit::{Edit, edited, value_at};
use crate::error::{Error, Result};
use crate::expression::FieldPath;
use crate::raw::{DocBuf, Raw};

/// A parsed `$unwind`.
#[derive(Debug)]
pub struct Unwind {
    path: FieldPath,
    index: Option<FieldPath>,
    preserve: bool,
}

impl Unwind {
    pub(super) fn parse(spec: Raw<'_>) -> Result<Unwind> {
        let (mut path, mut index, mut preserve) = ("", None, false);
        match spec {
            Raw::String(text) => path = text,
            Raw::Document(doc) => {
                for (name, value) in doc.iter() {
                    match (name, value) {
                        ("path", Raw::String(text)) => path = text,
                        ("path", other) => {
                            return Err(Error::new(
                                28808,
                                format!("expected a string as the path for $unwind stage, got {}", other.type_name()),
                            ));
                        }
                        ("preserveNullAndEmptyArrays", Raw::Bool(b)) => preserve = b,
                        ("preserveNullAndEmptyArrays", other) => {
                            return Err(Error::new(
                                28809,
                                format!(
                                    "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage, got {}",
                                    other.type_name()
                                ),
                            ));
                        }
                        ("includeArrayIndex", Raw::String(text)) if !text.is_empty() => index = Some(text),
                        ("includeArrayIndex", other) => {
                            return Err(Error::new(
                                28810,
                                format!(
                                    "expected a non-empty string for the includeArrayIndex  option to $unwind stage, got {}",
                                    other.type_name()
                                ),
                            ));
                        }
                        _ => {
                            return Err(Error::new(28811, format!("unrecognized option to $unwind stage: {name}")));
                        }
                    }
                }
            }
            other => {
                return Err(Error::new(
                    15981,
                    format!(
                        "expected either a string or an object as specification for $unwind stage, got {}",
                        other.type_name()
                    ),
                ));
            }
        }
        if path.is_empty() {
            return Err(Error::new(28812, "no path specified to $unwind stage"));
        }
        let Some(path) = path.strip_prefix('$') else {
            return Err(Error::new(
                28818,
                format!("path option to $unwind stage should be prefixed with a '$': {path}"),
            ));
        };
        if let Some(name) = index.filter(|name| name.starts_with('$')) {
            return Err(Error::new(
                28822,
                format!("includeArrayIndex option to $unwind stage should not be prefixed with a '$': {name}"),
            ));
        }
        Ok(Unwind { path: FieldPath::parse(path)?, index: index.map(FieldPath::parse).transpose()?, preserve })
    }

    /// The documents that one becomes, one at a time.
    pub(super) fn expand(&self, doc: DocBuf) -> Box<dyn Iterator<Item = DocBuf> + Send + '_> {
        let len = match value_at(doc.as_doc(), self.path.parts()) {
            Some(Raw::Array(items)) => Some(items.values().count()),
            None | Some(Raw::Null | Raw::Undefined) => Some(0),
            Some(_) => None,
        };
        match len {
            Some(0) if !self.preserve => Box::new(std::iter::empty()),
            Some(0) => Box::new(std::iter::once(self.preserved(&doc))),
            None => Box::new(std::iter::once(self.indexed(doc, None))),
            Some(_) => Box::new(Elements { unwind: self, doc, at: 0, offset: 0 }),
        }
    }

    fn preserved(&self, doc: &DocBuf) -> DocBuf {
        let kept = match value_at(doc.as_doc(), self.path.parts()) {
            Some(Raw::Array(_)) => edited(doc.as_doc(), self.path.parts(), Edit::Remove),
            _ => doc.clone(),
        };
        self.indexed(kept, None)
    }

    fn indexed(&self, doc: DocBuf, at: Option<usize>) -> DocBuf {
        let Some(index) = &self.index else { return doc };
        let value = at.map_or(Raw::Null, |at| Raw::Int64(at as i64));
        edited(doc.as_doc(), index.parts(), Edit::Raw(value))
    }
}

/// Walks an array without counting from its start for every element.
struct Elements<'a> {
    unwind: &'a Unwind,
    doc: DocBuf,
    at: usize,
    /// Where the next element begins in the array's bytes; 0 before the first.
    offset: usize,
}

impl Iterator for Elements<'_> {
    type Item = DocBuf;

    fn next(&mut self) -> Option<DocBuf> {
        let Some(Raw::Array(items)) = value_at(self.doc.as_doc(), self.unwind.path.parts()) else { return None };
        let bytes = items.as_bytes();
        let start = self.offset.max(4);
        let rest = bytes.get(start..)?;
        let (&kind, after_kind) = rest.split_first()?;
        if kind == 0 {
            return None;
        }
        let name = memchr::memchr(0, after_kind)?;
        let (value, after) = crate::raw::split_value(kind, &after_kind[name + 1..])?;
        let one = edited(self.doc.as_doc(), self.unwind.path.parts(), Edit::Raw(value));
        self.offset = bytes.len() - after.len();
        let one = self.unwind.indexed(one, Some(self.at));
        self.at += 1;
        Some(one)
    }
}
