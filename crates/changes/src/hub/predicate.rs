//! What a watcher's leading `$match` demands for certain: operation types, and one condition to
//! find the watcher by.
//!
//! Everything here is *necessary*, not sufficient: a condition that is not understood is left out,
//! and values are compared so that nothing equal is missed. The `$match` itself decides afterwards.

use document::{DocBuf, Raw, RawDoc, key_string};
use store::entry::LogEntry;

use crate::event::Event;
use crate::options::FullDocument;
use crate::scope::{OperationSet, OperationType};

/// Longest `$in` that is worth an index entry per value.
const VALUES_MAX: usize = 1000;

/// A part of the event that a path leads into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Root {
    DocumentKey,
    FullDocument,
    /// The first component of a path in `updateDescription.updatedFields`: that name is there.
    UpdatedName,
    UpdateDescription,
    Namespace,
}

/// A field of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field {
    pub root: Root,
    pub path: Box<[Box<str>]>,
}

/// A value's bytes in comparison order; equal values of different number types have equal bytes.
pub(super) type Key = Box<[u8]>;

/// The condition a watcher is found by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum IndexKey {
    /// The field has one of these values.
    Equals { field: Field, values: Vec<Key> },
    /// The field has a value from `low` to `high`, both inclusive.
    Range { field: Field, low: Key, high: Key },
}

impl IndexKey {
    pub fn field(&self) -> &Field {
        match self {
            IndexKey::Equals { field, .. } | IndexKey::Range { field, .. } => field,
        }
    }

    /// Smaller is more selective.
    fn rank(&self, full_document: FullDocument) -> usize {
        let by_field = match self.field().root {
            Root::DocumentKey => 0,
            // Found for every update, if the document is looked up later.
            Root::FullDocument if full_document == FullDocument::UpdateLookup => 4,
            Root::FullDocument => 1,
            Root::UpdatedName | Root::UpdateDescription => 2,
            Root::Namespace => 3,
        };
        match self {
            IndexKey::Equals { .. } => by_field,
            IndexKey::Range { .. } => by_field + 5,
        }
    }
}

/// The operation types that can satisfy the conditions, and the best condition for the index.
pub(super) fn analyse(conditions: &[DocBuf], full_document: FullDocument) -> (OperationSet, Option<IndexKey>) {
    let mut demands = Demands { operations: OperationSet::EVERY, keys: Vec::new(), ranges: Vec::new() };
    for condition in conditions {
        demands.read(condition.as_doc(), 0);
    }
    let ranges = demands.ranges.into_iter().map(|(field, low, high)| IndexKey::Range { field, low, high });
    let key = demands.keys.into_iter().chain(ranges).min_by_key(|key| key.rank(full_document));
    (demands.operations, key)
}

struct Demands {
    operations: OperationSet,
    keys: Vec<IndexKey>,
    ranges: Vec<(Field, Key, Key)>,
}

impl Demands {
    fn read(&mut self, condition: RawDoc<'_>, depth: usize) {
        if depth > base::limits::MAX_NESTING_LEVELS {
            return;
        }
        for (name, value) in condition.iter() {
            match (name, value) {
                ("$and", Raw::Array(branches)) => {
                    branches.values().filter_map(Raw::as_document).for_each(|branch| self.read(branch, depth + 1));
                }
                (name, _) if name.starts_with('$') => {}
                (name, Raw::Document(operators)) if is_operators(operators) => {
                    operators.iter().for_each(|(operator, operand)| self.demand(name, operator, operand));
                }
                (name, value) => self.demand(name, "$eq", value),
            }
        }
    }

    fn demand(&mut self, path: &str, operator: &str, operand: Raw<'_>) {
        if path == "operationType" {
            self.demand_operation(operator, operand);
            return;
        }
        self.demand_updated_name(path, operator, operand);
        let Some(field) = field(path) else { return };
        match (operator, operand) {
            ("$eq", value) => {
                if let Some(key) = exact_key(value) {
                    self.keys.push(IndexKey::Equals { field, values: vec![key] });
                }
            }
            ("$in", Raw::Array(values)) => {
                if let Some(values) = exact_keys(values) {
                    self.keys.push(IndexKey::Equals { field, values });
                }
            }
            ("$gt" | "$gte" | "$lt" | "$lte", value) => self.demand_range(field, operator, value),
            _ => {}
        }
    }

    fn demand_operation(&mut self, operator: &str, operand: Raw<'_>) {
        let named = |value: Raw<'_>| value.as_str().map(OperationType::parse);
        let allowed = match (operator, operand) {
            ("$eq", Raw::String(name)) => Some(OperationType::parse(name).into_iter().collect()),
            ("$in", Raw::Array(values)) => {
                let names: Option<Vec<_>> = values.values().map(named).collect();
                names.map(|names| names.into_iter().flatten().collect::<OperationSet>())
            }
            _ => None,
        };
        if let Some(allowed) = allowed {
            self.operations = self.operations.intersect(allowed);
        }
    }

    /// A value under `updateDescription.updatedFields.a.b` needs a changed field named `a`.
    fn demand_updated_name(&mut self, path: &str, operator: &str, operand: Raw<'_>) {
        let Some(rest) = path.strip_prefix("updateDescription.updatedFields.") else { return };
        let needs_value = match operator {
            "$eq" => exact_key(operand).is_some(),
            "$exists" => operand.as_bool() == Some(true) || operand.as_whole().is_some_and(|n| n != 0),
            _ => false,
        };
        if needs_value {
            let name = rest.split('.').next().unwrap_or(rest);
            let field = Field { root: Root::UpdatedName, path: Box::default() };
            self.keys.push(IndexKey::Equals { field, values: vec![name.as_bytes().into()] });
        }
    }

    /// Joins the bounds that stand on one field: an array may satisfy each with another element, so
    /// the index compares its smallest and largest values.
    fn demand_range(&mut self, field: Field, operator: &str, bound: Raw<'_>) {
        let Some((first, last)) = comparable_with(bound) else { return };
        let key = key_of(bound);
        let (low, high) = if operator.starts_with("$g") { (key, last) } else { (first, key) };
        match self.ranges.iter_mut().find(|(other, ..)| *other == field) {
            Some((_, known_low, known_high)) if known_low[0] == low[0] || known_high[0] == high[0] => {
                if low > *known_low {
                    *known_low = low;
                }
                if high < *known_high {
                    *known_high = high;
                }
            }
            // Bounds of two types: one of them alone is necessary, too.
            Some(_) => {}
            None => self.ranges.push((field, low, high)),
        }
    }
}

fn is_operators(document: RawDoc<'_>) -> bool {
    document.iter().next().is_some_and(|(name, _)| name.starts_with('$'))
}

fn field(path: &str) -> Option<Field> {
    let (first, rest) = path.split_once('.')?;
    let root = match first {
        "documentKey" => Root::DocumentKey,
        "fullDocument" => Root::FullDocument,
        "updateDescription" => Root::UpdateDescription,
        "ns" => Root::Namespace,
        _ => return None,
    };
    Some(Field { root, path: rest.split('.').map(Box::from).collect() })
}

/// The key of a value that only a present, equal value matches.
fn exact_key(value: Raw<'_>) -> Option<Key> {
    match value {
        Raw::String(_)
        | Raw::Bool(_)
        | Raw::Int32(_)
        | Raw::Int64(_)
        | Raw::Decimal128(_)
        | Raw::ObjectId(_)
        | Raw::Date(_)
        | Raw::Timestamp(_)
        | Raw::Binary { .. } => Some(key_of(value)),
        Raw::Double(n) if !n.is_nan() => Some(key_of(value)),
        _ => None,
    }
}

fn exact_keys(values: RawDoc<'_>) -> Option<Vec<Key>> {
    let keys: Option<Vec<Key>> = values.values().take(VALUES_MAX + 1).map(exact_key).collect();
    keys.filter(|keys| keys.len() <= VALUES_MAX)
}

/// Keys before and after those of all values that a range operator compares with the bound.
fn comparable_with(bound: Raw<'_>) -> Option<(Key, Key)> {
    match bound {
        Raw::Double(n) if n.is_nan() => None,
        Raw::Double(_)
        | Raw::Int32(_)
        | Raw::Int64(_)
        | Raw::Decimal128(_)
        | Raw::String(_)
        | Raw::ObjectId(_)
        | Raw::Date(_)
        | Raw::Timestamp(_) => {
            Some(([key_string::bracket_start(bound)].into(), [key_string::bracket_end(bound)].into()))
        }
        _ => None,
    }
}

pub(super) fn key_of(value: Raw<'_>) -> Key {
    key_string::encoded(value).into()
}

/// The keys of all values that `field` can mean in the entry: through arrays, with their elements.
pub(super) fn values_of(entry: &LogEntry, field: &Field, keys: &mut Vec<Key>) {
    let event = Event::new(entry);
    let start = match field.root {
        Root::DocumentKey => event.document_key().map(DocBuf::as_doc),
        Root::FullDocument => event.full_document().map(DocBuf::as_doc),
        Root::UpdateDescription => event.description().map(DocBuf::as_doc),
        Root::UpdatedName => {
            let names = event.updated_fields().into_iter().flat_map(RawDoc::iter);
            keys.extend(names.map(|(name, _)| Key::from(name.as_bytes())));
            return;
        }
        Root::Namespace => {
            match &*field.path {
                [name] if &**name == "db" => keys.push(key_of(Raw::String(&entry.namespace.db))),
                [name] if &**name == "coll" => keys.push(key_of(Raw::String(&entry.namespace.collection))),
                _ => {}
            }
            return;
        }
    };
    if let Some(start) = start {
        collect(Raw::Document(start), &field.path, keys);
    }
}

fn collect(value: Raw<'_>, path: &[Box<str>], keys: &mut Vec<Key>) {
    match (path.split_first(), value) {
        (None, Raw::Array(elements)) => elements.values().for_each(|element| push(element, keys)),
        (None, value) => push(value, keys),
        (Some((name, rest)), Raw::Document(document)) => {
            if let Some(value) = document.get(name) {
                collect(value, rest, keys);
            }
        }
        (Some((name, rest)), Raw::Array(elements)) => {
            for (index, element) in elements.values().enumerate() {
                if matches!(element, Raw::Document(_)) {
                    collect(element, path, keys);
                }
                if name.parse() == Ok(index) {
                    collect(element, rest, keys);
                }
            }
        }
        _ => {}
    }
}

/// Containers have no key: no condition in the index asks for one.
fn push(value: Raw<'_>, keys: &mut Vec<Key>) {
    if !matches!(value, Raw::Document(_) | Raw::Array(_) | Raw::CodeWithScope { .. }) {
        keys.push(key_of(value));
    }
}
