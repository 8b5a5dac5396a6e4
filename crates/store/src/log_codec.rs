//! Log entries as bytes.
//!
//! The entries of one commit share records, so that a bulk insert does not pay a key-value write
//! for each of them.
//!
//! ```text
//!   record key   = position of its first entry: time (8, big endian), index (4, big endian)
//!   record value = { length (4) · entry } …
//!   entry        = time 8 · index 4 · wall clock 8 · flags 1 · operation 1
//!                  · database name (2 + n) · collection name (2 + n)
//!                  · [collection UUID 16] · [lsid · transaction number 8 · last 1] · [resume token]
//!                  · what the operation carries; documents carry their own length
//! ```
//! Numbers in entries are little endian. Decoded documents are slices of the record.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base::{ClusterTime, Uuid};
use bytes::Bytes;
use document::DocBuf;

use crate::entry::{CollectionKind, LogEntry, LogPosition, Namespace, Operation, PreImage, TxnInfo};
use crate::error::{Error, Result};

/// A record is closed when it has this many bytes, so that a reader in its middle skips little.
pub const RECORD_SIZE: usize = 32 * 1024;

const HAS_UUID: u8 = 1;
const HAS_TXN: u8 = 2;
const HAS_TOKEN: u8 = 4;

mod op {
    pub const INSERT: u8 = 1;
    pub const UPDATE: u8 = 2;
    pub const REPLACE: u8 = 3;
    pub const DELETE: u8 = 4;
    pub const CREATE: u8 = 5;
    pub const DROP: u8 = 6;
    pub const RENAME: u8 = 7;
    pub const DROP_DATABASE: u8 = 8;
    pub const CREATE_INDEXES: u8 = 9;
    pub const DROP_INDEXES: u8 = 10;
    pub const MODIFY: u8 = 11;
    pub const UPDATE_WITHOUT_IMAGE: u8 = 12;
    pub const GAP: u8 = 13;
    pub const CORRECTED: u8 = 14;
}

pub fn record_key(position: LogPosition) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&position.time.0.to_be_bytes());
    key[8..].copy_from_slice(&position.index.to_be_bytes());
    key
}

/// Appends `length · entry` to a record.
pub fn append(out: &mut Vec<u8>, entry: &LogEntry) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&entry.position.time.0.to_le_bytes());
    out.extend_from_slice(&entry.position.index.to_le_bytes());
    out.extend_from_slice(&entry.wall_ms.to_le_bytes());
    let uuid = if entry.collection.is_some() { HAS_UUID } else { 0 };
    let txn = if entry.txn.is_some() { HAS_TXN } else { 0 };
    let token = if entry.token.is_some() { HAS_TOKEN } else { 0 };
    out.push(uuid | txn | token);
    out.push(code(&entry.operation));
    append_namespace(out, &entry.namespace);
    if let Some(uuid) = entry.collection {
        out.extend_from_slice(&uuid.0);
    }
    if let Some(txn) = &entry.txn {
        append_doc(out, &txn.lsid);
        out.extend_from_slice(&txn.txn_number.to_le_bytes());
        out.push(u8::from(txn.last));
    }
    if let Some(token) = &entry.token {
        append_doc(out, token);
    }
    append_operation(out, &entry.operation);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn code(operation: &Operation) -> u8 {
    match operation {
        Operation::Insert { .. } => op::INSERT,
        Operation::Update { document: None, .. } => op::UPDATE_WITHOUT_IMAGE,
        Operation::Update { .. } => op::UPDATE,
        Operation::Replace { .. } => op::REPLACE,
        Operation::Delete { .. } => op::DELETE,
        Operation::Create { .. } => op::CREATE,
        Operation::Drop => op::DROP,
        Operation::Rename { .. } => op::RENAME,
        Operation::DropDatabase => op::DROP_DATABASE,
        Operation::CreateIndexes { .. } => op::CREATE_INDEXES,
        Operation::DropIndexes { .. } => op::DROP_INDEXES,
        Operation::Modify { .. } => op::MODIFY,
        Operation::Gap { .. } => op::GAP,
        Operation::Corrected { .. } => op::CORRECTED,
    }
}

fn append_operation(out: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Insert { key, document } => {
            append_doc(out, key);
            append_doc(out, document);
        }
        Operation::Update { key, description, document, before } => {
            append_doc(out, key);
            append_doc(out, description);
            if let Some(document) = document {
                append_doc(out, document);
            }
            append_image(out, before.as_ref());
        }
        Operation::Replace { key, document, before } => {
            append_doc(out, key);
            append_doc(out, document);
            append_image(out, before.as_ref());
        }
        Operation::Delete { key, before } => {
            append_doc(out, key);
            append_image(out, before.as_ref());
        }
        Operation::Create { description, kind } => {
            append_doc(out, description);
            out.push(match kind {
                CollectionKind::Collection => 0,
                CollectionKind::View => 1,
                CollectionKind::TimeSeries => 2,
            });
        }
        Operation::Drop | Operation::DropDatabase => {}
        Operation::Corrected { key, document, before } => {
            append_doc(out, key);
            append_optional(out, document.as_ref());
            append_optional(out, before.as_ref());
        }
        Operation::Gap { from, reason } => {
            out.extend_from_slice(&from.0.to_le_bytes());
            append_text(out, reason);
        }
        Operation::Rename { to, dropped_target } => {
            append_namespace(out, to);
            out.push(u8::from(dropped_target.is_some()));
            if let Some(uuid) = dropped_target {
                out.extend_from_slice(&uuid.0);
            }
        }
        Operation::CreateIndexes { description } | Operation::DropIndexes { description } => {
            append_doc(out, description);
        }
        Operation::Modify { description, before } => {
            append_doc(out, description);
            append_doc(out, before);
        }
    }
}

fn append_doc(out: &mut Vec<u8>, doc: &DocBuf) {
    out.extend_from_slice(doc.bytes());
}

fn append_optional(out: &mut Vec<u8>, doc: Option<&DocBuf>) {
    out.push(u8::from(doc.is_some()));
    if let Some(doc) = doc {
        append_doc(out, doc);
    }
}

fn append_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names are far shorter than 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn append_namespace(out: &mut Vec<u8>, namespace: &Namespace) {
    append_text(out, &namespace.db);
    append_text(out, &namespace.collection);
}

fn append_image(out: &mut Vec<u8>, image: Option<&PreImage>) {
    match image {
        None => out.push(0),
        Some(image) => {
            out.push(if image.by_option { 2 } else { 1 });
            append_doc(out, &image.document);
        }
    }
}

/// Takes a record apart, in order. Remembers the last namespace, as neighbours mostly share it.
#[derive(Default)]
pub struct RecordReader {
    rest: Bytes,
    namespace: Option<Namespace>,
}

impl RecordReader {
    /// Continues with another record.
    pub fn refill(&mut self, record: Bytes) {
        self.rest = record;
    }

    /// The position of the next entry, without decoding it.
    pub fn peek(&self) -> Result<Option<LogPosition>> {
        Ok(self.peek_time()?.map(|(position, _)| position))
    }

    /// Like `peek`, with the wall clock.
    pub fn peek_time(&self) -> Result<Option<(LogPosition, i64)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut head = Cursor { rest: self.rest.clone() };
        head.u32()?;
        Ok(Some((head.position()?, head.i64()?)))
    }

    pub fn skip(&mut self) -> Result<()> {
        self.take().map(|_| ())
    }

    fn take(&mut self) -> Result<Bytes> {
        let mut cursor = Cursor { rest: std::mem::take(&mut self.rest) };
        let length = cursor.u32()? as usize;
        let entry = cursor.take(length)?;
        self.rest = cursor.rest;
        Ok(entry)
    }

    pub fn next(&mut self) -> Result<Option<LogEntry>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let entry = self.take()?;
        self.decode(entry).map(Some)
    }

    fn decode(&mut self, entry: Bytes) -> Result<LogEntry> {
        let mut cursor = Cursor { rest: entry };
        let position = cursor.position()?;
        let wall_ms = cursor.i64()?;
        let flags = cursor.u8()?;
        let code = cursor.u8()?;
        let namespace = cursor.namespace(&mut self.namespace)?;
        let collection = if flags & HAS_UUID != 0 { Some(cursor.uuid()?) } else { None };
        let txn = if flags & HAS_TXN != 0 { Some(cursor.txn()?) } else { None };
        let token = if flags & HAS_TOKEN != 0 { Some(cursor.doc()?) } else { None };
        let operation = cursor.operation(code)?;
        Ok(LogEntry { position, wall_ms, namespace, collection, operation, txn, token })
    }
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("change log: {what}"))
}

struct Cursor {
    rest: Bytes,
}

impl Cursor {
    fn take(&mut self, length: usize) -> Result<Bytes> {
        if length > self.rest.len() {
            return Err(damaged("an entry ends early"));
        }
        Ok(self.rest.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?[..].try_into().expect("N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn uuid(&mut self) -> Result<Uuid> {
        self.array().map(Uuid)
    }

    fn position(&mut self) -> Result<LogPosition> {
        let time = ClusterTime(u64::from_le_bytes(self.array()?));
        Ok(LogPosition { time, index: self.u32()? })
    }

    fn text(&mut self) -> Result<Bytes> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(usize::from(length))
    }

    fn namespace(&mut self, last: &mut Option<Namespace>) -> Result<Namespace> {
        let (db, collection) = (self.text()?, self.text()?);
        if let Some(last) = last
            && last.db.as_bytes() == db
            && last.collection.as_bytes() == collection
        {
            return Ok(last.clone());
        }
        let text = |bytes: &Bytes| std::str::from_utf8(bytes).map(Arc::from).map_err(|_| damaged("a name"));
        let namespace = Namespace { db: text(&db)?, collection: text(&collection)? };
        *last = Some(namespace.clone());
        Ok(namespace)
    }

    /// The bytes were valid when they were written, and the disk's blocks carry checksums.
    fn doc(&mut self) -> Result<DocBuf> {
        let length: [u8; 4] =
            self.rest.get(..4).ok_or_else(|| damaged("a document"))?.try_into().expect("four bytes were sliced");
        let length = usize::try_from(i32::from_le_bytes(length)).map_err(|_| damaged("a document's length"))?;
        if length < 5 {
            return Err(damaged("a document's length"));
        }
        Ok(DocBuf::trusted(self.take(length)?))
    }

    fn image(&mut self) -> Result<Option<PreImage>> {
        match self.u8()? {
            0 => Ok(None),
            flag => Ok(Some(PreImage { document: self.doc()?, by_option: flag == 2 })),
        }
    }

    fn optional(&mut self) -> Result<Option<DocBuf>> {
        if self.u8()? == 0 { Ok(None) } else { self.doc().map(Some) }
    }

    fn txn(&mut self) -> Result<TxnInfo> {
        Ok(TxnInfo { lsid: self.doc()?, txn_number: self.i64()?, last: self.u8()? != 0 })
    }

    fn operation(&mut self, code: u8) -> Result<Operation> {
        Ok(match code {
            op::INSERT => Operation::Insert { key: self.doc()?, document: self.doc()? },
            op::UPDATE => Operation::Update {
                key: self.doc()?,
                description: self.doc()?,
                document: Some(self.doc()?),
                before: self.image()?,
            },
            op::UPDATE_WITHOUT_IMAGE => {
                Operation::Update { key: self.doc()?, description: self.doc()?, document: None, before: self.image()? }
            }
            op::CORRECTED => {
                Operation::Corrected { key: self.doc()?, document: self.optional()?, before: self.optional()? }
            }
            op::GAP => {
                let from = ClusterTime(u64::from_le_bytes(self.array()?));
                let reason = self.text()?;
                let reason = std::str::from_utf8(&reason).map_err(|_| damaged("a reason"))?.into();
                Operation::Gap { from, reason }
            }
            op::REPLACE => Operation::Replace { key: self.doc()?, document: self.doc()?, before: self.image()? },
            op::DELETE => Operation::Delete { key: self.doc()?, before: self.image()? },
            op::CREATE => Operation::Create { description: self.doc()?, kind: self.kind()? },
            op::DROP => Operation::Drop,
            op::RENAME => {
                let to = self.namespace(&mut None)?;
                let dropped_target = if self.u8()? != 0 { Some(self.uuid()?) } else { None };
                Operation::Rename { to, dropped_target }
            }
            op::DROP_DATABASE => Operation::DropDatabase,
            op::CREATE_INDEXES => Operation::CreateIndexes { description: self.doc()? },
            op::DROP_INDEXES => Operation::DropIndexes { description: self.doc()? },
            op::MODIFY => Operation::Modify { description: self.doc()?, before: self.doc()? },
            _ => return Err(damaged("an unknown operation")),
        })
    }

    fn kind(&mut self) -> Result<CollectionKind> {
        match self.u8()? {
            0 => Ok(CollectionKind::Collection),
            1 => Ok(CollectionKind::View),
            2 => Ok(CollectionKind::TimeSeries),
            _ => Err(damaged("an unknown kind of collection")),
        }
    }
}
