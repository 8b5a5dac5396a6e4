//! Order and equality are lawful, and agree with the keys that grouping goes by.

use std::cmp::Ordering;

use base::Random;

use super::*;
use crate::test_data;
use crate::types::Type;

fn values(seed: u64, ty: &Type) -> Vec<Datum> {
    let mut random = Random::seeded(seed);
    (0..60).map(|_| test_data::datum(&mut random, ty)).collect()
}

#[test]
fn equal_exactly_when_keys_are_identical() {
    for (seed, ty) in test_data::types().iter().enumerate() {
        let values = values(seed as u64, ty);
        for a in &values {
            for b in &values {
                let equal = compare(a, b).is_eq();
                assert_eq!(equal, a.sql_key() == b.sql_key(), "{ty}: {a:?} and {b:?}");
                assert_eq!(equal, sql_equal(a, b), "{ty}: {a:?} and {b:?}");
            }
        }
    }
}

#[test]
fn the_order_is_total() {
    for (seed, ty) in test_data::types().iter().enumerate() {
        let values = values(100 + seed as u64, ty);
        for a in &values {
            for b in &values {
                assert_eq!(compare(a, b), compare(b, a).reverse(), "{ty}: {a:?} and {b:?}");
            }
        }
        let mut sorted = values.clone();
        sorted.sort_by(compare);
        for (i, a) in sorted.iter().enumerate() {
            assert!(sorted[i..].iter().all(|b| compare(a, b).is_le()), "{ty}: {a:?} is not in its place");
        }
    }
}

#[test]
fn a_key_is_its_own_key() {
    for (seed, ty) in test_data::types().iter().enumerate() {
        for value in values(200 + seed as u64, ty) {
            assert_eq!(value.sql_key().sql_key(), value.sql_key(), "{ty}: {value:?}");
        }
    }
}

#[test]
fn nulls_stand_where_the_key_wants_them() {
    let key = |descending, nulls_first| SortKey { expr: crate::Expr::column(0, Type::Int4), descending, nulls_first };
    let (one, two, null) = (Datum::Int(1), Datum::Int(2), Datum::Null);
    assert_eq!(sort_compare(&key(false, false), &one, &null), Ordering::Less);
    assert_eq!(sort_compare(&key(true, true), &one, &null), Ordering::Greater);
    assert_eq!(sort_compare(&key(true, false), &one, &two), Ordering::Greater);
    assert_eq!(sort_compare(&key(true, false), &null, &null), Ordering::Equal);
}

#[test]
fn an_object_id_is_the_string_it_prints_as() {
    let id = crate::json::make(|writer, name| writer.raw(name, document::Raw::ObjectId([0xab; 12])));
    let text = crate::json::make(|writer, name| writer.str(name, &"ab".repeat(12)));
    assert!(sql_equal(&Datum::Json(id.clone()), &Datum::Json(text.clone())));
    assert_eq!(Datum::Json(id).sql_key(), Datum::Json(text).sql_key());
}
