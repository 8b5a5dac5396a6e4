//! What a write costs with few and with many watchers of other values: `cargo run -p changes --example fan_out`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use changes::{BatchLimit, ChangeStream, Hub, StreamRequest, Target};
use document::{Context, Doc};
use store::{Namespace, Store, StoreOptions, SyncMode};

const WRITES: i32 = 2000;

#[allow(clippy::print_stdout, reason = "a measuring program")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for watchers in [1, 100, 10_000] {
        let dir = tempfile::tempdir()?;
        let store = Store::open(StoreOptions { sync: SyncMode::Buffered, ..StoreOptions::new(dir.path()) })?;
        let hub = Hub::start(Arc::new(store.clone()));
        let written = Arc::new(AtomicBool::new(false));
        let mut tasks: Vec<tokio::task::JoinHandle<changes::Result<usize>>> = Vec::new();
        for at in 0..watchers {
            let mut stream = ChangeStream::open(&hub, request(at)?)?;
            let limit = BatchLimit { documents: 100, bytes: 16 << 20 };
            stream.next_batch(limit, Some(Duration::ZERO)).await?;
            let written = written.clone();
            tasks.push(tokio::spawn(async move {
                let mut seen = 0;
                loop {
                    let batch = stream.next_batch(limit, Some(Duration::from_secs(1))).await?;
                    if batch.events.is_empty() && written.load(Ordering::SeqCst) {
                        return Ok(seen);
                    }
                    seen += batch.events.len();
                }
            }));
        }
        let begin = Instant::now();
        for id in 0..WRITES {
            let document = Doc::new().with("_id", id).with("customer", id % watchers).to_buf();
            let pending = store.write(move |txn| {
                let orders = txn.ensure_collection(&Namespace::new("shop", "orders"))?;
                txn.insert(orders.id, document)
            });
            pending.await?;
        }
        let each = begin.elapsed() / WRITES as u32;
        written.store(true, Ordering::SeqCst);
        let mut seen = 0;
        for task in tasks {
            seen += task.await??;
        }
        println!("{watchers:>6} watchers: {each:?} per write, {seen} of {WRITES} events delivered");
    }
    Ok(())
}

/// A stream of the inserts for one customer.
fn request(customer: i32) -> changes::Result<StreamRequest> {
    let stream = Doc::new().with("$changeStream", Doc::new()).to_buf();
    let condition = Doc::new().with("operationType", "insert").with("fullDocument.customer", customer);
    let only = Doc::new().with("$match", condition).to_buf();
    let target = Target { db: "shop", collection: Some("orders") };
    StreamRequest::parse(&[stream.as_doc(), only.as_doc()], target, &Context::default())
}
