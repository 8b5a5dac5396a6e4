//! Stages that make at most one document of one.

use super::Stage;
use crate::error::{Error, Result};
use crate::expression::text::{document_text, value_text};
use crate::expression::{Expression, type_of};
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::Value;
use crate::write::DocWriter;

pub(super) fn apply(stage: &Stage, doc: DocBuf) -> Result<Option<DocBuf>> {
    match stage {
        Stage::Project { projection, .. } => projection.apply(doc.as_doc(), None).map(Some),
        Stage::ReplaceRoot { expression, .. } => replace_root(expression, &doc).map(Some),
        Stage::Redact(expression) => redact(expression, &doc),
        Stage::Match(matcher) => Ok(matcher.matches(doc.as_doc())?.then_some(doc)),
        other => Err(Error::new(20, format!("{} cannot be applied to one document", other.name()))),
    }
}

fn replace_root(expression: &Expression, doc: &DocBuf) -> Result<DocBuf> {
    match expression.evaluate(doc.as_doc())? {
        Some(Value::Document(root)) => {
            let mut writer = DocWriter::with_capacity(doc.len());
            for (name, value) in root.iter() {
                writer.computed(name, value)?;
            }
            Ok(writer.finish())
        }
        other => Err(Error::new(
            40228,
            format!(
                "'newRoot' expression must evaluate to an object, but resulting value was: {}. Type of resulting \
                 value: '{}'. Input document: {}",
                value_text(other.as_ref()),
                type_of(&other),
                document_text(&doc.to_doc())
            ),
        )),
    }
}

/// What `$redact` decides about a level.
enum Verdict {
    Keep,
    Prune,
    Descend,
}

fn redact(expression: &Expression, doc: &DocBuf) -> Result<Option<DocBuf>> {
    let root = doc.as_doc();
    match verdict(expression, root, root)? {
        Verdict::Keep => Ok(Some(doc.clone())),
        Verdict::Prune => Ok(None),
        Verdict::Descend => {
            let mut writer = DocWriter::with_capacity(doc.len());
            descend(expression, root, root, &mut writer)?;
            Ok(Some(writer.finish()))
        }
    }
}

fn verdict(expression: &Expression, root: RawDoc<'_>, current: RawDoc<'_>) -> Result<Verdict> {
    match expression.evaluate_within(root, current)? {
        Some(Value::String(word)) if word == "keep" => Ok(Verdict::Keep),
        Some(Value::String(word)) if word == "prune" => Ok(Verdict::Prune),
        Some(Value::String(word)) if word == "descend" => Ok(Verdict::Descend),
        other => Err(Error::new(
            17053,
            format!(
                "$redact's expression should not return anything aside from the variables $$KEEP, $$DESCEND, and \
                 $$PRUNE, but returned {}",
                value_text(other.as_ref())
            ),
        )),
    }
}

fn descend(expression: &Expression, root: RawDoc<'_>, current: RawDoc<'_>, writer: &mut DocWriter) -> Result<()> {
    for (name, value) in current.iter() {
        redact_value(expression, root, name, value, writer)?;
    }
    Ok(())
}

/// Writes what is left of a value below a level that was descended into; false if nothing is.
fn redact_value(
    expression: &Expression,
    root: RawDoc<'_>,
    name: &str,
    value: Raw<'_>,
    writer: &mut DocWriter,
) -> Result<bool> {
    match value {
        Raw::Document(doc) => match verdict(expression, root, doc)? {
            Verdict::Keep => writer.doc(name, doc),
            Verdict::Prune => return Ok(false),
            Verdict::Descend => {
                writer.begin_document(name);
                descend(expression, root, doc, writer)?;
                writer.end();
            }
        },
        Raw::Array(items) => {
            writer.begin_array(name);
            let mut at = 0usize;
            for item in items.values() {
                if redact_value(expression, root, &at.to_string(), item, writer)? {
                    at += 1;
                }
            }
            writer.end();
        }
        other => writer.raw(name, other),
    }
    Ok(true)
}
