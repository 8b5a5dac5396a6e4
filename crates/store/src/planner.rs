//! Which way to the documents of a query: by `_id`, through indexes, or through all of them.
//!
//! ```text
//!   filter ─ predicates by path ─┐
//!   sort ────────────────────────┼─> for each index: intervals of its parts, order it gives
//!   hint ────────────────────────┘       └─> the best scored one, else a collection scan
//! ```
//! A plan yields every matching document, and maybe others: the caller still asks the matcher.
//!
//! # Not here
//! Sorting, projecting, counting costs by trial: indexes are chosen by rule.
//!
//! # Invariants
//! - No plan misses a matching document: parts whose bounds could are left unbounded (paths through
//!   arrays, other collations, sparse and partial indexes).
//!
//! Read next: `bounds.rs`, `choose.rs`, `execute.rs`, `explain.rs`.

mod bounded;
mod bounds;
mod choose;
mod execute;
mod explain;
mod owned;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use document::collation::Collation;
use document::matcher::Matcher;
use document::sort::SortPattern;
use document::{DocBuf, RawDoc};

use crate::catalog::CollectionId;
use crate::error::Result;
use crate::index::Index;
use crate::kv::{Direction, KeyRange};

use bounds::Interval;

pub use choose::plan;

/// What is to be found, and how the caller would like it.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub matcher: &'a Matcher,
    pub sort: Option<&'a SortPattern>,
    pub hint: Option<&'a Hint>,
    /// The collation of the query, already defaulted to the collection's.
    pub collation: Option<&'a Arc<Collation>>,
    pub bounds: KeyBounds<'a>,
}

/// Keys of the hinted index to begin with and to end before (`min` and `max` of find).
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyBounds<'a> {
    pub min: Option<&'a DocBuf>,
    pub max: Option<&'a DocBuf>,
}

/// The index that the client insists on.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    Name(String),
    Key(DocBuf),
    /// `{$natural: ±1}`.
    Natural(Direction),
}

/// How a query is answered.
#[derive(Clone, Debug)]
pub struct Plan {
    pub collection: CollectionId,
    access: Access,
    /// Documents come in the order of the sort.
    pub sorted: bool,
    /// Every document yielded matches: a count needs no documents.
    exact: bool,
}

#[derive(Clone, Debug)]
enum Access {
    /// The filter can match nothing.
    Nothing,
    Collection(Direction),
    Index(IndexScan),
    /// One scan per branch of an `$or`, each document once.
    Union(Vec<IndexScan>),
}

#[derive(Clone, Debug)]
struct IndexScan {
    index: Arc<Index>,
    /// In the order of the scan.
    ranges: Vec<KeyRange>,
    direction: Direction,
    /// Intervals per part, for `explain`.
    intervals: Vec<Vec<Interval>>,
    /// A single document, found by its whole `_id`.
    by_id: bool,
}

impl Plan {
    /// Whether an index leads to the documents.
    pub fn uses_index(&self) -> bool {
        matches!(self.access, Access::Index(_) | Access::Union(_))
    }

    /// The key by which the index leads to a document, as fields of the key pattern; empty if no index
    /// does.
    pub fn key_of(&self, document: RawDoc<'_>) -> Result<DocBuf> {
        let scans = match &self.access {
            Access::Index(scan) => std::slice::from_ref(scan),
            Access::Union(scans) => scans,
            Access::Nothing | Access::Collection(_) => &[],
        };
        for scan in scans {
            let inside = |key: &[u8]| {
                scan.ranges.iter().any(|range| *range.from <= *key && range.to.as_deref().is_none_or(|to| key < to))
            };
            if let Some(key) = scan.index.key_document(document, inside, scan.direction)? {
                return Ok(key);
            }
        }
        Ok(DocBuf::default())
    }

    /// Name of the index, if there is one.
    /// The indexes it walks, one after the other; none if it reads the collection.
    pub fn index_names(&self) -> Vec<&str> {
        match &self.access {
            Access::Index(scan) => vec![&scan.index.name],
            Access::Union(scans) => scans.iter().map(|scan| &*scan.index.name).collect(),
            _ => Vec::new(),
        }
    }

    pub fn index_name(&self) -> Option<&str> {
        match &self.access {
            Access::Index(scan) => Some(&scan.index.name),
            _ => None,
        }
    }
}
