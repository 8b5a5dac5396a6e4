//! What is running now: for `currentOp`, and so that it can be stopped.
//!
//! A wire registers each command when it begins and drops the registration when it has answered.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Instant;

use base::Uuid;
use document::{Doc, DocBuf, Raw, RawDoc, Value};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Error, Result};

/// A listed command is shown up to so many bytes.
const MAX_SHOWN_BYTES: usize = 1024;

/// A command as its wire describes it.
#[derive(Clone, Debug)]
pub struct OperationInfo {
    pub db: String,
    pub command: DocBuf,
    pub connection: u64,
    pub client: SocketAddr,
    pub app_name: Option<String>,
    pub lsid: Option<Uuid>,
}

#[derive(Debug)]
struct Operation {
    info: OperationInfo,
    began: Instant,
    began_ms: i64,
    killed: AtomicBool,
    kill: Notify,
}

/// Everything that is running.
#[derive(Debug, Default)]
pub struct Operations {
    last: AtomicI32,
    running: Mutex<BTreeMap<i32, Arc<Operation>>>,
}

/// A running command; it is listed until this is dropped.
#[derive(Debug)]
pub struct Running {
    operations: Arc<Operations>,
    id: i32,
    operation: Arc<Operation>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.operations.running.lock().remove(&self.id);
    }
}

impl Running {
    /// Resolves when somebody has asked for the end of this command.
    pub async fn killed(&self) {
        loop {
            let asked = self.operation.kill.notified();
            if self.operation.killed.load(Ordering::Acquire) {
                return;
            }
            asked.await;
        }
    }
}

impl Operations {
    pub fn begin(self: &Arc<Self>, info: OperationInfo, now_ms: i64) -> Running {
        let operation = Arc::new(Operation {
            info,
            began: Instant::now(),
            began_ms: now_ms,
            killed: AtomicBool::new(false),
            kill: Notify::new(),
        });
        let mut running = self.running.lock();
        let id = loop {
            // Positive, and not one of a command that has run since the numbers began anew.
            let id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if id != 0 && !running.contains_key(&id) {
                break id;
            }
        };
        running.insert(id, Arc::clone(&operation));
        Running { operations: Arc::clone(self), id, operation }
    }

    /// Asks a command to end. Nothing happens if it has ended already.
    pub fn kill(&self, id: i32) {
        let found = self.running.lock().get(&id).cloned();
        if let Some(operation) = found {
            operation.killed.store(true, Ordering::Release);
            operation.kill.notify_waiters();
        }
    }

    /// The commands as `$currentOp` shows them.
    pub fn list(&self, host: &str) -> Vec<Doc> {
        let running: Vec<_> = self.running.lock().iter().map(|(id, operation)| (*id, Arc::clone(operation))).collect();
        running.into_iter().map(|(id, operation)| describe(id, &operation, host)).collect()
    }
}

fn describe(id: i32, operation: &Operation, host: &str) -> Doc {
    let info = &operation.info;
    let elapsed = operation.began.elapsed();
    let mut out = Doc::new()
        .with("type", "op")
        .with("host", host)
        .with("desc", format!("conn{}", info.connection))
        .with("connectionId", info.connection as i64)
        .with("client", info.client.to_string());
    if let Some(name) = &info.app_name {
        out.push("appName", name.as_str());
    }
    out.push("active", true);
    out.push("currentOpTime", Value::Date(operation.began_ms));
    out.push("opid", id);
    if operation.killed.load(Ordering::Relaxed) {
        out.push("killPending", true);
    }
    if let Some(lsid) = info.lsid {
        out.push("lsid", Doc::new().with("id", Value::from(lsid)));
    }
    out.push("secs_running", elapsed.as_secs() as i64);
    out.push("microsecs_running", elapsed.as_micros() as i64);
    let command = info.command.as_doc();
    out.push("op", kind(command));
    out.push("ns", namespace(&info.db, command));
    out.push("command", shown(command));
    out.push("numYields", 0);
    out.push("locks", Doc::new());
    out.push("waitingForLock", false);
    out
}

fn kind(command: RawDoc<'_>) -> &'static str {
    match command.iter().next().map_or("", |(name, _)| name) {
        "find" => "query",
        "getMore" => "getmore",
        "insert" => "insert",
        "update" => "update",
        "delete" => "remove",
        _ => "command",
    }
}

fn namespace(db: &str, command: RawDoc<'_>) -> String {
    let collection = match command.iter().next() {
        Some(("getMore", _)) => command.get("collection"),
        Some((_, value)) => Some(value),
        None => None,
    };
    match collection {
        Some(Raw::String(collection)) => format!("{db}.{collection}"),
        _ => format!("{db}.$cmd"),
    }
}

fn shown(command: RawDoc<'_>) -> Doc {
    if command.as_bytes().len() <= MAX_SHOWN_BYTES {
        return command.to_doc();
    }
    let name = command.iter().next().map_or("", |(name, _)| name);
    Doc::new().with("$truncated", format!("{{ {name}: … }}, {} bytes", command.as_bytes().len()))
}

/// The options of `$currentOp`. What they ask for beyond the running commands does not exist here.
pub(crate) fn check_options(spec: RawDoc<'_>) -> Result<()> {
    const KNOWN: &[&str] = &[
        "allUsers",
        "idleConnections",
        "idleSessions",
        "idleCursors",
        "localOps",
        "truncateOps",
        "backtrace",
        "targetAllNodes",
    ];
    for (option, value) in spec.iter() {
        if !KNOWN.contains(&option) {
            return Err(Error::new(9, format!("Unrecognized option '{option}' in $currentOp stage.")));
        }
        if value.as_bool().is_none() {
            let message = format!(
                "The '{option}' parameter of the $currentOp stage must be a boolean value, but found: {}",
                value.type_name()
            );
            return Err(Error::new(9, message));
        }
    }
    Ok(())
}
