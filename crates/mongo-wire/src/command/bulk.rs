//! bulkWrite: many writes on many collections in one command, answered through a cursor.

use base::limits::MAX_WRITE_BATCH_COUNT;
use document::{Doc, DocBuf, RawDoc, Value};
use engine::documents::{DeleteStatement, Statement, UpdateStatement, Write, WriteBatch, WriteReport};
use engine::{Cursor, Error, Namespace, Result};

use super::args::{Args, as_integer};
use super::caller;
use super::cursor::{self, Opening};
use super::write::{array_filters, modification, write};
use super::{Context, Request, names};
use crate::reply::Reply;

const FIELDS: &[&str] = &[
    "ops",
    "nsInfo",
    "cursor",
    "bypassDocumentValidation",
    "ordered",
    "let",
    "stmtId",
    "stmtIds",
    "errorsOnly",
    "bypassEmptyTsReplacement",
    "maxTimeMS",
];

/// A section of the message, or an array field of the body.
fn documents(request: &Request, args: &Args<'_>, field: &str) -> Result<Vec<DocBuf>> {
    if let Some(sequence) = request.sequences.iter().find(|sequence| sequence.name == field) {
        return Ok(sequence.documents.clone());
    }
    let inline = args.documents(field)?.ok_or_else(|| args.missing(field))?;
    Ok(inline.into_iter().map(|doc| request.body.share(doc)).collect())
}

pub async fn bulk_write(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("bulkWrite", request.body.as_doc(), FIELDS)?;
    let ops = documents(request, &args, "ops")?;
    if ops.is_empty() || ops.len() > MAX_WRITE_BATCH_COUNT {
        let message =
            format!("Write batch sizes must be between 1 and {MAX_WRITE_BATCH_COUNT}. Got {} operations.", ops.len());
        return Err(Error::new(16, message));
    }
    let namespaces = namespaces(&documents(request, &args, "nsInfo")?)?;
    let first = args.integer("stmtId")?.unwrap_or(0) as i32;
    let ids: Option<Vec<i32>> =
        args.array("stmtIds")?.map(|ids| ids.values().map(|id| as_integer(id) as i32).collect());
    let mut kinds = Vec::new();
    let mut statements = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        let id = ids.as_ref().and_then(|ids| ids.get(i).copied()).unwrap_or(first.wrapping_add(i as i32));
        let (kind, namespace, write) = parse_op(op.as_doc(), namespaces.len())?;
        kinds.push(kind);
        statements.push(Statement { namespace, id, write });
    }
    let batch = WriteBatch {
        namespaces,
        statements,
        ordered: args.bool("ordered")?.unwrap_or(true),
        bypass_validation: args.flag("bypassDocumentValidation")?,
        variables: args.document_buf("let")?,
    };
    let errors_only = args.flag("errorsOnly")?;
    let batch_size = match args.document("cursor")? {
        None => None,
        Some(cursor) => Args::nested("bulkWrite.cursor", cursor, &["batchSize"])?.size("batchSize")?,
    };
    let report = write(ctx, request, batch).await?;
    answer(ctx, request, &report, &kinds, errors_only, batch_size).await
}

fn namespaces(infos: &[DocBuf]) -> Result<Vec<Namespace>> {
    let fields = ["ns", "collectionUUID", "encryptionInformation", "isTimeseriesNamespace"];
    infos
        .iter()
        .map(|info| {
            let args = Args::nested("bulkWrite.nsInfo", info.as_doc(), &fields)?;
            let text = args.require_string("ns")?;
            let (db, name) = text.split_once('.').unwrap_or((text, ""));
            names::check_database(db)?;
            let namespace = names::namespace(db, name)?;
            names::check_writable(&namespace)?;
            Ok(namespace)
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpKind {
    Insert,
    Update,
    Delete,
}

fn parse_op(op: RawDoc<'_>, namespaces: usize) -> Result<(OpKind, usize, Write)> {
    let (kind, fields): (&str, &[&str]) = match op.iter().next() {
        Some(("insert", _)) => ("insert", &["insert", "document"]),
        Some(("update", _)) => (
            "update",
            &[
                "update",
                "filter",
                "updateMods",
                "multi",
                "upsert",
                "arrayFilters",
                "collation",
                "hint",
                "sort",
                "constants",
                "upsertSupplied",
                "sampleId",
            ],
        ),
        Some(("delete", _)) => ("delete", &["delete", "filter", "multi", "collation", "hint", "sampleId"]),
        Some((other, _)) => {
            let message = format!("BSON field 'bulkWrite.ops.{other}' is an unknown field.");
            return Err(Error::new(40415, message));
        }
        None => return Err(Error::new(9, "an operation of bulkWrite cannot be empty")),
    };
    let args = Args::nested("bulkWrite.ops", op, fields)?;
    let index = args.integer(kind)?.ok_or_else(|| args.missing(kind))?;
    let namespace = usize::try_from(index)
        .ok()
        .filter(|index| *index < namespaces)
        .ok_or_else(|| Error::new(2, format!("BulkWrite ops entry {kind} has an invalid nsInfo index: {index}.")))?;
    let write = match kind {
        "insert" => (OpKind::Insert, Write::Insert(args.require_document("document")?.to_buf())),
        "update" => {
            let mods = args.get("updateMods").ok_or_else(|| args.missing("updateMods"))?;
            let update = UpdateStatement {
                multi: args.bool("multi")?.unwrap_or(false),
                upsert: args.bool("upsert")?.unwrap_or(false),
                array_filters: array_filters(&args)?,
                collation: args.document_buf("collation")?,
                hint: caller::hint(&args, "hint")?,
                sort: args.document_buf("sort")?,
                constants: args.document_buf("constants")?,
                ..UpdateStatement::new(args.require_document("filter")?.to_buf(), modification(mods)?)
            };
            (OpKind::Update, Write::Update(update))
        }
        _ => {
            let delete = DeleteStatement {
                filter: args.require_document("filter")?.to_buf(),
                multi: args.bool("multi")?.unwrap_or(false),
                collation: args.document_buf("collation")?,
                hint: caller::hint(&args, "hint")?,
            };
            (OpKind::Delete, Write::Delete(delete))
        }
    };
    Ok((write.0, namespace, write.1))
}

#[derive(Default)]
struct Totals {
    errors: i32,
    inserted: i32,
    matched: i32,
    modified: i32,
    upserted: i32,
    deleted: i32,
}

async fn answer(
    ctx: &Context,
    request: &Request,
    report: &WriteReport,
    kinds: &[OpKind],
    errors_only: bool,
    batch_size: Option<u64>,
) -> Result<Reply> {
    let mut totals = Totals::default();
    let mut items = Vec::new();
    for (index, result) in &report.results {
        let mut item = Doc::new();
        match result {
            Ok(written) => {
                let n = written.n as i32;
                item.push("ok", 1.0);
                item.push("idx", *index as i32);
                item.push("n", n);
                match kinds[*index] {
                    OpKind::Insert => totals.inserted += n,
                    OpKind::Delete => totals.deleted += n,
                    OpKind::Update => {
                        item.push("nModified", written.modified as i32);
                        totals.modified += written.modified as i32;
                        match &written.upserted {
                            Some(id) => {
                                totals.upserted += 1;
                                item.push("upserted", Doc::new().with("_id", id.clone()));
                            }
                            None => totals.matched += n,
                        }
                    }
                }
            }
            Err(error) => {
                totals.errors += 1;
                item.push("ok", 0.0);
                item.push("idx", *index as i32);
                item.push("code", error.code());
                for (field, value) in error.details().into_iter().flat_map(Doc::iter) {
                    item.push(field, value.clone());
                }
                item.push("errmsg", error.message());
                item.push("n", 0);
                if kinds[*index] == OpKind::Update {
                    item.push("nModified", 0);
                }
            }
        }
        if !errors_only || result.is_err() {
            items.push(item.to_buf());
        }
    }
    let opening = Opening {
        namespace: "admin.$cmd.bulkWrite".to_owned(),
        batch_size,
        single_batch: false,
        no_timeout: false,
        change_stream: false,
        at: None,
    };
    let everything = engine::BatchLimit { documents: usize::MAX, bytes: cursor::MAX_BATCH_BYTES };
    let mut reply = cursor::open_with_default(ctx, request, Cursor::of(items), opening, everything).await?;
    reply = reply
        .with("nErrors", totals.errors)
        .with("nInserted", totals.inserted)
        .with("nMatched", totals.matched)
        .with("nModified", totals.modified)
        .with("nUpserted", totals.upserted)
        .with("nDeleted", totals.deleted);
    if !report.retried.is_empty() {
        let ids: Vec<Value> = report.retried.iter().map(|id| Value::Int32(*id)).collect();
        reply = reply.with("retriedStmtIds", ids);
    }
    reply.operation_time = report.time;
    Ok(reply)
}
