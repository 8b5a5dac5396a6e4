//! Filters of needs, and since when needs are fulfilled.

use document::json::{parse_extended_json, to_plain_string};
use document::{Context, matcher::Matcher};
use store::{MemoryKv, Store, StoreOptions};

use super::*;

/// `db.collection insert,delete +images`, with `*` for all.
fn need(text: &str) -> Need {
    let mut words = text.split(' ');
    let (db, collection) = match words.next().expect("a place") {
        "*" => (None, None),
        place => match place.split_once('.') {
            Some((db, collection)) => (Some(db), Some(collection)),
            None => (Some(place), None),
        },
    };
    let mut need = Need { db: db.map(str::to_owned), collection: collection.map(str::to_owned), ..Need::default() };
    for word in words {
        match word {
            "+images" => need.images = true,
            operations => need.operations = operations.split(',').map(str::to_owned).collect(),
        }
    }
    need
}

const EVENTS: &[&str] = &[
    r#"{"operationType": "insert", "ns": {"db": "shop", "coll": "orders"}}"#,
    r#"{"operationType": "delete", "ns": {"db": "shop", "coll": "orders"}}"#,
    r#"{"operationType": "drop", "ns": {"db": "shop", "coll": "orders"}}"#,
    r#"{"operationType": "insert", "ns": {"db": "shop", "coll": "users"}}"#,
    r#"{"operationType": "rename", "ns": {"db": "shop", "coll": "other"}, "to": {"db": "shop", "coll": "orders"}}"#,
    r#"{"operationType": "dropDatabase", "ns": {"db": "shop"}}"#,
    r#"{"operationType": "insert", "ns": {"db": "blog", "coll": "orders"}}"#,
];

/// Which of the events pass.
fn check(needs: &[&str], passing: &[usize]) {
    let needs: Vec<Need> = needs.iter().map(|text| need(text)).collect();
    let filter = filter(&needs).unwrap_or_default().to_buf();
    let matcher = Matcher::parse(filter.as_doc(), &Context::default()).expect("a filter");
    let passed: Vec<usize> = (0..EVENTS.len())
        .filter(|at| {
            let event = parse_extended_json(EVENTS[*at]).expect("an event").to_buf();
            matcher.matches(event.as_doc()).expect("matches")
        })
        .collect();
    assert_eq!(passed, passing, "{}", to_plain_string(Raw::Document(filter.as_doc())));
}

#[test]
fn a_filter_leaves_what_is_needed_and_what_becomes_of_it() {
    check(&[], &[]);
    check(&["*"], &[0, 1, 2, 3, 4, 5, 6]);
    check(&["shop"], &[0, 1, 2, 3, 4, 5]);
    check(&["shop.orders"], &[0, 1, 2, 4, 5]);
    check(&["shop.orders insert"], &[0, 2, 4, 5]);
    check(&["shop.orders insert", "shop.orders insert +images"], &[0, 2, 4, 5]);
    check(&["shop.orders insert", "shop.orders"], &[0, 1, 2, 4, 5]);
    check(&["shop.users", "shop.orders delete"], &[1, 2, 3, 4, 5]);
    check(&["* insert"], &[0, 2, 3, 4, 5, 6]);
    check(&["blog.orders", "shop.users"], &[3, 5, 6]);
}

#[test]
fn collections_of_a_database_share_a_branch() {
    let needs: Vec<Need> = (0..100).map(|i| need(&format!("shop.c{i}"))).collect();
    let filter = filter(&needs).expect("not everything");
    let branches = filter.get("$or").and_then(Value::as_array).expect("alternatives").len();
    assert_eq!(branches, 3, "the server matches every event of the deployment against them");
}

#[test]
fn a_need_is_fulfilled_from_where_a_cursor_first_had_it() {
    let needs = Needs::default();
    needs.add(need("shop.orders insert"));
    let open = |position| {
        let (all, version) = needs.current();
        let fulfilled = needs.fulfil(&all, ClusterTime(position));
        needs.opened(Some(version));
        fulfilled
    };
    open(10);
    let version = needs.version();
    needs.add(need("shop.orders insert"));
    assert_eq!(needs.version(), version, "the open cursor has it");
    needs.add(need("shop.orders"));
    assert_ne!(needs.version(), version);
    assert_eq!(needs.since(&need("shop.orders")), None);
    open(20);
    assert_eq!(needs.since(&need("shop.orders")), Some(ClusterTime(20)));
    assert_eq!(needs.since(&need("shop.orders insert")), Some(ClusterTime(10)));
    assert_eq!(needs.since(&need("shop.orders +images")), None);
    // Nobody needs all of it any more; who comes back begins anew.
    needs.remove(&need("shop.orders"));
    let last = open(30);
    needs.add(need("shop.orders"));
    open(40);
    assert_eq!(needs.since(&need("shop.orders")), Some(ClusterTime(40)));
    // A restart knows what the last cursor had.
    let options = StoreOptions { upkeep_interval: None, captured: true, ..StoreOptions::new("") };
    let store = Store::open_on(std::sync::Arc::new(MemoryKv::default()), options).expect("memory opens");
    store
        .write(move |txn| {
            save(txn, &last);
            Ok(())
        })
        .wait()
        .expect("saved");
    let again = Needs::default();
    again.load(&store.snapshot().expect("readable")).expect("readable");
    assert_eq!(again.since(&need("shop.orders insert")), Some(ClusterTime(10)));
    assert_eq!(again.since(&need("shop.orders")), None);
}
