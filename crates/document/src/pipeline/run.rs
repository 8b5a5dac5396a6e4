//! How each stage turns one stream into another.

use super::{Budget, DocStream, Environment, Pipeline, Stage, single};
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::expression::text::value_text;
use crate::raw::{DocBuf, RawDoc};
use crate::sort::{SortPattern, TopK};
use crate::value::Value;
use crate::write::DocWriter;

pub(super) fn stages<'a>(stages: &'a [Stage], input: DocStream<'a>, env: &'a dyn Environment) -> DocStream<'a> {
    stages.iter().fold(input, |input, stage| run(stage, input, env))
}

fn run<'a>(stage: &'a Stage, input: DocStream<'a>, env: &'a dyn Environment) -> DocStream<'a> {
    match stage {
        Stage::Match(_) | Stage::Project { .. } | Stage::ReplaceRoot { .. } | Stage::Redact(_) => {
            Box::new(input.filter_map(move |doc| match doc {
                Ok(doc) => single::apply(stage, doc).transpose(),
                Err(e) => Some(Err(e)),
            }))
        }
        Stage::Limit(n) => Box::new(Limited { input: Some(input), left: *n }),
        Stage::Skip(n) => Box::new(skipping(input, *n)),
        Stage::Sort { pattern, limit } => gathered(input, move |input| sort(pattern, *limit, input)),
        Stage::Group(group) => gathered(input, move |input| group.run(input)),
        Stage::Unwind(unwind) => Box::new(input.flat_map(move |doc| -> DocStream<'a> {
            match doc {
                Ok(doc) => Box::new(unwind.expand(doc).map(Ok)),
                Err(e) => Box::new(std::iter::once(Err(e))),
            }
        })),
        Stage::BucketAuto(bucket) => gathered(input, move |input| bucket.run(input)),
        Stage::Facet(facets) => gathered(input, move |input| facet(facets, input, env)),
        Stage::Lookup(lookup) => lookup.run(input, env),
        Stage::GraphLookup(lookup) => lookup.run(input, env),
        Stage::UnionWith(union) => union.run(input, env),
        Stage::Sample { size } => gathered(input, move |input| sample(*size, input)),
        Stage::SetWindowFields(fields) => gathered(input, move |input| fields.run(input)),
        Stage::Densify(densify) => gathered(input, move |input| densify.run(input)),
        Stage::Documents(expression) => gathered(input, move |_| documents(expression)),
        Stage::Output(_) | Stage::Source { .. } => input,
    }
}

/// A stage that needs its whole input; it starts when the first result is asked for.
fn gathered<'a, F>(input: DocStream<'a>, work: F) -> DocStream<'a>
where
    F: FnOnce(DocStream<'a>) -> Result<Vec<DocBuf>> + Send + 'a,
{
    let results = std::iter::once_with(move || -> DocStream<'a> {
        match work(input) {
            Ok(docs) => Box::new(docs.into_iter().map(Ok)),
            Err(e) => Box::new(std::iter::once(Err(e))),
        }
    });
    Box::new(results.flatten())
}

/// `$limit`: never pulls a document beyond the last it gives.
struct Limited<'a> {
    input: Option<DocStream<'a>>,
    left: u64,
}

impl Iterator for Limited<'_> {
    type Item = Result<DocBuf>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            self.input = None;
        }
        let next = self.input.as_mut()?.next();
        self.left = self.left.saturating_sub(1);
        next
    }
}

/// `$skip`; an error among the skipped ones still comes through.
fn skipping(input: DocStream<'_>, n: u64) -> impl Iterator<Item = Result<DocBuf>> + Send {
    let mut left = n;
    input.filter(move |doc| {
        let skip = left > 0 && doc.is_ok();
        left -= u64::from(skip);
        !skip
    })
}

fn sort(pattern: &SortPattern, limit: Option<usize>, input: DocStream<'_>) -> Result<Vec<DocBuf>> {
    let mut budget = Budget::new("$sort");
    let Some(limit) = limit else { return pattern.sort(budget.gather(input)?) };
    let mut top = TopK::new(limit);
    for doc in input {
        let doc = doc?;
        let key = pattern.key(doc.as_doc())?;
        if top.len() < limit {
            budget.charge(doc.len() + 64)?;
        }
        top.push(key, doc);
    }
    Ok(top.into_sorted())
}

fn facet(facets: &[(String, Pipeline)], input: DocStream<'_>, env: &dyn Environment) -> Result<Vec<DocBuf>> {
    let docs = Budget::new("$facet").gather(input)?;
    let mut writer = DocWriter::new();
    for (name, pipeline) in facets {
        writer.begin_array(name);
        let copies = docs.iter().cloned().map(Ok);
        for (i, doc) in pipeline.run(Box::new(copies), env).enumerate() {
            writer.doc(&i.to_string(), doc?.as_doc());
            if writer.len() > super::MAX_STAGE {
                return Err(Error::new(
                    4031700,
                    format!(
                        "document constructed by $facet is more than {} bytes, which exceeds the limit",
                        super::MAX_STAGE
                    ),
                ));
            }
        }
        writer.end();
    }
    Ok(vec![writer.finish()])
}

/// Reservoir sampling: every document has the same chance.
fn sample(size: u64, input: DocStream<'_>) -> Result<Vec<DocBuf>> {
    let mut budget = Budget::new("$sample");
    let mut random = base::Random::from_os();
    let mut chosen: Vec<DocBuf> = Vec::new();
    for (seen, doc) in (1u64..).zip(input) {
        let doc = doc?;
        if (chosen.len() as u64) < size {
            budget.charge(doc.len() + size_of::<DocBuf>())?;
            chosen.push(doc);
        } else {
            let at = random.below(seen);
            if at < size {
                chosen[at as usize] = doc;
            }
        }
    }
    for i in (1..chosen.len()).rev() {
        chosen.swap(i, random.below(i as u64 + 1) as usize);
    }
    Ok(chosen)
}

fn documents(expression: &Expression) -> Result<Vec<DocBuf>> {
    match expression.evaluate(RawDoc::EMPTY)? {
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::Document(doc) => Ok(doc.to_buf()),
                other => Err(Error::new(
                    40228,
                    format!("$documents elements must be objects, found: {}", value_text(Some(&other))),
                )),
            })
            .collect(),
        other => Err(Error::new(
            5858203,
            format!("error during evaluating $documents: an array is expected, found: {}", value_text(other.as_ref())),
        )),
    }
}
