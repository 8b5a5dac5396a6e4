//! Collections and views created, changed, renamed and dropped.

use std::sync::Arc;

use base::Uuid;
use bytes::Bytes;
use document::{DocBuf, DocWriter};

use super::{NewEntry, WriteTxn};
use crate::catalog::{Collection, CollectionId, IndexId};
use crate::entry::{CollectionKind, Namespace, Operation};
use crate::error::{Error, Result};
use crate::index::{Index, parse_spec};
use crate::kv::{Direction, Space};
use crate::layout;
use crate::read::Reader;

/// What a `collMod` changes, and what its event says about it.
#[derive(Clone, Debug, Default)]
pub struct Modification {
    /// The new options, whole.
    pub options: Option<DocBuf>,
    /// New specifications of indexes by name; key and uniqueness must be as before.
    pub indexes: Vec<(String, DocBuf)>,
    pub description: DocBuf,
    pub before: DocBuf,
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
        check_name(namespace)?;
        let id = CollectionId(self.shared.allocate_id());
        self.claim(id, Space::Meta, &layout::name_lock(namespace))?;
        let mut collection = Collection::new(id, Uuid::random(), namespace.clone(), kind, options);
        if kind == CollectionKind::Collection {
            let index = IndexId(self.shared.allocate_id());
            collection.indexes.push(Arc::new(Index::on_id(index, collection.collation.clone())));
        }
        let collection = Arc::new(collection);
        self.put_collection(Arc::clone(&collection));
        let description = create_description(&collection);
        self.log(&collection, Operation::Create { description, kind });
        Ok(collection)
    }

    /// Drops a collection or view; its contents are removed in the background.
    pub fn drop_collection(&mut self, id: CollectionId) -> Result<Arc<Collection>> {
        let collection = self.changeable(id)?;
        self.log(&collection, Operation::Drop);
        self.forget(&collection);
        Ok(collection)
    }

    /// Drops everything in a database: a `drop` for each collection, then one `dropDatabase`.
    /// Answers how many collections there were; nothing is logged if there were none.
    pub fn drop_database(&mut self, db: &str) -> Result<usize> {
        let dropped: Vec<_> = self.catalog.collections(db).cloned().collect();
        for collection in &dropped {
            self.changeable(collection.id)?;
        }
        for collection in &dropped {
            self.drop_collection(collection.id)?;
        }
        if !dropped.is_empty() {
            let namespace = Namespace::new(db, "");
            self.effects.entries.push(NewEntry { namespace, collection: None, operation: Operation::DropDatabase });
        }
        Ok(dropped.len())
    }

    /// Logs the drop of a database that has no collections left.
    pub fn drop_empty_database(&mut self, db: &str) {
        let namespace = Namespace::new(db, "");
        self.effects.entries.push(NewEntry { namespace, collection: None, operation: Operation::DropDatabase });
    }

    /// Gives a collection another name. A target that exists is dropped if `drop_target` says so,
    /// otherwise 48. Into another database the documents are inserted anew and the source dropped,
    /// so that whoever watches either database sees what happened in it.
    pub fn rename_collection(&mut self, from: &Namespace, to: &Namespace, drop_target: bool) -> Result<()> {
        let Some(source) = self.collection(from) else {
            return Err(Error::request(26, format!("Source collection {from} does not exist")));
        };
        if source.is_view() {
            return Err(Error::request(166, format!("cannot rename view: {from}")));
        }
        if from == to {
            return Err(Error::request(20, "Can't rename a collection to itself"));
        }
        check_name(to)?;
        self.changeable(source.id)?;
        let target = self.collection(to);
        match &target {
            Some(target) if target.is_view() => {
                return Err(Error::request(166, format!("a view already exists with that name: {to}")));
            }
            Some(_) if !drop_target => return Err(Error::request(48, "target namespace exists")),
            Some(target) => drop(self.changeable(target.id)?),
            None => {}
        }
        if from.db != to.db {
            return self.move_collection(&source, to, target);
        }
        let dropped_target = target.as_ref().map(|target| target.uuid);
        self.log(&source, Operation::Rename { to: to.clone(), dropped_target });
        if let Some(target) = target {
            self.forget(&target);
        }
        let renamed = Collection { namespace: to.clone(), ..Collection::clone(&source) };
        self.put_collection(Arc::new(renamed));
        Ok(())
    }

    fn move_collection(
        &mut self,
        source: &Arc<Collection>,
        to: &Namespace,
        target: Option<Arc<Collection>>,
    ) -> Result<()> {
        if let Some(target) = target {
            self.drop_collection(target.id)?;
        }
        let moved = self.create_collection(to, source.options.clone())?;
        let specs: Vec<_> = source.indexes.iter().skip(1).map(|index| index.spec.clone()).collect();
        self.create_indexes(moved.id, &specs)?;
        let rows: Vec<_> = self.scan(source.id, Direction::Forward).collect::<Result<_>>()?;
        for row in rows {
            self.insert(moved.id, row.document)?;
        }
        self.drop_collection(source.id)?;
        Ok(())
    }

    /// Changes options of a collection, view or index.
    pub fn modify(&mut self, id: CollectionId, change: Modification) -> Result<Arc<Collection>> {
        let mut collection = Collection::clone(&*self.changeable(id)?);
        if let Some(options) = change.options {
            collection.set_options(options);
        }
        for (name, spec) in change.indexes {
            let found = collection.indexes.iter_mut().find(|index| index.name == name);
            let index = found.ok_or_else(|| {
                Error::request(27, format!("cannot find index {name} for ns {}", collection.namespace))
            })?;
            let mut changed = parse_spec(spec.as_doc(), index.id, index.collation.as_ref())?;
            if changed.parts != index.parts || changed.unique != index.unique {
                return Err(Error::request(72, "collMod cannot change the key or uniqueness of an index"));
            }
            changed.multikey = index.multikey;
            *index = Arc::new(changed);
        }
        let collection = Arc::new(collection);
        self.put_collection(Arc::clone(&collection));
        self.log(&collection, Operation::Modify { description: change.description, before: change.before });
        Ok(collection)
    }

    /// The collection, if no open transaction is in the way of changing it as a whole.
    pub(super) fn changeable(&self, id: CollectionId) -> Result<Arc<Collection>> {
        if self.is_statement() {
            return Err(Error::request(263, "Cannot run this command in a multi-document transaction"));
        }
        self.shared.locks.check_collection(id)?;
        self.catalog.need(id).cloned()
    }

    /// Takes the collection out of the catalog and leaves its contents to the cleaner.
    fn forget(&mut self, collection: &Collection) {
        self.effects.touched.insert(collection.id);
        self.count(collection.id, 0, 0);
        Arc::make_mut(&mut self.catalog).remove(collection.id);
        self.discard(Space::Documents, collection.id.0);
        for index in &collection.indexes {
            self.discard(Space::Indexes, index.id.0);
        }
        self.abandon_builds(&mut Collection::clone(collection), |_| true);
    }

    pub(super) fn discard(&mut self, space: Space, id: u32) {
        let key = Bytes::copy_from_slice(&layout::garbage_key(space, id));
        self.overlay.put(Space::Meta, key, Bytes::new());
    }
}

/// The server's limit on a database and collection name together, in bytes.
const MAX_NAMESPACE: usize = 255;

fn check_name(namespace: &Namespace) -> Result<()> {
    if namespace.db.len() + 1 + namespace.collection.len() <= MAX_NAMESPACE {
        return Ok(());
    }
    let message = format!("Fully qualified namespace is too long. Namespace: {namespace} Max: {MAX_NAMESPACE}");
    Err(Error::request(73, message))
}

/// The `operationDescription` of a create event.
fn create_description(collection: &Collection) -> DocBuf {
    if collection.is_view() {
        return collection.options.clone();
    }
    let mut out = DocWriter::new();
    out.fields(collection.options.as_doc());
    if let Some(index) = collection.indexes.first() {
        out.doc("idIndex", index.spec.as_doc());
    }
    out.finish()
}
