//! Describes the difference between two documents, as the server does for pipeline updates.
//!
//! ```text
//!   {_id: 1, a: 1, l: [1, 2, 3], b: 2}  ->  {_id: 1, a: 5, l: [1, 2], c: 3}
//!
//!   {u: {a: 5}, d: {b: false}, i: {c: 3}, sl: {a: true, l: 2}}      the diff, by whose size is judged
//!   {updatedFields: {a: 5, c: 3}, removedFields: ["b"], truncatedArrays: [{field: "l", newSize: 2}]}
//! ```
//!
//! Both documents are walked side by side, so field order matters: a field that moved is reported
//! again, with all that moved past it. At every level a diff that is not smaller than the value it
//! describes gives way to the whole value; at the top, to a replacement.
//!
//! The diff itself is never written: only its size is computed, exactly.

use std::collections::BTreeSet;

use crate::raw::{Raw, RawDoc};
use crate::update::{Describer, Step, UpdateDescription, identical, raw_size};

/// What a logged diff takes besides the diff itself: a top-level diff must be smaller than the
/// document by more than this. Measured on a server.
const LOG_ENTRY_OVERHEAD: u64 = 15;

/// The difference, or `None` if it would be reported as a replacement. Equal documents have an
/// empty difference.
pub fn describe(pre: RawDoc<'_>, post: RawDoc<'_>) -> Option<UpdateDescription> {
    let diff = diff_documents(pre, post);
    let is_worth_it = diff.size + LOG_ENTRY_OVERHEAD < post.as_bytes().len() as u64;
    if !is_worth_it && pre != post {
        return None;
    }
    let mut describer = Describer::default();
    diff.describe(&mut describer);
    Some(describer.description)
}

/// The difference of two documents, with the size that it has as a BSON document.
struct DocumentDiff<'a> {
    updated: Vec<(&'a str, Raw<'a>)>,
    inserted: Vec<(&'a str, Raw<'a>)>,
    removed: BTreeSet<&'a str>,
    below: Vec<(&'a str, Below<'a>)>,
    size: u64,
}

struct ArrayDiff<'a> {
    truncated_to: Option<usize>,
    changes: Vec<(usize, Change<'a>)>,
    size: u64,
}

enum Change<'a> {
    Updated(Raw<'a>),
    Below(Below<'a>),
}

enum Below<'a> {
    Document(DocumentDiff<'a>),
    Array(ArrayDiff<'a>),
}

impl Below<'_> {
    fn size(&self) -> u64 {
        match self {
            Below::Document(diff) => diff.size,
            Below::Array(diff) => diff.size,
        }
    }
}

/// Bytes of an element: type, name with its terminator, value.
fn element_size(name_length: usize, value: u64) -> u64 {
    2 + name_length as u64 + value
}

/// Bytes of a document around its elements.
const EMPTY_DOCUMENT: u64 = 5;

fn diff_documents<'a>(pre: RawDoc<'a>, post: RawDoc<'a>) -> DocumentDiff<'a> {
    let mut diff = DocumentDiff { updated: vec![], inserted: vec![], removed: BTreeSet::new(), below: vec![], size: 0 };
    let mut old_fields = pre.iter();
    let mut new_fields = post.iter().peekable();
    while new_fields.peek().is_some() {
        let Some((old_name, old)) = old_fields.next() else { break };
        let Some((name, new)) = new_fields.next_if(|(name, _)| *name == old_name) else {
            diff.removed.insert(old_name);
            continue;
        };
        if identical(old, new) {
            continue;
        }
        match diff_values(old, new) {
            Change::Updated(value) => diff.updated.push((name, value)),
            Change::Below(below) => diff.below.push((name, below)),
        }
    }
    for (name, value) in new_fields {
        // It had only moved.
        diff.removed.remove(name);
        diff.inserted.push((name, value));
    }
    diff.removed.extend(old_fields.map(|(name, _)| name));
    diff.size = diff.measure();
    diff
}

fn diff_arrays<'a>(pre: RawDoc<'a>, post: RawDoc<'a>) -> ArrayDiff<'a> {
    let mut changes = Vec::new();
    let mut old_items = pre.values();
    let mut length = 0;
    for new in post.values() {
        match old_items.next() {
            Some(old) if identical(old, new) => {}
            Some(old) => changes.push((length, diff_values(old, new))),
            None => changes.push((length, Change::Updated(new))),
        }
        length += 1;
    }
    let truncated_to = old_items.next().map(|_| length);
    let mut diff = ArrayDiff { truncated_to, changes, size: 0 };
    diff.size = diff.measure();
    diff
}

/// The difference of two values that differ: of the containers' contents if that is shorter.
fn diff_values<'a>(old: Raw<'a>, new: Raw<'a>) -> Change<'a> {
    let (below, whole) = match (old, new) {
        (Raw::Document(old), Raw::Document(new)) => (Below::Document(diff_documents(old, new)), new),
        (Raw::Array(old), Raw::Array(new)) => (Below::Array(diff_arrays(old, new)), new),
        _ => return Change::Updated(new),
    };
    if below.size() < whole.as_bytes().len() as u64 { Change::Below(below) } else { Change::Updated(new) }
}

impl<'a> DocumentDiff<'a> {
    /// `{d: {name: false, …}, u: {…}, i: {…}, s<name>: {…}}`, sections only if they have something.
    fn measure(&self) -> u64 {
        let values = |fields: &[(&str, Raw<'_>)]| {
            fields.iter().map(|(name, value)| element_size(name.len(), raw_size(*value))).sum::<u64>()
        };
        let removed = self.removed.iter().map(|name| element_size(name.len(), 1)).sum::<u64>();
        let sections = [removed, values(&self.updated), values(&self.inserted)];
        let sections = sections.iter().filter(|size| **size > 0).map(|size| element_size(1, EMPTY_DOCUMENT + size));
        let below = self.below.iter().map(|(name, below)| element_size(1 + name.len(), below.size()));
        EMPTY_DOCUMENT + sections.sum::<u64>() + below.sum::<u64>()
    }

    fn describe(&self, describer: &mut Describer<'a>) {
        for (name, value) in self.updated.iter().chain(&self.inserted) {
            describer.updated(Step::Field(name), value.to_value());
        }
        for name in &self.removed {
            describer.removed(name);
        }
        for (name, below) in &self.below {
            describer.enter(Step::Field(name));
            below.describe(describer);
            describer.leave();
        }
    }
}

impl<'a> ArrayDiff<'a> {
    /// `{a: true, l: <int32>, u<index>: value, s<index>: {…}}`.
    fn measure(&self) -> u64 {
        let truncation = if self.truncated_to.is_some() { element_size(1, 4) } else { 0 };
        let changes = self.changes.iter().map(|(index, change)| {
            let digits = index.checked_ilog10().unwrap_or(0) as usize + 1;
            let value = match change {
                Change::Updated(value) => raw_size(*value),
                Change::Below(below) => below.size(),
            };
            element_size(1 + digits, value)
        });
        EMPTY_DOCUMENT + element_size(1, 1) + truncation + changes.sum::<u64>()
    }

    fn describe(&self, describer: &mut Describer<'a>) {
        if let Some(length) = self.truncated_to {
            describer.truncated(length);
        }
        for (index, change) in &self.changes {
            match change {
                Change::Updated(value) => describer.updated(Step::Element(*index), value.to_value()),
                Change::Below(below) => {
                    describer.enter(Step::Element(*index));
                    below.describe(describer);
                    describer.leave();
                }
            }
        }
    }
}

impl<'a> Below<'a> {
    fn describe(&self, describer: &mut Describer<'a>) {
        match self {
            Below::Document(diff) => diff.describe(describer),
            Below::Array(diff) => diff.describe(describer),
        }
    }
}

#[cfg(test)]
mod tests;
