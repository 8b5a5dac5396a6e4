//! Tests of `path`.

use super::*;
use crate::json::parse_extended_json;

fn doc(json: &str) -> crate::DocBuf {
    parse_extended_json(json).expect("test document").to_buf()
}

/// What a walk visits, in order: value (or `missing`) and `@position`.
fn check(path: &str, json: &str, expected: &str) {
    let doc = doc(json);
    let mut visits = Vec::new();
    Path::new(path)
        .walk(doc.as_doc(), LeafArrays::Traverse, |visit| {
            let value = visit.value.map_or("missing".to_owned(), |v| crate::json::to_plain_string(v));
            visits.push(visit.array_index.map_or(value.clone(), |i| format!("{value}@{i}")));
            Ok(false)
        })
        .unwrap();
    assert_eq!(visits.join(" "), expected, "{path} over {json}");
}

#[test]
fn walks_like_a_query() {
    check("a", r#"{"a": 1}"#, "1");
    check("a.b", r#"{"a": {"b": 2}}"#, "2");
    check("a.b", r#"{"a": 1}"#, "missing");
    check("b", r#"{"a": 1}"#, "missing");
    check("a", r#"{"a": [1, 2]}"#, "1@0 2@1 [1, 2]");
    check("a", r#"{"a": []}"#, "[]");
    check("a.b", r#"{"a": []}"#, "");
    check("a.b", r#"{"a": [1, [{"b": 1}]]}"#, "");
    check("a.b", r#"{"a": [{"b": 1}, {"c": 1}]}"#, "1@0 missing@1");
    check("a.b", r#"{"a": [{"b": [5]}]}"#, "5@0 [5]@0");
    check("a.0", r#"{"a": [[1, 2]]}"#, "[1, 2]@0");
    check("a.1", r#"{"a": {"1": 7}}"#, "7");
    check("a.0.b", r#"{"a": [{"b": 1}]}"#, "missing@0 1");
    check("a.0.0", r#"{"a": [[7]]}"#, "7@0");
    check("a.01", r#"{"a": [5, 6]}"#, "");
}

fn check_index(path: &str, json: &str, expected: &str) {
    let doc = doc(json);
    let mut values = Vec::new();
    index_keys(&[&Path::new(path)], doc.as_doc(), &mut |key| values.push(key[0].type_name())).unwrap();
    assert_eq!(values.join(" "), expected, "{path} over {json}");
}

#[test]
fn index_values_expand_arrays() {
    check_index("a", r#"{"a": [1, "x"]}"#, "int string");
    check_index("a", r#"{"a": []}"#, "undefined");
    check_index("a", r#"{}"#, "null");
    check_index("a.b", r#"{"a": []}"#, "null");
    check_index("a.b", r#"{"a": [{"b": 1}, {}, 5]}"#, "int null null");
    check_index("a.b", r#"{"a": [{"b": [true, "s"]}]}"#, "bool string");
    check_index("a.1", r#"{"a": [1, "x"]}"#, "string");
    let ambiguous = doc(r#"{"a": [{"0": 1}]}"#);
    assert_eq!(index_keys(&[&Path::new("a.0")], ambiguous.as_doc(), &mut |_| ()).unwrap_err().code, 16746);
}

#[test]
fn compound_keys_stay_within_one_element() {
    let paths = ["a.x", "b", "a.y"].map(Path::new);
    let keys = |json: &str| {
        let doc = doc(json);
        let mut keys = Vec::new();
        index_keys(&paths.each_ref(), doc.as_doc(), &mut |key| {
            keys.push(key.iter().map(|v| crate::json::to_plain_string(*v)).collect::<Vec<_>>().join("/"));
        })
        .map(|()| keys.join(" "))
    };
    assert_eq!(keys(r#"{"a": [{"x": 1, "y": 2}, {"x": 3}, 4], "b": 5}"#).unwrap(), "1/5/2 3/5/null null/5/null");
    assert_eq!(keys(r#"{"a": {"x": [1, 2], "y": 3}}"#).unwrap(), "1/null/3 2/null/3");
    assert_eq!(keys(r#"{"a": [{"x": [1, 2], "y": 3}]}"#).unwrap(), "1/null/3 2/null/3");
    assert_eq!(keys(r#"{"a": [{"x": 1}], "b": [2]}"#).unwrap_err().code, 171);
}

fn check_extract(paths: &[&[&str]], json: &str, expected: &str) {
    let doc = doc(json);
    let mut out = Vec::new();
    Extractor::new(paths).extract(doc.as_doc(), &mut out);
    let shown: Vec<_> = out.iter().map(|v| v.map_or("-".to_owned(), crate::json::to_plain_string)).collect();
    assert_eq!(shown.join(" "), expected);
}

#[test]
fn extracts_plain_paths_in_one_pass() {
    let json = r#"{"s": "skip", "a": 1, "d": {"x": {"y": 2}, "z": 3}, "l": [10, {"k": 11}], "a.b": 4,
        "o": {"$oid": "c0ffee0000000000000000a1"}, "r": {"$regularExpression": {"pattern": "p", "options": "i"}}, "e": true}"#;
    check_extract(&[&["a"], &["d", "x", "y"], &["d", "z"], &["e"]], json, "1 2 3 true");
    check_extract(&[&["l", "1", "k"], &["l", "0"], &["l", "k"], &["a.b"]], json, "11 10 - 4");
    check_extract(
        &[&["d"], &["d", "x"], &["d", "x"], &["a", "b"]],
        json,
        r#"{"x": {"y": 2}, "z": 3} {"y": 2} {"y": 2} -"#,
    );
    check_extract(&[&["missing"], &["a"]], json, "- 1");
    check_extract(&[&[]], r#"{"a": 1}"#, r#"{"a": 1}"#);
    check_extract(&[], json, "");
}

#[test]
fn extraction_survives_damage() {
    let buf = doc(r#"{"s": "text", "d": {"x": 1}, "e": 5}"#);
    let bytes = buf.bytes();
    let extractor = Extractor::dotted(&["d.x", "e", "nope"]);
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.to_vec();
            damaged[at] = value;
            for damaged in [&damaged[..], &damaged[..at]] {
                let mut out = Vec::new();
                extractor.extract(RawDoc::trusted(damaged), &mut out);
                assert_eq!(out.len(), 3);
            }
        }
    }
}
