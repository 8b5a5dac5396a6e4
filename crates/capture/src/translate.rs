//! From an event as the deployment sends it to an entry of the log.

use std::sync::Arc;

use base::{ClusterTime, Uuid};
use bytes::Bytes;
use changes::{Event, ResumeToken};
use document::{DocBuf, DocWriter, Raw, RawDoc};
use store::{CollectionKind, LogEntry, LogPosition, Namespace, Operation, PreImage, TxnInfo};

#[cfg(test)]
mod tests;

/// An entry and the token from which a cursor goes on after it.
#[derive(Clone, Debug)]
pub struct Captured {
    pub entry: LogEntry,
    pub resume: DocBuf,
    /// The event's token.
    pub token: DocBuf,
    /// The post-image of an update is the state right after it, not one looked up later.
    pub exact: bool,
}

/// What an event is to us.
#[derive(Debug)]
pub enum Translated {
    Entry(Box<Captured>),
    /// The stream's scope went away; the cursor ends, and one opened after this token goes on.
    Invalidate(DocBuf),
    /// An event of a kind that has no counterpart here (of sharding, of index builds).
    Skipped(DocBuf),
    /// A part of an event that was split; the whole comes with the last part.
    Part,
}

/// Longest name of a namespace; what the log can hold is longer.
const MAX_NAME: usize = 1024;
/// Parts of one event, together.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// Puts parts of split events together and takes events apart.
#[derive(Debug)]
pub struct Translator {
    /// The fields of the parts that have come.
    parts: Vec<DocBuf>,
    /// `fullDocument` of updates is a recorded image rather than looked up.
    recorded_images: bool,
}

impl Translator {
    pub fn new(recorded_images: bool) -> Self {
        Translator { parts: Vec::new(), recorded_images }
    }

    /// # Errors
    /// A sentence, if the event is not one that a server sends.
    pub fn translate(&mut self, bytes: Bytes) -> Result<Translated, String> {
        let event = DocBuf::validate(bytes).map_err(|error| error.to_string())?;
        let Some(split) = event.get("splitEvent").and_then(Raw::as_document) else {
            self.parts.clear();
            return self.whole(&event);
        };
        let number = |name: &str| split.get(name).and_then(Raw::as_whole).unwrap_or(0);
        let (part, of) = (number("fragment"), number("of"));
        if part == 1 {
            self.parts.clear();
        }
        if part < 1 || part > of || part != self.parts.len() as i64 + 1 {
            return Err(format!("part {part} of {of} of an event after part {}", self.parts.len()));
        }
        let together: usize = self.parts.iter().map(DocBuf::len).sum();
        if together + event.len() > MAX_EVENT_BYTES {
            return Err("the parts of one event are too large together".to_owned());
        }
        self.parts.push(event);
        if part < of {
            return Ok(Translated::Part);
        }
        let parts = std::mem::take(&mut self.parts);
        let mut joined = DocWriter::with_capacity(together);
        let resume = token_of(&parts[parts.len() - 1])?;
        joined.doc("_id", resume.as_doc());
        for (name, value) in parts.iter().flat_map(DocBuf::iter) {
            if name != "_id" && name != "splitEvent" {
                joined.raw(name, value);
            }
        }
        self.whole(&joined.finish())
    }

    fn whole(&self, event: &DocBuf) -> Result<Translated, String> {
        let resume = token_of(event)?;
        let kind = event.get("operationType").and_then(Raw::as_str).ok_or("an event without operationType")?;
        if kind == "invalidate" {
            return Ok(Translated::Invalidate(resume));
        }
        let token = ResumeToken::parse(resume.as_doc()).ok();
        let Some(operation) = operation(event, kind)? else { return Ok(Translated::Skipped(resume)) };
        let time = match (event.get("clusterTime"), &token) {
            (Some(Raw::Timestamp(time)), _) => ClusterTime(time),
            (_, Some(token)) => token.cluster_time(),
            _ => return Err("an event without clusterTime".to_owned()),
        };
        let collection = match event.get("collectionUUID") {
            Some(Raw::Binary { subtype: 4, bytes }) => bytes.try_into().ok().map(Uuid),
            _ => token.as_ref().and_then(|token| token.facts().uuid),
        };
        let index = token.as_ref().map_or(0, |token| token.facts().txn_op_index);
        let wall_ms = match event.get("wallTime") {
            Some(Raw::Date(ms)) => ms,
            _ => i64::from(time.seconds()) * 1000,
        };
        let exact = self.recorded_images || !matches!(operation, Operation::Update { .. });
        let mut entry = LogEntry {
            position: LogPosition { time, index },
            wall_ms,
            namespace: namespace(event, "ns")?,
            collection,
            operation,
            txn: transaction(event),
            token: None,
        };
        // A part's token names the part; the event's own is the one before its parts were numbered.
        let own = token.map(|token| token.without_fragment().to_document());
        let own = own.unwrap_or_else(|| resume.clone());
        if Event::new(&entry).derived_token().to_document() != own {
            entry.token = Some(own.clone());
        }
        Ok(Translated::Entry(Box::new(Captured { entry, resume, token: own, exact })))
    }
}

fn token_of(event: &DocBuf) -> Result<DocBuf, String> {
    let token = event.get("_id").and_then(Raw::as_document).ok_or("an event without _id")?;
    // A copy, as it outlives the event.
    Ok(token.to_buf())
}

fn transaction(event: &DocBuf) -> Option<TxnInfo> {
    let txn_number = event.get("txnNumber").and_then(Raw::as_whole)?;
    let lsid = event.share(event.get("lsid").and_then(Raw::as_document)?);
    Some(TxnInfo { lsid, txn_number, last: false })
}

fn namespace(event: &DocBuf, field: &str) -> Result<Namespace, String> {
    let ns = event.get(field).and_then(Raw::as_document).ok_or_else(|| format!("an event without {field}"))?;
    let name = |name: &str| ns.get(name).and_then(Raw::as_str).unwrap_or("");
    let (db, collection) = (name("db"), name("coll"));
    if db.len() > MAX_NAME || collection.len() > MAX_NAME || db.contains('\0') || collection.contains('\0') {
        return Err("an event of a namespace that cannot be".to_owned());
    }
    Ok(Namespace::new(db, collection))
}

/// `None` for kinds that have no counterpart here.
fn operation(event: &DocBuf, kind: &str) -> Result<Option<Operation>, String> {
    let need = |name: &str| document(event, name).ok_or_else(|| format!("an event \"{kind}\" without {name}"));
    let before = || {
        let document = document(event, "fullDocumentBeforeChange")?;
        Some(PreImage { document, by_option: true })
    };
    let description = || document(event, "operationDescription").unwrap_or_default();
    Ok(Some(match kind {
        "insert" => Operation::Insert { key: need("documentKey")?, document: need("fullDocument")? },
        "update" => Operation::Update {
            key: need("documentKey")?,
            description: complete(&need("updateDescription")?),
            document: document(event, "fullDocument"),
            before: before(),
        },
        "replace" => {
            Operation::Replace { key: need("documentKey")?, document: need("fullDocument")?, before: before() }
        }
        "delete" => Operation::Delete { key: need("documentKey")?, before: before() },
        "create" => Operation::Create { description: description(), kind: collection_kind(event) },
        "drop" => Operation::Drop,
        "rename" => {
            let to = namespace(event, "to")?;
            let target = document(event, "operationDescription");
            let dropped_target = match target.as_ref().and_then(|doc| doc.get("dropTarget")) {
                Some(Raw::Binary { subtype: 4, bytes }) => bytes.try_into().ok().map(Uuid),
                _ => None,
            };
            Operation::Rename { to, dropped_target }
        }
        "dropDatabase" => Operation::DropDatabase,
        "createIndexes" => Operation::CreateIndexes { description: description() },
        "dropIndexes" => Operation::DropIndexes { description: description() },
        "modify" => Operation::Modify {
            description: description(),
            before: document(event, "stateBeforeChange").unwrap_or_default(),
        },
        _ => return Ok(None),
    }))
}

fn document(event: &DocBuf, name: &str) -> Option<DocBuf> {
    event.get(name).and_then(Raw::as_document).map(|doc| event.share(doc))
}

/// Older servers leave out parts of a description that every later one has.
fn complete(description: &DocBuf) -> DocBuf {
    if description.get("updatedFields").is_some()
        && description.get("removedFields").is_some()
        && description.get("truncatedArrays").is_some()
    {
        return description.clone();
    }
    let mut w = DocWriter::with_capacity(description.len() + 64);
    let part = |name: &str| description.get(name);
    w.doc("updatedFields", part("updatedFields").and_then(Raw::as_document).unwrap_or(RawDoc::EMPTY));
    w.array("removedFields", part("removedFields").and_then(Raw::as_array).unwrap_or(RawDoc::EMPTY));
    w.array("truncatedArrays", part("truncatedArrays").and_then(Raw::as_array).unwrap_or(RawDoc::EMPTY));
    if let Some(Raw::Document(paths)) = part("disambiguatedPaths") {
        w.doc("disambiguatedPaths", paths);
    }
    w.finish()
}

fn collection_kind(event: &DocBuf) -> CollectionKind {
    let description = event.get("operationDescription").and_then(Raw::as_document).unwrap_or(RawDoc::EMPTY);
    match event.get("nsType").and_then(Raw::as_str) {
        Some("view") => CollectionKind::View,
        Some("timeseries") => CollectionKind::TimeSeries,
        Some(_) => CollectionKind::Collection,
        None if description.contains("viewOn") => CollectionKind::View,
        None if description.contains("timeseries") => CollectionKind::TimeSeries,
        None => CollectionKind::Collection,
    }
}

/// A gap between two times, at the later one.
pub fn gap(from: ClusterTime, to: ClusterTime, wall_ms: i64, reason: &str) -> LogEntry {
    // A reason longer than the log can hold would be no sentence.
    let reason: String = reason.chars().take(2000).collect();
    LogEntry {
        position: LogPosition { time: to, index: 0 },
        wall_ms,
        namespace: Namespace::new("", ""),
        collection: None,
        operation: Operation::Gap { from, reason: Arc::from(reason) },
        txn: None,
        token: None,
    }
}
