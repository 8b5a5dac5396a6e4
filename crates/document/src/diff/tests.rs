//! Tests of the difference. The laws over random documents are in `update::tests`.

use super::describe;
use crate::json::parse_extended_json;
use crate::raw::DocBuf;
use crate::value::{Doc, Value};

fn doc(text: &str) -> DocBuf {
    parse_extended_json(&text.replace("PAD", &"x".repeat(300))).unwrap().to_buf()
}

/// `wanted` is the description as JSON, or "replace".
fn check(pre: &str, post: &str, wanted: &str) {
    let got = describe(doc(pre).as_doc(), doc(post).as_doc());
    match got {
        None => assert_eq!("replace", wanted),
        Some(description) => assert_eq!(description.to_buf(), doc(wanted), "{description:?}"),
    }
}

#[test]
fn a_difference_that_is_not_smaller_is_a_replacement() {
    let post = |n: usize| format!(r#"{{"_id": 1, "a": 2, "p": "{}"}}"#, "x".repeat(n));
    let pre = |n: usize| post(n).replace("2,", "1,");
    let is_update = |n: usize| describe(doc(&pre(n)).as_doc(), doc(&post(n)).as_doc()).is_some();
    assert!(!is_update(6) && is_update(7));
}

#[test]
fn a_moved_field_is_reported_with_all_that_moved_past_it() {
    check(
        r#"{"_id": 1, "a": 1, "b": 2, "c": 3, "p": "PAD"}"#,
        r#"{"_id": 1, "p": "PAD", "c": 3, "a": 1}"#,
        r#"{"updatedFields": {"c": 3, "a": 1}, "removedFields": ["b"], "truncatedArrays": [], "disambiguatedPaths": {}}"#,
    );
}

#[test]
fn levels_are_told_changes_first_then_what_lies_below() {
    check(
        r#"{"d": {"x": 1, "y": 2, "p": "PAD"}, "u": 1, "r": 0, "l": [1, {"k": 1, "p": "PAD"}, 3]}"#,
        r#"{"d": {"x": 5, "p": "PAD"}, "u": 2, "l": [1, {"k": 2, "p": "PAD"}], "n": 9}"#,
        r#"{"updatedFields": {"u": 2, "n": 9, "d.x": 5, "l.1.k": 2}, "removedFields": ["r", "d.y"],
            "truncatedArrays": [{"field": "l", "newSize": 2}], "disambiguatedPaths": {}}"#,
    );
}

#[test]
fn names_with_dots_and_digits_are_told_apart() {
    check(
        r#"{"a.b": {"1": 1, "p": "PAD"}}"#,
        r#"{"a.b": {"1": 2, "p": "PAD"}}"#,
        r#"{"updatedFields": {"a.b.1": 2}, "removedFields": [], "truncatedArrays": [],
            "disambiguatedPaths": {"a.b.1": ["a.b", "1"]}}"#,
    );
}

#[test]
fn equal_documents_have_an_empty_difference() {
    let same = doc(r#"{"a": {"$numberDouble": "NaN"}}"#);
    assert!(describe(same.as_doc(), same.as_doc()).unwrap().is_empty());
}

/// The same bytes compared at each of 190 levels stay cheap: no level is walked twice.
#[test]
fn deep_documents_are_compared_once_per_level() {
    let nested = |leaf: i32| {
        let pad = Value::from("x".repeat(1000));
        (0..190).fold(Value::Int32(leaf), |inner, _| Doc::new().with("p", pad.clone()).with("n", inner).into())
    };
    let (pre, post) = (Doc::new().with("n", nested(1)).to_buf(), Doc::new().with("n", nested(2)).to_buf());
    let description = describe(pre.as_doc(), post.as_doc()).unwrap();
    assert_eq!(description.updated_fields.len(), 1);
}
