//! Logging in with SCRAM-SHA-256, and what a client may do: for a server with users.
//!
//! ```text
//!   hello {speculativeAuthenticate: {saslStart …}} ─┐
//!   saslStart ──────────────────────────────────────┴─> Begun ── saslContinue ──> Done ── logout ──> None
//! ```
//! Without users everybody is `root`.
//!
//! # Not here
//! Checking a proof (`engine::users`); logins at a deployment, which pass through (`front.rs`).

use std::sync::Arc;

use document::{Doc, Raw, RawDoc, Value};
use engine::users::scram::{Exchange, MECHANISM};
use engine::users::{Role, User};
use engine::{Error, Result};
use parking_lot::Mutex;

use crate::command::{Context, Request};
use crate::reply::Reply;

const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
const MECHANISM_UNAVAILABLE: i32 = 334;
/// A connection has one login at a time.
const CONVERSATION: i32 = 1;

/// How far a connection's login has come.
#[derive(Debug, Default)]
pub struct Login(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Nobody,
    Begun {
        exchange: Exchange,
        /// The client does without the empty message at the end.
        short: bool,
    },
    /// The proof was good; the client still sends its empty message.
    Proven(Arc<User>),
    Done(Arc<User>),
}

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: part of connecting.
    Nothing,
    Role(Role),
}

impl Login {
    pub fn user(&self) -> Option<Arc<User>> {
        match &*self.0.lock() {
            State::Done(user) => Some(Arc::clone(user)),
            _ => None,
        }
    }
}

/// May the client run this command?
///
/// # Errors
/// 13, in the reference server's words.
pub fn check(ctx: &Context, request: &Request, need: Need) -> Result<()> {
    let (Some(_), Need::Role(role)) = (&ctx.server.engine.options().users, need) else { return Ok(()) };
    match ctx.peer.login.user() {
        None => Err(Error::new(UNAUTHORIZED, format!("Command {} requires authentication", request.name))),
        Some(user) if user.role < role => {
            let message = format!(
                "not authorized on {} to execute command {}: user \"{}\" has the role \"{}\", and this needs \"{}\"",
                request.db,
                request.name,
                user.name,
                user.role.as_str(),
                role.as_str()
            );
            Err(Error::new(UNAUTHORIZED, message))
        }
        Some(_) => Ok(()),
    }
}

/// What a handshake's answer says of logging in.
pub fn hello(ctx: &Context, body: RawDoc<'_>, reply: &mut Doc) {
    let Some(users) = &ctx.server.engine.options().users else { return };
    if let Some(asked) = body.get("saslSupportedMechs").and_then(Raw::as_str) {
        let name = asked.split_once('.').map_or(asked, |(_, name)| name);
        if users.find(name).is_some() {
            reply.push("saslSupportedMechs", vec![Value::from(MECHANISM)]);
        }
    }
    // One that fails is left out, and the client begins again in the ordinary way.
    if let Some(begun) = body.get("speculativeAuthenticate").and_then(Raw::as_document)
        && begun.contains("saslStart")
        && let Ok(answer) = begin(ctx, begun)
    {
        reply.push("speculativeAuthenticate", answer);
    }
}

/// The command `saslStart`.
pub fn sasl_start(ctx: &Context, request: &Request) -> Result<Reply> {
    begin(ctx, request.body.as_doc()).map(Reply::from)
}

fn begin(ctx: &Context, body: RawDoc<'_>) -> Result<Doc> {
    let users = users(ctx)?;
    let mechanism = body.get("mechanism").and_then(Raw::as_str).unwrap_or_default();
    if mechanism != MECHANISM {
        let message = format!("Received authentication for mechanism {mechanism} which is not enabled; {MECHANISM} is");
        return Err(Error::new(MECHANISM_UNAVAILABLE, message));
    }
    let options = body.get("options").and_then(Raw::as_document).unwrap_or(RawDoc::EMPTY);
    let short = options.get("skipEmptyExchange").and_then(Raw::as_bool).unwrap_or(false);
    let begun = Exchange::begin(payload(body)?, None, |name| users.verifier(name));
    let (exchange, answer) = begun.map_err(|_| failed())?;
    *ctx.peer.login.0.lock() = State::Begun { exchange, short };
    Ok(conversation(false, answer))
}

/// The command `saslContinue`.
pub fn sasl_continue(ctx: &Context, request: &Request) -> Result<Reply> {
    let users = users(ctx)?;
    let body = request.body.as_doc();
    let payload = payload(body)?;
    let mut state = ctx.peer.login.0.lock();
    match std::mem::take(&mut *state) {
        State::Begun { exchange, short } => {
            let signature = exchange.finish(payload).map_err(|_| {
                tracing::warn!(user = exchange.user, client = %ctx.peer.remote, "a login was refused");
                failed()
            })?;
            let user = users.find(&exchange.user).cloned().ok_or_else(failed)?;
            *state = if short { State::Done(user) } else { State::Proven(user) };
            Ok(conversation(short, signature).into())
        }
        State::Proven(user) if payload.is_empty() => {
            *state = State::Done(user);
            Ok(conversation(true, String::new()).into())
        }
        State::Nobody | State::Proven(_) | State::Done(_) => Err(Error::new(17, "No SASL session state found")),
    }
}

/// The command `logout`.
pub fn logout(ctx: &Context) -> Reply {
    *ctx.peer.login.0.lock() = State::Nobody;
    Reply::new()
}

/// The command `connectionStatus`.
pub fn connection_status(ctx: &Context) -> Reply {
    let mut who = Vec::<Value>::new();
    let mut roles = Vec::<Value>::new();
    if let Some(user) = ctx.peer.login.user() {
        who.push(Doc::new().with("user", user.name.as_str()).with("db", "admin").into());
        roles.push(Doc::new().with("role", user.role.as_str()).with("db", "admin").into());
    }
    let auth = Doc::new().with("authenticatedUsers", who).with("authenticatedUserRoles", roles);
    Reply::new().with("authInfo", auth)
}

fn users(ctx: &Context) -> Result<Arc<engine::users::Users>> {
    ctx.server.engine.options().users.clone().ok_or_else(|| {
        Error::new(
            AUTHENTICATION_FAILED,
            "Authentication failed: this server has no users; connect without credentials",
        )
    })
}

fn failed() -> Error {
    Error::new(AUTHENTICATION_FAILED, "Authentication failed.")
}

fn payload(body: RawDoc<'_>) -> Result<&[u8]> {
    match body.get("payload") {
        Some(Raw::Binary { bytes, .. }) => Ok(bytes),
        Some(Raw::String(text)) => Ok(text.as_bytes()),
        _ => Err(Error::new(40414, "BSON field 'saslStart.payload' is missing but a required field")),
    }
}

fn conversation(done: bool, payload: String) -> Doc {
    let payload = document::value::Binary { subtype: 0, bytes: payload.into_bytes() };
    Doc::new().with("conversationId", CONVERSATION).with("done", done).with("payload", Value::Binary(payload))
}
