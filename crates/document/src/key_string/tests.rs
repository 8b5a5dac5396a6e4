//! Tests of `key_string`.

use proptest::prelude::*;

use super::*;
use crate::json::parse_extended_json;
use crate::value::{Binary, Doc, Regex, Value};
use crate::{compare_raw, compare_values};

/// Numbers that are close to each other across the four types, and arbitrary ones.
pub(crate) fn any_number() -> impl Strategy<Value = Value> {
    let decimal = |text: String| Value::Decimal128(Decimal::parse(&text).expect("a decimal").to_bytes());
    prop_oneof![
        (-3i32..4).prop_map(Value::Int32),
        any::<i32>().prop_map(Value::Int32),
        (-3i64..4).prop_map(|n| Value::Int64((1 << 53) + n)),
        (-3i64..4).prop_map(|n| Value::Int64(i64::MAX.wrapping_add(n))),
        any::<i64>().prop_map(Value::Int64),
        (-3i64..4).prop_map(|n| Value::Double(((1i64 << 53) + n) as f64)),
        (-3i32..4).prop_map(|n| Value::Double(f64::from(n) / 2.0)),
        prop::sample::select(vec![
            0.1,
            0.5,
            -0.0,
            1e300,
            5e-324,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            9.3e18,
            9223372036854775808.0
        ])
        .prop_map(Value::Double),
        any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
        (-100_000i64..100_000, -8i32..3).prop_map(move |(n, e)| decimal(format!("{n}E{e}"))),
        (-3i128..4).prop_map(move |n| decimal(format!("{}", (1i128 << 53) + n))),
        (-3i128..4).prop_map(move |n| decimal(format!("{}.5", (1i128 << 62) + n))),
        (-3i128..4).prop_map(move |n| decimal(format!("{}", (1i128 << 63) + n))),
        prop::sample::select(vec![
            "0.1",
            "0.10",
            "0.1000000000000000055511151231257827",
            "0.5",
            "-0",
            "0E+3",
            "1E+400",
            "-1E+400",
            "1E-400",
            "-1E-400",
            "4.9E-324",
            "1E-300",
            "1E+300",
            "1.797693134862315708145274237317044E+308",
            "NaN",
            "Infinity",
            "-Infinity",
            "1E+6144",
            "1E-6176"
        ])
        .prop_map(move |s| decimal(s.to_owned())),
        (any::<bool>(), any::<u128>(), -60i32..60).prop_map(|(negative, c, exponent)| {
            Value::Decimal128(Decimal::Finite { negative, coefficient: c % MAX_TEST_COEFFICIENT, exponent }.to_bytes())
        }),
    ]
}

const MAX_TEST_COEFFICIENT: u128 = crate::number::MAX_COEFFICIENT + 1;

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["", "a", "a\0", "a\0b", "ab", "\u{ff}", "b"]).prop_map(str::to_owned),
        ".{0,4}"
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "", "_id"]).prop_map(str::to_owned)
}

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => any_number(),
        3 => any_text().prop_map(Value::String),
        1 => any_text().prop_map(Value::Symbol),
        1 => any_text().prop_map(Value::Code),
        2 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..3))
            .prop_map(|(subtype, bytes)| Value::Binary(Binary { subtype, bytes })),
        1 => any::<[u8; 12]>().prop_map(Value::ObjectId),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<i64>().prop_map(Value::Date),
        1 => any::<u64>().prop_map(Value::Timestamp),
        1 => ("[a-c.]{0,3}", "[im]{0,1}").prop_map(|(pattern, options)| Value::Regex(Regex { pattern, options })),
        1 => ("[a-c]{0,2}", any::<[u8; 12]>()).prop_map(|(namespace, id)| Value::DbPointer { namespace, id }),
        2 => prop::sample::select(vec![Value::Null, Value::Undefined, Value::MinKey, Value::MaxKey]),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let doc = prop::collection::vec((any_name(), inner.clone()), 0..3).prop_map(Doc).boxed();
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::Array),
            doc.clone().prop_map(Value::Document),
            (any_text(), doc).prop_map(|(code, scope)| Value::CodeWithScope { code, scope }),
        ]
    })
}

fn key(value: &Value, descending: bool) -> Vec<u8> {
    let doc = Doc::new().with("", value.clone()).to_buf();
    let mut out = Vec::new();
    encode_value(doc.get("").expect("the only field"), &mut out, descending, None);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn numbers_sort_like_numbers(a in any_number(), b in any_number()) {
        prop_assert_eq!(key(&a, false).cmp(&key(&b, false)), compare_values(&a, &b));
    }

    #[test]
    fn keys_sort_like_values(a in any_value(), b in any_value()) {
        let order = compare_values(&a, &b);
        let (x, y) = (key(&a, false), key(&b, false));
        prop_assert_eq!(x.cmp(&y), order);
        prop_assert_eq!(key(&a, true).cmp(&key(&b, true)), order.reverse());
        prop_assert!(order.is_eq() || !x.starts_with(&y) && !y.starts_with(&x), "prefix-free");
    }

    #[test]
    fn compound_keys_sort_by_component(a in any_value(), b in any_value(), c in any_value(), d in any_value()) {
        let compound = |x: &Value, y: &Value| [key(x, true), key(y, false)].concat();
        let order = compare_values(&a, &b).reverse().then(compare_values(&c, &d));
        prop_assert_eq!(compound(&a, &c).cmp(&compound(&b, &d)), order);
    }
}

#[test]
fn ordinary_numbers_are_ten_bytes() {
    for json in
        [r#"{"a": 42}"#, r#"{"a": 0.1}"#, r#"{"a": {"$numberLong": "-7"}}"#, r#"{"a": {"$numberDecimal": "2.50"}}"#]
    {
        let doc = parse_extended_json(json).unwrap().to_buf();
        assert_eq!(encoded(doc.get("a").unwrap()).len(), 10, "{json}");
    }
}

#[test]
fn brackets_enclose_their_type() {
    let values = [Raw::MinKey, Raw::Null, Raw::Int32(1), Raw::String(""), Raw::Bool(true), Raw::MaxKey];
    for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (*a, *b))) {
        let within = encoded(b)[0] >= bracket_start(a) && encoded(b)[0] < bracket_end(a);
        assert_eq!(within, compare_raw(a, b).is_eq());
    }
    assert_eq!(prefix_end(&[1, 0xFF, 0xFF]), Some(vec![2]));
    assert_eq!(prefix_end(&[0xFF]), None);
}
