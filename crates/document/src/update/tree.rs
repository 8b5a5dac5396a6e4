//! The operators of an update, arranged by the paths they write to.
//!
//! ```text
//!   {$set: {"a.x": 1, "b.$[e].v": 2}, $inc: {"a.y": 3}}
//!
//!   Object ─┬─ a: Object ─┬─ x: $set 1
//!           │             └─ y: $inc 3
//!           └─ b: Array ── [e]: Object ── v: $set 2
//! ```
//!
//! Two operators may not meet at one place, nor one stand above another: that is a conflict (40),
//! found while the tree is built, or, where a `$` or `$[id]` decides the place, while it is applied.
//! Children stand in path order, digits by their value; operators are applied in that order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::filters::ArrayFilters;
use super::operator::Operator;
use crate::error::{Error, Result};

#[derive(Clone, Debug)]
pub(super) enum UpdateNode {
    Object(ObjectNode),
    Array(ArrayNode),
    Leaf(Operator),
}

/// What is to be done to the fields of a document, or to the elements of an array by index.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectNode {
    pub children: BTreeMap<FieldKey, UpdateNode>,
    /// Behind a `$`.
    pub positional: Option<Box<UpdateNode>>,
}

/// What is to be done to the elements that an array filter picks; `$[]` has the empty identifier.
#[derive(Clone, Debug, Default)]
pub(super) struct ArrayNode {
    pub children: BTreeMap<String, UpdateNode>,
}

/// A field name in path order: digits first, by value; then all others by their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldKey(pub String);

impl FieldKey {
    fn digits(&self) -> Option<&str> {
        let numeric = !self.0.is_empty() && self.0.bytes().all(|b| b.is_ascii_digit());
        numeric.then(|| self.0.trim_start_matches('0'))
    }
}

impl Ord for FieldKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.digits(), other.digits()) {
            (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)).then_with(|| self.0.cmp(&other.0)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for FieldKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Deepest path that is taken; a document of that depth could not be stored.
const MAX_COMPONENTS: usize = base::limits::MAX_NESTING_LEVELS;

/// Splits and checks the path of a modifier.
pub(super) fn split_path(path: &str) -> Result<Vec<&str>> {
    if path.is_empty() {
        return Err(Error::new(56, "An empty update path is not valid."));
    }
    let components: Vec<&str> = path.split('.').take(MAX_COMPONENTS + 1).collect();
    if components.len() > MAX_COMPONENTS {
        return Err(Error::new(15, format!("Field path has more than {MAX_COMPONENTS} components")));
    }
    if components.iter().any(|component| component.is_empty()) {
        let message = format!("The update path '{path}' contains an empty field name, which is not allowed.");
        return Err(Error::new(56, message));
    }
    Ok(components)
}

/// Whether the component stands for elements found only when the update is applied.
pub(super) fn is_dynamic(component: &str) -> bool {
    component == "$" || filter_identifier(component).is_some()
}

/// `e` of `$[e]`, the empty string of `$[]`.
fn filter_identifier(component: &str) -> Option<&str> {
    component.strip_prefix("$[")?.strip_suffix(']')
}

impl ObjectNode {
    /// Adds an operator at a path. Errors with 40 if another operator is there, above or below.
    pub fn insert(&mut self, path: &str, operator: Operator, filters: &mut ArrayFilters) -> Result<()> {
        let components = split_path(path)?;
        check_dynamic(path, &components, filters)?;
        let mut level = Slot::Object(self);
        for (i, component) in components.iter().enumerate() {
            let fresh = match components.get(i + 1) {
                None => UpdateNode::Leaf(Operator::RenameSource),
                Some(next) if filter_identifier(next).is_some() => UpdateNode::Array(ArrayNode::default()),
                Some(_) => UpdateNode::Object(ObjectNode::default()),
            };
            let conflict = || {
                let at = components[..=i].join(".");
                Error::new(40, format!("Updating the path '{path}' would create a conflict at '{at}'"))
            };
            let wanted = std::mem::discriminant(&fresh);
            let (child, is_new) = level.child(component, fresh);
            if std::mem::discriminant(child) != wanted {
                return Err(conflict());
            }
            level = match child {
                UpdateNode::Object(object) => Slot::Object(object),
                UpdateNode::Array(array) => Slot::Array(array),
                UpdateNode::Leaf(_) if !is_new => return Err(conflict()),
                UpdateNode::Leaf(leaf) => {
                    *leaf = operator;
                    return Ok(());
                }
            };
        }
        unreachable!("the last component of a path is a leaf")
    }
}

enum Slot<'t> {
    Object(&'t mut ObjectNode),
    Array(&'t mut ArrayNode),
}

impl<'t> Slot<'t> {
    /// The child behind a component, and whether it had to be made.
    fn child(self, component: &str, fresh: UpdateNode) -> (&'t mut UpdateNode, bool) {
        match self {
            Slot::Object(object) if component == "$" => {
                let is_new = object.positional.is_none();
                (object.positional.get_or_insert_with(|| Box::new(fresh)), is_new)
            }
            Slot::Object(object) => {
                let key = FieldKey(component.to_owned());
                let is_new = !object.children.contains_key(&key);
                (object.children.entry(key).or_insert(fresh), is_new)
            }
            Slot::Array(array) => {
                let identifier = filter_identifier(component).unwrap_or_default().to_owned();
                let is_new = !array.children.contains_key(&identifier);
                (array.children.entry(identifier).or_insert(fresh), is_new)
            }
        }
    }
}

fn check_dynamic(path: &str, components: &[&str], filters: &mut ArrayFilters) -> Result<()> {
    if components.iter().filter(|component| **component == "$").count() > 1 {
        let message = format!("Too many positional (i.e. '$') elements found in path '{path}'");
        return Err(Error::bad_value(message));
    }
    if components[0] == "$" {
        let message = format!("Cannot have positional (i.e. '$') element in the first position in path '{path}'");
        return Err(Error::bad_value(message));
    }
    for (i, component) in components.iter().enumerate() {
        let Some(identifier) = filter_identifier(component) else { continue };
        if i == 0 {
            return Err(Error::bad_value(format!(
                "Cannot have array filter identifier (i.e. '$[<id>]') element in the first position in path '{path}'"
            )));
        }
        if !identifier.is_empty() && !filters.note_use(identifier) {
            let message = format!("No array filter found for identifier '{identifier}' in path '{path}'");
            return Err(Error::bad_value(message));
        }
    }
    Ok(())
}
