//! What an update changed, as a change event tells it.

use crate::raw::DocBuf;
use crate::value::{Doc, Value};
use crate::write::DocWriter;

/// The `updateDescription` of a change event.
///
/// ```
/// use document::{Context, Doc, Raw};
/// use document::update::{Outcome, Update};
/// let update = Doc::new().with("$set", Doc::new().with("a.x", 2)).to_buf();
/// let update = Update::parse(Raw::Document(update.as_doc()), &[], &Context::default())?;
/// let doc = Doc::new().with("_id", 1).with("a", Doc::new().with("x", 1)).to_buf();
/// let Outcome::Updated { description, .. } = update.apply(&doc, None)? else { panic!("x changes") };
/// assert!(description.touches("a") && description.touches("a.x") && !description.touches("a.y"));
/// # Ok::<(), document::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateDescription {
    /// Dotted path → new value.
    pub updated_fields: Doc,
    /// Dotted paths.
    pub removed_fields: Vec<String>,
    /// Dotted path of an array that lost its tail, and its new length.
    pub truncated_arrays: Vec<(String, i32)>,
    /// Dotted path → its components (array indices as int32), for paths above whose dots or
    /// digits could be read in two ways.
    pub disambiguated_paths: Doc,
}

impl UpdateDescription {
    /// `{updatedFields, removedFields, truncatedArrays, disambiguatedPaths}`, always all four.
    pub fn to_buf(&self) -> DocBuf {
        let mut writer = DocWriter::new();
        writer.begin_document("updatedFields");
        for (path, value) in self.updated_fields.iter() {
            writer.value(path, value);
        }
        writer.end();
        writer.begin_array("removedFields");
        for (i, path) in self.removed_fields.iter().enumerate() {
            writer.str(&i.to_string(), path);
        }
        writer.end();
        writer.begin_array("truncatedArrays");
        for (i, (path, length)) in self.truncated_arrays.iter().enumerate() {
            writer.begin_document(&i.to_string());
            writer.str("field", path);
            writer.i32("newSize", *length);
            writer.end();
        }
        writer.end();
        writer.begin_document("disambiguatedPaths");
        for (path, components) in self.disambiguated_paths.iter() {
            writer.value(path, components);
        }
        writer.end();
        writer.finish()
    }

    /// Whether the value at a dotted path changed: that path itself, anything below it, or a
    /// value that contains it.
    pub fn touches(&self, path: &str) -> bool {
        let related = |changed: &str| is_at_or_below(changed, path) || is_at_or_below(path, changed);
        self.updated_fields.iter().any(|(changed, _)| related(changed))
            || self.removed_fields.iter().any(|changed| related(changed))
            || self.truncated_arrays.iter().any(|(changed, _)| related(changed))
    }

    /// Whether nothing is described.
    pub fn is_empty(&self) -> bool {
        self.updated_fields.is_empty() && self.removed_fields.is_empty() && self.truncated_arrays.is_empty()
    }
}

fn is_at_or_below(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// One step of a concrete path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Field(&'a str),
    Element(usize),
}

/// Builds a description while a walk goes down and up a document.
#[derive(Debug, Default)]
pub(crate) struct Describer<'a> {
    steps: Vec<Step<'a>>,
    /// The steps, dotted.
    dotted: String,
    /// Length of `dotted` before each step.
    marks: Vec<usize>,
    pub description: UpdateDescription,
}

impl<'a> Describer<'a> {
    pub fn enter(&mut self, step: Step<'a>) {
        self.marks.push(self.dotted.len());
        if !self.steps.is_empty() {
            self.dotted.push('.');
        }
        match step {
            Step::Field(name) => self.dotted.push_str(name),
            Step::Element(index) => self.dotted.push_str(&index.to_string()),
        }
        self.steps.push(step);
    }

    pub fn leave(&mut self) {
        self.steps.pop();
        self.dotted.truncate(self.marks.pop().expect("leave() matches an enter"));
    }

    pub fn updated(&mut self, step: Step<'a>, value: Value) {
        self.enter(step);
        self.disambiguate();
        self.description.updated_fields.push(self.dotted.clone(), value);
        self.leave();
    }

    pub fn removed(&mut self, name: &'a str) {
        self.enter(Step::Field(name));
        self.disambiguate();
        self.description.removed_fields.push(self.dotted.clone());
        self.leave();
    }

    /// The array at the current path now has `length` elements.
    pub fn truncated(&mut self, length: usize) {
        self.disambiguate();
        self.description.truncated_arrays.push((self.dotted.clone(), length as i32));
    }

    fn disambiguate(&mut self) {
        let ambiguous = self.steps.iter().enumerate().any(|(i, step)| match step {
            Step::Field(name) => name.contains('.') || (i > 0 && is_strict_index(name)),
            Step::Element(_) => false,
        });
        if !ambiguous {
            return;
        }
        let components = self.steps.iter().map(|step| match step {
            Step::Field(name) => Value::from(*name),
            Step::Element(index) => Value::Int32(*index as i32),
        });
        let components = Value::Array(components.collect());
        self.description.disambiguated_paths.push(self.dotted.clone(), components);
    }
}

/// Digits without leading zeros: what could be an array index.
fn is_strict_index(name: &str) -> bool {
    name == "0" || (!name.is_empty() && !name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit()))
}
