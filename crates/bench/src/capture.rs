//! A second server as the source: what capturing costs, what the hop adds, what the front serves.
//!
//! ```text
//!   writes ──> source ──one change stream──> attached server ──> watchers through its front
//!                └──────────────────────────────────────────────> a watcher at the source
//! ```

use std::time::{Duration, Instant};

use futures::StreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};
use tokio::sync::mpsc;

use crate::Result;
use crate::figures::{report, report_latency, report_rate};
use crate::server::{DATABASE, Durability, Server, number};

const EVENTS: u64 = 200_000;
const BATCH: u64 = 1000;
/// Fills a document to about 500 bytes.
const FILLER: usize = 440;
const WRITES: usize = 500;
const WATCHERS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn run() -> Result {
    throughput().await?;
    hop().await?;
    watchers().await
}

fn attached(directory: &std::path::Path, source: &Server) -> Result<Server> {
    let option = format!("--source={}", source.mongo_uri());
    Server::start_with(directory, Durability::NoSync, &[&option])
}

/// What was written while nobody captured, captured; and the same only read by the driver.
async fn throughput() -> Result {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let source = Server::start(there.path(), Durability::NoSync)?;
    let server = attached(here.path(), &source)?;
    captured(&server, 0).await?;
    server.kill()?;
    let db = source.mongo().await?;
    let started = db.run_command(doc! { "ping": 1 }).await?.get_timestamp("operationTime")?;
    let events: Collection<Document> = db.collection("events");
    for first in (0..EVENTS).step_by(BATCH as usize) {
        let batch = (first..first + BATCH).map(|id| doc! { "_id": id as i64, "filler": "x".repeat(FILLER) });
        events.insert_many(batch).await?;
    }
    let begun = Instant::now();
    let mut read = db.collection::<RawDocumentBuf>("events").watch().start_at_operation_time(started).await?;
    for _ in 0..EVENTS {
        read.next().await.ok_or("the change stream ended")??;
    }
    let reading = begun.elapsed();
    report_rate("capture: the driver alone reads the events", EVENTS, reading, "events/s");
    let begun = Instant::now();
    let server = attached(here.path(), &source)?;
    captured(&server, EVENTS).await?;
    let capturing = begun.elapsed();
    report_rate("capture: captured into the log, start included", EVENTS, capturing, "events/s");
    report("capture: resident after it", server.resident_mb()?, "MB");
    Ok(())
}

async fn captured(server: &Server, at_least: u64) -> Result {
    let sql = server.sql().await?;
    let begun = Instant::now();
    while number(&sql, "SELECT CASE WHEN state = 'capturing' THEN events + 1 ELSE 0 END FROM source").await? <= at_least
    {
        if begun.elapsed() > PATIENCE {
            return Err("the events were not captured in time".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// One write at a time, seen at the source and through the front.
async fn hop() -> Result {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let source = Server::start(there.path(), Durability::NoSync)?;
    let server = attached(here.path(), &source)?;
    captured(&server, 0).await?;
    let events: Collection<Document> = source.mongo().await?.collection("events");
    let mut direct = source.mongo().await?.collection::<RawDocumentBuf>("events").watch().await?;
    let mut through = server.mongo().await?.collection::<RawDocumentBuf>("events").watch().await?;
    let (mut at_source, mut at_front) = (Vec::new(), Vec::new());
    for id in 0..WRITES {
        let begun = Instant::now();
        events.insert_one(doc! { "_id": id as i64 }).await?;
        let (there, here) =
            tokio::join!(async { direct.next().await.map(|event| event.map(|_| begun.elapsed())) }, async {
                through.next().await.map(|event| event.map(|_| begun.elapsed()))
            },);
        at_source.push(there.ok_or("the change stream ended")??);
        at_front.push(here.ok_or("the change stream ended")??);
    }
    report_latency("capture: insert sent to event at the source", &mut at_source);
    report_latency("capture: insert sent to event through the front", &mut at_front);
    Ok(())
}

/// Many streams through the front; the source has one cursor.
async fn watchers() -> Result {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let source = Server::start(there.path(), Durability::NoSync)?;
    let server = attached(here.path(), &source)?;
    captured(&server, 0).await?;
    let mut options = ClientOptions::parse(server.mongo_uri()).await?;
    options.max_pool_size = Some(WATCHERS as u32 + 10);
    let watching: Collection<RawDocumentBuf> = Client::with_options(options)?.database(DATABASE).collection("events");
    let (sender, mut seen) = mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        let mut events = watching.watch().max_await_time(PATIENCE).await?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(Ok(_)) = events.next().await {
                if sender.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    let db = source.mongo().await?;
    let mut samples = Vec::new();
    for id in 0..50i64 {
        let begun = Instant::now();
        db.collection::<Document>("events").insert_one(doc! { "_id": id }).await?;
        for _ in 0..WATCHERS {
            let at = tokio::time::timeout(PATIENCE, seen.recv()).await?.ok_or("the watchers ended")?;
            samples.push(at.saturating_duration_since(begun));
        }
    }
    report_latency(&format!("capture: insert sent to event at each of {WATCHERS} watchers"), &mut samples);
    let status = db.client().database("admin").run_command(doc! { "serverStatus": 1 }).await?;
    let open = status.get_document("metrics")?.get_document("cursor")?.get_document("open")?.get_i64("total")?;
    if open != 1 {
        return Err(format!("the source has {open} cursors open instead of 1").into());
    }
    report("capture: cursors at the source", open as f64, "");
    Ok(())
}
