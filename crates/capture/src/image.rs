//! A document after an update, from the document before and the update's description.

use document::{Doc, DocBuf, Raw, RawDoc, Value};

#[cfg(test)]
mod tests;

/// Applies `{updatedFields, removedFields, truncatedArrays, disambiguatedPaths?}`. A component of a
/// path is an index where an array stands, and a name otherwise; `disambiguatedPaths` tells where
/// dots belong to names.
pub fn after_update(before: &DocBuf, description: &DocBuf) -> DocBuf {
    let mut doc = Value::Document(before.to_doc());
    let paths = description.get("disambiguatedPaths").and_then(Raw::as_document).unwrap_or(RawDoc::EMPTY);
    let fields = |name: &str| description.get(name);
    if let Some(Raw::Array(removed)) = fields("removedFields") {
        for path in removed.values().filter_map(Raw::as_str) {
            remove(&mut doc, &components(path, paths));
        }
    }
    if let Some(Raw::Array(truncated)) = fields("truncatedArrays") {
        for one in truncated.values().filter_map(Raw::as_document) {
            let (field, size) = (one.get("field").and_then(Raw::as_str), one.get("newSize").and_then(Raw::as_whole));
            if let (Some(field), Some(size)) = (field, size) {
                truncate(&mut doc, &components(field, paths), usize::try_from(size).unwrap_or(0));
            }
        }
    }
    if let Some(Raw::Document(updated)) = fields("updatedFields") {
        for (path, value) in updated.iter() {
            set(&mut doc, &components(path, paths), value.to_value());
        }
    }
    match doc {
        Value::Document(doc) => doc.to_buf(),
        _ => unreachable!("setting a field of a document leaves a document"),
    }
}

/// Deeper than documents can nest; a path beyond it names nothing.
const MAX_DEPTH: usize = 200;

fn components(path: &str, disambiguated: RawDoc<'_>) -> Vec<String> {
    let mut parts: Vec<String> = match disambiguated.get(path) {
        Some(Raw::Array(parts)) => parts
            .values()
            .map(|part| part.as_str().map_or_else(|| part.as_whole().unwrap_or(0).to_string(), str::to_owned))
            .collect(),
        _ => path.split('.').map(str::to_owned).collect(),
    };
    if parts.len() > MAX_DEPTH {
        parts.clear();
    }
    parts
}

fn child<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    match value {
        Value::Document(doc) => doc.get_mut(name),
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn parent<'a>(root: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, name| child(value, name))
}

fn remove(root: &mut Value, path: &[String]) {
    let Some((name, above)) = path.split_last() else { return };
    if let Some(Value::Document(doc)) = parent(root, above) {
        doc.remove(name);
    }
}

fn truncate(root: &mut Value, path: &[String], size: usize) {
    if let Some(Value::Array(items)) = parent(root, path) {
        items.truncate(size);
    }
}

/// Longest array that a description may make by naming an index past the end.
const MAX_ARRAY: usize = 1 << 20;

fn set(root: &mut Value, path: &[String], value: Value) {
    let Some((name, above)) = path.split_last() else { return };
    let mut at = root;
    for step in above {
        if child(at, step).is_none()
            && let Value::Document(doc) = at
        {
            doc.push(step.clone(), Doc::new());
        }
        match child(at, step) {
            Some(next) => at = next,
            None => return,
        }
    }
    match at {
        Value::Document(doc) => doc.set(name.clone(), value),
        Value::Array(items) => {
            let Some(index) = name.parse::<usize>().ok().filter(|index| *index < MAX_ARRAY) else { return };
            if index >= items.len() {
                items.resize(index + 1, Value::Null);
            }
            items[index] = value;
        }
        _ => {}
    }
}
