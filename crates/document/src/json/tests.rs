//! Tests of `json`.

use proptest::prelude::*;

use super::*;
use crate::key_string::tests::any_value;
use crate::value::{Doc, Value};

fn value(json: &str) -> Value {
    parse_extended_json(&format!(r#"{{"v": {json}}}"#)).unwrap().get("v").unwrap().clone()
}

/// A value in canonical form prints in the three dialects.
fn check(canonical: &str, relaxed: &str, plain: &str) {
    let doc = Doc::new().with("v", value(canonical)).to_buf();
    let v = doc.get("v").unwrap();
    assert_eq!(to_extended_json(v, Dialect::Canonical), canonical);
    assert_eq!(to_extended_json(v, Dialect::Relaxed), relaxed);
    assert_eq!(to_plain_string(v), plain);
}

#[test]
fn every_type_prints() {
    check(r#"{"$numberInt":"5"}"#, "5", "5");
    check(r#"{"$numberLong":"5"}"#, "5", "5");
    check(r#"{"$numberDouble":"5.0"}"#, "5.0", "5");
    check(r#"{"$numberDouble":"-0.0"}"#, "-0.0", "-0");
    check(r#"{"$numberDouble":"1.5"}"#, "1.5", "1.5");
    check(r#"{"$numberDouble":"NaN"}"#, r#"{"$numberDouble":"NaN"}"#, r#""NaN""#);
    check(r#"{"$numberDouble":"-Infinity"}"#, r#"{"$numberDouble":"-Infinity"}"#, r#""-Infinity""#);
    check(r#"{"$numberDecimal":"1.50"}"#, r#"{"$numberDecimal":"1.50"}"#, "1.50");
    check(r#"{"$numberDecimal":"NaN"}"#, r#"{"$numberDecimal":"NaN"}"#, r#""NaN""#);
    check(r#""q\"\\\n\u0001é""#, r#""q\"\\\n\u0001é""#, r#""q\"\\\n\u0001é""#);
    check(
        r#"{"$oid":"c0ffee0000000000000000a1"}"#,
        r#"{"$oid":"c0ffee0000000000000000a1"}"#,
        r#""c0ffee0000000000000000a1""#,
    );
    check(
        r#"{"$date":{"$numberLong":"1767323045678"}}"#,
        r#"{"$date":"2026-01-02T03:04:05.678Z"}"#,
        r#""2026-01-02T03:04:05.678Z""#,
    );
    check(r#"{"$date":{"$numberLong":"-1"}}"#, r#"{"$date":{"$numberLong":"-1"}}"#, r#""1969-12-31T23:59:59.999Z""#);
    check(
        r#"{"$binary":{"base64":"AQI=","subType":"00"}}"#,
        r#"{"$binary":{"base64":"AQI=","subType":"00"}}"#,
        r#""AQI=""#,
    );
    check(
        r#"{"$binary":{"base64":"A+yjswrvThWdqZKmsc17RA==","subType":"04"}}"#,
        r#"{"$binary":{"base64":"A+yjswrvThWdqZKmsc17RA==","subType":"04"}}"#,
        r#""03eca3b3-0aef-4e15-9da9-92a6b1cd7b44""#,
    );
    check(r#"{"$timestamp":{"t":5,"i":1}}"#, r#"{"$timestamp":{"t":5,"i":1}}"#, r#"{"t": 5, "i": 1}"#);
    check(
        r#"{"$regularExpression":{"pattern":"^a","options":"i"}}"#,
        r#"{"$regularExpression":{"pattern":"^a","options":"i"}}"#,
        r#""/^a/i""#,
    );
    check(r#"{"$minKey":1}"#, r#"{"$minKey":1}"#, r#""MinKey""#);
    check(r#"{"$undefined":true}"#, r#"{"$undefined":true}"#, "null");
    check(
        r#"{"a":{"$numberInt":"1"},"b":[{"$numberInt":"1"},true,null],"c":{}}"#,
        r#"{"a":1,"b":[1,true,null],"c":{}}"#,
        r#"{"a": 1, "b": [1, true, null], "c": {}}"#,
    );
}

#[test]
fn reads_what_people_write() {
    assert_eq!(value("12"), Value::Int32(12));
    assert_eq!(value("3000000000"), Value::Int64(3_000_000_000));
    assert_eq!(value("1e2"), Value::Double(100.0));
    assert_eq!(value(r#""\ud83d\ude00""#), Value::String("😀".to_owned()));
    assert_eq!(value(r#"{"$date": "2026-01-02T03:04:05+01:00"}"#), Value::Date(1_767_319_445_000));
    assert_eq!(value(r#"{"$gt": 1}"#), Value::Document(Doc::new().with("$gt", 1)));
    for bad in
        ["", "{", "[1,]", "tru", "\"a", "01x", r#""\q""#, r#""\ud800""#, r#"{"a" 1}"#, r#"{"$oid": "xyz"}"#, "1 2"]
    {
        assert_eq!(parse_extended_json(&format!(r#"{{"v": {bad}}}"#)).unwrap_err().code, 9, "{bad}");
    }
    assert_eq!(parse_extended_json(&"[".repeat(100_000)).unwrap_err().code, 9);
}

proptest! {
    #[test]
    fn canonical_loses_nothing(v in any_value()) {
        // A name that starts with $ would be read as a type; the generator has none.
        prop_assume!(!format!("{v:?}").contains("NaN"));
        let doc = Doc::new().with("v", v);
        let buf = doc.to_buf();
        let text = to_extended_json(Raw::Document(buf.as_doc()), Dialect::Canonical);
        prop_assert_eq!(parse_extended_json(&text).unwrap(), doc);
    }

    #[test]
    fn no_text_makes_it_panic(text in r#"[\[\]{}":,0-9a-z$\\ \-.+]{0,40}"#) {
        if let Ok(doc) = parse_extended_json(&text) {
            prop_assert!(doc.len() < 40);
        }
    }
}
