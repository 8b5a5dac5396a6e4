//! Collections, views and databases: created, changed, renamed, dropped.

use base::ClusterTime;
use document::collation::Collation;
use document::matcher::Matcher;
use document::{Doc, DocBuf, Value};
use store::{Catalog, Committed, Namespace, WriteTxn};

use super::requests::Caller;
use super::views;
use crate::sessions::Mode;
use crate::{Error, Headwater, Result, blocking};

/// `create`.
#[derive(Clone, Debug)]
pub struct CreateCollection {
    pub namespace: Namespace,
    /// As `listCollections` will show them; `viewOn` and `pipeline` make a view.
    pub options: DocBuf,
}

/// `collMod`.
#[derive(Clone, Debug)]
pub struct CollMod {
    pub namespace: Namespace,
    pub index: Option<IndexChange>,
    pub validator: Option<DocBuf>,
    pub validation_level: Option<String>,
    pub validation_action: Option<String>,
    pub view_on: Option<String>,
    pub pipeline: Option<Vec<DocBuf>>,
    pub images: Option<bool>,
    pub capped_size: Option<i64>,
    pub capped_max: Option<i64>,
    /// Of a clustered collection: a number, or "off".
    pub expire_after_seconds: Option<Value>,
    /// The arguments, for the change event.
    pub description: DocBuf,
}

impl Default for CollMod {
    fn default() -> Self {
        CollMod {
            namespace: Namespace::new("", ""),
            index: None,
            validator: None,
            validation_level: None,
            validation_action: None,
            view_on: None,
            pipeline: None,
            images: None,
            capped_size: None,
            capped_max: None,
            expire_after_seconds: None,
            description: DocBuf::default(),
        }
    }
}

/// What `collMod` changes about an index.
#[derive(Clone, Debug)]
pub struct IndexChange {
    pub name: Option<String>,
    pub key_pattern: Option<DocBuf>,
    pub expire_after_seconds: Option<i64>,
    pub hidden: Option<bool>,
    pub unique: Option<bool>,
    pub prepare_unique: Option<bool>,
}

/// What `collMod` answers: old and new values of what it changed.
#[derive(Clone, Debug)]
pub struct Modified {
    pub changes: Doc,
    pub time: ClusterTime,
}

/// `renameCollection`.
#[derive(Clone, Debug)]
pub struct RenameCollection {
    pub from: Namespace,
    pub to: Namespace,
    pub drop_target: bool,
}

/// What `drop` answers.
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    /// False if there was nothing of that name.
    pub existed: bool,
    /// How many indexes there were; views have none.
    pub indexes: Option<usize>,
    pub time: ClusterTime,
}

/// 13297 if a database of that name exists in other letters.
pub(crate) fn check_new_namespace(catalog: &Catalog, namespace: &Namespace) -> Result<()> {
    if catalog.has_database(&namespace.db) {
        return Ok(());
    }
    match catalog.databases().find(|db| db.eq_ignore_ascii_case(&namespace.db)) {
        None => Ok(()),
        Some(other) => Err(Error::new(
            13297,
            format!(
                "db already exists with different case already have: [{other}] trying to create [{}]",
                namespace.db
            ),
        )),
    }
}

impl Headwater {
    /// Runs one schema change, inside the caller's transaction if it has one.
    async fn change<R: Send + 'static>(
        &self,
        caller: &Caller,
        run: impl Fn(&mut WriteTxn) -> Result<R> + Clone + Send + 'static,
    ) -> Result<Committed<R>> {
        if caller.session.is_some_and(|call| call.in_transaction)
            && let Mode::Transaction(open) = self.mode(caller)?
        {
            let result = blocking(|| open.statement(|txn| Ok(run(txn)))).and_then(|result| result);
            if result.is_err() {
                open.abort();
            }
            return Ok(Committed { value: result?, time: self.applied_time() });
        }
        self.commit(caller, || {
            let run = run.clone();
            move |txn: &mut WriteTxn| match run(txn) {
                Err(error) if error.code() == 112 => Err(store::Error::WriteConflict(error.message().to_owned())),
                // What a refused change has done so far must not be committed; its details travel apart.
                Err(error) => Err(refused(error)),
                Ok(value) => Ok(value),
            }
        })
        .await
    }

    /// Creates a collection or view.
    pub async fn create_collection(&self, caller: &Caller, create: CreateCollection) -> Result<ClusterTime> {
        let context = self.evaluation(None).context(None, None)?;
        let options = normal_options(&create.namespace, &create.options, &context)?;
        let namespace = create.namespace;
        let committed = self
            .change(caller, move |txn| {
                if txn.collection(&namespace).is_some() {
                    return Err(Error::new(48, format!("Collection already exists. NS: {namespace}")));
                }
                check_new_namespace(txn_catalog(txn), &namespace)?;
                if options.get("viewOn").is_some() {
                    views::check_definition(txn_catalog(txn), &namespace, options.as_doc(), &context)?;
                    txn.create_view(&namespace, options.clone())?;
                } else {
                    txn.create_collection(&namespace, options.clone())?;
                }
                Ok(())
            })
            .await?;
        Ok(committed.time)
    }

    /// Changes the options of a collection, view or index.
    pub async fn coll_mod(&self, modify: CollMod) -> Result<Modified> {
        let context = self.evaluation(None).context(None, None)?;
        if let Some(validator) = &modify.validator {
            Matcher::parse(validator.as_doc(), &context)
                .map_err(|error| Error::from(error).context("Parsing of collection validator failed"))?;
        }
        let committed = self
            .change(&Caller::default(), move |txn| {
                let collection = txn
                    .collection(&modify.namespace)
                    .ok_or_else(|| Error::new(26, format!("ns does not exist: {}", modify.namespace)))?;
                let (change, answer) = super::coll_mod::plan(txn_catalog(txn), &collection, &modify, &context)?;
                txn.modify(collection.id, change)?;
                Ok(answer)
            })
            .await?;
        Ok(Modified { changes: committed.value, time: committed.time })
    }

    /// Drops a collection or view, if there is one.
    pub async fn drop_collection(&self, namespace: Namespace) -> Result<Dropped> {
        let db = namespace.db.clone();
        let committed = self
            .change(&Caller::default(), move |txn| {
                let Some(collection) = txn.collection(&namespace) else { return Ok(None) };
                txn.drop_collection(collection.id)?;
                Ok(Some((!collection.is_view()).then_some(collection.indexes.len())))
            })
            .await?;
        // A database outlives its last collection until it is dropped itself.
        if committed.value.is_some() && !self.store().catalog().has_database(&db) {
            self.emptied().lock().insert(db.to_string());
        }
        let existed = committed.value.is_some();
        Ok(Dropped { existed, indexes: committed.value.flatten(), time: committed.time })
    }

    /// Drops a database; answers whether there was one.
    pub async fn drop_database(&self, db: &str) -> Result<Committed<bool>> {
        let name = db.to_owned();
        let was_emptied = self.emptied().lock().contains(db);
        let committed = self
            .change(&Caller::default(), move |txn| {
                let dropped = txn.drop_database(&name)? > 0;
                if !dropped && was_emptied {
                    txn.drop_empty_database(&name);
                }
                Ok(dropped || was_emptied)
            })
            .await?;
        self.emptied().lock().remove(db);
        Ok(committed)
    }

    /// Gives a collection another name, in the same or another database.
    pub async fn rename_collection(&self, rename: RenameCollection) -> Result<ClusterTime> {
        let committed = self
            .change(&Caller::default(), move |txn| {
                check_new_namespace(txn_catalog(txn), &rename.to)?;
                if txn.collection(&rename.from).is_some() && txn.collection(&rename.to).is_some_and(|to| to.is_view()) {
                    return Err(Error::new(48, format!("a view already exists with that name: {}", rename.to)));
                }
                Ok(txn.rename_collection(&rename.from, &rename.to, rename.drop_target)?)
            })
            .await?;
        Ok(committed.time)
    }
}

/// A refusal on its way through the store, which rolls the write back.
pub(super) fn refused(error: Error) -> store::Error {
    error.into()
}

pub(super) fn txn_catalog(txn: &WriteTxn) -> &Catalog {
    store::Reader::catalog(txn)
}

/// Checks what the store does not know about, and completes the collation.
fn normal_options(namespace: &Namespace, options: &DocBuf, context: &document::Context) -> Result<DocBuf> {
    let mut options = options.to_doc();
    if let Some(Value::Document(spec)) = options.get("collation") {
        match Collation::parse(spec.to_buf().as_doc())? {
            Some(collation) => options.set("collation", collation.to_doc()),
            None => drop(options.remove("collation")),
        }
    }
    if let Some(Value::Document(filter)) = options.get("validator") {
        Matcher::parse(filter.to_buf().as_doc(), context)?;
        if matches!(&*namespace.db, "admin" | "local" | "config") {
            let message =
                format!("Document validators are not allowed on collections in the {} database", namespace.db);
            return Err(Error::new(72, message));
        }
    }
    if options.contains("changeStreamPreAndPostImages") {
        check_images(namespace, options.contains("viewOn"))?;
    }
    Ok(options.to_buf())
}

pub(super) fn check_images(namespace: &Namespace, is_view: bool) -> Result<()> {
    if is_view {
        return Err(Error::new(72, "option not supported on a view: changeStreamPreAndPostImages"));
    }
    if matches!(&*namespace.db, "admin" | "local" | "config") {
        let message = format!(
            "'changeStreamPreAndPostImages' collection option is not supported in the {} database",
            namespace.db
        );
        return Err(Error::new(72, message));
    }
    Ok(())
}
