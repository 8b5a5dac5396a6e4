//! Date operators.
//!
//! Read next: `civil.rs` (the calendar and time zones), `parts.rs`, `format.rs`, `parse.rs`, `arithmetic.rs`.

mod arithmetic;
pub(crate) mod civil;
mod format;
mod parse;
mod parts;

use super::operator::{Args, Named, Operator, Shape};
use super::{nullish, type_of};
use crate::error::{Error, Result};
use crate::value::Value;
use civil::{Civil, Zone};

pub(crate) use arithmetic::{Unit, add_units};
pub(crate) use parse::parse_text;

/// `{date, timezone}`, or the date alone.
const DATE: Named = Named { fields: &[("date", 40539), ("timezone", 0)], not_object: 40535, unknown: 40535 };

const fn part(name: &'static str, run: fn(Args, &mut super::Scope<'_>) -> Result<Option<Value>>) -> Operator {
    Operator { name, shape: Shape::NamedOr(&DATE), run }
}

pub(super) const OPERATORS: &[Operator] = &[
    part("$year", |args, _| parts::part(args, |c| c.year)),
    part("$month", |args, _| parts::part(args, |c| c.month)),
    part("$dayOfMonth", |args, _| parts::part(args, |c| c.day)),
    part("$hour", |args, _| parts::part(args, |c| c.hour)),
    part("$minute", |args, _| parts::part(args, |c| c.minute)),
    part("$second", |args, _| parts::part(args, |c| c.second)),
    part("$millisecond", |args, _| parts::part(args, |c| c.ms)),
    part("$dayOfYear", |args, _| parts::part(args, Civil::day_of_year)),
    part("$dayOfWeek", |args, _| parts::part(args, |c| c.weekday() + 1)),
    part("$week", |args, _| parts::part(args, Civil::week)),
    part("$isoWeek", |args, _| parts::part(args, |c| c.iso_week().1)),
    part("$isoDayOfWeek", |args, _| parts::part(args, Civil::iso_weekday)),
    part("$isoWeekYear", |args, _| {
        let year = parts::part(args, |c| c.iso_week().0)?;
        Ok(year.map(|year| year.as_whole().map_or(Value::Null, Value::Int64)))
    }),
    Operator { name: "$dateToParts", shape: Shape::Named(&parts::TO_PARTS), run: |args, _| parts::to_parts(args) },
    Operator {
        name: "$dateFromParts",
        shape: Shape::Named(&parts::FROM_PARTS),
        run: |args, _| parts::from_parts(args),
    },
    Operator { name: "$dateToString", shape: Shape::Named(&format::TO_STRING), run: |args, _| format::to_string(args) },
    Operator {
        name: "$dateFromString",
        shape: Shape::Named(&parse::FROM_STRING),
        run: |args, _| parse::from_string(args),
    },
    Operator { name: "$dateAdd", shape: Shape::Named(&arithmetic::ADD), run: |args, _| arithmetic::shift(args, 1) },
    Operator {
        name: "$dateSubtract",
        shape: Shape::Named(&arithmetic::ADD),
        run: |args, _| arithmetic::shift(args, -1),
    },
    Operator { name: "$dateDiff", shape: Shape::Named(&arithmetic::DIFF), run: |args, _| arithmetic::difference(args) },
    Operator { name: "$dateTrunc", shape: Shape::Named(&arithmetic::TRUNC), run: |args, _| arithmetic::truncate(args) },
    Operator { name: "$tsSecond", shape: Shape::Exactly(1), run: |args, _| timestamp(args, 5687301, |t| t >> 32) },
    Operator {
        name: "$tsIncrement",
        shape: Shape::Exactly(1),
        run: |args, _| timestamp(args, 5687302, |t| t & 0xffff_ffff),
    },
];

/// The instant of a date, timestamp or ObjectId; `None` for other types.
pub(crate) fn instant(value: &Value) -> Option<i64> {
    match value {
        Value::Date(ms) => Some(*ms),
        Value::Timestamp(t) => Some((t >> 32) as i64 * 1000),
        Value::ObjectId(id) => {
            let seconds = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
            Some(i64::from(seconds as i32) * 1000)
        }
        _ => None,
    }
}

/// A required date argument; `None` if nullish.
fn date_arg(value: &Option<Value>) -> Result<Option<i64>> {
    if nullish(value) {
        return Ok(None);
    }
    match value.as_ref().and_then(instant) {
        Some(ms) => Ok(Some(ms)),
        None => Err(Error::new(16006, format!("can't convert from BSON type {} to Date", type_of(value)))),
    }
}

/// A `timezone` argument: UTC if not written, `None` if nullish.
fn zone_arg(args: &Args, i: usize) -> Result<Option<Zone>> {
    match args.slot(i) {
        _ if !args.given(i) => Ok(Some(Zone::Utc)),
        Some(Value::String(text)) => Zone::parse(text).map(Some),
        value if nullish(value) => Ok(None),
        value => Err(Error::new(40517, format!("timezone must evaluate to a string, found {}", type_of(value)))),
    }
}

fn timestamp(args: Args, code: i32, part: fn(u64) -> u64) -> Result<Option<Value>> {
    match args.slot(0) {
        Some(Value::Timestamp(t)) => Ok(Some(Value::Int64(part(*t) as i64))),
        value if nullish(value) => Ok(Some(Value::Null)),
        value => {
            Err(Error::new(code, format!("Argument to {} must be a timestamp, but is {}", args.op, type_of(value))))
        }
    }
}

/// `2024-02-29T13:45:59.123Z`. Errors with 18537 outside the years 0 to 9999.
pub(crate) fn iso_text(ms: i64) -> Result<String> {
    let c = Civil::from_local_ms(ms);
    if !(0..=9999).contains(&c.year) {
        return Err(Error::new(
            18537,
            format!(
                "Could not convert date to string: date component was outside the supported range of 0-9999: {}",
                c.year
            ),
        ));
    }
    Ok(format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", c.year, c.month, c.day, c.hour, c.minute, c.second, c.ms))
}
