//! The keys that one document has in one index.

use std::collections::{BTreeMap, BTreeSet};

use document::key_string::encode_value;
use document::path::array_index;
use document::{DocBuf, DocWriter, Raw, RawDoc};
use smallvec::SmallVec;

use super::Index;
use crate::error::{Error, Result};

/// Keys of one document, without duplicates, and which parts met an array.
#[derive(Debug, Default)]
pub struct Keys {
    pub keys: BTreeSet<Vec<u8>>,
    pub multikey: u64,
    /// What the keys were made of, as fields of the key pattern, if that is wanted.
    values: Option<BTreeMap<Vec<u8>, DocBuf>>,
}

impl Keys {
    /// Whether one of them cannot be stored whole.
    pub fn has_long(&self) -> bool {
        self.keys.iter().any(|key| super::is_long(key))
    }
}

/// How far one part's path has been followed.
#[derive(Clone, Copy)]
enum Slot<'a> {
    /// The value, or nothing there.
    Done(Option<Raw<'a>>),
    /// `rest` is still to be followed below `value`.
    At { value: Raw<'a>, rest: &'a str },
    /// Stands before an array whose elements are to be taken one by one, `rest` below each.
    Elements { array: RawDoc<'a>, rest: Option<&'a str> },
}

type Slots<'a> = SmallVec<[Slot<'a>; 4]>;

pub fn keys(index: &Index, doc: RawDoc<'_>) -> Result<Keys> {
    collect(index, doc, Keys::default())
}

/// The keys in order, each with its values.
pub fn keys_with_values(index: &Index, doc: RawDoc<'_>) -> Result<BTreeMap<Vec<u8>, DocBuf>> {
    let keys = collect(index, doc, Keys { values: Some(BTreeMap::new()), ..Keys::default() })?;
    Ok(keys.values.unwrap_or_default())
}

fn collect(index: &Index, doc: RawDoc<'_>, mut keys: Keys) -> Result<Keys> {
    let slots = index.parts.iter().map(|part| Slot::At { value: Raw::Document(doc), rest: &part.path }).collect();
    expand(index, slots, &mut keys)?;
    Ok(keys)
}

fn expand(index: &Index, mut slots: Slots<'_>, keys: &mut Keys) -> Result<()> {
    for slot in &mut slots {
        *slot = follow(*slot);
    }
    let Some(array) = shared_array(index, &slots)? else { return emit(index, &slots, keys) };
    mark(&slots, keys);
    if array.is_empty() {
        let empty = slots.iter().map(|slot| element_slot(*slot, None)).collect();
        return expand(index, empty, keys);
    }
    for item in array.values() {
        let element = slots.iter().map(|slot| element_slot(*slot, Some(item))).collect();
        expand(index, element, keys)?;
    }
    Ok(())
}

/// Walks embedded documents until the value or an array.
fn follow(slot: Slot<'_>) -> Slot<'_> {
    let Slot::At { mut value, mut rest } = slot else { return slot };
    loop {
        let (name, below) = match rest.split_once('.') {
            Some((name, below)) => (name, Some(below)),
            None => (rest, None),
        };
        let next = match value {
            Raw::Document(doc) => doc.get(name),
            // A numeric name is a position in the array.
            Raw::Array(array) if array_index(name).is_some() => array.get(name),
            Raw::Array(array) => return Slot::Elements { array, rest: Some(rest) },
            _ => None,
        };
        match (next, below) {
            (None, _) => return Slot::Done(None),
            (Some(Raw::Array(array)), None) => return Slot::Elements { array, rest: None },
            (Some(found), None) => return Slot::Done(Some(found)),
            (Some(found), Some(below)) => (value, rest) = (found, below),
        }
    }
}

/// The one array that slots stand before, if any does.
fn shared_array<'a>(index: &Index, slots: &[Slot<'a>]) -> Result<Option<RawDoc<'a>>> {
    let mut found: Option<(usize, RawDoc<'a>)> = None;
    for (i, slot) in slots.iter().enumerate() {
        let Slot::Elements { array, .. } = slot else { continue };
        match found {
            None => found = Some((i, *array)),
            Some((_, first)) if std::ptr::eq(first.as_bytes(), array.as_bytes()) => {}
            Some((first, _)) => {
                let name = |part: usize| index.parts[part].path.rsplit('.').next().unwrap_or_default();
                let message = format!("cannot index parallel arrays [{}] [{}]", name(i), name(first));
                return Err(Error::request(171, message));
            }
        }
    }
    Ok(found.map(|(_, array)| array))
}

fn mark(slots: &[Slot<'_>], keys: &mut Keys) {
    for (i, slot) in slots.iter().enumerate() {
        if matches!(slot, Slot::Elements { .. }) {
            keys.multikey |= 1 << i.min(63);
        }
    }
}

/// What a slot becomes inside one element; an empty array counts as one undefined value.
fn element_slot<'a>(slot: Slot<'a>, item: Option<Raw<'a>>) -> Slot<'a> {
    match (slot, item) {
        (Slot::Elements { rest: None, .. }, Some(item)) => Slot::Done(Some(item)),
        (Slot::Elements { rest: None, .. }, None) => Slot::Done(Some(Raw::Undefined)),
        (Slot::Elements { rest: Some(_), .. }, None) => Slot::Done(None),
        // Arrays directly inside arrays are not taken apart a second time.
        (Slot::Elements { rest: Some(rest), .. }, Some(item @ Raw::Document(_))) => Slot::At { value: item, rest },
        (Slot::Elements { rest: Some(_), .. }, Some(_)) => Slot::Done(None),
        (other, _) => other,
    }
}

fn value<'a>(slot: &Slot<'a>) -> Option<Raw<'a>> {
    match slot {
        Slot::Done(value) => *value,
        _ => None,
    }
}

fn emit(index: &Index, slots: &[Slot<'_>], keys: &mut Keys) -> Result<()> {
    if index.sparse && slots.iter().all(|slot| value(slot).is_none()) {
        return Ok(());
    }
    let mut out = Vec::with_capacity(16 * slots.len());
    for (part, slot) in index.parts.iter().zip(slots) {
        encode_value(value(slot).unwrap_or(Raw::Null), &mut out, part.descending, index.collation.as_deref());
    }
    if let Some(values) = &mut keys.values {
        let mut shown = DocWriter::new();
        for (part, slot) in index.parts.iter().zip(slots) {
            shown.raw(&part.path, value(slot).unwrap_or(Raw::Null));
        }
        values.insert(out.clone(), shown.finish());
    }
    keys.keys.insert(out);
    Ok(())
}
