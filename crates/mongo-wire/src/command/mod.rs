//! Commands: from a decoded message to its reply.
//!
//! ```text
//!   message ─ table: which command ─ generic arguments ─ fail points ─ session ─ handler ─ reply
//!                                                                                  └ error: code, labels
//! ```
//!
//! # Invariants
//! - Every command ends in exactly one outcome; a panic of ours is an `InternalError` reply.
//! - An unknown command, field or option is refused, never ignored.
//!
//! Read next: `table.rs`, `args.rs`, `generic.rs`, then the handlers by subject.

mod admin;
pub mod args;
mod bulk;
mod caller;
mod cursor;
mod ddl;
mod diagnostic;
mod explain;
pub mod generic;
mod names;
mod query;
mod session;
mod table;
mod write;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use document::{DocBuf, Raw};
use engine::{Error, OperationInfo, Result, Running};
use futures::FutureExt;
use tokio::sync::watch;

pub use self::generic::Generic;
use self::table::{Kind, Numbered, Spec};
use crate::codec;
use crate::connection::Peer;
use crate::error_codes;
use crate::failpoint::{Failure, Subject};
use crate::login;
use crate::reply::{self, Reply};
use crate::server::Shared;

/// What a command runs in.
#[derive(Clone)]
pub struct Context {
    pub server: Arc<Shared>,
    pub peer: Arc<Peer>,
    /// True once the client has left.
    pub gone: watch::Receiver<bool>,
}

impl Context {
    /// `host:port` by which the client reached this server.
    pub fn address(&self) -> String {
        crate::hello::address(self.peer.local)
    }

    /// Waits, but not for a client that has left nor beyond the server's end.
    pub async fn wait(&self, time: Duration) -> Result<()> {
        self.interruptible(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Runs something that waits, until the client leaves or the server stops.
    pub async fn interruptible<T>(&self, running: impl Future<Output = Result<T>>) -> Result<T> {
        let (mut gone, mut stop) = (self.gone.clone(), self.server.shutdown.clone());
        tokio::select! {
            output = running => output,
            _ = gone.wait_for(|gone| *gone) => Err(Error::new(279, "operation was interrupted because a client disconnected")),
            _ = stop.wait_for(|stop| *stop) => Err(Error::new(11600, "interrupted at shutdown")),
        }
    }

    /// What replies say of the time.
    pub fn times(&self) -> reply::Times {
        let engine = &self.server.engine;
        reply::Times { applied: engine.applied_time(), gossips: engine.source().is_none() }
    }

    pub fn now_ms(&self) -> i64 {
        self.server.engine.clock().now_ms()
    }
}

/// One command as its handler sees it.
#[derive(Debug)]
pub struct Request {
    /// The canonical name, whatever spelling was used.
    pub name: &'static str,
    pub db: String,
    pub body: DocBuf,
    pub sequences: Vec<codec::Sequence>,
    pub generic: Generic,
    /// Set once the command is known to read a change stream; its errors get other labels.
    pub reads_change_stream: AtomicBool,
}

/// What the connection does next.
pub enum Outcome {
    Reply { body: DocBuf, ok: bool },
    HangUp,
}

/// A command whose reply may be streamed: an awaiting hello, a getMore.
pub fn can_stream(command: &codec::Command) -> bool {
    let doc = command.body.as_doc();
    let name = doc.iter().next().map_or("", |(name, _)| name);
    match table::find(name).map(|spec| spec.kind) {
        Some(Kind::Hello { .. }) => doc.contains("topologyVersion"),
        Some(Kind::GetMore) => true,
        _ => false,
    }
}

/// Whether a streamed reply has a successor: a getMore's only while its cursor is open.
pub fn continues(reply: &DocBuf) -> bool {
    match reply.get("cursor").and_then(Raw::as_document) {
        Some(cursor) => cursor.get("id").and_then(Raw::as_whole).unwrap_or(0) != 0,
        None => true,
    }
}

/// Runs an OP_MSG.
pub async fn run(ctx: &Context, command: codec::Command) -> Outcome {
    ctx.server.counters.commands.fetch_add(1, Ordering::Relaxed);
    let db = match command.body.get("$db") {
        Some(Raw::String(db)) => db.to_owned(),
        Some(_) => return answer(ctx, &Error::new(40571, "OP_MSG requests require a $db argument of type string")),
        None => return answer(ctx, &Error::new(40571, "OP_MSG requests require a $db argument")),
    };
    let unacknowledged = command.more_to_come;
    let outcome = run_body(ctx, db, command.body, command.sequences).await;
    if unacknowledged && let Outcome::Reply { ok: false, body } = &outcome {
        tracing::debug!(reply = ?body, "a write that nobody waits for has failed");
    }
    outcome
}

/// Runs an OP_QUERY: only handshakes still arrive so.
pub async fn run_query(ctx: &Context, query: codec::Query) -> DocBuf {
    let name = query.body.iter().next().map_or("", |(name, _)| name).to_owned();
    let db = query.namespace.split('.').next().unwrap_or_default().to_owned();
    let handshake = matches!(table::find(&name), Some(Spec { kind: Kind::Hello { .. }, .. }));
    if !handshake || !query.namespace.ends_with(".$cmd") {
        let message = format!("Unsupported OP_QUERY command: {name}. The client driver may require an upgrade");
        return refuse(ctx, &Error::new(352, message));
    }
    match run_body(ctx, db, query.body, Vec::new()).await {
        Outcome::Reply { body, .. } => body,
        Outcome::HangUp => refuse(ctx, &Error::new(279, "the connection is closing")),
    }
}

/// The reply to a message that could not be read.
pub fn refuse(ctx: &Context, error: &Error) -> DocBuf {
    reply::error(error, &[], ctx.times())
}

fn answer(ctx: &Context, error: &Error) -> Outcome {
    Outcome::Reply { body: refuse(ctx, error), ok: false }
}

async fn run_body(ctx: &Context, db: String, body: DocBuf, sequences: Vec<codec::Sequence>) -> Outcome {
    let spelled = body.iter().next().map_or("", |(name, _)| name);
    let Some(spec) = table::find(spelled) else {
        return answer(ctx, &Error::new(59, format!("no such command: '{spelled}'")));
    };
    if let Err(error) = names::check_database(&db) {
        return answer(ctx, &error);
    }
    let generic = match generic::parse(body.as_doc()) {
        Ok(generic) => generic,
        Err(error) => return answer(ctx, &error),
    };
    if generic.api_strict
        && let Err(error) = table::check_stable(spec, body.as_doc())
    {
        return answer(ctx, &error);
    }
    let request =
        Request { name: spec.name, db, body, sequences, generic, reads_change_stream: AtomicBool::new(false) };
    let failure = ctx.server.fail_points.fail_command(Subject {
        command: spec.name,
        app_name: ctx.peer.app_name.get().map(String::as_str),
        lsid: request.generic.lsid,
    });
    match failure {
        Some(failure) => run_failing(ctx, spec, request, failure).await,
        None => run_checked(ctx, spec, request, None).await,
    }
}

async fn run_failing(ctx: &Context, spec: &'static Spec, request: Request, failure: Failure) -> Outcome {
    if let Some(time) = failure.block
        && ctx.wait(time).await.is_err()
    {
        return Outcome::HangUp;
    }
    if failure.close_connection {
        return Outcome::HangUp;
    }
    if let Some(code) = failure.error_code {
        let error = Error::new(code, "Failing command via 'failCommand' failpoint");
        let labels = failure.labels.unwrap_or_else(|| labels(&request, code));
        return Outcome::Reply { body: reply::error(&error, &labels, ctx.times()), ok: false };
    }
    run_checked(ctx, spec, request, failure.write_concern_error).await
}

async fn run_checked(
    ctx: &Context,
    spec: &'static Spec,
    request: Request,
    write_concern_error: Option<document::Doc>,
) -> Outcome {
    let listed = list(ctx, &request);
    let handled = AssertUnwindSafe(run_handler(ctx, spec, &request)).catch_unwind();
    let result = tokio::select! {
        result = handled => result,
        () = listed.killed() => Ok(Err(Error::new(11601, "operation was interrupted"))),
    };
    drop(listed);
    let result = result.unwrap_or_else(|_| {
        tracing::error!(command = spec.name, "a command panicked");
        Err(Error::internal(format!("the command {} failed by a bug in the server", spec.name)))
    });
    let now = ctx.times();
    match result {
        Ok(mut reply) => {
            if reply.write_concern_error.is_none() && spec.writes {
                reply.write_concern_error = request.generic.write_concern.unsatisfiable.clone();
            }
            if write_concern_error.is_some() {
                reply.write_concern_error = write_concern_error;
            }
            let txn = &request.generic.txn;
            reply.may_be_retried = txn.number.is_some() && (!txn.in_transaction() || spec.numbered == Numbered::Ends);
            let ok = !reply.not_ok;
            Outcome::Reply { body: reply::finish(reply, now), ok }
        }
        Err(error) if error.code() == HANG_UP => Outcome::HangUp,
        Err(error) => {
            let labels = labels(&request, error.code());
            let unsatisfiable = request.generic.write_concern.unsatisfiable.as_ref().filter(|_| spec.writes);
            Outcome::Reply { body: reply::failed(&error, &labels, now, unsatisfiable), ok: false }
        }
    }
}

/// Makes the command visible to `currentOp` while it runs.
fn list(ctx: &Context, request: &Request) -> Running {
    let info = OperationInfo {
        db: request.db.clone(),
        command: request.body.clone(),
        connection: ctx.peer.id,
        client: ctx.peer.remote,
        app_name: ctx.peer.app_name.get().cloned(),
        lsid: request.generic.lsid,
    };
    ctx.server.engine.operations().begin(info, ctx.now_ms())
}

/// An error code of our own: a fail point asked to close the connection.
pub(crate) const HANG_UP: i32 = -1;

/// The labels that the server attaches to an error of this command.
fn labels(request: &Request, code: i32) -> Vec<String> {
    let generic = &request.generic;
    let mut labels = Vec::new();
    if generic.txn.in_transaction() {
        let commit = matches!(request.name, "commitTransaction" | "abortTransaction");
        if error_codes::is_transient_transaction(code, commit) {
            labels.push("TransientTransactionError".to_owned());
        }
        if commit && error_codes::is_retryable_write(code) {
            labels.push("RetryableWriteError".to_owned());
        }
    } else if generic.txn.number.is_some() && error_codes::is_retryable_write(code) {
        labels.push("RetryableWriteError".to_owned());
    }
    if error_codes::is_fatal_change_stream(code) {
        labels.push("NonResumableChangeStreamError".to_owned());
    } else if error_codes::is_resumable_change_stream(code) && request.reads_change_stream.load(Ordering::Relaxed) {
        labels.push("ResumableChangeStreamError".to_owned());
    }
    labels
}

async fn run_handler(ctx: &Context, spec: &'static Spec, request: &Request) -> Result<Reply> {
    if spec.admin_only && request.db != "admin" {
        let message = format!("{} may only be run against the admin database.", spec.name);
        return Err(Error::new(13, message));
    }
    check_numbered(spec, request)?;
    if request.generic.max_time.is_some() && ctx.server.fail_points.is_on("maxTimeAlwaysTimeOut") {
        return Err(Error::new(50, "operation exceeded time limit"));
    }
    login::check(ctx, request, table::need(spec, request.body.as_doc()))?;
    ctx.server.version.check(request)?;
    caller::check_snapshot_support(request)?;
    let result = dispatch(ctx, spec, request).await;
    let ends = matches!(spec.kind, Kind::CommitTransaction | Kind::AbortTransaction);
    if let Err(error) = &result
        && request.generic.txn.in_transaction()
        && !ends
        && error.code() != ALREADY_STARTED
    {
        ctx.server.engine.abort_after_error(&caller::caller(request));
    }
    result
}

/// The transaction number is in use; that does not end what uses it.
const ALREADY_STARTED: i32 = 50911;

async fn dispatch(ctx: &Context, spec: &'static Spec, request: &Request) -> Result<Reply> {
    match spec.kind {
        Kind::Hello { legacy } => crate::hello::run(ctx, request.body.as_doc(), legacy).await,
        Kind::Ping => Ok(Reply::new()),
        Kind::BuildInfo => Ok(diagnostic::build_info(ctx)),
        Kind::WhatsMyUri => Ok(Reply::new().with("you", ctx.peer.remote.to_string())),
        Kind::HostInfo => Ok(diagnostic::host_info(ctx)),
        Kind::GetLog => diagnostic::get_log(request),
        Kind::GetCmdLineOpts => Ok(diagnostic::command_line()),
        Kind::ConnectionStatus => Ok(login::connection_status(ctx)),
        Kind::SaslStart => login::sasl_start(ctx, request),
        Kind::SaslContinue => login::sasl_continue(ctx, request),
        Kind::Logout => Ok(login::logout(ctx)),
        Kind::ServerStatus => Ok(diagnostic::server_status(ctx)),
        Kind::GetParameter => admin::get_parameter(ctx, request),
        Kind::SetParameter => admin::set_parameter(ctx, request),
        Kind::ConfigureFailPoint => admin::configure_fail_point(ctx, request),
        Kind::Insert => write::insert(ctx, request).await,
        Kind::Update => write::update(ctx, request).await,
        Kind::Delete => write::delete(ctx, request).await,
        Kind::FindAndModify => write::find_and_modify(ctx, request).await,
        Kind::BulkWrite => bulk::bulk_write(ctx, request).await,
        Kind::Find => query::find(ctx, request).await,
        Kind::Aggregate => query::aggregate(ctx, request).await,
        Kind::Count => query::count(ctx, request).await,
        Kind::Distinct => query::distinct(ctx, request).await,
        Kind::Explain => explain::explain(ctx, request).await,
        Kind::GetMore => cursor::get_more(ctx, request).await,
        Kind::KillCursors => cursor::kill_cursors(ctx, request),
        Kind::Create => ddl::create(ctx, request).await,
        Kind::CollMod => ddl::coll_mod(ctx, request).await,
        Kind::Drop => ddl::drop(ctx, request).await,
        Kind::DropDatabase => ddl::drop_database(ctx, request).await,
        Kind::RenameCollection => ddl::rename_collection(ctx, request).await,
        Kind::CreateIndexes => ddl::create_indexes(ctx, request).await,
        Kind::DropIndexes => ddl::drop_indexes(ctx, request).await,
        Kind::ListIndexes => ddl::list_indexes(ctx, request).await,
        Kind::ListCollections => ddl::list_collections(ctx, request).await,
        Kind::ListDatabases => ddl::list_databases(ctx, request),
        Kind::CollStats => ddl::coll_stats(ctx, request),
        Kind::DbStats => ddl::db_stats(ctx, request),
        Kind::DataSize => ddl::data_size(ctx, request),
        Kind::Validate => ddl::validate(ctx, request),
        Kind::StartSession => session::start_session(ctx, request),
        Kind::RefreshSessions => session::refresh_sessions(ctx, request),
        Kind::EndSessions => session::end_sessions(ctx, request),
        Kind::KillAllSessions => session::kill_all_sessions(ctx, request),
        Kind::CommitTransaction => session::commit(ctx, request).await,
        Kind::AbortTransaction => session::abort(ctx, request),
        Kind::SetClusterParameter => session::set_cluster_parameter(ctx, request).await,
        Kind::GetClusterParameter => session::get_cluster_parameter(ctx, request),
        Kind::CurrentOp => admin::current_op(ctx, request).await,
        // They are in a file, and not shown.
        Kind::UsersInfo => Ok(Reply::new().with("users", Vec::<document::Value>::new())),
        Kind::KillOp => admin::kill_op(ctx, request),
        Kind::Fsync => Ok(Reply::new().with("numFiles", 1)),
        Kind::Accept => Ok(Reply::new()),
        Kind::Unsupported(what) => Err(Error::new(115, format!("{} is not supported: {what}", spec.name))),
    }
}

/// Which commands may carry a transaction number, and run in a transaction.
fn check_numbered(spec: &Spec, request: &Request) -> Result<()> {
    let txn = &request.generic.txn;
    if txn.number.is_none() {
        return Ok(());
    }
    if txn.in_transaction() {
        if spec.numbered == Numbered::No {
            let hint = match spec.kind {
                Kind::Count => {
                    " Please see http://dochub.mongodb.org/core/transaction-count for a recommended alternative."
                }
                _ => "",
            };
            let message = format!("Cannot run '{}' in a multi-document transaction.{hint}", spec.name);
            return Err(Error::new(263, message));
        }
        if spec.numbered != Numbered::Ends && request.generic.write_concern.given {
            return Err(Error::new(72, "writeConcern is not allowed within a multi-statement transaction"));
        }
        let later_read_concern = !txn.start && request.generic.read_concern.given && spec.numbered != Numbered::Ends;
        if later_read_concern {
            return Err(Error::new(72, "Only the first command in a transaction may specify a readConcern"));
        }
        return Ok(());
    }
    if spec.numbered != Numbered::Retryable {
        let message = format!(
            "txnNumber may only be provided for multi-document transactions and retryable write commands. \
             autocommit:false was not provided, and {} is not a retryable write command.",
            spec.name
        );
        return Err(Error::new(50768, message));
    }
    Ok(())
}
