//! Sinks into servers of their own: how much a second, and how soon.
//!
//! ```text
//!   N events in the log ─> CREATE SINK … WITH (snapshot = true) ─> HTTP endpoint here │ Redis │ PostgreSQL
//!   200 updates a second ─> view ─> topic ─> 5,000 WebSockets here
//! ```
//!
//! Redis and PostgreSQL are the machine's own binaries, started on free ports; a part whose server is
//! not installed is left out, which is said.

mod endpoint;
mod fanout;
mod servers;

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use tokio_postgres::Client;

use crate::Result;
use crate::figures::report_rate;
use crate::server::{Durability, Server, number};

/// Events that every sink delivers.
const EVENTS: u64 = 100_000;
/// Documents of one insert.
const AT_ONCE: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run() -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::Sync)?;
    let sql = server.sql().await?;
    sql.batch_execute("CREATE CHANGE STREAM s ON orders").await?;
    fill(&server).await?;
    webhook(&sql).await?;
    redis(&sql).await?;
    postgres(&sql).await?;
    drop(server);
    fanout::run().await
}

async fn fill(server: &Server) -> Result {
    let orders = server.mongo().await?.collection::<Document>("orders");
    for first in (0..EVENTS as i64).step_by(AT_ONCE as usize) {
        let order = |n: i64| doc! { "_id": n, "status": "new", "total": 12.5, "customer": format!("customer {n}") };
        orders.insert_many((first..first + AT_ONCE as i64).map(order)).await?;
    }
    Ok(())
}

/// Creates the sink `name` and waits until it has delivered everything.
async fn drained(sql: &Client, name: &str, rest: &str) -> Result<Duration> {
    let begun = Instant::now();
    sql.batch_execute(&format!("CREATE SINK {name} FROM s {rest}")).await?;
    let query = format!("SELECT delivered FROM sinks WHERE sink_name = '{name}'");
    while number(sql, &query).await? < EVENTS {
        if begun.elapsed() > PATIENCE {
            return Err(format!("sink {name} did not come to its end").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    sql.batch_execute(&format!("ALTER SINK {name} PAUSE")).await?;
    Ok(took)
}

async fn webhook(sql: &Client) -> Result {
    let endpoint = endpoint::Endpoint::start().await?;
    let rest = format!("INTO '{}' WITH (snapshot = true, parallelism = 32)", endpoint.url);
    let took = drained(sql, "web", &rest).await?;
    if endpoint.taken() != EVENTS {
        return Err(format!("the endpoint took {} of {EVENTS} events", endpoint.taken()).into());
    }
    report_rate("sinks: webhook, one event a request, 32 connections", EVENTS, took, "events/s");
    Ok(())
}

async fn redis(sql: &Client) -> Result {
    let Some(redis) = servers::Redis::start().await? else { return Ok(()) };
    let rest = |into: &str| format!("INTO 'redis://127.0.0.1:{}/0?{into}' WITH (snapshot = true)", redis.port);
    let took = drained(sql, "news", &rest("channel=news")).await?;
    if redis.published().await? != EVENTS {
        return Err("Redis did not get every message once".into());
    }
    report_rate("sinks: Redis, PUBLISH", EVENTS, took, "events/s");
    let took = drained(sql, "entries", &rest("stream=entries")).await?;
    report_rate("sinks: Redis, XADD, exactly once", EVENTS, took, "events/s");
    Ok(())
}

async fn postgres(sql: &Client) -> Result {
    let Some(postgres) = servers::Postgres::start().await? else { return Ok(()) };
    let target = postgres.client().await?;
    target
        .batch_execute("CREATE TABLE orders (id bigint PRIMARY KEY, status text, total numeric, customer text)")
        .await?;
    let rest = format!("INTO '{}' WITH (snapshot = true, table = 'orders')", postgres.url);
    let took = drained(sql, "pg", &rest).await?;
    if number(&target, "SELECT count(*) FROM orders").await? != EVENTS {
        return Err("PostgreSQL has not every row".into());
    }
    report_rate("sinks: PostgreSQL, upsert, exactly once", EVENTS, took, "rows/s");
    Ok(())
}
