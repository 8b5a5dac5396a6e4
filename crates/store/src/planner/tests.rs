//! Plans find what a scan finds, and are the plans one expects.

use base::Random;
use document::sort::SortPattern;
use document::{Context, DocBuf};

use super::*;
use crate::read::Reader;
use crate::testing::{self, Fixture, doc, find, matcher, orders, random_document, random_value};

fn with_indexes(specs: &[&str]) -> Fixture {
    let fixture = testing::memory();
    specs.iter().for_each(|spec| fixture.create_index(spec).unwrap());
    fixture
}

fn insert_random(fixture: &Fixture, random: &mut Random, count: i32) {
    for id in 0..count {
        let body = random_document(random, 2);
        let rest = if body == "{}" { "}".to_owned() } else { format!(", {}", &body[1..]) };
        let inserted = fixture.insert(&format!("{{\"_id\": {id}{rest}"));
        assert!(inserted.is_ok() || inserted.unwrap_err().code() == 171, "only parallel arrays are refused");
    }
}

fn random_condition(random: &mut Random) -> String {
    let value = random_value(random, 1);
    match random.below(10) {
        0..=2 => value,
        3 => format!("{{\"$gt\": {value}}}"),
        4 => format!("{{\"$lte\": {value}}}"),
        5 => format!("{{\"$gte\": {value}, \"$lt\": {}}}", random_value(random, 0)),
        6 => format!("{{\"$in\": [{value}, {}]}}", random_value(random, 0)),
        7 => ["{\"$exists\": true}", "{\"$ne\": null}", "{\"$exists\": false}"][random.below(3) as usize].to_owned(),
        8 => "{\"$regex\": \"^a\"}".to_owned(),
        _ => format!("{{\"$elemMatch\": {{\"$gte\": {}, \"$lt\": 4}}}}", random.below(4)),
    }
}

fn random_filter(random: &mut Random, depth: u32) -> String {
    let names = ["a", "b", "c", "a.b", "b.a", "a.0"];
    let mut fields: Vec<String> = Vec::new();
    for _ in 0..=random.below(2) {
        let name = names[random.below(6) as usize];
        let condition = match random.below(8) {
            0 => format!(
                "{{\"$elemMatch\": {{\"b\": {}, \"a\": {}}}}}",
                random_condition(random),
                random_condition(random)
            ),
            _ => random_condition(random),
        };
        fields.push(format!("{{\"{name}\": {condition}}}"));
    }
    if depth > 0 && random.below(3) == 0 {
        let branches = [random_filter(random, depth - 1), random_filter(random, depth - 1)];
        fields.push(format!("{{\"$or\": [{}]}}", branches.join(", ")));
    }
    format!("{{\"$and\": [{}]}}", fields.join(", "))
}

/// Whatever index is chosen, the documents are those that a look at every document finds.
#[test]
fn no_plan_misses_or_repeats_a_document() {
    let sets: [&[&str]; 5] = [
        &[r#"{"key": {"a": 1}}"#, r#"{"key": {"b": -1}}"#],
        &[r#"{"key": {"a": -1, "b": 1}}"#, r#"{"key": {"c": 1}, "sparse": true}"#],
        &[r#"{"key": {"a.b": 1, "a.a": 1}}"#, r#"{"key": {"b.a": -1}}"#],
        &[
            r#"{"key": {"a": 1}, "partialFilterExpression": {"b": {"$gt": 1}}}"#,
            r#"{"key": {"b": 1}, "partialFilterExpression": {"a": {"$exists": true}}}"#,
        ],
        &[r#"{"key": {"c": 1, "a": 1, "b": 1}}"#, r#"{"key": {"a.0": 1}, "sparse": true}"#],
    ];
    let (mut random, mut indexed) = (Random::seeded(11), 0);
    for set in sets {
        let fixture = with_indexes(set);
        insert_random(&fixture, &mut random, 150);
        let snapshot = fixture.store.snapshot().unwrap();
        let everything = fixture.content();
        for _ in 0..400 {
            let json = random_filter(&mut random, 1);
            let filter = matcher(&json);
            let expected: Vec<_> =
                everything.iter().filter(|document| filter.matches(document.as_doc()).unwrap()).cloned().collect();
            let (mut found, index) = find(&snapshot, &filter);
            indexed += usize::from(index.is_some());
            found.sort_by_key(|document| document.get("_id").unwrap().as_whole());
            assert_eq!(found, expected, "{json} through {index:?}");
        }
    }
    assert!(indexed > 500, "only {indexed} queries used an index");
}

#[test]
fn an_index_that_promises_an_order_gives_it() {
    let sets: [&[&str]; 3] =
        [&[r#"{"key": {"a": 1, "b": -1}}"#], &[r#"{"key": {"b": 1}}"#], &[r#"{"key": {"c": 1, "a": 1}}"#]];
    let (mut random, mut promised) = (Random::seeded(5), 0);
    for set in sets {
        let fixture = with_indexes(set);
        for id in 0..100 {
            let scalars = format!(
                r#"{{"_id": {id}, "a": {}, "b": {}, "c": {}}}"#,
                random_value(&mut random, 0),
                random_value(&mut random, 0),
                random.below(3)
            );
            fixture.insert(&scalars).unwrap();
        }
        let snapshot = fixture.store.snapshot().unwrap();
        let collection = snapshot.catalog().collection(&orders()).unwrap();
        for sort in
            [r#"{"a": 1}"#, r#"{"a": -1, "b": 1}"#, r#"{"a": 1, "b": 1}"#, r#"{"b": -1}"#, r#"{"c": 1, "a": 1}"#]
        {
            for filter in ["{}", r#"{"c": 1}"#, r#"{"a": {"$gte": 1}}"#, r#"{"c": {"$in": [0, 2]}}"#] {
                let sort = SortPattern::parse(doc(sort).as_doc(), &Context::default()).unwrap();
                let filter = matcher(filter);
                let query = Query {
                    matcher: &filter,
                    sort: Some(&sort),
                    hint: None,
                    collation: None,
                    bounds: KeyBounds::default(),
                };
                let plan = plan(collection, &query).unwrap();
                if plan.sorted {
                    promised += 1;
                    let rows: Vec<_> = plan.execute(&snapshot).map(|row| row.unwrap().document).collect();
                    let keys: Vec<_> = rows.iter().map(|row| sort.key(row.as_doc()).unwrap()).collect();
                    assert!(keys.is_sorted(), "{:?}", plan.explain(document::RawDoc::EMPTY));
                }
            }
        }
    }
    assert!(promised >= 10, "only {promised} orders came from an index");
}

fn check_plan(specs: &[&str], documents: &[&str], filter: &str, expected: &str) {
    let fixture = with_indexes(specs);
    fixture.write(|txn| txn.ensure_collection(&orders()).map(|_| ())).unwrap();
    documents.iter().for_each(|document| fixture.insert(document).unwrap());
    let snapshot = fixture.store.snapshot().unwrap();
    let collection = snapshot.catalog().collection(&orders()).unwrap();
    let query =
        Query { matcher: &matcher(filter), sort: None, hint: None, collation: None, bounds: KeyBounds::default() };
    let explained: DocBuf = plan(collection, &query).unwrap().explain(doc(filter).as_doc()).into();
    assert!(crate::render::document(explained.as_doc()).contains(expected), "{explained:?}\nlacks {expected}");
}

#[test]
fn plans_are_explained_like_the_servers() {
    let ab = r#"{"key": {"a": 1, "b": 1}}"#;
    let nothing: &[&str] = &[];
    for (specs, documents, filter, expected) in [
        (
            nothing,
            nothing,
            r#"{"_id": 5}"#,
            r#"{ stage: "EXPRESS_IXSCAN", keyPattern: "{ _id: 1 }", indexName: "_id_" }"#,
        ),
        (nothing, nothing, r#"{"a": 5}"#, r#"{ stage: "COLLSCAN", filter: { a: 5 }, direction: "forward" }"#),
        (&[ab], nothing, r#"{"a": 5}"#, r#"indexBounds: { a: [ "[5, 5]" ], b: [ "[MinKey, MaxKey]" ] }"#),
        (&[ab], nothing, r#"{"a": 5, "b": {"$gt": 1}}"#, r#"b: [ "(1, inf.0]" ]"#),
        (&[ab], nothing, r#"{"a": {"$gte": 1, "$lt": 7}}"#, r#"a: [ "[1, 7)" ]"#),
        (&[ab], nothing, r#"{"a": {"$in": ["y", "x"]}}"#, r#"a: [ "["x", "x"]", "["y", "y"]" ]"#),
        (&[ab], nothing, r#"{"a": {"$regex": "^ab"}}"#, r#"a: [ "["ab", "ac")", "[/.*/, /.*/]" ]"#),
        (&[ab], nothing, r#"{"b": 1}"#, r#"stage: "COLLSCAN""#),
        (&[ab], nothing, r#"{"$or": [{"a": 1}, {"a": 2, "b": 1}]}"#, r#"inputStage: { stage: "OR""#),
        (&[ab], nothing, r#"{"$or": [{"a": 1}, {"c": 2}]}"#, r#"stage: "COLLSCAN""#),
        // Through an array 3 < x < 5 may be two elements, so one bound only.
        (&[ab], &[r#"{"_id": 1, "a": [1, 9]}"#], r#"{"a": {"$gt": 3, "$lt": 5}}"#, r#"a: [ "(3, inf.0]" ]"#),
        (&[r#"{"key": {"a": 1}, "hidden": true}"#], nothing, r#"{"a": 5}"#, r#"stage: "COLLSCAN""#),
        (&[r#"{"key": {"a": 1}, "sparse": true}"#], nothing, r#"{"a": null}"#, r#"stage: "COLLSCAN""#),
    ] {
        check_plan(specs, documents, filter, expected);
    }
}

#[test]
fn a_hint_is_followed_or_refused() {
    let fixture = with_indexes(&[r#"{"key": {"a": 1}}"#, r#"{"key": {"b": 1}}"#]);
    let snapshot = fixture.store.snapshot().unwrap();
    let collection = snapshot.catalog().collection(&orders()).unwrap();
    let filter = matcher(r#"{"a": 1}"#);
    let with = |hint: Hint| {
        let query =
            Query { matcher: &filter, sort: None, hint: Some(&hint), collation: None, bounds: KeyBounds::default() };
        plan(collection, &query).map(|plan| plan.index_name().map(str::to_owned))
    };
    assert_eq!(with(Hint::Name("b_1".to_owned())).unwrap().as_deref(), Some("b_1"));
    assert_eq!(with(Hint::Key(doc(r#"{"b": 1}"#))).unwrap().as_deref(), Some("b_1"));
    assert_eq!(with(Hint::Natural(Direction::Backward)).unwrap(), None);
    assert_eq!(with(Hint::Name("c_1".to_owned())).unwrap_err().code(), 2);
}
