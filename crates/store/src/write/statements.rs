//! Collections, views and indexes created, changed and dropped.

use std::sync::Arc;

use base::Uuid;
use document::{DocBuf, DocWriter};

use super::WriteTxn;
use crate::catalog::{Collection, CollectionId, IndexId};
use crate::entry::{CollectionKind, Namespace, Operation};
use crate::error::{Error, Result};
use crate::index::Index;

/// What `createIndexes` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateIndexes {
    pub created_collection: bool,
    pub before: usize,
    pub after: usize,
}

/// What `dropIndexes` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedIndexes {
    pub before: usize,
}

impl WriteTxn {
    /// The collection, created with default options if it does not exist. 166 for a view.
    pub fn ensure_collection(&mut self, namespace: &Namespace) -> Result<Arc<Collection>> {
        match self.collection(namespace) {
            Some(collection) if collection.is_view() => {
                Err(Error::request(166, format!("Namespace {namespace} is a view, not a collection")))
            }
            Some(collection) => Ok(collection),
            None => self.create_collection(namespace, DocBuf::default()),
        }
    }

    /// Creates a collection; `options` as `listCollections` shows them. 48 if the name is taken.
    pub fn create_collection(&mut self, namespace: &Namespace, options: DocBuf) -> Result<Arc<Collection>> {
        self.create(namespace, options, CollectionKind::Collection)
    }

    /// Creates a view; `options` is `{viewOn, pipeline[, collation]}`.
    pub fn create_view(&mut self, namespace: &Namespace, options: DocBuf) -> Result<Arc<Collection>> {
        self.create(namespace, options, CollectionKind::View)
    }

    fn create(&mut self, namespace: &Namespace, options: DocBuf, kind: CollectionKind) -> Result<Arc<Collection>> {
        if self.collection(namespace).is_some() {
            return Err(Error::request(48, format!("Collection {namespace} already exists.")));
        }
        let id = CollectionId(self.shared.allocate_id());
        let mut collection = Collection::new(id, Uuid::random(), namespace.clone(), kind, options);
        if kind == CollectionKind::Collection {
            collection.indexes.push(Arc::new(Index::on_id(IndexId(self.shared.allocate_id()))));
        }
        let collection = Arc::new(collection);
        self.put_collection(Arc::clone(&collection));
        let description = create_description(&collection);
        self.log(&collection, Operation::Create { description, kind });
        Ok(collection)
    }
}

/// The `operationDescription` of a create event.
fn create_description(collection: &Collection) -> DocBuf {
    if collection.is_view() {
        return collection.options.clone();
    }
    let mut out = DocWriter::new();
    out.fields(collection.options.as_doc());
    out.begin_document("idIndex");
    out.i32("v", 2);
    out.begin_document("key");
    out.i32("_id", 1);
    out.end();
    out.str("name", crate::index::ID_INDEX);
    out.end();
    out.finish()
}
