//! The filter lets through whatever the condition holds for.

use base::Random;
use document::DocBuf;
use sql::binder::{BindOptions, bind_query};
use sql::catalog::collection_columns;
use sql::parser::Statement;
use sql::{Catalog, Relation};

use super::*;
use crate::scan::{ScanColumns, collection_row};

struct Orders;

impl Catalog for Orders {
    fn database(&self) -> &str {
        "shop"
    }

    fn relation(&self, _: Option<&str>, name: &str) -> Option<Relation> {
        let source = Source::Collection { db: "shop".into(), name: name.into() };
        Some(Relation { source, columns: collection_columns(), open: Some(1), key: vec![0] })
    }

    fn stream(&self, _: &str) -> Option<Relation> {
        None
    }
}

fn plan(condition: &str) -> Arc<Plan> {
    let text = format!("SELECT 1 FROM orders WHERE {condition}");
    match sql::parser::parse(&text).unwrap().pop().unwrap().statement {
        Statement::Query(query) => bind_query(&query, &Orders, &BindOptions::default()).unwrap().plan,
        other => panic!("no query: {other:?}"),
    }
}

fn filter(condition: &str) -> Option<DocBuf> {
    source_filters(&plan(condition), &EvalContext::at(0)).into_values().next()
}

fn scanned(plan: &Arc<Plan>) -> (Expr, Vec<ScanColumn>) {
    match &**plan {
        Plan::Filter { input, predicate } => match &**input {
            Plan::Scan { columns, .. } => (predicate.clone(), columns.clone()),
            other => panic!("no scan below the filter: {other:?}"),
        },
        _ => scanned(plan.inputs()[0]),
    }
}

fn shows(condition: &str, expected: &str) {
    assert_eq!(filter(condition).map(|filter| shown(&filter)).unwrap_or_default(), expected, "{condition}");
}

#[test]
fn equalities_with_whole_numbers_and_booleans_are_filters() {
    shows("_id = 7", r#"{"$and": [{"_id": {"$in": [7]}}]}"#);
    shows("7 = _id AND total > 5", r#"{"$and": [{"_id": {"$in": [7]}}]}"#);
    shows("_id IN (1, 2) AND paid = true", r#"{"$and": [{"_id": {"$in": [1, 2]}}, {"paid": {"$in": [true]}}]}"#);
    shows("document->'a'->'b' = '3'", r#"{"$and": [{"a.b": {"$in": [3]}}]}"#);
    assert!(filter("status = 'paid'").is_some());
    assert!(filter("document->>'status' = 'paid'").is_some());
}

#[test]
fn what_the_store_compares_otherwise_is_no_filter() {
    for condition in [
        "total > 5",
        "total = 1.5",
        "_id = 9007199254740993",
        "_id = 7 OR total = 1",
        "_id <> 7",
        "document->>'total' = '1.50'",
        "document->>'at' = '2024-01-01T00:00:00.000Z'",
        "document->'a.b' = '1'",
        "document->'a'->0 = '1'",
        "document = '{}'",
        "(document->>'total')::int = 5",
        "_id = total",
        "status NOT IN ('a')",
    ] {
        assert_eq!(filter(condition), None, "{condition}");
    }
}

#[test]
fn a_collection_read_twice_is_read_in_full() {
    let text = "SELECT 1 FROM orders a, orders b WHERE a._id = 1 AND b._id = 2";
    let Statement::Query(query) = sql::parser::parse(text).unwrap().pop().unwrap().statement else { panic!() };
    let plan = bind_query(&query, &Orders, &BindOptions::default()).unwrap().plan;
    assert!(source_filters(&plan, &EvalContext::at(0)).is_empty());
}

/// Values that print alike, or look alike to the store.
fn value(random: &mut Random) -> Value {
    const TEXTS: [&str; 8] =
        ["7", "paid", "true", "", "507f1f77bcf86cd799439011", "a", "-3", "00000000-0000-4000-8000-000000000001"];
    let text = TEXTS[random.below(TEXTS.len() as u64) as usize].to_owned();
    let n = random.below(9) as i64 - 3;
    match random.below(18) {
        0 => Value::Int32(n as i32),
        1 => Value::Int64(n),
        2 => Value::Double(n as f64),
        3 => Value::Double(n as f64 + 0.5),
        4 => Value::Decimal128(document::number::Decimal::from_i64(n).to_bytes()),
        5 | 6 => Value::String(text),
        7 => Value::Symbol(text),
        8 => Value::Code(text),
        9 => Value::CodeWithScope { code: text, scope: Doc::new().with("x", 1) },
        10 => Value::ObjectId([0x50, 0x7f, 0x1f, 0x77, 0xbc, 0xf8, 0x6c, 0xd7, 0x99, 0x43, 0x90, 0x11]),
        11 => Value::Binary(Binary { subtype: [0, 5, 255][random.below(3) as usize], bytes: vec![0xa5, 0xa8, 0x9d] }),
        12 => Value::Binary(Binary { subtype: 4, bytes: vec![0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1] }),
        13 => Value::Bool(n > 0),
        14 => Value::Null,
        15 => Value::Array(vec![Value::Int64(n), Value::String(text)]),
        16 => Value::Document(Doc::new().with("a", n)),
        _ => Value::Binary(Binary { subtype: 0, bytes: vec![] }),
    }
}

#[test]
fn every_document_that_the_condition_holds_for_matches_the_filter() {
    let mut random = Random::seeded(7);
    let constants = [
        "7",
        "-3",
        "0",
        "true",
        "'paid'",
        "'7'",
        "''",
        "'a'",
        "'507f1f77bcf86cd799439011'",
        "'00000000-0000-4000-8000-000000000001'",
    ];
    let (mut held, mut filtered) = (0, 0);
    for _ in 0..4000 {
        let constant = constants[random.below(constants.len() as u64) as usize];
        let condition = match random.below(3) {
            0 => format!("f = {constant}"),
            1 => format!("document->>'f' = ({constant})::text"),
            _ => format!("document->'f' IN (to_jsonb(({constant})::text), '1', 'true')"),
        };
        let plan = plan(&condition);
        let Some(filter) = source_filters(&plan, &EvalContext::at(0)).into_values().next() else { continue };
        let matcher = Matcher::parse(filter.as_doc(), &Context::default()).unwrap();
        let (predicate, columns) = scanned(&plan);
        let document = Doc::new().with("_id", 1).with("f", value(&mut random)).to_buf();
        let row = collection_row(&ScanColumns::new(&columns), &document);
        let holds = predicate.eval(&row, &EvalContext::at(0)).is_ok_and(|value| value == Datum::Bool(true));
        let matches = matcher.matches(document.as_doc()).unwrap();
        assert!(!holds || matches, "{condition} holds for {document:?}, which {} leaves out", shown(&filter));
        held += usize::from(holds);
        filtered += usize::from(!matches);
    }
    assert!(held > 200 && filtered > 500, "held {held}, filtered {filtered}");
}
