//! Calendar arithmetic on dates, timestamps and intervals.
//!
//! ```text
//!   Date       days since 1970-01-01                  i32::MIN / i32::MAX: -infinity / infinity
//!   Timestamp  microseconds since 1970-01-01 00:00    i64::MIN / i64::MAX: -infinity / infinity
//!   Interval   months, days, microseconds             three numbers that never mix by themselves
//! ```
//!
//! The proleptic Gregorian calendar, year 0 being 1 BC.
//!
//! Read next: `datetime/zone.rs`, `datetime/parse.rs`, `datetime/fields.rs`, `datetime/format.rs`.

pub mod fields;
pub mod format;
pub mod interval;
pub mod parse;
pub mod read;
#[cfg(test)]
mod tests;
pub mod zone;

use crate::datum::Interval;
use crate::error::{Result, SqlError};

pub const DAY_US: i64 = 86_400_000_000;
pub const HOUR_US: i64 = 3_600_000_000;
pub const MINUTE_US: i64 = 60_000_000;
pub const SECOND_US: i64 = 1_000_000;
/// Timestamps that mean infinitely late and early.
pub const INFINITY: i64 = i64::MAX;
pub const NEGATIVE_INFINITY: i64 = i64::MIN;
/// Dates that mean infinitely late and early.
pub const DATE_INFINITY: i32 = i32::MAX;
pub const DATE_NEGATIVE_INFINITY: i32 = i32::MIN;
/// 4714-11-24 BC, the first day of the Julian day count.
pub const MIN_DAY: i64 = -2_440_588;
/// Day after the last date that PostgreSQL stores (5874897-12-31).
pub const END_DAY: i64 = 2_145_031_949;
/// Julian day number of 1970-01-01.
pub const JULIAN_EPOCH: i64 = 2_440_588;

/// A point of the calendar, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micro: i64,
}

/// Gregorian date of a day number, counted in 400-year eras that begin in March.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day number of a Gregorian date.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub fn is_infinite(us: i64) -> bool {
    us == INFINITY || us == NEGATIVE_INFINITY
}

pub fn is_infinite_date(days: i32) -> bool {
    days == DATE_INFINITY || days == DATE_NEGATIVE_INFINITY
}

fn timestamp_range() -> SqlError {
    SqlError::new("22008", "timestamp out of range")
}

/// Refuses a day outside PostgreSQL's dates.
pub fn check_date(days: i64) -> Result<i32> {
    if (MIN_DAY..END_DAY).contains(&days) {
        Ok(i32::try_from(days).expect("the range is within i32"))
    } else {
        Err(SqlError::new("22008", "date out of range"))
    }
}

/// Refuses an instant outside PostgreSQL's timestamps.
pub fn check_timestamp(us: i128) -> Result<i64> {
    match i64::try_from(us) {
        Ok(us) if us >= MIN_DAY * DAY_US && us != INFINITY => Ok(us),
        _ => Err(timestamp_range()),
    }
}

/// Midnight of a date. Infinities stay infinite.
pub fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        DATE_INFINITY => Ok(INFINITY),
        DATE_NEGATIVE_INFINITY => Ok(NEGATIVE_INFINITY),
        days => check_timestamp(i128::from(days) * i128::from(DAY_US))
            .map_err(|_| SqlError::new("22008", "date out of range for timestamp")),
    }
}

/// The date of a timestamp.
pub fn timestamp_to_date(us: i64) -> i32 {
    match us {
        INFINITY => DATE_INFINITY,
        NEGATIVE_INFINITY => DATE_NEGATIVE_INFINITY,
        us => i32::try_from(us.div_euclid(DAY_US)).expect("timestamps span fewer days than i32"),
    }
}

impl Civil {
    pub fn from_us(us: i64) -> Civil {
        let (days, in_day) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: in_day / HOUR_US,
            minute: in_day / MINUTE_US % 60,
            second: in_day / SECOND_US % 60,
            micro: in_day % SECOND_US,
        }
    }

    pub fn days(&self) -> i64 {
        days_from_civil(self.year, self.month, self.day)
    }

    /// Microseconds since midnight.
    pub fn time_us(&self) -> i64 {
        self.hour * HOUR_US + self.minute * MINUTE_US + self.second * SECOND_US + self.micro
    }

    pub fn to_us(&self) -> Result<i64> {
        check_timestamp(i128::from(self.days()) * i128::from(DAY_US) + i128::from(self.time_us()))
    }
}

/// `us` plus an interval: months first (the day is cut to the month's last), then days, then time.
pub fn add_interval(us: i64, interval: &Interval) -> Result<i64> {
    if is_infinite(us) {
        return Ok(us);
    }
    let dated = add_months_days(us, interval)?;
    check_timestamp(i128::from(dated) + i128::from(interval.microseconds))
}

/// The same for an instant seen in a zone: months and days are the zone's, time is elapsed time.
pub fn add_interval_in_zone(us: i64, interval: &Interval, time_zone: &str) -> Result<i64> {
    if is_infinite(us) {
        return Ok(us);
    }
    let mut us = us;
    if interval.months != 0 || interval.days != 0 {
        let local = zone::to_local(us, time_zone)?;
        us = zone::to_instant(add_months_days(local, interval)?, time_zone)?;
    }
    check_timestamp(i128::from(us) + i128::from(interval.microseconds))
}

fn add_months_days(us: i64, interval: &Interval) -> Result<i64> {
    let mut days = us.div_euclid(DAY_US);
    if interval.months != 0 {
        let (year, month, day) = civil_from_days(days);
        let months = year * 12 + month - 1 + i64::from(interval.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        days = days_from_civil(year, month, day.min(days_in_month(year, month)));
    }
    days += i64::from(interval.days);
    check_timestamp(i128::from(days) * i128::from(DAY_US) + i128::from(us.rem_euclid(DAY_US)))
}

/// `age(a, b)`: the difference in years, months, days and time, as people count it.
pub fn age(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(timestamp_range());
    }
    let (x, y) = (Civil::from_us(a), Civil::from_us(b));
    let sign = if a < b { -1 } else { 1 };
    let mut months = sign * ((x.year - y.year) * 12 + x.month - y.month);
    let mut days = sign * (x.day - y.day);
    let mut time = sign * (x.time_us() - y.time_us());
    if time < 0 {
        time += DAY_US;
        days -= 1;
    }
    // Days are borrowed from the month of the earlier date.
    let earlier = if a < b { x } else { y };
    while days < 0 {
        days += days_in_month(earlier.year, earlier.month);
        months -= 1;
    }
    let narrow = |n: i64| i32::try_from(n).map_err(|_| SqlError::new("22008", "interval out of range"));
    Ok(Interval { months: narrow(sign * months)?, days: narrow(sign * days)?, microseconds: sign * time })
}

/// `a - b` in days and time.
pub fn difference(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(SqlError::new("22008", "cannot subtract infinite timestamps"));
    }
    let microseconds = a.checked_sub(b).ok_or_else(timestamp_range)?;
    Ok(interval::justify_hours(&Interval { months: 0, days: 0, microseconds }))
}

/// `date_bin(stride, source, origin)`.
pub fn date_bin(stride: &Interval, source: i64, origin: i64) -> Result<i64> {
    if is_infinite(source) {
        return Ok(source);
    }
    if is_infinite(origin) {
        return Err(SqlError::new("22008", "origin out of range"));
    }
    if stride.months != 0 {
        return Err(SqlError::new("0A000", "timestamps cannot be binned into intervals containing months or years"));
    }
    let stride = i128::from(stride.days) * i128::from(DAY_US) + i128::from(stride.microseconds);
    if stride <= 0 {
        return Err(SqlError::new("22008", "stride must be greater than zero"));
    }
    let distance = i128::from(source) - i128::from(origin);
    check_timestamp(i128::from(origin) + distance.div_euclid(stride) * stride)
}
