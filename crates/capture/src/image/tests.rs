//! The document after an update, from the description alone.

use document::json::parse_extended_json;

use super::*;

fn doc(json: &str) -> DocBuf {
    parse_extended_json(json).unwrap_or_else(|error| panic!("{json}: {error}")).to_buf()
}

fn check(before: &str, description: &str, expected: &str) {
    assert_eq!(after_update(&doc(before), &doc(description)), doc(expected), "{description}");
}

#[test]
fn fields_are_set_in_place_or_added_at_the_end() {
    check(
        r#"{"_id": 1, "a": 1, "b": {"c": 2}}"#,
        r#"{"updatedFields": {"a": 5, "b.c": 6, "b.d": 7, "e": 8}, "removedFields": [], "truncatedArrays": []}"#,
        r#"{"_id": 1, "a": 5, "b": {"c": 6, "d": 7}, "e": 8}"#,
    );
    check(r#"{"_id": 1}"#, r#"{"updatedFields": {"a.b.c": 1}}"#, r#"{"_id": 1, "a": {"b": {"c": 1}}}"#);
}

#[test]
fn removed_fields_go_and_arrays_are_cut_before_they_grow() {
    check(
        r#"{"_id": 1, "a": {"b": 1, "c": 2}, "l": [1, 2, 3, 4]}"#,
        r#"{"updatedFields": {"l.0": 9, "l.2": 7}, "removedFields": ["a.b"],
            "truncatedArrays": [{"field": "l", "newSize": 2}]}"#,
        r#"{"_id": 1, "a": {"c": 2}, "l": [9, 2, 7]}"#,
    );
    check(r#"{"_id": 1, "l": [1]}"#, r#"{"updatedFields": {"l.3": 4}}"#, r#"{"_id": 1, "l": [1, null, null, 4]}"#);
}

#[test]
fn a_number_is_an_index_where_an_array_stands_and_a_name_elsewhere() {
    check(
        r#"{"_id": 1, "l": [{"x": 1}], "m": {"0": 1}}"#,
        r#"{"updatedFields": {"l.0.x": 2, "m.0": 3, "m.1": 4}}"#,
        r#"{"_id": 1, "l": [{"x": 2}], "m": {"0": 3, "1": 4}}"#,
    );
}

#[test]
fn dots_in_names_are_told_by_the_disambiguated_paths() {
    check(
        r#"{"_id": 1, "a.b": {"c": 1}, "a": {"b": {"c": 5}}}"#,
        r#"{"updatedFields": {"a.b.c": 2}, "disambiguatedPaths": {"a.b.c": ["a.b", "c"]}}"#,
        r#"{"_id": 1, "a.b": {"c": 2}, "a": {"b": {"c": 5}}}"#,
    );
}

#[test]
fn a_description_that_fits_nothing_does_no_harm() {
    let deep = vec!["a"; 5000].join(".");
    let description = format!(
        r#"{{"updatedFields": {{"{deep}": 1, "x.y": 1, "l.99999999": 1}}, "removedFields": ["n.o", 5],
             "truncatedArrays": [{{"field": "x", "newSize": -1}}, 3]}}"#
    );
    check(r#"{"_id": 1, "x": 1, "l": []}"#, &description, r#"{"_id": 1, "x": 1, "l": []}"#);
}
