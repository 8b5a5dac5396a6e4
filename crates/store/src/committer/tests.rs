//! Acknowledgement, failure and order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::kv::{Batch, Direction, KeyRange, Kv, KvIter, KvRead, MemoryKv, Space};
use crate::testing::{self, doc, orders};

/// A store whose disk can be made to fail at the sync.
struct Failing {
    inner: MemoryKv,
    fails: Arc<AtomicBool>,
}

impl KvRead for Failing {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        self.inner.get(space, key)
    }

    fn range(&self, space: Space, range: KeyRange, direction: Direction) -> KvIter {
        self.inner.range(space, range, direction)
    }
}

impl Kv for Failing {
    fn commit(&self, batch: Batch) -> Result<()> {
        self.inner.commit(batch)
    }

    fn sync(&self) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("the disk is gone".to_owned()));
        }
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        self.inner.snapshot()
    }
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_ends_all_writing() {
    let fails = Arc::new(AtomicBool::new(false));
    let fixture = testing::on(Arc::new(Failing { inner: MemoryKv::default(), fails: Arc::clone(&fails) }));
    fixture.insert(r#"{"_id": 1}"#).unwrap();
    let durable = fixture.store.durable();
    let (sent, received) = mpsc::channel();
    fixture.store.on_durable(Box::new(move |entries, _| sent.send(entries.len()).unwrap()));
    fails.store(true, Ordering::SeqCst);
    assert!(matches!(fixture.insert(r#"{"_id": 2}"#), Err(Error::Unavailable(_))));
    fails.store(false, Ordering::SeqCst);
    assert!(matches!(fixture.insert(r#"{"_id": 3}"#), Err(Error::Unavailable(_))));
    assert_eq!(fixture.store.durable(), durable);
    assert_eq!(received.try_iter().count(), 0, "watchers heard of nothing");
    assert_eq!(fixture.log(), ["create", "insert { _id: 1 }"], "the log ends at what is durable");
}

#[test]
fn a_panicking_closure_fails_its_caller_only() {
    let fixture = testing::memory();
    let panicked: Result<()> = fixture.write(|txn| {
        let orders = txn.ensure_collection(&orders())?;
        txn.insert(orders.id, doc(r#"{"_id": 1}"#))?;
        panic!("a bug");
    });
    assert!(matches!(panicked, Err(Error::Internal(_))));
    fixture.insert(r#"{"_id": 2}"#).unwrap();
    assert_eq!(fixture.content(), [doc(r#"{"_id": 2}"#)]);
}

/// The committer is held in one closure while others queue up; they then share a group.
#[test]
fn listeners_hear_a_group_in_order_before_its_writers() {
    let fixture = testing::memory();
    let acknowledged = Arc::new(AtomicBool::new(false));
    let (sent, received) = mpsc::channel();
    let seen = Arc::clone(&acknowledged);
    fixture.store.on_durable(Box::new(move |entries, durable| {
        assert!(!seen.load(Ordering::SeqCst), "a writer knew before the listener");
        let words: Vec<_> = entries.iter().map(|entry| testing::word(&entry.operation)).collect();
        assert_eq!(entries.last().unwrap().position.time, durable);
        sent.send(words).unwrap();
    }));
    let (go, wait) = mpsc::channel::<()>();
    let first = fixture.store.write(move |txn| {
        wait.recv().unwrap();
        txn.ensure_collection(&orders()).map(|_| ())
    });
    let rest: Vec<_> = (1..=3)
        .map(|id| {
            fixture.store.write(move |txn| {
                let orders = txn.ensure_collection(&orders())?;
                txn.insert(orders.id, doc(&format!(r#"{{"_id": {id}}}"#))).map(|_| ())
            })
        })
        .collect();
    go.send(()).unwrap();
    first.wait().unwrap();
    let times: Vec<_> = rest.into_iter().map(|pending| pending.wait().unwrap().time).collect();
    acknowledged.store(true, Ordering::SeqCst);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    let heard: Vec<_> = received.try_iter().flatten().collect();
    assert_eq!(heard, ["create", "insert { _id: 1 }", "insert { _id: 2 }", "insert { _id: 3 }"]);
}

#[test]
fn many_threads_write_at_once_and_every_write_is_logged_once() {
    let fixture = testing::memory();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = fixture.store.clone();
            scope.spawn(move || {
                for n in 0..50 {
                    let document = doc(&format!(r#"{{"_id": {}}}"#, thread * 1000 + n));
                    let write = store.write(move |txn| {
                        let orders = txn.ensure_collection(&orders())?;
                        txn.insert(orders.id, document).map(|_| ())
                    });
                    let time = write.wait().unwrap().time;
                    assert!(store.durable() >= time, "acknowledged before durable");
                }
            });
        }
    });
    assert_eq!(fixture.content().len(), 400);
    assert_eq!(fixture.log().len(), 401);
}
