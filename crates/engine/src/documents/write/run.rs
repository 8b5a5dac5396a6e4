//! One statement inside a write closure.

use std::sync::Arc;

use document::DocBuf;
use document::update::{Outcome, UpdateKind, upsert};
use store::{Change, Collection, Reader, RecordId, Stored, WriteTxn};

use super::super::access::Found;
use super::super::requests::Written;
use super::super::search::Search;
use super::prepare::{PreparedBatch, PreparedUpdate, PreparedWrite, Targets, validator};
use crate::{Error, Namespace, Result};

/// A collection that a statement writes to.
pub(crate) struct Target {
    pub collection: Arc<Collection>,
}

/// The collection to write to, if it exists. 166 for a view.
pub(crate) fn target_of(txn: &WriteTxn, namespace: &Namespace) -> Result<Option<Target>> {
    match txn.collection(namespace) {
        Some(collection) if collection.is_view() => {
            Err(Error::new(166, format!("Namespace {namespace} is a view, not a collection")))
        }
        Some(collection) => Ok(Some(Target { collection })),
        None => Ok(None),
    }
}

/// The collection to insert into, created if need be.
pub(crate) fn insertable(txn: &mut WriteTxn, namespace: &Namespace) -> Result<Target> {
    if let Some(target) = target_of(txn, namespace)? {
        return Ok(target);
    }
    super::super::collections::check_new_namespace(txn.catalog(), namespace)?;
    Ok(Target { collection: txn.ensure_collection(namespace)? })
}

/// Runs statement `index`. `None`: its document has to be searched outside of the committer first.
pub(super) fn run(txn: &mut WriteTxn, batch: &PreparedBatch, index: usize) -> Result<Option<Written>> {
    let statement = &batch.statements[index];
    let namespace = &batch.namespaces[statement.namespace];
    match &statement.write {
        PreparedWrite::Refused(error) => Err(error.clone()),
        PreparedWrite::Insert(document) => {
            let target = insertable(txn, namespace)?;
            insert_new(txn, &target, document.clone(), batch)?;
            Ok(Some(Written { n: 1, ..Written::default() }))
        }
        PreparedWrite::Update(update) => run_update(txn, namespace, update, (batch, index)),
        PreparedWrite::Delete(targets) => run_delete(txn, namespace, targets, (batch, index)),
    }
}

/// Runs the multi-document statement `index` on these places; what no longer matches is left.
pub(super) fn run_places(
    txn: &mut WriteTxn,
    batch: &PreparedBatch,
    index: usize,
    places: &[RecordId],
) -> Result<Written> {
    let statement = &batch.statements[index];
    let Some(target) = target_of(txn, &batch.namespaces[statement.namespace])? else { return Ok(Written::default()) };
    let Some((query, _)) = statement.multi() else { return Ok(Written::default()) };
    let mut total = Written::default();
    for &record in places {
        let Some(document) = txn.fetch(target.collection.id, record)? else { continue };
        let Some(found) = query.check(Stored { record, document })? else { continue };
        total.n += 1;
        match &statement.write {
            PreparedWrite::Update(update) => {
                let changed = apply_update(txn, &target, update, &found, batch.bypass_validation)?.is_some();
                total.modified += u64::from(changed);
            }
            _ => {
                refuse_capped(&target.collection)?;
                txn.delete(target.collection.id, record, &found.stored.document)?;
            }
        }
    }
    Ok(total)
}

/// Inserts a prepared document, if the collection's validator lets it.
pub(crate) fn insert_new(
    txn: &mut WriteTxn,
    target: &Target,
    document: DocBuf,
    batch: &PreparedBatch,
) -> Result<RecordId> {
    if !batch.bypass_validation
        && let Some(validator) = validator(&target.collection, &batch.context)?
    {
        validator.check(document.as_doc(), None)?;
    }
    Ok(txn.insert(target.collection.id, document)?)
}

fn run_update(
    txn: &mut WriteTxn,
    namespace: &Namespace,
    update: &PreparedUpdate,
    (batch, index): (&PreparedBatch, usize),
) -> Result<Option<Written>> {
    if let Some(target) = target_of(txn, namespace)? {
        if update.targets.multi {
            let places = match batch.searches.confirms_absence(txn, index, &target.collection) {
                true => Vec::new(),
                false => update.targets.query.places(txn, &target.collection)?,
            };
            if !places.is_empty() {
                return update_places(txn, &target, update, &places, batch.bypass_validation).map(Some);
            }
        } else {
            let query = &update.targets.query;
            match batch.searches.find(txn, index, query, &target.collection, update.upsert)? {
                Search::Found(found) => {
                    let changed = apply_update(txn, &target, update, &found, batch.bypass_validation)?.is_some();
                    return Ok(Some(Written { n: 1, modified: u64::from(changed), upserted: None }));
                }
                Search::Nothing => {}
                Search::Unfinished => return Ok(None),
            }
        }
    }
    if !update.upsert {
        return Ok(Some(Written::default()));
    }
    let document = insert_upsert(txn, namespace, update, batch)?;
    let id = document.get("_id").map(document::Raw::to_value);
    Ok(Some(Written { n: 1, modified: 0, upserted: id }))
}

fn update_places(
    txn: &mut WriteTxn,
    target: &Target,
    update: &PreparedUpdate,
    places: &[RecordId],
    bypass_validation: bool,
) -> Result<Written> {
    let mut total = Written::default();
    for &record in places {
        let Some(document) = txn.fetch(target.collection.id, record)? else { continue };
        let Some(found) = update.targets.query.check(Stored { record, document })? else { continue };
        total.n += 1;
        total.modified += u64::from(apply_update(txn, target, update, &found, bypass_validation)?.is_some());
    }
    Ok(total)
}

/// The document that an upsert inserts when nothing matched.
pub(crate) fn insert_upsert(
    txn: &mut WriteTxn,
    namespace: &Namespace,
    update: &PreparedUpdate,
    batch: &PreparedBatch,
) -> Result<DocBuf> {
    let document = upsert(update.targets.query.filter.as_doc(), &update.update, &update.context)?;
    let document = match update.update.kind() {
        UpdateKind::Replacement => document::update::fill_timestamps(&document, batch.now),
        _ => document,
    };
    let target = insertable(txn, namespace)?;
    insert_new(txn, &target, document.clone(), batch)?;
    Ok(document)
}

/// Updates one document; the new content, or `None` if nothing changed.
pub(crate) fn apply_update(
    txn: &mut WriteTxn,
    target: &Target,
    update: &PreparedUpdate,
    found: &Found,
    bypass_validation: bool,
) -> Result<Option<DocBuf>> {
    let before = &found.stored.document;
    let (after, change) = match update.update.apply(before, found.details.array_index)? {
        Outcome::Unchanged => return Ok(None),
        Outcome::Updated { document, description } => (document, Change::Update { description: description.to_buf() }),
        Outcome::Replaced { document, sent: None } => (document, Change::Replace),
        Outcome::Replaced { document, sent: Some(sent) } => (document, Change::ReplaceShowing(sent)),
    };
    if !bypass_validation && let Some(validator) = validator(&target.collection, &update.context)? {
        validator.check(after.as_doc(), Some(before.as_doc()))?;
    }
    txn.replace(target.collection.id, found.stored.record, before, after.clone(), change)?;
    Ok(Some(after))
}

fn run_delete(
    txn: &mut WriteTxn,
    namespace: &Namespace,
    targets: &Targets,
    (batch, index): (&PreparedBatch, usize),
) -> Result<Option<Written>> {
    let Some(target) = target_of(txn, namespace)? else { return Ok(Some(Written::default())) };
    if target.collection.capped.is_some() && !targets.multi {
        refuse_capped(&target.collection)?;
    }
    let found = if targets.multi {
        targets.query.places(txn, &target.collection)?
    } else {
        match batch.searches.find(txn, index, &targets.query, &target.collection, false)? {
            Search::Found(found) => vec![found.stored.record],
            Search::Nothing => Vec::new(),
            Search::Unfinished => return Ok(None),
        }
    };
    if !found.is_empty() {
        refuse_capped(&target.collection)?;
    }
    let mut n = 0;
    for record in found {
        let Some(document) = txn.fetch(target.collection.id, record)? else { continue };
        txn.delete(target.collection.id, record, &document)?;
        n += 1;
    }
    Ok(Some(Written { n, ..Written::default() }))
}

/// Documents of a capped collection leave by age only.
pub(crate) fn refuse_capped(collection: &Collection) -> Result<()> {
    if collection.capped.is_some() {
        return Err(Error::new(20, format!("cannot remove from a capped collection: {}", collection.namespace)));
    }
    Ok(())
}
