//! Chunks against what is in the mirror.

use std::sync::Arc;

use document::json::{parse_extended_json, to_plain_string};
use document::{Context, matcher::Matcher};
use store::{MemoryKv, Store, StoreOptions};

use super::*;
use crate::mirror::MirrorRecord;

fn doc(json: &str) -> DocBuf {
    parse_extended_json(json).unwrap_or_else(|error| panic!("{json}: {error}")).to_buf()
}

fn store() -> Store {
    let options = StoreOptions { upkeep_interval: None, captured: true, ..StoreOptions::new("") };
    Store::open_on(Arc::new(MemoryKv::default()), options).expect("memory opens")
}

fn orders() -> Namespace {
    Namespace::new("shop", "orders")
}

/// Puts documents into the mirror, whose state is as given, then a chunk; returns what the log says.
fn check(state: MirrorState, as_events: bool, here: &[&str], chunk: &[&str], expected: &[&str]) -> Store {
    let store = store();
    let here: Vec<DocBuf> = here.iter().map(|json| doc(json)).collect();
    let prepared = store.write(move |txn| {
        let collection = txn.unlogged(|txn| txn.ensure_collection(&orders()))?;
        for document in here {
            txn.unlogged(|txn| txn.insert(collection.id, document).map(|_| ()))?;
        }
        MirrorRecord { state, as_events, ..MirrorRecord::fresh(9) }.save(txn, &orders());
        Ok(())
    });
    prepared.wait().expect("the mirror is prepared");
    let chunk = chunk_of(chunk);
    store.write(move |txn| apply_chunk(txn, chunk)).wait().expect("the chunk is applied");
    let said: Vec<String> =
        store.log(None, ClusterTime::MAX).map(|entry| shown(&entry.expect("readable").operation)).collect();
    assert_eq!(said, expected);
    store
}

/// A chunk from the beginning to its last document.
fn chunk_of(documents: &[&str]) -> Chunk {
    let documents: Vec<DocBuf> = documents.iter().map(|json| doc(json)).collect();
    let end = documents.last().and_then(|last| last.get("_id"));
    Chunk {
        namespace: orders(),
        time: ClusterTime(1),
        since: ClusterTime(1),
        after: None,
        end: end.map(|id| Doc::new().with("_id", id.to_value()).to_buf()),
        read: documents.len() as u64,
        documents,
    }
}

fn shown(operation: &Operation) -> String {
    let id = |key: &DocBuf| key.get("_id").map(to_plain_string).unwrap_or_default();
    match operation {
        Operation::Insert { key, .. } => format!("insert {}", id(key)),
        Operation::Replace { key, before, .. } => format!("replace {} {}", id(key), before.is_some()),
        Operation::Delete { key, before } => format!("delete {} {}", id(key), before.is_some()),
        Operation::Corrected { key, before, document } => {
            format!("corrected {} {} {}", id(key), before.is_some(), document.is_some())
        }
        other => format!("{other:?}"),
    }
}

fn content(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot().expect("readable");
    let collection = snapshot.catalog().collection(&orders()).expect("mirrored").id;
    let documents = snapshot.by_id_after(collection, None).expect("readable");
    documents.map(|stored| to_plain_string(Raw::Document(stored.expect("readable").document.as_doc()))).collect()
}

const HERE: &[&str] = &[r#"{"_id": 1}"#, r#"{"_id": 2, "old": true}"#, r#"{"_id": 3}"#, r#"{"_id": "later"}"#];
const THERE: &[&str] = &[r#"{"_id": 0}"#, r#"{"_id": 2}"#, r#"{"_id": 3}"#, r#"{"_id": 4}"#];

#[test]
fn a_first_load_says_nothing_and_a_comparison_says_the_difference() {
    let expected = [r#"{"_id": 0}"#, r#"{"_id": 2}"#, r#"{"_id": 3}"#, r#"{"_id": 4}"#, r#"{"_id": "later"}"#];
    for (state, as_events, said) in [
        (MirrorState::Loading, false, &[][..]),
        (
            MirrorState::Comparing,
            false,
            &["corrected 0 false true", "corrected 1 true false", "corrected 2 true true", "corrected 4 false true"],
        ),
        (MirrorState::Comparing, true, &["insert 0", "delete 1 true", "replace 2 true", "insert 4"]),
    ] {
        let store = check(state, as_events, HERE, THERE, said);
        assert_eq!(content(&store), expected, "past the chunk nothing is touched");
    }
}

#[test]
fn an_empty_chunk_ends_the_load_and_what_is_beyond_is_gone() {
    let store = check(
        MirrorState::Comparing,
        true,
        HERE,
        &[],
        &["delete 1 true", "delete 2 true", "delete 3 true", "delete \"later\" true"],
    );
    let record = mirror::load(&store.snapshot().expect("readable"), &orders()).expect("readable").expect("a record");
    assert_eq!((record.state, record.last), (MirrorState::Live, None));
}

#[test]
fn a_chunk_for_a_load_that_began_anew_is_left_out() {
    let store = check(MirrorState::Live, true, HERE, THERE, &[]);
    assert_eq!(content(&store).len(), HERE.len());
}

#[test]
fn events_bring_a_chunk_to_the_present_and_nothing_beyond_its_range_into_it() {
    let key = |id: i32| Doc::new().with("_id", id).to_buf();
    let insert = |id: i32, json: &str| Operation::Insert { key: key(id), document: doc(json) };
    let delete = |id: i32| Operation::Delete { key: key(id), before: None };
    let update = |id: i32, set: &str| Operation::Update {
        key: key(id),
        description: doc(&format!(r#"{{"updatedFields": {set}, "removedFields": ["old"], "truncatedArrays": []}}"#)),
        document: None,
        before: None,
    };
    let mut chunk = chunk_of(&[r#"{"_id": 0, "a": 7}"#, r#"{"_id": 2, "old": true}"#, r#"{"_id": 4}"#]);
    // What the documents show already happens to them once more, and ends the same.
    for operation in [
        update(0, r#"{"a": 6}"#),
        update(0, r#"{"a": 7}"#),
        insert(1, r#"{"_id": 1}"#),
        update(2, r#"{"b": 1}"#),
        delete(4),
        insert(5, r#"{"_id": 5}"#),
        update(3, r#"{"b": 1}"#),
        delete(3),
    ] {
        chunk.replay(&operation);
    }
    let shown: Vec<String> =
        chunk.documents.iter().map(|document| to_plain_string(Raw::Document(document.as_doc()))).collect();
    assert_eq!(shown, [r#"{"_id": 0, "a": 7}"#, r#"{"_id": 1}"#, r#"{"_id": 2, "b": 1}"#]);
    assert_eq!(chunk.end(), Some(&key(4)), "also when its last document is gone");
}

#[test]
fn the_filter_goes_on_across_types() {
    let ids = [
        r#"{"_id": null}"#,
        r#"{"_id": {"$numberDouble": "NaN"}}"#,
        r#"{"_id": -1}"#,
        r#"{"_id": 5}"#,
        r#"{"_id": 7.5}"#,
        r#"{"_id": "a"}"#,
        r#"{"_id": "b"}"#,
        r#"{"_id": {"a": 1}}"#,
        r#"{"_id": {"$oid": "650000000000000000000001"}}"#,
        r#"{"_id": true}"#,
        r#"{"_id": {"$date": "2026-01-01T00:00:00Z"}}"#,
        r#"{"_id": {"$timestamp": {"t": 1, "i": 1}}}"#,
    ]
    .map(doc);
    for (at, last) in ids.iter().enumerate() {
        let filter = after_filter(Some(last)).to_buf();
        let matcher = Matcher::parse(filter.as_doc(), &Context::default()).expect("a filter");
        let found: Vec<&DocBuf> = ids.iter().filter(|id| matcher.matches(id.as_doc()).expect("matches")).collect();
        assert_eq!(found, ids[at + 1..].iter().collect::<Vec<_>>(), "after {last:?}");
    }
}
