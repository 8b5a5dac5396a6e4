//! One batch of captured events in the local store: entries, mirrored documents, the token.

use changes::Event;
use document::{DocBuf, Raw};
use rustc_hash::FxHashMap;
use store::{Change, Collection, LogEntry, LogPosition, Namespace, Operation, PreImage, Reader, Result, WriteTxn};

use crate::image::after_update;
use crate::mirror::{self, MirrorRecord, MirrorState};
use crate::position::Position;
use crate::translate::Captured;

/// Appends the events and what they do to mirrors, and moves the position.
pub fn apply(txn: &mut WriteTxn, events: Vec<Captured>, position: &Position) -> Result<()> {
    let mut mirrors = Mirrors::default();
    for captured in events {
        let token = captured.token.clone();
        let entry = mirrors.apply(txn, captured)?;
        txn.append_captured(entry, Some(token));
    }
    // One tick less: should an event at the very time still come, it must not find it taken.
    txn.advance_time(base::ClusterTime(position.time.0.saturating_sub(1)));
    position.save(txn);
    Ok(())
}

/// The records of the namespaces seen in this batch.
#[derive(Default)]
struct Mirrors(FxHashMap<Namespace, Option<MirrorRecord>>);

impl Mirrors {
    fn record(&mut self, txn: &WriteTxn, namespace: &Namespace) -> Result<Option<MirrorRecord>> {
        if let Some(known) = self.0.get(namespace) {
            return Ok(known.clone());
        }
        let record = mirror::load(txn, namespace)?;
        self.0.insert(namespace.clone(), record.clone());
        Ok(record)
    }

    fn save(&mut self, txn: &mut WriteTxn, namespace: &Namespace, record: MirrorRecord) {
        record.save(txn, namespace);
        self.0.insert(namespace.clone(), Some(record));
    }

    /// Does to the mirror what the event says, and gives the entry the images that the mirror knows.
    fn apply(&mut self, txn: &mut WriteTxn, captured: Captured) -> Result<LogEntry> {
        let Captured { mut entry, exact, .. } = captured;
        let namespace = entry.namespace.clone();
        match &mut entry.operation {
            Operation::Drop => {
                if self.record(txn, &namespace)?.is_some() {
                    self.empty(txn, &namespace)?;
                }
            }
            Operation::DropDatabase => {
                for (mirrored, _) in mirror::all(txn)?.into_iter().filter(|(n, _)| n.db == namespace.db) {
                    self.empty(txn, &mirrored)?;
                }
            }
            Operation::Rename { to, .. } => {
                let to = to.clone();
                self.rename(txn, &namespace, &to)?;
            }
            operation => {
                if let Some(record) = self.record(txn, &namespace)?
                    && let Some(stale) = change(txn, &namespace, &record, operation, exact)?
                {
                    let key = Event::new(&entry).document_key().cloned().unwrap_or_default();
                    correct(txn, &entry, key, Some(stale), None);
                }
            }
        }
        Ok(entry)
    }

    /// The collection is gone; its mirror stays, and is complete.
    fn empty(&mut self, txn: &mut WriteTxn, namespace: &Namespace) -> Result<()> {
        if let Some(collection) = txn.collection(namespace) {
            txn.unlogged(|txn| txn.drop_collection(collection.id).map(|_| ()))?;
        }
        // Queries name the mirror, so it exists also without documents.
        txn.unlogged(|txn| txn.ensure_collection(namespace).map(|_| ()))?;
        let record = MirrorRecord { state: MirrorState::Live, ..MirrorRecord::fresh(0) };
        self.save(txn, namespace, record);
        Ok(())
    }

    fn rename(&mut self, txn: &mut WriteTxn, from: &Namespace, to: &Namespace) -> Result<()> {
        let (source, target) = (self.record(txn, from)?, self.record(txn, to)?);
        match (source, target) {
            (Some(source), Some(_)) if from != to => {
                // The documents move with everything that is known of them.
                if txn.collection(from).is_some() {
                    txn.unlogged(|txn| txn.rename_collection(from, to, true))?;
                }
                self.save(txn, to, source);
                self.empty(txn, from)?;
            }
            (Some(_), None) => self.empty(txn, from)?,
            (None, Some(target)) => {
                // What is there now was never seen: load it, telling the views by corrections.
                self.empty(txn, to)?;
                let again = MirrorRecord { state: MirrorState::Live, ..target }.again(false);
                self.save(txn, to, again);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Says in the log that a mirrored document was not, or is no longer, what it was thought to be.
pub fn correct(txn: &mut WriteTxn, at: &LogEntry, key: DocBuf, before: Option<DocBuf>, document: Option<DocBuf>) {
    let entry = LogEntry {
        position: LogPosition::default(),
        operation: Operation::Corrected { key, document, before },
        txn: None,
        token: None,
        ..at.clone()
    };
    txn.append_captured(entry, None);
}

/// Returns the document that an insert found in its place.
fn change(
    txn: &mut WriteTxn,
    namespace: &Namespace,
    record: &MirrorRecord,
    operation: &mut Operation,
    exact: bool,
) -> Result<Option<DocBuf>> {
    let collection = txn.unlogged(|txn| txn.ensure_collection(namespace))?;
    match operation {
        Operation::Insert { key, document } => {
            if let Some(id) = key.get("_id") {
                return put(txn, &collection, id, document.clone());
            }
        }
        Operation::Replace { key, document, before } => {
            let Some(id) = key.get("_id") else { return Ok(None) };
            let old = put(txn, &collection, id, document.clone())?;
            keep_image(before, old);
        }
        Operation::Update { key, description, document, before } => {
            let Some(id) = key.get("_id") else { return Ok(None) };
            let stored = txn.get(collection.id, id)?;
            if !(exact && document.is_some())
                && let Some(stored) = stored.as_ref().filter(|_| record.holds(id))
            {
                *document = Some(after_update(&stored.document, description));
            }
            let old = match document.clone() {
                Some(document) => put(txn, &collection, id, document)?,
                None => stored.map(|stored| stored.document),
            };
            keep_image(before, old);
        }
        Operation::Delete { key, before } => {
            let Some(id) = key.get("_id") else { return Ok(None) };
            let old = take(txn, &collection, id)?;
            keep_image(before, old);
        }
        _ => {}
    }
    Ok(None)
}

/// The image that the deployment recorded is the better one: clients may see it.
fn keep_image(before: &mut Option<PreImage>, old: Option<DocBuf>) {
    if before.is_none() {
        *before = old.map(|document| PreImage { document, by_option: false });
    }
}

/// Puts a document into a mirror; returns the one that was there.
pub fn put(txn: &mut WriteTxn, collection: &Collection, id: Raw<'_>, document: DocBuf) -> Result<Option<DocBuf>> {
    match txn.get(collection.id, id)? {
        Some(stored) => {
            let (record, before) = (stored.record, stored.document);
            txn.unlogged(|txn| txn.replace(collection.id, record, &before, document, Change::Replace))?;
            Ok(Some(before))
        }
        None => {
            txn.unlogged(|txn| txn.insert(collection.id, document).map(|_| ()))?;
            Ok(None)
        }
    }
}

/// Takes a document out of a mirror.
pub fn take(txn: &mut WriteTxn, collection: &Collection, id: Raw<'_>) -> Result<Option<DocBuf>> {
    let Some(stored) = txn.get(collection.id, id)? else { return Ok(None) };
    txn.unlogged(|txn| txn.delete(collection.id, stored.record, &stored.document))?;
    Ok(Some(stored.document))
}
