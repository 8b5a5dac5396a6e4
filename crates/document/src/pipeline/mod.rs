//! Aggregation pipelines.
//!
//! ```text
//!   DocStream ──> $match ──> $set ──> $group ──> … ──> DocStream
//!               pulls one   pulls one   pulls all
//! ```
//!
//! Stages that look at one document at a time pull lazily; the others gather, within a memory
//! bound, before they give their first. Stages that the server itself composes of others (`$count`,
//! `$bucket`, `$fill`) are composed here when parsed.
//!
//! # Not here
//! Where documents come from (`Environment`), and what `$out` and `$merge` do to a collection: they
//! are parsed and validated here, and the caller executes them.
//!
//! # Invariants
//! - A pipeline that reads no other collection is a function of its input and context (`$sample`
//!   and `$rand` apart).
//! - What a gathering stage holds is counted against `MAX_STAGE`.
//!
//! Read next: `stage.rs`, `parse.rs`, `single.rs`, `run.rs`, then a stage's own file.

mod bucket;
mod densify;
mod edit;
mod fill;
mod graph_lookup;
mod group;
mod lookup;
mod output;
mod parse;
mod run;
mod single;
mod stage;
mod unwind;
mod window;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::matcher::Matcher;
use crate::raw::{DocBuf, RawDoc};
use crate::sort::SortPattern;
use crate::value::Doc;

pub use graph_lookup::GraphLookup;
pub use group::Group;
pub use lookup::{Lookup, UnionWith};
pub use output::{Merge, Output, Target, WhenMatched, WhenNotMatched};
pub use stage::Stage;

/// Documents on their way, pulled one by one.
pub type DocStream<'a> = Box<dyn Iterator<Item = Result<DocBuf>> + Send + 'a>;

/// What one stage may hold, bytes; the server's limit for stages that do not spill to disk.
pub(crate) const MAX_STAGE: usize = 100 * 1024 * 1024;

/// What a pipeline reads besides its input.
pub trait Environment: Sync {
    /// The documents of a collection or view; none if it does not exist. `db` is `None` for the
    /// pipeline's own database. `filter` narrows what the caller needs, as a query document: an
    /// implementation may use it to choose an index, and may return more.
    fn collection(&self, db: Option<&str>, name: &str, filter: Option<&Doc>) -> Result<DocStream<'_>>;
}

/// An environment without collections.
#[derive(Debug, Default)]
pub struct NoCollections;

impl Environment for NoCollections {
    fn collection(&self, _: Option<&str>, _: &str, _: Option<&Doc>) -> Result<DocStream<'_>> {
        Ok(Box::new(std::iter::empty()))
    }
}

/// A parsed pipeline.
#[derive(Debug)]
pub struct Pipeline {
    stages: Vec<Stage>,
}

impl Pipeline {
    /// Parses the stages. Errors with 40323 (not exactly one field), 40324 (unknown stage), 40601
    /// (`$out` or `$merge` not last), 40602 (a source not first), and the codes of each stage.
    pub fn parse(stages: &[RawDoc<'_>], ctx: &Context) -> Result<Pipeline> {
        let mut parsed = Vec::with_capacity(stages.len());
        for stage in stages {
            parse::stage(*stage, ctx, &mut parsed)?;
        }
        check_positions(&parsed)?;
        bound_sorts(&mut parsed);
        Ok(Pipeline { stages: parsed })
    }

    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The filter that every result's source satisfies, if the pipeline begins with `$match`.
    pub fn leading_match(&self) -> Option<&Matcher> {
        match self.stages.first() {
            Some(Stage::Match(matcher)) => Some(matcher),
            _ => None,
        }
    }

    /// The order that the first stages ask for, and how many documents of it: what an index could
    /// deliver. A leading `$match` may stand before it.
    pub fn leading_sort(&self) -> Option<(&SortPattern, Option<usize>)> {
        let first = usize::from(self.leading_match().is_some());
        match self.stages.get(first) {
            Some(Stage::Sort { pattern, limit }) => Some((pattern, *limit)),
            _ => None,
        }
    }

    /// Where results are to be written, if the last stage is `$out` or `$merge`.
    pub fn output(&self) -> Option<&Output> {
        match self.stages.last() {
            Some(Stage::Output(output)) => Some(output),
            _ => None,
        }
    }

    /// Runs a pipeline whose stages make at most one document of one: `$match`, `$project`,
    /// `$addFields`, `$unset`, `$replaceRoot`, `$redact` and their other names.
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

    /// Runs the pipeline. `$out`, `$merge` and sources pass their input on: the caller supplies what
    /// a source yields and consumes what an output receives.
    pub fn run<'a>(&'a self, input: DocStream<'a>, env: &'a dyn Environment) -> DocStream<'a> {
        run::stages(&self.stages, input, env)
    }
}

fn check_positions(stages: &[Stage]) -> Result<()> {
    // Behind $changeStream the caller judges every stage by its own list.
    let stream = matches!(stages.first(), Some(Stage::Source { name, .. }) if name == "$changeStream");
    for (i, stage) in stages.iter().enumerate() {
        match stage {
            Stage::Output(_) if i + 1 != stages.len() => {
                return Err(Error::new(40601, format!("{} can only be the final stage in the pipeline", stage.name())));
            }
            Stage::Source { name, .. }
                if i > 0 && (!stream || name == "$changeStream") && name != "$changeStreamSplitLargeEvent" =>
            {
                return Err(Error::new(40602, format!("{name} is only valid as the first stage in a pipeline.")));
            }
            Stage::Documents(_) if i > 0 => {
                return Err(Error::new(40602, "$documents is only valid as the first stage in a pipeline."));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Tells a sort how many of its documents the `$skip` and `$limit` behind it let through.
fn bound_sorts(stages: &mut [Stage]) {
    for i in 0..stages.len() {
        let mut skipped = 0usize;
        let bound = stages[i + 1..].iter().find_map(|next| match next {
            Stage::Skip(n) => {
                skipped = skipped.saturating_add(usize::try_from(*n).unwrap_or(usize::MAX));
                None
            }
            Stage::Limit(n) => Some(Some(skipped.saturating_add(usize::try_from(*n).unwrap_or(usize::MAX)))),
            _ => Some(None),
        });
        if let Stage::Sort { limit, .. } = &mut stages[i] {
            *limit = bound.flatten();
        }
    }
}

/// Counts what a stage holds.
#[derive(Debug)]
pub(crate) struct Budget {
    stage: &'static str,
    used: usize,
}

impl Budget {
    pub fn new(stage: &'static str) -> Self {
        Budget { stage, used: 0 }
    }

    /// Errors with 292 beyond the limit.
    pub fn charge(&mut self, bytes: usize) -> Result<()> {
        self.used = self.used.saturating_add(bytes);
        if self.used > MAX_STAGE {
            return Err(Error::new(
                292,
                format!(
                    "Exceeded memory limit for {}, but didn't allow external sort. Pass allowDiskUse:true to opt in.",
                    self.stage
                ),
            ));
        }
        Ok(())
    }

    /// Gathers a whole stream.
    pub fn gather(&mut self, input: DocStream<'_>) -> Result<Vec<DocBuf>> {
        let mut docs = Vec::new();
        for doc in input {
            let doc = doc?;
            self.charge(doc.len() + size_of::<DocBuf>())?;
            docs.push(doc);
        }
        Ok(docs)
    }
}

#[cfg(test)]
mod tests;
