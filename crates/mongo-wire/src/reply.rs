//! Replies: a body, `ok`, and the times that every reply of a replica-set member carries.

use base::ClusterTime;
use document::{Doc, DocBuf, DocWriter, Value};
use engine::Error;

use crate::error_codes;

/// A successful command's answer, before `ok` and the times are added.
#[derive(Debug, Default)]
pub struct Reply {
    pub body: DocWriter,
    /// The time of what the command wrote; the last applied write's otherwise.
    pub operation_time: Option<ClusterTime>,
    pub write_concern_error: Option<Doc>,
    /// The command could be sent again as a retryable write; its errors say so.
    pub may_be_retried: bool,
    /// The answer says `ok: 0` although it has a body (bulkWrite's, some admin commands').
    pub not_ok: bool,
}

impl Reply {
    pub fn new() -> Self {
        Reply::default()
    }

    /// Room for so many bytes of documents.
    pub fn sized(bytes: usize) -> Self {
        Reply { body: DocWriter::with_capacity(bytes + 512), ..Reply::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.value(name, &value.into());
        self
    }
}

impl From<Doc> for Reply {
    fn from(doc: Doc) -> Self {
        let mut reply = Reply::new();
        for (name, value) in doc.iter() {
            reply.body.value(name, value);
        }
        reply
    }
}

/// Closes a reply.
pub fn finish(mut reply: Reply, time: ClusterTime) -> DocBuf {
    if let Some(error) = &reply.write_concern_error {
        reply.body.value("writeConcernError", &Value::Document(error.clone()));
        let code = error.get("code").and_then(Value::as_whole).unwrap_or(0) as i32;
        if reply.may_be_retried && error_codes::is_retryable_write(code) && error.get("errorLabels").is_none() {
            write_labels(&mut reply.body, &["RetryableWriteError".to_owned()]);
        }
    }
    reply.body.f64("ok", if reply.not_ok { 0.0 } else { 1.0 });
    write_times(&mut reply.body, time, reply.operation_time.unwrap_or(time));
    reply.body.finish()
}

/// The reply of a command that failed.
pub fn error(error: &Error, labels: &[String], time: ClusterTime) -> DocBuf {
    failed(error, labels, time, None)
}

/// The same, of a write whose concern cannot be had either: a server waits for it in any case.
pub fn failed(error: &Error, labels: &[String], time: ClusterTime, write_concern_error: Option<&Doc>) -> DocBuf {
    let mut body = DocWriter::new();
    if !labels.is_empty() {
        write_labels(&mut body, labels);
    }
    body.f64("ok", 0.0);
    body.str("errmsg", error.message());
    body.i32("code", error.code());
    body.str("codeName", &error_codes::name(error.code()));
    if let Some(details) = error.details() {
        for (name, value) in details.iter() {
            body.value(name, value);
        }
    }
    if let Some(error) = write_concern_error {
        body.value("writeConcernError", &Value::Document(error.clone()));
    }
    write_times(&mut body, time, time);
    body.finish()
}

fn write_labels(body: &mut DocWriter, labels: &[String]) {
    body.begin_array("errorLabels");
    for (i, label) in labels.iter().enumerate() {
        body.str(&i.to_string(), label);
    }
    body.end();
}

fn write_times(body: &mut DocWriter, cluster: ClusterTime, operation: ClusterTime) {
    body.begin_document("$clusterTime");
    body.timestamp("clusterTime", cluster);
    body.begin_document("signature");
    body.binary("hash", 0, &[0; 20]);
    body.i64("keyId", 0);
    body.end();
    body.end();
    body.timestamp("operationTime", operation);
}
