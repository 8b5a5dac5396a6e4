//! `$dateAdd`, `$dateSubtract`, `$dateDiff`, `$dateTrunc`.

use super::civil::{
    Civil, MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND, Zone, days_from_civil, days_in_month,
};
use super::{instant, zone_arg};
use crate::error::{Error, Result};
use crate::expression::operator::{Args, Named};
use crate::expression::text::value_text;
use crate::number::Number;
use crate::value::Value;

pub(super) const ADD: Named = Named {
    fields: &[("startDate", 5166402), ("unit", 5166402), ("amount", 5166402), ("timezone", 0)],
    not_object: 5166400,
    unknown: 5166401,
};
pub(super) const DIFF: Named = Named {
    fields: &[("startDate", 5166303), ("endDate", 5166304), ("unit", 5166305), ("timezone", 0), ("startOfWeek", 0)],
    not_object: 5166301,
    unknown: 5166302,
};
pub(super) const TRUNC: Named = Named {
    fields: &[("date", 5439009), ("unit", 5439010), ("binSize", 0), ("timezone", 0), ("startOfWeek", 0)],
    not_object: 5439007,
    unknown: 5439008,
};

/// A step of the calendar or the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

impl Unit {
    pub fn parse(name: &str) -> Option<Unit> {
        Some(match name {
            "year" => Unit::Year,
            "quarter" => Unit::Quarter,
            "month" => Unit::Month,
            "week" => Unit::Week,
            "day" => Unit::Day,
            "hour" => Unit::Hour,
            "minute" => Unit::Minute,
            "second" => Unit::Second,
            "millisecond" => Unit::Millisecond,
            _ => return None,
        })
    }

    fn step(self) -> Step {
        match self {
            Unit::Year => Step::Months(12),
            Unit::Quarter => Step::Months(3),
            Unit::Month => Step::Months(1),
            Unit::Week => Step::Days(7),
            Unit::Day => Step::Days(1),
            Unit::Hour => Step::Time(MS_PER_HOUR),
            Unit::Minute => Step::Time(MS_PER_MINUTE),
            Unit::Second => Step::Time(MS_PER_SECOND),
            Unit::Millisecond => Step::Time(1),
        }
    }

    /// Milliseconds, for units of fixed length.
    pub fn fixed_ms(self) -> Option<i64> {
        match self.step() {
            Step::Months(_) => None,
            Step::Days(days) => Some(days * MS_PER_DAY),
            Step::Time(ms) => Some(ms),
        }
    }
}

/// The three kinds of step: calendar months, local days, absolute time.
enum Step {
    Months(i64),
    Days(i64),
    Time(i64),
}

/// A date argument of the three operators, which have their own error codes.
fn date(args: &Args, i: usize, code: i32, name: &str) -> Result<i64> {
    args.get(i).and_then(instant).ok_or_else(|| {
        Error::new(code, format!("{} requires '{name}' to be a date, but got {}", args.op, args.type_of(i)))
    })
}

fn unit(args: &Args, i: usize, not_string: i32, unknown: i32) -> Result<Unit> {
    let Some(Value::String(name)) = args.get(i) else {
        return Err(Error::new(
            not_string,
            format!("{} requires 'unit' to be a string, but got {}", args.op, args.type_of(i)),
        ));
    };
    Unit::parse(name).ok_or_else(|| {
        Error::new(unknown, format!("{} parameter 'unit' value cannot be recognized as a time unit: {name}", args.op))
    })
}

/// 0 is Sunday, as the server's default week.
fn start_of_week(args: &Args, i: usize, not_string: i32, unknown: i32) -> Result<i64> {
    if !args.given(i) {
        return Ok(0);
    }
    let Some(Value::String(name)) = args.get(i) else {
        return Err(Error::new(
            not_string,
            format!("{} requires 'startOfWeek' to be a string, but got {}", args.op, args.type_of(i)),
        ));
    };
    const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let lower = name.to_ascii_lowercase();
    DAYS.iter().position(|day| *day == lower || day[..3] == lower).map(|at| at as i64).ok_or_else(|| {
        Error::new(
            unknown,
            format!("{} parameter 'startOfWeek' value cannot be recognized as a day of a week: {name}", args.op),
        )
    })
}

pub(super) fn shift(args: Args, sign: i64) -> Result<Option<Value>> {
    if args.nullish(0) || args.nullish(1) || args.nullish(2) || (args.given(3) && args.nullish(3)) {
        return Ok(Some(Value::Null));
    }
    let start = date(&args, 0, 5166403, "startDate")?;
    let unit = unit(&args, 1, 5166404, 9)?;
    let amount = args
        .get(2)
        .and_then(Number::from_value)
        .and_then(Number::as_whole)
        .ok_or_else(|| Error::new(5166405, format!("{} expects integer amount of time units", args.op)))?;
    let Some(zone) = zone_arg(&args, 3)? else { return Ok(Some(Value::Null)) };
    let overflow = || Error::new(5166406, format!("{} overflowed", args.op));
    let amount = amount.checked_mul(sign).ok_or_else(overflow)?;
    let shifted = add_units(start, unit, amount, &zone).ok_or_else(overflow)?;
    Ok(Some(Value::Date(shifted)))
}

/// `None` on overflow. Months end on their last day at the latest.
pub(crate) fn add_units(start: i64, unit: Unit, amount: i64, zone: &Zone) -> Option<i64> {
    match unit.step() {
        Step::Time(ms) => start.checked_add(ms.checked_mul(amount)?),
        Step::Days(days) => {
            let local = start.checked_add(zone.offset_ms(start))?;
            zone.instant_at(local.checked_add(days.checked_mul(amount)?.checked_mul(MS_PER_DAY)?)?)
        }
        Step::Months(months) => {
            let civil = zone.to_civil(start);
            let total = (civil.year * 12 + civil.month - 1).checked_add(months.checked_mul(amount)?)?;
            let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
            if year.abs() > 300_000_000 {
                return None;
            }
            zone.instant_of(Civil { year, month, day: civil.day.min(days_in_month(year, month)), ..civil })
        }
    }
}

/// Days since the epoch of a local date.
fn day_number(c: Civil) -> i64 {
    days_from_civil(c.year, c.month, c.day)
}

/// The week a day lies in, counted from some week that begins on `first` (0 is Sunday).
fn week_number(days: i64, first: i64) -> i64 {
    // 1970-01-01, day 0, was a Thursday (4).
    (days + 4 - first).div_euclid(7)
}

pub(super) fn difference(args: Args) -> Result<Option<Value>> {
    if args.nullish(0) || args.nullish(1) || args.nullish(2) || (args.given(3) && args.nullish(3)) {
        return Ok(Some(Value::Null));
    }
    let start = date(&args, 0, 5166307, "startDate")?;
    let end = date(&args, 1, 5166307, "endDate")?;
    let unit = unit(&args, 2, 5439013, 9)?;
    if unit == Unit::Week && args.given(4) && args.nullish(4) {
        return Ok(Some(Value::Null));
    }
    let first = if unit == Unit::Week { start_of_week(&args, 4, 5439015, 9)? } else { 0 };
    let Some(zone) = zone_arg(&args, 3)? else { return Ok(Some(Value::Null)) };
    let (a, b) = (zone.to_civil(start), zone.to_civil(end));
    let months = |c: Civil| c.year * 12 + c.month - 1;
    let n = match unit {
        Unit::Year => b.year - a.year,
        Unit::Quarter => months(b).div_euclid(3) - months(a).div_euclid(3),
        Unit::Month => months(b) - months(a),
        Unit::Week => week_number(day_number(b), first) - week_number(day_number(a), first),
        Unit::Day => day_number(b) - day_number(a),
        _ => {
            let ms = unit.fixed_ms().expect("a unit of time");
            // Hours begin where the zone's clocks show a full one.
            let whole = |instant: i64| instant.saturating_add(zone.offset_ms(instant)).div_euclid(ms);
            if unit == Unit::Millisecond {
                end.checked_sub(start).ok_or_else(|| Error::new(5166308, "dateDiff overflowed"))?
            } else {
                whole(end) - whole(start) - (zone.offset_ms(end) - zone.offset_ms(start)).div_euclid(ms)
            }
        }
    };
    Ok(Some(Value::Int64(n)))
}

pub(super) fn truncate(args: Args) -> Result<Option<Value>> {
    if args.nullish(0) || args.nullish(1) || (2..4).any(|i| args.given(i) && args.nullish(i)) {
        return Ok(Some(Value::Null));
    }
    let ms = date(&args, 0, 5439012, "date")?;
    let unit = unit(&args, 1, 5439013, 5439014)?;
    let bin = if args.given(2) { bin_size(&args)? } else { 1 };
    if unit == Unit::Week && args.given(4) && args.nullish(4) {
        return Ok(Some(Value::Null));
    }
    let first = if unit == Unit::Week { start_of_week(&args, 4, 5439015, 5439016)? } else { 0 };
    let Some(zone) = zone_arg(&args, 3)? else { return Ok(Some(Value::Null)) };
    let truncated = truncate_to(ms, unit, bin, first, &zone);
    truncated.map(|ms| Some(Value::Date(ms))).ok_or_else(|| Error::new(15, "$dateTrunc: the date is out of range"))
}

fn bin_size(args: &Args) -> Result<i64> {
    let Some(n) = args.get(2).and_then(Number::from_value).and_then(Number::as_whole) else {
        return Err(Error::new(
            5439017,
            format!(
                "$dateTrunc requires 'binSize' to be a 64-bit integer, but got value '{}' of type {}",
                value_text(args.get(2)),
                args.type_of(2)
            ),
        ));
    };
    if n <= 0 {
        return Err(Error::new(
            5439018,
            format!("$dateTrunc requires 'binSize' to be greater than 0, but got value {n}"),
        ));
    }
    Ok(n)
}

/// Bins are counted from 2000-01-01T00:00:00 in the zone; weeks from the first that begins then or later.
fn truncate_to(ms: i64, unit: Unit, bin: i64, first: i64, zone: &Zone) -> Option<i64> {
    let floor = |n: i64| n.div_euclid(bin).checked_mul(bin);
    let reference = days_from_civil(2000, 1, 1);
    match unit.step() {
        Step::Months(months) => {
            let c = zone.to_civil(ms);
            let since = (c.year - 2000) * 12 + c.month - 1;
            let start = floor(since.div_euclid(months))?.checked_mul(months)?;
            let (year, month) = (2000 + start.div_euclid(12), start.rem_euclid(12) + 1);
            zone.instant_of(Civil { year, month, day: 1, hour: 0, minute: 0, second: 0, ms: 0 })
        }
        Step::Days(days) => {
            let day = day_number(zone.to_civil(ms));
            // 2000-01-01 was a Saturday (6).
            let reference = if unit == Unit::Week { reference + (first - 6).rem_euclid(7) } else { reference };
            let start = floor((day - reference).div_euclid(days))?.checked_mul(days)?.checked_add(reference)?;
            zone.instant_at(start.checked_mul(MS_PER_DAY)?)
        }
        Step::Time(step) => {
            let reference = zone.instant_at(reference * MS_PER_DAY)?;
            let since = ms.checked_sub(reference)?;
            let size = step.checked_mul(bin)?;
            since.div_euclid(size).checked_mul(size)?.checked_add(reference)
        }
    }
}
