//! Projections: of `find`, `$project`, `$addFields`/`$set`, `$unset`.
//!
//! A specification becomes a tree of names. One walk over the document's bytes copies what stays,
//! descends where the tree does, and appends what is computed:
//!
//! ```text
//!   {a: 1, "b.x": 1, s: {$add: […]}}          document  {_id, b: {x, y}, a, c}
//!   root ─ a: keep                            result    {_id, b: {x}, a, s}
//!        ├ b ─ x: keep                                   document's order ┘  └ computed, in the
//!        └ s: compute                                                          specification's order
//! ```
//!
//! # Invariants
//! - A level whose kind is inclusion drops what it does not name; every other kind keeps it.
//! - `$addFields` replaces in place; an inclusion appends what it computes.
//!
//! Read next: `parse.rs`.

mod parse;

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::{Doc, Value};
use crate::write::DocWriter;

pub use parse::Mode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Inclusion,
    Exclusion,
}

/// A parsed projection.
#[derive(Debug)]
pub struct Projection {
    kind: Kind,
    root: Level,
    /// The path before `.$`.
    positional: Option<String>,
}

/// The names at one level of the tree, in the order of the specification.
#[derive(Debug, Default)]
struct Level {
    fields: Vec<(String, Field)>,
    places: FxHashMap<String, usize>,
    /// Whether anything below is computed.
    computes: bool,
}

#[derive(Debug)]
enum Field {
    /// Kept by an inclusion, dropped by an exclusion.
    Leaf,
    Below(Level),
    Compute(Expression),
    Slice(Slice),
    ElemMatch(parse::ElemMatch),
}

/// `$slice` of find: what stays of an array.
#[derive(Clone, Copy, Debug)]
enum Slice {
    /// The first `n`, or the last `-n`.
    Limit(i64),
    Window {
        skip: i64,
        limit: i64,
    },
}

impl Slice {
    /// First index and count for an array of `len`.
    fn bounds(self, len: usize) -> (usize, usize) {
        let len = len as i64;
        let (skip, limit) = match self {
            Slice::Limit(n) if n >= 0 => (0, n),
            Slice::Limit(n) => ((len + n).max(0), n.saturating_neg()),
            Slice::Window { skip, limit } if skip < 0 => ((len + skip).max(0), limit),
            Slice::Window { skip, limit } => (skip.min(len), limit),
        };
        (skip as usize, limit.min(len - skip).max(0) as usize)
    }
}

impl Level {
    fn get(&self, name: &str) -> Option<&Field> {
        self.places.get(name).map(|at| &self.fields[*at].1)
    }

    fn insert(&mut self, name: &str, field: Field) {
        self.places.insert(name.to_owned(), self.fields.len());
        self.fields.push((name.to_owned(), field));
    }
}

impl Projection {
    /// Whether applying it changes nothing (an empty find projection).
    pub fn is_identity(&self) -> bool {
        self.kind == Kind::Exclusion && self.root.fields.is_empty()
    }

    /// Whether the caller must pass the index that the query matched.
    pub fn needs_array_index(&self) -> bool {
        self.positional.is_some()
    }

    /// The projected document. `array_index` is where the query matched, for `.$`.
    pub fn apply(&self, doc: RawDoc<'_>, array_index: Option<usize>) -> Result<DocBuf> {
        if self.is_identity() {
            return Ok(doc.to_buf());
        }
        let mut run = Run { kind: self.kind, root: doc, writer: DocWriter::with_capacity(doc.as_bytes().len()) };
        run.level(&self.root, Some(doc))?;
        let result = run.writer.finish();
        match &self.positional {
            Some(path) => select_position(&result, path, array_index),
            None => Ok(result),
        }
    }
}

/// One application: the document that expressions read, and the output.
struct Run<'a> {
    kind: Kind,
    root: RawDoc<'a>,
    writer: DocWriter,
}

impl<'a> Run<'a> {
    /// Writes the fields of one level; `input` is what the document has there.
    fn level(&mut self, level: &Level, input: Option<RawDoc<'a>>) -> Result<()> {
        let mut done = vec![false; level.fields.len()];
        for (name, value) in input.into_iter().flat_map(RawDoc::iter) {
            let Some(&at) = level.places.get(name) else {
                if self.kind == Kind::Exclusion {
                    self.writer.raw(name, value);
                }
                continue;
            };
            done[at] |= self.existing(name, value, &level.fields[at].1)?;
        }
        for ((name, field), done) in level.fields.iter().zip(done) {
            if !done {
                self.absent(name, field, level_value(input, name))?;
            }
        }
        Ok(())
    }

    /// A field that the document has and the tree names. False if it is left to `absent`.
    fn existing(&mut self, name: &str, value: Raw<'a>, field: &Field) -> Result<bool> {
        match field {
            Field::Leaf => {
                if self.kind == Kind::Inclusion {
                    self.writer.raw(name, value);
                }
                Ok(true)
            }
            Field::Compute(expression) => {
                if self.kind == Kind::Inclusion {
                    return Ok(false);
                }
                if let Some(value) = expression.evaluate(self.root)? {
                    self.writer.computed(name, &value)?;
                }
                Ok(true)
            }
            Field::Slice(slice) => {
                match value {
                    Raw::Array(items) => self.sliced(name, items, *slice),
                    other => self.writer.raw(name, other),
                }
                Ok(true)
            }
            Field::ElemMatch(_) => Ok(false),
            Field::Below(level) => self.below(name, value, level),
        }
    }

    fn below(&mut self, name: &str, value: Raw<'a>, level: &Level) -> Result<bool> {
        match value {
            Raw::Document(doc) => {
                self.writer.begin_document(name);
                self.level(level, Some(doc))?;
                self.writer.end();
                Ok(true)
            }
            Raw::Array(items) => {
                self.writer.begin_array(name);
                self.elements(level, items)?;
                self.writer.end();
                Ok(true)
            }
            _ if level.computes && self.kind == Kind::Inclusion => Ok(false),
            _ if level.computes => {
                self.writer.begin_document(name);
                self.level(level, None)?;
                self.writer.end();
                Ok(true)
            }
            other => {
                if self.kind == Kind::Exclusion {
                    self.writer.raw(name, other);
                }
                Ok(true)
            }
        }
    }

    /// The elements of an array that a path goes through.
    fn elements(&mut self, level: &Level, items: RawDoc<'a>) -> Result<()> {
        let mut at = 0usize;
        for item in items.values() {
            let name = at.to_string();
            let scalar = !matches!(item, Raw::Document(_) | Raw::Array(_));
            if scalar && self.kind == Kind::Inclusion {
                continue;
            }
            self.below(&name, item, level)?;
            at += 1;
        }
        Ok(())
    }

    /// What is appended: computed fields, and new documents that hold some.
    fn absent(&mut self, name: &str, field: &Field, value: Option<Raw<'a>>) -> Result<()> {
        match field {
            Field::Compute(expression) => {
                if let Some(value) = expression.evaluate(self.root)? {
                    self.writer.computed(name, &value)?;
                }
            }
            Field::Below(level) if level.computes => {
                self.writer.begin_document(name);
                self.level(level, None)?;
                self.writer.end();
            }
            Field::ElemMatch(condition) => {
                if let Some(Raw::Array(items)) = value {
                    for item in items.values() {
                        if condition.matches(item)? {
                            self.writer.begin_array(name);
                            self.writer.raw("0", item);
                            self.writer.end();
                            break;
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn sliced(&mut self, name: &str, items: RawDoc<'a>, slice: Slice) {
        let (skip, count) = slice.bounds(items.values().count());
        self.writer.begin_array(name);
        for (i, item) in items.values().skip(skip).take(count).enumerate() {
            self.writer.raw(&i.to_string(), item);
        }
        self.writer.end();
    }
}

fn level_value<'a>(input: Option<RawDoc<'a>>, name: &str) -> Option<Raw<'a>> {
    input.and_then(|doc| doc.get(name))
}

/// Cuts the first array along `path` down to the element at `index`.
fn select_position(doc: &DocBuf, path: &str, index: Option<usize>) -> Result<DocBuf> {
    let mut doc = doc.to_doc();
    let parts: Vec<&str> = path.split('.').collect();
    select_in(&mut doc, &parts, index)?;
    Ok(doc.to_buf())
}

fn select_in(doc: &mut Doc, parts: &[&str], index: Option<usize>) -> Result<()> {
    let Some((first, rest)) = parts.split_first() else { return Ok(()) };
    match doc.get_mut(first) {
        Some(Value::Array(items)) => {
            let at = index.filter(|at| *at < items.len()).ok_or_else(|| {
                Error::new(51246, "positional operator '.$' couldn't find a matching element in the array")
            })?;
            *items = vec![items.swap_remove(at)];
            Ok(())
        }
        Some(Value::Document(doc)) => select_in(doc, rest, index),
        _ => Ok(()),
    }
}
