//! Indexes created and dropped.

use std::sync::Arc;

use document::{DocBuf, DocWriter, RawDoc, compare_raw};

use super::WriteTxn;
use crate::catalog::{Collection, CollectionId, IndexId};
use crate::entry::Operation;
use crate::error::{Error, Result};
use crate::index::{Index, parse_spec};
use crate::kv::{Direction, Space};
use crate::read::Reader;
use crate::render;

/// Most indexes of a collection, `_id_` included.
const MAX_INDEXES: usize = 64;

/// How many indexes there were and are; equal if all existed already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexCounts {
    pub before: usize,
    pub after: usize,
}

/// Which indexes to drop.
#[derive(Clone, Debug)]
pub enum DropIndexes {
    /// All but `_id_`.
    All,
    Names(Vec<String>),
    Key(DocBuf),
}

impl WriteTxn {
    /// Creates indexes; a specification that exists already is passed over. Errors: 85
    /// IndexOptionsConflict, 86 IndexKeySpecsConflict, 67 CannotCreateIndex, 11000 if the documents
    /// do not fit a unique index, 171 parallel arrays.
    pub fn create_indexes(&mut self, id: CollectionId, specs: &[DocBuf]) -> Result<IndexCounts> {
        let mut collection = self.indexable(id)?;
        let before = collection.indexes.len();
        let wanted = self.wanted_indexes(&collection, specs)?;
        let empty = self.scan(id, Direction::Forward).next().is_none();
        let mut created = Vec::new();
        for mut index in wanted {
            self.build(&collection, &mut index)?;
            created.push(index.spec.clone());
            collection.indexes.push(Arc::new(index));
        }
        let after = collection.indexes.len();
        if created.is_empty() {
            return Ok(IndexCounts { before, after });
        }
        let collection = Arc::new(collection);
        self.put_collection(Arc::clone(&collection));
        // An empty collection's indexes are built, and reported, one by one.
        let events = if empty { created.chunks(1) } else { created.chunks(created.len()) };
        for specs in events {
            self.log(&collection, Operation::CreateIndexes { description: describe(specs) });
        }
        Ok(IndexCounts { before, after })
    }

    /// The indexes that the specifications ask for and that are not there.
    pub(super) fn wanted_indexes(&self, collection: &Collection, specs: &[DocBuf]) -> Result<Vec<Index>> {
        let mut wanted: Vec<Index> = Vec::new();
        for spec in specs {
            let index = parse_spec(spec.as_doc(), IndexId(self.shared.allocate_id()), collection.collation.as_ref())?;
            let existing = collection.indexes.iter().map(|index| &**index).chain(&wanted);
            if !exists(existing, &index)? {
                wanted.push(index);
            }
        }
        if collection.all_indexes().count() + wanted.len() > MAX_INDEXES {
            let message = format!("add index fails, too many indexes for {}", collection.namespace);
            return Err(Error::request(67, message));
        }
        Ok(wanted)
    }

    pub(super) fn indexable(&self, id: CollectionId) -> Result<Collection> {
        let collection = if self.is_statement() {
            // Within a transaction only a collection that it created itself gets indexes.
            let collection = self.catalog.need(id)?;
            if self.shared.catalog().by_id(id).is_some() {
                return Err(Error::request(
                    263,
                    "Cannot create new indexes on existing collection in a multi-document transaction.",
                ));
            }
            Arc::clone(collection)
        } else {
            self.changeable(id)?
        };
        if collection.is_view() {
            return Err(Error::request(166, format!("Namespace {} is a view, not a collection", collection.namespace)));
        }
        Ok(Collection::clone(&collection))
    }

    /// Drops indexes and answers how many there were. Errors: 27 IndexNotFound, 72 for `_id_`.
    pub fn drop_indexes(&mut self, id: CollectionId, which: &DropIndexes) -> Result<usize> {
        let mut collection = Collection::clone(&*self.changeable(id)?);
        collection.id_index()?;
        let before = collection.indexes.len();
        let aborted = match which {
            DropIndexes::All => self.abandon_builds(&mut collection, |_| true),
            DropIndexes::Names(names) => self.abandon_builds(&mut collection, |index| names.contains(&index.name)),
            DropIndexes::Key(key) => {
                self.abandon_builds(&mut collection, |index| same_document(index.key_pattern(), key.as_doc()))
            }
        };
        let names: Vec<String> = match which {
            DropIndexes::All => collection.indexes.iter().skip(1).map(|index| index.name.clone()).collect(),
            DropIndexes::Names(names) => names.iter().filter(|name| !aborted.contains(name)).cloned().collect(),
            DropIndexes::Key(_) if !aborted.is_empty() => Vec::new(),
            DropIndexes::Key(key) => vec![name_of_key(&collection, key.as_doc())?],
        };
        for name in &names {
            let Some(at) = collection.indexes.iter().position(|index| index.name == *name) else {
                return Err(Error::request(27, format!("index not found with name [{name}]")));
            };
            if at == 0 {
                return Err(Error::request(72, "cannot drop _id index"));
            }
            let index = collection.indexes.remove(at);
            self.discard(Space::Indexes, index.id.0);
            let description = describe(std::slice::from_ref(&index.spec));
            self.log(&collection, Operation::DropIndexes { description });
        }
        if !names.is_empty() || !aborted.is_empty() {
            self.put_collection(Arc::new(collection));
        }
        Ok(before)
    }
}

/// `{indexes: [spec, …]}`.
pub(super) fn describe(specs: &[DocBuf]) -> DocBuf {
    let mut out = DocWriter::new();
    out.begin_array("indexes");
    for (i, spec) in specs.iter().enumerate() {
        out.doc(&i.to_string(), spec.as_doc());
    }
    out.end();
    out.finish()
}

fn name_of_key(collection: &Collection, key: RawDoc<'_>) -> Result<String> {
    let matching: Vec<_> = collection.indexes.iter().filter(|index| same_document(index.key_pattern(), key)).collect();
    match &matching[..] {
        [index] => Ok(index.name.clone()),
        [] => Err(Error::request(27, format!("can't find index with key: {}", render::document(key)))),
        _ => {
            let message = format!(
                "{} indexes found for key: {}, identify by name instead.",
                matching.len(),
                render::document(key)
            );
            Err(Error::request(181, message))
        }
    }
}

fn same_document(a: RawDoc<'_>, b: RawDoc<'_>) -> bool {
    compare_raw(document::Raw::Document(a), document::Raw::Document(b)).is_eq()
}

/// Whether the index is there already; an error if one is there that only resembles it.
fn exists<'a>(existing: impl Iterator<Item = &'a Index>, wanted: &Index) -> Result<bool> {
    for index in existing {
        let same_key = same_document(index.key_pattern(), wanted.key_pattern());
        // What tells two indexes apart; the other options only describe one.
        let same_signature = same_key
            && same_partial(index, wanted)
            && index.collation == wanted.collation
            && index.unique == wanted.unique
            && index.sparse == wanted.sparse;
        let specs = format!(
            "Requested index: {}, existing index: {}",
            render::document(wanted.spec.as_doc()),
            render::document(index.spec.as_doc())
        );
        if index.name == wanted.name {
            if same_signature && same_options(index, wanted) {
                return Ok(true);
            }
            if same_signature {
                let message =
                    format!("An equivalent index already exists with the same name but different options. {specs}");
                return Err(Error::request(85, message));
            }
            let message = format!(
                "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. {specs}"
            );
            return Err(Error::request(86, message));
        }
        if same_signature && same_options(index, wanted) {
            if index.is_id() {
                return Ok(true);
            }
            return Err(Error::request(85, format!("Index already exists with a different name: {}", index.name)));
        }
        if same_signature {
            let message = format!("An equivalent index already exists with a different name and options. {specs}");
            return Err(Error::request(85, message));
        }
    }
    Ok(false)
}

fn same_partial(a: &Index, b: &Index) -> bool {
    match (&a.partial, &b.partial) {
        (None, None) => true,
        (Some(a), Some(b)) => same_document(a.filter.as_doc(), b.filter.as_doc()),
        _ => false,
    }
}

fn same_options(a: &Index, b: &Index) -> bool {
    a.unique == b.unique && a.sparse == b.sparse && a.expire_after == b.expire_after
}
