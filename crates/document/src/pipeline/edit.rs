//! Setting and removing one dotted path of a document without decoding the rest.

use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::Value;
use crate::write::DocWriter;

/// What becomes of the field.
#[derive(Clone, Copy)]
pub(super) enum Edit<'a> {
    Raw(Raw<'a>),
    Value(&'a Value),
    /// An array of documents.
    Documents(&'a [DocBuf]),
    Remove,
}

impl Edit<'_> {
    fn write(self, writer: &mut DocWriter, name: &str) {
        match self {
            Edit::Raw(value) => writer.raw(name, value),
            Edit::Value(value) => writer.value(name, value),
            Edit::Documents(docs) => {
                writer.begin_array(name);
                for (i, doc) in docs.iter().enumerate() {
                    writer.doc(&i.to_string(), doc.as_doc());
                }
                writer.end();
            }
            Edit::Remove => {}
        }
    }
}

/// `doc` with the field at `path` set: in place if it is there, else appended; what stands in the
/// way and is no document is replaced by one.
pub(super) fn edited(doc: RawDoc<'_>, path: &[String], edit: Edit<'_>) -> DocBuf {
    let mut writer = DocWriter::with_capacity(doc.as_bytes().len() + 64);
    write_level(&mut writer, Some(doc), path, edit);
    writer.finish()
}

fn write_level(writer: &mut DocWriter, doc: Option<RawDoc<'_>>, path: &[String], edit: Edit<'_>) {
    let Some((first, rest)) = path.split_first() else { return };
    let mut done = false;
    for (name, value) in doc.into_iter().flat_map(RawDoc::iter) {
        if name != first || done {
            writer.raw(name, value);
            continue;
        }
        done = true;
        match (rest.is_empty(), value) {
            (true, _) => edit.write(writer, name),
            (false, Raw::Document(inner)) => descend(writer, name, Some(inner), rest, edit),
            (false, other) if matches!(edit, Edit::Remove) => writer.raw(name, other),
            (false, _) => descend(writer, name, None, rest, edit),
        }
    }
    if done || matches!(edit, Edit::Remove) {
        return;
    }
    if rest.is_empty() { edit.write(writer, first) } else { descend(writer, first, None, rest, edit) }
}

fn descend(writer: &mut DocWriter, name: &str, doc: Option<RawDoc<'_>>, rest: &[String], edit: Edit<'_>) {
    writer.begin_document(name);
    write_level(writer, doc, rest, edit);
    writer.end();
}

/// The value at a path that goes through documents only.
pub(super) fn value_at<'a>(doc: RawDoc<'a>, path: &[String]) -> Option<Raw<'a>> {
    let (first, rest) = path.split_first()?;
    let value = doc.get(first)?;
    if rest.is_empty() { Some(value) } else { value_at(value.as_document()?, rest) }
}
