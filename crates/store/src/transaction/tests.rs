//! Isolation, conflicts and the shape of a transaction in the log.

use std::time::{Duration, Instant};

use base::ClusterTime;
use document::{DocBuf, Raw};

use super::Transaction;
use crate::entry::Namespace;
use crate::error::{Error, Result};
use crate::read::Reader;
use crate::testing::{self, Fixture, content, doc, find, matcher, orders};
use crate::write::{Change, WriteTxn};

fn insert(txn: &mut WriteTxn, json: &str) -> Result<()> {
    let orders = txn.ensure_collection(&orders())?;
    txn.insert(orders.id, doc(json)).map(|_| ())
}

/// Sets `n` of a document.
fn set(txn: &mut WriteTxn, id: i32, n: i32) -> Result<()> {
    let orders = txn.ensure_collection(&orders())?;
    let found = txn.get(orders.id, Raw::Int32(id))?.unwrap();
    let after = doc(&format!(r#"{{"_id": {id}, "n": {n}}}"#));
    txn.replace(orders.id, found.record, &found.document, after, Change::Replace)
}

fn lsid() -> DocBuf {
    doc(r#"{"id": "session"}"#)
}

fn commit(transaction: Transaction) -> Result<()> {
    transaction.commit(lsid(), 7).wait().map(|_| ())
}

fn with_one() -> Fixture {
    let fixture = testing::memory();
    fixture.insert(r#"{"_id": 1, "n": 0}"#).unwrap();
    fixture
}

#[test]
fn nothing_is_seen_before_the_commit_and_everything_after() {
    let fixture = with_one();
    fixture.create_index(r#"{"key": {"n": 1}}"#).unwrap();
    let mut transaction = fixture.store.begin().unwrap();
    transaction.statement(|txn| insert(txn, r#"{"_id": 2, "n": 5}"#)).unwrap();
    transaction.statement(|txn| set(txn, 1, 5)).unwrap();
    fixture.insert(r#"{"_id": 3, "n": 5}"#).unwrap();
    let mine = transaction.view();
    assert_eq!(content(&mine), [doc(r#"{"_id": 1, "n": 5}"#), doc(r#"{"_id": 2, "n": 5}"#)]);
    let (found, index) = find(&mine, &matcher(r#"{"n": 5}"#));
    assert_eq!((found.len(), index.as_deref()), (2, Some("n_1")));
    assert_eq!(mine.counts(mine.catalog().collection(&orders()).unwrap()).unwrap().documents, 2);
    assert_eq!(fixture.content(), [doc(r#"{"_id": 1, "n": 0}"#), doc(r#"{"_id": 3, "n": 5}"#)]);
    commit(transaction).unwrap();
    assert_eq!(fixture.content().len(), 3);
    fixture.check_indexes();
    let entries: Vec<_> = fixture.store.log(None, ClusterTime::MAX).map(Result::unwrap).collect();
    let mine: Vec<_> = entries.iter().filter(|entry| entry.txn.is_some()).collect();
    assert_eq!(
        mine.iter().map(|e| testing::word(&e.operation)).collect::<Vec<_>>(),
        ["insert { _id: 2 }", "replace { _id: 1 }"]
    );
    assert_eq!(mine.iter().map(|e| e.position.index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(mine[0].position.time, mine[1].position.time);
    let info: Vec<_> = mine.iter().map(|e| e.txn.clone().unwrap()).collect();
    assert_eq!((info[0].txn_number, info[0].last, info[1].last), (7, false, true));
    assert_eq!(fixture.store.snapshot().unwrap().time(), mine[0].position.time);
}

#[test]
fn an_aborted_or_forgotten_transaction_leaves_nothing() {
    let fixture = with_one();
    for forget in [false, true] {
        let mut transaction = fixture.store.begin().unwrap();
        transaction.statement(|txn| insert(txn, r#"{"_id": 2}"#)).unwrap();
        transaction
            .statement(|txn| txn.create_collection(&Namespace::new("shop", "new"), DocBuf::default()).map(|_| ()))
            .unwrap();
        if forget {
            drop(transaction)
        } else {
            transaction.abort()
        }
        assert_eq!(fixture.content().len(), 1);
        assert!(fixture.store.catalog().find("shop", "new").is_none());
    }
    fixture.insert(r#"{"_id": 2}"#).unwrap();
}

#[test]
fn a_refused_statement_is_undone_alone() {
    let fixture = with_one();
    let mut transaction = fixture.store.begin().unwrap();
    transaction.statement(|txn| insert(txn, r#"{"_id": 2}"#)).unwrap();
    let refused = transaction.statement(|txn| {
        insert(txn, r#"{"_id": 3}"#)?;
        insert(txn, r#"{"_id": 1}"#)
    });
    assert_eq!(refused.unwrap_err().code(), 11000);
    commit(transaction).unwrap();
    assert_eq!(fixture.content().len(), 2);
}

#[test]
fn the_second_writer_of_a_document_conflicts() {
    let fixture = with_one();
    let mut first = fixture.store.begin().unwrap();
    let mut second = fixture.store.begin().unwrap();
    first.statement(|txn| set(txn, 1, 1)).unwrap();
    assert_eq!(second.statement(|txn| set(txn, 1, 2)).unwrap_err().code(), 112);
    commit(first).unwrap();
    // The lock is gone, but the document is not what the second one's snapshot shows.
    assert_eq!(second.statement(|txn| set(txn, 1, 2)).unwrap_err().code(), 112);
    second.abort();
    assert_eq!(fixture.content(), [doc(r#"{"_id": 1, "n": 1}"#)]);
}

#[test]
fn the_second_inserter_of_a_key_conflicts() {
    let fixture = with_one();
    let mut first = fixture.store.begin().unwrap();
    let mut second = fixture.store.begin().unwrap();
    first.statement(|txn| insert(txn, r#"{"_id": 2}"#)).unwrap();
    assert_eq!(second.statement(|txn| insert(txn, r#"{"_id": 2}"#)).unwrap_err().code(), 112);
    first.abort();
    fixture.insert(r#"{"_id": 2}"#).unwrap();
    assert_eq!(second.statement(|txn| insert(txn, r#"{"_id": 2}"#)).unwrap_err().code(), 112);
}

#[test]
fn an_ordinary_write_waits_for_the_transaction_that_is_in_its_way() {
    let fixture = with_one();
    let mut transaction = fixture.store.begin().unwrap();
    transaction.statement(|txn| set(txn, 1, 1)).unwrap();
    assert_eq!(fixture.write(|txn| set(txn, 1, 2)).unwrap_err().code(), 112);
    let soon = Instant::now() + Duration::from_millis(20);
    assert!(matches!(
        fixture.store.write_waiting(soon, || |txn: &mut WriteTxn| set(txn, 1, 2)),
        Err(Error::WriteConflict(_))
    ));
    std::thread::scope(|scope| {
        let store = fixture.store.clone();
        let waiting = scope.spawn(move || {
            let late = Instant::now() + Duration::from_secs(60);
            store.write_waiting(late, || |txn: &mut WriteTxn| set(txn, 1, 2))
        });
        commit(transaction).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(fixture.content(), [doc(r#"{"_id": 1, "n": 2}"#)]);
}

#[test]
fn a_collection_with_an_open_transaction_cannot_be_dropped_or_indexed() {
    let fixture = with_one();
    let mut transaction = fixture.store.begin().unwrap();
    transaction.statement(|txn| insert(txn, r#"{"_id": 2}"#)).unwrap();
    assert_eq!(fixture.write(|txn| txn.drop_database("shop")).unwrap_err().code(), 112);
    assert_eq!(fixture.create_index(r#"{"key": {"n": 1}}"#).unwrap_err().code(), 112);
    commit(transaction).unwrap();
    fixture.create_index(r#"{"key": {"n": 1}}"#).unwrap();
    fixture.check_indexes();
}

#[test]
fn a_transaction_that_does_not_know_a_new_index_conflicts() {
    let fixture = with_one();
    let mut transaction = fixture.store.begin().unwrap();
    fixture.create_index(r#"{"key": {"n": 1}}"#).unwrap();
    assert_eq!(transaction.statement(|txn| set(txn, 1, 1)).unwrap_err().code(), 112);
}

#[test]
fn a_transaction_creates_collections_with_indexes() {
    let fixture = testing::memory();
    let mut transaction = fixture.store.begin().unwrap();
    transaction
        .statement(|txn| {
            let orders = txn.ensure_collection(&orders())?;
            txn.create_indexes(orders.id, &[doc(r#"{"key": {"a": 1}}"#)])?;
            Ok(())
        })
        .unwrap();
    transaction.statement(|txn| insert(txn, r#"{"_id": 1, "a": [1, 2]}"#)).unwrap();
    let other = fixture.insert(r#"{"_id": 9}"#);
    assert_eq!(other.unwrap_err().code(), 112, "the name is taken by an open transaction");
    commit(transaction).unwrap();
    fixture.check_indexes();
    let orders = fixture.store.catalog().collection(&orders()).cloned().unwrap();
    assert!(orders.index("a_1").unwrap().is_multikey());
    let dropped = fixture.store.begin().unwrap().statement(|txn| txn.drop_collection(orders.id).map(|_| ()));
    assert_eq!(dropped.unwrap_err().code(), 263);
}

#[test]
fn a_transaction_with_no_writes_commits_at_once() {
    let fixture = with_one();
    let transaction = fixture.store.begin().unwrap();
    assert!(!transaction.has_writes());
    let committed = transaction.commit(lsid(), 1).wait().unwrap();
    assert_eq!(committed.time, fixture.store.applied());
}
