//! The committer's part in building an index (`index_build.rs`).

use std::sync::Arc;

use bytes::Bytes;
use document::DocBuf;

use super::WriteTxn;
use super::index_statements::{IndexCounts, describe};
use super::indexes::{IndexChange, duplicate};
use crate::catalog::{Collection, CollectionId, IndexId, RecordId};
use crate::entry::Operation;
use crate::error::{Error, Result};
use crate::index::{Index, Keys};
use crate::index_build::{BuildEnd, Building, IndexBuild, IndexCreation, Row};
use crate::kv::Space;
use crate::layout;
use crate::read::Reader;

/// A collection of up to so many documents and bytes gets its indexes in one commit.
const SMALL_DOCUMENTS: u64 = 1000;
const SMALL_BYTES: u64 = 4 * 1024 * 1024;

impl WriteTxn {
    /// Creates indexes at once if the collection is small, otherwise enters them as building. Errors as
    /// `create_indexes`.
    pub fn begin_indexes(&mut self, id: CollectionId, specs: &[DocBuf]) -> Result<IndexCreation> {
        let collection = self.catalog.need(id)?;
        let counts = self.counts(collection)?;
        if self.is_statement() || (counts.documents <= SMALL_DOCUMENTS && counts.bytes <= SMALL_BYTES) {
            return self.create_indexes(id, specs).map(IndexCreation::Done);
        }
        let mut collection = self.indexable(id)?;
        let wanted = self.wanted_indexes(&collection, specs)?;
        let before = collection.indexes.len();
        if wanted.is_empty() {
            return Ok(IndexCreation::Done(IndexCounts { before, after: before }));
        }
        let in_the_way = collection.building.iter().find(|building| {
            wanted.iter().any(|index| {
                index.name == building.index.name
                    || index.key_pattern().as_bytes() == building.index.key_pattern().as_bytes()
            })
        });
        if let Some(building) = in_the_way {
            return Ok(IndexCreation::Wait(building.end.clone()));
        }
        let indexes: Vec<_> = wanted.into_iter().map(Arc::new).collect();
        let end = BuildEnd::default();
        for index in &indexes {
            let building = Building { index: Arc::clone(index), doubts: Arc::default(), end: end.clone() };
            collection.building.push(building);
            self.overlay.put(Space::Meta, building_key(index.id), Bytes::new());
        }
        self.put_collection(Arc::new(collection));
        Ok(IndexCreation::Build(IndexBuild { collection: id, indexes, end, before }))
    }

    /// What an index being built needs when a document changes. All the keys it has are written, as the
    /// builder may not have come to it.
    pub(super) fn plan_building(
        &self,
        collection: CollectionId,
        building: &Building,
        record: RecordId,
        (before, after): (Option<&DocBuf>, Option<&DocBuf>),
        change: &mut IndexChange,
    ) -> Result<()> {
        let index = &building.index;
        let keys_of = |document: Option<&DocBuf>| document.map_or(Ok(Keys::default()), |doc| index.keys(doc.as_doc()));
        let old = keys_of(before).unwrap_or_default();
        let new = keys_of(after).unwrap_or_else(|_| {
            building.doubts.lock().insert(record);
            Keys::default()
        });
        change.mark(index, &new);
        for gone in old.keys.difference(&new.keys) {
            let (key, _) = index.entry(gone, record);
            self.claim_built(collection, index, &key)?;
            if self.holder(index, &key)? == Some(record) {
                change.remove.push(key);
            }
        }
        for added in &new.keys {
            let (key, value) = index.entry(added, record);
            self.claim_built(collection, index, &key)?;
            match self.holder(index, &key)? {
                Some(other) if other != record => drop(building.doubts.lock().insert(record)),
                _ => change.put.push((key, value)),
            }
        }
        Ok(())
    }

    /// No transaction's uncommitted entry may be written over.
    fn claim_built(&self, collection: CollectionId, index: &Index, key: &[u8]) -> Result<()> {
        if index.unique { self.claim(collection, Space::Indexes, key) } else { Ok(()) }
    }

    /// The record at an entry's place.
    fn holder(&self, index: &Index, key: &[u8]) -> Result<Option<RecordId>> {
        self.kv_get(Space::Indexes, key)?.map(|value| index.record_of(key, &value)).transpose()
    }

    /// Enters documents into indexes being built, unless they have changed meanwhile: whoever changed
    /// them has entered them.
    pub(crate) fn enter_built(&mut self, id: CollectionId, ids: &[IndexId], rows: &[Row]) -> Result<()> {
        let collection = self.catalog.by_id(id).cloned().ok_or_else(aborted)?;
        let building = all_of(&collection, ids)?;
        let mut change = IndexChange::default();
        for row in rows {
            let place = layout::document_key(id, row.record);
            if self.kv_get(Space::Documents, &place)?.as_ref() != Some(row.document.bytes()) {
                continue;
            }
            for (building, keys) in building.iter().zip(&row.keys) {
                let Some(keys) = keys else {
                    building.doubts.lock().insert(row.record);
                    continue;
                };
                change.mark(&building.index, keys);
                self.enter_keys(id, building, (row.record, keys))?;
            }
        }
        self.apply_entries(&collection, change);
        Ok(())
    }

    fn enter_keys(&mut self, id: CollectionId, building: &Building, (record, keys): (RecordId, &Keys)) -> Result<()> {
        for key in &keys.keys {
            let (key, value) = building.index.entry(key, record);
            self.claim_built(id, &building.index, &key)?;
            match self.holder(&building.index, &key)? {
                Some(other) if other != record => drop(building.doubts.lock().insert(record)),
                Some(_) => {}
                None => self.overlay.put(Space::Indexes, key, value),
            }
        }
        Ok(())
    }

    /// Looks at the documents in doubt again, and fails if one still does not fit.
    pub(crate) fn settle_doubts(&mut self, id: CollectionId, ids: &[IndexId]) -> Result<()> {
        let collection = self.catalog.by_id(id).cloned().ok_or_else(aborted)?;
        let mut change = IndexChange::default();
        for building in all_of(&collection, ids)? {
            let doubts = building.doubts.lock().clone();
            for record in doubts {
                building.doubts.lock().remove(&record);
                let Some(document) = self.fetch(id, record)? else { continue };
                let keys = building.index.keys(document.as_doc())?;
                change.mark(&building.index, &keys);
                self.enter_keys(id, building, (record, &keys))?;
                if building.doubts.lock().contains(&record) {
                    return Err(duplicate(&collection, &building.index, Some(&document)));
                }
            }
        }
        self.apply_entries(&collection, change);
        Ok(())
    }

    /// Makes indexes that have been built indexes of the collection.
    pub(crate) fn finish_builds(&mut self, id: CollectionId, ids: &[IndexId], before: usize) -> Result<IndexCounts> {
        if self.catalog.by_id(id).is_none() {
            return Err(aborted());
        }
        self.changeable(id)?;
        self.settle_doubts(id, ids)?;
        let mut collection = Collection::clone(self.catalog.need(id)?);
        all_of(&collection, ids)?;
        let (done, others) = collection.building.drain(..).partition(|building| ids.contains(&building.index.id));
        collection.building = others;
        let done: Vec<Building> = done;
        let specs: Vec<DocBuf> = done.iter().map(|building| building.index.spec.clone()).collect();
        collection.indexes.extend(done.into_iter().map(|building| building.index));
        for index in ids {
            self.overlay.remove(Space::Meta, building_key(*index));
        }
        let collection = Arc::new(collection);
        self.put_collection(Arc::clone(&collection));
        self.log(&collection, Operation::CreateIndexes { description: describe(&specs) });
        Ok(IndexCounts { before, after: before + ids.len() })
    }

    /// Ends builds of a collection that is then put back, or dropped. Answers the names.
    pub(super) fn abandon_builds(
        &mut self,
        collection: &mut Collection,
        which: impl Fn(&Index) -> bool,
    ) -> Vec<String> {
        let (gone, kept) = collection.building.drain(..).partition(|building: &Building| which(&building.index));
        collection.building = kept;
        let gone: Vec<Building> = gone;
        for building in &gone {
            self.overlay.remove(Space::Meta, building_key(building.index.id));
            self.discard(Space::Indexes, building.index.id.0);
        }
        gone.into_iter().map(|building| building.index.name.clone()).collect()
    }

    /// Ends builds that have failed.
    pub(crate) fn abandon(&mut self, id: CollectionId, ids: &[IndexId]) -> Result<()> {
        if self.catalog.by_id(id).is_none() {
            return Ok(());
        }
        let mut collection = Collection::clone(&*self.changeable(id)?);
        if !self.abandon_builds(&mut collection, |index| ids.contains(&index.id)).is_empty() {
            self.put_collection(Arc::new(collection));
        }
        Ok(())
    }
}

fn building_key(index: IndexId) -> Bytes {
    Bytes::copy_from_slice(&layout::building_key(index))
}

/// The indexes, if all are still being built.
fn all_of<'c>(collection: &'c Collection, ids: &[IndexId]) -> Result<Vec<&'c Building>> {
    let one = |id: &IndexId| collection.building.iter().find(|building| building.index.id == *id);
    ids.iter().map(one).collect::<Option<_>>().ok_or_else(aborted)
}

fn aborted() -> Error {
    Error::request(276, "Index build aborted: the collection or the index was dropped")
}
