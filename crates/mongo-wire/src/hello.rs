//! `hello` and its older spelling `isMaster`: what drivers learn about this server.
//!
//! The server is the primary of a one-member replica set, because drivers offer change streams,
//! sessions, retryable writes and transactions to nothing less.

use std::net::SocketAddr;
use std::time::Duration;

use base::limits::{MAX_DOCUMENT, MAX_MESSAGE, MAX_WRITE_BATCH_COUNT};
use document::{Doc, Raw, Value};
use engine::{Error, Result};

use crate::command::Context;
use crate::reply::Reply;

pub const SET_NAME: &str = "rs0";
const SESSION_TIMEOUT_MINUTES: i32 = 30;
/// Longest wait that an awaiting client may ask for.
const MAX_AWAIT: Duration = Duration::from_secs(600);

/// Identity of one run of the server.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    pub process_id: [u8; 12],
    pub election_id: [u8; 12],
}

/// `host:port` under which this end of the connection was reached. A server bound to all
/// addresses is known by the one that the client dialled.
pub fn address(local: SocketAddr) -> String {
    local.to_string()
}

/// The command. `legacy` is the spelling with `ismaster`.
pub async fn run(ctx: &Context, body: document::RawDoc<'_>, legacy: bool) -> Result<Reply> {
    if let Some(client) = body.get("client") {
        remember_client(ctx, client)?;
    }
    if let Some(wait) = awaited(ctx, body)? {
        ctx.wait(wait).await?;
    }
    let mut reply = Doc::new();
    if body.contains("helloOk") || !legacy {
        reply.push("helloOk", true);
    }
    reply.push("topologyVersion", topology_version(ctx));
    let identity =
        match ctx.server.engine.source() {
            None => None,
            Some(_) => Some(crate::front::identity(ctx).ok_or_else(|| {
                Error::unavailable("the source has not been reached yet, so it is not known what it is")
            })?),
        };
    let told = |name: &str| identity.as_ref().and_then(|hello| hello.get(name)).map(|value| value.to_value());
    match &identity {
        // A router is no member of a set, and clients must not take it for one.
        Some(hello) if hello.get("msg").is_some() => reply.push("msg", "isdbgrid"),
        _ => {
            reply.push("hosts", vec![Value::from(ctx.address())]);
            reply.push("setName", told("setName").unwrap_or_else(|| SET_NAME.into()));
            reply.push("setVersion", told("setVersion").unwrap_or(Value::Int32(1)));
        }
    }
    reply.push(if legacy { "ismaster" } else { "isWritablePrimary" }, true);
    reply.push("secondary", false);
    reply.push("primary", ctx.address());
    reply.push("me", ctx.address());
    reply.push("electionId", Value::ObjectId(ctx.server.topology.election_id));
    reply.push("lastWrite", last_write(ctx));
    reply.push("maxBsonObjectSize", MAX_DOCUMENT as i32);
    reply.push("maxMessageSizeBytes", MAX_MESSAGE as i32);
    reply.push("maxWriteBatchSize", MAX_WRITE_BATCH_COUNT as i32);
    reply.push("localTime", Value::Date(ctx.server.engine.clock().now_ms()));
    reply.push("logicalSessionTimeoutMinutes", SESSION_TIMEOUT_MINUTES);
    reply.push("connectionId", ctx.peer.id as i32);
    reply.push("minWireVersion", told("minWireVersion").unwrap_or(Value::Int32(0)));
    reply.push("maxWireVersion", told("maxWireVersion").unwrap_or(Value::Int32(ctx.server.version.get().wire)));
    reply.push("readOnly", false);
    // What is passed on to a source is passed as it came, so it may not come compressed.
    if identity.is_none() && offers_zlib(body) {
        reply.push("compression", vec![Value::from("zlib")]);
    }
    crate::login::hello(ctx, body, &mut reply);
    Ok(reply.into())
}

fn offers_zlib(body: document::RawDoc<'_>) -> bool {
    body.get("compression")
        .and_then(Raw::as_array)
        .is_some_and(|names| names.values().any(|name| name.as_str() == Some("zlib")))
}

fn topology_version(ctx: &Context) -> Doc {
    Doc::new().with("processId", Value::ObjectId(ctx.server.topology.process_id)).with("counter", 6i64)
}

fn last_write(ctx: &Context) -> Doc {
    let time = ctx.server.engine.applied_time();
    let at = Doc::new().with("ts", time).with("t", 1i64);
    let date = Value::Date(i64::from(time.seconds()) * 1000);
    Doc::new()
        .with("opTime", at.clone())
        .with("lastWriteDate", date.clone())
        .with("majorityOpTime", at)
        .with("majorityWriteDate", date)
}

/// How long to hold the reply: only a client that knows this topology waits for a change of it.
fn awaited(ctx: &Context, body: document::RawDoc<'_>) -> Result<Option<Duration>> {
    let wait = match body.get("maxAwaitTimeMS") {
        None => None,
        Some(number) if number.is_number() => Some(number.as_whole().unwrap_or(0)),
        Some(other) => {
            return Err(crate::command::args::wrong_type(
                "hello.maxAwaitTimeMS",
                other,
                "types '[long, int, decimal, double]'",
            ));
        }
    };
    let version = match body.get("topologyVersion") {
        None | Some(Raw::Null) => None,
        Some(Raw::Document(version)) => Some(version),
        Some(other) => return Err(crate::command::args::wrong_type("hello.topologyVersion", other, "type 'object'")),
    };
    match (version, wait) {
        (None, None) => Ok(None),
        (Some(version), Some(wait)) => {
            if wait < 0 {
                return Err(Error::new(31373, "maxAwaitTimeMS must be a non-negative integer"));
            }
            let same = version.get("processId") == Some(Raw::ObjectId(ctx.server.topology.process_id))
                && version.get("counter").and_then(Raw::as_whole) == Some(6);
            Ok(same.then(|| Duration::from_millis(wait.unsigned_abs()).min(MAX_AWAIT)))
        }
        _ => Err(Error::new(31368, "A request with a 'topologyVersion' must include 'maxAwaitTimeMS'")),
    }
}

fn remember_client(ctx: &Context, client: Raw<'_>) -> Result<()> {
    let Raw::Document(client) = client else {
        return Err(crate::command::args::wrong_type("hello.client", client, "type 'object'"));
    };
    let name = client.get("application").and_then(Raw::as_document).and_then(|app| app.get("name"));
    if let Some(name) = name.and_then(Raw::as_str) {
        if name.len() > 128 {
            return Err(Error::new(
                46_701,
                "The 'name' field of the application document must be a string of at most 128 bytes",
            ));
        }
        // The metadata of a connection never changes; a second handshake is ignored.
        let _ = ctx.peer.app_name.set(name.to_owned());
    }
    Ok(())
}
