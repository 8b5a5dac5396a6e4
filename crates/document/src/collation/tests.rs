//! Tests of `collation`.

use super::*;
use crate::error::Result;
use crate::json::{parse_extended_json, to_plain_string};

fn parse(json: &str) -> Result<Option<Collation>> {
    Collation::parse(parse_extended_json(json).expect("test document").to_buf().as_doc())
}

fn check(json: &str, a: &str, b: &str, expected: Ordering) {
    let collation = parse(json).unwrap().expect("not simple");
    assert_eq!(collation.compare(a, b), expected, "{json} {a} {b}");
    assert_eq!(collation.key(a).cmp(&collation.key(b)), expected, "keys of {json} {a} {b}");
}

#[test]
fn compares_by_strength_and_options() {
    use Ordering::{Equal, Greater, Less};
    check(r#"{"locale": "en"}"#, "a", "B", Less);
    check(r#"{"locale": "en"}"#, "a", "A", Less);
    check(r#"{"locale": "en", "strength": 2}"#, "a", "A", Equal);
    check(r#"{"locale": "en", "strength": 2}"#, "e", "é", Less);
    check(r#"{"locale": "en", "strength": 1}"#, "e", "é", Equal);
    check(r#"{"locale": "en", "strength": 1, "caseLevel": true}"#, "e", "E", Less);
    check(r#"{"locale": "en", "caseFirst": "upper"}"#, "a", "A", Greater);
    check(r#"{"locale": "en"}"#, "x10", "x9", Less);
    check(r#"{"locale": "en", "numericOrdering": true}"#, "x10", "x9", Greater);
    check(r#"{"locale": "en", "alternate": "shifted"}"#, "a-b", "ab", Equal);
    check(r#"{"locale": "sv"}"#, "z", "ö", Less);
    check(r#"{"locale": "de"}"#, "z", "ö", Greater);
    check(r#"{"locale": "de@collation=phonebook"}"#, "ö", "of", Less);
    check(r#"{"locale": "fr_CA"}"#, "coté", "côte", Greater);
    check(r#"{"locale": "fr"}"#, "coté", "côte", Less);
}

#[test]
fn reports_itself_in_full() {
    let collation = parse(r#"{"locale": "en", "strength": 2}"#).unwrap().unwrap();
    assert_eq!(
        to_plain_string(Raw::Document(collation.to_doc().to_buf().as_doc())),
        r#"{"locale": "en", "caseLevel": false, "caseFirst": "off", "strength": 2, "numericOrdering": false, "alternate": "non-ignorable", "maxVariable": "punct", "normalization": false, "backwards": false, "version": "57.1"}"#
    );
    assert_eq!(Collation::parse(collation.to_doc().to_buf().as_doc()).unwrap().unwrap(), collation);
    assert!(parse(r#"{"locale": "simple"}"#).unwrap().is_none());
    assert!(parse("{}").unwrap().is_none());
}

#[test]
fn refuses_bad_documents() {
    for (json, code) in [
        (r#"{"strength": 2}"#, 40414),
        (r#"{"locale": "zz_none"}"#, 2),
        (r#"{"locale": "xx_bad"}"#, 2),
        (r#"{"locale": "en_toolong"}"#, 2),
        (r#"{"locale": 5}"#, 14),
        (r#"{"locale": "en", "strength": 6}"#, 2),
        (r#"{"locale": "en", "strength": "1"}"#, 14),
        (r#"{"locale": "en", "caseFirst": "x"}"#, 2),
        (r#"{"locale": "en", "caseLevel": 1}"#, 14),
        (r#"{"locale": "en", "foo": 1}"#, 40415),
        (r#"{"locale": "simple", "strength": 1}"#, 2),
    ] {
        assert_eq!(parse(json).unwrap_err().code, code, "{json}");
    }
}

#[test]
fn reaches_strings_inside_values() {
    let collation = parse(r#"{"locale": "en", "strength": 2}"#).unwrap();
    let doc = parse_extended_json(r#"{"a": {"x": ["Q"]}, "b": {"x": ["q"]}}"#).unwrap().to_buf();
    let (a, b) = (doc.get("a").unwrap(), doc.get("b").unwrap());
    assert_eq!(compare_with(a, b, collation.as_ref()), Ordering::Equal);
    assert_eq!(compare_with(a, b, None), Ordering::Less);
}
