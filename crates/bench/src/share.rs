//! What a hundred views over one stream cost beside one: finding the columns of an event is shared.
//!
//! The server's own processor time per event, with no view, with one, and with a hundred of the same kind.

use std::time::{Duration, Instant};

use mongodb::bson::Document;
use tokio_postgres::Client;

use crate::Result;
use crate::figures::report;
use crate::load::Load;
use crate::server::{Durability, Server, number};

const EVENTS: u64 = 50_000;
const VIEWS: u64 = 100;
/// Between two looks at a view.
const PACE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn run() -> Result {
    let (none, one, many) = (per_event(0).await?, per_event(1).await?, per_event(VIEWS).await?);
    report("share: server's time per event, no view", none, "µs");
    report("share: server's time per event, one view", one, "µs");
    report(&format!("share: server's time per event, {VIEWS} views over one stream"), many, "µs");
    let (first, each) = (one - none, (many - one) / (VIEWS - 1) as f64);
    report("share: the first view's part of it", first, "µs");
    report("share: each further view's", each, "µs");
    report("share: a further view's cost, of the first's", each / first * 100.0, "%");
    Ok(())
}

/// Processor time of the server, in microseconds, from the first insert to all views having all.
async fn per_event(views: u64) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::NoSync)?;
    let collection = server.mongo().await?.collection::<Document>("events");
    let sql = server.sql().await?;
    sql.batch_execute("CREATE CHANGE STREAM inserted ON events WITH (operation_types = ARRAY['insert'])").await?;
    for n in 0..views {
        // Each counts other events, so that no two queries are one.
        let query = format!(
            "CREATE MATERIALIZED VIEW v{n} AS SELECT full_document->>'kind' AS kind, count(*) AS n,
             sum((full_document->>'amount')::bigint) AS amount FROM CHANGE_STREAM('inserted')
             WHERE (full_document->>'amount')::bigint % {VIEWS} <> {n} GROUP BY 1"
        );
        sql.batch_execute(&query).await?;
    }
    let before = server.cpu_time()?;
    Load::new()?.insert(&collection, EVENTS).await?;
    for n in 0..views {
        until_complete(&sql, n).await?;
    }
    let took = server.cpu_time()? - before;
    server.kill()?;
    Ok(took.as_secs_f64() * 1e6 / EVENTS as f64)
}

/// Waits until a view has the events that its query counts.
async fn until_complete(sql: &Client, n: u64) -> Result {
    let begun = Instant::now();
    let query = format!(
        "SELECT count(*) FROM CHANGE_STREAM('inserted') WHERE (full_document->>'amount')::bigint % {VIEWS} <> {n}"
    );
    // Asking costs, so only the first and the last view are checked against the log.
    let expected = if n == 0 || n == VIEWS - 1 { Some(number(sql, &query).await?) } else { None };
    loop {
        let counted = number(sql, &format!("SELECT sum(n) FROM v{n}")).await?;
        let complete = expected.map_or(counted > 0, |expected| counted == expected);
        if complete {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("view v{n} stands at {counted} events").into());
        }
        tokio::time::sleep(PACE).await;
    }
}
