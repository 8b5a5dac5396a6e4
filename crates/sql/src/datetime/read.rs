//! `to_timestamp(text, template)` and `to_date`: reading by PostgreSQL's template patterns.

use super::format::{Pattern, Piece, pieces};
use super::parse::{MONTHS, WEEKDAYS, checked_days};
use super::{DAY_US, HOUR_US, JULIAN_EPOCH, MINUTE_US, SECOND_US, days_from_civil};
use crate::error::{Result, SqlError};

/// What was read.
#[derive(Debug, Default)]
struct Found {
    year: Option<i64>,
    iso_year: Option<i64>,
    before_christ: bool,
    century: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    week: Option<i64>,
    julian: Option<i64>,
    hour: i64,
    twelve: bool,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    micro: i64,
    seconds_of_day: Option<i64>,
    offset: Option<i64>,
    offset_minutes: i64,
}

/// Day number, microseconds of the day, and seconds east if the text says.
pub struct Read {
    pub days: i64,
    pub time_us: i64,
    pub offset: Option<i64>,
}

fn invalid(what: &str, text: &str) -> SqlError {
    SqlError::new("22007", format!("invalid value \"{text}\" for \"{what}\""))
}

/// Reads a text by a template. Errors with 22007 and 22008.
pub fn read(text: &str, template: &str) -> Result<Read> {
    let mut found = Found::default();
    let mut rest = text;
    let pieces = pieces(template);
    for (i, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(literal) => rest = skip_literal(rest, literal),
            Piece::Field { pattern, ordinal, .. } => {
                rest = rest.trim_start();
                // A number that touches the next pattern has exactly its digits.
                let tight = matches!(pieces.get(i + 1), Some(Piece::Field { .. }));
                rest = read_field(*pattern, rest, tight, &mut found)?;
                if ordinal.is_some() {
                    rest = rest.get(2..).unwrap_or("");
                }
            }
        }
    }
    finish(&found, text)
}

/// Separators match any separators; other characters are skipped one by one.
fn skip_literal<'a>(text: &'a str, literal: &str) -> &'a str {
    let mut rest = text;
    for c in literal.chars() {
        if c.is_whitespace() {
            rest = rest.trim_start();
        } else if c.is_ascii_punctuation() {
            rest = rest.trim_start();
            if rest.starts_with(|r: char| r.is_ascii_punctuation() && r != '-' && r != '+' || r == c) {
                rest = &rest[1..];
            }
        } else {
            let mut chars = rest.chars();
            chars.next();
            rest = chars.as_str();
        }
    }
    rest
}

fn digits<'a>(text: &'a str, most: usize, tight: bool, what: &str) -> Result<(i64, &'a str)> {
    let (sign, body) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let limit = if tight { most } else { most.max(10) };
    let end = body.bytes().take(limit).take_while(u8::is_ascii_digit).count();
    if end == 0 {
        let shown: String = text.chars().take(most.max(2)).collect();
        return Err(invalid(what, &shown).with_detail("Value must be an integer."));
    }
    let n: i64 = body[..end].parse().map_err(|_| invalid(what, &body[..end]))?;
    Ok((sign * n, &body[end..]))
}

fn name<'a>(text: &'a str, names: &[&str], whole: bool, what: &str) -> Result<(i64, &'a str)> {
    for (i, name) in names.iter().enumerate() {
        let wanted = if whole { name } else { &name[..3] };
        if text.get(..wanted.len()).is_some_and(|head| head.eq_ignore_ascii_case(wanted)) {
            return Ok((i as i64, &text[wanted.len()..]));
        }
    }
    let shown: String = text.chars().take(9).collect();
    Err(invalid(what, &shown).with_detail("The given value did not match any of the allowed values for this field."))
}

fn read_field<'a>(pattern: Pattern, text: &'a str, tight: bool, found: &mut Found) -> Result<&'a str> {
    let number = |most: usize, what: &str| digits(text, most, tight, what);
    let rest;
    match pattern {
        Pattern::Year(width) => {
            let (n, after) = number(usize::from(width), "YYYY")?;
            let length = text.len() - after.len();
            // Two digits are of the century around 2020; fewer than four of this millennium.
            found.year = Some(match (width, length) {
                (4, _) | (_, 4..) => n,
                (_, 3) => n + 2000 - if n >= 520 { 1000 } else { 0 },
                _ => n + if n < 70 { 2000 } else { 1900 },
            });
            rest = after;
        }
        Pattern::YearComma => {
            let (thousands, after) = number(3, "Y,YYY")?;
            let after = after.strip_prefix(',').ok_or_else(|| invalid("Y,YYY", text))?;
            let (units, after) = digits(after, 3, tight, "Y,YYY")?;
            found.year = Some(thousands * 1000 + units);
            rest = after;
        }
        Pattern::IsoYear(width) => (found.iso_year, rest) = some(number(usize::from(width), "IYYY")?),
        Pattern::Era(_) => {
            let end = text.find(|c: char| !(c.is_alphabetic() || c == '.')).unwrap_or(text.len());
            found.before_christ = text[..end].to_ascii_lowercase().starts_with('b');
            rest = &text[end..];
        }
        Pattern::MonthName(_, whole) => {
            let (i, after) = name(text, &MONTHS, whole, if whole { "MONTH" } else { "MON" })?;
            found.month = Some(i + 1);
            rest = after;
        }
        Pattern::DayName(_, whole) => (_, rest) = name(text, &WEEKDAYS, whole, if whole { "DAY" } else { "DY" })?,
        Pattern::Month => (found.month, rest) = some(number(2, "MM")?),
        Pattern::Day => (found.day, rest) = some(number(2, "DD")?),
        Pattern::DayOfYear => (found.day_of_year, rest) = some(number(3, "DDD")?),
        Pattern::IsoWeek => (found.iso_week, rest) = some(number(2, "IW")?),
        Pattern::IsoDayOfWeek => (found.iso_day, rest) = some(number(1, "ID")?),
        Pattern::WeekOfYear => (found.week, rest) = some(number(2, "WW")?),
        Pattern::IsoDayOfYear | Pattern::DayOfWeek | Pattern::WeekOfMonth | Pattern::Quarter => {
            (_, rest) = number(3, "DDD")?;
        }
        Pattern::Century => (found.century, rest) = some(number(2, "CC")?),
        Pattern::Julian => (found.julian, rest) = some(number(7, "J")?),
        Pattern::Roman(_) => {
            const NAMES: [&str; 12] = ["VIII", "XII", "VII", "III", "XI", "IX", "VI", "IV", "II", "X", "V", "I"];
            const MONTH: [i64; 12] = [8, 12, 7, 3, 11, 9, 6, 4, 2, 10, 5, 1];
            let upper = text.to_ascii_uppercase();
            let at = NAMES.iter().position(|n| upper.starts_with(n)).ok_or_else(|| invalid("RM", text))?;
            found.month = Some(MONTH[at]);
            rest = &text[NAMES[at].len()..];
        }
        Pattern::Hour12 | Pattern::Hour24 => {
            found.twelve = pattern == Pattern::Hour12;
            (found.hour, rest) = number(2, "HH24")?;
        }
        Pattern::Minute => (found.minute, rest) = number(2, "MI")?,
        Pattern::Second => (found.second, rest) = number(2, "SS")?,
        Pattern::Fraction(places) => {
            let end = text.bytes().take(if places == 3 { 3 } else { 6 }).take_while(u8::is_ascii_digit).count();
            if end == 0 {
                return Err(invalid("US", text));
            }
            let padded = format!("{:0<6}", &text[..end]);
            found.micro = padded.parse().map_err(|_| invalid("US", text))?;
            rest = &text[end..];
        }
        Pattern::SecondsOfDay => (found.seconds_of_day, rest) = some(number(5, "SSSS")?),
        Pattern::Meridiem(_) => {
            let end = text.find(|c: char| !(c.is_alphabetic() || c == '.')).unwrap_or(text.len());
            found.afternoon = Some(text[..end].to_ascii_lowercase().starts_with('p'));
            found.twelve = true;
            rest = &text[end..];
        }
        Pattern::ZoneHours => {
            let (hours, after) = number(2, "TZH")?;
            found.offset = Some(hours * 3600);
            rest = after;
        }
        Pattern::ZoneMinutes => (found.offset_minutes, rest) = number(2, "TZM")?,
        Pattern::Zone(_) | Pattern::Offset => {
            return Err(SqlError::new("0A000", "formatting field \"TZ\" is only supported in to_char"));
        }
    }
    Ok(rest)
}

fn some((n, rest): (i64, &str)) -> (Option<i64>, &str) {
    (Some(n), rest)
}

fn finish(found: &Found, text: &str) -> Result<Read> {
    let out_of_range = || SqlError::new("22008", format!("date/time field value out of range: \"{text}\""));
    let mut year = found.year.unwrap_or_else(|| found.century.map_or(0, |century| (century - 1) * 100 + 1));
    if found.before_christ {
        year = 1 - year;
    } else if year <= 0 && found.year.is_some_and(|y| y < 0) {
        year += 1;
    }
    let iso = |year: i64, week: i64, day: i64| {
        let fourth = days_from_civil(year, 1, 4);
        fourth - (fourth + 3).rem_euclid(7) + (week - 1) * 7 + day - 1
    };
    let days = if let Some(julian) = found.julian {
        julian - JULIAN_EPOCH
    } else if let (Some(year), Some(week)) = (found.iso_year, found.iso_week) {
        iso(year, week, found.iso_day.unwrap_or(1))
    } else if let Some(day) = found.day_of_year {
        checked_days(year, 1, 1).map(|first| first + day - 1).ok_or_else(out_of_range)?
    } else if let Some(week) = found.week {
        checked_days(year, 1, 1).map(|first| first + (week - 1) * 7).ok_or_else(out_of_range)?
    } else {
        checked_days(year, found.month.unwrap_or(1), found.day.unwrap_or(1)).ok_or_else(out_of_range)?
    };
    let mut hour = found.hour;
    if found.twelve {
        if !(1..=12).contains(&hour) {
            return Err(SqlError::new("22007", format!("hour \"{hour}\" is invalid for the 12-hour clock"))
                .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
        }
        hour = match found.afternoon {
            Some(true) => hour % 12 + 12,
            Some(false) => hour % 12,
            None => hour,
        };
    }
    let time_us = match found.seconds_of_day {
        Some(seconds) => seconds * SECOND_US,
        None if !(0..=24).contains(&hour) || !(0..60).contains(&found.minute) || !(0..60).contains(&found.second) => {
            return Err(out_of_range());
        }
        None => hour * HOUR_US + found.minute * MINUTE_US + found.second * SECOND_US + found.micro,
    };
    if !(0..=DAY_US).contains(&time_us) {
        return Err(out_of_range());
    }
    let offset = found.offset.map(|o| o + if o < 0 { -found.offset_minutes } else { found.offset_minutes } * 60);
    Ok(Read { days, time_us, offset })
}
