//! `extract` and `date_trunc`.

use super::{
    Civil, DAY_US, HOUR_US, JULIAN_EPOCH, MINUTE_US, NEGATIVE_INFINITY, SECOND_US, civil_from_days, days_from_civil,
    is_infinite,
};
use crate::datum::Interval;
use crate::error::{Result, SqlError};
use crate::numeric::Numeric;

/// A field of a date or interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Julian,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Field {
    pub fn parse(name: &str) -> Option<Field> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "microseconds" | "microsecond" | "us" | "usec" | "usecs" => Field::Microseconds,
            "milliseconds" | "millisecond" | "ms" | "msec" | "msecs" => Field::Milliseconds,
            "second" | "seconds" | "s" | "sec" | "secs" => Field::Second,
            "minute" | "minutes" | "m" | "min" | "mins" => Field::Minute,
            "hour" | "hours" | "h" | "hr" | "hrs" => Field::Hour,
            "day" | "days" | "d" => Field::Day,
            "week" | "weeks" | "w" => Field::Week,
            "month" | "months" | "mon" | "mons" => Field::Month,
            "quarter" | "qtr" => Field::Quarter,
            "year" | "years" | "y" | "yr" | "yrs" => Field::Year,
            "decade" | "decades" | "dec" | "decs" => Field::Decade,
            "century" | "centuries" | "c" | "cent" => Field::Century,
            "millennium" | "millennia" | "mil" | "mils" => Field::Millennium,
            "dow" => Field::DayOfWeek,
            "isodow" => Field::IsoDayOfWeek,
            "doy" => Field::DayOfYear,
            "isoyear" => Field::IsoYear,
            "julian" | "jd" => Field::Julian,
            "epoch" => Field::Epoch,
            "timezone" => Field::Timezone,
            "timezone_hour" => Field::TimezoneHour,
            "timezone_minute" | "timezone_m" => Field::TimezoneMinute,
            _ => return None,
        })
    }
}

fn unrecognized(name: &str, ty: &str) -> SqlError {
    SqlError::new("22023", format!("unit \"{}\" not recognized for type {ty}", name.to_ascii_lowercase()))
}

fn unsupported(name: &str, ty: &str) -> SqlError {
    SqlError::new("0A000", format!("unit \"{}\" not supported for type {ty}", name.to_ascii_lowercase()))
}

fn whole(n: i64) -> Numeric {
    Numeric::from_i64(n)
}

fn scaled(us: i128, scale: u16) -> Numeric {
    Numeric::from_i128(us, scale)
}

/// ISO 8601 week: its year and number.
pub fn iso_week(days: i64) -> (i64, i64) {
    // The Thursday of a week decides its year.
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let (year, _, _) = civil_from_days(thursday);
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// 0 is Sunday.
pub fn day_of_week(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// Years are counted without a year zero from here up.
fn period(year: i64, length: i64) -> i64 {
    if year > 0 { (year + length - 1) / length } else { -((length - 1 - (year - 1)) / length) }
}

/// An instant as its zone's wall clock shows it.
pub struct Instant {
    /// As in UTC, for the epoch.
    pub us: i64,
    pub local_us: i64,
    /// Seconds east, for timestamptz.
    pub offset: Option<i64>,
}

/// `extract(name from timestamp)`. `None` is NULL.
pub fn of_timestamp(name: &str, at: &Instant, ty: &str) -> Result<Option<Numeric>> {
    let field = Field::parse(name).ok_or_else(|| unrecognized(name, ty))?;
    if is_infinite(at.us) {
        return Ok(match field {
            Field::Year
            | Field::Decade
            | Field::Century
            | Field::Millennium
            | Field::IsoYear
            | Field::Julian
            | Field::Epoch => {
                Some(if at.us == NEGATIVE_INFINITY { Numeric::NegativeInfinity } else { Numeric::Infinity })
            }
            _ => None,
        });
    }
    let civil = Civil::from_us(at.local_us);
    let days = civil.days();
    Ok(Some(match field {
        Field::Epoch => scaled(i128::from(at.us), 6),
        Field::Julian => {
            let fraction = Numeric::from_i64(civil.time_us()).divide(&Numeric::from_i64(DAY_US))?;
            whole(days + JULIAN_EPOCH).add(&fraction)?
        }
        Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute => {
            let offset = at.offset.ok_or_else(|| unsupported(name, ty))?;
            whole(match field {
                Field::Timezone => offset,
                Field::TimezoneHour => offset / 3600,
                _ => offset / 60 % 60,
            })
        }
        Field::Hour | Field::Minute | Field::Second | Field::Milliseconds | Field::Microseconds => {
            of_time_of_day(field, civil.time_us())
        }
        other => of_date(other, days),
    }))
}

fn of_time_of_day(field: Field, us: i64) -> Numeric {
    match field {
        Field::Hour => whole(us / HOUR_US),
        Field::Minute => whole(us / MINUTE_US % 60),
        Field::Second => scaled(i128::from(us % MINUTE_US), 6),
        Field::Milliseconds => scaled(i128::from(us % MINUTE_US), 3),
        _ => whole(us % MINUTE_US),
    }
}

fn of_date(field: Field, days: i64) -> Numeric {
    let (year, month, day) = civil_from_days(days);
    // 1 BC is the year 0 here and -1 there.
    let shown = |year: i64| if year > 0 { year } else { year - 1 };
    whole(match field {
        Field::Day => day,
        Field::Week => iso_week(days).1,
        Field::Month => month,
        Field::Quarter => (month - 1) / 3 + 1,
        Field::Year => shown(year),
        Field::Decade => year.div_euclid(10),
        Field::Century => period(year, 100),
        Field::Millennium => period(year, 1000),
        Field::DayOfWeek => day_of_week(days),
        Field::IsoDayOfWeek => (days + 3).rem_euclid(7) + 1,
        Field::DayOfYear => days - days_from_civil(year, 1, 1) + 1,
        Field::IsoYear => shown(iso_week(days).0),
        _ => 0,
    })
}

/// `extract(name from date)`: no field smaller than a day.
pub fn of_day(name: &str, days: i32) -> Result<Option<Numeric>> {
    let field = Field::parse(name).ok_or_else(|| unrecognized(name, "date"))?;
    match field {
        Field::Epoch if !super::is_infinite_date(days) => Ok(Some(whole(i64::from(days) * 86_400))),
        Field::Julian if !super::is_infinite_date(days) => Ok(Some(whole(i64::from(days) + JULIAN_EPOCH))),
        Field::Hour
        | Field::Minute
        | Field::Second
        | Field::Milliseconds
        | Field::Microseconds
        | Field::Timezone
        | Field::TimezoneHour
        | Field::TimezoneMinute => Err(unsupported(name, "date")),
        _ if super::is_infinite_date(days) => {
            let us = super::date_to_timestamp(days)?;
            of_timestamp(name, &Instant { us, local_us: us, offset: None }, "date")
        }
        other => Ok(Some(of_date(other, i64::from(days)))),
    }
}

/// `extract(name from time)`.
pub fn of_time(name: &str, us: i64) -> Result<Numeric> {
    const TYPE: &str = "time without time zone";
    let field = Field::parse(name).ok_or_else(|| unrecognized(name, TYPE))?;
    match field {
        Field::Epoch => Ok(scaled(i128::from(us), 6)),
        Field::Hour | Field::Minute | Field::Second | Field::Milliseconds | Field::Microseconds => {
            Ok(of_time_of_day(field, us))
        }
        _ => Err(unsupported(name, TYPE)),
    }
}

/// `extract(name from interval)`.
pub fn of_interval(name: &str, value: &Interval) -> Result<Numeric> {
    let field = Field::parse(name).ok_or_else(|| unrecognized(name, "interval"))?;
    let (years, months) = (i64::from(value.months) / 12, i64::from(value.months) % 12);
    let us = value.microseconds;
    Ok(match field {
        Field::Epoch => {
            // A year has 365.25 days.
            let quarter_days = 1461 * years + 120 * months + 4 * i64::from(value.days);
            scaled(i128::from(quarter_days) * 21_600_000_000 + i128::from(us), 6)
        }
        Field::Year => whole(years),
        Field::Month => whole(months),
        Field::Quarter => whole(months / 3 + 1),
        Field::Decade => whole(years / 10),
        Field::Century => whole(years / 100),
        Field::Millennium => whole(years / 1000),
        Field::Day => whole(i64::from(value.days)),
        Field::Hour | Field::Minute | Field::Second | Field::Milliseconds | Field::Microseconds => {
            of_time_of_day(field, us)
        }
        _ => return Err(unsupported(name, "interval")),
    })
}

/// `date_trunc` on a wall clock.
pub fn truncate(name: &str, local_us: i64, ty: &str) -> Result<i64> {
    let field = Field::parse(name).ok_or_else(|| unrecognized(name, ty))?;
    if is_infinite(local_us) {
        return Ok(local_us);
    }
    let days = local_us.div_euclid(DAY_US);
    let (year, month, _) = civil_from_days(days);
    let days = match field {
        Field::Microseconds => return Ok(local_us),
        Field::Milliseconds => return Ok(local_us - local_us.rem_euclid(1000)),
        Field::Second => return Ok(local_us - local_us.rem_euclid(SECOND_US)),
        Field::Minute => return Ok(local_us - local_us.rem_euclid(MINUTE_US)),
        Field::Hour => return Ok(local_us - local_us.rem_euclid(HOUR_US)),
        Field::Day => days,
        Field::Week => days - (days + 3).rem_euclid(7),
        Field::Month => days_from_civil(year, month, 1),
        Field::Quarter => days_from_civil(year, (month - 1) / 3 * 3 + 1, 1),
        Field::Year => days_from_civil(year, 1, 1),
        Field::Decade => days_from_civil(year.div_euclid(10) * 10, 1, 1),
        Field::Century => days_from_civil((year - 1).div_euclid(100) * 100 + 1, 1, 1),
        Field::Millennium => days_from_civil((year - 1).div_euclid(1000) * 1000 + 1, 1, 1),
        _ => return Err(unsupported(name, ty)),
    };
    super::check_timestamp(i128::from(days) * i128::from(DAY_US))
}

/// Is the unit one whose start depends on the zone's rules (a day or more)?
pub fn is_calendar(name: &str) -> bool {
    !matches!(
        Field::parse(name),
        Some(Field::Microseconds | Field::Milliseconds | Field::Second | Field::Minute | Field::Hour) | None
    )
}

/// `date_trunc` on an interval.
pub fn truncate_interval(name: &str, value: &Interval) -> Result<Interval> {
    let field = Field::parse(name).ok_or_else(|| unrecognized(name, "interval"))?;
    let months = |unit: i32| Interval { months: value.months / unit * unit, days: 0, microseconds: 0 };
    let time = |unit: i64| Interval { microseconds: value.microseconds / unit * unit, ..*value };
    Ok(match field {
        Field::Millennium => months(12_000),
        Field::Century => months(1200),
        Field::Decade => months(120),
        Field::Year => months(12),
        Field::Quarter => months(3),
        Field::Month => months(1),
        Field::Day => Interval { microseconds: 0, ..*value },
        Field::Hour => time(HOUR_US),
        Field::Minute => time(MINUTE_US),
        Field::Second => time(SECOND_US),
        Field::Milliseconds => time(1000),
        Field::Microseconds => *value,
        Field::Week => {
            return Err(unsupported(name, "interval").with_detail("Months usually have fractional weeks."));
        }
        _ => return Err(unsupported(name, "interval")),
    })
}
