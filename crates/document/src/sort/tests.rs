//! Tests of `sort`.

use super::*;
use crate::json::{parse_extended_json, to_plain_string};

fn parse(json: &str) -> Result<SortPattern> {
    SortPattern::parse(parse_extended_json(json).expect("test document").to_buf().as_doc(), &Context::default())
}

/// Sorts documents `{_id: n, v: value}` and answers their `_id`s; `v` is missing for `-`.
fn check(pattern: &str, values: &[&str], expected: &str) {
    let docs: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(i, v)| match *v {
            "-" => format!(r#"{{"_id": {i}}}"#),
            v => format!(r#"{{"_id": {i}, "v": {v}}}"#),
        })
        .map(|json| parse_extended_json(&json).expect("test document").to_buf())
        .collect();
    let pattern = parse(pattern).unwrap();
    let ids =
        |docs: &[DocBuf]| docs.iter().map(|d| to_plain_string(d.get("_id").unwrap())).collect::<Vec<_>>().join(" ");
    let sorted = pattern.sort(docs.clone()).unwrap();
    assert_eq!(ids(&sorted), expected);
    let mut top = TopK::new(3);
    for doc in docs {
        top.push(pattern.key(doc.as_doc()).unwrap(), doc);
    }
    assert_eq!(ids(&top.into_sorted()), ids(&sorted[..sorted.len().min(3)]));
}

#[test]
fn sorts_across_types() {
    let mixed = [
        "1",
        r#"{"$numberLong": "2"}"#,
        "3.5",
        r#"{"$numberDecimal": "4.5"}"#,
        "-1",
        r#"{"$numberDouble": "NaN"}"#,
        r#""a""#,
        "null",
        "true",
        r#"{"x": 1}"#,
        "[1, 2]",
        "[]",
        "[[1, 2]]",
        "[null]",
        r#"{"$minKey": 1}"#,
        r#"{"$maxKey": 1}"#,
        "-",
    ];
    check(r#"{"v": 1, "_id": 1}"#, &mixed, "14 11 7 13 16 5 4 0 10 1 2 3 6 9 12 8 15");
    check(r#"{"v": -1, "_id": 1}"#, &mixed, "15 8 12 9 6 3 2 1 10 0 4 5 7 13 16 11 14");
}

#[test]
fn ties_keep_their_order() {
    check(r#"{"v": 1}"#, &["2", "1", "2.0", "1"], "1 3 0 2");
    check(r#"{"v.x": -1}"#, &[r#"[{"x": 1}, {"x": 9}]"#, r#"{"x": 5}"#, "7"], "0 1 2");
}

#[test]
fn a_compound_key_takes_its_fields_from_one_element() {
    // By element the smallest pairs are (1, 9) and (1, 5); by field they would be (1, 2) and (1, 5).
    check(r#"{"v.x": 1, "v.y": 1}"#, &[r#"[{"x": 1, "y": 9}, {"x": 3, "y": 2}]"#, r#"[{"x": 1, "y": 5}]"#], "1 0");
}

#[test]
fn refuses_bad_patterns() {
    for (json, code) in [
        (r#"{"a": 2}"#, 15975),
        (r#"{"a": "x"}"#, 15974),
        (r#"{"": 1}"#, 40352),
        (r#"{"a.": 1}"#, 40353),
        (r#"{"a..b": 1}"#, 15998),
        (r#"{"$a": 1}"#, 16410),
        (r#"{"a": {"$meta": "textScore"}}"#, 40218),
        (r#"{"a": {"$x": 1}}"#, 17312),
    ] {
        assert_eq!(parse(json).unwrap_err().code, code, "{json}");
    }
    assert_eq!(parse(r#"{"$natural": -1}"#).unwrap().natural(), Some(true));
    let parallel = parse(r#"{"a": 1, "b": 1}"#).unwrap();
    let doc = parse_extended_json(r#"{"a": [1, 2], "b": [3, 4]}"#).unwrap().to_buf();
    assert_eq!(parallel.key(doc.as_doc()).unwrap_err().code, 2);
}
