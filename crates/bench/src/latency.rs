//! From a write to those who wait for it: a watcher, and a subscriber of a view.
//!
//! One write at a time, the next when the last was seen. Times are taken in this process at four
//! points; the figures are the distances from the first.
//!
//!   insert sent ───> insert acknowledged
//!             └────> event received / row received

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mongodb::Database;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::change_stream::event::ChangeStreamEvent;
use tokio::sync::mpsc;

use crate::Result;
use crate::figures::report_latency;
use crate::server::{Durability, Server};

/// Writes before the clock counts.
const WARM_UP: usize = 50;
const WRITES: usize = 1000;
/// What one write waits for at most: long past any figure worth printing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Writes of the disk alone, and their size: about what one insert appends to the journal.
const DISK_WRITES: usize = 300;
const DISK_BYTES: usize = 512;

/// How many writes have been seen, and when.
type Seen = (usize, Instant);

pub async fn run() -> Result {
    disk()?;
    for durability in Durability::BOTH {
        watcher(durability).await?;
        subscriber(durability).await?;
    }
    Ok(())
}

/// The floor of every durable write here: append and fdatasync, on the same file system.
fn disk() -> Result {
    let directory = tempfile::tempdir()?;
    let mut file = File::create(Path::new(directory.path()).join("append"))?;
    let mut samples = Vec::with_capacity(DISK_WRITES);
    for _ in 0..DISK_WRITES {
        let begun = Instant::now();
        file.write_all(&[7; DISK_BYTES])?;
        file.sync_data()?;
        samples.push(begun.elapsed());
    }
    report_latency("latency: the disk alone, append + fdatasync", &mut samples);
    Ok(())
}

async fn watcher(durability: Durability) -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), durability)?;
    let db = server.mongo().await?;
    // A second client: its own connections, as a watcher elsewhere would have.
    let mut events = server.mongo().await?.collection::<RawDocumentBuf>("events").watch().await?;
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(Ok(event)) = events.next().await {
            let at = Instant::now();
            let _: ChangeStreamEvent<RawDocumentBuf> = event;
            count += 1;
            if sender.send((count, at)).is_err() {
                return;
            }
        }
    });
    measure(&db, seen, &format!("latency, {}: insert sent to event at the watcher", durability.name()), durability)
        .await
}

async fn subscriber(durability: Durability) -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), durability)?;
    let db = server.mongo().await?;
    let sql = server.sql().await?;
    sql.batch_execute(
        "CREATE CHANGE STREAM inserted ON events WITH (operation_types = ARRAY['insert']);
         CREATE MATERIALIZED VIEW by_kind AS
         SELECT full_document->>'kind' AS kind, count(*) AS n FROM CHANGE_STREAM('inserted') GROUP BY 1",
    )
    .await?;
    let rows = sql.copy_out("COPY (SUBSCRIBE by_kind) TO STDOUT").await?;
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut rows = Box::pin(rows);
        while let Some(Ok(row)) = rows.next().await {
            let at = Instant::now();
            if let Some(count) = new_count(&row)
                && sender.send((count, at)).is_err()
            {
                return;
            }
        }
    });
    measure(&db, seen, &format!("latency, {}: insert sent to row at SUBSCRIBE", durability.name()), durability).await
}

/// `token, diff, kind, n` with tabs between: the count, if the row came rather than went.
fn new_count(row: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(row).ok()?.trim_end();
    let columns: Vec<&str> = text.split('\t').collect();
    if columns.get(1) != Some(&"1") {
        return None;
    }
    columns.last()?.parse().ok()
}

async fn measure(db: &Database, mut seen: mpsc::UnboundedReceiver<Seen>, name: &str, durability: Durability) -> Result {
    let collection = db.collection::<Document>("events");
    let mut acknowledged = Vec::with_capacity(WRITES);
    let mut received = Vec::with_capacity(WRITES);
    for write in 1..=WARM_UP + WRITES {
        let sent = Instant::now();
        collection.insert_one(doc! { "_id": write as i64, "kind": "a", "amount": 7_i64 }).await?;
        let took = sent.elapsed();
        let at = arrival(&mut seen, write).await?;
        if write > WARM_UP {
            acknowledged.push(took);
            received.push(at - sent);
        }
    }
    report_latency(name, &mut received);
    report_latency(
        &format!("latency, {}: the same inserts, sent to acknowledged", durability.name()),
        &mut acknowledged,
    );
    Ok(())
}

/// Waits until exactly `write` writes have been seen.
async fn arrival(seen: &mut mpsc::UnboundedReceiver<Seen>, write: usize) -> Result<Instant> {
    match tokio::time::timeout(PATIENCE, seen.recv()).await {
        Ok(Some((count, at))) if count == write => Ok(at),
        Ok(Some((count, _))) => Err(format!("saw write {count} where {write} was next").into()),
        Ok(None) => Err("the stream ended".into()),
        Err(_) => Err(format!("write {write} was never seen").into()),
    }
}
