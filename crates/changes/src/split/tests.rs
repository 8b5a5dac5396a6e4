//! Tests of `split`.

use super::*;
use crate::testing::doc;
use base::ClusterTime;

fn token() -> ResumeToken {
    let identifier = doc(r#"{"operationType": "drop"}"#);
    ResumeToken::event(&crate::token::TokenParts {
        cluster_time: ClusterTime::new(1, 1),
        txn_op_index: 0,
        from_invalidate: false,
        uuid: None,
        identifier: identifier.as_doc(),
        fragment: None,
    })
}

#[test]
fn smallest_fields_come_first_and_fill_fragments() {
    let text = "x".repeat(90);
    let event = doc(&format!(r#"{{"_id": 0, "big": "{text}", "b": 1, "a": 1, "also": "{text}"}}"#));
    let fragments = split_into(&event, &token(), 120).expect("fits");
    let names: Vec<Vec<String>> =
        fragments.iter().map(|(_, part)| part.iter().map(|(name, _)| name.to_owned()).collect()).collect();
    assert_eq!(names, [vec!["_id", "splitEvent", "a", "b", "big"], vec!["_id", "splitEvent", "also"]]);
    for (at, (token, part)) in fragments.iter().enumerate() {
        assert_eq!(token.facts().fragment, Some(at as u32));
        assert_eq!(part.get("_id").and_then(Raw::as_document), Some(token.to_document().as_doc()));
        let split = part.get("splitEvent").and_then(Raw::as_document).expect("every part says which it is");
        assert_eq!(split.get("fragment"), Some(Raw::Int32(at as i32 + 1)));
        assert_eq!(split.get("of"), Some(Raw::Int32(2)));
    }
}

#[test]
fn a_field_larger_than_a_fragment_is_refused() {
    let event = doc(&format!(r#"{{"_id": 0, "big": "{}"}}"#, "x".repeat(200)));
    assert_eq!(split_into(&event, &token(), 120).expect_err("too large").code, 7182500);
}

#[test]
fn sizes_are_those_of_bson() {
    let event = doc(
        r#"{"a": 1, "b": "text", "c": {"d": [1, 2.5]}, "e": null, "f": true, "g": {"$oid": "666050440102030405060708"},
            "h": {"$numberDecimal": "1"}, "i": {"$binary": {"base64": "AAAA", "subType": "00"}},
            "j": {"$regularExpression": {"pattern": "a", "options": "i"}}, "k": {"$date": "2020-01-01T00:00:00Z"}}"#,
    );
    assert_eq!(event.iter().map(field_size).sum::<usize>() + 5, event.len());
}
