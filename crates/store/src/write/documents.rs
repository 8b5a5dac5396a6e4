//! Insert, replace, delete.

use std::sync::Arc;

use base::limits::{MAX_DOCUMENT, MAX_INTERNAL_DOCUMENT};
use bytes::Bytes;
use document::{DocBuf, DocWriter, Raw, compare_raw};

use super::WriteTxn;
use crate::catalog::{Collection, CollectionId, RecordId};
use crate::entry::Operation;
use crate::error::{Error, Result};
use crate::kv::{Direction, Space};
use crate::layout;
use crate::read::{Reader, Stored};

/// How a document came to its new content; decides the event that watchers see.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// By update operators or a pipeline: `{updatedFields, removedFields, truncatedArrays, …}`.
    Update { description: DocBuf },
    /// By a whole new document.
    Replace,
    /// The same; watchers see its fields in this order.
    ReplaceShowing(DocBuf),
}

impl WriteTxn {
    /// Adds a document, which must have an `_id`. Errors: 11000 duplicate key, 2 for an `_id` of a
    /// kind that cannot be one, 10334 too large, 171 parallel arrays in an index.
    pub fn insert(&mut self, collection: CollectionId, document: DocBuf) -> Result<RecordId> {
        let collection = Arc::clone(self.catalog.need(collection)?);
        self.refuse_capped(&collection)?;
        let id = check_document(&document)?;
        if let Some(capped) = collection.capped
            && document.len() as u64 > capped.size
        {
            return Err(Error::request(2, "object to insert exceeds cappedMaxSize"));
        }
        let key = id_key(id);
        let record = self.shared.allocate_record(&collection)?;
        let change = self.plan_entries(&collection, record, None, Some(&document))?;
        self.apply_entries(&collection, change);
        self.put_document(&collection, record, &document);
        self.count(collection.id, 1, document.len() as i64);
        self.log(&collection, Operation::Insert { key, document });
        if collection.capped.is_some() {
            self.evict(&collection)?;
        }
        Ok(record)
    }

    /// Gives the document at `record`, which is `before`, new content with the same `_id`.
    pub fn replace(
        &mut self,
        collection: CollectionId,
        record: RecordId,
        before: &DocBuf,
        after: DocBuf,
        change: Change,
    ) -> Result<()> {
        let collection = Arc::clone(self.catalog.need(collection)?);
        self.refuse_capped(&collection)?;
        let id = check_size(&after, MAX_INTERNAL_DOCUMENT).and_then(|()| need_id(&after))?;
        let old_id = need_id(before)?;
        if compare_raw(id, old_id).is_ne() {
            return Err(Error::request(
                66,
                "After applying the update, the (immutable) field '_id' was found to have been altered",
            ));
        }
        if collection.capped.is_some() && before.len() != after.len() {
            let message = format!(
                "Cannot change the size of a document in a capped collection: {} != {}",
                before.len(),
                after.len()
            );
            return Err(Error::request(10003, message));
        }
        let key = id_key(old_id);
        self.claim_document(&collection, record)?;
        let entries = self.plan_entries(&collection, record, Some(before), Some(&after))?;
        self.apply_entries(&collection, entries);
        self.put_document(&collection, record, &after);
        self.count(collection.id, 0, after.len() as i64 - before.len() as i64);
        let before = self.image(&collection, before);
        let operation = match change {
            Change::Update { description } => Operation::Update { key, description, document: after, before },
            Change::Replace => Operation::Replace { key, document: after, before },
            Change::ReplaceShowing(document) => Operation::Replace { key, document, before },
        };
        self.log(&collection, operation);
        Ok(())
    }

    /// Removes the document at `record`, which is `before`.
    pub fn delete(&mut self, collection: CollectionId, record: RecordId, before: &DocBuf) -> Result<()> {
        let collection = Arc::clone(self.catalog.need(collection)?);
        self.refuse_capped(&collection)?;
        let key = id_key(need_id(before)?);
        self.claim_document(&collection, record)?;
        let entries = self.plan_entries(&collection, record, Some(before), None)?;
        self.apply_entries(&collection, entries);
        let place = Bytes::copy_from_slice(&layout::document_key(collection.id, record));
        self.overlay.remove(Space::Documents, place);
        self.count(collection.id, -1, -(before.len() as i64));
        let before = self.image(&collection, before);
        self.log(&collection, Operation::Delete { key, before });
        Ok(())
    }

    fn put_document(&mut self, collection: &Collection, record: RecordId, document: &DocBuf) {
        let place = Bytes::copy_from_slice(&layout::document_key(collection.id, record));
        self.overlay.put(Space::Documents, place, document.bytes().clone());
    }

    fn claim_document(&self, collection: &Collection, record: RecordId) -> Result<()> {
        self.claim(collection.id, Space::Documents, &layout::document_key(collection.id, record))
    }

    /// Deletes the oldest documents of a capped collection until it is within its limits.
    fn evict(&mut self, collection: &Arc<Collection>) -> Result<()> {
        let Some(capped) = collection.capped else { return Ok(()) };
        loop {
            let counts = self.counts(collection)?;
            if counts.bytes <= capped.size && capped.max.is_none_or(|max| counts.documents <= max) {
                return Ok(());
            }
            let Some(oldest) = self.oldest(collection)? else { return Ok(()) };
            self.delete(collection.id, oldest.record, &oldest.document)?;
            self.effects.evicted.insert(collection.id, oldest.record);
        }
    }

    /// Starts above what was evicted before, so that it does not wade through removed keys.
    fn oldest(&self, collection: &Collection) -> Result<Option<Stored>> {
        let evicted = self.effects.evicted.get(&collection.id).copied();
        let after = evicted.or_else(|| self.shared.evicted.lock().get(&collection.id).copied());
        match after {
            Some(after) => self.scan_after(collection.id, after).next().transpose(),
            None => self.scan(collection.id, Direction::Forward).next().transpose(),
        }
    }
}

/// The document key `{_id: …}`.
fn id_key(id: Raw<'_>) -> DocBuf {
    let mut key = DocWriter::with_capacity(32);
    key.raw("_id", id);
    key.finish()
}

fn need_id(document: &DocBuf) -> Result<Raw<'_>> {
    document.get("_id").ok_or_else(|| Error::request(2, "document to store has no _id"))
}

fn check_size(document: &DocBuf, limit: usize) -> Result<()> {
    if document.len() <= limit {
        return Ok(());
    }
    let message = format!(
        "BSONObj size: {} (0x{:X}) is invalid. Size must be between 0 and {MAX_INTERNAL_DOCUMENT}({}MB)",
        document.len(),
        document.len(),
        MAX_DOCUMENT / 1024 / 1024
    );
    Err(Error::request(10334, message))
}

fn check_document(document: &DocBuf) -> Result<Raw<'_>> {
    check_size(document, MAX_INTERNAL_DOCUMENT)?;
    let id = need_id(document)?;
    match id {
        Raw::Array(_) | Raw::Regex { .. } | Raw::Undefined => {
            Err(Error::request(2, format!("The '_id' value cannot be of type {}", id.type_name())))
        }
        _ => Ok(id),
    }
}
