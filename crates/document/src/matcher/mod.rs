//! Queries: a filter document, parsed once, asked of many documents.
//!
//! ```text
//!   {a: {$gt: 5}, $or: [{b: 1}, {c: {$exists: false}}]}
//!
//!   And ─┬─ Field a: Compare(Gt, 5)
//!        └─ Or ─┬─ Field b: Compare(Eq, 1)
//!               └─ Not ── Field c: Exists
//! ```
//!
//! A field predicate walks its path (`path::Path::walk`) and holds if its condition holds for
//! anything the walk visits; negation stands outside, so `{a: {$ne: 1}}` means "no visited a is 1".
//! The tree is public: an index planner reads bounds from it, a change stream what it depends on.
//!
//! # Not here
//! Which index answers a query (`store`); JavaScript, text and geo operators, which are refused.
//!
//! Read next: `parse.rs`, `condition.rs`, `pattern.rs`, `schema.rs`.

mod condition;
mod parse;
mod pattern;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::context::Context;
use crate::error::Result;
use crate::expression::Expression;
use crate::path::Path;
use crate::raw::{Raw, RawDoc};
use crate::write::DocWriter;

pub use condition::{BitMask, BitTest, Comparison, Condition, Literal, Members, TypeSet};
pub use parse::{is_operator_document, type_by_alias};
pub use pattern::Pattern;
pub use schema::Schema;

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Matcher {
    root: Predicate,
}

/// One node of a parsed filter; asked of a document.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// All hold; with no children it always holds.
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Nor(Vec<Predicate>),
    Not(Box<Predicate>),
    /// The condition holds for something the path reaches.
    Field {
        path: Path,
        condition: Condition,
    },
    /// `$alwaysTrue`, `$alwaysFalse`, and what reduces to them (`{$all: []}`).
    Always(bool),
    JsonSchema(Arc<Schema>),
    /// The aggregation expression is true.
    Expr(Arc<Expression>),
}

/// Why a document matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchDetails {
    /// The array position that matched; what a positional `$` in an update stands for.
    pub array_index: Option<usize>,
}

impl Matcher {
    /// Parses a filter document.
    ///
    /// ```
    /// use document::{Context, Doc, matcher::Matcher};
    /// let filter = Doc::new().with("a", Doc::new().with("$gt", 5)).to_buf();
    /// let matcher = Matcher::parse(filter.as_doc(), &Context::default())?;
    /// assert!(matcher.matches(Doc::new().with("a", 7).to_buf().as_doc())?);
    /// # Ok::<(), document::Error>(())
    /// ```
    pub fn parse(filter: RawDoc<'_>, ctx: &Context) -> Result<Self> {
        Ok(Matcher { root: parse::filter(filter, ctx)? })
    }

    /// Parses the condition on one value, such as `{$gte: 5}` in `{$pull: {a: {$gte: 5}}}`: what
    /// could stand behind a field name. Ask it with `match_value`.
    pub fn parse_condition(condition: Raw<'_>, ctx: &Context) -> Result<Self> {
        Ok(Matcher { root: parse::field("", condition, ctx)? })
    }

    pub fn matches(&self, doc: RawDoc<'_>) -> Result<bool> {
        self.root.matches(doc, None)
    }

    /// `None` if the document does not match.
    pub fn matches_details(&self, doc: RawDoc<'_>) -> Result<Option<MatchDetails>> {
        let mut details = MatchDetails::default();
        Ok(self.root.matches(doc, Some(&mut details))?.then_some(details))
    }

    /// Asks a condition from `parse_condition` of a value.
    pub fn match_value(&self, value: Raw<'_>) -> Result<bool> {
        self.match_named("", value)
    }

    /// Asks the filter of the document `{name: value}`; how an array filter on identifier `name`
    /// sees an element.
    pub fn match_named(&self, name: &str, value: Raw<'_>) -> Result<bool> {
        let mut wrapped = DocWriter::new();
        wrapped.raw(name, value);
        self.matches(wrapped.finish().as_doc())
    }

    pub fn root(&self) -> &Predicate {
        &self.root
    }

    /// Whether every document matches.
    pub fn is_trivial(&self) -> bool {
        matches!(&self.root, Predicate::And(children) if children.is_empty())
            || matches!(self.root, Predicate::Always(true))
    }

    /// The dotted paths of all field predicates outside `$elemMatch`, in order, with repetitions.
    /// An expression or schema reads more than these; see `reads_whole_document`.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths = Vec::new();
        self.root.visit(&mut |predicate| {
            if let Predicate::Field { path, .. } = predicate {
                paths.push(path.dotted());
            }
        });
        paths
    }

    /// Whether the filter looks at more than `paths` names.
    pub fn reads_whole_document(&self) -> bool {
        let mut found = false;
        self.root.visit(&mut |predicate| found |= matches!(predicate, Predicate::Expr(_) | Predicate::JsonSchema(_)));
        found
    }
}

impl Predicate {
    /// Calls `see` for this predicate and everything below it, parents first.
    pub fn visit<'p>(&'p self, see: &mut dyn FnMut(&'p Predicate)) {
        see(self);
        match self {
            Predicate::And(children) | Predicate::Or(children) | Predicate::Nor(children) => {
                children.iter().for_each(|child| child.visit(see));
            }
            Predicate::Not(child) => child.visit(see),
            _ => {}
        }
    }

    /// Asks a document. `details` learns the array position of the last field predicate that held,
    /// but never through `$or`, `$nor` or `$not`, which do not say which element was meant.
    pub fn matches(&self, doc: RawDoc<'_>, mut details: Option<&mut MatchDetails>) -> Result<bool> {
        match self {
            Predicate::And(children) => {
                for child in children {
                    if !child.matches(doc, details.as_deref_mut())? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Predicate::Or(children) => any(children, |child| child.matches(doc, None)),
            Predicate::Nor(children) => Ok(!any(children, |child| child.matches(doc, None))?),
            Predicate::Not(child) => Ok(!child.matches(doc, None)?),
            Predicate::Field { path, condition } => matches_field(path, condition, doc, details),
            Predicate::Always(answer) => Ok(*answer),
            Predicate::JsonSchema(schema) => schema.accepts(Raw::Document(doc)),
            Predicate::Expr(expression) => Ok(expression.evaluate(doc)?.is_some_and(|value| is_true(&value))),
        }
    }

    /// Asks one array element, as `$elemMatch` with operators does: paths play no part.
    pub(crate) fn matches_value(&self, value: Raw<'_>) -> Result<bool> {
        match self {
            Predicate::And(children) => Ok(!any(children, |child| Ok(!child.matches_value(value)?))?),
            Predicate::Or(children) => any(children, |child| child.matches_value(value)),
            Predicate::Nor(children) => Ok(!any(children, |child| child.matches_value(value))?),
            Predicate::Not(child) => Ok(!child.matches_value(value)?),
            Predicate::Field { condition, .. } => Ok(condition.test(Some(value))?.holds),
            Predicate::Always(answer) => Ok(*answer),
            Predicate::Expr(_) | Predicate::JsonSchema(_) => Ok(false),
        }
    }
}

fn any(children: &[Predicate], mut holds: impl FnMut(&Predicate) -> Result<bool>) -> Result<bool> {
    for child in children {
        if holds(child)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn matches_field(
    path: &Path,
    condition: &Condition,
    doc: RawDoc<'_>,
    mut details: Option<&mut MatchDetails>,
) -> Result<bool> {
    path.walk(doc, condition.leaf_arrays(), |visit| {
        let outcome = condition.test(visit.value)?;
        if outcome.holds
            && let Some(details) = details.as_deref_mut()
            && let Some(index) = visit.array_index.or(outcome.element)
        {
            details.array_index = Some(index);
        }
        Ok(outcome.holds)
    })
}

/// Truth of an expression's result: false, zero, null and undefined are false.
fn is_true(value: &crate::Value) -> bool {
    match value.as_scalar() {
        Raw::Bool(b) => b,
        Raw::Null | Raw::Undefined => false,
        number if number.is_number() => crate::number::compare(number, Raw::Int32(0)).is_ne(),
        _ => true,
    }
}
