//! Language-aware string comparison, as the `collation` option describes it.
//!
//! Strings compare by the Unicode Collation Algorithm with CLDR's tailoring for the locale; `key`
//! gives bytes whose order is that comparison, so that indexes and sorts can use them. The simple
//! collation (bytes) is the absence of a `Collation`.
//!
//! # Invariants
//! - `key(a).cmp(&key(b)) == compare(a, b)`.

mod parse;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use icu_collator::CollatorBorrowed;
use icu_collator::options::{AlternateHandling, CaseLevel, MaxVariable, Strength};
use icu_collator::preferences::{CollationCaseFirst, CollationNumericOrdering};

use crate::compare::{compare_raw, type_rank};
use crate::raw::{Raw, RawDoc};
use crate::value::Doc;

/// A parsed collation document, never the simple one.
pub struct Collation {
    locale: String,
    normalization: bool,
    backwards: bool,
    collator: CollatorBorrowed<'static>,
}

impl std::fmt::Debug for Collation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collation({:?})", self.to_doc())
    }
}

impl PartialEq for Collation {
    fn eq(&self, other: &Self) -> bool {
        self.to_doc() == other.to_doc()
    }
}

impl Collation {
    pub fn compare(&self, a: &str, b: &str) -> Ordering {
        self.collator.compare(a, b)
    }

    /// Bytes in the order of `compare`. Strings that compare equal have the same key.
    pub fn key(&self, text: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(text.len() * 2);
        let Ok(()) = self.collator.write_sort_key_to(text, &mut key);
        key
    }

    /// The full document, as `listCollections` and `listIndexes` report it.
    pub fn to_doc(&self) -> Doc {
        let resolved = self.collator.resolved_options();
        let strength = match resolved.strength {
            Strength::Primary => 1,
            Strength::Secondary => 2,
            Strength::Tertiary => 3,
            Strength::Quaternary => 4,
            _ => 5,
        };
        let case_first = match resolved.case_first {
            CollationCaseFirst::Upper => "upper",
            CollationCaseFirst::Lower => "lower",
            _ => "off",
        };
        let shifted = resolved.alternate_handling == AlternateHandling::Shifted;
        Doc::new()
            .with("locale", self.locale.as_str())
            .with("caseLevel", resolved.case_level == CaseLevel::On)
            .with("caseFirst", case_first)
            .with("strength", strength)
            .with("numericOrdering", resolved.numeric == CollationNumericOrdering::True)
            .with("alternate", if shifted { "shifted" } else { "non-ignorable" })
            .with("maxVariable", if resolved.max_variable == MaxVariable::Space { "space" } else { "punct" })
            .with("normalization", self.normalization)
            .with("backwards", self.backwards)
            .with("version", "57.1")
    }
}

/// Compares two values; strings, also inside documents and arrays, by the collation if there is one.
pub fn compare_with(a: Raw<'_>, b: Raw<'_>, collation: Option<&Collation>) -> Ordering {
    let Some(collation) = collation else { return compare_raw(a, b) };
    match (a, b) {
        (Raw::String(x) | Raw::Symbol(x), Raw::String(y) | Raw::Symbol(y)) => collation.compare(x, y),
        (Raw::Document(x), Raw::Document(y)) => compare_fields(x, y, true, collation),
        (Raw::Array(x), Raw::Array(y)) => compare_fields(x, y, false, collation),
        _ => compare_raw(a, b),
    }
}

/// As `compare_raw` orders documents: type, name, value; arrays by value only.
fn compare_fields(a: RawDoc<'_>, b: RawDoc<'_>, names: bool, collation: &Collation) -> Ordering {
    let (mut left, mut right) = (a.iter(), b.iter());
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((m, x)), Some((n, y))) => {
                let name_order = if names { m.cmp(n) } else { Ordering::Equal };
                type_rank(x).cmp(&type_rank(y)).then(name_order).then_with(|| compare_with(x, y, Some(collation)))
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}
