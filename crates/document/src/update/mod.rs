//! Updates: operators, replacements and pipelines, applied to a document and described.
//!
//! ```text
//!   {$set: {"a.x": 1}}   operators ─ tree ─ apply ─ log ──┐
//!   {b: 2}               replacement ──────────────────────┼──> Outcome: the new document,
//!   [{$set: {…}}]        pipeline ─ diff ──────────────────┘    and what a change event says of it
//! ```
//!
//! An operator update is described by what its operators touched (`log.rs`), a pipeline update by
//! comparing documents (`diff`), a replacement not at all.
//!
//! # Not here
//! Which documents are updated, and the array position that a query matched: the caller asks
//! `matcher`. Validators, indexes and storage (`store`).
//!
//! # Invariants
//! - The description applied to the old document gives the new one.
//! - A stored document has its `_id` first and never another one.
//!
//! Read next: `operator.rs`, `tree.rs`, `apply.rs`, `log.rs`, `description.rs`.

mod apply;
mod array;
mod check;
mod description;
mod filters;
mod insert;
mod log;
mod node;
mod operator;
mod print;
mod tree;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::compare::compare_raw;
use crate::context::Context;
use crate::diff;
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Stage};
use crate::raw::{DocBuf, Raw, RawDoc};

pub use check::{check_document, ensure_id, fill_timestamps};
pub use description::UpdateDescription;
pub(crate) use description::{Describer, Step};
pub use insert::upsert;
pub(crate) use node::{identical, raw_size};

use apply::{Applier, Surroundings};
use filters::ArrayFilters;
use operator::{Operator, unknown_modifier};
use tree::{ObjectNode, UpdateNode};

/// A parsed update, to be applied to many documents.
#[derive(Clone, Debug)]
pub struct Update {
    body: Body,
    ctx: Context,
}

#[derive(Clone, Debug)]
enum Body {
    Operators { tree: UpdateNode, filters: ArrayFilters },
    Replacement(DocBuf),
    Pipeline(Arc<Pipeline>),
}

/// The three forms of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    Operators,
    Replacement,
    Pipeline,
}

/// What an update did to a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing: no event, not counted as modified.
    Unchanged,
    /// An `update` event.
    Updated { document: DocBuf, description: UpdateDescription },
    /// A `replace` event. `sent` is what it shows, if that is not the document: a replacement whose
    /// `_id` is not its first field is stored with `_id` first and reported as it came.
    Replaced { document: DocBuf, sent: Option<DocBuf> },
}

impl Update {
    /// Parses the `u` of an update statement. Errors with 9 (unknown modifier, wrong type), 40
    /// (two operators at one path), 56 (empty path), 72 (stage not for updates), and the codes of
    /// each operator, filter and stage.
    pub fn parse(update: Raw<'_>, array_filters: &[RawDoc<'_>], ctx: &Context) -> Result<Update> {
        let body = match update {
            Raw::Document(doc) if doc.iter().next().is_some_and(|(name, _)| name.starts_with('$')) => {
                parse_operators(doc, array_filters, ctx)?
            }
            Raw::Document(_) if !array_filters.is_empty() => {
                return Err(Error::failed_to_parse("arrayFilters may not be specified for replacement-style updates"));
            }
            Raw::Document(doc) => Body::Replacement(doc.to_buf()),
            Raw::Array(_) if !array_filters.is_empty() => {
                return Err(Error::failed_to_parse("arrayFilters may not be specified for pipeline-syle updates"));
            }
            Raw::Array(stages) => Body::Pipeline(Arc::new(parse_pipeline(stages, ctx)?)),
            _ => return Err(Error::failed_to_parse("Update argument must be either an object or an array")),
        };
        Ok(Update { body, ctx: ctx.clone() })
    }

    pub fn kind(&self) -> UpdateKind {
        match self.body {
            Body::Operators { .. } => UpdateKind::Operators,
            Body::Replacement(_) => UpdateKind::Replacement,
            Body::Pipeline(_) => UpdateKind::Pipeline,
        }
    }

    /// Applies the update. `position` is the array index that the query matched, for `$`.
    ///
    /// Errors with 2 (`$` without a match, bad operand, overflow), 14 (operand type), 28 (path through
    /// a scalar), 40 (conflict behind `$`), 52 (`$` name), 66 (`_id` would change), 17419 (too large).
    ///
    /// ```
    /// use document::{Context, Doc, Raw};
    /// use document::update::{Outcome, Update};
    /// let update = Doc::new().with("$set", Doc::new().with("a", 2)).to_buf();
    /// let update = Update::parse(Raw::Document(update.as_doc()), &[], &Context::default())?;
    /// let doc = Doc::new().with("_id", 1).with("a", 1).to_buf();
    /// match update.apply(&doc, None)? {
    ///     Outcome::Updated { document, .. } => assert_eq!(document.get("a"), Some(Raw::Int32(2))),
    ///     _ => panic!("a changes"),
    /// }
    /// # Ok::<(), document::Error>(())
    /// ```
    pub fn apply(&self, doc: &DocBuf, position: Option<usize>) -> Result<Outcome> {
        self.apply_as(doc, position, false)
    }

    fn apply_as(&self, doc: &DocBuf, position: Option<usize>, is_insert: bool) -> Result<Outcome> {
        match &self.body {
            Body::Operators { tree, filters } => self.apply_operators(tree, filters, doc, position, is_insert),
            Body::Replacement(replacement) => self.apply_replacement(replacement, doc),
            Body::Pipeline(pipeline) => apply_pipeline(pipeline, doc),
        }
    }

    fn apply_operators(
        &self,
        tree: &UpdateNode,
        filters: &ArrayFilters,
        doc: &DocBuf,
        position: Option<usize>,
        is_insert: bool,
    ) -> Result<Outcome> {
        let position = position.map(|index| index.to_string());
        let around = Surroundings { ctx: &self.ctx, filters, position: position.as_deref(), is_insert };
        let (root, log) = Applier::new(doc.as_doc(), around).run(tree)?;
        if !log.is_changed() {
            return Ok(Outcome::Unchanged);
        }
        let document = root.to_document()?;
        Ok(Outcome::Updated { document, description: log.describe(&root) })
    }

    /// Nothing changes only if the stored bytes are what the client sent; without an `_id` in the
    /// replacement they never are.
    fn apply_replacement(&self, replacement: &DocBuf, doc: &DocBuf) -> Result<Outcome> {
        if replacement == doc {
            return Ok(Outcome::Unchanged);
        }
        if let Some((name, _)) = replacement.iter().find(|(name, _)| name.starts_with('$')) {
            return Err(check::dollar_field(name));
        }
        let filled = fill_timestamps(replacement, check::current_timestamp(&self.ctx));
        let document = keep_id(&filled, doc)?;
        let sent = (filled.get("_id").is_some() && filled != document).then_some(filled);
        Ok(Outcome::Replaced { document, sent })
    }
}

fn parse_operators(update: RawDoc<'_>, array_filters: &[RawDoc<'_>], ctx: &Context) -> Result<Body> {
    let mut filters = ArrayFilters::parse(array_filters, ctx)?;
    let mut root = ObjectNode::default();
    for (modifier, fields) in update.iter() {
        if !Operator::is_known(modifier) {
            return Err(unknown_modifier(modifier));
        }
        let Raw::Document(fields) = fields else {
            return Err(Error::failed_to_parse(format!(
                "Modifiers operate on fields but we found type {} instead. For example: {{$mod: {{<field>: ...}}}} not {{{}}}",
                fields.type_name(),
                print::element(modifier, fields)
            )));
        };
        for (field, argument) in fields.iter() {
            let operator = Operator::parse(modifier, field, argument, ctx)?;
            match (&operator, argument) {
                (Operator::Rename { .. }, Raw::String(target)) => {
                    root.insert(field, Operator::RenameSource, &mut filters)?;
                    root.insert(target, operator, &mut filters)?;
                }
                _ => root.insert(field, operator, &mut filters)?,
            }
        }
    }
    filters.check_all_used(update)?;
    Ok(Body::Operators { tree: UpdateNode::Object(root), filters })
}

fn parse_pipeline(stages: RawDoc<'_>, ctx: &Context) -> Result<Pipeline> {
    let mut parsed = Vec::new();
    for stage in stages.values() {
        let Raw::Document(stage) = stage else {
            return Err(Error::type_mismatch("Each element of the 'pipeline' array must be an object"));
        };
        parsed.push(stage);
    }
    let pipeline = Pipeline::parse(&parsed, ctx)?;
    let is_allowed = |stage: &&Stage| matches!(stage, Stage::Project { .. } | Stage::ReplaceRoot { .. });
    match pipeline.stages().iter().find(|stage| !is_allowed(stage)) {
        Some(other) => Err(Error::new(72, format!("{} is not allowed to be used within an update", other.name()))),
        None => Ok(pipeline),
    }
}

fn apply_pipeline(pipeline: &Pipeline, doc: &DocBuf) -> Result<Outcome> {
    let Some(result) = pipeline.apply_one(doc.clone())? else {
        return Ok(Outcome::Unchanged);
    };
    if result == *doc {
        return Ok(Outcome::Unchanged);
    }
    let document = keep_id(&result, doc)?;
    // A level less than the levels of containers: the document itself is level 0.
    if node::depth(Raw::Document(document.as_doc())) > base::limits::MAX_NESTING_LEVELS + 1 {
        return Err(node::too_deep());
    }
    Ok(match diff::describe(doc.as_doc(), document.as_doc()) {
        Some(description) if !description.is_empty() => Outcome::Updated { document, description },
        _ => Outcome::Replaced { document, sent: None },
    })
}

/// The new document with the `_id` of the old one, first. Errors with 66 if it has another one.
fn keep_id(new: &DocBuf, old: &DocBuf) -> Result<DocBuf> {
    let (new_id, old_id) = (new.get("_id"), old.get("_id"));
    if let (Some(new_id), Some(old_id)) = (new_id, old_id)
        && compare_raw(new_id, old_id).is_ne()
    {
        return Err(Error::new(
            66,
            format!(
                "After applying the update, the (immutable) field '_id' was found to have been altered to {}",
                print::element("_id", new_id)
            ),
        ));
    }
    let Some(id) = new_id.or(old_id) else { return Ok(new.clone()) };
    if matches!(id, Raw::Array(_)) {
        return Err(Error::new(
            54,
            "After applying the update to the document, the (immutable) field '_id' was found to be an array or array \
             descendant.",
        ));
    }
    check::check_id(id)?;
    let document = match new.iter().next() {
        Some(("_id", _)) => new.clone(),
        _ => check::with_id_first(id, new.as_doc()),
    };
    if document.len() > base::limits::MAX_DOCUMENT {
        return Err(node::too_large());
    }
    Ok(document)
}
