//! Bulk insert by one client while a watcher takes every event.

use std::time::{Duration, Instant};

use futures::StreamExt;
use mongodb::bson::{Document, RawDocumentBuf};

use crate::Result;
use crate::figures::{report, report_rate};
use crate::load::Load;
use crate::server::{Durability, Server};

const DOCUMENTS: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run() -> Result {
    for durability in Durability::BOTH {
        watched(durability).await?;
    }
    Ok(())
}

async fn watched(durability: Durability) -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), durability)?;
    let collection = server.mongo().await?.collection::<Document>("events");
    let mut events = server.mongo().await?.collection::<RawDocumentBuf>("events").watch().await?;
    let mut load = Load::new()?;
    let begun = Instant::now();
    let watcher = tokio::spawn(async move {
        for _ in 0..DOCUMENTS {
            events.next().await.ok_or("the stream ended")??;
        }
        Result::<_>::Ok(begun.elapsed())
    });
    let inserted = load.insert(&collection, DOCUMENTS).await?;
    let seen = tokio::time::timeout(PATIENCE, watcher).await.map_err(|_| "the watcher never saw all events")???;
    let name = durability.name();
    report_rate(
        &format!("insert, {name}: acknowledged, batches of 1,000, one watcher"),
        DOCUMENTS,
        inserted,
        "documents/s",
    );
    report_rate(&format!("insert, {name}: all seen by the watcher"), DOCUMENTS, seen, "events/s");
    report(&format!("insert, {name}: resident memory after {DOCUMENTS} documents"), server.resident_mb()?, "MB");
    server.kill()
}
