//! The keys of a document, and the specifications that are accepted.

use document::key_string::encode_value;
use document::{DocBuf, Raw};

use super::*;
use crate::kv::Direction;
use crate::read::Reader;
use crate::testing::doc;

fn index(spec: &str) -> Index {
    parse_spec(doc(spec).as_doc(), IndexId(1), None).unwrap()
}

/// `expected`: an array of keys, each an array of components.
fn check_keys(spec: &str, document: &str, expected: &str) {
    let index = index(spec);
    let expected: DocBuf = doc(&format!(r#"{{"keys": {expected}}}"#));
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for key in expected.get("keys").and_then(Raw::as_array).unwrap().values() {
        let mut bytes = Vec::new();
        for (value, part) in key.as_array().unwrap().values().zip(&index.parts) {
            encode_value(value, &mut bytes, part.descending, None);
        }
        keys.push(bytes);
    }
    keys.sort();
    let found: Vec<_> = index.keys(doc(document).as_doc()).unwrap().keys.into_iter().collect();
    assert_eq!(found, keys, "{spec} of {document}");
}

#[test]
fn keys_of_documents() {
    let ab = r#"{"key": {"a": 1, "b": -1}}"#;
    let nested = r#"{"key": {"a.b": 1}}"#;
    for (spec, document, expected) in [
        (ab, r#"{"a": 1, "b": 2}"#, "[[1, 2]]"),
        (ab, r#"{"b": 2}"#, "[[null, 2]]"),
        (ab, r#"{"a": [1, 2, 1], "b": 3}"#, "[[1, 3], [2, 3]]"),
        (ab, r#"{"a": [], "b": 3}"#, r#"[[{"$undefined": true}, 3]]"#),
        (ab, r#"{"a": [[1, 2], 3]}"#, "[[[1, 2], null], [3, null]]"),
        (nested, r#"{"a": {"b": 1}}"#, "[[1]]"),
        (nested, r#"{"a": [{"b": 1}, {"b": [2, 3]}, {"c": 1}, 5]}"#, "[[1], [2], [3], [null]]"),
        (nested, r#"{"a": []}"#, "[[null]]"),
        (nested, r#"{"a": 5}"#, "[[null]]"),
        (r#"{"key": {"a.0": 1}}"#, r#"{"a": [7, 8]}"#, "[[7]]"),
        (r#"{"key": {"a.x": 1, "a.y": 1}}"#, r#"{"a": [{"x": 1, "y": 2}, {"x": 3}]}"#, "[[1, 2], [3, null]]"),
        (r#"{"key": {"a": 1}, "sparse": true}"#, r#"{"b": 1}"#, "[]"),
        (r#"{"key": {"a": 1}, "sparse": true}"#, r#"{"a": null}"#, "[[null]]"),
        (r#"{"key": {"a": 1, "b": 1}, "sparse": true}"#, r#"{"b": 1}"#, "[[null, 1]]"),
        (r#"{"key": {"a": 1}, "partialFilterExpression": {"b": 1}}"#, r#"{"a": 1, "b": 2}"#, "[]"),
    ] {
        check_keys(spec, document, expected);
    }
}

#[test]
fn arrays_on_two_paths_are_refused() {
    let refused = index(r#"{"key": {"a": 1, "b.c": 1}}"#).keys(doc(r#"{"a": [1], "b": {"c": [2]}}"#).as_doc());
    let error = refused.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (171, "cannot index parallel arrays [c] [a]"));
}

/// `{_id: id, a: "xxx…" + tail}`, the text longer than a stored key.
fn long(id: i32, tail: &str) -> String {
    format!(r#"{{"_id": {id}, "a": "{}{tail}"}}"#, "x".repeat(70_000))
}

#[test]
fn keys_too_long_for_the_store_are_found_told_apart_and_removed() {
    for spec in [r#"{"key": {"a": 1}}"#, r#"{"key": {"a": -1}, "unique": true}"#, r#"{"key": {"b": 1, "a": 1}}"#] {
        let fixture = crate::testing::memory();
        fixture.create_index(spec).unwrap();
        for (id, tail) in [(1, "b"), (2, "a"), (3, "c")] {
            fixture.insert(&long(id, tail)).unwrap();
        }
        fixture.insert(r#"{"_id": 4, "a": "y"}"#).unwrap();
        fixture.insert(r#"{"_id": 5, "a": "w"}"#).unwrap();
        fixture.check_indexes();
        if spec.contains("unique") {
            assert_eq!(fixture.insert(&long(6, "a")).unwrap_err().code(), 11000);
        }
        let snapshot = fixture.store.snapshot().unwrap();
        let x = "x".repeat(70_000);
        for (filter, ids) in [
            (format!(r#"{{"a": "{x}a", "b": null}}"#), vec![2]),
            (format!(r#"{{"a": {{"$gte": "{x}b"}}, "b": null}}"#), vec![1, 3, 4]),
            (format!(r#"{{"a": {{"$lt": "{x}b"}}, "b": null}}"#), vec![2, 5]),
            (r#"{"a": {"$gt": "w"}, "b": null}"#.to_owned(), vec![1, 2, 3, 4]),
        ] {
            let (found, index) = crate::testing::find(&snapshot, &crate::testing::matcher(&filter));
            let mut found: Vec<_> = found.iter().map(|doc| doc.get("_id").unwrap().as_whole().unwrap()).collect();
            found.sort_unstable();
            assert!(index.is_some(), "{spec}");
            assert_eq!(found, ids, "{spec}");
        }
        drop(snapshot);
        fixture
            .write(|txn| {
                let orders = txn.collection(&crate::testing::orders()).unwrap();
                let rows: Vec<_> = txn.scan(orders.id, Direction::Forward).collect::<Result<_>>()?;
                rows.iter().try_for_each(|row| txn.delete(orders.id, row.record, &row.document))
            })
            .unwrap();
        fixture.check_indexes();
    }
}

#[test]
fn an_id_may_be_longer_than_a_stored_key() {
    let fixture = crate::testing::memory();
    let of = |id: &str| format!(r#"{{"_id": "{}{id}"}}"#, "x".repeat(70_000));
    fixture.insert(&of("a")).unwrap();
    fixture.insert(&of("b")).unwrap();
    assert_eq!(fixture.insert(&of("a")).unwrap_err().code(), 11000);
    let snapshot = fixture.store.snapshot().unwrap();
    let orders = snapshot.catalog().collection(&crate::testing::orders()).unwrap();
    let wanted = doc(&of("b"));
    assert_eq!(snapshot.get(orders.id, wanted.get("_id").unwrap()).unwrap().unwrap().document, wanted);
    assert!(orders.indexes[0].long_keys, "and a sort by _id does not trust the index");
}

#[test]
fn specifications() {
    let code = |spec: &str| parse_spec(doc(spec).as_doc(), IndexId(1), None).err().map_or(0, |error| error.code());
    for (spec, expected) in [
        (r#"{"key": {"a": 1, "b.c": -1}}"#, 0),
        (r#"{"key": {"a": "hashed"}}"#, 0),
        (r#"{"name": "x"}"#, 9),
        (r#"{"key": 5}"#, 14),
        (r#"{"key": {}}"#, 67),
        (r#"{"key": {"a": 0}}"#, 67),
        (r#"{"key": {"a": true}}"#, 67),
        (r#"{"key": {"a": "text"}}"#, 67),
        (r#"{"key": {"$**": 1}}"#, 67),
        (r#"{"key": {"a..b": 1}}"#, 67),
        (r#"{"key": {"a": 1}, "nonsense": 1}"#, 197),
        (r#"{"key": {"a": 1}, "name": "_id_"}"#, 2),
        (r#"{"key": {"a": 1, "b": 1}, "expireAfterSeconds": 5}"#, 67),
        (r#"{"key": {"a": 1}, "expireAfterSeconds": -5}"#, 67),
        (r#"{"key": {"a": 1}, "sparse": true, "partialFilterExpression": {"a": 1}}"#, 67),
        (r#"{"key": {"a": 1}, "partialFilterExpression": {"a": {"$nope": 1}}}"#, 2),
    ] {
        assert_eq!(code(spec), expected, "{spec}");
    }
    let normal = index(r#"{"key": {"a": 1, "b.c": -1}, "unique": true, "hidden": false, "v": 1}"#);
    assert_eq!(normal.spec, doc(r#"{"v": 2, "key": {"a": 1, "b.c": -1}, "name": "a_1_b.c_-1", "unique": true}"#));
}

#[test]
fn an_indexes_collation_decides_what_is_equal() {
    let fixture = crate::testing::memory();
    let spec = r#"{"key": {"name": 1}, "unique": true, "collation": {"locale": "en", "strength": 2}}"#;
    fixture.create_index(spec).unwrap();
    fixture.insert(r#"{"_id": 1, "name": "Ada"}"#).unwrap();
    assert_eq!(fixture.insert(r#"{"_id": 2, "name": "ADA"}"#).unwrap_err().code(), 11000);
    let (found, index) =
        crate::testing::find(&fixture.store.snapshot().unwrap(), &crate::testing::matcher(r#"{"name": "ada"}"#));
    assert_eq!((found.len(), index), (0, None), "a query without the collation does not use the index");
}
