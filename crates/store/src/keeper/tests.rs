//! Garbage, retention and expiry.

use std::sync::Arc;
use std::time::Duration;

use base::ClusterTime;

use super::*;
use crate::kv::{Kv, MemoryKv};
use crate::store::{Store, StoreOptions};
use crate::testing::{self, Fixture, START_MS, orders};

fn keys(kv: &dyn Kv, space: Space) -> usize {
    kv.range(space, KeyRange { from: Vec::new(), to: None }, Direction::Forward).count()
}

#[test]
fn what_was_dropped_is_removed_and_the_rest_stays() {
    let fixture = testing::memory();
    for id in 0..2500 {
        fixture.insert(&format!(r#"{{"_id": {id}}}"#)).unwrap();
    }
    fixture.create_index(r#"{"key": {"a": 1}}"#).unwrap();
    fixture
        .write(|txn| {
            let kept = txn.ensure_collection(&crate::Namespace::new("shop", "kept"))?;
            txn.insert(kept.id, testing::doc(r#"{"_id": 1}"#)).map(|_| ())
        })
        .unwrap();
    fixture
        .write(|txn| {
            let orders = txn.collection(&orders()).unwrap();
            txn.drop_collection(orders.id).map(|_| ())
        })
        .unwrap();
    assert_eq!(keys(&*fixture.kv, Space::Documents), 2501);
    fixture.store.upkeep().unwrap();
    assert_eq!(keys(&*fixture.kv, Space::Documents), 1);
    assert_eq!(keys(&*fixture.kv, Space::Indexes), 1);
    fixture.insert(r#"{"_id": 1}"#).unwrap();
    assert_eq!(fixture.content().len(), 1, "the new collection has nothing of the old");
}

fn with_retention(age: Duration, bytes: u64) -> Fixture {
    let kv: Arc<dyn Kv> = Arc::new(MemoryKv::default());
    let clock = Arc::new(base::ManualClock::new(START_MS));
    let options = StoreOptions { log_retention: LogRetention { age, bytes }, ..testing::options(&clock) };
    Fixture { store: Store::open_on(Arc::clone(&kv), options).unwrap(), clock, kv }
}

#[test]
fn old_entries_leave_the_log_unless_pinned() {
    let fixture = with_retention(Duration::from_secs(60), u64::MAX);
    fixture.insert(r#"{"_id": 1}"#).unwrap();
    let first = fixture.store.oldest_time();
    let pinned = fixture.store.applied();
    fixture.insert(r#"{"_id": 2}"#).unwrap();
    fixture.clock.advance_ms(61_000);
    fixture.insert(r#"{"_id": 3}"#).unwrap();
    fixture.store.pin_log("view", Some(pinned));
    fixture.store.upkeep().unwrap();
    assert_eq!(fixture.log().len(), 4, "the record with the pinned entry stays");
    fixture.store.pin_log("view", None);
    fixture.store.upkeep().unwrap();
    assert_eq!(fixture.log(), ["insert { _id: 3 }"]);
    assert!(fixture.store.oldest_time() > pinned);
    let lost = fixture.store.log_from_time(first, ClusterTime::MAX).next();
    assert!(matches!(lost, Some(Err(Error::HistoryLost { .. }))));
    let oldest = fixture.store.oldest_time();
    assert_eq!(fixture.store.log_from_time(oldest, ClusterTime::MAX).count(), 1);
    let again = testing::on(fixture.kv);
    assert_eq!(again.store.oldest_time(), oldest, "after a restart too");
}

#[test]
fn a_log_that_is_too_large_loses_its_oldest() {
    let fixture = with_retention(Duration::MAX, 1000);
    for id in 0..100 {
        fixture.insert(&format!(r#"{{"_id": {id}}}"#)).unwrap();
    }
    fixture.store.upkeep().unwrap();
    let log = fixture.log();
    assert!((5..20).contains(&log.len()), "{} entries left", log.len());
    assert_eq!(log.last().map(String::as_str), Some("insert { _id: 99 }"));
    let state = crate::layout::read_state(&*fixture.kv).unwrap();
    let records = fixture.kv.range(Space::Log, KeyRange { from: Vec::new(), to: None }, Direction::Forward);
    assert_eq!(state.log_bytes, records.map(|entry| entry.unwrap().1.len() as u64).sum::<u64>());
}

#[test]
fn documents_expire_as_ordinary_deletes() {
    let fixture = testing::memory();
    fixture.create_index(r#"{"key": {"at": 1}, "expireAfterSeconds": 10}"#).unwrap();
    for (id, at) in [(1, START_MS), (2, START_MS + 5000), (3, START_MS + 60_000)] {
        fixture.insert(&format!(r#"{{"_id": {id}, "at": {{"$date": {{"$numberLong": "{at}"}}}}}}"#)).unwrap();
    }
    fixture.insert(r#"{"_id": 4, "at": 5}"#).unwrap();
    fixture.insert(r#"{"_id": 5}"#).unwrap();
    fixture.store.upkeep().unwrap();
    assert_eq!(fixture.content().len(), 5);
    fixture.clock.advance_ms(15_000);
    fixture.store.upkeep().unwrap();
    let log = fixture.log();
    assert_eq!(log[log.len() - 2..], ["delete { _id: 1 }", "delete { _id: 2 }"]);
    assert_eq!(fixture.content().len(), 3);
    fixture.check_indexes();
}
