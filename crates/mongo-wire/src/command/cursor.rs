//! Cursor replies: the first batch, getMore, killCursors.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::ClusterTime;
use document::{Raw, Value};
use engine::{Batch, BatchLimit, Cursor, Error, Result};

use super::args::{Args, wrong_type};
use super::{Context, Request};
use crate::cursors::{CheckedOut, CursorRegistry, Owner};
use crate::reply::Reply;

/// First batches hold so many documents unless the command says otherwise.
const DEFAULT_FIRST_BATCH: usize = 101;
/// Documents of one batch; the reply around them must stay below the message limit.
pub const MAX_BATCH_BYTES: usize = base::limits::MAX_DOCUMENT;
/// How long an awaiting getMore waits when it does not say.
const DEFAULT_AWAIT: Duration = Duration::from_secs(1);

/// How a cursor begins.
#[derive(Clone, Debug)]
pub struct Opening {
    pub namespace: String,
    pub batch_size: Option<u64>,
    pub single_batch: bool,
    pub no_timeout: bool,
    pub change_stream: bool,
    /// The cluster time that a snapshot read was made at.
    pub at: Option<ClusterTime>,
}

/// Answers with the first batch, and keeps the cursor if more may follow.
pub async fn open(ctx: &Context, request: &Request, cursor: Cursor, opening: Opening) -> Result<Reply> {
    let default = BatchLimit { documents: DEFAULT_FIRST_BATCH, bytes: MAX_BATCH_BYTES };
    open_with_default(ctx, request, cursor, opening, default).await
}

pub async fn open_with_default(
    ctx: &Context,
    request: &Request,
    mut cursor: Cursor,
    opening: Opening,
    default: BatchLimit,
) -> Result<Reply> {
    let limit = match opening.batch_size {
        Some(n) => BatchLimit { documents: usize::try_from(n).unwrap_or(usize::MAX), bytes: MAX_BATCH_BYTES },
        None => default,
    };
    let began = Instant::now();
    let first = cursor.next_batch(limit, None).await.map_err(|error| in_opening(request, error))?;
    let id = if first.exhausted || opening.single_batch {
        0
    } else {
        let owner = Owner {
            namespace: opening.namespace.clone(),
            lsid: request.generic.lsid,
            txn_number: request.generic.txn.in_transaction().then_some(request.generic.txn.number).flatten(),
            no_timeout: opening.no_timeout,
            change_stream: opening.change_stream,
            time_left: request.generic.max_time.map(|time| time.saturating_sub(began.elapsed())),
        };
        ctx.server.cursors.register(owner, Box::new(cursor), ctx.now_ms())?
    };
    Ok(reply("firstBatch", &first, id, &opening.namespace, opening.at))
}

/// Run-time errors are told from parse errors by what stands in front of them.
fn in_opening(request: &Request, error: Error) -> Error {
    match request.name {
        "aggregate" => error.context("PlanExecutor error during aggregation"),
        "find" => error.context("Executor error during find command"),
        _ => error,
    }
}

fn reply(batch_name: &str, batch: &Batch, id: i64, namespace: &str, at: Option<ClusterTime>) -> Reply {
    let mut reply = Reply::sized(batch.documents.iter().map(|doc| doc.len() + 8).sum());
    let body = &mut reply.body;
    body.begin_document("cursor");
    body.begin_array(batch_name);
    let mut index = itoa::Counter::default();
    for document in &batch.documents {
        body.doc(index.next(), document.as_doc());
    }
    body.end();
    if let Some(token) = &batch.post_batch_resume_token {
        body.doc("postBatchResumeToken", token.as_doc());
    }
    if let Some(at) = at {
        body.timestamp("atClusterTime", at);
    }
    body.i64("id", id);
    body.str("ns", namespace);
    body.end();
    reply
}

/// Array indexes as text, without an allocation per element.
mod itoa {
    #[derive(Default)]
    pub struct Counter {
        next: usize,
        text: String,
    }

    impl Counter {
        pub fn next(&mut self) -> &str {
            use std::fmt::Write;
            self.text.clear();
            let _ = write!(self.text, "{}", self.next);
            self.next += 1;
            &self.text
        }
    }
}

pub async fn get_more(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command(
        request.name,
        request.body.as_doc(),
        &["collection", "batchSize", "term", "lastKnownCommittedOpTime", "includeQueryStatsMetrics"],
    )?;
    let id = match args.get("getMore") {
        Some(Raw::Int64(id)) => id,
        other => return Err(wrong_type("getMore.getMore", other.unwrap_or(Raw::Null), "type 'long'")),
    };
    let collection = args.require_string("collection")?;
    if collection.is_empty() {
        return Err(Error::new(73, "Collection names cannot be empty"));
    }
    let batch_size = args.size("batchSize")?.filter(|n| *n > 0);
    ctx.server.counters.get_mores.fetch_add(1, Ordering::Relaxed);
    let namespace = format!("{}.{collection}", request.db);
    let mut open = CursorRegistry::check_out(&ctx.server, id, |owner| check_owner(id, owner, request, &namespace))?;
    request.reads_change_stream.store(open.owner.change_stream, Ordering::Relaxed);
    if request.generic.max_time_ms.is_some() && !open.cursor().awaits() {
        open.check_in();
        return Err(Error::new(2, "cannot set maxTimeMS on getMore command for a non-awaitData cursor"));
    }
    if let Some(failure) = ctx.server.fail_points.fail_get_more() {
        let code = failure.error_code.unwrap_or(43);
        return Err(Error::new(code, "Hit 'failGetMoreAfterCursorCheckout' fail point"));
    }
    let limit = BatchLimit {
        documents: batch_size.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        bytes: MAX_BATCH_BYTES,
    };
    if open.owner.time_left.is_some() && ctx.server.fail_points.is_on("maxTimeAlwaysTimeOut") {
        return Err(Error::new(50, "operation exceeded time limit"));
    }
    let began = Instant::now();
    let deadline = open.owner.time_left.map(|time| began + time);
    open.cursor().set_deadline(deadline);
    let batch = fetch(ctx, request, &mut open, limit).await?;
    open.owner.time_left = open.owner.time_left.map(|time| time.saturating_sub(began.elapsed()));
    let reply = reply("nextBatch", &batch, if batch.exhausted { 0 } else { id }, &namespace, None);
    if !batch.exhausted {
        open.check_in();
    }
    Ok(reply)
}

async fn fetch(ctx: &Context, request: &Request, open: &mut CheckedOut, limit: BatchLimit) -> Result<Batch> {
    let wait = match request.generic.max_time_ms {
        None => DEFAULT_AWAIT,
        Some(ms) => Duration::from_millis(ms.unsigned_abs()),
    };
    let mut killed = open.killed.clone();
    let wait = open.cursor().awaits().then_some(wait);
    let reading = ctx.interruptible(open.cursor().next_batch(limit, wait));
    let result = tokio::select! {
        result = reading => result,
        _ = killed.wait_for(|killed| *killed) => Err(Error::new(237, "operation was interrupted")),
    };
    result.map_err(|error| error.context("Executor error during getMore"))
}

/// Who may read a cursor: the session and transaction that opened it, by its own name.
fn check_owner(id: i64, owner: &Owner, request: &Request, namespace: &str) -> Result<()> {
    if owner.namespace != namespace {
        return Err(Error::new(
            13,
            format!(
                "Requested getMore on namespace '{namespace}', but cursor belongs to a different namespace {}",
                owner.namespace
            ),
        ));
    }
    let session = |lsid: Option<base::Uuid>| lsid.map_or_else(|| "none".to_owned(), |lsid| lsid.to_string());
    match (owner.lsid, request.generic.lsid) {
        (Some(mine), Some(theirs)) if mine == theirs => {}
        (None, None) => {}
        (None, Some(theirs)) => {
            return Err(Error::new(
                50737,
                format!("Cannot run getMore on cursor {id}, which was not created in a session, in session {theirs}"),
            ));
        }
        (mine, None) => {
            return Err(Error::new(
                50736,
                format!(
                    "Cannot run getMore on cursor {id}, which was created in session {}, without an lsid",
                    session(mine)
                ),
            ));
        }
        (mine, theirs) => {
            return Err(Error::new(
                50738,
                format!(
                    "Cannot run getMore on cursor {id}, which was created in session {}, in session {}",
                    session(mine),
                    session(theirs)
                ),
            ));
        }
    }
    let mine = request.generic.txn.in_transaction().then_some(request.generic.txn.number).flatten();
    if owner.txn_number == mine {
        return Ok(());
    }
    match (owner.txn_number, mine) {
        (None, Some(_)) => Err(Error::new(
            50740,
            format!("Cannot run getMore on cursor {id}, which was not created in a transaction, in transaction"),
        )),
        (Some(number), None) => Err(Error::new(
            50739,
            format!(
                "Cannot run getMore on cursor {id}, which was created in transaction {number}, without a txnNumber"
            ),
        )),
        _ => Err(Error::new(50741, format!("Cannot run getMore on cursor {id} in another transaction than its own"))),
    }
}

pub fn kill_cursors(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command(request.name, request.body.as_doc(), &["cursors"])?;
    let collection = args.require_string("killCursors")?;
    let cursors = args.array("cursors")?.ok_or_else(|| args.missing("cursors"))?;
    let namespace = format!("{}.{collection}", request.db);
    let (mut killed, mut missing) = (Vec::new(), Vec::new());
    let mut ids = Vec::new();
    for (i, value) in cursors.values().enumerate() {
        match value {
            Raw::Int64(id) => ids.push(id),
            other => return Err(wrong_type(&format!("killCursors.cursors.{i}"), other, "type 'long'")),
        }
    }
    for id in ids {
        let gone = ctx.server.cursors.kill(id, |owner| owner.namespace == namespace);
        if gone { killed.push(Value::Int64(id)) } else { missing.push(Value::Int64(id)) }
    }
    Ok(Reply::new()
        .with("cursorsKilled", killed)
        .with("cursorsNotFound", missing)
        .with("cursorsAlive", Vec::<Value>::new())
        .with("cursorsUnknown", Vec::<Value>::new()))
}
