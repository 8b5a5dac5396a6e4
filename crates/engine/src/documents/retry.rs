//! Results of retryable writes, stored in the commit that made them.
//!
//! Two side tables: a session's newest number, and the results of that number by statement. An
//! older number's results are dropped when a newer one begins.

use document::{Doc, DocBuf, Raw, Value};
use store::{Reader, WriteTxn};

use super::requests::{Modified, Written};
use crate::sessions::RetryKey;
use crate::{Error, Result};

const NUMBERS: &str = "retryable-numbers";
const RESULTS: &str = "retryable-results";

fn result_key(key: &RetryKey, statement: i32) -> Vec<u8> {
    [&key.lsid.0[..], &statement.to_be_bytes()].concat()
}

/// Makes `key` the session's number. 225 if it is past a newer one.
pub fn enter(txn: &mut WriteTxn, key: &RetryKey) -> store::Result<()> {
    let newest = txn.get_record(NUMBERS, &key.lsid.0)?;
    let newest = newest.and_then(|bytes| Some(i64::from_be_bytes(bytes[..].try_into().ok()?)));
    match newest {
        Some(newest) if newest == key.number => return Ok(()),
        Some(newest) if newest > key.number => {
            let message = format!(
                "Retryable write with txnNumber {} is prohibited on session {} because a newer retryable write with txnNumber {newest} has already started on this session.",
                key.number, key.lsid
            );
            return Err(document::Error::new(225, message).into());
        }
        Some(_) => forget(txn, key)?,
        None => {}
    }
    txn.put_record(NUMBERS, &key.lsid.0, key.number.to_be_bytes().to_vec());
    Ok(())
}

fn forget(txn: &mut WriteTxn, key: &RetryKey) -> store::Result<()> {
    let old: Vec<_> = txn.records(RESULTS, &key.lsid.0).map(|record| Ok(record?.0)).collect::<store::Result<_>>()?;
    for record in old {
        txn.delete_record(RESULTS, &record);
    }
    Ok(())
}

fn recall(txn: &WriteTxn, key: &RetryKey, statement: i32) -> Result<Option<DocBuf>> {
    let Some(record) = txn.get_record(RESULTS, &result_key(key, statement))? else { return Ok(None) };
    let record = DocBuf::validate(record).map_err(|_| Error::corrupt("a retryable write's record is damaged"))?;
    let same = record.get("txnNumber").and_then(Raw::as_whole) == Some(key.number);
    Ok(same.then_some(record))
}

/// What an earlier attempt of this statement did.
pub fn recall_written(txn: &WriteTxn, key: &RetryKey, statement: i32) -> Result<Option<Written>> {
    let Some(record) = recall(txn, key, statement)? else { return Ok(None) };
    if record.get("lastErrorObject").is_some() {
        return Err(another_kind(key, statement));
    }
    let number = |name: &str| record.get(name).and_then(Raw::as_whole).unwrap_or(0).unsigned_abs();
    Ok(Some(Written {
        n: number("n"),
        modified: number("nModified"),
        upserted: record.get("upserted").map(Raw::to_value),
    }))
}

pub fn remember_written(txn: &mut WriteTxn, key: &RetryKey, statement: i32, written: &Written) {
    let mut record =
        Doc::new().with("txnNumber", key.number).with("n", written.n as i64).with("nModified", written.modified as i64);
    if let Some(id) = &written.upserted {
        record.push("upserted", id.clone());
    }
    txn.put_record(RESULTS, &result_key(key, statement), record.to_buf().bytes().clone());
}

/// What an earlier attempt of this findAndModify did.
pub fn recall_modified(txn: &WriteTxn, key: &RetryKey, statement: i32) -> Result<Option<Modified>> {
    let Some(record) = recall(txn, key, statement)? else { return Ok(None) };
    let Some(Raw::Document(last_error)) = record.get("lastErrorObject") else {
        return Err(another_kind(key, statement));
    };
    let value = match record.get("value") {
        Some(Raw::Document(value)) => Some(record.share(value)),
        _ => None,
    };
    Ok(Some(Modified { last_error_object: last_error.to_doc(), value, time: None, retried: true }))
}

pub fn remember_modified(txn: &mut WriteTxn, key: &RetryKey, statement: i32, modified: &Modified) {
    let mut record = document::DocWriter::new();
    record.i64("txnNumber", key.number);
    record.value("lastErrorObject", &Value::Document(modified.last_error_object.clone()));
    if let Some(value) = &modified.value {
        record.doc("value", value.as_doc());
    }
    txn.put_record(RESULTS, &result_key(key, statement), record.finish().bytes().clone());
}

fn another_kind(key: &RetryKey, statement: i32) -> Error {
    Error::new(
        40606,
        format!("statement {statement} of txnNumber {} was another kind of write when it was first sent", key.number),
    )
}
