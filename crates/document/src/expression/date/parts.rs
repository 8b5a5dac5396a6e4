//! Single parts of a date, `$dateToParts`, `$dateFromParts`.

use super::civil::{Civil, MS_PER_DAY, Zone, days_from_civil};
use super::{date_arg, zone_arg};
use crate::error::{Error, Result};
use crate::expression::operator::{Args, Named};
use crate::expression::text::value_text;
use crate::expression::{nullish, type_of};
use crate::number::Number;
use crate::value::{Doc, Value};

pub(super) const TO_PARTS: Named =
    Named { fields: &[("date", 40522), ("timezone", 0), ("iso8601", 0)], not_object: 40524, unknown: 40520 };
pub(super) const FROM_PARTS: Named = Named {
    fields: &[
        ("year", 0),
        ("month", 0),
        ("day", 0),
        ("hour", 0),
        ("minute", 0),
        ("second", 0),
        ("millisecond", 0),
        ("isoWeekYear", 0),
        ("isoWeek", 0),
        ("isoDayOfWeek", 0),
        ("timezone", 0),
    ],
    not_object: 40519,
    unknown: 40518,
};

pub(super) fn part(args: Args, pick: fn(Civil) -> i64) -> Result<Option<Value>> {
    let Some(ms) = date_arg(args.slot(0))? else { return Ok(Some(Value::Null)) };
    let Some(zone) = zone_arg(&args, 1)? else { return Ok(Some(Value::Null)) };
    Ok(Some(Number::narrow(pick(zone.to_civil(ms))).into()))
}

pub(super) fn to_parts(args: Args) -> Result<Option<Value>> {
    let Some(zone) = zone_arg(&args, 1)? else { return Ok(Some(Value::Null)) };
    let iso = match args.slot(2) {
        _ if !args.given(2) => false,
        Some(Value::Bool(b)) => *b,
        value if nullish(value) => return Ok(Some(Value::Null)),
        value => return Err(Error::new(40521, format!("iso8601 must evaluate to a bool, found {}", type_of(value)))),
    };
    let Some(ms) = date_arg(args.slot(0))? else { return Ok(Some(Value::Null)) };
    let c = zone.to_civil(ms);
    let int = |n: i64| Value::from(Number::narrow(n));
    let day = if iso {
        let (year, week) = c.iso_week();
        Doc::new().with("isoWeekYear", int(year)).with("isoWeek", int(week)).with("isoDayOfWeek", int(c.iso_weekday()))
    } else {
        Doc::new().with("year", int(c.year)).with("month", int(c.month)).with("day", int(c.day))
    };
    Ok(Some(Value::Document(
        day.with("hour", int(c.hour))
            .with("minute", int(c.minute))
            .with("second", int(c.second))
            .with("millisecond", int(c.ms)),
    )))
}

/// Argument `i` as a whole number: `default` if not written, `None` if nullish.
fn whole(args: &Args, i: usize, default: i64) -> Result<Option<i64>> {
    if !args.given(i) {
        return Ok(Some(default));
    }
    if args.nullish(i) {
        return Ok(None);
    }
    let name = FROM_PARTS.fields[i].0;
    let n = args.get(i).and_then(Number::from_value).and_then(Number::as_whole);
    n.map(Some).ok_or_else(|| {
        Error::new(
            40515,
            format!(
                "'{name}' must evaluate to an integer, found {} with value {}",
                args.type_of(i),
                value_text(args.get(i))
            ),
        )
    })
}

fn bounded(args: &Args, i: usize, default: i64) -> Result<Option<i64>> {
    let n = whole(args, i, default)?;
    match n {
        Some(n) if !(-32768..=32767).contains(&n) => Err(Error::new(
            31034,
            format!(
                "'{}' must evaluate to a value in the range [-32768, 32767]; value {n} is not in range",
                FROM_PARTS.fields[i].0
            ),
        )),
        _ => Ok(n),
    }
}

fn year(args: &Args, i: usize) -> Result<Option<i64>> {
    let n = whole(args, i, 1970)?;
    match n {
        Some(n) if !(1..=9999).contains(&n) => Err(Error::new(
            40523,
            format!("'{}' must evaluate to an integer in the range 1 to 9999, found {n}", FROM_PARTS.fields[i].0),
        )),
        _ => Ok(n),
    }
}

pub(super) fn from_parts(args: Args) -> Result<Option<Value>> {
    match (args.given(0), args.given(7)) {
        (false, false) => {
            return Err(Error::new(40516, "$dateFromParts requires either 'year' or 'isoWeekYear' to be present"));
        }
        (true, _) if (7..10).any(|i| args.given(i)) => {
            return Err(Error::new(40489, "$dateFromParts does not allow mixing natural dates with ISO dates"));
        }
        (false, true) if args.given(1) || args.given(2) => {
            return Err(Error::new(40525, "$dateFromParts does not allow mixing ISO dates with natural dates"));
        }
        _ => {}
    }
    Ok(Some(compose(&args)?.map_or(Value::Null, Value::Date)))
}

/// `None` if a part is nullish.
fn compose(args: &Args) -> Result<Option<i64>> {
    let Some(hour) = bounded(args, 3, 0)? else { return Ok(None) };
    let Some(minute) = bounded(args, 4, 0)? else { return Ok(None) };
    let (Some(second), Some(ms)) = (whole(args, 5, 0)?, whole(args, 6, 0)?) else { return Ok(None) };
    let zone = if args.given(10) { zone_arg(args, 10)? } else { Some(Zone::Utc) };
    let Some(zone) = zone else { return Ok(None) };
    let civil = if args.given(7) {
        let Some(year) = year(args, 7)? else { return Ok(None) };
        let (Some(week), Some(day)) = (bounded(args, 8, 1)?, bounded(args, 9, 1)?) else { return Ok(None) };
        // ISO week 1 is the week of January 4th.
        let fourth = Civil::from_local_ms(days_from_civil(year, 1, 4) * MS_PER_DAY);
        let offset = 1 - fourth.iso_weekday() + (week - 1) * 7 + day - 1;
        Civil { year, month: 1, day: 4 + offset, hour, minute, second, ms }
    } else {
        let Some(year) = year(args, 0)? else { return Ok(None) };
        let (Some(month), Some(day)) = (bounded(args, 1, 1)?, bounded(args, 2, 1)?) else { return Ok(None) };
        Civil { year, month, day, hour, minute, second, ms }
    };
    let out_of_range = || Error::new(15, "$dateFromParts: the date is out of range");
    zone.instant_of(civil).map(Some).ok_or_else(out_of_range)
}
