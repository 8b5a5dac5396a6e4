//! A process killed at any moment loses nothing that it acknowledged.
//!
//! The test runs itself as a child that writes and prints each acknowledgement, kills it, opens the
//! directory and compares.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use base::{ClusterTime, Random};
use document::{Doc, Raw};
use store::{Namespace, Operation, Reader, Store, StoreOptions};

const DIR: &str = "STORE_CRASH_TEST_DIR";
const FIRST: &str = "STORE_CRASH_TEST_FIRST_ID";

/// Does nothing unless started by the other test.
#[test]
fn child() {
    let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) else { return };
    let store = Store::open(StoreOptions::new(dir)).unwrap();
    let first: i64 = first.parse().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0.. {
                    let id = first + n * 4 + thread;
                    write(&store, id);
                    let line = format!("acknowledged {id}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// One document and a counter beside it; every tenth write replaces an earlier document too.
fn write(store: &Store, id: i64) {
    let document = Doc::new().with("_id", id).with("padding", "x".repeat(id as usize % 700)).to_buf();
    let committed = store.write(move |txn| {
        let docs = txn.ensure_collection(&Namespace::new("test", "docs"))?;
        if docs.indexes.len() == 1 {
            txn.create_indexes(docs.id, &[Doc::new().with("key", Doc::new().with("padding", 1)).to_buf()])?;
        }
        txn.insert(docs.id, document)?;
        txn.put_record("ids", &id.to_be_bytes(), "");
        Ok(())
    });
    committed.wait().unwrap();
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::from_os();
    let (mut acknowledged, mut next) = (Vec::new(), 0i64);
    for round in 0..8 {
        let wait = Duration::from_millis(30 + random.below(250));
        acknowledged.extend(run_and_kill(dir.path(), next, wait));
        next = check(dir.path(), &acknowledged, round) + 1;
    }
    assert!(acknowledged.len() > 100, "only {} writes were tried", acknowledged.len());
}

fn run_and_kill(dir: &std::path::Path, first: i64, wait: Duration) -> Vec<i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let id = |line: String| line.strip_prefix("acknowledged ")?.parse::<i64>().ok();
        lines.map_while(Result::ok).filter_map(id).collect::<Vec<_>>()
    });
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Documents, side records and log entries are the same set, and hold all that was acknowledged.
/// Answers the highest id.
fn check(dir: &std::path::Path, acknowledged: &[i64], round: i32) -> i64 {
    let store = Store::open(StoreOptions::new(dir)).unwrap();
    let snapshot = store.snapshot().unwrap();
    let Some(docs) = snapshot.catalog().find("test", "docs") else {
        assert!(acknowledged.is_empty());
        return -1;
    };
    let mut stored: Vec<i64> = snapshot
        .scan(docs.id, store::Direction::Forward)
        .map(|row| row.unwrap().document.get("_id").unwrap().as_whole().unwrap())
        .collect();
    stored.sort_unstable();
    for id in acknowledged {
        assert!(stored.binary_search(id).is_ok(), "round {round}: {id} was acknowledged and is gone");
        assert!(snapshot.get(docs.id, Raw::Int64(*id)).unwrap().is_some());
    }
    let mut logged = Vec::new();
    for entry in store.log(None, ClusterTime::MAX) {
        if let Operation::Insert { key, .. } = entry.unwrap().operation {
            logged.push(key.get("_id").unwrap().as_whole().unwrap());
        }
    }
    logged.sort_unstable();
    assert_eq!(logged, stored, "round {round}: log and documents");
    let recorded =
        snapshot.records("ids", b"").map(|record| i64::from_be_bytes(record.unwrap().0[..].try_into().unwrap()));
    assert_eq!(recorded.collect::<Vec<_>>(), stored, "round {round}: records and documents");
    assert_eq!(snapshot.counts(docs).unwrap().documents, stored.len() as u64);
    stored.last().copied().unwrap_or(-1)
}
