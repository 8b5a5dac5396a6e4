//! Messages in the form in which they can pass.

use base::ClusterTime;
use document::{Doc, DocBuf, DocWriter, Raw, RawDoc};

/// A change stream's `aggregate` as it runs here: it begins at `present` if it names no beginning,
/// and does not wait for a time of the deployment's.
pub fn watch(body: &DocBuf, present: Option<ClusterTime>) -> DocBuf {
    let mut w = DocWriter::with_capacity(body.len() + 64);
    for (name, value) in body.iter() {
        match (name, value) {
            ("readConcern", Raw::Document(concern)) => w.doc(name, without(concern, "afterClusterTime").as_doc()),
            ("pipeline", Raw::Array(pipeline)) => {
                w.begin_array(name);
                for (index, stage) in pipeline.iter() {
                    match (stage, present) {
                        (Raw::Document(first), Some(time)) if index == "0" => begin_at(&mut w, index, first, time),
                        (stage, _) => w.raw(index, stage),
                    }
                }
                w.end();
            }
            ("$clusterTime", _) => {}
            _ => w.raw(name, value),
        }
    }
    w.finish()
}

fn begin_at(w: &mut DocWriter, index: &str, stage: RawDoc<'_>, time: ClusterTime) {
    w.begin_document(index);
    for (name, spec) in stage.iter() {
        match spec {
            Raw::Document(spec) if name == "$changeStream" => {
                w.begin_document(name);
                w.fields(spec);
                w.timestamp("startAtOperationTime", time);
                w.end();
            }
            other => w.raw(name, other),
        }
    }
    w.end();
}

fn without(doc: RawDoc<'_>, left_out: &str) -> DocBuf {
    let mut w = DocWriter::with_capacity(64);
    for (name, value) in doc.iter().filter(|(name, _)| *name != left_out) {
        w.raw(name, value);
    }
    w.finish()
}

/// The same change stream with no beginning and no events, to see whether it may be opened.
pub fn trial(body: &DocBuf) -> DocBuf {
    let mut w = DocWriter::with_capacity(body.len());
    for (name, value) in body.iter() {
        match (name, value) {
            ("pipeline", Raw::Array(pipeline)) => {
                w.begin_array(name);
                for (index, stage) in pipeline.iter() {
                    match stage {
                        Raw::Document(first) if index == "0" => w.doc(index, without_start(first).as_doc()),
                        stage => w.raw(index, stage),
                    }
                }
                w.end();
            }
            ("cursor", _) => w.value(name, &Doc::new().with("batchSize", 0).into()),
            _ => w.raw(name, value),
        }
    }
    w.finish()
}

fn without_start(stage: RawDoc<'_>) -> DocBuf {
    let mut w = DocWriter::new();
    for (name, spec) in stage.iter() {
        let Raw::Document(spec) = spec else { continue };
        w.begin_document(name);
        for (option, value) in spec.iter() {
            if !matches!(option, "resumeAfter" | "startAfter" | "startAtOperationTime") {
                w.raw(option, value);
            }
        }
        w.end();
    }
    w.finish()
}

/// A handshake's answer with this address in the place of the deployment's, without compression.
pub fn hello(reply: &DocBuf, address: &str, process_id: [u8; 12]) -> DocBuf {
    let mut w = DocWriter::with_capacity(reply.len() + 64);
    for (name, value) in reply.iter() {
        match name {
            "hosts" => {
                w.begin_array(name);
                w.str("0", address);
                w.end();
            }
            "primary" | "me" => w.str(name, address),
            "passives" | "arbiters" | "compression" => {}
            "topologyVersion" => {
                let version = Doc::new().with("processId", document::Value::ObjectId(process_id)).with("counter", 6i64);
                w.value(name, &version.into());
            }
            _ => w.raw(name, value),
        }
    }
    w.finish()
}
