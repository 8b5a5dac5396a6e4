//! The store as its callers see it, on both backends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;

use base::{ClusterTime, ManualClock, Random};
use document::{DocBuf, Raw};

use super::*;
use crate::entry::Operation;
use crate::kv::{Direction, FjallKv, MemoryKv};
use crate::read::Reader;
use crate::testing::{self, Fixture, doc, find, matcher, orders, random_document};
use crate::write::Change;

fn both_backends(check: impl Fn(Fixture, &dyn Fn() -> Fixture)) {
    let kv = MemoryKv::default();
    check(testing::on(Arc::new(kv.clone())), &|| testing::on(Arc::new(kv.clone())));
    let dir = tempfile::tempdir().unwrap();
    let open = || testing::on(Arc::new(FjallKv::open(dir.path(), SyncMode::Buffered).unwrap()));
    check(open(), &open);
}

#[test]
fn writes_are_read_back_in_insertion_order_and_logged() {
    both_backends(|fixture, reopen| {
        let (sent, received) = mpsc::channel();
        fixture.store.on_durable(Box::new(move |entries, _| sent.send(entries.len()).unwrap()));
        fixture.insert(r#"{"_id": 2}"#).unwrap();
        fixture.insert(r#"{"_id": 1}"#).unwrap();
        let duplicate = fixture.insert(r#"{"_id": 1.0}"#).unwrap_err();
        let expected = "E11000 duplicate key error collection: shop.orders index: _id_ dup key: { _id: 1.0 }";
        assert_eq!((duplicate.code(), duplicate.to_string().as_str()), (11000, expected));
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [2, 1]);
        check_content(&fixture);
        let (applied, oldest) = (fixture.store.applied(), fixture.store.oldest_time());
        drop(fixture);
        let fixture = reopen();
        check_content(&fixture);
        assert_eq!((fixture.store.applied(), fixture.store.oldest_time()), (applied, oldest));
        fixture.insert(r#"{"_id": 3}"#).unwrap();
        assert!(fixture.store.applied() > applied);
    });
}

fn check_content(fixture: &Fixture) {
    let snapshot = fixture.store.snapshot().unwrap();
    let orders = snapshot.catalog().find("shop", "orders").unwrap();
    let found = snapshot.get(orders.id, Raw::Double(1.0)).unwrap().unwrap();
    assert_eq!(found.document, doc(r#"{"_id": 1}"#));
    assert_eq!(snapshot.get(orders.id, Raw::Int32(3)).unwrap(), None);
    assert_eq!(fixture.content(), [doc(r#"{"_id": 2}"#), doc(r#"{"_id": 1}"#)]);
    assert_eq!(snapshot.counts(orders).unwrap().documents, 2);
    assert_eq!(snapshot.time(), fixture.store.applied());
    assert_eq!(fixture.store.applied(), fixture.store.durable());
    assert_eq!(fixture.log(), ["create", "insert { _id: 2 }", "insert { _id: 1 }"]);
}

/// What a collection should hold, by `_id`.
type Model = BTreeMap<i64, DocBuf>;

/// Random writes against a model; after each batch documents, indexes, queries and a replay of
/// the log must agree with it.
#[test]
fn random_writes_agree_with_a_model_and_with_the_log() {
    both_backends(|fixture, reopen| {
        let mut random = Random::seeded(7);
        let mut model = Model::new();
        fixture.create_index(r#"{"key": {"a": 1, "b": -1}}"#).unwrap();
        fixture.create_index(r#"{"key": {"u": 1}, "unique": true, "sparse": true}"#).unwrap();
        fixture.create_index(r#"{"key": {"c.a": 1}, "partialFilterExpression": {"b": {"$gt": 1}}}"#).unwrap();
        let mut fixture = fixture;
        for round in 0..12 {
            for _ in 0..25 {
                step(&fixture, &mut random, &mut model);
            }
            if round % 4 == 3 {
                drop(fixture);
                fixture = reopen();
            }
            check_model(&fixture, &model, &mut random);
        }
    });
}

fn step(fixture: &Fixture, random: &mut Random, model: &mut Model) {
    let id = random.below(40) as i64;
    let unique = random.below(60);
    let body = random_document(random, 2);
    let json = format!("{{\"_id\": {id}, \"u\": {unique}{}{}", if body == "{}" { "" } else { ", " }, &body[1..]);
    let document = doc(&json);
    let array = |name| matches!(document.get(name), Some(Raw::Array(_)));
    let parallel = array("a") && array("b");
    let refused = |except: i64| {
        let key = document.get("u").unwrap();
        parallel || model.iter().any(|(other, held)| *other != except && held.get("u") == Some(key))
    };
    match (random.below(3), model.get(&id).cloned()) {
        (0, Some(before)) => {
            remove(fixture, id, before).unwrap();
            model.remove(&id);
        }
        (_, Some(before)) => {
            let outcome = replace(fixture, id, before, document.clone());
            assert_eq!(outcome.is_err(), refused(id), "{json}: {outcome:?}");
            if outcome.is_ok() {
                model.insert(id, document);
            }
        }
        (_, None) => {
            let outcome = fixture.insert(&json);
            assert_eq!(outcome.is_err(), refused(id), "{json}: {outcome:?}");
            if outcome.is_ok() {
                model.insert(id, document);
            }
        }
    }
}

fn replace(fixture: &Fixture, id: i64, before: DocBuf, after: DocBuf) -> Result<()> {
    fixture.write(move |txn| {
        let orders = txn.collection(&orders()).unwrap();
        let found = txn.get(orders.id, Raw::Int64(id))?.unwrap();
        assert_eq!(found.document, before);
        txn.replace(orders.id, found.record, &before, after, Change::Replace)
    })
}

fn remove(fixture: &Fixture, id: i64, before: DocBuf) -> Result<()> {
    fixture.write(move |txn| {
        let orders = txn.collection(&orders()).unwrap();
        let found = txn.get(orders.id, Raw::Int64(id))?.unwrap();
        txn.delete(orders.id, found.record, &before)
    })
}

fn by_id(documents: Vec<DocBuf>) -> Model {
    documents.into_iter().map(|document| (document.get("_id").unwrap().as_whole().unwrap(), document)).collect()
}

fn check_model(fixture: &Fixture, model: &Model, random: &mut Random) {
    assert_eq!(by_id(fixture.content()), *model);
    fixture.check_indexes();
    let mut replayed = Model::new();
    for entry in fixture.store.log(None, ClusterTime::MAX) {
        match entry.unwrap().operation {
            Operation::Insert { document, .. } | Operation::Replace { document, .. } => {
                replayed.extend(by_id(vec![document]));
            }
            Operation::Delete { key, .. } => {
                replayed.remove(&key.get("_id").unwrap().as_whole().unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(replayed, *model, "the log replayed");
    let snapshot = fixture.store.snapshot().unwrap();
    let collection = snapshot.catalog().collection(&orders()).unwrap();
    let bytes = model.values().map(|document| document.len() as u64).sum();
    assert_eq!(snapshot.counts(collection).unwrap(), crate::Counts { documents: model.len() as u64, bytes });
    let value = random.below(5);
    for filter in [format!(r#"{{"a": {value}}}"#), format!(r#"{{"a": {{"$gte": {value}}}, "b": {{"$lt": 3}}}}"#)] {
        let filter = matcher(&filter);
        let expected: Vec<_> = model.values().filter(|d| filter.matches(d.as_doc()).unwrap()).cloned().collect();
        assert_eq!(by_id(find(&snapshot, &filter).0), by_id(expected));
    }
}

#[test]
fn a_refused_closure_leaves_nothing() {
    let fixture = testing::memory();
    fixture.insert(r#"{"_id": 1}"#).unwrap();
    let applied = fixture.store.applied();
    let refused: Result<()> = fixture.write(|txn| {
        let orders = txn.ensure_collection(&orders())?;
        txn.insert(orders.id, doc(r#"{"_id": 2}"#))?;
        txn.put_record("side", b"key", "value");
        txn.create_collection(&Namespace::new("shop", "other"), DocBuf::default())?;
        Err(Error::request(2, "no"))
    });
    assert_eq!(refused.unwrap_err().code(), 2);
    assert_eq!(fixture.content().len(), 1);
    assert_eq!(fixture.store.applied(), applied);
    assert!(fixture.store.catalog().find("shop", "other").is_none());
    assert_eq!(fixture.store.snapshot().unwrap().get_record("side", b"key").unwrap(), None);
}

/// Unordered inserts go on after a duplicate, within the same closure.
#[test]
fn a_refused_document_leaves_nothing_and_the_closure_may_go_on() {
    let fixture = testing::memory();
    fixture.create_index(r#"{"key": {"u": 1}, "unique": true}"#).unwrap();
    let codes = fixture.write(|txn| {
        let orders = txn.ensure_collection(&orders())?;
        let documents = [
            r#"{"_id": 1, "u": 1}"#,
            r#"{"_id": 1, "u": 2}"#,
            r#"{"_id": 2, "u": 1}"#,
            r#"{"_id": [3], "u": 3}"#,
            r#"{"_id": 4, "u": 2}"#,
        ];
        let insert = |json: &&str| txn.insert(orders.id, doc(json)).err().map_or(0, |error| error.code());
        Ok(documents.iter().map(insert).collect::<Vec<_>>())
    });
    assert_eq!(codes.unwrap(), [0, 11000, 11000, 2, 0]);
    assert_eq!(fixture.content().len(), 2);
    fixture.check_indexes();
}

#[test]
fn records_commit_with_the_documents_and_are_read_by_prefix() {
    both_backends(|fixture, reopen| {
        fixture
            .write(|txn| {
                for key in ["a1", "a2", "b1"] {
                    txn.put_record("views", key.as_bytes(), key.to_uppercase());
                }
                txn.put_record("viewsa", b"x", "other table");
                Ok(())
            })
            .unwrap();
        fixture
            .write(|txn| {
                txn.delete_record("views", b"a1");
                Ok(())
            })
            .unwrap();
        drop(fixture);
        let snapshot = reopen().store.snapshot().unwrap();
        let records: Vec<_> = snapshot.records("views", b"a").map(Result::unwrap).collect();
        assert_eq!(records, [("a2".into(), "A2".into())]);
        assert_eq!(snapshot.records("views", b"").count(), 2);
    });
}

#[test]
fn cluster_time_grows_although_the_clock_steps_back_and_the_store_restarts() {
    let kv = MemoryKv::default();
    let mut last = ClusterTime::ZERO;
    for _ in 0..3 {
        let fixture = testing::on(Arc::new(kv.clone()));
        for step in [0, -60_000, 5_000, -1] {
            fixture.clock.advance_ms(step);
            fixture.insert(&format!(r#"{{"_id": {{"$numberLong": "{}"}}}}"#, fixture.store.applied().0)).unwrap();
            assert!(fixture.store.applied() > last);
            last = fixture.store.applied();
        }
    }
    let fixture = testing::on(Arc::new(kv));
    let times: Vec<_> = fixture.store.log(None, ClusterTime::MAX).map(|entry| entry.unwrap().position.time).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert_eq!(times.last(), Some(&last));
}

#[test]
fn a_capped_collection_evicts_the_oldest_after_each_insert() {
    let fixture = testing::memory();
    let options = doc(r#"{"capped": true, "size": 4096, "max": 2}"#);
    fixture.write(|txn| txn.create_collection(&orders(), options)).unwrap();
    for id in 1..=4 {
        fixture.insert(&format!(r#"{{"_id": {id}}}"#)).unwrap();
    }
    let expected = [
        "create",
        "insert { _id: 1 }",
        "insert { _id: 2 }",
        "insert { _id: 3 }",
        "delete { _id: 1 }",
        "insert { _id: 4 }",
        "delete { _id: 2 }",
    ];
    assert_eq!(fixture.log(), expected);
    assert_eq!(fixture.content().len(), 2);
    let grown = fixture.write(|txn| {
        let orders = txn.collection(&orders()).unwrap();
        let found = txn.get(orders.id, Raw::Int32(4))?.unwrap();
        let after = doc(r#"{"_id": 4, "n": 1}"#);
        txn.replace(orders.id, found.record, &found.document, after, Change::Replace)
    });
    assert_eq!(grown.unwrap_err().code(), 10003);
}

#[test]
fn pre_images_are_kept_where_the_collection_or_a_view_asks() {
    let fixture = testing::memory();
    let update = |id: i32| {
        fixture
            .write(move |txn| {
                let orders = txn.ensure_collection(&orders())?;
                let before = doc(&format!(r#"{{"_id": {id}}}"#));
                let record = txn.insert(orders.id, before.clone())?;
                txn.delete(orders.id, record, &before)
            })
            .unwrap();
        match fixture.store.log(None, ClusterTime::MAX).last().unwrap().unwrap().operation {
            Operation::Delete { before, .. } => before.map(|image| image.by_option),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(update(1), None);
    fixture.store.set_image_interest(&Namespace::new("shop", ""), true);
    assert_eq!(update(2), Some(false));
    fixture.store.set_image_interest(&Namespace::new("shop", ""), false);
    assert_eq!(update(3), None);
    let on = doc(r#"{"changeStreamPreAndPostImages": {"enabled": true}}"#);
    fixture
        .write(|txn| {
            let orders = txn.collection(&orders()).unwrap();
            txn.modify(orders.id, crate::Modification { options: Some(on), ..Default::default() }).map(|_| ())
        })
        .unwrap();
    assert_eq!(update(4), Some(true));
    fixture.store.set_image_expiry(Some(60));
    fixture.clock.advance_ms(61_000);
    match fixture.store.log(None, ClusterTime::MAX).last().unwrap().unwrap().operation {
        Operation::Delete { before, .. } => assert!(!before.unwrap().by_option, "the image has expired"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_process_and_a_newer_format_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(dir.path())).unwrap();
    assert!(matches!(Store::open(StoreOptions::new(dir.path())), Err(Error::Locked { .. })));
    drop(store);
    std::fs::write(dir.path().join("FORMAT"), "2\n").unwrap();
    assert!(matches!(Store::open(StoreOptions::new(dir.path())), Err(Error::NewerFormat { .. })));
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Store::open(StoreOptions::new(&file)), Err(Error::Unwritable { .. })));
}

/// The end of the journal overwritten, as a torn write leaves it: what was acknowledged before the
/// damage is there, and the store goes on.
#[test]
fn a_damaged_journal_tail_costs_the_tail_only() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(testing::START_MS));
    let open = || {
        let options = StoreOptions { dir: dir.path().to_owned(), ..testing::options(&clock) };
        Store::open(options).unwrap()
    };
    let insert = |store: &Store, id: i32| {
        let document = doc(&format!(r#"{{"_id": {id}}}"#));
        let write = store.write(move |txn| {
            let orders = txn.ensure_collection(&orders())?;
            txn.insert(orders.id, document).map(|_| ())
        });
        write.wait().unwrap();
    };
    let store = open();
    (0..50).for_each(|id| insert(&store, id));
    drop(store);
    let journal = dir.path().join("kv/0.jnl");
    let bytes = std::fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut torn = bytes[..end - 300].to_vec();
    torn.extend([0xAB; 300]);
    std::fs::write(&journal, torn).unwrap();
    let store = open();
    let kept = testing::content(&store.snapshot().unwrap()).len();
    assert!((40..50).contains(&kept), "{kept} of 50 documents");
    let logged = store.log(None, ClusterTime::MAX).map(Result::unwrap).count();
    assert_eq!(logged, kept + 1, "documents and log entries come and go together");
    insert(&store, 100);
    drop(store);
    assert_eq!(testing::content(&open().snapshot().unwrap()).len(), kept + 1);
}

#[test]
fn a_closed_store_refuses_writes_and_still_reads() {
    let fixture = testing::memory();
    fixture.insert(r#"{"_id": 1}"#).unwrap();
    fixture.store.close();
    assert!(matches!(fixture.insert(r#"{"_id": 2}"#), Err(Error::Closed)));
    assert_eq!(fixture.content().len(), 1);
    assert!(matches!(fixture.store.upkeep(), Err(Error::Closed) | Ok(())));
}

#[test]
fn a_snapshot_does_not_change() {
    let fixture = testing::memory();
    fixture.insert(r#"{"_id": 1}"#).unwrap();
    let snapshot = fixture.store.snapshot().unwrap();
    fixture.insert(r#"{"_id": 2}"#).unwrap();
    fixture.write(|txn| txn.drop_database("shop")).unwrap();
    assert_eq!(testing::content(&snapshot), [doc(r#"{"_id": 1}"#)]);
    assert!(fixture.store.snapshot().unwrap().time() > snapshot.time());
    let rows: Vec<_> = snapshot
        .scan(snapshot.catalog().collection(&orders()).unwrap().id, Direction::Backward)
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 1);
}
