//! A plan as `explain` shows it, in the shape of the server's `winningPlan`.

use document::{Doc, RawDoc, Value};

use super::{Access, IndexScan, Plan};
use crate::kv::Direction;
use crate::render;

impl Plan {
    /// `filter` is the query's filter document.
    pub fn explain(&self, filter: RawDoc<'_>) -> Doc {
        match &self.access {
            Access::Nothing => Doc::new().with("stage", "EOF"),
            Access::Collection(direction) => {
                with_filter(Doc::new().with("stage", "COLLSCAN"), filter).with("direction", text(*direction))
            }
            Access::Index(scan) if scan.by_id => express(scan, filter),
            Access::Index(scan) => self.fetch(filter, index_scan(scan)),
            Access::Union(scans) => {
                let inputs = scans.iter().map(|scan| Value::Document(index_scan(scan))).collect::<Vec<_>>();
                let or = Doc::new().with("stage", "OR").with("inputStages", inputs);
                self.fetch(filter, or)
            }
        }
    }

    fn fetch(&self, filter: RawDoc<'_>, input: Doc) -> Doc {
        let fetch = Doc::new().with("stage", "FETCH");
        let fetch = if self.exact { fetch } else { with_filter(fetch, filter) };
        fetch.with("inputStage", input)
    }
}

fn with_filter(stage: Doc, filter: RawDoc<'_>) -> Doc {
    if filter.is_empty() { stage } else { stage.with("filter", filter.to_doc()) }
}

fn text(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    }
}

fn express(scan: &IndexScan, filter: RawDoc<'_>) -> Doc {
    let stage = Doc::new()
        .with("stage", "EXPRESS_IXSCAN")
        .with("keyPattern", render::document(scan.index.key_pattern()))
        .with("indexName", scan.index.name.as_str());
    // More than the `_id` was asked for.
    if filter.iter().count() > 1 { with_filter(stage, filter) } else { stage }
}

fn index_scan(scan: &IndexScan) -> Doc {
    let index = &scan.index;
    let mut bounds = Doc::new();
    for (part, intervals) in index.parts.iter().zip(&scan.intervals) {
        let texts = intervals.iter().map(|interval| Value::String(interval.text.clone())).collect::<Vec<_>>();
        bounds.push(&*part.path, texts);
    }
    Doc::new()
        .with("stage", "IXSCAN")
        .with("keyPattern", index.key_pattern().to_doc())
        .with("indexName", index.name.as_str())
        .with("isMultiKey", index.is_multikey())
        .with("isUnique", index.unique)
        .with("isSparse", index.sparse)
        .with("isPartial", index.partial.is_some())
        .with("indexVersion", 2)
        .with("direction", text(scan.direction))
        .with("indexBounds", bounds)
}
