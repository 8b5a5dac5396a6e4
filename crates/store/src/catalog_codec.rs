//! A collection's catalog record as bytes: a BSON document.

use std::sync::Arc;

use base::Uuid;
use bytes::Bytes;
use document::{DocBuf, DocWriter, Raw, RawDoc};

use crate::catalog::{Catalog, Collection, CollectionId, IndexId};
use crate::entry::{CollectionKind, Namespace};
use crate::error::{Error, Result};
use crate::index::{Index, parse_stored};
use crate::kv::{Direction, KeyRange, KvRead, Space};
use crate::layout;

pub fn encode(collection: &Collection) -> Bytes {
    let mut out = DocWriter::new();
    out.uuid("uuid", collection.uuid);
    out.str("db", &collection.namespace.db);
    out.str("name", &collection.namespace.collection);
    out.i32("kind", collection.kind as i32);
    out.doc("options", collection.options.as_doc());
    out.begin_array("indexes");
    for (i, index) in collection.indexes.iter().enumerate() {
        out.begin_document(&i.to_string());
        out.i64("id", i64::from(index.id.0));
        out.i64("multikey", index.multikey as i64);
        if index.long_keys {
            out.bool("longKeys", true);
        }
        out.doc("spec", index.spec.as_doc());
        out.end();
    }
    out.end();
    out.finish().bytes().clone()
}

fn decode(id: CollectionId, bytes: Bytes) -> Result<Collection> {
    let doc = DocBuf::validate(bytes).map_err(|_| damaged("not a document"))?;
    let uuid = match doc.get("uuid") {
        Some(Raw::Binary { bytes, .. }) => Uuid(bytes.try_into().map_err(|_| damaged("uuid"))?),
        _ => return Err(damaged("uuid")),
    };
    let text = |name| doc.get(name).and_then(Raw::as_str).ok_or_else(|| damaged(name));
    let namespace = Namespace::new(text("db")?, text("name")?);
    let kind = match doc.get("kind") {
        Some(Raw::Int32(0)) => CollectionKind::Collection,
        Some(Raw::Int32(1)) => CollectionKind::View,
        Some(Raw::Int32(2)) => CollectionKind::TimeSeries,
        _ => return Err(damaged("kind")),
    };
    let options = doc.get("options").and_then(Raw::as_document).ok_or_else(|| damaged("options"))?;
    let mut collection = Collection::new(id, uuid, namespace, kind, options.to_buf());
    let indexes = doc.get("indexes").and_then(Raw::as_array).ok_or_else(|| damaged("indexes"))?;
    for index in indexes.values() {
        let index = index.as_document().ok_or_else(|| damaged("index"))?;
        collection.indexes.push(Arc::new(decode_index(index)?));
    }
    Ok(collection)
}

fn decode_index(doc: RawDoc<'_>) -> Result<Index> {
    let number = |name| doc.get(name).and_then(Raw::as_whole).ok_or_else(|| damaged(name));
    let id = IndexId(u32::try_from(number("id")?).map_err(|_| damaged("index id"))?);
    let spec = doc.get("spec").and_then(Raw::as_document).ok_or_else(|| damaged("index spec"))?;
    let mut index = parse_stored(spec, id).map_err(|error| damaged(&error.to_string()))?;
    index.multikey = number("multikey")? as u64;
    index.long_keys = doc.get("longKeys") == Some(Raw::Bool(true));
    Ok(index)
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("catalog: {what}"))
}

/// The whole catalog of a directory.
pub fn load(kv: &dyn KvRead, version: u64) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    catalog.version = version;
    for entry in kv.range(Space::Meta, KeyRange::prefix(layout::COLLECTIONS), Direction::Forward) {
        let (key, value) = entry?;
        let id = key.get(1..).and_then(|id| id.try_into().ok()).ok_or_else(|| damaged("key"))?;
        catalog.put(Arc::new(decode(CollectionId(u32::from_be_bytes(id)), value)?));
    }
    Ok(catalog)
}
