//! Indexes: created, listed, dropped.

use base::ClusterTime;
use document::{Doc, DocBuf, Raw, RawDoc, Value};
use store::{Committed, DropIndexes, Index, IndexCounts, IndexCreation, Namespace, WriteTxn};

use super::requests::Caller;
use crate::sessions::Mode;
use crate::{Error, Headwater, Result, blocking};

/// A specification as listings show it: a lifetime that collMod set is an `int` there.
fn listed(spec: &DocBuf) -> DocBuf {
    match spec.get("expireAfterSeconds") {
        Some(Raw::Int64(seconds)) if i32::try_from(seconds).is_ok() => {
            let mut spec = spec.to_doc();
            spec.set("expireAfterSeconds", seconds as i32);
            spec.to_buf()
        }
        _ => spec.clone(),
    }
}

/// What `createIndexes` answers.
#[derive(Clone, Debug)]
pub struct CreatedIndexes {
    pub before: usize,
    pub after: usize,
    pub created_collection: bool,
    pub time: Option<ClusterTime>,
}

impl CreatedIndexes {
    fn of(created_collection: bool, counts: IndexCounts, time: Option<ClusterTime>) -> Self {
        CreatedIndexes { before: counts.before, after: counts.after, created_collection, time }
    }
}

/// Whether an index has exactly this key pattern.
pub(super) fn has_key(index: &Index, pattern: RawDoc<'_>) -> bool {
    let Some(Raw::Document(key)) = index.spec.get("key") else { return false };
    let mut mine = key.iter();
    let mut theirs = pattern.iter();
    loop {
        match (mine.next(), theirs.next()) {
            (None, None) => return true,
            (Some((a, x)), Some((b, y))) if a == b && document::compare_raw(x, y).is_eq() => {}
            _ => return false,
        }
    }
}

impl Headwater {
    /// Creates indexes, and the collection if it does not exist.
    pub async fn create_indexes(
        &self,
        caller: &Caller,
        namespace: Namespace,
        specs: Vec<DocBuf>,
    ) -> Result<CreatedIndexes> {
        let specs = super::index_spec::modernized(specs);
        super::index_spec::check(&specs, &namespace)?;
        let run = move |txn: &mut WriteTxn| -> store::Result<(bool, IndexCreation)> {
            let created_collection = match super::write::target_of(txn, &namespace)? {
                Some(_) => false,
                None => {
                    super::collections::check_new_namespace(super::collections::txn_catalog(txn), &namespace)?;
                    true
                }
            };
            let collection = txn.ensure_collection(&namespace)?;
            Ok((created_collection, txn.begin_indexes(collection.id, &specs)?))
        };
        if caller.session.is_some_and(|call| call.in_transaction)
            && let Mode::Transaction(open) = self.mode(caller)?
        {
            let result = blocking(|| open.statement(run));
            if result.is_err() {
                open.abort();
            }
            let (created, creation) = result?;
            let IndexCreation::Done(counts) = creation else {
                return Err(Error::internal("a transaction builds its indexes at once"));
            };
            return Ok(CreatedIndexes::of(created, counts, None));
        }
        let (db, caller) = (self.clone(), caller.clone());
        // Goes on if the client leaves: an index that is entered as building must be finished or undone.
        let building = async move { db.build_indexes(&caller, run).await };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(building).await.map_err(|error| Error::internal(format!("an index build: {error}")))?
            }
            Err(_) => building.await,
        }
    }

    async fn build_indexes(
        &self,
        caller: &Caller,
        run: impl FnOnce(&mut WriteTxn) -> store::Result<(bool, IndexCreation)> + Clone + Send + 'static,
    ) -> Result<CreatedIndexes> {
        let mut created_collection = false;
        loop {
            let committed = self
                .commit(caller, || {
                    let run = run.clone();
                    move |txn: &mut WriteTxn| run(txn)
                })
                .await?;
            let (created, creation) = committed.value;
            created_collection |= created;
            match creation {
                IndexCreation::Done(counts) => {
                    return Ok(CreatedIndexes::of(created_collection, counts, Some(committed.time)));
                }
                IndexCreation::Build(build) => {
                    let built = blocking(|| build.run(self.store()))?;
                    return Ok(CreatedIndexes::of(created_collection, built.value, Some(built.time)));
                }
                IndexCreation::Wait(end) => blocking(|| end.wait()),
            }
        }
    }

    /// The specifications of a collection's indexes. 26 if there is no collection.
    pub fn list_indexes(&self, namespace: &Namespace) -> Result<Vec<DocBuf>> {
        let catalog = self.store().catalog();
        let collection =
            catalog.collection(namespace).ok_or_else(|| Error::new(26, format!("ns does not exist: {namespace}")))?;
        if collection.is_view() {
            return Err(Error::new(166, format!("Namespace {namespace} is a view, not a collection")));
        }
        Ok(collection.indexes.iter().map(|index| listed(&index.spec)).collect())
    }

    /// Drops indexes: `"*"`, a name, names, or a key pattern. Answers how many there were.
    pub async fn drop_indexes(&self, namespace: Namespace, which: Value) -> Result<Committed<usize>> {
        let which = match which {
            Value::String(all) if all == "*" => DropIndexes::All,
            Value::String(name) => DropIndexes::Names(vec![name]),
            Value::Document(key) => DropIndexes::Key(key.to_buf()),
            Value::Array(names) => DropIndexes::Names(
                names
                    .into_iter()
                    .map(|name| match name {
                        Value::String(name) => Ok(name),
                        other => Err(Error::new(14, format!("index names must be strings, not {}", other.type_name()))),
                    })
                    .collect::<Result<_>>()?,
            ),
            other => return Err(Error::new(14, format!("cannot drop an index by {}", other.type_name()))),
        };
        self.commit(&Caller::default(), || {
            let (namespace, which) = (namespace.clone(), which.clone());
            move |txn: &mut WriteTxn| {
                let target = super::write::target_of(txn, &namespace)?;
                let target = target.ok_or_else(|| Error::new(26, format!("ns not found {namespace}")))?;
                txn.drop_indexes(target.collection.id, &which)
            }
        })
        .await
    }
}

/// An index as `$indexStats` shows it.
pub(super) fn stats(index: &Index, host: &str, since_ms: i64) -> Doc {
    let key = index.spec.get("key").map_or(Value::Null, Raw::to_value);
    Doc::new()
        .with("name", index.name.as_str())
        .with("key", key)
        .with("host", host)
        .with("accesses", Doc::new().with("ops", 0i64).with("since", Value::Date(since_ms)))
        .with("spec", index.spec.clone())
}
