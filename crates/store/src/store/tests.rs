//! The store as its callers see it, on both backends.

use std::sync::Arc;
use std::sync::mpsc;

use base::{ClusterTime, ManualClock};
use document::{Doc, DocBuf, Raw};

use super::*;
use crate::entry::Operation;
use crate::kv::{Direction, MemoryKv};
use crate::read::Reader;

pub(crate) fn memory_store() -> Store {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let options = StoreOptions { clock, upkeep_interval: None, ..StoreOptions::new("") };
    Store::open_on(Arc::new(MemoryKv::default()), options).unwrap()
}

fn doc(id: i32) -> DocBuf {
    Doc::new().with("_id", id).with("n", id * 10).to_buf()
}

fn orders() -> Namespace {
    Namespace::new("shop", "orders")
}

fn insert(store: &Store, id: i32) -> Result<Committed<()>> {
    store
        .write(move |txn| {
            let orders = txn.ensure_collection(&orders())?;
            txn.insert(orders.id, doc(id)).map(|_| ())
        })
        .wait()
}

fn log_kinds(store: &Store) -> Vec<String> {
    let entries = store.log(None, ClusterTime::MAX);
    entries
        .map(|entry| match entry.unwrap().operation {
            Operation::Create { .. } => "create".to_owned(),
            Operation::Insert { key, .. } => format!("insert {}", key.get("_id").unwrap().as_whole().unwrap()),
            other => format!("{other:?}"),
        })
        .collect()
}

fn check_basics(store: &Store) {
    let (sent, received) = mpsc::channel();
    store.on_durable(Box::new(move |entries, time| sent.send((entries.len(), time)).unwrap()));
    insert(store, 2).unwrap();
    insert(store, 1).unwrap();
    let duplicate = insert(store, 1).unwrap_err();
    assert_eq!(duplicate.code(), 11000);
    let expected = "E11000 duplicate key error collection: shop.orders index: _id_ dup key: { _id: 1 }";
    assert_eq!(duplicate.to_string(), expected);
    assert_eq!(received.try_iter().map(|(count, _)| count).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(log_kinds(store), ["create", "insert 2", "insert 1"]);
    check_content(store);
}

fn check_content(store: &Store) {
    let snapshot = store.snapshot().unwrap();
    let orders = snapshot.catalog().find("shop", "orders").unwrap();
    assert_eq!(snapshot.get(orders.id, Raw::Double(1.0)).unwrap().unwrap().document, doc(1));
    assert_eq!(snapshot.get(orders.id, Raw::Int32(3)).unwrap(), None);
    let natural: Vec<_> = snapshot.scan(orders.id, Direction::Forward).map(|row| row.unwrap().document).collect();
    assert_eq!(natural, [doc(2), doc(1)]);
    assert_eq!(snapshot.counts(orders).unwrap().documents, 2);
    assert_eq!(snapshot.time(), store.applied());
    assert_eq!(store.applied(), store.durable());
}

#[test]
fn writes_are_read_back_in_insertion_order_and_logged() {
    check_basics(&memory_store());
}

#[test]
fn a_reopened_directory_shows_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(dir.path())).unwrap();
    check_basics(&store);
    let (applied, oldest) = (store.applied(), store.oldest_time());
    drop(store);
    let store = Store::open(StoreOptions::new(dir.path())).unwrap();
    check_content(&store);
    assert_eq!((store.applied(), store.oldest_time()), (applied, oldest));
    assert_eq!(log_kinds(&store), ["create", "insert 2", "insert 1"]);
    assert!(insert(&store, 3).unwrap().time > applied);
}
