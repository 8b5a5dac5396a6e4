//! Random values of every type, from a seed, for the laws that tests check.

use std::sync::Arc;

use base::Random;
use bytes::Bytes;

use crate::datum::{Datum, Interval};
use crate::numeric::Numeric;
use crate::types::Type;

/// Every type that values have.
pub fn types() -> Vec<Type> {
    let mut types = vec![
        Type::Bool,
        Type::Int2,
        Type::Int4,
        Type::Int8,
        Type::Float4,
        Type::Float8,
        Type::Numeric(None),
        Type::Text,
        Type::Bytea,
        Type::Date,
        Type::Time,
        Type::Timestamp,
        Type::Timestamptz,
        Type::Interval,
        Type::Uuid,
        Type::Json,
    ];
    types.extend([Type::Int4, Type::Text, Type::Numeric(None)].map(Type::array_of));
    types
}

/// A value with a good share of the awkward ones; never NULL at the top.
pub fn datum(random: &mut Random, ty: &Type) -> Datum {
    let pick = random.below(8);
    let wide = random.next_u64() as i64;
    let narrow = random.below(7) as i64 - 3;
    match ty {
        Type::Bool => Datum::Bool(pick < 4),
        Type::Int2 => Datum::Int([narrow, wide % 32_768, 32_767, -32_768][pick as usize % 4]),
        Type::Int4 => {
            Datum::Int([narrow, wide % (1 << 31), i64::from(i32::MAX), i64::from(i32::MIN)][pick as usize % 4])
        }
        Type::Int8 => Datum::Int([narrow, wide, i64::MAX, i64::MIN][pick as usize % 4]),
        Type::Oid | Type::Regclass | Type::Regtype | Type::Regproc | Type::Regnamespace => {
            Datum::Int(wide & 0xffff_ffff)
        }
        Type::Float4 => Datum::Float(f64::from(float(random) as f32)),
        Type::Float8 => Datum::Float(float(random)),
        Type::Numeric(_) => Datum::Numeric(numeric(random)),
        Type::Text | Type::Varchar(_) | Type::Name | Type::Char | Type::Unknown => Datum::text(text(random)),
        Type::Bytea => Datum::Bytea(Bytes::from((0..pick).map(|_| random.next_u64() as u8).collect::<Vec<_>>())),
        Type::Date => Datum::Date([narrow as i32, (wide % 1_000_000) as i32, i32::MAX, i32::MIN][pick as usize % 4]),
        Type::Time => Datum::Time(wide.rem_euclid(86_400_000_001)),
        Type::Timestamp | Type::Timestamptz => Datum::Timestamp(match pick {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => narrow,
            3 => i64::MAX - 1,
            4 => crate::datetime::MIN_DAY * crate::datetime::DAY_US,
            _ => wide % 4_000_000_000_000_000,
        }),
        Type::Interval => Datum::Interval(Box::new(match pick {
            0 => Interval { months: 0, days: narrow as i32, microseconds: 0 },
            1 => Interval { months: narrow as i32, days: 0, microseconds: 0 },
            2 => Interval { months: 0, days: 0, microseconds: narrow * 86_400_000_000 },
            3 => Interval { months: i32::MAX, days: i32::MIN, microseconds: i64::MAX },
            _ => Interval { months: (wide % 5000) as i32, days: (wide % 777) as i32, microseconds: wide % (1 << 45) },
        })),
        Type::Uuid => {
            Datum::Uuid(Box::new((u128::from(random.next_u64()) << 64 | u128::from(wide as u64)).to_be_bytes()))
        }
        Type::Json => Datum::Json(crate::json::parse::parse(&json_text(random, 0)).expect("generated JSON is JSON")),
        Type::Array(element) => {
            let items =
                (0..random.below(4)).map(|_| if random.below(6) == 0 { Datum::Null } else { datum(random, element) });
            Datum::Array(items.collect::<Vec<_>>().into())
        }
        Type::Record => Datum::Record(Arc::from([datum(random, &Type::Int4), datum(random, &Type::Text)])),
        Type::Void => Datum::Null,
    }
}

fn float(random: &mut Random) -> f64 {
    match random.below(10) {
        0 => 0.0,
        1 => -0.0,
        2 => f64::NAN,
        3 => f64::INFINITY,
        4 => f64::NEG_INFINITY,
        5 => random.below(10) as f64 - 5.0,
        6 => f64::from_bits(random.next_u64()),
        7 => 5e-324,
        _ => (random.unit() - 0.5) * 1e6,
    }
}

pub fn numeric(random: &mut Random) -> Numeric {
    let wide = i128::from(random.next_u64() as i64);
    match random.below(10) {
        0 => Numeric::NaN,
        1 => Numeric::Infinity,
        2 => Numeric::NegativeInfinity,
        3 => Numeric::from_i128(wide * i128::from(random.next_u64() as i64), random.below(40) as u16),
        // The same value with different scales, often.
        4 | 5 => {
            Numeric::from_i128(i128::from(random.below(3)) * 10i128.pow(random.below(3) as u32), random.below(4) as u16)
        }
        _ => Numeric::from_i128(wide % 100_000, random.below(6) as u16),
    }
}

fn text(random: &mut Random) -> String {
    const WORDS: &[&str] = &[
        "",
        "a",
        "B",
        "12",
        "-7.5",
        "NULL",
        "null",
        " x ",
        "a,b",
        "{}",
        "\"",
        "\\",
        "it's",
        "%",
        "_a%",
        "é🙂",
        "2024-01-15",
        "10:30",
        "1 day",
        "true",
        "{1,2}",
        "{\"a\": 1}",
        "[1]",
        "(",
        "a*b+",
        "YYYY-MM-DD",
        "999.99",
        "UTC",
        "hour",
        "$.a[0]",
        "\n",
        "hex",
        "i",
        "Europe/Berlin",
        "infinity",
        "1e400",
        "..",
        "[a",
        "\\1",
    ];
    WORDS[random.below(WORDS.len() as u64) as usize].to_owned()
}

fn json_text(random: &mut Random, depth: usize) -> String {
    const SCALARS: &[&str] = &[
        "null",
        "true",
        "false",
        "1",
        "1.0",
        "-0",
        "1e2",
        "100",
        "0.5",
        "\"\"",
        "\"a\"",
        "\"1\"",
        "12345678901234567890",
    ];
    let count = random.below(3);
    match random.below(6) {
        0 if depth < 3 => {
            let items: Vec<String> = (0..count).map(|_| json_text(random, depth + 1)).collect();
            format!("[{}]", items.join(","))
        }
        1 | 2 if depth < 3 => {
            let names = ["a", "b", "aa"];
            let fields: Vec<String> = (0..count)
                .map(|_| format!("\"{}\":{}", names[random.below(3) as usize], json_text(random, depth + 1)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        _ => SCALARS[random.below(SCALARS.len() as u64) as usize].to_owned(),
    }
}
