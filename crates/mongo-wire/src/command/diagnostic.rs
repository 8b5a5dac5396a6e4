//! Commands that describe the server: build, host, counters, connections.

use std::sync::atomic::Ordering;

use document::{Doc, Raw, Value};
use engine::{Error, Result};

use super::{Context, Request};
use crate::reply::Reply;

pub fn build_info(ctx: &Context) -> Reply {
    let name = ctx.server.version.get().name;
    let version: Vec<Value> =
        name.split('.').map(|part| Value::Int32(part.parse().unwrap_or(0))).chain([Value::Int32(0)]).collect();
    Doc::new()
        .with("version", name)
        .with("gitVersion", concat!("headwater-", env!("CARGO_PKG_VERSION")))
        .with("modules", vec![Value::from("headwater")])
        .with("allocator", "system")
        .with("javascriptEngine", "none")
        .with("sysInfo", "deprecated")
        .with("versionArray", version)
        .with("bits", 64)
        .with("debug", cfg!(debug_assertions))
        .with("maxBsonObjectSize", base::limits::MAX_DOCUMENT as i32)
        .with("storageEngines", vec![Value::from("headwater")])
        .into()
}

pub fn host_info(ctx: &Context) -> Reply {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let system = Doc::new()
        .with("currentTime", Value::Date(ctx.now_ms()))
        .with("hostname", ctx.address())
        .with("cpuAddrSize", 64)
        .with("numCores", cores as i32)
        .with("cpuArch", std::env::consts::ARCH);
    let os = Doc::new().with("type", std::env::consts::OS).with("name", std::env::consts::OS).with("version", "");
    Doc::new().with("system", system).with("os", os).with("extra", Doc::new()).into()
}

pub fn get_log(request: &Request) -> Result<Reply> {
    match request.body.iter().next().map(|(_, value)| value) {
        Some(Raw::String("*")) => {
            Ok(Reply::new().with("names", vec![Value::from("global"), Value::from("startupWarnings")]))
        }
        Some(Raw::String("global" | "startupWarnings")) => {
            Ok(Reply::new().with("totalLinesWritten", 0).with("log", Vec::<Value>::new()))
        }
        Some(Raw::String(other)) => Err(Error::new(96, format!("No log named '{other}'"))),
        _ => Err(Error::new(14, "Argument to getLog must be of type String")),
    }
}

pub fn command_line() -> Reply {
    Reply::new().with("argv", vec![Value::from("headwater")]).with("parsed", Doc::new())
}

pub fn server_status(ctx: &Context) -> Reply {
    let counters = &ctx.server.counters;
    let open = counters.connections_open.load(Ordering::Relaxed) as i32;
    let uptime_ms = (ctx.now_ms() - ctx.server.started_ms).max(0);
    let count = |counter: &std::sync::atomic::AtomicU64| Value::Int64(counter.load(Ordering::Relaxed) as i64);
    let connections = Doc::new()
        .with("current", open)
        .with("available", crate::server::MAX_CONNECTIONS as i32 - open)
        .with("totalCreated", count(&counters.connections_total))
        .with("active", open);
    let operations = Doc::new()
        .with("insert", count(&counters.inserts))
        .with("query", count(&counters.queries))
        .with("update", count(&counters.updates))
        .with("delete", count(&counters.deletes))
        .with("getmore", count(&counters.get_mores))
        .with("command", count(&counters.commands));
    let repl = Doc::new()
        .with("setName", crate::hello::SET_NAME)
        .with("setVersion", 1)
        .with("isWritablePrimary", true)
        .with("secondary", false)
        .with("hosts", vec![Value::from(ctx.address())])
        .with("primary", ctx.address())
        .with("me", ctx.address());
    let engine = Doc::new()
        .with("name", "headwater")
        .with("supportsCommittedReads", true)
        .with("persistent", true)
        .with("readOnly", false)
        .with("supportsSnapshotReadConcern", true);
    let cursors = Doc::new().with("open", Doc::new().with("total", ctx.server.cursors.len() as i64));
    Doc::new()
        .with("host", ctx.address())
        .with("version", ctx.server.version.get().name)
        .with("process", "mongod")
        .with("service", vec![Value::from("shard")])
        .with("pid", i64::from(std::process::id()))
        .with("uptime", uptime_ms as f64 / 1000.0)
        .with("uptimeMillis", uptime_ms)
        .with("uptimeEstimate", uptime_ms / 1000)
        .with("localTime", Value::Date(ctx.now_ms()))
        .with("connections", connections)
        .with("opcounters", operations)
        .with("repl", repl)
        .with("storageEngine", engine)
        .with("metrics", Doc::new().with("cursor", cursors))
        .into()
}
