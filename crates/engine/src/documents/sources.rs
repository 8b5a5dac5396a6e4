//! First stages that make their documents from the database's state.

use document::{Doc, DocBuf, Raw, RawDoc, Value};
use store::{Reader, Snapshot};

use super::aggregate::Prepared;
use super::indexes;
use crate::cursor::Rows;
use crate::{Error, Headwater, Result};

/// The documents of a source stage.
pub fn rows(db: &Headwater, snapshot: &Snapshot, prepared: &Prepared, name: &str, stage: &DocBuf) -> Result<Rows> {
    let spec = match stage.iter().next() {
        Some((_, Raw::Document(spec))) => spec,
        _ => RawDoc::EMPTY,
    };
    let documents = match name {
        "$collStats" => vec![coll_stats(db, snapshot, prepared, spec)?],
        "$indexStats" => index_stats(db, prepared),
        "$listLocalSessions" | "$listSessions" => db.sessions().list(),
        "$currentOp" => {
            crate::operations::check_options(spec)?;
            db.operations().list(HOST)
        }
        _ => return Err(Error::new(40324, format!("Unrecognized pipeline stage name: '{name}'"))),
    };
    Ok(Box::new(documents.into_iter().map(|document| Ok(document.to_buf()))))
}

const HOST: &str = "localhost";

fn coll_stats(db: &Headwater, snapshot: &Snapshot, prepared: &Prepared, spec: RawDoc<'_>) -> Result<Doc> {
    let mut stats = Doc::new()
        .with("ns", prepared.namespace.to_string())
        .with("host", HOST)
        .with("localTime", Value::Date(db.clock().now_ms()));
    for (option, value) in spec.iter() {
        match option {
            "latencyStats" | "queryExecStats" => {
                let none = || Doc::new().with("latency", 0i64).with("ops", 0i64);
                let latency = Doc::new().with("reads", none()).with("writes", none()).with("commands", none());
                stats.push(option, latency);
            }
            "storageStats" => {
                let scale = match value {
                    Raw::Document(options) => options.get("scale").and_then(Raw::as_whole).unwrap_or(1).max(1),
                    _ => 1,
                };
                let mut storage = db.collection_stats(&prepared.namespace, scale)?;
                storage.remove("ns");
                stats.push(option, storage);
            }
            "count" => {
                let collection = prepared.collection.as_ref().ok_or_else(|| {
                    Error::new(
                        26,
                        format!(
                            "Unable to retrieve count in $collStats stage: Collection [{}] not found.",
                            prepared.namespace
                        ),
                    )
                })?;
                let documents = snapshot.counts(collection)?.documents as i64;
                stats.push(option, i32::try_from(documents).map_or(Value::Int64(documents), Value::Int32));
            }
            other => return Err(Error::new(40168, format!("unrecognized option to $collStats: {other}"))),
        }
    }
    Ok(stats)
}

fn index_stats(db: &Headwater, prepared: &Prepared) -> Vec<Doc> {
    let since = db.clock().now_ms();
    let collection = prepared.collection.as_ref();
    collection.map_or_else(Vec::new, |collection| {
        collection.indexes.iter().map(|index| indexes::stats(index, HOST, since)).collect()
    })
}
