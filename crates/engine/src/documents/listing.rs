//! What exists and how large it is: listings and statistics.

use document::matcher::Matcher;
use document::{Doc, DocBuf, Value};
use store::{Catalog, Collection, Namespace, Reader, Snapshot};

use crate::{Error, Headwater, Result, blocking};

impl Headwater {
    /// Collections and views of a database, as `listCollections` shows them, those that match.
    pub fn list_collections(&self, db: &str, filter: &DocBuf, name_only: bool) -> Result<Vec<DocBuf>> {
        let context = self.evaluation(None).context(None, None)?;
        let matcher = Matcher::parse(filter.as_doc(), &context)?;
        let catalog = self.store().catalog();
        let mut found = Vec::new();
        let entries = catalog.collections(db).map(|collection| entry(collection)).chain(system_views(&catalog, db));
        for full in entries {
            let full = full.to_buf();
            if !matcher.matches(full.as_doc())? {
                continue;
            }
            found.push(match name_only {
                true => full
                    .iter()
                    .take(2)
                    .map(|(name, value)| (name.to_owned(), value.to_value()))
                    .collect::<Doc>()
                    .to_buf(),
                false => full,
            });
        }
        Ok(found)
    }

    /// Databases, as `listDatabases` shows them, those that match.
    pub fn list_databases(&self, filter: &DocBuf, name_only: bool) -> Result<Vec<Doc>> {
        let context = self.evaluation(None).context(None, None)?;
        let matcher = Matcher::parse(filter.as_doc(), &context)?;
        let snapshot = self.store().snapshot()?;
        let catalog = snapshot.catalog();
        let mut found = Vec::new();
        for db in catalog.databases() {
            let sums = sum(&snapshot, catalog.collections(db))?;
            let size = i64::try_from(sums.bytes).unwrap_or(i64::MAX).max(i64::from(sums.collections) * 4096);
            let full = Doc::new().with("name", &**db).with("sizeOnDisk", size).with("empty", sums.objects == 0);
            if matcher.matches(full.to_buf().as_doc())? {
                found.push(if name_only { Doc::new().with("name", &**db) } else { full });
            }
        }
        Ok(found)
    }

    /// `collStats`. A collection that does not exist is empty.
    pub fn collection_stats(&self, namespace: &Namespace, scale: i64) -> Result<Doc> {
        let snapshot = self.store().snapshot()?;
        let base = Doc::new().with("ns", namespace.to_string());
        let Some(collection) = snapshot.catalog().collection(namespace) else {
            return Ok(base
                .with("size", 0)
                .with("count", 0)
                .with("numOrphanDocs", 0)
                .with("storageSize", 0)
                .with("totalSize", 0)
                .with("nindexes", 0)
                .with("totalIndexSize", 0)
                .with("indexDetails", Doc::new())
                .with("indexSizes", Doc::new())
                .with("scaleFactor", scale as i32));
        };
        if collection.is_view() {
            return Err(Error::new(166, format!("Namespace {namespace} is a view, not a collection")));
        }
        let counts = snapshot.counts(collection)?;
        let (count, bytes) = (counts.documents as i64, counts.bytes as i64);
        let index_bytes = |_: &str| (count * 24).max(4096) / scale;
        let sizes: Doc =
            collection.indexes.iter().map(|index| (index.name.clone(), narrow(index_bytes(&index.name)))).collect();
        let index_total: i64 = collection.indexes.iter().map(|index| index_bytes(&index.name)).sum();
        let storage = bytes.max(4096) / scale;
        let mut stats = base.with("size", narrow(bytes / scale)).with("count", narrow(count));
        if count > 0 {
            stats.push("avgObjSize", narrow(bytes / count));
        }
        stats.push("numOrphanDocs", 0);
        stats.push("storageSize", narrow(storage));
        stats.push("freeStorageSize", 0);
        stats.push("capped", collection.capped.is_some());
        if let Some(capped) = &collection.capped {
            stats.push("max", narrow(capped.max.map_or(0, |max| max as i64)));
            stats.push("maxSize", narrow(capped.size as i64 / scale));
        }
        stats.push("nindexes", collection.indexes.len() as i32);
        stats.push("indexBuilds", Vec::<Value>::new());
        stats.push("totalIndexSize", narrow(index_total));
        stats.push("totalSize", narrow(storage + index_total));
        stats.push("indexSizes", sizes);
        stats.push("scaleFactor", scale as i32);
        Ok(stats)
    }

    /// `dbStats`.
    pub fn database_stats(&self, db: &str, scale: i64) -> Result<Doc> {
        let snapshot = self.store().snapshot()?;
        let catalog = snapshot.catalog();
        let sums = sum(&snapshot, catalog.collections(db))?;
        let average = if sums.objects == 0 { 0.0 } else { sums.bytes as f64 / sums.objects as f64 };
        let scaled = |bytes: u64| bytes as f64 / scale as f64;
        let index_bytes = u64::from(sums.indexes) * 4096;
        Ok(Doc::new()
            .with("db", db)
            .with("collections", i64::from(sums.collections + u32::from(sums.views > 0)))
            .with("views", i64::from(sums.views))
            .with("objects", sums.objects as i64)
            .with("avgObjSize", average)
            .with("dataSize", scaled(sums.bytes))
            .with("storageSize", scaled(sums.bytes))
            .with("indexes", i64::from(sums.indexes))
            .with("indexSize", scaled(index_bytes))
            .with("totalSize", scaled(sums.bytes + index_bytes))
            .with("scaleFactor", scale)
            .with("fsUsedSize", 0.0)
            .with("fsTotalSize", 0.0))
    }

    /// `validate`: reads every document of a collection.
    pub fn validate(&self, namespace: &Namespace) -> Result<Doc> {
        let snapshot = self.store().snapshot()?;
        let collection = snapshot
            .catalog()
            .collection(namespace)
            .cloned()
            .ok_or_else(|| Error::new(26, format!("Collection '{namespace}' does not exist to validate.")))?;
        if collection.is_view() {
            return Err(Error::new(166, "Cannot validate a view"));
        }
        let mut records = 0i64;
        let mut damaged = 0i64;
        blocking(|| {
            for stored in snapshot.scan(collection.id, store::Direction::Forward) {
                records += 1;
                damaged += i64::from(DocBuf::validate(stored?.document.bytes().clone()).is_err());
            }
            Ok::<(), Error>(())
        })?;
        let keys: Doc = collection.indexes.iter().map(|index| (index.name.clone(), narrow(records))).collect();
        Ok(Doc::new()
            .with("ns", namespace.to_string())
            .with("uuid", collection.uuid)
            .with("nInvalidDocuments", narrow(damaged))
            .with("nNonCompliantDocuments", 0)
            .with("nrecords", narrow(records))
            .with("nIndexes", collection.indexes.len() as i32)
            .with("keysPerIndex", keys)
            .with("indexDetails", Doc::new())
            .with("valid", damaged == 0)
            .with("repaired", false)
            .with("warnings", Vec::<Value>::new())
            .with("errors", Vec::<Value>::new())
            .with("extraIndexEntries", Vec::<Value>::new())
            .with("missingIndexEntries", Vec::<Value>::new())
            .with("corruptRecords", Vec::<Value>::new()))
    }
}

fn narrow(n: i64) -> Value {
    i32::try_from(n).map_or(Value::Int64(n), Value::Int32)
}

fn entry(collection: &Collection) -> Doc {
    let view = collection.is_view();
    let mut info = Doc::new().with("readOnly", view);
    let mut entry = Doc::new()
        .with("name", &*collection.namespace.collection)
        .with("type", if view { "view" } else { "collection" })
        .with("options", collection.options.clone());
    if view {
        entry.push("info", info);
        return entry;
    }
    info.push("uuid", collection.uuid);
    entry.push("info", info);
    if let Some(index) = collection.indexes.first() {
        entry.push("idIndex", index.spec.clone());
    }
    entry
}

/// Views are kept in the catalog here; clients expect the collection that the server keeps them in.
fn system_views(catalog: &Catalog, db: &str) -> Option<Doc> {
    let view = catalog.collections(db).find(|collection| collection.is_view())?;
    let key = Doc::new().with("_id", 1);
    Some(
        Doc::new()
            .with("name", "system.views")
            .with("type", "collection")
            .with("options", Doc::new())
            .with("info", Doc::new().with("readOnly", false).with("uuid", view.uuid))
            .with("idIndex", Doc::new().with("v", 2).with("key", key).with("name", "_id_")),
    )
}

struct Sums {
    collections: u32,
    views: u32,
    indexes: u32,
    objects: u64,
    bytes: u64,
}

fn sum<'a>(snapshot: &Snapshot, collections: impl Iterator<Item = &'a std::sync::Arc<Collection>>) -> Result<Sums> {
    let mut sums = Sums { collections: 0, views: 0, indexes: 0, objects: 0, bytes: 0 };
    for collection in collections {
        if collection.is_view() {
            sums.views += 1;
            continue;
        }
        let counts = snapshot.counts(collection)?;
        sums.collections += 1;
        sums.indexes += collection.indexes.len() as u32;
        sums.objects += counts.documents;
        sums.bytes += counts.bytes;
    }
    Ok(sums)
}
