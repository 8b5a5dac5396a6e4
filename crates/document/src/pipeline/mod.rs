//! Aggregation pipelines.
//!
//! ```text
//!   DocStream ──> $match ──> $set ──> $group ──> … ──> DocStream
//!               pulls one   pulls one   pulls all
//! ```
//!
//! Stages that look at one document at a time pull lazily; the others gather, within a memory
//! bound, before they give their first.
//!
//! # Not here
//! Where documents come from (`Environment`), and what `$out` and `$merge` do to a collection: they
//! are parsed and validated here, and the caller executes them.
//!
//! Read next: `stage.rs`.

mod parse;
mod single;

use crate::context::Context;
use crate::error::Result;
use crate::expression::Expression;
use crate::projection::Projection;
use crate::raw::{DocBuf, RawDoc};

/// Documents on their way, pulled one by one.
pub type DocStream<'a> = Box<dyn Iterator<Item = Result<DocBuf>> + Send + 'a>;

/// A parsed pipeline.
#[derive(Debug)]
pub struct Pipeline {
    stages: Vec<Stage>,
}

/// One stage.
#[derive(Debug)]
pub enum Stage {
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
}

impl Stage {
    /// The stage's name as the server reports it: `$bucket` is a `$group`.
    pub fn name(&self) -> &str {
        match self {
            Stage::Project { name, .. } | Stage::ReplaceRoot { name, .. } => name,
            Stage::Redact(_) => "$redact",
        }
    }
}

impl Pipeline {
    /// Parses the stages. Errors with 40323 (not exactly one field), 40324 (unknown stage), and the
    /// codes of each stage.
    pub fn parse(stages: &[RawDoc<'_>], ctx: &Context) -> Result<Pipeline> {
        let mut parsed = Vec::with_capacity(stages.len());
        for stage in stages {
            parse::stage(*stage, ctx, &mut parsed)?;
        }
        Ok(Pipeline { stages: parsed })
    }

    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Runs a pipeline whose stages make at most one document of one.
    pub fn apply_one(&self, doc: DocBuf) -> Result<Option<DocBuf>> {
        let mut doc = doc;
        for stage in &self.stages {
            match single::apply(stage, doc)? {
                Some(next) => doc = next,
                None => return Ok(None),
            }
        }
        Ok(Some(doc))
    }
}
