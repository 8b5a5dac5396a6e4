//! insert, update, delete, findAndModify: arguments in, report out.

use std::sync::atomic::Ordering;

use base::limits::MAX_WRITE_BATCH_COUNT;
use document::{Doc, DocBuf, DocWriter, Raw, RawDoc};
use engine::documents::{
    DeleteStatement, FindAndModify, Modification, Statement, UpdateStatement, Write, WriteBatch, WriteReport,
};
use engine::{Error, Namespace, Result};

use super::args::{Args, as_integer, wrong_type};
use super::caller::{self, caller};
use super::{Context, HANG_UP, Request, names};
use crate::reply::Reply;

const BATCH_FIELDS: &[&str] = &[
    "documents",
    "updates",
    "deletes",
    "ordered",
    "bypassDocumentValidation",
    "stmtId",
    "stmtIds",
    "let",
    "maxTimeMS",
    "isTimeseriesNamespace",
    "collectionUUID",
    "encryptionInformation",
    "sampleId",
    "runtimeConstants",
    "legacyRuntimeConstants",
    "bypassEmptyTsReplacement",
];

/// The statements of a batch: a document sequence or an array field of the body.
fn batch_documents(request: &Request, args: &Args<'_>, field: &str) -> Result<Vec<DocBuf>> {
    let documents = match request.sequences.iter().find(|sequence| sequence.name == field) {
        Some(sequence) => sequence.documents.clone(),
        None => {
            let inline = args.documents(field)?.ok_or_else(|| args.missing(field))?;
            inline.into_iter().map(|doc| request.body.share(doc)).collect()
        }
    };
    if documents.is_empty() || documents.len() > MAX_WRITE_BATCH_COUNT {
        return Err(Error::new(
            16,
            format!(
                "Write batch sizes must be between 1 and {MAX_WRITE_BATCH_COUNT}. Got {} operations.",
                documents.len()
            ),
        ));
    }
    Ok(documents)
}

fn declared(own: &str) -> Vec<&'static str> {
    BATCH_FIELDS
        .iter()
        .copied()
        .filter(|field| !matches!(*field, "documents" | "updates" | "deletes") || *field == own)
        .collect()
}

/// What the three batch commands have in common.
struct Batch {
    namespace: Namespace,
    ordered: bool,
    bypass_validation: bool,
    variables: Option<DocBuf>,
    statement_ids: Vec<i32>,
}

fn batch_options(request: &Request, args: &Args<'_>, count: usize) -> Result<Batch> {
    let namespace = names::collection(request)?;
    names::check_writable(&namespace)?;
    let first = args.integer("stmtId")?.unwrap_or(0) as i32;
    let statement_ids = match args.array("stmtIds")? {
        Some(ids) => ids.values().map(|id| as_integer(id) as i32).collect(),
        None => (0..count).map(|i| first.wrapping_add(i as i32)).collect::<Vec<i32>>(),
    };
    if statement_ids.len() != count {
        return Err(Error::new(72, "Number of statement ids must match the number of batch entries"));
    }
    Ok(Batch {
        namespace,
        ordered: args.bool("ordered")?.unwrap_or(true),
        bypass_validation: args.flag("bypassDocumentValidation")?,
        variables: args.document_buf("let")?,
        statement_ids,
    })
}

impl Batch {
    fn with(self, writes: Vec<Write>) -> WriteBatch {
        let statements = writes
            .into_iter()
            .zip(self.statement_ids)
            .map(|(write, id)| Statement { namespace: 0, id, write })
            .collect();
        WriteBatch {
            namespaces: vec![self.namespace],
            statements,
            ordered: self.ordered,
            bypass_validation: self.bypass_validation,
            variables: self.variables,
        }
    }
}

pub async fn insert(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command(request.name, request.body.as_doc(), &declared("documents"))?;
    let documents = batch_documents(request, &args, "documents")?;
    let options = batch_options(request, &args, documents.len())?;
    ctx.server.counters.inserts.fetch_add(documents.len() as u64, Ordering::Relaxed);
    let batch = options.with(documents.into_iter().map(Write::Insert).collect());
    let report = write(ctx, request, batch).await?;
    let n: u64 = report.written().map(|(_, written)| written.n).sum();
    let mut reply = Reply::new().with("n", n as i32);
    finish(&mut reply, request, &report)?;
    Ok(reply)
}

pub async fn update(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command(request.name, request.body.as_doc(), &declared("updates"))?;
    let documents = batch_documents(request, &args, "updates")?;
    let options = batch_options(request, &args, documents.len())?;
    let writes: Vec<Write> =
        documents.iter().map(|doc| update_statement(doc.as_doc()).map(Write::Update)).collect::<Result<_>>()?;
    ctx.server.counters.updates.fetch_add(writes.len() as u64, Ordering::Relaxed);
    let report = write(ctx, request, options.with(writes)).await?;
    let n: u64 = report.written().map(|(_, written)| written.n).sum();
    let modified: u64 = report.written().map(|(_, written)| written.modified).sum();
    let mut reply = Reply::new().with("n", n as i32);
    if report.written().any(|(_, written)| written.upserted.is_some()) {
        reply.body.begin_array("upserted");
        for (i, (index, id)) in
            report.written().filter_map(|(index, w)| Some((index, w.upserted.as_ref()?))).enumerate()
        {
            reply.body.begin_document(&i.to_string());
            reply.body.i32("index", index as i32);
            reply.body.value("_id", id);
            reply.body.end();
        }
        reply.body.end();
    }
    reply.body.i32("nModified", modified as i32);
    finish(&mut reply, request, &report)?;
    Ok(reply)
}

pub async fn delete(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command(request.name, request.body.as_doc(), &declared("deletes"))?;
    let documents = batch_documents(request, &args, "deletes")?;
    let options = batch_options(request, &args, documents.len())?;
    let writes: Vec<Write> =
        documents.iter().map(|doc| delete_statement(doc.as_doc()).map(Write::Delete)).collect::<Result<_>>()?;
    ctx.server.counters.deletes.fetch_add(writes.len() as u64, Ordering::Relaxed);
    let report = write(ctx, request, options.with(writes)).await?;
    let n: u64 = report.written().map(|(_, written)| written.n).sum();
    let mut reply = Reply::new().with("n", n as i32);
    finish(&mut reply, request, &report)?;
    Ok(reply)
}

fn update_statement(doc: RawDoc<'_>) -> Result<UpdateStatement> {
    let fields = [
        "q",
        "u",
        "c",
        "multi",
        "upsert",
        "arrayFilters",
        "collation",
        "hint",
        "sort",
        "upsertSupplied",
        "sampleId",
        "allowShardKeyUpdatesWithoutFullShardKeyInQuery",
    ];
    let args = Args::nested("update.updates", doc, &fields)?;
    let filter = args.require_document("q")?.to_buf();
    let modification = modification(args.get("u").ok_or_else(|| args.missing("u"))?)?;
    let statement = UpdateStatement {
        filter,
        modification,
        multi: args.bool("multi")?.unwrap_or(false),
        upsert: args.bool("upsert")?.unwrap_or(false),
        array_filters: array_filters(&args)?,
        collation: args.document_buf("collation")?,
        hint: caller::hint(&args, "hint")?,
        sort: args.document_buf("sort")?,
        constants: args.document_buf("c")?,
    };
    if statement.multi && statement.sort.is_some() {
        return Err(Error::new(9, "Cannot specify sort with multi=true"));
    }
    Ok(statement)
}

/// `u`: a document, or an array of stages.
pub(super) fn modification(value: Raw<'_>) -> Result<Modification> {
    match value {
        Raw::Document(doc) => Ok(Modification::Document(doc.to_buf())),
        Raw::Array(stages) => {
            let stages: Result<Vec<DocBuf>> = stages
                .values()
                .map(|stage| match stage {
                    Raw::Document(stage) => Ok(stage.to_buf()),
                    _ => Err(Error::new(14, "Each element of the 'pipeline' array must be an object")),
                })
                .collect();
            Ok(Modification::Pipeline(stages?))
        }
        _ => Err(Error::new(9, "Update argument must be either an object or an array")),
    }
}

pub(super) fn array_filters(args: &Args<'_>) -> Result<Vec<DocBuf>> {
    Ok(args.documents("arrayFilters")?.unwrap_or_default().into_iter().map(RawDoc::to_buf).collect())
}

fn delete_statement(doc: RawDoc<'_>) -> Result<DeleteStatement> {
    let args = Args::nested("delete.deletes", doc, &["q", "limit", "collation", "hint", "sampleId"])?;
    let filter = args.require_document("q")?.to_buf();
    let limit = args.integer("limit")?.ok_or_else(|| args.missing("limit"))?;
    if !matches!(limit, 0 | 1) {
        return Err(Error::new(9, format!("The limit field in delete objects must be 0 or 1. Got {limit}")));
    }
    Ok(DeleteStatement {
        filter,
        multi: limit == 0,
        collation: args.document_buf("collation")?,
        hint: caller::hint(&args, "hint")?,
    })
}

/// Runs a batch, with the fail point for retryable writes around it.
pub(super) async fn write(ctx: &Context, request: &Request, batch: WriteBatch) -> Result<WriteReport> {
    let statements = batch.statements.len();
    before_transactional_write(ctx, request, statements)?;
    let report = ctx.server.engine.write(&caller(request), batch).await?;
    let made = report.written().count().saturating_sub(report.retried.len());
    after_transactional_write(ctx, request, made)?;
    if let Some((_, error)) = report.errors().find(|(_, error)| fails_the_command(request, error)) {
        return Err(error.clone());
    }
    Ok(report)
}

/// Errors that are the command's, not a statement's: the whole command is to be run again.
fn fails_the_command(request: &Request, error: &Error) -> bool {
    let in_transaction = request.generic.txn.in_transaction();
    match error.code() {
        225 | 251 | 256 | 91 | 50911 => true,
        112 => in_transaction,
        _ => false,
    }
}

fn before_transactional_write(ctx: &Context, request: &Request, writes: usize) -> Result<()> {
    if request.generic.txn.number.is_none() {
        return Ok(());
    }
    match ctx.server.fail_points.before_transactional_write(writes) {
        None => Ok(()),
        Some(failure) if failure.close_connection => {
            Err(Error::new(HANG_UP, "closing the connection for a fail point"))
        }
        Some(failure) => Err(Error::new(failure.code, "failing write for onPrimaryTransactionalWrite")),
    }
}

fn after_transactional_write(ctx: &Context, request: &Request, writes: usize) -> Result<()> {
    if request.generic.txn.number.is_some() && ctx.server.fail_points.after_transactional_write(writes) {
        return Err(Error::new(HANG_UP, "closing the connection for a fail point"));
    }
    Ok(())
}

/// Write errors, retried statements, time.
fn finish(reply: &mut Reply, request: &Request, report: &WriteReport) -> Result<()> {
    let acknowledged = !request.generic.write_concern.unacknowledged;
    if !acknowledged {
        // Nobody waits for the counts; the server answers without having looked at them.
        *reply = Reply::new().with("n", 0);
        return Ok(());
    }
    if report.errors().next().is_some() {
        reply.body.begin_array("writeErrors");
        for (i, (index, error)) in report.errors().enumerate() {
            write_error(&mut reply.body, &i.to_string(), index, error);
        }
        reply.body.end();
    }
    reply.operation_time = report.time;
    Ok(())
}

pub(super) fn write_error(body: &mut DocWriter, name: &str, index: usize, error: &Error) {
    body.begin_document(name);
    body.i32("index", index as i32);
    body.i32("code", error.code());
    for (field, value) in error.details().into_iter().flat_map(Doc::iter) {
        body.value(field, value);
    }
    body.str("errmsg", error.message());
    body.end();
}

pub async fn find_and_modify(ctx: &Context, request: &Request) -> Result<Reply> {
    let fields = [
        "query",
        "sort",
        "remove",
        "update",
        "new",
        "fields",
        "upsert",
        "bypassDocumentValidation",
        "collation",
        "arrayFilters",
        "hint",
        "let",
        "stmtId",
        "runtimeConstants",
        "legacyRuntimeConstants",
        "encryptionInformation",
        "sampleId",
        "isTimeseriesNamespace",
        "collectionUUID",
        "bypassEmptyTsReplacement",
    ];
    let args = Args::command(request.name, request.body.as_doc(), &fields)?;
    let namespace = names::collection(request)?;
    names::check_writable(&namespace)?;
    let remove = args.flag("remove")?;
    let update = args.get("update");
    let (new, upsert) = (args.flag("new")?, args.flag("upsert")?);
    if remove {
        if update.is_some() {
            return Err(Error::new(9, "Cannot specify both an 'update' and 'remove'=true"));
        }
        if upsert {
            return Err(Error::new(9, "Cannot specify both 'upsert'=true and 'remove'=true"));
        }
        if new {
            return Err(Error::new(
                9,
                "Cannot specify both 'new'=true and 'remove'=true; 'remove' always returns the deleted document",
            ));
        }
    } else if update.is_none() {
        return Err(Error::new(9, "Either an 'update' or 'remove'=true must be specified"));
    }
    let update = match update {
        None => None,
        Some(value @ (Raw::Document(_) | Raw::Array(_))) => Some(modification(value)?),
        Some(other) => return Err(wrong_type("findAndModify.update", other, "types '[object, array]'")),
    };
    let operation = FindAndModify {
        namespace,
        filter: args.document_or_empty("query")?,
        sort: args.document_buf("sort")?,
        modification: update,
        return_new: new,
        upsert,
        projection: args.document_buf("fields")?,
        array_filters: array_filters(&args)?,
        collation: args.document_buf("collation")?,
        hint: caller::hint(&args, "hint")?,
        variables: args.document_buf("let")?,
        bypass_validation: args.flag("bypassDocumentValidation")?,
        statement_id: args.integer("stmtId")?.unwrap_or(0) as i32,
    };
    before_transactional_write(ctx, request, 1)?;
    let modified = ctx.server.engine.find_and_modify(&caller(request), operation).await?;
    after_transactional_write(ctx, request, usize::from(!modified.retried))?;
    let mut reply = Reply::new().with("lastErrorObject", modified.last_error_object);
    match &modified.value {
        Some(value) => reply.body.doc("value", value.as_doc()),
        None => reply.body.null("value"),
    }
    reply.operation_time = modified.time;
    Ok(reply)
}
