//! Tests of `event`.

use store::entry::{CollectionKind, LogPosition, TxnInfo};

use super::*;
use crate::testing::{doc, json, uuid_of};

fn entry(operation: Operation) -> LogEntry {
    let whole_db = matches!(operation, Operation::DropDatabase);
    LogEntry {
        token: None,
        position: LogPosition { time: ClusterTime::new(9, 1), index: 0 },
        wall_ms: 1_700_000_000_123,
        namespace: Namespace::new("shop", if whole_db { "" } else { "orders" }),
        collection: (!whole_db).then(|| uuid_of("shop.orders")),
        operation,
        txn: None,
    }
}

/// The event's fields as JSON, without `_id`.
fn check(operation: Operation, shape: Shape, expected: &str) {
    check_entry(&entry(operation), shape, expected);
}

fn check_entry(entry: &LogEntry, shape: Shape, expected: &str) {
    let event = Event::new(entry);
    let document = event.to_document(&event.token(), &shape).to_doc();
    assert_eq!(document.get("_id").and_then(|id| id.as_document()), Some(&event.token().to_document().to_doc()));
    let mut shown = document.clone();
    for common in ["_id", "clusterTime", "wallTime"] {
        assert!(shown.remove(common).is_some(), "{common} is in every event");
    }
    assert_eq!(json(&shown.to_buf()), expected);
}

fn expanded() -> Shape {
    Shape { expanded: true, ..Shape::default() }
}

const DESCRIPTION: &str = r#"{"updatedFields": {"a.1": 2}, "removedFields": ["b"], "truncatedArrays": [],
                             "disambiguatedPaths": {"a.1": ["a", "1"]}}"#;

fn update(before: bool) -> Operation {
    Operation::Update {
        key: doc(r#"{"_id": 1}"#),
        description: doc(DESCRIPTION),
        document: Some(doc(r#"{"_id": 1, "a": {"1": 2}}"#)),
        before: before.then(|| PreImage { document: doc(r#"{"_id": 1, "b": 1}"#), by_option: false }),
    }
}

#[test]
fn changes_of_documents() {
    let key = doc(r#"{"_id": 1}"#);
    let document = doc(r#"{"_id": 1, "x": "y"}"#);
    check(
        Operation::Insert { key: key.clone(), document: document.clone() },
        Shape::default(),
        r#"{"operationType":"insert","fullDocument":{"_id":1,"x":"y"},"ns":{"db":"shop","coll":"orders"},"documentKey":{"_id":1}}"#,
    );
    check(
        Operation::Replace { key: key.clone(), document, before: None },
        Shape { before: Image::Null, ..Shape::default() },
        r#"{"operationType":"replace","fullDocument":{"_id":1,"x":"y"},"ns":{"db":"shop","coll":"orders"},"documentKey":{"_id":1},"fullDocumentBeforeChange":null}"#,
    );
    check(
        Operation::Delete { key, before: None },
        Shape::default(),
        r#"{"operationType":"delete","ns":{"db":"shop","coll":"orders"},"documentKey":{"_id":1}}"#,
    );
}

#[test]
fn updates() {
    check(
        update(false),
        Shape::default(),
        r#"{"operationType":"update","ns":{"db":"shop","coll":"orders"},"documentKey":{"_id":1},"updateDescription":{"updatedFields":{"a.1":2},"removedFields":["b"],"truncatedArrays":[]}}"#,
    );
    check(
        update(false),
        Shape { full_document: Image::Null, ..Shape::default() },
        r#"{"operationType":"update","fullDocument":null,"ns":{"db":"shop","coll":"orders"},"documentKey":{"_id":1},"updateDescription":{"updatedFields":{"a.1":2},"removedFields":["b"],"truncatedArrays":[]}}"#,
    );
    check(
        update(false),
        Shape { expanded: true, full_document: Image::Document(doc("{}")), before: Image::Document(doc("{}")) },
        r#"{"operationType":"update","collectionUUID":{"$binary":{"base64":"c2hvcC5vcmRlcnMAAAAAAA==","subType":"04"}},"fullDocument":{},"ns":{"db":"shop","coll":"orders"},"documentKey":{"_id":1},"updateDescription":{"updatedFields":{"a.1":2},"removedFields":["b"],"truncatedArrays":[],"disambiguatedPaths":{"a.1":["a","1"]}},"fullDocumentBeforeChange":{}}"#,
    );
}

#[test]
fn changes_of_collections() {
    check(Operation::Drop, Shape::default(), r#"{"operationType":"drop","ns":{"db":"shop","coll":"orders"}}"#);
    check(Operation::DropDatabase, expanded(), r#"{"operationType":"dropDatabase","ns":{"db":"shop"}}"#);
    let rename = Operation::Rename { to: Namespace::new("shop", "old"), dropped_target: Some(uuid_of("t")) };
    check(
        rename.clone(),
        Shape::default(),
        r#"{"to":{"db":"shop","coll":"old"},"operationType":"rename","ns":{"db":"shop","coll":"orders"}}"#,
    );
    let uuid = r#"{"$binary":{"base64":"c2hvcC5vcmRlcnMAAAAAAA==","subType":"04"}}"#;
    check(
        rename,
        expanded(),
        &format!(
            r#"{{"to":{{"db":"shop","coll":"old"}},"operationType":"rename","collectionUUID":{uuid},"ns":{{"db":"shop","coll":"orders"}},"operationDescription":{{"to":{{"db":"shop","coll":"old"}},"dropTarget":{{"$binary":{{"base64":"dAAAAAAAAAAAAAAAAAAAAA==","subType":"04"}}}}}}}}"#
        ),
    );
    let described = [
        (Operation::Create { description: doc(r#"{"x": 1}"#), kind: CollectionKind::Collection }, "create", ""),
        (Operation::CreateIndexes { description: doc(r#"{"x": 1}"#) }, "createIndexes", ""),
        (Operation::DropIndexes { description: doc(r#"{"x": 1}"#) }, "dropIndexes", ""),
        (
            Operation::Modify { description: doc(r#"{"x": 1}"#), before: doc(r#"{"y": 2}"#) },
            "modify",
            r#","stateBeforeChange":{"y":2}"#,
        ),
    ];
    for (operation, name, tail) in described {
        check(
            operation,
            expanded(),
            &format!(
                r#"{{"operationType":"{name}","collectionUUID":{uuid},"ns":{{"db":"shop","coll":"orders"}},"operationDescription":{{"x":1}}{tail}}}"#
            ),
        );
    }
}

#[test]
fn a_transactions_events_name_it() {
    let mut in_txn = entry(Operation::Drop);
    in_txn.txn = Some(TxnInfo { lsid: doc(r#"{"id": 5}"#), txn_number: 3, last: true });
    check_entry(
        &in_txn,
        Shape::default(),
        r#"{"txnNumber":3,"lsid":{"id":5},"operationType":"drop","ns":{"db":"shop","coll":"orders"}}"#,
    );
}

#[test]
fn invalidate_shows_nothing_but_its_place() {
    let entry = entry(Operation::Drop);
    let event = Event::new(&entry);
    let token = event.invalidate_token();
    assert!(token > event.token() && token.facts().from_invalidate);
    let names: Vec<String> = event.to_invalidate(&token).iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["_id", "operationType", "clusterTime", "wallTime"]);
}

#[test]
fn plain_access() {
    let entry = entry(update(true));
    let event = Event::new(&entry);
    assert_eq!(event.change_id(), event.token().data());
    assert_eq!(event.operation_type(), "update");
    assert_eq!(event.full_document().map(json).as_deref(), Some(r#"{"_id":1,"a":{"1":2}}"#));
    assert_eq!(event.before().map(json).as_deref(), Some(r#"{"_id":1,"b":1}"#));
    assert_eq!(event.before_by_option(), None);
    assert_eq!(
        event.update_description().as_ref().map(json).as_deref(),
        Some(r#"{"updatedFields":{"a.1":2},"removedFields":["b"],"truncatedArrays":[]}"#)
    );
    assert_eq!(event.removed_fields().map(|names| names.values().count()), Some(1));
}
