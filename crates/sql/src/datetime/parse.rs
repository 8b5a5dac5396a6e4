//! Dates, times and timestamps from text.
//!
//! ISO 8601 and what people write besides (`Jan 8, 1999`, `1/8/1999` month first, `04:05 PM`,
//! `J2451187`), PostgreSQL's special words, a zone as offset, abbreviation or name.

use super::zone::{self, Zone};
use super::{
    Civil, DATE_INFINITY, DATE_NEGATIVE_INFINITY, DAY_US, HOUR_US, INFINITY, JULIAN_EPOCH, MINUTE_US,
    NEGATIVE_INFINITY, SECOND_US, check_date, check_timestamp, civil_from_days, days_from_civil, days_in_month,
};
use crate::error::{Result, SqlError};

/// Longest text that can be a date.
const MAX_LENGTH: usize = 128;

/// What was found in the text.
#[derive(Default, Debug)]
struct Parsed {
    /// Days since the epoch.
    date: Option<i64>,
    /// Microseconds since midnight; 24:00 is allowed.
    time: Option<i64>,
    zone: Option<Zone>,
    special: Option<Special>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Special {
    Infinity,
    NegativeInfinity,
    Now,
    Epoch,
}

enum Failure {
    Syntax,
    Range,
}

fn error(failure: Failure, ty: &str, text: &str) -> SqlError {
    match failure {
        Failure::Syntax => SqlError::new("22007", format!("invalid input syntax for type {ty}: \"{text}\"")),
        Failure::Range => SqlError::new("22008", format!("date/time field value out of range: \"{text}\"")),
    }
}

/// A timestamp without zone; a zone in the text is ignored.
pub fn timestamp(text: &str, now_us: i64, time_zone: &str) -> Result<i64> {
    let parsed = parse(text, now_us, time_zone).map_err(|f| error(f, "timestamp", text))?;
    match parsed.special {
        Some(Special::Infinity) => return Ok(INFINITY),
        Some(Special::NegativeInfinity) => return Ok(NEGATIVE_INFINITY),
        Some(Special::Now) => return zone::to_local(now_us, time_zone),
        Some(Special::Epoch) => return Ok(0),
        None => {}
    }
    local(&parsed).ok_or_else(|| error(Failure::Syntax, "timestamp", text)).and_then(|us| in_range(us, text))
}

/// An instant; without a zone in the text, the session's.
pub fn timestamptz(text: &str, now_us: i64, time_zone: &str) -> Result<i64> {
    const TYPE: &str = "timestamp with time zone";
    let parsed = parse(text, now_us, time_zone).map_err(|f| error(f, TYPE, text))?;
    match parsed.special {
        Some(Special::Infinity) => return Ok(INFINITY),
        Some(Special::NegativeInfinity) => return Ok(NEGATIVE_INFINITY),
        Some(Special::Now) => return Ok(now_us),
        Some(Special::Epoch) => return Ok(0),
        None => {}
    }
    let us = local(&parsed).ok_or_else(|| error(Failure::Syntax, TYPE, text)).and_then(|us| in_range(us, text))?;
    match parsed.zone {
        Some(zone) => in_range(i128::from(us) - i128::from(zone.offset_at_local(us) * SECOND_US), text),
        None => zone::to_instant(us, time_zone),
    }
}

pub fn date(text: &str, now_us: i64, time_zone: &str) -> Result<i32> {
    let parsed = parse(text, now_us, time_zone).map_err(|f| error(f, "date", text))?;
    match parsed.special {
        Some(Special::Infinity) => return Ok(DATE_INFINITY),
        Some(Special::NegativeInfinity) => return Ok(DATE_NEGATIVE_INFINITY),
        Some(Special::Now) => return Ok(super::timestamp_to_date(zone::to_local(now_us, time_zone)?)),
        Some(Special::Epoch) => return Ok(0),
        None => {}
    }
    let days = parsed.date.ok_or_else(|| error(Failure::Syntax, "date", text))?;
    check_date(days).map_err(|_| SqlError::new("22008", format!("date out of range: \"{text}\"")))
}

/// Microseconds since midnight.
pub fn time(text: &str, now_us: i64, time_zone: &str) -> Result<i64> {
    if text.trim().eq_ignore_ascii_case("allballs") {
        return Ok(0);
    }
    // Bare digits are a date elsewhere.
    let trimmed = text.trim();
    if trimmed.len() >= 4 && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return read_clock(trimmed).map_err(|f| error(f, "time", text));
    }
    let parsed = parse(text, now_us, time_zone).map_err(|f| error(f, "time", text))?;
    match parsed.special {
        Some(Special::Now) => Ok(zone::to_local(now_us, time_zone)?.rem_euclid(DAY_US)),
        Some(_) => Err(error(Failure::Syntax, "time", text)),
        None => parsed.time.ok_or_else(|| error(Failure::Syntax, "time", text)),
    }
}

fn in_range(us: i128, text: &str) -> Result<i64> {
    check_timestamp(us).map_err(|_| SqlError::new("22008", format!("timestamp out of range: \"{text}\"")))
}

fn local(parsed: &Parsed) -> Option<i128> {
    Some(i128::from(parsed.date?) * i128::from(DAY_US) + i128::from(parsed.time.unwrap_or(0)))
}

fn parse(text: &str, now_us: i64, time_zone: &str) -> Result<Parsed, Failure> {
    if text.len() > MAX_LENGTH {
        return Err(Failure::Syntax);
    }
    let mut parsed = Parsed::default();
    let mut date_words: Vec<&str> = Vec::new();
    let mut before_christ = false;
    let mut half_day = None;
    let mut words = text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|w| !w.is_empty()).peekable();
    if words.peek().is_none() {
        return Err(Failure::Syntax);
    }
    for word in words {
        let today = || zone::to_local(now_us, time_zone).map(|us| us.div_euclid(DAY_US)).map_err(|_| Failure::Range);
        match word.to_ascii_lowercase().as_str() {
            "infinity" | "+infinity" => parsed.special = Some(Special::Infinity),
            "-infinity" => parsed.special = Some(Special::NegativeInfinity),
            "now" => parsed.special = Some(Special::Now),
            "epoch" => parsed.special = Some(Special::Epoch),
            "today" => parsed.date = Some(today()?),
            "tomorrow" => parsed.date = Some(today()? + 1),
            "yesterday" => parsed.date = Some(today()? - 1),
            "allballs" => parsed.time = Some(0),
            "bc" => before_christ = true,
            "ad" | "at" | "on" => {}
            "am" => half_day = Some(0),
            "pm" => half_day = Some(12),
            "t" if !date_words.is_empty() => {}
            _ if is_weekday(word) => {}
            _ => read_word(word, &mut date_words, &mut parsed, &mut half_day)?,
        }
    }
    if !date_words.is_empty() {
        if parsed.date.is_some() || parsed.special.is_some() {
            return Err(Failure::Syntax);
        }
        parsed.date = Some(read_date(&date_words, before_christ)?);
    }
    if let Some(add) = half_day {
        let time = parsed.time.ok_or(Failure::Syntax)?;
        let hour = time / HOUR_US;
        if !(1..=12).contains(&hour) {
            return Err(Failure::Range);
        }
        parsed.time = Some(time - hour * HOUR_US + (hour % 12 + add) * HOUR_US);
    }
    if parsed.special.is_some() && (parsed.date.is_some() || parsed.time.is_some()) {
        return Err(Failure::Syntax);
    }
    Ok(parsed)
}

/// A word that is a date, a time, a zone, or several of them written together.
fn read_word<'a>(
    word: &'a str,
    date_words: &mut Vec<&'a str>,
    parsed: &mut Parsed,
    half_day: &mut Option<i64>,
) -> Result<(), Failure> {
    let digit_first = word.as_bytes()[0].is_ascii_digit();
    if digit_first && let Some(at) = word.find(['T', 't']) {
        let (date, time) = (&word[..at], &word[at + 1..]);
        if time.starts_with(|c: char| c.is_ascii_digit())
            && date.bytes().all(|b| b.is_ascii_digit() || b"-/.".contains(&b))
        {
            date_words.push(date);
            return read_time(time, parsed, half_day);
        }
    }
    if digit_first && word.contains(':') {
        return read_time(word, parsed, half_day);
    }
    if word.starts_with(['+', '-']) && (parsed.time.is_some() || parsed.date.is_some() || !date_words.is_empty()) {
        parsed.zone = Some(Zone::Fixed(zone::numeric_offset(word).ok_or(Failure::Syntax)?));
        return Ok(());
    }
    if digit_first && let Some(at) = zone_after_date(word) {
        date_words.push(&word[..at]);
        return match word.as_bytes()[at] {
            b'+' => {
                parsed.zone = Some(Zone::Fixed(zone::numeric_offset(&word[at..]).ok_or(Failure::Syntax)?));
                Ok(())
            }
            _ => read_zone(&word[at..], parsed),
        };
    }
    let is_month = month_number(word.trim_end_matches('.')).is_some();
    if !digit_first && !is_month && !word.starts_with(['J', 'j']) {
        return read_zone(word, parsed);
    }
    if word.starts_with(['J', 'j']) && !is_month && !word[1..].bytes().all(|b| b.is_ascii_digit()) {
        return read_zone(word, parsed);
    }
    date_words.push(word);
    Ok(())
}

/// Where the zone begins in `2024-01-01Z`, `20240101EST` or `2024-01-01+02`.
fn zone_after_date(word: &str) -> Option<usize> {
    let end = word.find(|c: char| !(c.is_ascii_digit() || "-/.".contains(c)))?;
    let date = &word.as_bytes()[..end];
    let whole = date.len() >= 8 && date.last().is_some_and(u8::is_ascii_digit);
    let separators = date.iter().filter(|b| !b.is_ascii_digit()).count();
    (whole && matches!(separators, 0 | 2)).then_some(end)
}

fn read_zone(word: &str, parsed: &mut Parsed) -> Result<(), Failure> {
    if parsed.zone.is_some() {
        return Err(Failure::Syntax);
    }
    let zone = match zone::abbreviation(word) {
        Some(offset) => Zone::Fixed(offset),
        None if word.is_ascii() => zone::find(word).map_err(|_| Failure::Syntax)?,
        None => return Err(Failure::Syntax),
    };
    parsed.zone = Some(zone);
    Ok(())
}

/// `hh:mm[:ss[.f]]` or `hhmm[ss[.f]]`, a zone or AM/PM right behind it.
fn read_time(word: &str, parsed: &mut Parsed, half_day: &mut Option<i64>) -> Result<(), Failure> {
    if parsed.time.is_some() {
        return Err(Failure::Syntax);
    }
    let end = word.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(word.len());
    let (clock, rest) = word.split_at(end);
    parsed.time = Some(read_clock(clock)?);
    match rest.to_ascii_lowercase().as_str() {
        "" => Ok(()),
        "am" => {
            *half_day = Some(0);
            Ok(())
        }
        "pm" => {
            *half_day = Some(12);
            Ok(())
        }
        _ if rest.starts_with(['+', '-']) => {
            parsed.zone = Some(Zone::Fixed(zone::numeric_offset(rest).ok_or(Failure::Syntax)?));
            Ok(())
        }
        _ => read_zone(rest, parsed),
    }
}

fn read_clock(clock: &str) -> Result<i64, Failure> {
    let parts: Vec<&str> = if clock.contains(':') {
        clock.split(':').collect()
    } else if clock.len() >= 4 && clock.is_ascii() {
        let (whole, fraction) = clock.split_at(clock.find('.').unwrap_or(clock.len()));
        match whole.len() {
            4 if fraction.is_empty() => vec![&clock[..2], &clock[2..]],
            6 => vec![&clock[..2], &clock[2..4], &clock[4..]],
            _ => return Err(Failure::Syntax),
        }
    } else {
        vec![clock]
    };
    let number = |s: &str| -> Result<i64, Failure> {
        if s.is_empty() || s.len() > 2 || !s.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Failure::Syntax);
        }
        s.parse().map_err(|_| Failure::Syntax)
    };
    let (hour, minute, second) = match parts.as_slice() {
        [h] => (number(h)?, 0, 0),
        [h, m] => (number(h)?, number(m)?, 0),
        [h, m, s] => (number(h)?, number(m)?, seconds_us(s).ok_or(Failure::Syntax)?),
        _ => return Err(Failure::Syntax),
    };
    let us = hour * HOUR_US + minute * MINUTE_US + second;
    if hour > 24 || minute > 59 || second > 60 * SECOND_US || us > DAY_US {
        return Err(Failure::Range);
    }
    Ok(us)
}

/// `ss[.ffffff]` in microseconds, rounded.
pub(super) fn seconds_us(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() > 9 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let micro = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? * 1e6 };
    Some(whole * SECOND_US + micro.round_ties_even() as i64)
}

pub(super) const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
pub(super) const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

pub(super) fn month_number(word: &str) -> Option<i64> {
    let word = word.to_ascii_lowercase();
    MONTHS
        .iter()
        .position(|m| *m == word || word.len() >= 3 && (m[..3] == word || word == "sept" && *m == "september"))
        .map(|i| i as i64 + 1)
}

fn is_weekday(word: &str) -> bool {
    let word = word.trim_end_matches('.').to_ascii_lowercase();
    WEEKDAYS.iter().any(|d| *d == word || d[..3] == word)
        || matches!(word.as_str(), "tues" | "wednes" | "weds" | "thur" | "thurs")
}

fn read_date(words: &[&str], before_christ: bool) -> Result<i64, Failure> {
    let mut fields: Vec<&str> = Vec::new();
    for word in words {
        fields.extend(word.split(['-', '/', '.']).filter(|f| !f.is_empty()));
    }
    if fields.len() > 3 {
        return Err(Failure::Syntax);
    }
    if let [one] = fields.as_slice() {
        return read_compact_date(one);
    }
    let [a, b, c] = fields.as_slice() else { return Err(Failure::Syntax) };
    let number = |s: &str| -> Result<i64, Failure> {
        if s.len() > 7 || !s.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Failure::Syntax);
        }
        s.parse().map_err(|_| Failure::Syntax)
    };
    let day_text = |s: &str| number(s);
    let (year, month, day) = if let Some(month) = month_number(a) {
        (*c, month, day_text(b)?)
    } else if let Some(month) = month_number(b) {
        if a.len() > 2 { (*a, month, day_text(c)?) } else { (*c, month, day_text(a)?) }
    } else if a.len() > 2 {
        (*a, number(b)?, number(c)?)
    } else {
        (*c, number(a)?, number(b)?)
    };
    let mut value = number(year)?;
    if year.len() <= 2 && !before_christ {
        value += if value < 70 { 2000 } else { 1900 };
    }
    if before_christ {
        if value == 0 {
            return Err(Failure::Range);
        }
        value = 1 - value;
    } else if value == 0 {
        return Err(Failure::Range);
    }
    checked_days(value, month, day).ok_or(Failure::Range)
}

/// `YYYYMMDD`, `YYMMDD`, or a Julian day `J2451187`.
fn read_compact_date(field: &str) -> Result<i64, Failure> {
    if let Some(julian) = field.strip_prefix(['J', 'j']) {
        return julian.parse::<i32>().map(|day| i64::from(day) - JULIAN_EPOCH).map_err(|_| Failure::Syntax);
    }
    if !field.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Failure::Syntax);
    }
    let part = |range: std::ops::Range<usize>| field[range].parse::<i64>().map_err(|_| Failure::Syntax);
    let n = field.len();
    let (year, month, day) = match n {
        6 => {
            let year = part(0..2)?;
            (year + if year < 70 { 2000 } else { 1900 }, part(2..4)?, part(4..6)?)
        }
        8..=10 => (part(0..n - 4)?, part(n - 4..n - 2)?, part(n - 2..n)?),
        _ => return Err(Failure::Syntax),
    };
    checked_days(year, month, day).ok_or(Failure::Range)
}

/// The day number, if there is such a day.
pub fn checked_days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) || year.abs() > 6_000_000 {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

/// A civil date and time of day for tests and formatting.
pub fn civil(days: i64, time_us: i64) -> Civil {
    let (year, month, day) = civil_from_days(days);
    Civil {
        year,
        month,
        day,
        hour: time_us / HOUR_US,
        minute: time_us / MINUTE_US % 60,
        second: time_us / SECOND_US % 60,
        micro: time_us % SECOND_US,
    }
}
