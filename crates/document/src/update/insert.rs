//! The document that an upsert inserts: what the filter says for sure, then the update.

use std::collections::BTreeMap;

use super::check::{check_id, ensure_id};
use super::node::{depth, too_deep};
use super::{Outcome, Update, UpdateKind};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::matcher::is_operator_document;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::{Doc, Value};

/// Builds the document to insert when nothing matched `filter`: the values that the filter fixes
/// by equality, the update applied to them, and `_id` first (made anew if there is none).
///
/// Errors with 54 if the filter fixes a path twice, 111 if it fixes only a part of the `_id` of a
/// replacement, and with whatever the update errors.
///
/// ```
/// use document::{Context, Doc, Raw};
/// use document::update::{Update, upsert};
/// let update = Doc::new().with("$inc", Doc::new().with("n", 1)).to_buf();
/// let ctx = Context::default();
/// let update = Update::parse(Raw::Document(update.as_doc()), &[], &ctx)?;
/// let filter = Doc::new().with("_id", 7).with("n", Doc::new().with("$gt", 5)).to_buf();
/// let inserted = upsert(filter.as_doc(), &update, &ctx)?;
/// assert_eq!(inserted.to_doc(), Doc::new().with("_id", 7).with("n", 1));
/// # Ok::<(), document::Error>(())
/// ```
pub fn upsert(filter: RawDoc<'_>, update: &Update, ctx: &Context) -> Result<DocBuf> {
    let mut equalities = Equalities { found: BTreeMap::new(), only_id: update.kind() == UpdateKind::Replacement };
    equalities.collect(filter)?;
    let start = equalities.to_document()?;
    let result = match update.apply_as(&start, None, true)? {
        Outcome::Unchanged => start,
        Outcome::Updated { document, .. } | Outcome::Replaced { document, .. } => document,
    };
    let result = ensure_id(&result, ctx);
    check_id(result.get("_id").expect("just ensured"))?;
    if result.len() > base::limits::MAX_DOCUMENT {
        let limit = base::limits::MAX_DOCUMENT;
        return Err(Error::new(17420, format!("Document to upsert is larger than {limit}")));
    }
    Ok(result)
}

/// The paths that a filter fixes to one value. Applied in the order of their names.
struct Equalities<'a> {
    found: BTreeMap<&'a str, Raw<'a>>,
    /// A replacement takes nothing but `_id` from the filter.
    only_id: bool,
}

impl<'a> Equalities<'a> {
    fn collect(&mut self, filter: RawDoc<'a>) -> Result<()> {
        for (name, value) in filter.iter() {
            match (name, value) {
                ("$and", Raw::Array(branches)) => self.collect_all(branches)?,
                // One branch of an `$or` must hold, so a single one is as good as itself.
                ("$or", Raw::Array(branches)) if branches.iter().nth(1).is_none() => self.collect_all(branches)?,
                (operator, _) if operator.starts_with('$') => {}
                (path, Raw::Document(operators)) if is_operator_document(operators) => {
                    self.collect_operators(path, operators)?;
                }
                (path, value) => self.add(path, value)?,
            }
        }
        Ok(())
    }

    fn collect_all(&mut self, branches: RawDoc<'a>) -> Result<()> {
        for branch in branches.values() {
            if let Raw::Document(branch) = branch {
                self.collect(branch)?;
            }
        }
        Ok(())
    }

    fn collect_operators(&mut self, path: &'a str, operators: RawDoc<'a>) -> Result<()> {
        for (operator, argument) in operators.iter() {
            match (operator, argument) {
                ("$eq", Raw::Regex { .. }) => self.insert(path, argument)?,
                ("$eq", _) => self.add(path, argument)?,
                ("$in", Raw::Array(values)) if values.iter().nth(1).is_none() => {
                    if let Some(only) = values.values().next() {
                        self.add(path, only)?;
                    }
                }
                ("$all", Raw::Array(values)) => {
                    for value in values.values() {
                        if !matches!(value, Raw::Document(doc) if is_operator_document(doc)) {
                            self.add(path, value)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds an equality; a pattern is none.
    fn add(&mut self, path: &'a str, value: Raw<'a>) -> Result<()> {
        if matches!(value, Raw::Regex { .. }) { Ok(()) } else { self.insert(path, value) }
    }

    fn insert(&mut self, path: &'a str, value: Raw<'a>) -> Result<()> {
        if self.only_id && path != "_id" {
            if path.starts_with("_id.") {
                let message = format!("field at '_id' must be exactly specified, field at sub-path '{path}'found");
                return Err(Error::new(111, message));
            }
            return Ok(());
        }
        match self.found.insert(path, value) {
            None => Ok(()),
            Some(_) => Err(Error::new(54, format!("cannot infer query fields to set, path '{path}' is matched twice"))),
        }
    }

    fn to_document(&self) -> Result<DocBuf> {
        let mut doc = Doc::new();
        for (path, value) in &self.found {
            let components: Vec<&str> = path.split('.').collect();
            if components.len() + depth(*value) > base::limits::MAX_NESTING_LEVELS {
                return Err(too_deep());
            }
            self.check_prefixes(path)?;
            place(&mut doc, &components, value.to_value());
        }
        Ok(doc.to_buf())
    }

    fn check_prefixes(&self, path: &str) -> Result<()> {
        let dots = path.match_indices('.').map(|(i, _)| &path[..i]);
        match dots.into_iter().find(|prefix| self.found.contains_key(prefix)) {
            None => Ok(()),
            Some(prefix) => Err(Error::new(
                54,
                format!("cannot infer query fields to set, both paths '{path}' and '{prefix}' are matched"),
            )),
        }
    }
}

/// Sets a path in a document under construction. Paths come sorted, so those with a common prefix
/// come one after the other, and no prefix of a path holds a value of its own.
fn place(doc: &mut Doc, components: &[&str], value: Value) {
    let (first, rest) = components.split_first().expect("a path has a component");
    if rest.is_empty() {
        doc.push(*first, value);
        return;
    }
    if doc.0.last().is_none_or(|(name, _)| name != first) {
        doc.push(*first, Doc::new());
    }
    match doc.0.last_mut() {
        Some((_, Value::Document(below))) => place(below, rest, value),
        _ => unreachable!("a prefix that is matched itself has been refused"),
    }
}
