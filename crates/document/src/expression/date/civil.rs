//! Calendar arithmetic over the whole range of BSON dates (±292 million years), and time zones.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::error::{Error, Result};

pub(crate) const MS_PER_SECOND: i64 = 1000;
pub(crate) const MS_PER_MINUTE: i64 = 60_000;
pub(crate) const MS_PER_HOUR: i64 = 3_600_000;
pub(crate) const MS_PER_DAY: i64 = 86_400_000;

/// A date and time of day without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Civil {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub ms: i64,
}

/// Days since 1970-01-01 of a proleptic Gregorian date.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month, day of a day number.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Civil {
    /// From milliseconds since the epoch, both without a zone.
    pub fn from_local_ms(local: i64) -> Civil {
        let days = local.div_euclid(MS_PER_DAY);
        let rest = local.rem_euclid(MS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: rest / MS_PER_HOUR,
            minute: rest / MS_PER_MINUTE % 60,
            second: rest / MS_PER_SECOND % 60,
            ms: rest % MS_PER_SECOND,
        }
    }

    /// Back to milliseconds; parts beyond their range carry over. `None` on overflow.
    pub fn to_local_ms(self) -> Option<i64> {
        let months = i128::from(self.year) * 12 + i128::from(self.month) - 1;
        let year = i64::try_from(months.div_euclid(12)).ok().filter(|y| y.abs() < 1_000_000_000)?;
        let month = months.rem_euclid(12) as i64 + 1;
        let days = i128::from(days_from_civil(year, month, 1)) + i128::from(self.day) - 1;
        let ms = days * i128::from(MS_PER_DAY)
            + i128::from(self.hour) * i128::from(MS_PER_HOUR)
            + i128::from(self.minute) * i128::from(MS_PER_MINUTE)
            + i128::from(self.second) * i128::from(MS_PER_SECOND)
            + i128::from(self.ms);
        i64::try_from(ms).ok()
    }

    /// 1 to 366.
    pub fn day_of_year(self) -> i64 {
        days_from_civil(self.year, self.month, self.day) - days_from_civil(self.year, 1, 1) + 1
    }

    /// 0 is Sunday.
    pub fn weekday(self) -> i64 {
        (days_from_civil(self.year, self.month, self.day) + 4).rem_euclid(7)
    }

    /// 1 is Monday, 7 is Sunday.
    pub fn iso_weekday(self) -> i64 {
        (self.weekday() + 6) % 7 + 1
    }

    /// Week of the year, weeks beginning on Sunday; the days before the first are week 0.
    pub fn week(self) -> i64 {
        (self.day_of_year() + 6 - self.weekday()) / 7
    }

    /// ISO 8601 week-numbering year and week.
    pub fn iso_week(self) -> (i64, i64) {
        // The Thursday of this week decides which year it belongs to.
        let thursday = days_from_civil(self.year, self.month, self.day) + 4 - self.iso_weekday();
        let (year, _, _) = civil_from_days(thursday);
        (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
    }
}

/// A time zone argument: UTC, a fixed offset, or a named zone.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    Utc,
    Fixed { offset_ms: i64 },
    Named(TimeZone),
}

impl Zone {
    /// `America/New_York`, `+05:30`, `-0330`, `+03`, `GMT`, `UTC`, `Z`.
    pub fn parse(text: &str) -> Result<Zone> {
        if matches!(text, "UTC" | "GMT" | "Z") {
            return Ok(Zone::Utc);
        }
        if let Some(offset_ms) = parse_offset(text) {
            return Ok(Zone::Fixed { offset_ms });
        }
        let unknown = || Error::new(40485, format!("unrecognized time zone identifier: \"{text}\""));
        if text.is_empty() || text.len() > 64 {
            return Err(unknown());
        }
        TimeZone::get(text).map(Zone::Named).map_err(|_| unknown())
    }

    /// Offset from UTC at an instant.
    pub fn offset_ms(&self, ms: i64) -> i64 {
        match self {
            Zone::Utc => 0,
            Zone::Fixed { offset_ms } => *offset_ms,
            Zone::Named(zone) => {
                // The database speaks for the years -9999 to 9999; beyond, its last rule goes on.
                let clamped = ms.clamp(
                    Timestamp::MIN.as_millisecond() + MS_PER_DAY * 2,
                    Timestamp::MAX.as_millisecond() - MS_PER_DAY * 2,
                );
                let offset = Timestamp::from_millisecond(clamped).map_or(Offset::UTC, |t| zone.to_offset(t));
                i64::from(offset.seconds()) * 1000
            }
        }
    }

    pub fn to_civil(&self, ms: i64) -> Civil {
        Civil::from_local_ms(ms.saturating_add(self.offset_ms(ms)))
    }

    /// The instant at which clocks in this zone show `local`. In a gap the time after it, where it
    /// happens twice the first.
    pub fn instant_at(&self, local: i64) -> Option<i64> {
        let Zone::Named(_) = self else { return local.checked_sub(self.offset_ms(local)) };
        let day = MS_PER_DAY;
        let before = self.offset_ms(local.checked_sub(day)?);
        let after = self.offset_ms(local.checked_add(day)?);
        let early = local.checked_sub(before)?;
        if before == after || self.offset_ms(early) == before {
            return Some(early);
        }
        let late = local.checked_sub(after)?;
        if self.offset_ms(late) == after {
            return Some(late);
        }
        // Nothing shows `local`: it lies in the gap, and the old offset leads past it.
        Some(early)
    }

    pub fn instant_of(&self, civil: Civil) -> Option<i64> {
        self.instant_at(civil.to_local_ms()?)
    }
}

/// `+hh`, `+hhmm`, `+hh:mm`.
fn parse_offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = &text[1..];
    let (hours, minutes) = match digits.len() {
        2 => (digits, "0"),
        4 => (digits.get(..2)?, digits.get(2..)?),
        5 if digits.as_bytes()[2] == b':' => (digits.get(..2)?, digits.get(3..)?),
        _ => return None,
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    Some(sign * (number(hours)? * MS_PER_HOUR + number(minutes)? * MS_PER_MINUTE))
}
