//! Events through a grouped view, end to end: written by a driver, read by psql's protocol.
//!
//! Three ways over the same log: a view kept up to date while the events arrive, a view created when
//! they are all there, and a bounded SELECT.

use std::time::{Duration, Instant};

use mongodb::bson::Document;
use tokio_postgres::Client;

use crate::Result;
use crate::figures::{ms, report, report_rate};
use crate::load::Load;
use crate::server::{Durability, Server, number};

const EVENTS: u64 = 100_000;
/// Between two looks at the view.
const PACE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(120);
/// Also what `dataflow.rs` runs without a server.
pub const QUERY: &str =
    "SELECT full_document->>'kind' AS kind, count(*) AS n, sum((full_document->>'amount')::bigint) AS amount
     FROM CHANGE_STREAM('inserted') GROUP BY 1";

pub async fn run() -> Result {
    for durability in Durability::BOTH {
        grouped(durability).await?;
    }
    Ok(())
}

async fn grouped(durability: Durability) -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), durability)?;
    let collection = server.mongo().await?.collection::<Document>("events");
    let sql = server.sql().await?;
    sql.batch_execute("CREATE CHANGE STREAM inserted ON events WITH (operation_types = ARRAY['insert'])").await?;
    sql.batch_execute(&format!("CREATE MATERIALIZED VIEW live AS {QUERY}")).await?;
    let name = durability.name();

    let begun = Instant::now();
    Load::new()?.insert(&collection, EVENTS).await?;
    let acknowledged = Instant::now();
    until_complete(&sql, "live").await?;
    let shown = Instant::now();
    report_rate(&format!("view, {name}: kept up to date, first insert to last row"), EVENTS, shown - begun, "events/s");
    report(&format!("view, {name}: behind the last acknowledged insert"), ms(shown - acknowledged), "ms");

    let begun = Instant::now();
    sql.batch_execute(&format!("CREATE MATERIALIZED VIEW late AS {QUERY}")).await?;
    until_complete(&sql, "late").await?;
    report_rate(&format!("view, {name}: built from the log"), EVENTS, begun.elapsed(), "events/s");

    let begun = Instant::now();
    let counted = number(&sql, &format!("SELECT sum(n) FROM ({QUERY}) AS q")).await?;
    assert_eq!(counted, EVENTS, "a bounded query reads every event");
    report_rate(&format!("view, {name}: bounded SELECT over the log"), EVENTS, begun.elapsed(), "events/s");
    server.kill()
}

async fn until_complete(sql: &Client, view: &str) -> Result {
    let query = format!("SELECT sum(n) FROM {view}");
    let begun = Instant::now();
    loop {
        let counted = number(sql, &query).await?;
        assert!(counted <= EVENTS, "no event counts twice");
        if counted == EVENTS {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("view \"{view}\" stands at {counted} of {EVENTS} events").into());
        }
        tokio::time::sleep(PACE).await;
    }
}
