//! `$convert` and its short forms, `$type`, `$isNumber`.

use super::operator::{Args, Named, Operator, Shape};
use super::text::{hex, value_text};
use super::{Scope, date, type_of};
use crate::error::{Error, Result};
use crate::number::{Decimal, Number, Rounding, text::double_text};
use crate::raw::kind;
use crate::value::Value;

const CONVERT: Named =
    Named { fields: &[("input", 9), ("to", 9), ("onError", 0), ("onNull", 0)], not_object: 9, unknown: 9 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$convert", shape: Shape::Named(&CONVERT), run: convert },
    Operator { name: "$toBool", shape: Shape::Exactly(1), run: |args, _| short(args, kind::BOOL) },
    Operator { name: "$toInt", shape: Shape::Exactly(1), run: |args, _| short(args, kind::INT32) },
    Operator { name: "$toLong", shape: Shape::Exactly(1), run: |args, _| short(args, kind::INT64) },
    Operator { name: "$toDouble", shape: Shape::Exactly(1), run: |args, _| short(args, kind::DOUBLE) },
    Operator { name: "$toDecimal", shape: Shape::Exactly(1), run: |args, _| short(args, kind::DECIMAL128) },
    Operator { name: "$toString", shape: Shape::Exactly(1), run: |args, _| short(args, kind::STRING) },
    Operator { name: "$toDate", shape: Shape::Exactly(1), run: |args, _| short(args, kind::DATE) },
    Operator { name: "$toObjectId", shape: Shape::Exactly(1), run: |args, _| short(args, kind::OBJECT_ID) },
    Operator { name: "$type", shape: Shape::Exactly(1), run: |args, _| Ok(Some(Value::from(args.type_of(0)))) },
    Operator {
        name: "$isNumber",
        shape: Shape::Exactly(1),
        run: |args, _| Ok(Some(Value::Bool(args.get(0).and_then(Number::from_value).is_some()))),
    },
];

fn failure(message: impl Into<String>) -> Error {
    Error::new(241, message)
}

fn short(mut args: Args, to: u8) -> Result<Option<Value>> {
    if args.nullish(0) {
        return Ok(Some(Value::Null));
    }
    let input = args.take(0).expect("not nullish");
    to_type(&input, to).map(Some)
}

fn convert(mut args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let to = target(args.slot(1))?;
    if args.nullish(0) {
        return Ok(if args.given(3) { args.take(3) } else { Some(Value::Null) });
    }
    let Some(to) = to else { return Ok(Some(Value::Null)) };
    let input = args.take(0).expect("not nullish");
    match to_type(&input, to) {
        Err(e) if e.code == 241 && args.given(2) => Ok(args.take(2)),
        result => result.map(Some),
    }
}

/// The type that `to` names; `None` if it is nullish.
fn target(to: &Option<Value>) -> Result<Option<u8>> {
    let code = match to {
        None | Some(Value::Null | Value::Undefined) => return Ok(None),
        Some(Value::String(name)) => {
            kind_by_name(name).ok_or_else(|| Error::bad_value(format!("Unknown type name: {name}")))?
        }
        Some(value) => {
            let Some(n) = Number::from_value(value) else {
                return Err(Error::failed_to_parse(format!(
                    "$convert's 'to' argument must be a string or number, but is {}",
                    type_of(to)
                )));
            };
            let Some(n) = n.as_whole() else {
                return Err(Error::failed_to_parse("In $convert, numeric 'to' argument is not an integer"));
            };
            match n {
                -1 => kind::MIN_KEY,
                0x7f => kind::MAX_KEY,
                1..=0x13 => n as u8,
                _ => {
                    return Err(Error::failed_to_parse(format!(
                        "In $convert, numeric value for 'to' does not correspond to a BSON type: {n}"
                    )));
                }
            }
        }
    };
    Ok(Some(code))
}

fn kind_by_name(name: &str) -> Option<u8> {
    let all = (1..=0x13u8).chain([kind::MIN_KEY, kind::MAX_KEY]);
    all.into_iter().find(|code| crate::raw::kind_name(*code) == name)
}

fn to_type(input: &Value, to: u8) -> Result<Value> {
    let converted = match to {
        kind::BOOL => Some(Ok(Value::Bool(to_bool(input)))),
        kind::INT32 => to_whole(input, "int").map(|n| {
            let n = n?;
            i32::try_from(n).map(Value::Int32).map_err(|_| overflow(input))
        }),
        kind::INT64 => to_whole(input, "long").map(|n| n.map(Value::Int64)),
        kind::DOUBLE => to_double(input),
        kind::DECIMAL128 => to_decimal(input),
        kind::STRING => to_string(input),
        kind::DATE => to_date(input),
        kind::OBJECT_ID => to_object_id(input),
        _ => None,
    };
    converted.unwrap_or_else(|| {
        Err(failure(format!(
            "Unsupported conversion from {} to {} in $convert with no onError value",
            input.type_name(),
            crate::raw::kind_name(to)
        )))
    })
}

fn to_bool(input: &Value) -> bool {
    match input {
        Value::Bool(b) => *b,
        other => Number::from_value(other).is_none_or(|n| !n.is_zero()),
    }
}

fn overflow(input: &Value) -> Error {
    failure(format!(
        "Conversion would overflow target type in $convert with no onError value: {}",
        value_text(Some(input))
    ))
}

/// An int64 out of what converts to integers; int32 narrows afterwards. `None`: unsupported.
fn to_whole(input: &Value, target: &str) -> Option<Result<i64>> {
    Some(match input {
        Value::Int32(n) => Ok(i64::from(*n)),
        Value::Int64(n) => Ok(*n),
        Value::Bool(b) => Ok(i64::from(*b)),
        Value::Double(n) => whole_of_double(*n, input),
        Value::Decimal128(bytes) => whole_of_decimal(Decimal::from_bytes(*bytes), input),
        Value::String(text) => parse_whole(text, target),
        Value::Date(ms) if target == "long" => Ok(*ms),
        _ => return None,
    })
}

fn special(nan: bool) -> Error {
    failure(format!(
        "Attempt to convert {} value to integer type in $convert with no onError value",
        if nan { "NaN" } else { "infinity" }
    ))
}

fn whole_of_double(n: f64, input: &Value) -> Result<i64> {
    if !n.is_finite() {
        return Err(special(n.is_nan()));
    }
    Number::Double(n.trunc()).as_whole().ok_or_else(|| overflow(input))
}

fn whole_of_decimal(n: Decimal, input: &Value) -> Result<i64> {
    if n.is_nan() || n.is_infinite() {
        return Err(special(n.is_nan()));
    }
    n.to_i64(Rounding::TowardZero).ok_or_else(|| overflow(input))
}

fn unparsable(text: &str, reason: &str) -> Error {
    failure(format!("Failed to parse number '{text}' in $convert with no onError value: {reason}"))
}

fn parse_whole(text: &str, target: &str) -> Result<i64> {
    if text.starts_with("0x") {
        return Err(failure(format!("Illegal hexadecimal input in $convert with no onError value: {text}")));
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let reason = if text.is_empty() { "No digits" } else { "Did not consume whole string." };
        return Err(unparsable(text, reason));
    }
    let n = text.parse::<i64>().map_err(|_| unparsable(text, "Overflow"))?;
    if target == "int" && i32::try_from(n).is_err() {
        return Err(unparsable(text, "Overflow"));
    }
    Ok(n)
}

fn to_double(input: &Value) -> Option<Result<Value>> {
    Some(match input {
        Value::Bool(b) => Ok(Value::Double(f64::from(u8::from(*b)))),
        Value::Date(ms) => Ok(Value::Double(*ms as f64)),
        Value::Decimal128(bytes) => {
            let n = Decimal::from_bytes(*bytes);
            let double = n.to_f64();
            if double.is_infinite() && !n.is_infinite() { Err(overflow(input)) } else { Ok(Value::Double(double)) }
        }
        Value::String(text) => parse_double(text).map(Value::Double),
        other => Ok(Value::Double(Number::from_value(other)?.to_f64())),
    })
}

fn parse_double(text: &str) -> Result<f64> {
    if text.starts_with("0x") {
        return Err(failure(format!("Illegal hexadecimal input in $convert with no onError value: {text}")));
    }
    let n: f64 = text.parse().map_err(|_| {
        let starts_well = text.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit());
        unparsable(text, if starts_well { "Did not consume whole string." } else { "Did not consume any digits" })
    })?;
    let named = text.contains(['n', 'N']);
    if n.is_infinite() && !named { Err(unparsable(text, "Out of range")) } else { Ok(n) }
}

fn to_decimal(input: &Value) -> Option<Result<Value>> {
    let decimal = match input {
        Value::Bool(b) => Decimal::from_i64(i64::from(*b)),
        Value::Date(ms) => Decimal::from_i64(*ms),
        Value::String(text) => match text.parse::<Decimal>() {
            Ok(n) => n,
            Err(()) => return Some(Err(unparsable(text, "Failed to parse string to decimal"))),
        },
        other => Number::from_value(other)?.to_decimal(),
    };
    Some(Ok(Value::Decimal128(decimal.to_bytes())))
}

fn to_string(input: &Value) -> Option<Result<Value>> {
    Some(Ok(Value::String(match input {
        Value::String(s) => s.clone(),
        Value::Bool(b) => b.to_string(),
        Value::ObjectId(id) => hex(id),
        Value::Int32(n) => n.to_string(),
        Value::Int64(n) => n.to_string(),
        Value::Double(n) => double_text(*n),
        Value::Decimal128(bytes) => Decimal::from_bytes(*bytes).to_string(),
        Value::Date(ms) => match date::iso_text(*ms) {
            Ok(text) => text,
            Err(e) => return Some(Err(failure(e.message))),
        },
        _ => return None,
    })))
}

fn to_date(input: &Value) -> Option<Result<Value>> {
    let ms = match input {
        Value::Date(ms) => Ok(*ms),
        Value::Int64(ms) => Ok(*ms),
        Value::Double(n) => whole_of_double(*n, input),
        Value::Decimal128(bytes) => whole_of_decimal(Decimal::from_bytes(*bytes), input),
        Value::ObjectId(_) | Value::Timestamp(_) => Ok(date::instant(input)?),
        Value::String(text) => date::parse_text(text, None),
        _ => return None,
    };
    Some(ms.map(Value::Date))
}

fn to_object_id(input: &Value) -> Option<Result<Value>> {
    let text = match input {
        Value::ObjectId(_) => return Some(Ok(input.clone())),
        Value::String(text) => text,
        _ => return None,
    };
    let bad = |reason: String| {
        failure(format!("Failed to parse objectId '{text}' in $convert with no onError value: {reason}"))
    };
    if text.len() != 24 {
        return Some(Err(bad(format!(
            "Invalid string length for parsing to OID, expected 24 but found {}",
            text.len()
        ))));
    }
    let mut id = [0u8; 12];
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => *byte = value,
            None => return Some(Err(bad(format!("Invalid character found in hex string: {text}")))),
        }
    }
    Some(Ok(Value::ObjectId(id)))
}
