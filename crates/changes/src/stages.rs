//! The client's stages behind `$changeStream`, and what can be decided before images are read.
//!
//! A `$match` that comes first and does not look at the images is also evaluated before them: so an
//! event that it rejects costs no look-up, and cannot fail for an image that it never needed.

use std::sync::Arc;

use document::{Context, DocBuf, DocWriter, Raw, RawDoc};

use crate::error::Result;

/// A per-event transformation: the event it makes of one, or none.
pub trait EventStages: Send + Sync {
    fn apply(&self, event: DocBuf) -> Result<Option<DocBuf>>;
}

impl EventStages for document::pipeline::Pipeline {
    fn apply(&self, event: DocBuf) -> Result<Option<DocBuf>> {
        self.apply_one(event)
    }
}

/// The parsed stages of one stream. Clones share them.
#[derive(Clone, Default)]
pub struct Stages {
    /// All of them; `None` when there are none.
    whole: Option<Arc<dyn EventStages>>,
    /// The leading `$match` stages.
    leading: Option<Arc<dyn EventStages>>,
    /// Of the leading `$match` stages, the conditions that do not look at an image.
    image_free: Option<Arc<dyn EventStages>>,
    /// The specifications of the leading `$match` stages, for the index of predicates. Empty where
    /// a collation makes equal what has different bytes.
    conditions: Vec<DocBuf>,
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stages").field("conditions", &self.conditions).finish_non_exhaustive()
    }
}

impl Stages {
    /// Parses what follows `$changeStream`; stages were checked by `check_stages`.
    pub fn parse(stages: &[RawDoc<'_>], ctx: &Context) -> Result<Self> {
        if stages.is_empty() {
            return Ok(Stages::default());
        }
        let whole = pipeline(stages, ctx)?;
        let matches: Vec<RawDoc<'_>> = stages.iter().copied().take_while(|stage| condition(*stage).is_some()).collect();
        if matches.is_empty() {
            return Ok(Stages { whole: Some(whole), ..Stages::default() });
        }
        let leading = pipeline(&matches, ctx)?;
        let mut conditions: Vec<DocBuf> =
            matches.iter().filter_map(|stage| condition(*stage)).map(RawDoc::to_buf).collect();
        let image_free = image_free_match(&conditions);
        let image_free = image_free.map(|stage| pipeline(&[stage.as_doc()], ctx)).transpose()?;
        if ctx.collation.is_some() {
            conditions.clear();
        }
        Ok(Stages { whole: Some(whole), leading: Some(leading), image_free, conditions })
    }

    /// Stages made by a program; `conditions` must follow from them.
    #[cfg(test)]
    pub(crate) fn of(whole: Arc<dyn EventStages>, conditions: Vec<DocBuf>) -> Self {
        Stages { whole: Some(whole.clone()), leading: Some(whole), image_free: None, conditions }
    }

    pub(crate) fn apply(&self, event: DocBuf) -> Result<Option<DocBuf>> {
        match &self.whole {
            Some(stages) => stages.apply(event),
            None => Ok(Some(event)),
        }
    }

    /// What can be asked of an event without images, given whether the stream has them.
    pub(crate) fn early(&self, has_images: bool) -> Option<&Arc<dyn EventStages>> {
        if has_images { self.image_free.as_ref() } else { self.leading.as_ref() }
    }

    pub(crate) fn conditions(&self) -> &[DocBuf] {
        &self.conditions
    }
}

fn pipeline(stages: &[RawDoc<'_>], ctx: &Context) -> Result<Arc<dyn EventStages>> {
    Ok(Arc::new(document::pipeline::Pipeline::parse(stages, ctx)?))
}

/// The specification of a `$match` stage.
fn condition(stage: RawDoc<'_>) -> Option<RawDoc<'_>> {
    match stage.iter().next() {
        Some(("$match", Raw::Document(condition))) => Some(condition),
        _ => None,
    }
}

/// A `$match` stage of the conditions that hold or fail whatever the images are.
fn image_free_match(conditions: &[DocBuf]) -> Option<DocBuf> {
    let mut w = DocWriter::new();
    w.begin_document("$match");
    w.begin_array("$and");
    let mut count = 0;
    for (name, value) in conditions.iter().flat_map(DocBuf::iter) {
        if is_image_free(name, value, 0) {
            w.begin_document(&count.to_string());
            w.raw(name, value);
            w.end();
            count += 1;
        }
    }
    w.end();
    w.end();
    (count > 0).then(|| w.finish())
}

fn is_image_free(name: &str, value: Raw<'_>, depth: usize) -> bool {
    if depth > base::limits::MAX_NESTING_LEVELS {
        return false;
    }
    match name {
        "$and" | "$or" | "$nor" => value.as_array().is_some_and(|branches| {
            branches.values().all(|branch| {
                branch.as_document().is_some_and(|fields| {
                    fields.iter().all(|(name, value)| is_image_free(name, value, depth + 1))
                })
            })
        }),
        _ => {
            let first = name.split('.').next().unwrap_or(name);
            !first.starts_with('$') && !matches!(first, "fullDocument" | "fullDocumentBeforeChange")
        }
    }
}
