//! A write in progress: documents, indexes, catalog and log entries that will commit together.
//!
//! Whatever a call refuses leaves nothing behind, so a closure may go on after a refused document
//! (unordered inserts do).

mod documents;
mod index_builds;
mod index_statements;
mod indexes;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use document::DocBuf;
use rustc_hash::FxHashMap;

use crate::catalog::{Catalog, Collection, CollectionId, RecordId};
use crate::entry::{LogPosition, Namespace, Operation, PreImage};
use crate::error::Result;
use crate::kv::{Direction, Entry, KeyRange, KvRead, Space};
use crate::layout::{self, Counts};
use crate::locks::{Locks, TxnId};
use crate::overlay::Overlay;
use crate::read::Reader;
use crate::shared::Shared;

pub use documents::Change;
pub use index_statements::{DropIndexes, IndexCounts};
pub use statements::Modification;

/// A log entry whose position is not yet known.
#[derive(Debug)]
pub(crate) struct NewEntry {
    pub namespace: Namespace,
    pub collection: Option<base::Uuid>,
    pub operation: Operation,
}

/// What a write does beside keys and values.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub entries: Vec<NewEntry>,
    /// Change of documents and bytes by collection.
    pub counts: FxHashMap<CollectionId, (i64, i64)>,
    /// Collections whose catalog record changed, appeared or went.
    pub touched: BTreeSet<CollectionId>,
    /// Places below which a capped collection is now empty.
    pub evicted: FxHashMap<CollectionId, RecordId>,
    /// Bytes of log entries that were removed, and up to where.
    pub log_removed: Option<(LogPosition, u64)>,
}

impl Effects {
    pub fn absorb(&mut self, newer: Effects) {
        self.entries.extend(newer.entries);
        for (collection, (documents, bytes)) in newer.counts {
            let count = self.counts.entry(collection).or_default();
            count.0 += documents;
            count.1 += bytes;
        }
        self.touched.extend(newer.touched);
        self.evicted.extend(newer.evicted);
        self.log_removed = newer.log_removed.or(self.log_removed);
    }
}

/// On whose behalf the write runs.
pub(crate) enum Role {
    /// One closure of the committer: nobody else writes meanwhile.
    Ordinary,
    /// A statement of an open multi-document transaction.
    Statement { txn: TxnId, snapshot: Arc<dyn KvRead> },
}

pub struct WriteTxn {
    pub(crate) shared: Arc<Shared>,
    base: Arc<dyn KvRead>,
    pub(crate) overlay: Overlay,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) effects: Effects,
    pub(crate) grouping: Option<crate::transaction::Grouping>,
    role: Role,
    now_ms: i64,
}

impl WriteTxn {
    pub(crate) fn new(shared: &Arc<Shared>, base: Arc<dyn KvRead>, catalog: Arc<Catalog>, role: Role) -> Self {
        WriteTxn {
            shared: Arc::clone(shared),
            base,
            overlay: Overlay::default(),
            catalog,
            effects: Effects::default(),
            grouping: None,
            role,
            now_ms: shared.clock.now_ms(),
        }
    }

    /// What it has done, letting go of what it read from.
    pub(crate) fn into_work(self) -> (Overlay, Arc<Catalog>, Effects) {
        (self.overlay, self.catalog, self.effects)
    }

    /// Wall clock of this write, milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The collection or view of that name.
    pub fn collection(&self, namespace: &Namespace) -> Option<Arc<Collection>> {
        self.catalog.collection(namespace).cloned()
    }

    /// `Collection::changes`; `None` if this write itself has changed documents of the collection.
    pub fn changes(&self, collection: &Collection) -> Option<u64> {
        (!self.effects.counts.contains_key(&collection.id)).then(|| collection.changes())
    }

    /// Puts a record into a side table, in the same commit as the documents.
    ///
    /// # Panics
    /// If the key is longer than 60,000 bytes.
    pub fn put_record(&mut self, space: &str, key: &[u8], value: impl Into<Bytes>) {
        assert!(key.len() <= layout::MAX_SIDE_KEY, "keys of side tables are short");
        self.overlay.put(Space::Meta, layout::side_key(space, key).into(), value.into());
    }

    pub fn delete_record(&mut self, space: &str, key: &[u8]) {
        self.overlay.remove(Space::Meta, layout::side_key(space, key).into());
    }

    fn log(&mut self, collection: &Collection, operation: Operation) {
        self.effects.entries.push(NewEntry {
            namespace: collection.namespace.clone(),
            collection: collection.log_uuid(),
            operation,
        });
    }

    fn count(&mut self, collection: CollectionId, documents: i64, bytes: i64) {
        let count = self.effects.counts.entry(collection).or_default();
        count.0 += documents;
        count.1 += bytes;
    }

    /// The document before the operation, if someone may ask for it.
    fn image(&self, collection: &Collection, before: &DocBuf) -> Option<PreImage> {
        if collection.images {
            return Some(PreImage { document: before.clone(), by_option: true });
        }
        let wanted = self.shared.keeps_images_of(&collection.namespace);
        wanted.then(|| PreImage { document: before.clone(), by_option: false })
    }

    /// Makes sure that this write may change what stands at the key.
    fn claim(&self, collection: CollectionId, space: Space, key: &[u8]) -> Result<()> {
        let Role::Statement { txn, snapshot } = &self.role else { return self.shared.locks.check(space, key) };
        // While this is held no closure is between its check of the locks and its commit.
        let _apply = self.shared.apply.lock();
        if !self.shared.locks.take(*txn, collection, space, key)? {
            return Ok(());
        }
        let changed = self.shared.kv.get(space, key)? != snapshot.get(space, key)?;
        if changed || !self.sees_all_indexes(collection) {
            return Err(Locks::changed_since_snapshot());
        }
        Ok(())
    }

    /// False if indexes came or went since the transaction's snapshot: it would miss them.
    fn sees_all_indexes(&self, collection: CollectionId) -> bool {
        let ids = |collection: &Collection| {
            let whole: Vec<_> = collection.indexes.iter().map(|index| index.id).collect();
            let building: Vec<_> = collection.building.iter().map(|building| building.index.id).collect();
            (whole, building)
        };
        let mine = self.catalog.by_id(collection);
        match self.shared.catalog().by_id(collection) {
            Some(current) => mine.is_some_and(|mine| ids(mine) == ids(current)),
            // Created by this transaction, or dropped meanwhile.
            None => mine.is_none() || self.created_here(collection),
        }
    }

    fn created_here(&self, collection: CollectionId) -> bool {
        let Role::Statement { snapshot, .. } = &self.role else { return true };
        matches!(snapshot.get(Space::Meta, &layout::collection_key(collection)), Ok(None))
    }

    fn refuse_capped(&self, collection: &Collection) -> Result<()> {
        if collection.capped.is_some() && self.is_statement() {
            let message = format!(
                "Collection '{}' is a capped collection. Writes in transactions are not allowed on capped collections.",
                collection.namespace
            );
            return Err(crate::Error::request(263, message));
        }
        Ok(())
    }

    pub(crate) fn is_statement(&self) -> bool {
        matches!(self.role, Role::Statement { .. })
    }

    /// Replaces the collection in the catalog that this write sees.
    pub(crate) fn put_collection(&mut self, collection: Arc<Collection>) {
        self.effects.touched.insert(collection.id);
        Arc::make_mut(&mut self.catalog).put(collection);
    }
}

impl Reader for WriteTxn {
    fn kv_get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        match self.overlay.get(space, key) {
            Some(value) => Ok(value),
            None => self.base.get(space, key),
        }
    }

    fn kv_range<'a>(
        &'a self,
        space: Space,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Entry>> + Send + 'a> {
        self.overlay.merged(&*self.base, space, range, direction)
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn counts(&self, collection: &Collection) -> Result<Counts> {
        let (documents, bytes) = self.effects.counts.get(&collection.id).copied().unwrap_or_default();
        Ok(layout::read_counts(&*self.base, collection.id)?.plus(documents, bytes))
    }
}
