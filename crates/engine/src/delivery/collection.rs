//! A collection of this database as the target: rows, position and ledger in one commit, so each
//! event has its effect exactly once.

use std::sync::Arc;

use ::sql::SqlError;
use async_trait::async_trait;
use base::Uuid;
use delivery::{Delivery, Event, Fault, Kind, Target};
use document::Raw;
use store::{Change, Collection, Namespace, Reader, Store, WriteTxn};

use super::definition::{SinkDefinition, SourcePlan};
use super::records;
use crate::documents::Validator;

pub(super) struct CollectionTarget {
    store: Store,
    uid: Uuid,
    namespace: Namespace,
    /// Rows have their own `_id` (those of a change stream's documents).
    own_ids: bool,
}

impl CollectionTarget {
    /// # Errors
    /// 42P16 if the sink would watch what it writes; 42809 for a view.
    pub fn new(store: Store, sink: &SinkDefinition, namespace: Namespace) -> Result<Self, SqlError> {
        let catalog = store.catalog();
        if catalog.collection(&namespace).is_some_and(|found| found.is_view()) {
            return Err(SqlError::new("42809", format!("\"{namespace}\" is a view, not a collection")));
        }
        if changes::scope::is_internal_db(&namespace.db) {
            return Err(SqlError::new("42501", format!("a sink cannot write into the database \"{}\"", namespace.db)));
        }
        let own_ids = matches!(sink.source, SourcePlan::Stream { .. });
        Ok(CollectionTarget { store, uid: sink.uid, namespace, own_ids })
    }
}

fn apply(txn: &mut WriteTxn, collection: &Collection, event: &Event, own_ids: bool) -> store::Result<()> {
    let id = event.id_in_collection(own_ids);
    let raw = id.get("_id").unwrap_or(Raw::Null);
    let found = txn.get(collection.id, raw)?;
    match (event.kind, found) {
        (Kind::Other, _) | (Kind::Delete, None) => Ok(()),
        (Kind::Delete, Some(found)) => txn.delete(collection.id, found.record, &found.document),
        (Kind::Upsert, found) => {
            let document = event.document_in_collection(&id, own_ids);
            if let Some(validator) = Validator::of(collection, &document::Context::default())? {
                validator.check(document.as_doc(), found.as_ref().map(|found| found.document.as_doc()))?;
            }
            match found {
                Some(found) if found.document == document => Ok(()),
                Some(found) => txn.replace(collection.id, found.record, &found.document, document, Change::Replace),
                None => txn.insert(collection.id, document).map(|_| ()),
            }
        }
    }
}

#[async_trait]
impl Target for CollectionTarget {
    async fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn keeps_marks(&self) -> bool {
        true
    }

    // The marks are the sink's own records: nothing else to read.

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let (uid, namespace, own_ids) = (self.uid, self.namespace.clone(), self.own_ids);
        let (events, marks) = (delivery.events.clone(), delivery.marks.clone());
        let bytes = events.iter().map(|event: &Arc<Event>| event.bytes()).sum();
        let write = move |txn: &mut WriteTxn| {
            let collection = txn.ensure_collection(&namespace)?;
            for event in &events {
                apply(txn, &collection, event, own_ids)?;
            }
            records::write_marks(txn, uid, &marks)
        };
        self.store.write_sized(bytes, write).await.map(|_| ()).map_err(fault_of)
    }
}

fn fault_of(error: store::Error) -> Fault {
    match error {
        store::Error::WriteConflict(message) => Fault::failed(message),
        store::Error::Request(error) => Fault::refused(error),
        store::Error::DuplicateKey(error) => Fault::failed(error.message()),
        other => Fault::unreachable(other),
    }
}
