//! The front of a deployment: with a source, change streams are read from the captured log, and every
//! other command passes through to the deployment.
//!
//! ```text
//!   client ── hello ──────────────── answered here, with what the deployment says of itself
//!          ── $changeStream ──────── from the captured log: any number of them, one cursor there
//!          ── getMore, killCursors ─ here if the cursor is ours
//!          ── everything else ────── byte for byte, over a connection of the client's own
//! ```
//! A client's connection to the deployment is opened with its first command that needs it, so one
//! that only watches costs the deployment nothing. Logging in passes through on that connection, and
//! the deployment decides what the client may do; of a change stream it is asked by opening one
//! there and closing it at once.
//!
//! # Not here
//! Clients' certificates: a login with one (X.509) is a proof to the other end of a connection, and cannot be
//! passed on (`docs/operations.md`).

mod link;
mod rewrite;
mod tls;

use std::sync::Arc;

use bytes::Bytes;
use document::{Doc, DocBuf, Raw, RawDoc, Value};
use engine::{Error, Result};

pub use link::Link;
pub use tls::Connector;

use crate::codec::{self, Command, Incoming, ReplyFrame};
use crate::command::Context;

/// Where a message goes.
#[derive(Debug)]
pub enum Route {
    /// Runs here, perhaps in another form.
    Here(Command),
    /// Goes to the deployment as it came.
    There,
}

/// Decides where a command goes.
///
/// # Errors
/// What the deployment says of a change stream that the client may not open.
pub async fn route(ctx: &Context, link: &mut Link, command: Command) -> Result<Route> {
    let body = command.body.as_doc();
    let Some((name, first)) = body.iter().next() else { return Ok(Route::There) };
    match name {
        "hello" | "isMaster" | "ismaster" if !logs_in(body) => Ok(Route::Here(command)),
        "getMore" if first.as_whole().is_some_and(|id| ctx.server.cursors.has(id)) => Ok(Route::Here(command)),
        "killCursors" if closes_ours(ctx, body) => Ok(Route::Here(command)),
        "aggregate" if is_change_stream(body) => watch(ctx, link, command).await,
        _ => Ok(Route::There),
    }
}

/// A handshake that begins to log in, or asks how to.
pub fn logs_in(body: RawDoc<'_>) -> bool {
    body.contains("speculativeAuthenticate") || body.contains("saslSupportedMechs")
}

fn closes_ours(ctx: &Context, body: RawDoc<'_>) -> bool {
    let cursors = body.get("cursors").and_then(Raw::as_array);
    cursors.is_some_and(|ids| ids.values().filter_map(Raw::as_whole).any(|id| ctx.server.cursors.has(id)))
}

fn stage(body: RawDoc<'_>) -> Option<RawDoc<'_>> {
    let first = body.get("pipeline").and_then(Raw::as_array)?.values().next()?;
    first.as_document()?.get("$changeStream")?.as_document()
}

fn is_change_stream(body: RawDoc<'_>) -> bool {
    stage(body).is_some() && !body.contains("explain")
}

/// A change stream is ours to serve if its events are captured and its beginning is in the log.
async fn watch(ctx: &Context, link: &mut Link, command: Command) -> Result<Route> {
    let body = command.body.as_doc();
    let (Some(source), Some(stage)) = (ctx.server.engine.source(), stage(body)) else { return Ok(Route::There) };
    let (db, collection) = scope(body, stage);
    if !source.serves_clients() || !source.covers(db, collection) {
        return Ok(Route::There);
    }
    let start = ["resumeAfter", "startAfter", "startAtOperationTime"].into_iter().find(|name| stage.contains(name));
    if start.is_some() && !ctx.server.engine.can_watch_from(stage) {
        // Before what is captured: perhaps the deployment still has it.
        return Ok(Route::There);
    }
    if source.asks_for_login() {
        check_permission(ctx, link, &command).await?;
    }
    let present = match start {
        Some(_) => None,
        // What is written from now on, also where the captured log is behind.
        None => match source.present().await {
            Ok(time) => Some(time.next()),
            Err(problem) => return Err(Error::unavailable(problem)),
        },
    };
    let body = rewrite::watch(&command.body, present);
    Ok(Route::Here(Command { body, ..command }))
}

/// The namespace that a change stream watches; no database is the whole deployment.
fn scope<'a>(body: RawDoc<'a>, stage: RawDoc<'_>) -> (Option<&'a str>, Option<&'a str>) {
    if stage.get("allChangesForCluster").and_then(Raw::as_bool).unwrap_or(false) {
        return (None, None);
    }
    let db = body.get("$db").and_then(Raw::as_str);
    (Some(db.unwrap_or_default()), body.get("aggregate").and_then(Raw::as_str))
}

/// Asks the deployment, as the client, for such a change stream, and closes it.
async fn check_permission(ctx: &Context, link: &mut Link, command: &Command) -> Result<()> {
    let reply = link.ask(ctx, &rewrite::trial(&command.body)).await?;
    let reply = reply.as_doc();
    if !succeeded(reply) {
        let code = reply.get("code").and_then(Raw::as_whole).unwrap_or(8);
        let message = reply.get("errmsg").and_then(Raw::as_str).unwrap_or("the deployment refused");
        return Err(Error::new(i32::try_from(code).unwrap_or(8), message));
    }
    let Some(cursor) = reply.get("cursor").and_then(Raw::as_document) else { return Ok(()) };
    let (Some(Raw::Int64(id)), Some(ns)) = (cursor.get("id"), cursor.get("ns").and_then(Raw::as_str)) else {
        return Ok(());
    };
    let (db, collection) = ns.split_once('.').unwrap_or((ns, ""));
    let mut kill = Doc::new().with("killCursors", collection).with("cursors", vec![Value::Int64(id)]).with("$db", db);
    if let Some(lsid) = command.body.get("lsid") {
        kill.push("lsid", lsid.to_value());
    }
    link.ask(ctx, &kill.to_buf()).await.map(|_| ())
}

fn succeeded(reply: RawDoc<'_>) -> bool {
    match reply.get("ok") {
        Some(Raw::Double(ok)) => ok == 1.0,
        Some(other) => other.as_whole() == Some(1),
        None => false,
    }
}

/// A handshake's answer as the client must see it: this address is all there is.
pub fn rewrite_reply(ctx: &Context, reply: &Bytes) -> Option<Vec<u8>> {
    let header = codec::decode_header(reply.first_chunk()?).ok()?;
    let frame = ReplyFrame { request_id: header.request_id, response_to: header.response_to, ..ReplyFrame::default() };
    let rewritten = |body: &DocBuf| rewrite::hello(body, &ctx.address(), ctx.server.topology.process_id);
    match header.opcode {
        codec::OP_REPLY => {
            let body = DocBuf::validate(reply.get(OP_REPLY_BODY..).map(Bytes::copy_from_slice)?).ok()?;
            Some(codec::encode_reply(frame, &rewritten(&body)))
        }
        _ => match codec::decode(header, reply.clone()).ok()? {
            Incoming::Command(command) => Some(codec::encode_msg(frame, &rewritten(&command.body))),
            Incoming::Query(_) => None,
        },
    }
}

/// Where OP_REPLY's document begins.
const OP_REPLY_BODY: usize = codec::HEADER_LEN + 20;

/// What the deployment says of itself, for a handshake that is answered here.
pub fn identity(ctx: &Context) -> Option<Arc<DocBuf>> {
    ctx.server.engine.source().and_then(engine::Source::hello)
}
