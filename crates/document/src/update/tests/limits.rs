//! What a hostile update may not do: nest, grow or cost without bound.

use super::{context, doc, error_of, parse};
use crate::raw::{DocBuf, Raw};
use crate::update::{Outcome, Update, check_document, ensure_id, fill_timestamps, upsert};
use crate::value::{Doc, Value};

#[test]
fn an_array_is_not_filled_with_millions_of_nulls() {
    assert_eq!(error_of(r#"{"a": []}"#, r#"{"$set": {"a.1500001": 1}}"#).code, 34);
    let many = r#"{"$set": {"a.1400000": 1, "b.1400000": 1}}"#;
    assert_eq!(error_of(r#"{"a": [], "b": []}"#, many).code, 17419);
}

/// `levels` documents in each other.
fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Int32(1), |inner, _| Doc::new().with("x", inner).into())
}

#[test]
fn a_document_does_not_nest_deeper_than_it_can_be_read() {
    let before = doc(r#"{"_id": 1, "a": {"b": {}}}"#);
    let set = |levels: usize| {
        let update = Doc::new().with("$set", Doc::new().with("a.b.c", nested(levels))).to_buf();
        Update::parse(Raw::Document(update.as_doc()), &[], &context()).unwrap().apply(&before, None)
    };
    assert!(matches!(set(197), Ok(Outcome::Updated { .. })));
    assert_eq!(set(198).unwrap_err().code, 15);
    let path = vec!["a"; 300].join(".");
    assert_eq!(error_of("{}", &format!(r#"{{"$set": {{"{path}": 1}}}}"#)).code, 15);
}

#[test]
fn an_upsert_does_not_nest_deeper_than_it_can_be_read() {
    let path = vec!["a"; 150].join(".");
    let filter = Doc::new().with(path, nested(100)).to_buf();
    let update = parse(r#"{"$set": {"b": 1}}"#, "[]", &context()).unwrap();
    assert_eq!(upsert(filter.as_doc(), &update, &context()).unwrap_err().code, 15);
}

#[test]
fn a_pipeline_cannot_nest_or_double_a_document_without_end() {
    let before = Doc::new().with("_id", 1).with("k", "x".repeat(1_000_000)).to_buf();
    let code = |stage: &str, times: usize| {
        let stages = vec![stage; times].join(", ");
        parse(&format!("[{stages}]"), "[]", &context()).unwrap().apply(&before, None).map_err(|e| e.code)
    };
    assert_eq!(code(r#"{"$set": {"k": 1}}, {"$set": {"a": "$$ROOT"}}"#, 300), Err(15));
    assert_eq!(code(r#"{"$set": {"a": "$$ROOT", "b": "$$ROOT"}}"#, 60), Err(10334));
    assert_eq!(code(r#"{"$set": {"a": "$$ROOT", "b": "$$ROOT"}}"#, 4), Err(17419));
}

#[test]
fn a_small_update_cannot_make_a_huge_document() {
    let elements = vec![Value::Int32(0); 2000];
    let before = Doc::new().with("_id", 1).with("a", elements).to_buf();
    let update = Doc::new().with("$set", Doc::new().with("a.$[]", "x".repeat(100_000))).to_buf();
    let update = Update::parse(Raw::Document(update.as_doc()), &[], &context()).unwrap();
    assert_eq!(update.apply(&before, None).unwrap_err().code, 17419);
}

/// 100 000 fields in one update: quadratic work would take minutes.
#[test]
fn many_fields_cost_no_more_than_their_number() {
    let fields = |prefix: &str| (0..100_000).map(|i| (format!("{prefix}f{i}"), Value::Int32(i))).collect::<Doc>();
    for (before, prefix) in
        [(fields(""), ""), (Doc::new(), ""), (Doc::new(), "new."), (Doc::new().with("d", fields("")), "d.")]
    {
        let update = Doc::new().with("$inc", fields(prefix)).to_buf();
        let update = Update::parse(Raw::Document(update.as_doc()), &[], &context()).unwrap();
        let Outcome::Updated { description, .. } = update.apply(&before.to_buf(), None).unwrap() else {
            panic!("all but f0 change")
        };
        assert!(!description.is_empty());
    }
}

#[test]
fn large_sets_are_not_compared_pair_by_pair() {
    let numbers = |from: i32| Value::Array((from..from + 50_000).map(Value::Int32).collect());
    let before = Doc::new().with("a", numbers(0)).to_buf();
    for (update, length) in [
        (Doc::new().with("$addToSet", Doc::new().with("a", Doc::new().with("$each", numbers(25_000)))), 75_000),
        (Doc::new().with("$pullAll", Doc::new().with("a", numbers(25_000))), 25_000),
    ] {
        let update = Update::parse(Raw::Document(update.to_buf().as_doc()), &[], &context()).unwrap();
        let Outcome::Updated { document, .. } = update.apply(&before, None).unwrap() else { panic!("it changes") };
        let Some(Raw::Array(a)) = document.get("a") else { panic!("a is an array") };
        assert_eq!(a.values().count(), length);
    }
}

#[test]
fn ids_are_checked_made_and_moved_first() {
    let code = |text: &str| check_document(doc(text).as_doc()).map_err(|e| e.code);
    assert_eq!(code(r#"{"a": 1, "$b": {"$c": 1}}"#), Ok(()));
    assert_eq!(code(r#"{"_id": []}"#), Err(53));
    assert_eq!(code(r#"{"_id": {"$regularExpression": {"pattern": "x", "options": ""}}}"#), Err(53));
    assert_eq!(code(r#"{"_id": {"a": {"$b": 1}}}"#), Err(52));
    let large = Doc::new().with("a", "x".repeat(base::limits::MAX_DOCUMENT)).to_buf();
    assert_eq!(check_document(large.as_doc()).map_err(|e| e.code), Err(2));

    let names = |doc: &DocBuf| doc.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let made = ensure_id(&doc(r#"{"a": 1}"#), &context());
    assert_eq!(names(&made), ["_id", "a"]);
    assert!(matches!(made.get("_id"), Some(Raw::ObjectId(_))));
    assert_eq!(ensure_id(&doc(r#"{"a": 1, "_id": 2}"#), &context()), doc(r#"{"_id": 2, "a": 1}"#));
}

#[test]
fn empty_timestamps_at_the_top_become_the_current_time() {
    let stamp = |t: u32, i: u32| format!(r#"{{"$timestamp": {{"t": {t}, "i": {i}}}}}"#);
    let zero = stamp(0, 0);
    let before = doc(&format!(r#"{{"_id": {zero}, "a": {zero}, "b": {{"c": {zero}}}}}"#));
    let after = doc(&format!(r#"{{"_id": {zero}, "a": {}, "b": {{"c": {zero}}}}}"#, stamp(5, 6)));
    assert_eq!(fill_timestamps(&before, base::ClusterTime::new(5, 6)), after);
}

#[test]
fn a_replacement_is_no_change_only_if_it_is_what_is_stored() {
    let outcome =
        |update: &str| parse(update, "[]", &context()).unwrap().apply(&doc(r#"{"_id": 1, "a": 1}"#), None).unwrap();
    let replaced = |text: &str| Outcome::Replaced { document: doc(text), sent: None };
    assert_eq!(outcome(r#"{"_id": 1, "a": 1}"#), Outcome::Unchanged);
    assert_eq!(outcome(r#"{"a": 1}"#), replaced(r#"{"_id": 1, "a": 1}"#));
    let sent = Some(doc(r#"{"a": 1, "_id": 1}"#));
    let shown = Outcome::Replaced { document: doc(r#"{"_id": 1, "a": 1}"#), sent };
    assert_eq!(outcome(r#"{"a": 1, "_id": 1}"#), shown, "stored with _id first, reported as it came");
    assert_eq!(outcome("{}"), replaced(r#"{"_id": 1}"#));
    assert_eq!(outcome(r#"{"b": {"$x": 1}}"#), replaced(r#"{"_id": 1, "b": {"$x": 1}}"#));
}
