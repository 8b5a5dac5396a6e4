//! One committed change as an event: the document a client sees, and plain access for SQL.
//!
//! Field order is the server's: `[txnNumber, lsid] [to] _id, operationType, clusterTime,
//! collectionUUID*, wallTime, fullDocument, ns, documentKey, operationDescription*,
//! updateDescription, stateBeforeChange*, fullDocumentBeforeChange` (`*` with showExpandedEvents).

use base::{ClusterTime, Uuid};
use document::{DocBuf, DocWriter, Raw, RawDoc};
use store::entry::{LogEntry, Namespace, Operation, PreImage};

use crate::scope::OperationType;
use crate::token::{ResumeToken, TokenParts};

#[cfg(test)]
mod tests;

/// A log entry read as a change event. Nothing is built until it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    entry: &'a LogEntry,
}

/// A document image in an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Image {
    /// The field is not there.
    #[default]
    Absent,
    /// The field is null: asked for, and not to be had.
    Null,
    Document(DocBuf),
}

/// The parts of an event document that depend on the stream rather than on the change.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// `showExpandedEvents`.
    pub expanded: bool,
    /// Of an update; inserts and replaces always carry their document.
    pub full_document: Image,
    pub before: Image,
}

impl<'a> Event<'a> {
    pub fn new(entry: &'a LogEntry) -> Self {
        Event { entry }
    }

    /// Unique, and sorted as the changes are: the resume token's `_data`.
    pub fn change_id(&self) -> String {
        self.token().data()
    }

    pub fn cluster_time(&self) -> ClusterTime {
        self.entry.position.time
    }

    /// Milliseconds since the epoch.
    pub fn wall_ms(&self) -> i64 {
        self.entry.wall_ms
    }

    pub fn operation(&self) -> OperationType {
        OperationType::of(self.entry)
    }

    pub fn operation_type(&self) -> &'static str {
        self.operation().as_str()
    }

    pub fn namespace(&self) -> &'a Namespace {
        &self.entry.namespace
    }

    /// `{_id: …}` of the changed document.
    pub fn document_key(&self) -> Option<&'a DocBuf> {
        match &self.entry.operation {
            Operation::Insert { key, .. }
            | Operation::Update { key, .. }
            | Operation::Replace { key, .. }
            | Operation::Delete { key, .. }
            | Operation::Corrected { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The document right after this change.
    pub fn full_document(&self) -> Option<&'a DocBuf> {
        match &self.entry.operation {
            Operation::Insert { document, .. } | Operation::Replace { document, .. } => Some(document),
            Operation::Update { document, .. } => document.as_ref(),
            _ => None,
        }
    }

    /// The document right before this change, if it was recorded for whatever reason.
    pub fn before(&self) -> Option<&'a DocBuf> {
        self.pre_image().map(|image| &image.document)
    }

    /// The document right before this change, if the collection's own option asks to record it.
    pub fn before_by_option(&self) -> Option<&'a DocBuf> {
        self.pre_image().filter(|image| image.by_option).map(|image| &image.document)
    }

    fn pre_image(&self) -> Option<&'a PreImage> {
        match &self.entry.operation {
            Operation::Update { before, .. } | Operation::Replace { before, .. } | Operation::Delete { before, .. } => {
                before.as_ref()
            }
            _ => None,
        }
    }

    /// `{updatedFields, removedFields, truncatedArrays}` of an update.
    pub fn update_description(&self) -> Option<DocBuf> {
        let description = self.description()?;
        let mut w = DocWriter::with_capacity(description.len());
        write_description(&mut w, description.as_doc());
        Some(w.finish())
    }

    pub fn updated_fields(&self) -> Option<RawDoc<'a>> {
        self.description()?.get("updatedFields")?.as_document()
    }

    /// Names of the removed fields, in an array's clothes.
    pub fn removed_fields(&self) -> Option<RawDoc<'a>> {
        self.description()?.get("removedFields")?.as_array()
    }

    pub(crate) fn description(&self) -> Option<&'a DocBuf> {
        match &self.entry.operation {
            Operation::Update { description, .. } => Some(description),
            _ => None,
        }
    }

    pub fn txn_number(&self) -> Option<i64> {
        self.entry.txn.as_ref().map(|txn| txn.txn_number)
    }

    pub fn lsid(&self) -> Option<&'a DocBuf> {
        self.entry.txn.as_ref().map(|txn| &txn.lsid)
    }

    pub fn entry(&self) -> &'a LogEntry {
        self.entry
    }

    /// That of the log the event was captured from, or our own.
    pub fn token(&self) -> ResumeToken {
        let captured = self.entry.token.as_ref().and_then(|token| ResumeToken::parse(token.as_doc()).ok());
        captured.unwrap_or_else(|| self.token_of(false))
    }

    /// The token that follows from the event itself.
    pub fn derived_token(&self) -> ResumeToken {
        self.token_of(false)
    }

    /// The token of the `invalidate` that follows this event.
    pub fn invalidate_token(&self) -> ResumeToken {
        self.token_of(true)
    }

    fn token_of(&self, from_invalidate: bool) -> ResumeToken {
        let mut identifier = DocWriter::with_capacity(64);
        identifier.str("operationType", self.operation_type());
        match self.document_key() {
            Some(key) => identifier.doc("documentKey", key.as_doc()),
            None => self.write_operation_description(&mut identifier),
        }
        ResumeToken::event(&TokenParts {
            cluster_time: self.entry.position.time,
            txn_op_index: self.entry.position.index,
            from_invalidate,
            uuid: self.collection_uuid(),
            identifier: identifier.finish().as_doc(),
            fragment: None,
        })
    }

    fn collection_uuid(&self) -> Option<Uuid> {
        self.entry.collection
    }

    /// The event document whose `_id` is `token`.
    pub fn to_document(&self, token: &ResumeToken, shape: &Shape) -> DocBuf {
        let entry = self.entry;
        let mut w = DocWriter::with_capacity(512 + self.size_hint(shape));
        if let Some(txn) = &entry.txn {
            w.i64("txnNumber", txn.txn_number);
            w.doc("lsid", txn.lsid.as_doc());
        }
        if let Operation::Rename { to, .. } = &entry.operation {
            write_namespace(&mut w, "to", to);
        }
        w.doc("_id", token.to_document().as_doc());
        w.str("operationType", self.operation_type());
        w.timestamp("clusterTime", entry.position.time);
        if shape.expanded
            && let Some(uuid) = self.collection_uuid()
        {
            w.uuid("collectionUUID", uuid);
        }
        w.date("wallTime", entry.wall_ms);
        self.write_full_document(&mut w, shape);
        write_namespace(&mut w, "ns", &entry.namespace);
        if let Some(key) = self.document_key() {
            w.doc("documentKey", key.as_doc());
        }
        if shape.expanded {
            self.write_operation_description(&mut w);
        }
        if let Some(description) = self.description() {
            w.begin_document("updateDescription");
            write_description(&mut w, description.as_doc());
            if shape.expanded {
                let paths = description.get("disambiguatedPaths").and_then(Raw::as_document);
                w.doc("disambiguatedPaths", paths.unwrap_or(RawDoc::EMPTY));
            }
            w.end();
        }
        if shape.expanded
            && let Operation::Modify { before, .. } = &entry.operation
        {
            w.doc("stateBeforeChange", before.as_doc());
        }
        write_image(&mut w, "fullDocumentBeforeChange", &shape.before);
        w.finish()
    }

    /// The `invalidate` that follows this event.
    pub fn to_invalidate(&self, token: &ResumeToken) -> DocBuf {
        let mut w = DocWriter::with_capacity(320);
        w.doc("_id", token.to_document().as_doc());
        w.str("operationType", OperationType::Invalidate.as_str());
        w.timestamp("clusterTime", self.entry.position.time);
        w.date("wallTime", self.entry.wall_ms);
        w.finish()
    }

    fn write_full_document(&self, w: &mut DocWriter, shape: &Shape) {
        match &self.entry.operation {
            Operation::Insert { document, .. } | Operation::Replace { document, .. } => {
                w.doc("fullDocument", document.as_doc());
            }
            Operation::Update { .. } => write_image(w, "fullDocument", &shape.full_document),
            _ => {}
        }
    }

    fn write_operation_description(&self, w: &mut DocWriter) {
        match &self.entry.operation {
            Operation::Create { description, .. }
            | Operation::CreateIndexes { description }
            | Operation::DropIndexes { description }
            | Operation::Modify { description, .. } => w.doc("operationDescription", description.as_doc()),
            Operation::Rename { to, dropped_target } => {
                w.begin_document("operationDescription");
                write_namespace(w, "to", to);
                if let Some(uuid) = dropped_target {
                    w.uuid("dropTarget", *uuid);
                }
                w.end();
            }
            _ => {}
        }
    }

    fn size_hint(&self, shape: &Shape) -> usize {
        let image = |image: &Image| match image {
            Image::Document(document) => document.len(),
            _ => 0,
        };
        let own = self.full_document().map_or(0, DocBuf::len) + self.document_key().map_or(0, DocBuf::len) * 3;
        own + self.description().map_or(0, DocBuf::len) + image(&shape.full_document) + image(&shape.before)
    }
}

/// `{db, coll}`, or `{db}` for a whole database.
fn write_namespace(w: &mut DocWriter, field: &str, namespace: &Namespace) {
    w.begin_document(field);
    w.str("db", &namespace.db);
    if !namespace.collection.is_empty() {
        w.str("coll", &namespace.collection);
    }
    w.end();
}

fn write_image(w: &mut DocWriter, field: &str, image: &Image) {
    match image {
        Image::Absent => {}
        Image::Null => w.null(field),
        Image::Document(document) => w.doc(field, document.as_doc()),
    }
}

/// The three fields that every update has, in the server's order.
fn write_description(w: &mut DocWriter, description: RawDoc<'_>) {
    let document = description.get("updatedFields").and_then(Raw::as_document).unwrap_or(RawDoc::EMPTY);
    w.doc("updatedFields", document);
    for name in ["removedFields", "truncatedArrays"] {
        w.array(name, description.get(name).and_then(Raw::as_array).unwrap_or(RawDoc::EMPTY));
    }
}
