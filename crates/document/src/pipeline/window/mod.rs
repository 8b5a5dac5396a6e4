//! `$setWindowFields`: fields computed over the neighbours of a document in a sorted partition.
//!
//! ```text
//!   partition, sorted:   d0  d1  d2  d3  d4
//!   documents: [-1, 1]       └── window of d2 ──┘ (d1 d2 d3)
//! ```
//!
//! Windows of one partition move monotonously, so they are half-open index ranges whose ends only
//! grow (`bounds.rs`). A window that only grows feeds one accumulator; one that only shrinks feeds
//! one backwards, if order does not matter to it; any other is computed afresh per document.
//!
//! Read next: `parse.rs`, `bounds.rs`, `function.rs`.

mod bounds;
mod function;
mod parse;

use super::edit::{Edit, edited};
use super::group::key_of;
use super::{Budget, DocStream};
use crate::context::Context;
use crate::error::Result;
use crate::expression::{Expression, FieldPath, size_of_value};
use crate::raw::{DocBuf, RawDoc};
use crate::sort::SortPattern;
use crate::value::Value;
use bounds::Window;
use function::Function;

/// A parsed `$setWindowFields`.
#[derive(Debug)]
pub struct SetWindowFields {
    partition_by: Option<Expression>,
    sort_by: SortPattern,
    /// The path of a sort by one field, which ranges, ranks and interpolation measure.
    sort_path: Option<FieldPath>,
    output: Vec<OutputField>,
    ctx: Context,
}

#[derive(Debug)]
struct OutputField {
    path: FieldPath,
    function: Function,
    window: Window,
}

/// One partition in order, with what its functions need to know.
struct Partition<'a> {
    docs: &'a [DocBuf],
    /// The value of the one sort field, where there is one.
    sort_values: Vec<Option<Value>>,
    ctx: &'a Context,
}

impl SetWindowFields {
    pub(super) fn run(&self, input: DocStream<'_>) -> Result<Vec<DocBuf>> {
        let mut budget = Budget::new("$setWindowFields");
        let mut keyed = Vec::new();
        for doc in input {
            let doc = doc?;
            let partition = match &self.partition_by {
                Some(expression) => {
                    let value = expression.evaluate(doc.as_doc())?.unwrap_or(Value::Null);
                    if matches!(value, Value::Array(_)) {
                        return Err(crate::error::Error::type_mismatch(
                            "An expression used to partition cannot evaluate to value of type array",
                        ));
                    }
                    key_of(&value, &self.ctx)
                }
                None => Vec::new(),
            };
            let key = self.sort_by.key(doc.as_doc())?;
            budget.charge(doc.len() * 2 + partition.len() + 64)?;
            keyed.push(((partition, key), doc));
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let (keys, docs): (Vec<_>, Vec<DocBuf>) = keyed.into_iter().map(|((key, _), doc)| (key, doc)).unzip();
        let mut results = Vec::with_capacity(docs.len());
        let mut start = 0;
        while start < docs.len() {
            let len = keys[start..].partition_point(|key| *key == keys[start]);
            self.partition(&docs[start..start + len], &mut budget, &mut results)?;
            start += len;
        }
        Ok(results)
    }

    fn partition(&self, docs: &[DocBuf], budget: &mut Budget, results: &mut Vec<DocBuf>) -> Result<()> {
        let sort_values = match &self.sort_path {
            Some(path) => docs.iter().map(|doc| path.read_raw(doc.as_doc())).collect(),
            None => Vec::new(),
        };
        let partition = Partition { docs, sort_values, ctx: &self.ctx };
        let mut columns = Vec::with_capacity(self.output.len());
        for field in &self.output {
            let values = field.function.evaluate(&partition, &field.window)?;
            budget.charge(values.iter().map(size_of_value).sum())?;
            columns.push(values);
        }
        for (i, doc) in docs.iter().enumerate() {
            let mut doc = doc.clone();
            for (field, values) in self.output.iter().zip(&columns) {
                doc = edited(doc.as_doc(), field.path.parts(), Edit::Value(&values[i]));
            }
            results.push(doc);
        }
        Ok(())
    }
}

impl Partition<'_> {
    fn doc(&self, i: usize) -> RawDoc<'_> {
        self.docs[i].as_doc()
    }
}
