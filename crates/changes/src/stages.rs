//! The client's stages behind `$changeStream`, and what can be decided before images are read.
//!
//! A `$match` that comes first and does not look at the images is also evaluated before them: so an
//! event that it rejects costs no look-up, and cannot fail for an image that it never needed.

use std::sync::Arc;

use document::matcher::Matcher;
use document::pipeline::Pipeline;
use document::{Context, DocBuf, DocWriter, Raw, RawDoc};

use crate::error::Result;

/// The parsed stages of one stream. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// The `$match` stages that come first, as one.
    leading: Option<Arc<Matcher>>,
    /// Of those, the conditions that do not look at an image.
    image_free: Option<Arc<Matcher>>,
    /// The other stages.
    rest: Option<Arc<Pipeline>>,
    /// What `leading` was parsed from, for the index of predicates. Empty where a collation makes
    /// equal what has different bytes.
    conditions: Vec<DocBuf>,
}

impl Stages {
    /// Parses what follows `$changeStream`; stages were checked by `check_stages`.
    pub fn parse(stages: &[RawDoc<'_>], ctx: &Context) -> Result<Self> {
        let conditions: Vec<DocBuf> = stages.iter().map_while(|stage| condition(*stage)).map(RawDoc::to_buf).collect();
        let rest = &stages[conditions.len()..];
        let rest = if rest.is_empty() { None } else { Some(Arc::new(Pipeline::parse(rest, ctx)?)) };
        let leading = match conditions.as_slice() {
            [] => None,
            [single] => Some(matcher(single, ctx)?),
            several => Some(matcher(&conjunction(several.iter().map(DocBuf::as_doc)), ctx)?),
        };
        let image_free = image_free_conditions(&conditions).map(|free| matcher(&free, ctx)).transpose()?;
        let conditions = if ctx.collation.is_some() { Vec::new() } else { conditions };
        Ok(Stages { leading, image_free, rest, conditions })
    }

    pub(crate) fn apply(&self, event: DocBuf) -> Result<Option<DocBuf>> {
        if let Some(leading) = &self.leading
            && !leading.matches(event.as_doc())?
        {
            return Ok(None);
        }
        match &self.rest {
            Some(stages) => stages.apply_one(event),
            None => Ok(Some(event)),
        }
    }

    /// What can be asked of an event without images, given whether the stream has them.
    pub(crate) fn early(&self, has_images: bool) -> Option<&Arc<Matcher>> {
        if has_images { self.image_free.as_ref() } else { self.leading.as_ref() }
    }

    pub(crate) fn conditions(&self) -> &[DocBuf] {
        &self.conditions
    }
}

fn matcher(condition: &DocBuf, ctx: &Context) -> Result<Arc<Matcher>> {
    Ok(Arc::new(Matcher::parse(condition.as_doc(), ctx)?))
}

/// The specification of a `$match` stage.
fn condition(stage: RawDoc<'_>) -> Option<RawDoc<'_>> {
    match stage.iter().next() {
        Some(("$match", Raw::Document(condition))) => Some(condition),
        _ => None,
    }
}

/// `{$and: [condition, …]}`.
fn conjunction<'a>(conditions: impl Iterator<Item = RawDoc<'a>>) -> DocBuf {
    let mut w = DocWriter::new();
    w.begin_array("$and");
    for (at, condition) in conditions.enumerate() {
        w.doc(&at.to_string(), condition);
    }
    w.end();
    w.finish()
}

/// The conditions that hold or fail whatever the images are.
fn image_free_conditions(conditions: &[DocBuf]) -> Option<DocBuf> {
    let fields = conditions.iter().flat_map(DocBuf::iter).filter(|(name, value)| is_image_free(name, *value, 0));
    let single: Vec<DocBuf> = fields
        .map(|(name, value)| {
            let mut w = DocWriter::new();
            w.raw(name, value);
            w.finish()
        })
        .collect();
    (!single.is_empty()).then(|| conjunction(single.iter().map(DocBuf::as_doc)))
}

fn is_image_free(name: &str, value: Raw<'_>, depth: usize) -> bool {
    if depth > base::limits::MAX_NESTING_LEVELS {
        return false;
    }
    match name {
        "$and" | "$or" | "$nor" => value.as_array().is_some_and(|branches| {
            branches.values().all(|branch| {
                branch
                    .as_document()
                    .is_some_and(|fields| fields.iter().all(|(name, value)| is_image_free(name, value, depth + 1)))
            })
        }),
        _ => {
            let first = name.split('.').next().unwrap_or(name);
            !first.starts_with('$') && !matches!(first, "fullDocument" | "fullDocumentBeforeChange")
        }
    }
}
