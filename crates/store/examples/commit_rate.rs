//! Measures the commit path: single durable writes, bulk inserts, opening, reading.
//!
//! `cargo run --release -p store --example commit_rate [bulk | single]`
#![allow(clippy::print_stdout, reason = "a measuring program prints")]

use std::time::{Duration, Instant};

use base::ClusterTime;
use document::{Doc, DocBuf, Raw};
use store::{Namespace, Reader, Store, StoreOptions, SyncMode};

const RUN: Duration = Duration::from_secs(3);

fn document(id: i64, size: usize) -> DocBuf {
    let padding = "x".repeat(size.saturating_sub(80));
    Doc::new()
        .with("_id", id)
        .with("a", id % 1000)
        .with("b", id.wrapping_mul(7919) % 100_003)
        .with("padding", padding)
        .to_buf()
}

fn open(dir: &std::path::Path, sync: SyncMode) -> Store {
    let started = Instant::now();
    let store = Store::open(StoreOptions { sync, ..StoreOptions::new(dir) }).expect("the directory opens");
    println!("  open: {:.1} ms", started.elapsed().as_secs_f64() * 1000.0);
    store
}

fn prepare(store: &Store, indexes: bool) {
    let write = store.write(move |txn| {
        let docs = txn.ensure_collection(&Namespace::new("bench", "docs"))?;
        if indexes {
            for path in ["a", "b"] {
                txn.create_indexes(docs.id, &[Doc::new().with("key", Doc::new().with(path, 1)).to_buf()])?;
            }
        }
        Ok(())
    });
    write.wait().expect("the collection is created");
}

fn single_writes(writers: i64, sync: SyncMode) {
    println!("{writers} writers, one 500 B document and two index entries per write, {sync:?}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path(), sync);
    prepare(&store, true);
    let started = Instant::now();
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let store = store.clone();
                scope.spawn(move || write_until(&store, writer, writers, started + RUN))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a writer ends")).collect()
    });
    latencies.sort();
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "  {:.0} writes/s, p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms",
        latencies.len() as f64 / RUN.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.9999999)
    );
}

fn write_until(store: &Store, writer: i64, writers: i64, end: Instant) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut id = writer;
    while Instant::now() < end {
        let document = document(id, 500);
        id += writers;
        let started = Instant::now();
        let write = store.write(move |txn| {
            let docs = txn.ensure_collection(&Namespace::new("bench", "docs"))?;
            txn.insert(docs.id, document)
        });
        write.wait().expect("the write commits");
        latencies.push(started.elapsed());
    }
    latencies
}

fn bulk(sync: SyncMode) {
    println!("bulk insert, 1000 documents of 500 B per write, {sync:?}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path(), sync);
    prepare(&store, false);
    let batches: Vec<Vec<DocBuf>> =
        (0..300).map(|batch| (0..1000).map(|n| document(batch * 1000 + n, 500)).collect()).collect();
    let total = batches.len() as f64 * 1000.0;
    let started = Instant::now();
    for batch in batches {
        let write = store.write(move |txn| {
            let docs = txn.ensure_collection(&Namespace::new("bench", "docs"))?;
            for document in batch {
                txn.insert(docs.id, document)?;
            }
            Ok(())
        });
        write.wait().expect("the write commits");
    }
    println!("  {:.0} documents/s", total / started.elapsed().as_secs_f64());
    reads(&store, total);
    drop(store);
    drop(open(dir.path(), sync));
}

fn reads(store: &Store, total: f64) {
    let rate = |what: &str, count: f64, started: Instant| {
        println!("  {what}: {:.2} us each", started.elapsed().as_secs_f64() * 1e6 / count);
    };
    let snapshot = store.snapshot().expect("a snapshot");
    let docs = snapshot.catalog().find("bench", "docs").expect("the collection").id;
    let started = Instant::now();
    let scanned = snapshot.scan(docs, store::Direction::Forward).filter(Result::is_ok).count();
    rate("scan", scanned as f64, started);
    let started = Instant::now();
    for n in 0..100_000i64 {
        let id = n * 7919 % total as i64;
        assert!(snapshot.get(docs, Raw::Int64(id)).expect("a read").is_some());
    }
    rate("get by _id", 100_000.0, started);
    let started = Instant::now();
    let logged = store.log(None, ClusterTime::MAX).filter(Result::is_ok).count();
    rate("log", logged as f64, started);
    let started = Instant::now();
    for _ in 0..10_000 {
        drop(store.snapshot());
    }
    rate("snapshot", 10_000.0, started);
}

fn main() {
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    for sync in [SyncMode::Buffered, SyncMode::Durable] {
        if wanted("bulk") {
            bulk(sync);
        }
        if wanted("single") {
            single_writes(1, sync);
            single_writes(16, sync);
        }
    }
}
