//! A view's first build over a million retained events beside what goes on: another view's subscriber and
//! a writer. Their latencies while it is built stand beside those of the same server at rest.
//!
//!   insert sent ───> acknowledged
//!             └────> row received by the subscriber of another view

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::Result;
use crate::figures::{report, report_latency, report_rate};
use crate::load::Load;
use crate::server::{Durability, Server, number};

const EVENTS: u64 = 1_000_000;
/// Writes at rest, and at least so many while the view is built.
const WRITES: usize = 500;
const MOST_WRITES: usize = 100_000;
const PACE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run() -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::NoSync)?;
    let db = server.mongo().await?;
    let sql = server.sql().await?;
    sql.batch_execute(
        "CREATE CHANGE STREAM inserted ON events WITH (operation_types = ARRAY['insert']);
         CREATE CHANGE STREAM others ON others WITH (operation_types = ARRAY['insert']);
         CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM CHANGE_STREAM('others')",
    )
    .await?;
    Load::new()?.insert(&db.collection::<Document>("events"), EVENTS).await?;

    let rows = sql.copy_out("COPY (SUBSCRIBE other) TO STDOUT").await?;
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut rows = Box::pin(rows);
        while let Some(Ok(row)) = rows.next().await {
            let at = Instant::now();
            if let Some(count) = count_of(&row)
                && sender.send((count, at)).is_err()
            {
                return;
            }
        }
    });

    let others = db.collection::<Document>("others");
    let mut writer = Writer { others, written: 0 };
    writer.run(&mut seen, "build: at rest", &|n| n >= WRITES).await?;

    let built = Arc::new(AtomicBool::new(false));
    let builder = {
        let (built, sql) = (built.clone(), server.sql().await?);
        tokio::spawn(async move {
            let begun = Instant::now();
            let made = sql
                .batch_execute(
                    "CREATE MATERIALIZED VIEW late AS SELECT full_document->>'kind' AS kind, count(*) AS n,
                     sum((full_document->>'amount')::bigint) AS amount FROM CHANGE_STREAM('inserted') GROUP BY 1",
                )
                .await;
            // Read, it is complete.
            let counted = match made {
                Ok(()) => number(&sql, "SELECT sum(n) FROM late").await,
                Err(error) => Err(error.into()),
            };
            built.store(true, Ordering::SeqCst);
            counted.map(|counted| (counted, begun.elapsed()))
        })
    };
    let done = |_| built.load(Ordering::SeqCst);
    writer.run(&mut seen, "build: while a view is built over 1,000,000 events", &done).await?;
    let (counted, took) = builder.await??;
    assert_eq!(counted, EVENTS, "the view has every event");
    report_rate("build: the view's first build", EVENTS, took, "events/s");
    server.kill()
}

/// `token, diff, n` with tabs between: the count, if the row came rather than went.
fn count_of(row: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(row).ok()?.trim_end();
    let columns: Vec<&str> = text.split('\t').collect();
    (columns.get(1) == Some(&"1")).then(|| columns.last()?.parse().ok())?
}

struct Writer {
    others: Collection<Document>,
    written: usize,
}

impl Writer {
    /// One write after the other until `enough`, each seen by the subscriber before the next.
    async fn run(
        &mut self,
        seen: &mut UnboundedReceiver<(usize, Instant)>,
        name: &str,
        enough: &dyn Fn(usize) -> bool,
    ) -> Result {
        let (mut acknowledged, mut received) = (Vec::new(), Vec::new());
        while (acknowledged.is_empty() || !enough(acknowledged.len())) && acknowledged.len() < MOST_WRITES {
            self.written += 1;
            let sent = Instant::now();
            self.others.insert_one(doc! { "_id": self.written as i64 }).await?;
            acknowledged.push(sent.elapsed());
            let at = loop {
                match tokio::time::timeout(PATIENCE, seen.recv()).await {
                    Ok(Some((count, at))) if count == self.written => break at,
                    Ok(Some((count, _))) if count < self.written => {}
                    other => return Err(format!("write {} was not seen, but {other:?}", self.written).into()),
                }
            };
            received.push(at.duration_since(sent));
            tokio::time::sleep(PACE).await;
        }
        report(&format!("{name}, writes"), acknowledged.len() as f64, "");
        report_latency(&format!("{name}: insert sent to row at SUBSCRIBE"), &mut received);
        report_latency(&format!("{name}: insert sent to acknowledged"), &mut acknowledged);
        Ok(())
    }
}
