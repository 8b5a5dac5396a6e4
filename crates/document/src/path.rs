//! Dotted paths over documents: MongoDB's implicit array traversal, and plain extraction.
//!
//! A query path steps through embedded documents by name. Where it meets an array it goes on in
//! every element that is a document, and a numeric component also means that position:
//!
//! ```text
//!   "a.b"    over {a: [{b: 1}, {b: 2}]}   visits 1, 2
//!   "a.1.b"  over {a: [{b: 1}, {b: 2}]}   visits 2 (position) and what a field named "1" holds
//!   "a"      over {a: [1, 2]}             visits 1, 2, then [1, 2] itself
//! ```
//!
//! # Not here
//! Reading several plain paths in one pass over the bytes (`extract.rs`); what an index or a sort
//! sees, where arrays multiply (`index.rs`).
//!
//! # Invariants
//! - Walking allocates nothing.
//! - A visit without a value says "missing here"; an array without matching elements is not visited.

mod extract;
mod index;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::raw::{Raw, RawDoc};

pub use extract::Extractor;
pub use index::{PARALLEL_ARRAYS, index_keys};

/// One component of a dotted path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: Box<str>,
    /// The position this component means in an array, if it is a canonical number.
    pub index: Option<usize>,
}

/// A parsed dotted path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    dotted: Box<str>,
    parts: Box<[Part]>,
}

/// What happens when the last component of a path names an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafArrays {
    /// Each element is visited, then the array itself.
    Traverse,
    /// The array is one value.
    Keep,
}

/// One stop of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// `None`: nothing is there.
    pub value: Option<Raw<'a>>,
    /// Position in the outermost array that was traversed implicitly; what a positional `$` means.
    pub array_index: Option<usize>,
}

/// The position a path component means in an array: digits without a leading zero.
pub fn array_index(component: &str) -> Option<usize> {
    let canonical = component == "0"
        || (!component.is_empty()
            && component.len() <= 9
            && component.as_bytes()[0] != b'0'
            && component.bytes().all(|b| b.is_ascii_digit()));
    if canonical { component.parse().ok() } else { None }
}

impl Path {
    /// Splits at every dot; empty components are legal names in queries.
    pub fn new(dotted: &str) -> Self {
        let parts = dotted.split('.').map(|name| Part { name: name.into(), index: array_index(name) }).collect();
        Path { dotted: dotted.into(), parts }
    }

    pub fn dotted(&self) -> &str {
        &self.dotted
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Visits everything the path reaches until a visit answers `true`; answers whether one did.
    pub fn walk<'a, F>(&self, doc: RawDoc<'a>, leaf: LeafArrays, mut visit: F) -> Result<bool>
    where
        F: FnMut(Visit<'a>) -> Result<bool>,
    {
        walk_document(&self.parts, doc, leaf, None, &mut visit)
    }

    /// The value at this path without looking into arrays by name; a numeric component indexes.
    pub fn get<'a>(&self, doc: RawDoc<'a>) -> Option<Raw<'a>> {
        let mut value = Raw::Document(doc);
        for part in &self.parts {
            value = step(value, part)?;
        }
        Some(value)
    }
}

/// One plain step: a field of a document, a position of an array.
fn step<'a>(value: Raw<'a>, part: &Part) -> Option<Raw<'a>> {
    match value {
        Raw::Document(doc) => doc.get(&part.name),
        Raw::Array(array) => array.values().nth(part.index?),
        _ => None,
    }
}

fn walk_document<'a, F>(
    parts: &[Part],
    doc: RawDoc<'a>,
    leaf: LeafArrays,
    outer: Option<usize>,
    visit: &mut F,
) -> Result<bool>
where
    F: FnMut(Visit<'a>) -> Result<bool>,
{
    let mut current = doc;
    for (at, part) in parts.iter().enumerate() {
        let rest = &parts[at + 1..];
        match current.get(&part.name) {
            Some(Raw::Document(embedded)) if !rest.is_empty() => current = embedded,
            Some(Raw::Array(array)) => return walk_array(rest, array, leaf, outer, visit),
            Some(value) if rest.is_empty() => return visit(Visit { value: Some(value), array_index: outer }),
            _ => return visit(Visit { value: None, array_index: outer }),
        }
    }
    Ok(false)
}

fn walk_array<'a, F>(
    rest: &[Part],
    array: RawDoc<'a>,
    leaf: LeafArrays,
    outer: Option<usize>,
    visit: &mut F,
) -> Result<bool>
where
    F: FnMut(Visit<'a>) -> Result<bool>,
{
    let Some((next, below)) = rest.split_first() else {
        if leaf == LeafArrays::Traverse {
            for (i, element) in array.values().enumerate() {
                if visit(Visit { value: Some(element), array_index: outer.or(Some(i)) })? {
                    return Ok(true);
                }
            }
        }
        return visit(Visit { value: Some(Raw::Array(array)), array_index: outer });
    };
    for (i, element) in array.values().enumerate() {
        if let Raw::Document(embedded) = element
            && walk_document(rest, embedded, leaf, outer.or(Some(i)), visit)?
        {
            return Ok(true);
        }
        if next.index == Some(i) && walk_position(below, element, i, leaf, outer, visit)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Goes on below the element a numeric component points at.
fn walk_position<'a, F>(
    below: &[Part],
    element: Raw<'a>,
    position: usize,
    leaf: LeafArrays,
    outer: Option<usize>,
    visit: &mut F,
) -> Result<bool>
where
    F: FnMut(Visit<'a>) -> Result<bool>,
{
    match element {
        // The position ends the path: an array there is one value, not its elements.
        _ if below.is_empty() => visit(Visit { value: Some(element), array_index: outer.or(Some(position)) }),
        Raw::Document(embedded) => walk_document(below, embedded, leaf, outer, visit),
        Raw::Array(inner) => walk_array(below, inner, leaf, outer, visit),
        _ => Ok(false),
    }
}
