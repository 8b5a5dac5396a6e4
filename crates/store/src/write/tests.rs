//! Statements on collections and indexes, and what the log says of them.

use document::DocBuf;

use super::*;
use crate::error::Error;
use crate::kv::MemoryKv;
use crate::testing::{self, Fixture, doc, orders};

fn code<R>(result: Result<R>) -> i32 {
    result.err().map_or(0, |error| error.code())
}

fn names(fixture: &Fixture) -> Vec<String> {
    fixture.store.catalog().all().map(|collection| collection.namespace.to_string()).collect()
}

fn rename(fixture: &Fixture, from: &str, to: &str, drop_target: bool) -> Result<()> {
    let split = |name: &str| name.split_once('.').map(|(db, name)| Namespace::new(db, name)).unwrap();
    let (from, to) = (split(from), split(to));
    fixture.write(move |txn| txn.rename_collection(&from, &to, drop_target))
}

#[test]
fn collections_are_created_renamed_and_dropped() {
    let fixture = testing::memory();
    fixture.insert(r#"{"_id": 1}"#).unwrap();
    assert_eq!(code(fixture.write(|txn| txn.create_collection(&orders(), DocBuf::default()))), 48);
    let view = doc(r#"{"viewOn": "orders", "pipeline": []}"#);
    fixture.write(move |txn| txn.create_view(&Namespace::new("shop", "view"), view)).unwrap();
    let into_view = fixture.write(|txn| txn.ensure_collection(&Namespace::new("shop", "view")));
    assert_eq!(code(into_view), 166);
    assert_eq!(code(rename(&fixture, "shop.nope", "shop.b", false)), 26);
    rename(&fixture, "shop.orders", "shop.b", false).unwrap();
    fixture.insert(r#"{"_id": 2}"#).unwrap();
    assert_eq!(code(rename(&fixture, "shop.b", "shop.orders", false)), 48);
    rename(&fixture, "shop.b", "shop.orders", true).unwrap();
    assert_eq!(fixture.content(), [doc(r#"{"_id": 1}"#)]);
    assert_eq!(names(&fixture), ["shop.orders", "shop.view"]);
    assert_eq!(fixture.write(|txn| txn.drop_database("shop")).unwrap(), 2);
    assert_eq!(fixture.write(|txn| txn.drop_database("shop")).unwrap(), 0);
    assert_eq!(names(&fixture), [""; 0]);
    let expected = [
        "create",
        "insert { _id: 1 }",
        "create",
        "rename to shop.b",
        "create",
        "insert { _id: 2 }",
        "rename to shop.orders",
        "drop",
        "drop",
        "dropDatabase",
    ];
    assert_eq!(fixture.log(), expected);
}

#[test]
fn a_rename_into_another_database_is_inserts_there_and_a_drop_here() {
    let fixture = testing::memory();
    fixture.create_index(r#"{"key": {"a": 1}}"#).unwrap();
    fixture.insert(r#"{"_id": 1, "a": 5}"#).unwrap();
    rename(&fixture, "shop.orders", "archive.orders", false).unwrap();
    assert_eq!(names(&fixture), ["archive.orders"]);
    fixture.check_indexes();
    assert_eq!(fixture.log()[3..], ["create", "createIndexes", "insert { _id: 1 }", "drop"]);
}

#[test]
fn the_catalog_survives_a_restart() {
    let kv = MemoryKv::default();
    let fixture = testing::on(std::sync::Arc::new(kv.clone()));
    let options = doc(r#"{"capped": true, "size": 4096, "changeStreamPreAndPostImages": {"enabled": true}}"#);
    let created = fixture.write(|txn| txn.create_collection(&orders(), options)).unwrap();
    let partial = r#"{"key": {"a": -1}, "name": "x", "partialFilterExpression": {"b": 1}}"#;
    fixture.create_index(partial).unwrap();
    fixture.insert(r#"{"_id": 1, "a": [1], "b": 1}"#).unwrap();
    drop(fixture);
    let fixture = testing::on(std::sync::Arc::new(kv));
    let catalog = fixture.store.catalog();
    let found = catalog.by_uuid(created.uuid).unwrap();
    assert_eq!((&found.namespace, found.capped, found.images), (&orders(), created.capped, true));
    let index = found.index("x").unwrap();
    assert!(index.is_multikey() && index.partial.is_some() && index.parts[0].descending);
    let new = fixture.write(|txn| txn.create_collection(&Namespace::new("a", "b"), DocBuf::default())).unwrap();
    assert!(new.id > found.id && new.indexes[0].id > index.id, "ids are not used again");
}

#[test]
fn indexes_that_exist_are_passed_over_and_those_that_resemble_refused() {
    let fixture = testing::memory();
    fixture.insert(r#"{"_id": 1, "a": 1}"#).unwrap();
    fixture.insert(r#"{"_id": 2, "a": 1}"#).unwrap();
    let a = r#"{"key": {"a": 1}}"#;
    for (spec, expected) in [
        (a, 0),
        (a, 0),
        (r#"{"key": {"_id": 1}}"#, 0),
        (r#"{"key": {"a": 1}, "name": "other"}"#, 85),
        // sparse tells indexes apart (5.0 on), so what collides is the generated name: a real server says 86.
        (r#"{"key": {"a": 1}, "sparse": true}"#, 86),
        (r#"{"key": {"b": 1}, "name": "a_1"}"#, 86),
        (r#"{"key": {"a": -1}, "unique": true}"#, 11000),
    ] {
        assert_eq!(code(fixture.create_index(spec)), expected, "{spec}");
    }
    let orders = fixture.store.catalog().collection(&orders()).cloned().unwrap();
    assert_eq!(orders.indexes.len(), 2);
    fixture.check_indexes();
    let id = orders.id;
    let dropped = |which| fixture.write(move |txn| txn.drop_indexes(id, &which));
    assert_eq!(code(dropped(DropIndexes::Names(vec!["nope".to_owned()]))), 27);
    assert_eq!(code(dropped(DropIndexes::Names(vec!["_id_".to_owned()]))), 72);
    assert_eq!(code(dropped(DropIndexes::Key(doc(r#"{"z": 1}"#)))), 27);
    assert_eq!(dropped(DropIndexes::All).unwrap(), 2);
    assert_eq!(fixture.log()[3..], ["createIndexes", "dropIndexes"]);
    fixture.create_index(a).unwrap();
    fixture.check_indexes();
}

#[test]
fn an_index_can_be_hidden_but_not_changed_into_another() {
    let fixture = testing::memory();
    fixture.create_index(r#"{"key": {"a": 1}}"#).unwrap();
    let modify = |spec: &str| {
        let indexes = vec![("a_1".to_owned(), doc(spec))];
        fixture.write(move |txn| {
            let orders = txn.collection(&orders()).unwrap();
            txn.modify(orders.id, Modification { indexes, ..Modification::default() })
        })
    };
    let hidden = modify(r#"{"key": {"a": 1}, "name": "a_1", "hidden": true}"#).unwrap();
    assert!(hidden.index("a_1").unwrap().hidden);
    assert!(matches!(modify(r#"{"key": {"b": 1}, "name": "a_1"}"#), Err(Error::Request(_))));
}

fn captured(time: u64, index: u32) -> crate::LogEntry {
    crate::LogEntry {
        position: LogPosition { time: base::ClusterTime(time), index },
        wall_ms: 5,
        namespace: orders(),
        collection: None,
        operation: Operation::Delete { key: doc(r#"{"_id": 1}"#), before: None },
        txn: None,
        token: None,
    }
}

#[test]
fn captured_entries_keep_their_place_or_get_the_next_that_is_free() {
    let options = crate::StoreOptions { captured: true, ..testing::options(&testing::memory().clock) };
    let store = crate::Store::open_on(Arc::new(MemoryKv::default()), options).unwrap();
    let fixture = Fixture { store, ..testing::memory() };
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    fixture.store.on_durable(Box::new(move |entries, durable| listener.lock().push((entries.len(), durable.0))));
    let append = |entries: Vec<crate::LogEntry>, advance: u64| {
        let write = move |txn: &mut WriteTxn| {
            for entry in entries {
                txn.append_captured(entry, Some(doc(r#"{"_data": "own"}"#)));
            }
            txn.advance_time(base::ClusterTime(advance));
            Ok(())
        };
        fixture.write(write).unwrap();
    };
    append(vec![captured(10, 0), captured(10, 3), captured(10, 3)], 0);
    append(vec![], 20);
    append(vec![], 15);
    // The time 20 is over, though nothing happened in it.
    append(vec![captured(20, 0), captured(20, 1), captured(30, 0)], 0);
    let entries: Vec<_> = fixture.store.log(None, base::ClusterTime::MAX).map(|entry| entry.unwrap()).collect();
    let places: Vec<_> = entries.iter().map(|e| (e.position.time.0, e.position.index, e.token.is_some())).collect();
    let expected = [(10, 0, false), (10, 3, false), (10, 4, true), (21, 0, true), (21, 1, true), (30, 0, false)];
    assert_eq!(places, expected, "who lost the place keeps the token");
    assert_eq!(*told.lock(), [(3, 10), (0, 20), (3, 30)]);
}
