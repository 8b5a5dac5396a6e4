//! Dead letters through their bounds and their stored form.

use std::collections::BTreeMap;

use sql::Row;

use super::*;

fn failure(row: Row) -> Failure {
    Failure {
        row,
        names: Some(["id".to_owned(), "price".to_owned()].into()),
        error: SqlError::new("22P02", "no number"),
    }
}

fn letter(n: i64) -> DeadLetter {
    DeadLetter::new(&failure([Datum::Int(n), Datum::Null].into()), format!("82{n}"), n)
}

fn save(letters: &mut DeadLetters, stored: &mut BTreeMap<u64, Vec<u8>>) {
    letters.save(&mut |number, letter| {
        match letter {
            Some(letter) => stored.insert(number, letter),
            None => stored.remove(&number),
        };
    });
}

#[test]
fn the_newest_survive_room_and_restart() {
    let mut letters = DeadLetters::default();
    let mut stored = BTreeMap::new();
    for n in 0..2500 {
        letters.add(letter(n));
        if n % 700 == 0 {
            save(&mut letters, &mut stored);
        }
    }
    save(&mut letters, &mut stored);
    let kept: Vec<&DeadLetter> = letters.iter().collect();
    assert_eq!((kept.len(), kept[0].at_ms, kept[999].at_ms), (MAX_KEPT, 1500, 2499));
    let mut restored = DeadLetters::default();
    for (number, letter) in &stored {
        restored.load(*number, letter).expect("its own form");
    }
    assert_eq!(restored.iter().collect::<Vec<_>>(), kept);
}

#[test]
fn a_row_is_shown_by_its_names_and_long_values_are_cut_between_characters() {
    let text = |row: Row| sql::text::to_string(&Datum::Json(row_json(&failure(row))), &sql::Type::Json, "UTC");
    assert_eq!(
        text([Datum::Int(7), Datum::text("x"), Datum::Null].into()),
        r#"{"id": 7, "price": "x", "column3": null}"#
    );
    let long = text([Datum::Int(7), Datum::text("ä".repeat(MAX_VALUE_BYTES))].into());
    assert!(long.len() < MAX_VALUE_BYTES + 100 && long.contains('…'), "{} bytes", long.len());
}
