//! Results of retryable writes, stored in the commit that made them.
//!
//! ```text
//!   numbers:  session               -> newest number, how many chunks of results it has
//!   results:  session, chunk number -> {txnNumber, results: [{stmtId, …}, …]}
//! ```
//! A commit writes one chunk, whatever the number of its statements; a newer number writes over the
//! chunks of the older one. A commit reads only the chunks that it has not seen: none, for a command
//! that is not a retry and fits one commit.

use document::{DocBuf, DocWriter, Raw, Value};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use store::{Reader, WriteTxn};

use super::requests::{Modified, Written};
use crate::sessions::RetryKey;
use crate::{Error, Result};

const NUMBERS: &str = "retryable-numbers";
const RESULTS: &str = "retryable-results";

/// What is known of a command's earlier attempts, kept between its commits.
#[derive(Default)]
pub(crate) struct Recalled(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Chunks read so far.
    chunks: u32,
    results: FxHashMap<i32, DocBuf>,
}

/// One commit's part in a retryable command.
pub(crate) struct Attempt<'a> {
    key: &'a RetryKey,
    recalled: &'a Recalled,
    /// Chunks of this number that are stored.
    chunks: u32,
    new: Vec<DocBuf>,
}

fn chunk_key(key: &RetryKey, chunk: u32) -> Vec<u8> {
    [&key.lsid.0[..], &chunk.to_be_bytes()].concat()
}

fn parse_number(record: &[u8]) -> Option<(i64, u32)> {
    let (number, chunks) = record.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*number), u32::from_be_bytes(chunks.try_into().ok()?)))
}

/// Makes `key` the session's number. 225 if it is past a newer one.
pub(crate) fn enter<'a>(txn: &mut WriteTxn, key: &'a RetryKey, recalled: &'a Recalled) -> store::Result<Attempt<'a>> {
    let newest = txn.get_record(NUMBERS, &key.lsid.0)?.and_then(|record| parse_number(&record));
    let chunks = match newest {
        Some((newest, chunks)) if newest == key.number => {
            recalled.read(txn, key, chunks)?;
            chunks
        }
        Some((newest, _)) if newest > key.number => {
            let message = format!(
                "Retryable write with txnNumber {} is prohibited on session {} because a newer retryable write with txnNumber {newest} has already started on this session.",
                key.number, key.lsid
            );
            return Err(document::Error::new(225, message).into());
        }
        older => {
            for chunk in 0..older.map_or(0, |(_, chunks)| chunks) {
                txn.delete_record(RESULTS, &chunk_key(key, chunk));
            }
            0
        }
    };
    Ok(Attempt { key, recalled, chunks, new: Vec::new() })
}

impl Recalled {
    fn read(&self, txn: &WriteTxn, key: &RetryKey, chunks: u32) -> store::Result<()> {
        let mut known = self.0.lock();
        let damaged = || store::Error::Corrupt("a retryable write's record is damaged".to_owned());
        for chunk in known.chunks..chunks {
            let record = txn.get_record(RESULTS, &chunk_key(key, chunk))?.ok_or_else(damaged)?;
            let record = DocBuf::validate(record).map_err(|_| damaged())?;
            let results = record.get("results").and_then(|r| r.as_array()).ok_or_else(damaged)?;
            for result in results.values() {
                let result = result.as_document().ok_or_else(damaged)?;
                let statement = result.get("stmtId").and_then(Raw::as_whole).ok_or_else(damaged)?;
                known.results.insert(statement as i32, record.share(result));
            }
        }
        known.chunks = known.chunks.max(chunks);
        Ok(())
    }
}

impl Attempt<'_> {
    fn recall(&self, statement: i32) -> Option<DocBuf> {
        self.recalled.0.lock().results.get(&statement).cloned()
    }

    /// Stores what this commit remembers, and the session's number.
    pub fn finish(self, txn: &mut WriteTxn) {
        let mut chunks = self.chunks;
        if !self.new.is_empty() {
            let mut record = DocWriter::with_capacity(64 * self.new.len());
            record.i64("txnNumber", self.key.number);
            record.begin_array("results");
            for (i, result) in self.new.iter().enumerate() {
                record.doc(&i.to_string(), result.as_doc());
            }
            record.end();
            txn.put_record(RESULTS, &chunk_key(self.key, chunks), record.finish().bytes().clone());
            chunks += 1;
        }
        let number = [&self.key.number.to_be_bytes()[..], &chunks.to_be_bytes()].concat();
        txn.put_record(NUMBERS, &self.key.lsid.0, number);
    }

    /// What an earlier attempt of this statement did.
    pub fn recall_written(&self, statement: i32) -> Result<Option<Written>> {
        let Some(record) = self.recall(statement) else { return Ok(None) };
        if record.get("lastErrorObject").is_some() {
            return Err(another_kind(self.key, statement));
        }
        let number = |name: &str| record.get(name).and_then(Raw::as_whole).unwrap_or(0).unsigned_abs();
        Ok(Some(Written {
            n: number("n"),
            modified: number("nModified"),
            upserted: record.get("upserted").map(Raw::to_value),
        }))
    }

    pub fn remember_written(&mut self, statement: i32, written: &Written) {
        let mut record = DocWriter::with_capacity(64);
        record.i32("stmtId", statement);
        record.i64("n", written.n as i64);
        record.i64("nModified", written.modified as i64);
        if let Some(id) = &written.upserted {
            record.value("upserted", id);
        }
        self.new.push(record.finish());
    }

    /// What an earlier attempt of this findAndModify did.
    pub fn recall_modified(&self, statement: i32) -> Result<Option<Modified>> {
        let Some(record) = self.recall(statement) else { return Ok(None) };
        let Some(Raw::Document(last_error)) = record.get("lastErrorObject") else {
            return Err(another_kind(self.key, statement));
        };
        let value = match record.get("value") {
            Some(Raw::Document(value)) => Some(record.share(value)),
            _ => None,
        };
        Ok(Some(Modified { last_error_object: last_error.to_doc(), value, time: None, retried: true }))
    }

    pub fn remember_modified(&mut self, statement: i32, modified: &Modified) {
        let mut record = DocWriter::new();
        record.i32("stmtId", statement);
        record.value("lastErrorObject", &Value::Document(modified.last_error_object.clone()));
        if let Some(value) = &modified.value {
            record.doc("value", value.as_doc());
        }
        self.new.push(record.finish());
    }
}

fn another_kind(key: &RetryKey, statement: i32) -> Error {
    Error::new(
        40606,
        format!("statement {statement} of txnNumber {} was another kind of write when it was first sent", key.number),
    )
}
