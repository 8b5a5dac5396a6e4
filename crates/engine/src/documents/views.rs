//! Views: names for pipelines, resolved down to the collection they read.

use document::pipeline::Pipeline;
use document::{Context, DocBuf, DocWriter, Raw, RawDoc};
use store::{Catalog, Collection, Namespace};

use crate::{Error, Result};

/// A view on a view on a view …: so deep, and no deeper.
const MAX_DEPTH: usize = 20;
/// The pipelines of one chain together, bytes.
const MAX_PIPELINE_BYTES: usize = 16 * 1024 * 1024;

/// What a name stands for.
pub struct Resolved {
    /// The collection at the bottom; it may not exist.
    pub namespace: Namespace,
    /// The stages of all views on the way, outermost last.
    pub pipeline: Vec<DocBuf>,
    /// The view's own collation, if it is a view.
    pub collation: Option<DocBuf>,
    pub is_view: bool,
}

/// Follows views down to a collection.
pub fn resolve(catalog: &Catalog, namespace: &Namespace) -> Result<Resolved> {
    let mut at = namespace.clone();
    let mut stages: Vec<Vec<DocBuf>> = Vec::new();
    let mut collation = None;
    let mut bytes = 0;
    while let Some(view) = catalog.collection(&at).filter(|collection| collection.is_view()) {
        if stages.len() >= MAX_DEPTH {
            return Err(too_deep(namespace));
        }
        if stages.is_empty() {
            collation = collation_of(view);
        }
        let pipeline = pipeline_of(view.options.as_doc());
        bytes += pipeline.iter().map(DocBuf::len).sum::<usize>();
        if bytes > MAX_PIPELINE_BYTES {
            return Err(Error::new(165, "View pipeline is too large"));
        }
        stages.push(pipeline);
        at = Namespace::new(at.db.clone(), view.options.get("viewOn").and_then(Raw::as_str).unwrap_or_default());
    }
    let is_view = !stages.is_empty();
    let pipeline = stages.into_iter().rev().flatten().collect();
    Ok(Resolved { namespace: at, pipeline, collation, is_view })
}

fn too_deep(namespace: &Namespace) -> Error {
    Error::new(160, format!("View depth too deep or view cycle detected; maximum depth is {MAX_DEPTH}: {namespace}"))
}

pub fn collation_of(collection: &Collection) -> Option<DocBuf> {
    collection.options.get("collation").and_then(Raw::as_document).map(RawDoc::to_buf)
}

/// The stages in a view's options.
pub fn pipeline_of(options: RawDoc<'_>) -> Vec<DocBuf> {
    let stages = options.get("pipeline").and_then(Raw::as_array).unwrap_or(RawDoc::EMPTY);
    stages.values().filter_map(Raw::as_document).map(RawDoc::to_buf).collect()
}

/// A view is read with its own collation; another one is refused.
pub fn check_collation(view: &Collection, given: Option<&DocBuf>) -> Result<()> {
    let Some(given) = given else { return Ok(()) };
    let parse = |doc: &DocBuf| document::collation::Collation::parse(doc.as_doc());
    let given = parse(given)?.map(|collation| collation.to_doc());
    let own = match collation_of(view) {
        Some(own) => parse(&own)?.map(|collation| collation.to_doc()),
        None => None,
    };
    if given != own {
        return Err(Error::new(167, "Cannot override a view's default collation"));
    }
    Ok(())
}

/// Checks what is about to become a view, and that no chain of views leads back to it.
pub fn check_definition(
    catalog: &Catalog,
    namespace: &Namespace,
    options: RawDoc<'_>,
    context: &Context,
) -> Result<()> {
    let source = options.get("viewOn").and_then(Raw::as_str).unwrap_or_default();
    if source.is_empty() {
        return Err(Error::new(2, "'viewOn' cannot be empty"));
    }
    let pipeline = pipeline_of(options);
    for (i, stage) in pipeline.iter().enumerate() {
        let name = stage.iter().next().map_or("", |(name, _)| name);
        if matches!(name, "$out" | "$merge" | "$changeStream") {
            return Err(Error::new(
                167,
                format!(
                    "Invalid pipeline for view {namespace} :: caused by :: The aggregation stage {name} in location {i} \
                     of the pipeline cannot be used in the view definition of {namespace}"
                ),
            ));
        }
    }
    let stages: Vec<RawDoc<'_>> = pipeline.iter().map(DocBuf::as_doc).collect();
    Pipeline::parse(&stages, context)?;
    check_acyclic(catalog, namespace, source, &pipeline)
}

/// The names that a pipeline reads in its own database, besides its source.
fn involved(pipeline: &[DocBuf], names: &mut Vec<String>) {
    for stage in pipeline {
        for (name, spec) in stage.iter() {
            match (name, spec) {
                ("$lookup" | "$graphLookup", Raw::Document(spec)) => {
                    names.extend(spec.get("from").and_then(Raw::as_str).map(str::to_owned));
                    involved(&nested(spec), names);
                }
                ("$unionWith", Raw::String(from)) => names.push(from.to_owned()),
                ("$unionWith", Raw::Document(spec)) => {
                    names.extend(spec.get("coll").and_then(Raw::as_str).map(str::to_owned));
                    involved(&nested(spec), names);
                }
                ("$facet", Raw::Document(facets)) => {
                    for (_, facet) in facets.iter() {
                        if let Raw::Array(stages) = facet {
                            let stages: Vec<DocBuf> =
                                stages.values().filter_map(Raw::as_document).map(RawDoc::to_buf).collect();
                            involved(&stages, names);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn nested(spec: RawDoc<'_>) -> Vec<DocBuf> {
    let stages = spec.get("pipeline").and_then(Raw::as_array).unwrap_or(RawDoc::EMPTY);
    stages.values().filter_map(Raw::as_document).map(RawDoc::to_buf).collect()
}

fn check_acyclic(catalog: &Catalog, namespace: &Namespace, source: &str, pipeline: &[DocBuf]) -> Result<()> {
    let mut open = vec![(source.to_owned(), 1usize)];
    let mut names = Vec::new();
    involved(pipeline, &mut names);
    open.extend(names.into_iter().map(|name| (name, 1)));
    let mut steps = 0;
    while let Some((name, depth)) = open.pop() {
        if *name == *namespace.collection {
            let message = format!("View cycle detected: {namespace} => … => {}.{name}", namespace.db);
            return Err(Error::new(5, message));
        }
        steps += 1;
        if depth > MAX_DEPTH || steps > 10_000 {
            return Err(too_deep(namespace));
        }
        if let Some(view) = catalog.find(&namespace.db, &name).filter(|collection| collection.is_view()) {
            let mut names: Vec<String> =
                view.options.get("viewOn").and_then(Raw::as_str).map(str::to_owned).into_iter().collect();
            involved(&pipeline_of(view.options.as_doc()), &mut names);
            open.extend(names.into_iter().map(|name| (name, depth + 1)));
        }
    }
    Ok(())
}

/// The options of a view as the store keeps them.
pub fn options(view_on: &str, pipeline: &[DocBuf], collation: Option<RawDoc<'_>>) -> DocBuf {
    let mut out = DocWriter::new();
    out.str("viewOn", view_on);
    out.begin_array("pipeline");
    for (i, stage) in pipeline.iter().enumerate() {
        out.doc(&i.to_string(), stage.as_doc());
    }
    out.end();
    if let Some(collation) = collation {
        out.doc("collation", collation);
    }
    out.finish()
}
