//! String operators. Positions are bytes in the `…Bytes` forms and code points in the `…CP` forms;
//! case conversion touches ASCII only, as the server's does.

use super::array::search_bounds;
use super::date::iso_text;
use super::operator::{Args, Named, Operator, Shape};
use super::text::value_text;
use super::{Scope, nullish, type_of};
use crate::error::{Error, Result};
use crate::number::{Decimal, Number, text::double_text};
use crate::value::Value;

const NULL: Result<Option<Value>> = Ok(Some(Value::Null));

const TRIM: Named = Named { fields: &[("input", 50695), ("chars", 0)], not_object: 50696, unknown: 50694 };
const REPLACE: Named =
    Named { fields: &[("input", 51749), ("find", 51748), ("replacement", 51747)], not_object: 51751, unknown: 51750 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$concat", shape: Shape::Any, run: |args, _| concat(args) },
    Operator { name: "$toUpper", shape: Shape::Exactly(1), run: |args, _| recase(args, str::to_ascii_uppercase) },
    Operator { name: "$toLower", shape: Shape::Exactly(1), run: |args, _| recase(args, str::to_ascii_lowercase) },
    Operator { name: "$strcasecmp", shape: Shape::Exactly(2), run: |args, _| compare_ignoring_case(args) },
    Operator { name: "$substr", shape: Shape::Exactly(3), run: |args, _| substring_bytes(args) },
    Operator { name: "$substrBytes", shape: Shape::Exactly(3), run: |args, _| substring_bytes(args) },
    Operator { name: "$substrCP", shape: Shape::Exactly(3), run: |args, _| substring_points(args) },
    Operator { name: "$strLenBytes", shape: Shape::Exactly(1), run: |args, _| length(args, 34473, str::len) },
    Operator { name: "$strLenCP", shape: Shape::Exactly(1), run: |args, _| length(args, 34471, |s| s.chars().count()) },
    Operator { name: "$split", shape: Shape::Exactly(2), run: |args, _| split(args) },
    Operator { name: "$indexOfBytes", shape: Shape::Between(2, 4), run: |args, _| index_of_bytes(args) },
    Operator { name: "$indexOfCP", shape: Shape::Between(2, 4), run: |args, _| index_of_points(args) },
    Operator { name: "$trim", shape: Shape::Named(&TRIM), run: |args, _| trim(args, true, true) },
    Operator { name: "$ltrim", shape: Shape::Named(&TRIM), run: |args, _| trim(args, true, false) },
    Operator { name: "$rtrim", shape: Shape::Named(&TRIM), run: |args, _| trim(args, false, true) },
    Operator { name: "$replaceOne", shape: Shape::Named(&REPLACE), run: |args, scope| replace(args, scope, false) },
    Operator { name: "$replaceAll", shape: Shape::Named(&REPLACE), run: |args, scope| replace(args, scope, true) },
];

/// What string operators make of other types: numbers and dates print, null is empty.
pub(super) fn coerce(value: &Option<Value>) -> Result<String> {
    Ok(match value {
        None | Some(Value::Null | Value::Undefined) => String::new(),
        Some(Value::String(s) | Value::Code(s) | Value::Symbol(s)) => s.clone(),
        Some(Value::Int32(n)) => n.to_string(),
        Some(Value::Int64(n)) => n.to_string(),
        Some(Value::Double(n)) => double_text(*n),
        Some(Value::Decimal128(bytes)) => Decimal::from_bytes(*bytes).to_string(),
        Some(Value::Date(ms)) => iso_text(*ms)?,
        Some(Value::Timestamp(t)) => format!("Timestamp({}, {})", t >> 32, t & 0xffff_ffff),
        Some(other) => {
            return Err(Error::new(16007, format!("can't convert from BSON type {} to String", other.type_name())));
        }
    })
}

fn concat(args: Args) -> Result<Option<Value>> {
    let mut text = String::new();
    for value in args.values() {
        match value {
            Some(Value::String(s)) => text.push_str(s),
            value if nullish(value) => return NULL,
            value => return Err(Error::new(16702, format!("$concat only supports strings, not {}", type_of(value)))),
        }
    }
    Ok(Some(Value::String(text)))
}

fn recase(args: Args, convert: fn(&str) -> String) -> Result<Option<Value>> {
    Ok(Some(Value::String(convert(&coerce(args.slot(0))?))))
}

fn compare_ignoring_case(args: Args) -> Result<Option<Value>> {
    let (a, b) = (coerce(args.slot(0))?.to_ascii_uppercase(), coerce(args.slot(1))?.to_ascii_uppercase());
    Ok(Some(Value::Int32(a.cmp(&b) as i32)))
}

fn substring_bytes(args: Args) -> Result<Option<Value>> {
    let text = coerce(args.slot(0))?;
    let number = |i: usize, code: i32, what: &str| {
        let n = args.get(i).and_then(Number::from_value).ok_or_else(|| {
            Error::new(code, format!("$substrBytes:  {what} must be a numeric type (is BSON type {})", args.type_of(i)))
        })?;
        Ok(n.to_i64_saturating())
    };
    let (start, len) = (number(1, 16034, "starting index")?, number(2, 16035, "length")?);
    let Ok(start) = usize::try_from(start) else {
        return Err(Error::new(50752, format!("$substrBytes: starting index must be non-negative (got: {start})")));
    };
    if start < text.len() && !text.is_char_boundary(start) {
        return Err(Error::new(28656, "$substrBytes:  Invalid range, starting index is a UTF-8 continuation byte."));
    }
    let end = match usize::try_from(len) {
        Ok(len) => start.saturating_add(len).min(text.len()),
        Err(_) => text.len(),
    };
    if !text.is_char_boundary(end) {
        return Err(Error::new(
            28657,
            "$substrBytes:  Invalid range, ending index is in the middle of a UTF-8 character.",
        ));
    }
    Ok(Some(Value::from(text.get(start..end).unwrap_or(""))))
}

fn substring_points(args: Args) -> Result<Option<Value>> {
    let text = coerce(args.slot(0))?;
    let number = |i: usize, codes: [i32; 3], what: &str| {
        let n = args.get(i).and_then(Number::from_value).ok_or_else(|| {
            Error::new(codes[0], format!("$substrCP: {what} must be a numeric type (is BSON type {})", args.type_of(i)))
        })?;
        let n = n.as_whole().and_then(|n| i32::try_from(n).ok()).ok_or_else(|| {
            Error::new(
                codes[1],
                format!(
                    "$substrCP: {what} cannot be represented as a 32-bit integral value: {}",
                    value_text(args.get(i))
                ),
            )
        })?;
        usize::try_from(n)
            .map_err(|_| Error::new(codes[2], format!("$substrCP: {what} must be a nonnegative integer.")))
    };
    let start = number(1, [34450, 34451, 34455], "starting index")?;
    let len = number(2, [34452, 34453, 34454], "length")?;
    Ok(Some(Value::String(text.chars().skip(start).take(len).collect())))
}

fn length(args: Args, code: i32, measure: fn(&str) -> usize) -> Result<Option<Value>> {
    match args.get(0) {
        Some(Value::String(s)) => Ok(Some(Value::Int32(measure(s) as i32))),
        _ => Err(Error::new(code, format!("{} requires a string argument, found: {}", args.op, args.type_of(0)))),
    }
}

fn split(args: Args) -> Result<Option<Value>> {
    if args.any_nullish() {
        return NULL;
    }
    let text = |i: usize, code, what: &str| match args.get(i) {
        Some(Value::String(s)) => Ok(s),
        _ => Err(Error::new(
            code,
            format!(
                "$split requires an expression that evaluates to a string as a {what} argument, found: {}",
                args.type_of(i)
            ),
        )),
    };
    let (input, separator) = (text(0, 40085, "first")?, text(1, 40086, "second")?);
    if separator.is_empty() {
        return Err(Error::new(40087, "$split requires a non-empty separator"));
    }
    Ok(Some(Value::Array(input.split(separator.as_str()).map(Value::from).collect())))
}

/// The two strings of an `$indexOf…`; `None` if the first is nullish.
fn haystack_and_needle(args: &Args, codes: [i32; 2]) -> Result<Option<(&str, &str)>> {
    if args.nullish(0) {
        return Ok(None);
    }
    let text = |i: usize, what: &str| match args.get(i) {
        Some(Value::String(s)) => Ok(s.as_str()),
        _ => Err(Error::new(
            codes[i],
            format!("{} requires a string as the {what} argument, found: {}", args.op, args.type_of(i)),
        )),
    };
    Ok(Some((text(0, "first")?, text(1, "second")?)))
}

fn index_of_bytes(args: Args) -> Result<Option<Value>> {
    let Some((text, needle)) = haystack_and_needle(&args, [40091, 40092])? else { return NULL };
    let (start, end) = search_bounds(&args, text.len(), [40096, 40097])?;
    let found = text.as_bytes().get(start..end).and_then(|part| memchr::memmem::find(part, needle.as_bytes()));
    Ok(Some(Value::Int32(found.map_or(-1, |at| (start + at) as i32))))
}

fn index_of_points(args: Args) -> Result<Option<Value>> {
    let Some((text, needle)) = haystack_and_needle(&args, [40093, 40094])? else { return NULL };
    let count = text.chars().count();
    let (start, end) = search_bounds(&args, count, [40096, 40097])?;
    let byte = |point: usize| text.char_indices().nth(point).map_or(text.len(), |(at, _)| at);
    if start > end {
        return Ok(Some(Value::Int32(-1)));
    }
    let (from, to) = (byte(start), byte(end));
    let found = text[from..to].find(needle).map(|at| start + text[from..from + at].chars().count());
    Ok(Some(Value::Int32(found.map_or(-1, |at| at as i32))))
}

/// What `$trim` removes unless told: PCRE's white space, NUL, and Unicode's spaces.
fn is_space(c: char) -> bool {
    matches!(c, '\0' | '\t'..='\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}')
}

fn trim(args: Args, left: bool, right: bool) -> Result<Option<Value>> {
    if args.nullish(0) {
        return NULL;
    }
    let Some(Value::String(text)) = args.get(0) else {
        return Err(Error::new(
            50699,
            format!(
                "{} requires its input to be a string, got {} (of type {}) instead.",
                args.op,
                value_text(args.get(0)),
                args.type_of(0)
            ),
        ));
    };
    let set: Option<Vec<char>> = match args.slot(1) {
        _ if !args.given(1) => None,
        Some(Value::String(chars)) => Some(chars.chars().collect()),
        value if nullish(value) => return NULL,
        value => {
            return Err(Error::new(
                50700,
                format!(
                    "{} requires 'chars' to be a string, got {} (of type {}) instead.",
                    args.op,
                    value_text(value.as_ref()),
                    type_of(value)
                ),
            ));
        }
    };
    let removes = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
    let mut trimmed = text.as_str();
    if left {
        trimmed = trimmed.trim_start_matches(removes);
    }
    if right {
        trimmed = trimmed.trim_end_matches(removes);
    }
    Ok(Some(Value::from(trimmed)))
}

fn replace(args: Args, scope: &mut Scope<'_>, all: bool) -> Result<Option<Value>> {
    let part = |i: usize, code: i32, what: &str| match args.slot(i) {
        Some(Value::String(s)) => Ok(Some(s.as_str())),
        value if nullish(value) => Ok(None),
        value => Err(Error::new(
            code,
            format!("{} requires that '{what}' be a string, found: {}", args.op, value_text(value.as_ref())),
        )),
    };
    let (input, find, replacement) =
        (part(0, 51746, "input")?, part(1, 51745, "find")?, part(2, 51744, "replacement")?);
    let (Some(input), Some(find), Some(replacement)) = (input, find, replacement) else { return NULL };
    let count = if all { input.matches(find).count() } else { 1 };
    scope.charge(input.len().saturating_add(count.saturating_mul(replacement.len())))?;
    Ok(Some(Value::String(if all { input.replace(find, replacement) } else { input.replacen(find, replacement, 1) })))
}
