//! Sorting documents: patterns, keys, whole sorts and bounded ones.
//!
//! A document's sort key is the concatenation of its fields' order-preserving encodings
//! (`key_string`), so that comparing two documents is comparing bytes, once per document encoded.
//! Where a path reaches several values through arrays, an ascending field takes the smallest and a
//! descending one the largest; missing is null. The fields of a compound key come from the same
//! element where their paths share an array.
//!
//! # Invariants
//! - Sorts are stable.

#[cfg(test)]
mod tests;

use std::collections::BinaryHeap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::collation::Collation;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::key_string;
use crate::path::{PARALLEL_ARRAYS, Path, index_keys};
use crate::raw::{DocBuf, Raw, RawDoc};

/// What a sort compares.
#[derive(Clone, Debug)]
pub struct SortPattern {
    fields: Vec<SortField>,
    natural: Option<bool>,
    collation: Option<Arc<Collation>>,
}

#[derive(Clone, Debug)]
pub struct SortField {
    pub path: Path,
    pub descending: bool,
}

/// The position of a document in a sort; keys of one pattern compare with each other only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey(Box<[u8]>);

impl SortPattern {
    /// Parses `{field: 1 | -1, ..}` or `{$natural: 1 | -1}`.
    pub fn parse(doc: RawDoc<'_>, ctx: &Context) -> Result<Self> {
        let mut pattern = SortPattern { fields: Vec::new(), natural: None, collation: ctx.collation.clone() };
        for (name, value) in doc.iter() {
            let descending = direction(name, value)?;
            if name == "$natural" {
                if doc.iter().count() > 1 {
                    return Err(Error::bad_value("$natural sort cannot be set to a value other than -1 or 1."));
                }
                pattern.natural = Some(descending);
            } else {
                check_field_path(name)?;
                pattern.fields.push(SortField { path: Path::new(name), descending });
            }
        }
        Ok(pattern)
    }

    /// No field to compare: every order is sorted.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub fn fields(&self) -> &[SortField] {
        &self.fields
    }

    /// `{$natural: ..}`: storage order, `Some(true)` backwards.
    pub fn natural(&self) -> Option<bool> {
        self.natural
    }

    /// Errors with 2 BadValue if two fields reach several values through different arrays.
    pub fn key(&self, doc: RawDoc<'_>) -> Result<SortKey> {
        let paths: SmallVec<[&Path; 4]> = self.fields.iter().map(|field| &field.path).collect();
        let (mut best, mut candidate) = (Vec::with_capacity(self.fields.len() * 12), Vec::new());
        index_keys(&paths, doc, &mut |values| {
            candidate.clear();
            for (value, field) in values.iter().zip(&self.fields) {
                key_string::encode_value(*value, &mut candidate, field.descending, self.collation.as_deref());
            }
            if best.is_empty() || candidate < best {
                std::mem::swap(&mut best, &mut candidate);
            }
        })
        .map_err(|e| match e.code {
            PARALLEL_ARRAYS => Error::bad_value("cannot sort with keys that are parallel arrays"),
            _ => e,
        })?;
        Ok(SortKey(best.into()))
    }

    /// Sorts documents; equal ones keep their order.
    pub fn sort(&self, docs: Vec<DocBuf>) -> Result<Vec<DocBuf>> {
        let mut keyed: Vec<_> =
            docs.into_iter().map(|doc| Ok((self.key(doc.as_doc())?, doc))).collect::<Result<_>>()?;
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(keyed.into_iter().map(|(_, doc)| doc).collect())
    }
}

fn direction(name: &str, value: Raw<'_>) -> Result<bool> {
    match value {
        Raw::Document(doc) => Err(match doc.iter().next() {
            Some(("$meta", _)) => Error::new(40218, "query requires text score metadata, but it is not available"),
            _ => Error::new(17312, "$meta is the only expression supported by $sort right now"),
        }),
        _ if !value.is_number() => Err(Error::new(
            15974,
            format!("Illegal key in $sort specification: {name}: {}", crate::json::to_plain_string(value)),
        )),
        _ => match crate::number::compare(value, Raw::Int32(0)) {
            order if order.is_gt() && crate::number::compare(value, Raw::Int32(1)).is_eq() => Ok(false),
            order if order.is_lt() && crate::number::compare(value, Raw::Int32(-1)).is_eq() => Ok(true),
            _ => Err(Error::new(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")),
        },
    }
}

fn check_field_path(path: &str) -> Result<()> {
    if path.is_empty() {
        return Err(Error::new(40352, "FieldPath cannot be constructed with empty string"));
    }
    if path.ends_with('.') {
        return Err(Error::new(40353, "FieldPath must not end with a '.'."));
    }
    for part in path.split('.') {
        if part.is_empty() {
            return Err(Error::new(15998, "FieldPath field names may not be empty strings."));
        }
        if part.starts_with('$') {
            return Err(Error::new(
                16410,
                "FieldPath field names may not start with '$'. Consider using $getField or $setField.",
            ));
        }
    }
    Ok(())
}

/// Keeps the first `limit` of what it is shown, in the order of a sort, in `limit` entries of memory.
#[derive(Debug)]
pub struct TopK<T> {
    limit: usize,
    /// Largest on top, so that it is the one to give way.
    heap: BinaryHeap<Entry<T>>,
    arrived: u64,
}

#[derive(Debug)]
struct Entry<T> {
    key: SortKey,
    /// Arrival number: of equal keys the earlier stays.
    arrival: u64,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key).then(self.arrival.cmp(&other.arrival))
    }
}

impl<T> TopK<T> {
    pub fn new(limit: usize) -> Self {
        TopK { limit, heap: BinaryHeap::new(), arrived: 0 }
    }

    pub fn push(&mut self, key: SortKey, item: T) {
        let entry = Entry { key, arrival: self.arrived, item };
        self.arrived += 1;
        if self.heap.len() < self.limit {
            self.heap.push(entry);
        } else if let Some(mut largest) = self.heap.peek_mut()
            && entry < *largest
        {
            *largest = entry;
        }
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// In order.
    pub fn into_sorted(self) -> Vec<T> {
        self.heap.into_sorted_vec().into_iter().map(|entry| entry.item).collect()
    }
}
