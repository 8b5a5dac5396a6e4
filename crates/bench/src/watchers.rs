//! Many watchers, each with a `$match` of its own; every write concerns exactly one of them.
//!
//! ```text
//!   4 writers, 1,000 inserts a second ──> server ──> N cursors, each blocked in its own getMore
//! ```
//!
//! Run with few and with many watchers: what a write costs the server must not follow their number.

use std::time::{Duration, Instant};

use futures::StreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};
use tokio::sync::mpsc;

use crate::Result;
use crate::figures::{report, report_latency};
use crate::server::{DATABASE, Durability, Server};

const FEW: usize = 10;
const MANY: usize = 10_000;
const WRITERS: usize = 4;
const WRITES_PER_SECOND: usize = 1000;
const WRITES: usize = 15_000;
/// Writes before the clock counts.
const WARM_UP: usize = 1000;
/// A watcher's getMore waits this long, so that idle watchers do not ask again during the run.
const AWAIT: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run() -> Result {
    for count in [FEW, MANY] {
        watched_by(count).await?;
    }
    Ok(())
}

async fn watched_by(count: usize) -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::Sync)?;
    let writers = server.mongo().await?.collection::<Document>("events");
    writers.insert_one(doc! { "watcher": -1 }).await?;
    let watching = client_with(&server, count).await?;
    let before_mb = resident_with_connections(&server, count).await?;
    let (sender, seen) = mpsc::unbounded_channel();
    let opening = futures::stream::iter(0..count)
        .map(|watcher| open_watcher(watching.clone(), watcher, sender.clone()))
        .buffer_unordered(64);
    opening.collect::<Vec<Result>>().await.into_iter().collect::<Result<Vec<()>>>()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let kb = (server.resident_mb()? - before_mb) * 1024.0 / count as f64;
    let name = format!("watchers, {count}");
    if count >= 1000 {
        report(&format!("{name}: resident per idle watcher, beyond its connection"), kb, "KB");
    }
    measure(&server, &writers, count, seen, &name).await
}

/// A client that may have, and makes at once, a connection for each watcher.
async fn client_with(server: &Server, connections: usize) -> Result<Collection<RawDocumentBuf>> {
    let mut options = ClientOptions::parse(server.mongo_uri()).await?;
    options.max_pool_size = Some(connections as u32 + 10);
    options.min_pool_size = Some(connections as u32);
    options.max_connecting = Some(64);
    Ok(Client::with_options(options)?.database(DATABASE).collection("events"))
}

/// Waits for the connections; the server's resident memory with them.
async fn resident_with_connections(server: &Server, count: usize) -> Result<f64> {
    let admin = server.mongo().await?.client().database("admin");
    let begun = Instant::now();
    loop {
        let status = admin.run_command(doc! { "serverStatus": 1 }).await?;
        if status.get_document("connections")?.get_i32("current")? >= count as i32 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return server.resident_mb();
        }
        if begun.elapsed() > PATIENCE {
            return Err("the connections were not made in time".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The write's number, and when its event came.
type Seen = (i64, Instant);

async fn open_watcher(
    collection: Collection<RawDocumentBuf>,
    watcher: usize,
    seen: mpsc::UnboundedSender<Seen>,
) -> Result {
    let only_mine = doc! { "$match": { "fullDocument.watcher": watcher as i64 } };
    let mut events = collection.watch().pipeline([only_mine]).max_await_time(AWAIT).await?;
    tokio::spawn(async move {
        while let Some(Ok(event)) = events.next().await {
            let at = Instant::now();
            let number = event.full_document.and_then(|document| document.get_i64("_id").ok());
            if seen.send((number.unwrap_or(-1), at)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

async fn measure(
    server: &Server,
    writers: &Collection<Document>,
    count: usize,
    mut seen: mpsc::UnboundedReceiver<Seen>,
    name: &str,
) -> Result {
    let begun = Instant::now();
    let cpu_before = server.cpu_time()?;
    let tasks: Vec<_> = (0..WRITERS).map(|first| tokio::spawn(write(writers.clone(), first, count, begun))).collect();
    let mut sent = vec![begun; WRITES];
    for task in tasks {
        task.await??.into_iter().for_each(|(number, at)| sent[number] = at);
    }
    let mut took = Vec::with_capacity(WRITES);
    let mut told = vec![false; WRITES];
    for _ in 0..WRITES {
        let next = tokio::time::timeout(PATIENCE, seen.recv()).await.map_err(|_| "an event never came")?;
        let (number, at) = next.ok_or("the watchers ended")?;
        let number = usize::try_from(number)?;
        if std::mem::replace(&mut told[number], true) {
            return Err(format!("write {number} was told twice").into());
        }
        if number >= WARM_UP {
            took.push(at - sent[number]);
        }
    }
    let cpu = server.cpu_time()? - cpu_before;
    report_latency(&format!("{name}: insert sent to event at its watcher"), &mut took);
    report(&format!("{name}: server's processor time per write"), cpu.as_secs_f64() * 1e6 / WRITES as f64, "us");
    Ok(())
}

/// Every `WRITERS`th write from `first` on, each at its time; when each was sent.
async fn write(
    collection: Collection<Document>,
    first: usize,
    watchers: usize,
    begun: Instant,
) -> Result<Vec<(usize, Instant)>> {
    let mut sent = Vec::with_capacity(WRITES / WRITERS + 1);
    for number in (first..WRITES).step_by(WRITERS) {
        let due = begun + Duration::from_secs_f64(number as f64 / WRITES_PER_SECOND as f64);
        tokio::time::sleep_until(due.into()).await;
        sent.push((number, Instant::now()));
        // A stride that meets every watcher, far from one after the other.
        let watcher = (number * 7919 % watchers) as i64;
        collection.insert_one(doc! { "_id": number as i64, "watcher": watcher, "text": "something happened" }).await?;
    }
    Ok(sent)
}
