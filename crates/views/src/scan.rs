//! From log entries and documents to the rows a plan scans.
//!
//! A scan names the columns and document paths it needs; all paths of one document are found in one
//! pass over its bytes, and nothing else is decoded.

use std::sync::Arc;

use document::path::Extractor;
use document::{DocBuf, Raw, RawDoc};
use sql::plan::{PathStep, ScanColumn};
use sql::{Datum, Json, Row};

/// The columns of one scan, prepared: which are taken whole, and per document column the paths.
#[derive(Debug)]
pub struct ScanColumns {
    outputs: Vec<Output>,
    documents: Vec<DocumentPaths>,
}

#[derive(Debug)]
enum Output {
    Whole(usize),
    /// The n-th path of the n-th entry of `documents`.
    Path {
        document: usize,
        path: usize,
        text: bool,
    },
}

#[derive(Debug)]
struct DocumentPaths {
    column: usize,
    paths: Vec<Vec<PathStep>>,
    /// For the paths that are keys only, in the order of `keyed`.
    extractor: Extractor,
    keyed: Vec<usize>,
}

impl ScanColumns {
    pub fn new(columns: &[ScanColumn]) -> Self {
        let mut outputs = Vec::with_capacity(columns.len());
        let mut found: Vec<(usize, Vec<Vec<PathStep>>)> = Vec::new();
        for wanted in columns {
            outputs.push(match wanted {
                ScanColumn::Whole(column) => Output::Whole(*column),
                ScanColumn::Path { column, path, text } => {
                    let document = found.iter().position(|(c, _)| c == column).unwrap_or_else(|| {
                        found.push((*column, Vec::new()));
                        found.len() - 1
                    });
                    let paths = &mut found[document].1;
                    let position = paths.iter().position(|p| p == path).unwrap_or_else(|| {
                        paths.push(path.clone());
                        paths.len() - 1
                    });
                    Output::Path { document, path: position, text: *text }
                }
            });
        }
        let documents = found.into_iter().map(|(column, paths)| DocumentPaths::new(column, paths)).collect();
        ScanColumns { outputs, documents }
    }

    /// Builds a row; `column` supplies the relation's columns.
    pub fn row(&self, column: impl Fn(usize) -> Datum) -> Row {
        let mut found = Vec::with_capacity(self.documents.len());
        for document in &self.documents {
            found.push(document.extract(&column(document.column)));
        }
        let value = |output: &Output| match output {
            Output::Whole(index) => column(*index),
            Output::Path { document, path, text } => match &found[*document][*path] {
                None => Datum::Null,
                Some(json) if *text => sql::json::as_text(json.raw()),
                Some(json) => Datum::Json(json.clone()),
            },
        };
        self.outputs.iter().map(value).collect()
    }
}

impl DocumentPaths {
    fn new(column: usize, paths: Vec<Vec<PathStep>>) -> Self {
        let keys = |path: &[PathStep]| -> Option<Vec<String>> {
            path.iter().map(|step| if let PathStep::Key(key) = step { Some(key.clone()) } else { None }).collect()
        };
        let (keyed, names): (Vec<usize>, Vec<Vec<String>>) =
            paths.iter().enumerate().filter_map(|(i, path)| Some((i, keys(path)?))).unzip();
        DocumentPaths { column, extractor: Extractor::new(&names), paths, keyed }
    }

    fn extract(&self, value: &Datum) -> Vec<Option<Json>> {
        let mut found = vec![None; self.paths.len()];
        let Datum::Json(json) = value else { return found };
        let Raw::Document(doc) = json.raw() else {
            for (path, slot) in self.paths.iter().zip(&mut found) {
                *slot = walk(json.raw(), path).map(|value| json.share(value));
            }
            return found;
        };
        let mut values = Vec::with_capacity(self.keyed.len());
        self.extractor.extract(doc, &mut values);
        for (position, value) in self.keyed.iter().zip(values) {
            found[*position] = value.map(|value| json.share(value));
        }
        if self.keyed.len() < self.paths.len() {
            for (i, path) in self.paths.iter().enumerate().filter(|(i, _)| !self.keyed.contains(i)) {
                found[i] = walk(json.raw(), path).map(|value| json.share(value));
            }
        }
        found
    }
}

fn walk<'a>(value: Raw<'a>, path: &[PathStep]) -> Option<Raw<'a>> {
    path.iter().try_fold(value, |value, step| match (value, step) {
        (Raw::Document(doc), PathStep::Key(key)) => doc.get(key),
        (Raw::Array(array), PathStep::Index(index)) => element(array, *index),
        _ => None,
    })
}

fn element(array: RawDoc<'_>, index: i32) -> Option<Raw<'_>> {
    let position =
        if index >= 0 { index as usize } else { array.values().count().checked_add_signed(index as isize)? };
    array.values().nth(position)
}

/// A document as the value of a JSON column.
pub fn document_datum(doc: &DocBuf) -> Datum {
    Datum::Json(Json::document(doc))
}

/// The columns of a collection: `_id`, `document`.
pub fn collection_row(columns: &ScanColumns, doc: &DocBuf) -> Row {
    columns.row(|column| match column {
        0 => doc.get("_id").map_or(Datum::Null, |id| Datum::Json(Json::document(doc).share(id))),
        _ => document_datum(doc),
    })
}

/// Shares one row among all who want the same columns.
pub type SharedColumns = Arc<ScanColumns>;
