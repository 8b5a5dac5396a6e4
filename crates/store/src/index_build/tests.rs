//! Builds step by step, with other writes between the steps.

use base::Random;
use document::DocBuf;

use super::*;
use crate::kv::{Direction, KeyRange, Space};
use crate::testing::{Fixture, doc, memory, on, orders, random_document};
use crate::write::{Change, DropIndexes};

/// More than are indexed in one commit.
const MANY: i32 = 1200;

fn filled(document: impl Fn(i32) -> String) -> Fixture {
    let fixture = memory();
    let documents: Vec<DocBuf> = (0..MANY).map(|id| doc(&document(id))).collect();
    fixture
        .write(move |txn| {
            let orders = txn.ensure_collection(&orders())?;
            documents.into_iter().try_for_each(|document| txn.insert(orders.id, document).map(|_| ()))
        })
        .unwrap();
    fixture
}

fn begin(fixture: &Fixture, spec: &str) -> IndexCreation {
    let spec = doc(spec);
    fixture.write(move |txn| txn.begin_indexes(txn.collection(&orders()).unwrap().id, &[spec])).unwrap()
}

fn build(fixture: &Fixture, spec: &str) -> IndexBuild {
    match begin(fixture, spec) {
        IndexCreation::Build(build) => build,
        other => panic!("{other:?}"),
    }
}

/// Enters the snapshot in small steps, with something else before each.
fn step_through(build: &IndexBuild, fixture: &Fixture, mut meanwhile: impl FnMut(&Fixture)) {
    let snapshot = fixture.store.snapshot().unwrap();
    let mut after = Some(RecordId(0));
    while let Some(last) = after {
        meanwhile(fixture);
        after = build.enter_some(&fixture.store, &snapshot, last, 100).unwrap();
    }
}

/// Inserts, replaces or deletes the document.
fn put(fixture: &Fixture, id: i32, to: Option<String>) -> Result<()> {
    let to = to.map(|to| doc(&to));
    fixture.write(move |txn| {
        let orders = txn.collection(&orders()).unwrap();
        let found = txn.get(orders.id, document::Raw::Int32(id))?;
        match (found, to) {
            (None, Some(to)) => txn.insert(orders.id, to).map(|_| ()),
            (Some(old), Some(to)) => txn.replace(orders.id, old.record, &old.document, to, Change::Replace),
            (Some(old), None) => txn.delete(orders.id, old.record, &old.document),
            (None, None) => Ok(()),
        }
    })
}

fn entries(fixture: &Fixture, build: &IndexBuild) -> usize {
    let range = KeyRange::prefix(&build.indexes[0].prefix());
    fixture.kv.range(Space::Indexes, range, Direction::Forward).count()
}

#[test]
fn what_is_written_meanwhile_is_in_the_index() {
    for seed in 0..6 {
        let mut random = Random::seeded(seed);
        let fields = |random: &mut Random| random_document(random, 1)[1..].to_owned();
        let with = |id: i32, fields: &str| match fields {
            "}" => format!(r#"{{"_id": {id}}}"#),
            fields => format!(r#"{{"_id": {id}, {fields}"#),
        };
        let contents: Vec<String> = (0..MANY).map(|_| fields(&mut random)).collect();
        let fixture = filled(|id| with(id, &contents[id as usize]));
        let spec = [r#"{"key": {"a": 1}}"#, r#"{"key": {"b": -1}, "sparse": true}"#][seed as usize % 2];
        let build = build(&fixture, spec);
        step_through(&build, &fixture, |fixture| {
            for _ in 0..20 {
                let id = random.below(MANY as u64 + 100) as i32;
                let to = (random.below(4) > 0).then(|| with(id, &fields(&mut random)));
                put(fixture, id, to).unwrap();
            }
        });
        let counts = build.finish(&fixture.store).unwrap().value;
        assert_eq!((counts.before, counts.after), (1, 2));
        fixture.check_indexes();
        assert_eq!(fixture.log().last().unwrap(), "createIndexes");
    }
}

#[test]
fn a_duplicate_counts_if_it_is_there_at_the_end() {
    let unique = r#"{"key": {"a": 1}, "unique": true}"#;
    let numbered = |id: i32| format!(r#"{{"_id": {id}, "a": {id}}}"#);
    // One in the documents, one that a writer brings before the builder, one behind it.
    for (id, a) in [(700, 3), (5, 900), (900, 5)] {
        for stays in [true, false] {
            let fixture = filled(numbered);
            let build = build(&fixture, unique);
            let mut once = Some(());
            step_through(&build, &fixture, |fixture| {
                if once.take().is_some() {
                    put(fixture, id, Some(format!(r#"{{"_id": {id}, "a": {a}}}"#))).unwrap();
                }
            });
            if !stays {
                put(&fixture, id, None).unwrap();
            }
            match build.finish(&fixture.store) {
                Ok(_) => assert!(!stays),
                Err(error) => {
                    assert!(stays, "{error}");
                    assert_eq!(error.code(), 11000);
                    build.abandon(&fixture.store);
                    fixture.store.upkeep().unwrap();
                    assert_eq!(entries(&fixture, &build), 0);
                    put(&fixture, 5000, Some(r#"{"_id": 5000, "a": 3}"#.to_owned())).unwrap();
                }
            }
            fixture.check_indexes();
        }
    }
}

#[test]
fn a_whole_build_refuses_duplicates_and_parallel_arrays_and_leaves_nothing() {
    for (spec, bad, code) in [
        (r#"{"key": {"a": 1}, "unique": true}"#, r#"{"_id": 7, "a": 8}"#, 11000),
        (r#"{"key": {"a": 1, "b": 1}}"#, r#"{"_id": 7, "a": [1], "b": [1]}"#, 171),
    ] {
        let fixture = filled(|id| format!(r#"{{"_id": {id}, "a": {id}}}"#));
        put(&fixture, 7, Some(bad.to_owned())).unwrap();
        let build = build(&fixture, spec);
        let prefix = build.indexes[0].prefix();
        assert_eq!(build.run(&fixture.store).unwrap_err().code(), code);
        fixture.store.upkeep().unwrap();
        assert_eq!(fixture.kv.range(Space::Indexes, KeyRange::prefix(&prefix), Direction::Forward).count(), 0);
        assert_eq!(fixture.kv.range(Space::Meta, KeyRange::prefix(b"b"), Direction::Forward).count(), 0);
        assert!(!fixture.log().contains(&"createIndexes".to_owned()));
    }
}

#[test]
fn a_build_ends_with_its_collection_or_when_its_index_is_dropped() {
    let by_name = DropIndexes::Names(vec!["a_1".to_owned()]);
    for which in [None, Some(DropIndexes::All), Some(by_name), Some(DropIndexes::Key(doc(r#"{"a": 1}"#)))] {
        let fixture = filled(|id| format!(r#"{{"_id": {id}, "a": {id}}}"#));
        let build = build(&fixture, r#"{"key": {"a": 1}}"#);
        let end = build.end.clone();
        match begin(&fixture, r#"{"key": {"a": 1}}"#) {
            IndexCreation::Wait(_) => {}
            other => panic!("{other:?}"),
        }
        fixture
            .write(move |txn| {
                let id = txn.collection(&orders()).unwrap().id;
                match which {
                    None => txn.drop_collection(id).map(|_| ()),
                    Some(which) => txn.drop_indexes(id, &which).map(|_| ()),
                }
            })
            .unwrap();
        assert_eq!(build.run(&fixture.store).unwrap_err().code(), 276);
        end.wait();
        fixture.store.upkeep().unwrap();
        fixture.check_indexes();
    }
}

#[test]
fn a_crash_leaves_nothing_of_a_build() {
    let fixture = filled(|id| format!(r#"{{"_id": {id}, "a": {id}}}"#));
    let build = build(&fixture, r#"{"key": {"a": 1}}"#);
    let snapshot = fixture.store.snapshot().unwrap();
    build.enter_some(&fixture.store, &snapshot, RecordId(0), 500).unwrap();
    assert!(entries(&fixture, &build) > 0);
    drop(snapshot);
    let kv = Arc::clone(&fixture.kv);
    drop(fixture);
    let again = on(kv);
    again.store.upkeep().unwrap();
    assert_eq!(entries(&again, &build), 0);
    let snapshot = again.store.snapshot().unwrap();
    let orders = snapshot.catalog().collection(&orders()).unwrap();
    assert_eq!((orders.indexes.len(), orders.building.len()), (1, 0));
}

#[test]
fn a_transaction_that_began_during_a_build_does_not_slip_past_a_unique_index() {
    let fixture = filled(|id| format!(r#"{{"_id": {id}, "a": {id}}}"#));
    let build = build(&fixture, r#"{"key": {"a": 1}, "unique": true}"#);
    let mut late = fixture.store.begin().unwrap();
    step_through(&build, &fixture, |_| {});
    build.finish(&fixture.store).unwrap();
    let insert = |txn: &mut WriteTxn| {
        let orders = txn.collection(&orders()).unwrap();
        txn.insert(orders.id, doc(r#"{"_id": 9000, "a": 3}"#)).map(|_| ())
    };
    assert_eq!(late.statement(insert).unwrap_err().code(), 112);
    drop(late);
    let mut next = fixture.store.begin().unwrap();
    assert_eq!(next.statement(insert).unwrap_err().code(), 11000);
}
