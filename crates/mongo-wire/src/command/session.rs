//! Sessions and transactions.

use base::Uuid;
use document::{Doc, Raw, RawDoc, Value};
use engine::{Error, Result};

use super::args::Args;
use super::caller::caller;
use super::generic::parse_lsid;
use super::{Context, Request};
use crate::reply::Reply;

fn session_list(request: &Request) -> Result<Vec<Uuid>> {
    let first = request.body.iter().next().map(|(_, value)| value);
    match first {
        Some(Raw::Array(list)) => list.values().map(parse_lsid).collect(),
        Some(other) => Err(super::args::wrong_type(&format!("{0}.{0}", request.name), other, "type 'array'")),
        None => Err(Error::new(40414, format!("BSON field '{0}.{0}' is missing but a required field", request.name))),
    }
}

pub fn start_session(ctx: &Context, request: &Request) -> Result<Reply> {
    Args::command("startSession", request.body.as_doc(), &[])?;
    let lsid = Uuid::random();
    ctx.server.engine.sessions().touch(lsid);
    Ok(Reply::new().with("id", Doc::new().with("id", lsid)).with("timeoutMinutes", 30))
}

pub fn refresh_sessions(ctx: &Context, request: &Request) -> Result<Reply> {
    for lsid in session_list(request)? {
        ctx.server.engine.sessions().touch(lsid);
    }
    Ok(Reply::new())
}

/// `endSessions`, `killSessions`: the transactions and cursors of these sessions end.
pub fn end_sessions(ctx: &Context, request: &Request) -> Result<Reply> {
    let sessions = session_list(request)?;
    for lsid in &sessions {
        ctx.server.engine.sessions().end(*lsid);
    }
    if !sessions.is_empty() {
        ctx.server.cursors.kill_where(|owner| owner.lsid.is_some_and(|lsid| sessions.contains(&lsid)));
    }
    Ok(Reply::new())
}

/// `killSessions` with an empty list, `killAllSessions`.
pub fn kill_all_sessions(ctx: &Context, request: &Request) -> Result<Reply> {
    if !matches!(request.body.iter().next(), Some((_, Raw::Array(_)))) {
        return Err(Error::new(
            14,
            format!("BSON field '{0}.{0}' is the wrong type, expected type 'array'", request.name),
        ));
    }
    ctx.server.engine.sessions().end_all();
    ctx.server.cursors.kill_where(|owner| owner.lsid.is_some());
    Ok(Reply::new())
}

pub async fn commit(ctx: &Context, request: &Request) -> Result<Reply> {
    Args::command(
        "commitTransaction",
        request.body.as_doc(),
        &["commitTimestamp", "durableTimestamp", "recoveryToken"],
    )?;
    need_transaction(request)?;
    let time = ctx.server.engine.commit_transaction(&caller(request)).await?;
    end_cursors(ctx, request);
    Ok(Reply { operation_time: time, ..Reply::new() })
}

pub fn abort(ctx: &Context, request: &Request) -> Result<Reply> {
    Args::command("abortTransaction", request.body.as_doc(), &["recoveryToken"])?;
    need_transaction(request)?;
    ctx.server.engine.abort_transaction(&caller(request))?;
    end_cursors(ctx, request);
    Ok(Reply::new())
}

fn need_transaction(request: &Request) -> Result<()> {
    if request.generic.txn.number.is_none() || !request.generic.txn.in_transaction() {
        return Err(Error::new(50768, format!("{} must be run within a transaction", request.name)));
    }
    Ok(())
}

fn end_cursors(ctx: &Context, request: &Request) {
    let (lsid, number) = (request.generic.lsid, request.generic.txn.number);
    ctx.server
        .cursors
        .kill_where(|owner| owner.txn_number.is_some() && owner.txn_number == number && owner.lsid == lsid);
}

/// `changeStreamOptions` is the one cluster parameter there is.
pub async fn set_cluster_parameter(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("setClusterParameter", request.body.as_doc(), &[])?;
    let (name, value) = one_field(args.require_document("setClusterParameter")?)?;
    if name != "changeStreamOptions" {
        return Err(Error::new(4, format!("no cluster parameter named '{name}'")));
    }
    let Raw::Document(spec) = value else {
        return Err(Error::new(14, "changeStreamOptions must be an object"));
    };
    ctx.server.engine.set_image_expiry(parse_expiry(spec)?).await?;
    Ok(Reply::new())
}

fn one_field(doc: RawDoc<'_>) -> Result<(&str, Raw<'_>)> {
    let mut fields = doc.iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => Ok(field),
        _ => Err(Error::new(9, "Cluster parameter must be a document with exactly one field")),
    }
}

fn parse_expiry(spec: RawDoc<'_>) -> Result<Option<i64>> {
    let args = Args::nested("changeStreamOptions", spec, &["preAndPostImages"])?;
    let images = args.document("preAndPostImages")?.ok_or_else(|| Error::new(2, "Expected preAndPostImages option"))?;
    let images = Args::nested("changeStreamOptions.preAndPostImages", images, &["expireAfterSeconds"])?;
    match images.get("expireAfterSeconds") {
        Some(Raw::String("off")) => Ok(None),
        Some(number) if number.is_number() => match super::args::as_integer(number) {
            seconds if seconds > 0 => Ok(Some(seconds)),
            _ => Err(Error::new(2, "Expected a positive integer for 'expireAfterSeconds' parameter")),
        },
        Some(Raw::String(_)) => Err(Error::new(
            2,
            "Expected either a positive integer or the string \"off\" for 'expireAfterSeconds' parameter",
        )),
        Some(other) => Err(super::args::wrong_type("expireAfterSeconds", other, "types '[string, long]'")),
        None => Err(Error::new(2, "Expected 'expireAfterSeconds' option")),
    }
}

pub fn get_cluster_parameter(ctx: &Context, request: &Request) -> Result<Reply> {
    let known = match request.body.iter().next().map(|(_, value)| value) {
        Some(Raw::String("*" | "changeStreamOptions")) => true,
        Some(Raw::Array(names)) => names.values().all(|name| name.as_str() == Some("changeStreamOptions")),
        Some(Raw::String(_)) => false,
        _ => return Err(Error::new(14, "getClusterParameter takes a name or an array of names")),
    };
    if !known {
        return Err(Error::new(4, "no such cluster parameter"));
    }
    let expiry = match ctx.server.engine.image_expiry()? {
        None => Value::from("off"),
        Some(seconds) => Value::Int64(seconds),
    };
    let options = Doc::new()
        .with("_id", "changeStreamOptions")
        .with("preAndPostImages", Doc::new().with("expireAfterSeconds", expiry));
    Ok(Reply::new().with("clusterParameters", vec![Value::Document(options)]))
}
