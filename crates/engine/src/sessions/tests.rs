//! Transaction numbers, their order, and what survives a restart.

use std::sync::Arc;

use base::{ManualClock, Uuid};
use document::Doc;

use super::*;
use crate::documents::{Caller, Find, Modification, SessionCall, UpdateStatement, Write, WriteBatch, WriteReport};
use crate::{BatchLimit, Namespace, Options};

struct Fixture {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    db: Headwater,
}

fn open(dir: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Headwater {
    let options = Options { clock: Arc::clone(clock) as Arc<dyn Clock>, ..Options::new(dir.path()) };
    Headwater::open(options).unwrap()
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let db = open(&dir, &clock);
    Fixture { dir, clock, db }
}

fn things() -> Namespace {
    Namespace::new("t", "things")
}

fn caller(lsid: Uuid, number: i64, in_transaction: bool, start: bool) -> Caller {
    Caller { session: Some(SessionCall { lsid, txn_number: Some(number), in_transaction, start }), ..Caller::default() }
}

fn increment(id: i32) -> WriteBatch {
    let update = Doc::new().with("$inc", Doc::new().with("n", 1)).to_buf();
    let statement = UpdateStatement {
        upsert: true,
        ..UpdateStatement::new(Doc::new().with("_id", id).to_buf(), Modification::Document(update))
    };
    WriteBatch::on(things(), [Write::Update(statement)])
}

async fn n_of(db: &Headwater, caller: &Caller, id: i32) -> Option<i64> {
    let mut found = db.find(caller, Find::new(things(), Doc::new().with("_id", id).to_buf())).unwrap();
    let batch = found.next_batch(BatchLimit::default(), None).await.unwrap();
    batch.documents.first().and_then(|doc| doc.get("n")?.as_whole())
}

fn code(result: Result<WriteReport>) -> i32 {
    match result {
        Ok(report) => report.errors().next().map_or(0, |(_, error)| error.code()),
        Err(error) => error.code(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_write_is_applied_once_even_after_a_restart() {
    let Fixture { dir, clock, db } = fixture();
    let lsid = Uuid([1; 16]);
    let first = caller(lsid, 1, false, false);
    assert!(db.write(&first, increment(1)).await.unwrap().retried.is_empty());
    assert_eq!(db.write(&first, increment(1)).await.unwrap().retried, [0]);
    db.close();
    drop(db);
    let db = open(&dir, &clock);
    let again = db.write(&first, increment(1)).await.unwrap();
    assert_eq!((again.retried.as_slice(), again.written().next().unwrap().1.n), ([0].as_slice(), 1));
    assert_eq!(n_of(&db, &Caller::default(), 1).await, Some(1));
    assert_eq!(code(db.write(&caller(lsid, 2, false, false), increment(1)).await), 0);
    assert_eq!(code(db.write(&first, increment(1)).await), 225);
    assert_eq!(n_of(&db, &Caller::default(), 1).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_seen_by_itself_until_it_commits() {
    let Fixture { db, .. } = fixture();
    let lsid = Uuid([2; 16]);
    db.write(&Caller::default(), increment(1)).await.unwrap();
    assert_eq!(code(db.write(&caller(lsid, 1, true, true), increment(1)).await), 0);
    let inside = caller(lsid, 1, true, false);
    assert_eq!(n_of(&db, &inside, 1).await, Some(2));
    assert_eq!(n_of(&db, &Caller::default(), 1).await, Some(1));
    assert!(db.commit_transaction(&inside).await.unwrap().is_some());
    assert_eq!(n_of(&db, &Caller::default(), 1).await, Some(2));
    assert!(db.commit_transaction(&inside).await.is_ok(), "a commit may be sent again");
    assert_eq!(db.abort_transaction(&inside).unwrap_err().code(), 256);
    assert_eq!(code(db.write(&inside, increment(1)).await), 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_can_be_retried_after_a_restart() {
    let Fixture { dir, clock, db } = fixture();
    let lsid = Uuid([3; 16]);
    db.write(&caller(lsid, 7, true, true), increment(1)).await.unwrap();
    let inside = caller(lsid, 7, true, false);
    db.commit_transaction(&inside).await.unwrap();
    db.close();
    drop(db);
    let db = open(&dir, &clock);
    assert!(db.commit_transaction(&inside).await.is_ok());
    assert_eq!(db.commit_transaction(&caller(lsid, 8, true, false)).await.unwrap_err().code(), 251);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_transactions_end_with_112_and_251() {
    let Fixture { db, .. } = fixture();
    db.write(&Caller::default(), increment(1)).await.unwrap();
    let (a, b) = (Uuid([4; 16]), Uuid([5; 16]));
    assert_eq!(code(db.write(&caller(a, 1, true, true), increment(1)).await), 0);
    assert_eq!(code(db.write(&caller(b, 1, true, true), increment(1)).await), 112);
    assert_eq!(db.commit_transaction(&caller(b, 1, true, false)).await.unwrap_err().code(), 251);
    db.commit_transaction(&caller(a, 1, true, false)).await.unwrap();
    assert_eq!(n_of(&db, &Caller::default(), 1).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_write_waits_for_the_transaction_that_holds_its_document() {
    let Fixture { db, .. } = fixture();
    db.write(&Caller::default(), increment(1)).await.unwrap();
    let lsid = Uuid([6; 16]);
    db.write(&caller(lsid, 1, true, true), increment(1)).await.unwrap();
    let waiting = tokio::spawn({
        let db = db.clone();
        async move { db.write(&Caller::default(), increment(1)).await }
    });
    db.commit_transaction(&caller(lsid, 1, true, false)).await.unwrap();
    assert_eq!(code(waiting.await.unwrap()), 0);
    assert_eq!(n_of(&db, &Caller::default(), 1).await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let Fixture { clock, db, .. } = fixture();
    let lsid = Uuid([7; 16]);
    db.write(&caller(lsid, 1, true, true), increment(1)).await.unwrap();
    clock.advance_ms(TRANSACTION_LIFETIME_SECONDS * 1000);
    assert_eq!(db.sessions().expire(), []);
    clock.advance_ms(1);
    assert_eq!(db.sessions().expire(), [Expired::Transaction(lsid, 1)]);
    let inside = caller(lsid, 1, true, false);
    assert_eq!(code(db.write(&inside, increment(1)).await), 251);
    assert_eq!(db.commit_transaction(&inside).await.unwrap_err().code(), 251);
    assert_eq!(n_of(&db, &Caller::default(), 1).await, None);
    assert_eq!(code(db.write(&caller(lsid, 1, true, true), increment(1)).await), 50911);
    assert_eq!(code(db.write(&caller(lsid, 2, true, true), increment(1)).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_transaction_may_be_open_can_be_set() {
    let Fixture { clock, db, .. } = fixture();
    let lsid = Uuid([8; 16]);
    db.sessions().set_transaction_lifetime_seconds(2);
    db.write(&caller(lsid, 1, true, true), increment(1)).await.unwrap();
    clock.advance_ms(2001);
    assert_eq!(db.sessions().expire(), [Expired::Transaction(lsid, 1)]);
    // The document is free again: nothing of the transaction is left.
    assert_eq!(code(db.write(&Caller::default(), increment(1)).await), 0);
    clock.advance_ms(TIMEOUT_MS);
    assert_eq!(db.sessions().expire(), [Expired::Session(lsid)]);
}
