//! Tests of `matcher`.

use proptest::prelude::*;

use super::*;
use crate::collation::Collation;
use crate::json::parse_extended_json;
use crate::raw::DocBuf;

fn doc(json: &str) -> DocBuf {
    parse_extended_json(json).unwrap_or_else(|e| panic!("{json}: {e}")).to_buf()
}

fn parse(filter: &str) -> Result<Matcher> {
    Matcher::parse(doc(filter).as_doc(), &Context::default())
}

/// Which of the documents match, by position.
fn matching(filter: &str, docs: &[&str]) -> Vec<usize> {
    let matcher = parse(filter).unwrap_or_else(|e| panic!("{filter}: {e}"));
    (0..docs.len()).filter(|i| matcher.matches(doc(docs[*i]).as_doc()).unwrap()).collect()
}

/// `filter` matches exactly these positions of the document set.
fn check(docs: &[&str], filter: &str, expected: &[usize]) {
    assert_eq!(matching(filter, docs), expected, "{filter}");
}

fn refused(filter: &str, code: i32, message: &str) {
    let error = parse(filter).expect_err(filter);
    assert_eq!((error.code, error.message.as_str()), (code, message), "{filter}");
}

/// One value of every type under `v`; the last document has none. The numbering is that of the
/// recorded server answers.
const MIX: [&str; 31] = [
    r#"{"v": 1}"#,
    r#"{"v": {"$numberLong": "2"}}"#,
    r#"{"v": 3.5}"#,
    r#"{"v": {"$numberDecimal": "4.5"}}"#,
    r#"{"v": -1}"#,
    r#"{"v": 0}"#,
    r#"{"v": {"$numberDouble": "NaN"}}"#,
    r#"{"v": {"$numberDouble": "Infinity"}}"#,
    r#"{"v": "a"}"#,
    r#"{"v": "B"}"#,
    r#"{"v": ""}"#,
    r#"{"v": null}"#,
    r#"{"v": true}"#,
    r#"{"v": false}"#,
    r#"{"v": {"x": 1}}"#,
    r#"{"v": {"x": 1, "y": 2}}"#,
    r#"{"v": {}}"#,
    r#"{"v": [1, 2]}"#,
    r#"{"v": []}"#,
    r#"{"v": [[1, 2]]}"#,
    r#"{"v": ["a"]}"#,
    r#"{"v": [null]}"#,
    r#"{"v": {"$oid": "c0ffee0000000000000000a1"}}"#,
    r#"{"v": {"$date": "2001-01-01T00:00:00Z"}}"#,
    r#"{"v": {"$timestamp": {"t": 5, "i": 1}}}"#,
    r#"{"v": {"$binary": {"base64": "YWI=", "subType": "00"}}}"#,
    r#"{"v": {"$regularExpression": {"pattern": "^a", "options": ""}}}"#,
    r#"{"v": {"$minKey": 1}}"#,
    r#"{"v": {"$maxKey": 1}}"#,
    r#"{"v": {"$code": "f"}}"#,
    "{}",
];

fn all_but(out: &[usize]) -> Vec<usize> {
    (0..MIX.len()).filter(|i| !out.contains(i)).collect()
}

#[test]
fn compares_within_types() {
    let cases: &[(&str, &str, &[usize])] = &[
        ("$eq", "1", &[0, 17]),
        ("$gt", "1", &[1, 2, 3, 7, 17]),
        ("$gte", "1", &[0, 1, 2, 3, 7, 17]),
        ("$lt", "1", &[4, 5]),
        ("$lte", "1", &[0, 4, 5, 17]),
        ("$eq", r#"{"$numberDouble": "2.0"}"#, &[1, 17]),
        ("$lte", "3.5", &[0, 1, 2, 4, 5, 17]),
        ("$eq", r#""a""#, &[8, 20]),
        ("$lt", r#""a""#, &[9, 10]),
        ("$eq", "null", &[11, 21, 30]),
        ("$gt", "null", &[]),
        ("$gte", "null", &[11, 21, 30]),
        ("$lte", "null", &[11, 21, 30]),
        ("$lt", "true", &[13]),
        ("$eq", r#"{"x": 1}"#, &[14]),
        ("$gt", r#"{"x": 1}"#, &[15]),
        ("$lte", r#"{"x": 1}"#, &[14, 16]),
        ("$eq", "[1, 2]", &[17, 19]),
        ("$gt", "[1, 2]", &[19, 20]),
        ("$lt", "[1, 2]", &[18, 21]),
        ("$lte", "[1, 2]", &[17, 18, 19, 21]),
        ("$eq", "[]", &[18]),
        ("$gt", "[]", &[17, 19, 20, 21]),
        ("$eq", r#"{"$numberDouble": "NaN"}"#, &[6]),
        ("$gt", r#"{"$numberDouble": "NaN"}"#, &[]),
        ("$gte", r#"{"$numberDecimal": "NaN"}"#, &[6]),
        ("$gte", r#"{"$oid": "c0ffee0000000000000000a1"}"#, &[22]),
        ("$lte", r#"{"$timestamp": {"t": 5, "i": 1}}"#, &[24]),
        ("$eq", r#"{"$regularExpression": {"pattern": "^a", "options": ""}}"#, &[26]),
        ("$eq", r#"{"$minKey": 1}"#, &[27]),
        ("$lt", r#"{"$minKey": 1}"#, &[]),
    ];
    for (operator, operand, expected) in cases {
        check(&MIX, &format!(r#"{{"v": {{"{operator}": {operand}}}}}"#), expected);
    }
    check(&MIX, r#"{"v": {"$ne": null}}"#, &all_but(&[11, 21, 30]));
    check(&MIX, r#"{"v": {"$ne": [1, 2]}}"#, &all_but(&[17, 19]));
    check(&MIX, r#"{"v": {"$gt": {"$minKey": 1}}}"#, &all_but(&[27]));
    check(&MIX, r#"{"v": {"$gte": {"$minKey": 1}}}"#, &all_but(&[]));
    check(&MIX, r#"{"v": {"$lt": {"$maxKey": 1}}}"#, &all_but(&[28]));
    refused(
        r#"{"v": {"$ne": {"$regularExpression": {"pattern": "", "options": ""}}}}"#,
        2,
        "Can't have regex as arg to $ne.",
    );
}

#[test]
fn finds_members() {
    check(&MIX, r#"{"v": {"$in": [1, 2, 4.5]}}"#, &[0, 1, 3, 17]);
    check(&MIX, r#"{"v": {"$in": ["a", null, true]}}"#, &[8, 11, 12, 20, 21, 30]);
    check(&MIX, r#"{"v": {"$in": []}}"#, &[]);
    check(&MIX, r#"{"v": {"$in": [[1, 2]]}}"#, &[17, 19]);
    check(&MIX, r#"{"v": {"$in": [{"$regularExpression": {"pattern": "^a", "options": ""}}]}}"#, &[8, 20, 26]);
    check(&MIX, r#"{"v": {"$in": [{"x": 1}]}}"#, &[14]);
    check(&MIX, r#"{"v": {"$nin": [1, null, "a"]}}"#, &all_but(&[0, 8, 11, 17, 20, 21, 30]));
    refused(r#"{"v": {"$in": 5}}"#, 2, "$in needs an array");
    refused(r#"{"v": {"$nin": 5}}"#, 2, "$nin needs an array");
    refused(r#"{"v": {"$in": [{"$gt": 1}]}}"#, 2, "cannot nest $ under $in");
}

#[test]
fn asks_for_presence_and_type() {
    check(&MIX, r#"{"v": {"$exists": true}}"#, &all_but(&[30]));
    check(&MIX, r#"{"v": {"$exists": 0}}"#, &[30]);
    check(&MIX, r#"{"v": {"$exists": null}}"#, &[30]);
    let cases: &[(&str, &[usize])] = &[
        (r#""double""#, &[2, 6, 7]),
        (r#""string""#, &[8, 9, 10, 20]),
        (r#""object""#, &[14, 15, 16]),
        (r#""array""#, &[17, 18, 19, 20, 21]),
        (r#""number""#, &[0, 1, 2, 3, 4, 5, 6, 7, 17]),
        (r#""minKey""#, &[27]),
        ("-1", &[27]),
        ("127", &[28]),
        ("16", &[0, 4, 5, 17]),
        ("1.0", &[2, 6, 7]),
        (r#"["string", "int"]"#, &[0, 4, 5, 8, 9, 10, 17, 20]),
    ];
    for (types, expected) in cases {
        check(&MIX, &format!(r#"{{"v": {{"$type": {types}}}}}"#), expected);
    }
    refused(r#"{"v": {"$type": "nosuch"}}"#, 2, "Unknown type name alias: nosuch");
    refused(r#"{"v": {"$type": 99}}"#, 2, "Invalid numerical type code: 99");
    refused(r#"{"v": {"$type": 0}}"#, 2, "Invalid numerical type code: 0. Instead use {$exists:false}.");
    refused(r#"{"v": {"$type": 1.5}}"#, 2, "Invalid numerical type code: 1.5");
    refused(r#"{"v": {"$type": []}}"#, 9, "v must match at least one type");
}

#[test]
fn combines_conditions() {
    let docs: Vec<String> = (0..12).map(|i| format!(r#"{{"_id": {i}, "a": {}, "b": {}}}"#, i % 3, i % 2)).collect();
    let docs: Vec<&str> = docs.iter().map(String::as_str).collect();
    check(&docs, r#"{"$and": [{"a": 1}, {"b": 0}]}"#, &[4, 10]);
    check(&docs, r#"{"$or": [{"a": 2}, {"_id": 0}]}"#, &[0, 2, 5, 8, 11]);
    check(&docs, r#"{"$nor": [{"a": 1}, {"b": 1}]}"#, &[0, 2, 6, 8]);
    check(&docs, r#"{"a": {"$not": {"$gt": 0}}}"#, &[0, 3, 6, 9]);
    check(&docs, r#"{"a": 1, "b": 1}"#, &[1, 7]);
    check(&docs, r#"{"a": {"$gt": 0, "$lt": 2}}"#, &[1, 4, 7, 10]);
    check(&docs, r#"{"$or": [{"$and": [{"a": 0}, {"b": 0}]}, {"$nor": [{"_id": {"$lt": 10}}]}]}"#, &[0, 6, 10, 11]);
    check(&docs, r#"{"a": {"b": 2, "$gt": 1}}"#, &[]);
    check(&docs, r#"{"_id": 1, "$comment": "x"}"#, &[1]);
    check(&docs, r#"{"_id": 1, "$alwaysTrue": 1}"#, &[1]);
    check(&docs, r#"{"$alwaysFalse": 1}"#, &[]);
    assert!(parse("{}").unwrap().is_trivial());
    refused(r#"{"$and": []}"#, 2, "$and/$or/$nor must be a nonempty array");
    refused(r#"{"$and": {"a": 1}}"#, 2, "$and must be an array");
    refused(r#"{"$or": [1]}"#, 2, "$or/$and/$nor entries need to be full objects");
    refused(r#"{"a": {"$not": 5}}"#, 2, "$not needs a regex or a document");
    refused(r#"{"a": {"$not": {}}}"#, 2, "$not cannot be empty");
}

#[test]
fn looks_into_arrays() {
    let docs = [
        r#"{"_id": 1, "a": [1, 2, 3]}"#,
        r#"{"_id": 2, "a": [3, 4]}"#,
        r#"{"_id": 3, "a": []}"#,
        r#"{"_id": 4, "a": 3}"#,
        r#"{"_id": 5}"#,
        r#"{"_id": 6, "a": [[1, 2], [3]]}"#,
        r#"{"_id": 7, "a": [{"x": 1, "y": 1}, {"x": 2, "y": 5}]}"#,
        r#"{"_id": 8, "a": [{"x": 2, "y": 1}]}"#,
        r#"{"_id": 9, "a": null}"#,
    ];
    let cases: &[(&str, &[usize])] = &[
        (r#"{"$all": [1, 3]}"#, &[0]),
        (r#"{"$all": [3]}"#, &[0, 1, 3]),
        (r#"{"$all": []}"#, &[]),
        (r#"{"$all": [[1, 2]]}"#, &[5]),
        (r#"{"$all": [{"$elemMatch": {"x": 2}}, {"$elemMatch": {"y": 1}}]}"#, &[6, 7]),
        (r#"{"$size": 2}"#, &[1, 5, 6]),
        (r#"{"$size": 0}"#, &[2]),
        (r#"{"$size": 2.0}"#, &[1, 5, 6]),
        (r#"{"$elemMatch": {"x": 2, "y": {"$gt": 2}}}"#, &[6]),
        (r#"{"$elemMatch": {"$gt": 2, "$lt": 4}}"#, &[0, 1]),
        (r#"{"$gt": 3, "$lt": 2}"#, &[]),
        (r#"{"$elemMatch": {"$elemMatch": {"$eq": 3}}}"#, &[5]),
        (r#"{"$elemMatch": {"$not": {"$gt": 1}}}"#, &[0, 5, 6, 7]),
        (r#"{"$elemMatch": {"$or": [{"x": 1}, {"y": 9}]}}"#, &[6]),
        ("[3, 4]", &[1]),
        ("3", &[0, 1, 3]),
        (r#"{"$ne": 3}"#, &[2, 4, 5, 6, 7, 8]),
        ("[1, 2]", &[5]),
    ];
    for (condition, expected) in cases {
        check(&docs, &format!(r#"{{"a": {condition}}}"#), expected);
    }
    check(&docs, r#"{"a.0": 3}"#, &[1]);
    check(&docs, r#"{"a.1.y": 5}"#, &[6]);
    check(&docs, r#"{"a.x": 2, "a.y": 1}"#, &[6, 7]);
    refused(r#"{"a": {"$all": 1}}"#, 2, "$all needs an array");
    refused(r#"{"a": {"$size": -1}}"#, 2, "$size may not be negative");
    refused(r#"{"a": {"$size": 1.5}}"#, 2, "$size must be a whole number");
    refused(r#"{"a": {"$size": "2"}}"#, 2, "$size needs a number");
    refused(r#"{"a": {"$elemMatch": 5}}"#, 2, "$elemMatch needs an Object");
}

#[test]
fn null_meets_what_is_missing_but_not_scalars_in_arrays() {
    let docs = [
        "{}",
        r#"{"a": 1}"#,
        r#"{"a": {}}"#,
        r#"{"a": {"b": null}}"#,
        r#"{"a": {"b": 1}}"#,
        r#"{"a": []}"#,
        r#"{"a": [1]}"#,
        r#"{"a": [{}]}"#,
        r#"{"a": [{"b": 1}]}"#,
        r#"{"a": {"b": {"$undefined": true}}}"#,
    ];
    check(&docs, r#"{"a.b": null}"#, &[0, 1, 2, 3, 7, 9]);
    check(&docs, r#"{"a.b": {"$in": [null]}}"#, &[0, 1, 2, 3, 7, 9]);
    check(&docs, r#"{"a.b": {"$exists": false}}"#, &[0, 1, 2, 5, 6, 7]);
}

#[test]
fn evaluates_remainders() {
    let docs = [
        r#"{"n": 0}"#,
        r#"{"n": 1}"#,
        r#"{"n": 4}"#,
        r#"{"n": 5.5}"#,
        r#"{"n": -3}"#,
        r#"{"n": {"$numberLong": "8"}}"#,
        r#"{"n": {"$numberDecimal": "12"}}"#,
        r#"{"n": "4"}"#,
        r#"{"n": null}"#,
        r#"{"n": {"$numberDouble": "Infinity"}}"#,
    ];
    check(&docs, r#"{"n": {"$mod": [4, 0]}}"#, &[0, 2, 5, 6]);
    check(&docs, r#"{"n": {"$mod": [4, 1]}}"#, &[1, 3]);
    check(&docs, r#"{"n": {"$mod": [2, -1]}}"#, &[4]);
    check(&docs, r#"{"n": {"$mod": [4.5, 0]}}"#, &[0, 2, 5, 6]);
    refused(r#"{"n": {"$mod": [0, 1]}}"#, 2, "divisor cannot be 0");
    refused(r#"{"n": {"$mod": [4]}}"#, 2, "malformed mod, not enough elements");
    refused(r#"{"n": {"$mod": [4, 0, 1]}}"#, 2, "malformed mod, too many elements");
    refused(r#"{"n": {"$mod": ["x", 0]}}"#, 2, "malformed mod, divisor not a number");
}

#[test]
fn searches_patterns() {
    let docs = [
        r#"{"s": "apple"}"#,
        r#"{"s": "Apple pie"}"#,
        r#"{"s": "banana\nsplit"}"#,
        r#"{"s": "x.y"}"#,
        r#"{"s": ""}"#,
        r#"{"s": null}"#,
        r#"{"s": 5}"#,
        r#"{"s": "APPLE"}"#,
        r#"{"s": ["apple", "pear"]}"#,
        r#"{"s": "a{b &&\n"}"#,
    ];
    let cases: &[(&str, &[usize])] = &[
        (r#"{"$regularExpression": {"pattern": "^a", "options": ""}}"#, &[0, 8, 9]),
        (r#"{"$regularExpression": {"pattern": "^ap", "options": "i"}}"#, &[0, 1, 7, 8]),
        (r#"{"$regex": "APPLE", "$options": "i"}"#, &[0, 1, 7, 8]),
        (r#"{"$options": "i", "$regex": "APPLE"}"#, &[0, 1, 7, 8]),
        (r#"{"$regex": {"$regularExpression": {"pattern": "pie$", "options": ""}}}"#, &[1]),
        (r#"{"$regex": "^split", "$options": "m"}"#, &[2]),
        (r#"{"$regex": "banana.split", "$options": "s"}"#, &[2]),
        (r#"{"$regex": "ap ple # c\n", "$options": "x"}"#, &[0, 8]),
        (r#"{"$regex": "x\\.y"}"#, &[3]),
        (r#"{"$regex": "^ap", "$options": "q"}"#, &[0, 8]),
        (r#"{"$regex": "ap", "$ne": "apple"}"#, &[]),
        (r#"{"$regex": "^(?=a)apple$"}"#, &[0, 8]),
        (r#"{"$regex": "(p)\\1"}"#, &[0, 1, 8]),
        (r#"{"$regex": ""}"#, &[0, 1, 2, 3, 4, 7, 8, 9]),
        // What PCRE and the linear engine spell differently.
        (r#"{"$regex": "a{b"}"#, &[9]),
        (r#"{"$regex": "[&&]$"}"#, &[9]),
        (r#"{"$regex": "[[a]{b"}"#, &[9]),
        (r#"{"$regex": "\\Qa{b\\E \\W"}"#, &[9]),
        (r#"{"$regex": "^[[:alpha:]]+$"}"#, &[0, 7, 8]),
    ];
    for (condition, expected) in cases {
        check(&docs, &format!(r#"{{"s": {condition}}}"#), expected);
    }
    check(&docs, r#"{"s": {"$not": {"$regularExpression": {"pattern": "p", "options": "i"}}}}"#, &[3, 4, 5, 6, 9]);
    let missing = "Regular expression is invalid: missing )";
    refused(r#"{"s": {"$regex": "("}}"#, 51091, missing);
    refused(r#"{"s": {"$regex": "ap ple # c", "$options": "x"}}"#, 51091, missing);
    refused(r#"{"s": {"$options": "i"}}"#, 2, "$options needs a $regex");
    refused(r#"{"s": {"$regex": 5}}"#, 2, "$regex has to be a string");
    assert_eq!(Pattern::new("^abc*", "").unwrap().literal_prefix(), "ab");
    assert_eq!(Pattern::new("^abc.d", "").unwrap().literal_prefix(), "abc");
    assert_eq!(Pattern::new("^a|b", "").unwrap().literal_prefix(), "");
    assert_eq!(Pattern::new("^ab", "i").unwrap().literal_prefix(), "");
}

#[test]
fn a_hostile_pattern_gives_up() {
    let matcher = parse(r#"{"s": {"$regex": "(?=a)(a|aa)+(?<!a)$"}}"#).unwrap();
    let text = format!(r#"{{"s": "{}b"}}"#, "a".repeat(200));
    assert!(!matcher.matches(doc(&text).as_doc()).unwrap_or(false));
    assert!(parse(&format!(r#"{{"s": {{"$regex": "{}"}}}}"#, "(".repeat(40_000))).is_err());
    assert!(parse(&format!(r#"{{"s": {{"$regex": "{}"}}}}"#, "(".repeat(20_000))).is_err());
    assert!(parse(r#"{"s": {"$regex": "((a{0,100}){0,100}){0,100}"}}"#).is_err());
}

#[test]
fn tests_bits() {
    let docs = [
        r#"{"n": 54}"#,
        r#"{"n": 20}"#,
        r#"{"n": -1}"#,
        r#"{"n": {"$binary": {"base64": "Zg==", "subType": "00"}}}"#,
        r#"{"n": 20.5}"#,
        r#"{"n": {"$numberDecimal": "54"}}"#,
        r#"{"n": "x"}"#,
    ];
    check(&docs, r#"{"n": {"$bitsAllSet": [1, 5]}}"#, &[0, 2, 3, 5]);
    check(&docs, r#"{"n": {"$bitsAllSet": 50}}"#, &[0, 2, 5]);
    check(&docs, r#"{"n": {"$bitsAnySet": [0, 6]}}"#, &[2, 3]);
    check(&docs, r#"{"n": {"$bitsAllClear": [0, 3]}}"#, &[0, 1, 3, 5]);
    check(&docs, r#"{"n": {"$bitsAnyClear": {"$binary": {"base64": "Ag==", "subType": "00"}}}}"#, &[1]);
    check(&docs, r#"{"n": {"$bitsAllSet": [100]}}"#, &[2]);
    assert_eq!(parse(r#"{"n": {"$bitsAllSet": -1}}"#).unwrap_err().code, 9);
    assert_eq!(parse(r#"{"n": {"$bitsAllSet": "x"}}"#).unwrap_err().code, 2);
}

#[test]
fn refuses_what_it_does_not_know() {
    refused(r#"{"a": {"$foo": 1}}"#, 2, "unknown operator: $foo");
    refused(r#"{"a": {"$gt": 1, "b": 2}}"#, 2, "unknown operator: b");
    refused(
        r#"{"$foo": 1}"#,
        2,
        "unknown top level operator: $foo. If you have a field name that starts with a '$' symbol, consider using $getField or $setField.",
    );
    refused(r#"{"$where": 5}"#, 2, "$where got bad type");
    refused(r#"{"$text": {"$search": "x"}}"#, 27, "text index required for $text query");
    refused(r#"{"a": {"$undefined": true}}"#, 2, "cannot compare to undefined");
    assert_eq!(parse(r#"{"a": {"$geoWithin": {}}}"#).unwrap_err().code, 238);
}

#[test]
fn evaluates_expressions() {
    let docs = [r#"{"a": 1, "b": 2}"#, r#"{"a": 3, "b": 2}"#, r#"{"a": [1], "b": 0}"#, "{}"];
    check(&docs, r#"{"$expr": {"$gt": ["$a", "$b"]}}"#, &[1, 2]);
    check(&docs, r#"{"$expr": "$b"}"#, &[0, 1]);
    check(&docs, r#"{"$expr": {"$eq": ["$b", 2]}, "a": {"$lt": 2}}"#, &[0]);
    assert_eq!(parse(r#"{"$expr": {"$foo": 1}}"#).unwrap_err().code, 168);
    assert_eq!(parse(r#"{"a": {"$elemMatch": {"$expr": true}}}"#).unwrap_err().code, 2);
    assert!(parse(r#"{"$expr": true}"#).unwrap().reads_whole_document());
}

#[test]
fn validates_schemas() {
    let schema = r#"{"$jsonSchema": {"bsonType": "object", "required": ["name", "age"], "additionalProperties": false,
        "properties": {"_id": {}, "name": {"bsonType": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]"},
            "age": {"bsonType": ["int", "long"], "minimum": 0, "maximum": 120, "exclusiveMaximum": true},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": true, "maxItems": 2}},
        "patternProperties": {"^n_": {"type": "number", "multipleOf": 0.5}},
        "dependencies": {"tags": ["n_tags"]}, "not": {"required": ["bad"]}}}"#;
    let docs = [
        r#"{"_id": 1, "name": "ada", "age": 36}"#,
        r#"{"name": "ada"}"#,
        r#"{"name": "Ada", "age": 3}"#,
        r#"{"name": "a", "age": 3}"#,
        r#"{"name": "ada", "age": 120}"#,
        r#"{"name": "ada", "age": 3.5}"#,
        r#"{"name": "ada", "age": 3, "other": 1}"#,
        r#"{"name": "ada", "age": 3, "tags": ["x"], "n_tags": 1.5}"#,
        r#"{"name": "ada", "age": 3, "tags": ["x"]}"#,
        r#"{"name": "ada", "age": 3, "tags": ["x", "x"], "n_tags": 1}"#,
        r#"{"name": "ada", "age": 3, "tags": ["z"], "n_tags": 1}"#,
        r#"{"name": "ada", "age": 3, "n_x": 0.3}"#,
    ];
    check(&docs, schema, &[0, 7]);
    let one_of = r#"{"$jsonSchema": {"oneOf": [{"required": ["name"]}, {"properties": {"age": {"minimum": 4}}}]}}"#;
    check(&docs, one_of, &[2, 3, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(parse(r#"{"$jsonSchema": {"foo": 1}}"#).unwrap_err().code, 9);
    assert_eq!(parse(r#"{"$jsonSchema": {"format": "x"}}"#).unwrap_err().code, 9);
    assert_eq!(parse(r#"{"$jsonSchema": {"minimum": "x"}}"#).unwrap_err().code, 14);
    assert_eq!(parse(r#"{"$jsonSchema": {"type": "integer"}}"#).unwrap_err().code, 9);
    assert_eq!(parse(r#"{"$jsonSchema": 5}"#).unwrap_err().code, 14);
}

#[test]
fn compares_strings_under_a_collation() {
    let collation = Collation::parse(doc(r#"{"locale": "en", "strength": 2}"#).as_doc()).unwrap();
    let ctx = Context { collation: collation.map(Arc::new), ..Context::default() };
    for filter in [r#"{"a": "x"}"#, r#"{"a": {"$in": ["y", "x"]}}"#, r#"{"a": {"$gte": "x"}}"#] {
        let matcher = Matcher::parse(doc(filter).as_doc(), &ctx).unwrap();
        assert!(matcher.matches(doc(r#"{"a": "X"}"#).as_doc()).unwrap(), "{filter}");
    }
}

fn position(filter: &str, json: &str) -> Option<usize> {
    parse(filter).unwrap().matches_details(doc(json).as_doc()).unwrap().expect("a match").array_index
}

#[test]
fn tells_the_matching_position() {
    assert_eq!(position(r#"{"a": 3}"#, r#"{"a": [1, 2, 3]}"#), Some(2));
    assert_eq!(position(r#"{"a.b": 3}"#, r#"{"a": [{"b": 1}, {"b": [7, 3]}]}"#), Some(1));
    assert_eq!(position(r#"{"a": {"$elemMatch": {"b": 3}}}"#, r#"{"a": [{"b": 1}, {"b": 3}]}"#), Some(1));
    assert_eq!(position(r#"{"a": [1]}"#, r#"{"a": [1]}"#), None);
    assert_eq!(position(r#"{"b": 1, "a": {"$gt": 1}}"#, r#"{"b": 1, "a": [1, 2]}"#), Some(1));
    assert_eq!(position(r#"{"$or": [{"a": 1}]}"#, r#"{"a": [1]}"#), None);
    assert_eq!(parse(r#"{"a": 1}"#).unwrap().matches_details(doc("{}").as_doc()).unwrap(), None);
}

#[test]
fn asks_single_values() {
    let condition = doc(r#"{"c": {"$gte": 6}, "r": {"$in": [1, 2]}}"#);
    let ask = |name: &str, value: Raw<'_>| {
        Matcher::parse_condition(condition.get(name).unwrap(), &Context::default()).unwrap().match_value(value).unwrap()
    };
    assert!(ask("c", Raw::Int32(7)) && !ask("c", Raw::Int32(5)) && ask("r", Raw::Double(2.0)));
    let filter = parse(r#"{"i.x": {"$gt": 1}}"#).unwrap();
    let element = doc(r#"{"x": 2}"#);
    assert!(filter.match_named("i", Raw::Document(element.as_doc())).unwrap());
    assert_eq!(filter.paths(), ["i.x"]);
}

/// Values small enough to collide often.
fn few_values() -> impl Strategy<Value = crate::Value> {
    use crate::Value;
    let leaf =
        prop::sample::select(vec![Value::Int32(1), Value::Double(1.0), Value::Int64(2), Value::Null, Value::from("x")]);
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            inner.prop_map(|v| Value::Document(crate::Doc::new().with("b", v))),
        ]
    })
}

/// What `{path: value}` means, written over owned values with nothing shared with the matcher.
fn naive_equals(value: &crate::Value, path: &[&str], wanted: &crate::Value) -> bool {
    use crate::Value;
    let equal = |v: &Value| crate::compare_values(v, wanted).is_eq();
    match (path, value) {
        ([], Value::Array(items)) => items.iter().any(equal) || equal(value),
        ([], _) => equal(value),
        ([name, rest @ ..], Value::Document(doc)) => match doc.get(name) {
            Some(inner) => naive_equals(inner, rest, wanted),
            None => *wanted == Value::Null,
        },
        (path, Value::Array(items)) => {
            items.iter().filter(|item| matches!(item, Value::Document(_))).any(|item| naive_equals(item, path, wanted))
        }
        _ => *wanted == Value::Null,
    }
}

proptest! {
    #[test]
    fn equality_is_what_the_naive_model_says(value in few_values(), wanted in few_values(), deep in proptest::bool::ANY) {
        let doc = crate::Doc::new().with("a", value);
        let path = if deep { "a.b" } else { "a" };
        let filter = crate::Doc::new().with(path, crate::Doc::new().with("$eq", wanted.clone())).to_buf();
        let matcher = Matcher::parse(filter.as_doc(), &Context::default()).unwrap();
        let parts: Vec<&str> = path.split('.').collect();
        let expected = naive_equals(&crate::Value::Document(doc.clone()), &parts, &wanted);
        prop_assert_eq!(matcher.matches(doc.to_buf().as_doc()).unwrap(), expected);
    }

    #[test]
    fn negations_are_complements(value in few_values(), wanted in few_values()) {
        let doc = crate::Doc::new().with("a", value).to_buf();
        let ask = |operator: &str, operand: crate::Value| {
            let filter = crate::Doc::new().with("a", crate::Doc::new().with(operator, operand)).to_buf();
            Matcher::parse(filter.as_doc(), &Context::default()).unwrap().matches(doc.as_doc()).unwrap()
        };
        prop_assert_ne!(ask("$eq", wanted.clone()), ask("$ne", wanted.clone()));
        let listed = crate::Value::Array(vec![wanted.clone()]);
        prop_assert_ne!(ask("$in", listed.clone()), ask("$nin", listed.clone()));
        prop_assert_eq!(ask("$in", listed), ask("$eq", wanted));
    }

    #[test]
    fn no_pattern_makes_it_panic(pattern in r"[\[\](){}\\^$a-dQEdwsZ0-9,:|?*+&~ -]{0,12}", options in "[imsxq]{0,3}", text in "[a-d \n]{0,8}") {
        if let Ok(pattern) = Pattern::new(&pattern, &options) {
            let _ = pattern.is_match(&text);
        }
    }
}
