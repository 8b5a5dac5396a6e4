//! explain: how a read or write would be executed.

use std::sync::atomic::AtomicBool;

use document::{Doc, DocBuf, Raw, RawDoc};
use engine::documents::{Aggregate, Explained, check_verbosity};
use engine::{Error, Result};

use super::args::Args;
use super::caller::{self, caller};
use super::{Context, Request, names, query, table};
use crate::reply::Reply;

pub async fn explain(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("explain", request.body.as_doc(), &["verbosity"])?;
    let verbosity = args.string("verbosity")?.unwrap_or("allPlansExecution");
    let run = check_verbosity(verbosity)?;
    let inner = args.document("explain")?.ok_or_else(|| args.missing("explain"))?;
    let name = inner.iter().next().map_or("", |(name, _)| name);
    let Some(spec) = table::find(name) else {
        return Err(Error::new(59, format!("Explain failed due to unknown command: {name}")));
    };
    let inner_request = Request {
        name: spec.name,
        db: request.db.clone(),
        body: inner.to_buf(),
        sequences: Vec::new(),
        generic: request.generic.clone(),
        reads_change_stream: AtomicBool::new(false),
    };
    let what = explained(&inner_request)?;
    reply(ctx, request, &what, run, inner)
}

/// `aggregate` with `explain: true`.
pub fn aggregate(ctx: &Context, request: &Request, aggregate: Aggregate) -> Result<Reply> {
    reply(ctx, request, &Explained::Aggregate(aggregate), false, request.body.as_doc())
}

fn reply(ctx: &Context, request: &Request, what: &Explained, run: bool, command: RawDoc<'_>) -> Result<Reply> {
    let explained = ctx.server.engine.explain(&caller(request), what, run)?;
    let mut command = command.to_doc();
    if !command.contains("$db") {
        command.push("$db", request.db.as_str());
    }
    let address = ctx.address();
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, "0"));
    let server = Doc::new()
        .with("host", host)
        .with("port", port.parse::<i32>().unwrap_or(0))
        .with("version", ctx.server.version.get().name)
        .with("gitVersion", "");
    let mut reply = Reply::from(explained).with("command", command);
    reply = reply.with("serverInfo", server);
    Ok(reply)
}

fn explained(request: &Request) -> Result<Explained> {
    match request.name {
        "find" => Ok(Explained::Find(query::parse_find(request)?.find)),
        "count" => Ok(Explained::Count(query::parse_count(request)?)),
        "distinct" => Ok(Explained::Distinct(query::parse_distinct(request)?)),
        "aggregate" => Ok(Explained::Aggregate(query::parse_aggregate(request, false)?.aggregate)),
        "update" => statement(request, "updates", "UPDATE"),
        "delete" => statement(request, "deletes", "DELETE"),
        "findAndModify" => {
            let args = Args::unchecked("findAndModify", request.body.as_doc());
            let stage = if args.flag("remove")? { "DELETE" } else { "UPDATE" };
            Ok(Explained::Write {
                namespace: names::collection(request)?,
                filter: args.document_or_empty("query")?,
                hint: caller::hint(&args, "hint")?,
                collation: args.document_buf("collation")?,
                stage,
            })
        }
        other => Err(Error::new(59, format!("Explain failed due to unknown command: {other}"))),
    }
}

fn statement(request: &Request, field: &str, stage: &'static str) -> Result<Explained> {
    let args = Args::unchecked(request.name, request.body.as_doc());
    let statements = args.documents(field)?.ok_or_else(|| args.missing(field))?;
    let [only] = statements.as_slice() else {
        return Err(Error::new(16, "explained write batches must be of size 1"));
    };
    let only = Args::unchecked(&format!("{}.{field}", request.name), *only);
    let filter: DocBuf = match only.get("q") {
        Some(Raw::Document(filter)) => filter.to_buf(),
        _ => return Err(only.missing("q")),
    };
    Ok(Explained::Write {
        namespace: names::collection(request)?,
        filter,
        hint: caller::hint(&only, "hint")?,
        collation: only.document_buf("collation")?,
        stage,
    })
}
