//! From a command's generic arguments to the engine's caller.

use std::time::Instant;

use document::RawDoc;
use engine::documents::{Caller, Hint, SessionCall};
use engine::{Error, Result};

use super::args::Args;
use super::generic::{Level, ReadConcern};
use super::{Context, Request};
use document::Raw;

/// On whose behalf the command runs.
pub fn caller(request: &Request) -> Caller {
    let generic = &request.generic;
    let session = generic.lsid.map(|lsid| SessionCall {
        lsid,
        txn_number: generic.txn.number,
        in_transaction: generic.txn.in_transaction(),
        start: generic.txn.start,
    });
    Caller { session, deadline: generic.max_time.map(|limit| Instant::now() + limit), read_at: None }
}

/// The caller of a read, which may be of a state of the past; that time is in the reply.
pub fn reader(ctx: &Context, request: &Request) -> Result<Caller> {
    let concern = &request.generic.read_concern;
    let mut caller = caller(request);
    if concern.level == Some(Level::Snapshot) && !request.generic.txn.in_transaction() {
        caller.read_at = Some(match concern.at {
            Some(at) => at,
            None => ctx.server.engine.hold_snapshot()?,
        });
    }
    Ok(caller)
}

/// A hint is an index name or a key pattern.
pub fn hint(args: &Args<'_>, name: &str) -> Result<Option<Hint>> {
    match args.get(name) {
        None => Ok(None),
        Some(Raw::String(index)) => Ok(Some(Hint::Name(index.to_owned()))),
        Some(Raw::Document(pattern)) if pattern.is_empty() => Ok(None),
        Some(Raw::Document(pattern)) => Ok(Some(Hint::Pattern(pattern.to_buf()))),
        Some(_) => Err(Error::new(9, "Hint must be a string or an object")),
    }
}

/// Documents of an array field, each kept as its own buffer.
pub fn pipeline(args: &Args<'_>, name: &str, value: RawDoc<'_>) -> Result<Vec<document::DocBuf>> {
    let _ = args;
    value
        .values()
        .map(|stage| match stage {
            Raw::Document(stage) => Ok(stage.to_buf()),
            _ => Err(Error::new(14, format!("Each element of the '{name}' array must be an object"))),
        })
        .collect()
}

/// A snapshot read is a find, an aggregate or a distinct.
pub fn check_snapshot_support(request: &Request) -> Result<()> {
    if request.generic.read_concern.level == Some(Level::Snapshot)
        && !request.generic.txn.in_transaction()
        && !matches!(request.name, "find" | "aggregate" | "distinct" | "getMore")
    {
        let message = format!("readConcern level snapshot is not supported by the command {}", request.name);
        return Err(Error::new(72, message));
    }
    Ok(())
}

/// Checks that the read concern can be had: this node's newest state is durable, majority
/// committed and linearizable at once.
pub fn check_read_concern(ctx: &Context, request: &Request) -> Result<()> {
    let concern: &ReadConcern = &request.generic.read_concern;
    let applied = ctx.server.engine.applied_time();
    if let Some(after) = concern.after
        && after > applied
    {
        return Err(Error::new(
            72,
            format!(
                "readConcern afterClusterTime value must not be greater than the current clusterTime. \
                 Requested clusterTime: {after}; current clusterTime: {applied}"
            ),
        ));
    }
    if concern.at.is_some_and(|at| at > applied) {
        return Err(Error::new(72, "readConcern atClusterTime value must not be greater than the current clusterTime"));
    }
    Ok(())
}
