//! Which databases, collections, views and indexes exist: an immutable snapshot, replaced as a
//! whole by every statement that changes it.
//!
//! # Invariants
//! - A collection's id and its indexes' ids are never used again after it is dropped.
//! - Every collection that holds documents has its `_id_` index first in `indexes`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base::Uuid;
use document::collation::Collation;
use document::{DocBuf, Raw};
use rustc_hash::FxHashMap;

use crate::entry::{CollectionKind, Namespace};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index_build::Building;

/// Names a collection's documents on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionId(pub u32);

/// Names an index's entries on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexId(pub u32);

/// A document's place in its collection; grows with every insert, so it is the natural order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// Limits of a capped collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capped {
    /// Bytes of documents kept.
    pub size: u64,
    /// Documents kept.
    pub max: Option<u64>,
}

/// A collection, or a view if `kind` says so.
#[derive(Clone, Debug)]
pub struct Collection {
    pub id: CollectionId,
    pub uuid: Uuid,
    pub namespace: Namespace,
    pub kind: CollectionKind,
    /// As `listCollections` shows them; of a view `{viewOn, pipeline, collation}`.
    pub options: DocBuf,
    pub indexes: Vec<Arc<Index>>,
    /// Indexes that writers keep although they are not whole yet; nobody reads them.
    pub(crate) building: Vec<Building>,
    pub capped: Option<Capped>,
    /// `changeStreamPreAndPostImages: {enabled: true}`.
    pub images: bool,
    /// Of queries and indexes that name none; `None` is the simple one.
    pub collation: Option<Arc<Collation>>,
    /// Where the next document goes; found out by the first insert after opening.
    pub(crate) next_record: Arc<OnceLock<AtomicU64>>,
    /// Commits that changed its documents, since opening.
    pub(crate) changes: Arc<AtomicU64>,
}

impl Collection {
    /// Reads what the store itself acts upon from the options.
    pub(crate) fn new(
        id: CollectionId,
        uuid: Uuid,
        namespace: Namespace,
        kind: CollectionKind,
        options: DocBuf,
    ) -> Self {
        let mut collection = Collection {
            id,
            uuid,
            namespace,
            kind,
            options: DocBuf::default(),
            indexes: Vec::new(),
            building: Vec::new(),
            capped: None,
            images: false,
            collation: None,
            next_record: Arc::default(),
            changes: Arc::default(),
        };
        collection.set_options(options);
        collection
    }

    pub(crate) fn set_options(&mut self, options: DocBuf) {
        let number = |name| options.get(name).and_then(whole).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        self.capped = match options.get("capped") {
            Some(Raw::Bool(true)) => {
                number("size").map(|size| Capped { size: size.div_ceil(256) * 256, max: number("max") })
            }
            _ => None,
        };
        let images = options.get("changeStreamPreAndPostImages").and_then(Raw::as_document);
        self.images = images.and_then(|images| images.get("enabled")) == Some(Raw::Bool(true));
        let collation = options.get("collation").and_then(Raw::as_document);
        self.collation = collation.and_then(|doc| Collation::parse(doc).ok().flatten()).map(Arc::new);
        self.options = options;
    }

    /// Counts the commits that changed its documents. Read before a snapshot is taken, it tells later
    /// whether anything has changed since.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub fn is_view(&self) -> bool {
        self.kind == CollectionKind::View
    }

    /// The UUID in log entries; views have none.
    pub fn log_uuid(&self) -> Option<Uuid> {
        (!self.is_view()).then_some(self.uuid)
    }

    pub fn index(&self, name: &str) -> Option<&Arc<Index>> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// Those that are being built as well.
    pub(crate) fn all_indexes(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.iter().chain(self.building.iter().map(|building| &building.index))
    }

    /// Notes what a document's keys in one of the indexes were like. False if it was known.
    pub(crate) fn mark(&mut self, index: IndexId, multikey: u64, long_keys: bool) -> bool {
        let building = self.building.iter_mut().map(|building| &mut building.index);
        let found = self.indexes.iter_mut().chain(building).find(|other| other.id == index);
        found.is_some_and(|found| Index::mark(found, multikey, long_keys))
    }

    /// The index on `_id`.
    pub fn id_index(&self) -> Result<&Arc<Index>> {
        self.indexes
            .first()
            .ok_or_else(|| Error::request(166, format!("Namespace {} is a view, not a collection", self.namespace)))
    }
}

/// A number of any type as a whole one, cut towards zero as the server does with sizes.
pub(crate) fn whole(value: Raw<'_>) -> Option<i64> {
    match value {
        Raw::Double(n) => Some(n as i64),
        _ => value.as_whole(),
    }
}

type Collections = BTreeMap<Arc<str>, Arc<Collection>>;

/// Everything that exists at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Counts the changes since the directory was created.
    pub version: u64,
    databases: BTreeMap<Arc<str>, Arc<Collections>>,
    by_id: FxHashMap<CollectionId, Arc<Collection>>,
    by_uuid: FxHashMap<Uuid, CollectionId>,
}

impl Catalog {
    /// Names of the databases that hold at least one collection or view, in order.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<str>> {
        self.databases.keys()
    }

    pub fn has_database(&self, db: &str) -> bool {
        self.databases.contains_key(db)
    }

    /// Collections and views of a database, by name.
    pub fn collections<'a>(&'a self, db: &str) -> impl Iterator<Item = &'a Arc<Collection>> + use<'a> {
        self.databases.get(db).into_iter().flat_map(|collections| collections.values())
    }

    /// All collections and views of all databases.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.databases.values().flat_map(|collections| collections.values())
    }

    pub fn collection(&self, namespace: &Namespace) -> Option<&Arc<Collection>> {
        self.find(&namespace.db, &namespace.collection)
    }

    pub fn find(&self, db: &str, collection: &str) -> Option<&Arc<Collection>> {
        self.databases.get(db)?.get(collection)
    }

    pub fn by_uuid(&self, uuid: Uuid) -> Option<&Arc<Collection>> {
        self.by_id.get(self.by_uuid.get(&uuid)?)
    }

    pub fn by_id(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.by_id.get(&id)
    }

    /// The collection, or 26 NamespaceNotFound.
    pub(crate) fn need(&self, id: CollectionId) -> Result<&Arc<Collection>> {
        self.by_id(id).ok_or_else(|| Error::request(26, "collection dropped"))
    }

    /// Adds the collection, or replaces the one with its id (also under another name).
    pub(crate) fn put(&mut self, collection: Arc<Collection>) {
        self.remove(collection.id);
        self.by_id.insert(collection.id, Arc::clone(&collection));
        self.by_uuid.insert(collection.uuid, collection.id);
        let database = self.databases.entry(Arc::clone(&collection.namespace.db)).or_default();
        Arc::make_mut(database).insert(Arc::clone(&collection.namespace.collection), collection);
    }

    pub(crate) fn remove(&mut self, id: CollectionId) -> Option<Arc<Collection>> {
        let old = self.by_id.remove(&id)?;
        self.by_uuid.remove(&old.uuid);
        if let Some(database) = self.databases.get_mut(&old.namespace.db) {
            let collections = Arc::make_mut(database);
            collections.remove(&old.namespace.collection);
            if collections.is_empty() {
                self.databases.remove(&old.namespace.db);
            }
        }
        Some(old)
    }
}
