//! The stages of a parsed pipeline.

use super::bucket::BucketAuto;
use super::densify::Densify;
use super::unwind::Unwind;
use super::window::SetWindowFields;
use super::{GraphLookup, Group, Lookup, Output, Pipeline, UnionWith};
use crate::expression::Expression;
use crate::matcher::Matcher;
use crate::projection::Projection;
use crate::raw::DocBuf;
use crate::sort::SortPattern;

/// One stage.
#[derive(Debug)]
pub enum Stage {
    Match(Matcher),
    /// `$project`, `$addFields`, `$set`, `$unset`.
    Project {
        name: &'static str,
        projection: Projection,
    },
    /// `$replaceRoot`, `$replaceWith`.
    ReplaceRoot {
        name: &'static str,
        expression: Expression,
    },
    Redact(Expression),
    Limit(u64),
    Skip(u64),
    /// `limit` is how many of the sorted documents the stages behind it can use.
    Sort {
        pattern: SortPattern,
        limit: Option<usize>,
    },
    Group(Box<Group>),
    Unwind(Unwind),
    BucketAuto(Box<BucketAuto>),
    Facet(Vec<(String, Pipeline)>),
    Lookup(Box<Lookup>),
    GraphLookup(Box<GraphLookup>),
    UnionWith(Box<UnionWith>),
    Sample {
        size: u64,
    },
    SetWindowFields(Box<SetWindowFields>),
    Densify(Box<Densify>),
    /// Documents out of an expression instead of a collection.
    Documents(Expression),
    /// `$out` and `$merge`.
    Output(Output),
    /// A stage whose documents the caller supplies: `$changeStream`, `$collStats`, `$indexStats`, …
    Source {
        name: String,
        /// The stage as it was written, `{name: specification}`.
        spec: DocBuf,
    },
}

impl Stage {
    /// The stage's name as the server reports it: a `$bucket` is a `$group`.
    pub fn name(&self) -> &str {
        match self {
            Stage::Match(_) => "$match",
            Stage::Project { name, .. } | Stage::ReplaceRoot { name, .. } => name,
            Stage::Redact(_) => "$redact",
            Stage::Limit(_) => "$limit",
            Stage::Skip(_) => "$skip",
            Stage::Sort { .. } => "$sort",
            Stage::Group(_) => "$group",
            Stage::Unwind(_) => "$unwind",
            Stage::BucketAuto(_) => "$bucketAuto",
            Stage::Facet(_) => "$facet",
            Stage::Lookup(_) => "$lookup",
            Stage::GraphLookup(_) => "$graphLookup",
            Stage::UnionWith(_) => "$unionWith",
            Stage::Sample { .. } => "$sample",
            Stage::SetWindowFields(_) => "$_internalSetWindowFields",
            Stage::Densify(_) => "$_internalDensify",
            Stage::Documents(_) => "$documents",
            Stage::Output(Output::Out(_)) => "$out",
            Stage::Output(Output::Merge(_)) => "$merge",
            Stage::Source { name, .. } => name,
        }
    }

    /// Whether `Pipeline::apply_one` can run it.
    pub fn is_single(&self) -> bool {
        matches!(self, Stage::Match(_) | Stage::Project { .. } | Stage::ReplaceRoot { .. } | Stage::Redact(_))
    }
}
