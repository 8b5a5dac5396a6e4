//! What is written reads back as the same value.

use base::Random;

use super::*;
use crate::expr::EvalContext;
use crate::test_data;

#[test]
fn output_reads_back() {
    let ctx = EvalContext::at(0);
    for (seed, ty) in test_data::types().iter().enumerate() {
        let mut random = Random::seeded(seed as u64);
        for _ in 0..300 {
            let value = test_data::datum(&mut random, ty);
            let text = to_string(&value, ty, "UTC");
            match input(&text, ty, &ctx) {
                Ok(read) if *ty == Type::Json => {
                    assert!(crate::compare::sql_equal(&read, &value), "{ty}: {text}");
                }
                Ok(read) => assert_eq!(to_string(&read, ty, "UTC"), text, "{ty}: {value:?}"),
                Err(error) => panic!("{ty}: {text} does not read back: {error}"),
            }
        }
    }
}

#[test]
fn timestamptz_reads_back_in_every_zone() {
    let mut random = Random::seeded(3);
    for time_zone in ["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/Berlin"] {
        let ctx = EvalContext { now_us: 0, parameters: &[], time_zone };
        for _ in 0..200 {
            let us = random.next_u64() as i64 % 4_000_000_000_000_000;
            let text = to_string(&Datum::Timestamp(us), &Type::Timestamptz, time_zone);
            let read = input(&text, &Type::Timestamptz, &ctx).expect("our own text");
            assert_eq!(read, Datum::Timestamp(us), "{text} in {time_zone}");
        }
    }
}

#[test]
fn any_text_is_read_or_refused() {
    let ctx = EvalContext::at(0);
    let mut random = Random::seeded(4);
    let letters: Vec<char> = "0123456789-+:.,eE TtZz{}[]()\"'\\infatyjndBCPMWusé🙂".chars().collect();
    for _ in 0..4000 {
        let length = random.below(14);
        let text: String = (0..length).map(|_| letters[random.below(letters.len() as u64) as usize]).collect();
        for ty in test_data::types() {
            // Only that it returns: most of these are no values.
            let read = input(&text, &ty, &ctx);
            if let Ok(value) = read {
                assert!(!value.is_null(), "{ty}: {text}");
            }
        }
    }
}
