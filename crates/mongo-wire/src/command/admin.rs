//! Server-wide commands: parameters and fail points.

use std::sync::atomic::Ordering;

use document::{Doc, DocBuf, DocWriter, Raw, Value};
use engine::documents::{Aggregate, Caller, Origin};
use engine::{BatchLimit, Error, Result};

use super::args::{self, Args};
use super::{Context, Request};
use crate::reply::Reply;

/// Parameters that clients and test suites ask for, with this server's answers.
fn parameters(ctx: &Context) -> Doc {
    let cursors = &ctx.server.cursors;
    let users = ctx.server.engine.options().users.is_some();
    let mechanisms = if users { vec![Value::from(engine::users::scram::MECHANISM)] } else { Vec::new() };
    let fcv = Doc::new().with("version", "8.0");
    Doc::new()
        .with("enableTestCommands", ctx.server.engine.options().enable_test_commands)
        .with("featureCompatibilityVersion", fcv)
        .with("authenticationMechanisms", mechanisms)
        .with("requireApiVersion", false)
        .with("transactionLifetimeLimitSeconds", whole(ctx.server.engine.sessions().transaction_lifetime_seconds()))
        .with("cursorTimeoutMillis", whole(cursors.timeout_ms.load(Ordering::Relaxed)))
        .with("clientCursorMonitorFrequencySecs", 1)
        .with("enableTimeoutOfInactiveSessionCursors", cursors.also_of_sessions.load(Ordering::Relaxed))
        .with("localLogicalSessionTimeoutMinutes", 30)
        .with("notablescan", false)
        .with("logLevel", 0)
        .with("ttlMonitorEnabled", true)
        .with("maxTransactionLockRequestTimeoutMillis", 5)
        .with("internalQueryMaxBlockingSortMemoryUsageBytes", 104_857_600i64)
}

/// As an `int` where it fits.
fn whole(n: i64) -> Value {
    i32::try_from(n).map_or(Value::Int64(n), Value::Int32)
}

/// Parameters that mean something here.
fn is_setting(name: &str) -> bool {
    matches!(name, "transactionLifetimeLimitSeconds" | "cursorTimeoutMillis" | "enableTimeoutOfInactiveSessionCursors")
}

fn set(ctx: &Context, name: &str, value: Raw<'_>) -> Result<()> {
    let cursors = &ctx.server.cursors;
    if name == "enableTimeoutOfInactiveSessionCursors" {
        let on = match value {
            Raw::Bool(on) => on,
            other => return Err(args::wrong_type(name, other, "type 'bool'")),
        };
        cursors.also_of_sessions.store(on, Ordering::Relaxed);
        return Ok(());
    }
    if !value.is_number() {
        return Err(args::wrong_type(name, value, "types '[long, int, decimal, double]'"));
    }
    let number = args::as_integer(value);
    if number < 1 {
        let message = format!("Invalid value for parameter {name}: {number} is not greater than or equal to 1");
        return Err(Error::new(2, message));
    }
    match name {
        "cursorTimeoutMillis" => cursors.timeout_ms.store(number, Ordering::Relaxed),
        _ => ctx.server.engine.sessions().set_transaction_lifetime_seconds(number),
    }
    Ok(())
}

pub fn get_parameter(ctx: &Context, request: &Request) -> Result<Reply> {
    let all = parameters(ctx);
    let body = request.body.as_doc();
    let first = body.iter().next().map(|(_, value)| value);
    let everything = match first {
        Some(Raw::String("*")) => true,
        Some(Raw::Document(options)) => options.get("allParameters").and_then(Raw::as_bool).unwrap_or(false),
        _ => false,
    };
    if everything {
        return Ok(all.into());
    }
    let mut found = Doc::new();
    for (name, _) in body.iter().skip(1) {
        if let Some(value) = all.get(name) {
            found.push(name, value.clone());
        }
    }
    if found.is_empty() {
        // The server's reply to this has no code.
        let reply = Reply { not_ok: true, ..Reply::new() };
        return Ok(reply.with("errmsg", "no option found to get"));
    }
    Ok(found.into())
}

/// Parameters that may be set without effect here, because what they tune does not exist.
const ACCEPTED: &[&str] = &["logLevel", "notablescan", "ttlMonitorEnabled", "clientCursorMonitorFrequencySecs"];

pub fn set_parameter(ctx: &Context, request: &Request) -> Result<Reply> {
    let given: Vec<(&str, Raw<'_>)> = request
        .body
        .iter()
        .skip(1)
        .filter(|(name, _)| {
            !name.starts_with('$')
                && !matches!(*name, "lsid" | "comment" | "writeConcern" | "readConcern" | "apiVersion")
        })
        .collect();
    match given.as_slice() {
        [] => Err(Error::new(72, "no option found to set, use help:true to see options ")),
        [("reportedVersion", Raw::String(version))] if ctx.server.engine.options().enable_test_commands => {
            ctx.server.version.set(version)?;
            Ok(Reply::new().with("was", Value::Null))
        }
        [(name, value)] if is_setting(name) => {
            let was = parameters(ctx).get(name).cloned().unwrap_or(Value::Null);
            set(ctx, name, *value)?;
            Ok(Reply::new().with("was", was))
        }
        [(name, _)] if ACCEPTED.contains(name) => Ok(Reply::new()),
        [(name, _), ..] => Err(Error::new(
            72,
            format!("attempted to set unrecognized parameter [{name}], use help:true to see options "),
        )),
    }
}

/// The running commands that match the fields of the command.
pub async fn current_op(ctx: &Context, request: &Request) -> Result<Reply> {
    let mut filter = DocWriter::new();
    for (name, value) in request.body.iter().skip(1) {
        if !args::is_generic(name) && !matches!(name, "$all" | "$ownOps" | "$truncateOps") {
            filter.raw(name, value);
        }
    }
    let stage = |name: &str, spec: DocBuf| Doc::new().with(name, spec).to_buf();
    let pipeline = vec![stage("$currentOp", DocBuf::default()), stage("$match", filter.finish())];
    let aggregate = Aggregate::new(Origin::Database("admin".to_owned()), pipeline);
    let mut opened = ctx.server.engine.aggregate(&Caller::default(), aggregate).await?;
    let everything = BatchLimit { documents: usize::MAX, bytes: base::limits::MAX_DOCUMENT };
    let batch = opened.cursor.next_batch(everything, None).await?;
    let running: Vec<Value> = batch.documents.iter().map(|document| Value::Document(document.to_doc())).collect();
    Ok(Reply::new().with("inprog", running))
}

pub fn kill_op(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command(request.name, request.body.as_doc(), &["op"])?;
    let id = args.integer("op")?.ok_or_else(|| args.missing("op"))?;
    let id = i32::try_from(id).map_err(|_| Error::new(2, format!("invalid op : {id}")))?;
    ctx.server.engine.operations().kill(id);
    Ok(Reply::new().with("info", "attempting to kill op"))
}

pub fn configure_fail_point(ctx: &Context, request: &Request) -> Result<Reply> {
    if !ctx.server.engine.options().enable_test_commands {
        return Err(Error::new(59, "no such command: 'configureFailPoint'"));
    }
    let args = Args::command(request.name, request.body.as_doc(), &["mode", "data", "sync"])?;
    let name = args.require_string("configureFailPoint")?;
    let mode = args.get("mode").ok_or_else(|| args.missing("mode"))?;
    let count = ctx.server.fail_points.configure(name, mode, args.document("data")?)?;
    Ok(Reply::new().with("count", count as i32))
}
