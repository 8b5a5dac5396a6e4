//! `$dateFromString`, and text to dates for `$convert`.

use super::civil::{Civil, MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, Zone, days_from_civil, days_in_month};
use super::format::MONTHS;
use super::zone_arg;
use crate::error::{Error, Result};
use crate::expression::nullish;
use crate::expression::operator::{Args, Named};
use crate::expression::text::value_text;
use crate::value::Value;

pub(super) const FROM_STRING: Named = Named {
    fields: &[("dateString", 40542), ("timezone", 0), ("format", 0), ("onNull", 0), ("onError", 0)],
    not_object: 40540,
    unknown: 40541,
};

/// Longest text that is looked at.
const MAX_TEXT: usize = 256;

pub(super) fn from_string(mut args: Args) -> Result<Option<Value>> {
    let zone = if args.given(1) { zone_arg(&args, 1)?.map(Some) } else { Some(None) };
    let format = match args.slot(2) {
        _ if !args.given(2) => Some(None),
        Some(Value::String(format)) => {
            check_format(format)?;
            Some(Some(format.clone()))
        }
        value if nullish(value) => None,
        _ => {
            return Err(Error::new(
                40684,
                format!("$dateFromString requires that 'format' be a string, found: {}", args.type_of(2)),
            ));
        }
    };
    let parsed = match args.slot(0) {
        value if nullish(value) => {
            return Ok(if args.given(3) { args.take(3) } else { Some(Value::Null) });
        }
        Some(Value::String(text)) => {
            let (Some(zone), Some(format)) = (zone, format) else { return Ok(Some(Value::Null)) };
            match format {
                Some(format) => parse_formatted(text, &format, zone.as_ref()),
                None => parse_text(text, zone.as_ref()),
            }
        }
        value => Err(Error::new(
            241,
            format!(
                "$dateFromString requires that 'dateString' be a string, found: {} with value {}",
                args.type_of(0),
                value_text(value.as_ref())
            ),
        )),
    };
    match parsed {
        Ok(ms) => Ok(Some(Value::Date(ms))),
        Err(e) if e.code == 241 && args.given(4) => Ok(args.take(4)),
        Err(e) => Err(e),
    }
}

fn check_format(format: &str) -> Result<()> {
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            match chars.next() {
                None => return Err(Error::new(18535, "Unmatched '%' at end of format string")),
                Some(c) if "dGHLmMSuVYzZ%bBj".contains(c) => {}
                Some(c) => return Err(Error::new(18536, format!("Invalid format character '%{c}' in format string"))),
            }
        }
    }
    Ok(())
}

fn bad(text: &str, reason: &str) -> Error {
    Error::new(241, format!("Error parsing date string '{text}'; {reason}"))
}

/// What a text said.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    ms: i64,
    offset_ms: Option<i64>,
}

impl Found {
    fn instant(self, text: &str, zone: Option<&Zone>) -> Result<i64> {
        if self.offset_ms.is_some() && zone.is_some() {
            return Err(Error::new(
                241,
                "you cannot pass in a date/time string with GMT offset together with a timezone argument",
            ));
        }
        let days = self.days(text)?;
        if self.hour > 24 || self.minute > 59 || self.second > 59 || (self.hour == 24 && self.minute + self.second > 0)
        {
            return Err(bad(text, "0: unexpected time of day"));
        }
        let time = self.hour * MS_PER_HOUR + self.minute * MS_PER_MINUTE + self.second * 1000 + self.ms;
        let local = days * MS_PER_DAY + time;
        let ms = match (self.offset_ms, zone) {
            (Some(offset), _) => Some(local - offset),
            (None, Some(zone)) => zone.instant_at(local),
            (None, None) => Some(local),
        };
        ms.ok_or_else(|| bad(text, "the date is out of range"))
    }

    fn days(&self, text: &str) -> Result<i64> {
        let incomplete = || {
            Error::new(241, format!("an incomplete date/time string has been found, with elements missing: \"{text}\""))
        };
        if let Some(year) = self.iso_year {
            let week = self.iso_week.unwrap_or(1);
            let day = self.iso_day.unwrap_or(1);
            let fourth = days_from_civil(year, 1, 4);
            let weekday = Civil::from_local_ms(fourth * MS_PER_DAY).iso_weekday();
            return Ok(fourth - weekday + 1 + (week - 1) * 7 + day - 1);
        }
        let year = self.year.ok_or_else(incomplete)?;
        if let Some(day) = self.day_of_year {
            return Ok(days_from_civil(year, 1, 1) + day - 1);
        }
        let (month, day) = (self.month.ok_or_else(incomplete)?, self.day.ok_or_else(incomplete)?);
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(bad(text, "the parsed date was invalid"));
        }
        Ok(days_from_civil(year, month, day))
    }
}

/// A cursor over the text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, c: char) -> bool {
        let hit = self.rest().starts_with(c);
        if hit {
            self.at += c.len_utf8();
        }
        hit
    }

    /// Between `min` and `max` digits.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let len = self.rest().bytes().take(max).take_while(u8::is_ascii_digit).count();
        if len < min {
            return None;
        }
        let n = self.rest()[..len].parse().ok()?;
        self.at += len;
        Some(n)
    }

    fn word(&mut self) -> &'a str {
        let len = self.rest().bytes().take_while(u8::is_ascii_alphabetic).count();
        let word = &self.rest()[..len];
        self.at += len;
        word
    }

    /// `Z`, `UTC`, `GMT`, `+hh`, `+hhmm`, `+hh:mm`.
    fn offset(&mut self) -> Option<i64> {
        let rest = self.rest();
        for name in ["UTC", "GMT", "Z", "z"] {
            if rest.starts_with(name) {
                self.at += name.len();
                return Some(0);
            }
        }
        let sign = if self.eat('+') {
            1
        } else if self.eat('-') {
            -1
        } else {
            return None;
        };
        let hours = self.number(1, 2)?;
        self.eat(':');
        let minutes = self.number(2, 2).unwrap_or(0);
        Some(sign * (hours * MS_PER_HOUR + minutes * MS_PER_MINUTE))
    }
}

fn month_by_name(word: &str) -> Option<i64> {
    if word.len() < 3 {
        return None;
    }
    let at = MONTHS.iter().position(|month| {
        word.eq_ignore_ascii_case(month)
            || word.eq_ignore_ascii_case(&month[..3])
            || (*month == "September" && word.eq_ignore_ascii_case("sept"))
    })?;
    Some(at as i64 + 1)
}

/// The forms people write: ISO 8601 with or without time and offset, `2017/02/08`, `02/08/2017`,
/// `20170208`, `February 8th, 2017`, `8 Feb 2017`, with an optional time behind. Errors with 241.
pub(crate) fn parse_text(text: &str, zone: Option<&Zone>) -> Result<i64> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > MAX_TEXT {
        return Err(bad(text, "0: Empty string"));
    }
    let mut reader = Reader { text: trimmed, at: 0 };
    let mut found = Found::default();
    if !read_date(&mut reader, &mut found) {
        return Err(unreadable(text, trimmed));
    }
    if !read_time(&mut reader, &mut found) || !reader.rest().trim().is_empty() {
        return Err(bad(
            text,
            &format!("{}: Unexpected character '{}'", reader.at, reader.rest().chars().next().unwrap_or(' ')),
        ));
    }
    found.instant(text, zone)
}

fn unreadable(text: &str, trimmed: &str) -> Error {
    let first = trimmed.chars().next().unwrap_or(' ');
    if first.is_ascii_digit() {
        let numeric = trimmed.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b':' | b'-' | b'/'));
        if numeric && trimmed.len() > 2 {
            return Error::new(
                241,
                format!("an incomplete date/time string has been found, with elements missing: \"{text}\""),
            );
        }
        return bad(text, &format!("0: Unexpected character '{first}'"));
    }
    bad(text, &format!("0: passing a time zone identifier as part of the string is not allowed '{first}'"))
}

fn read_date(reader: &mut Reader<'_>, found: &mut Found) -> bool {
    let start = reader.at;
    if let Some(month) = month_by_name(reader.word()) {
        return read_month_first(reader, found, month);
    }
    reader.at = start;
    let digits = reader.rest().bytes().take_while(u8::is_ascii_digit).count();
    match digits {
        8 => {
            found.year = reader.number(4, 4);
            found.month = reader.number(2, 2);
            found.day = reader.number(2, 2);
            true
        }
        4 => {
            found.year = reader.number(4, 4);
            read_after_year(reader, found)
        }
        1 | 2 => read_small_first(reader, found),
        _ => false,
    }
}

fn read_after_year(reader: &mut Reader<'_>, found: &mut Found) -> bool {
    if reader.eat('-') {
        if reader.eat('W') {
            found.iso_year = found.year;
            found.iso_week = reader.number(2, 2);
            if reader.eat('-') {
                found.iso_day = reader.number(1, 1);
            }
            return found.iso_week.is_some();
        }
        if reader.rest().bytes().take_while(u8::is_ascii_digit).count() == 3 {
            found.day_of_year = reader.number(3, 3);
            return true;
        }
        found.month = reader.number(1, 2);
        found.day = if reader.eat('-') { reader.number(1, 2) } else { Some(1) };
        return found.month.is_some() && found.day.is_some();
    }
    if reader.eat('/') {
        found.month = reader.number(1, 2);
        found.day = if reader.eat('/') { reader.number(1, 2) } else { None };
        return found.month.is_some() && found.day.is_some();
    }
    false
}

/// `8 Feb 2017`, `02/08/2017`, `08-02-2017`, `08.02.2017`.
fn read_small_first(reader: &mut Reader<'_>, found: &mut Found) -> bool {
    let first = reader.number(1, 2);
    if reader.eat('/') {
        found.month = first;
        found.day = reader.number(1, 2);
        found.year = if reader.eat('/') { reader.number(4, 4) } else { None };
        return found.day.is_some() && found.year.is_some();
    }
    for separator in ['-', '.'] {
        let start = reader.at;
        if reader.eat(separator)
            && let Some(month) = reader.number(1, 2)
            && reader.eat(separator)
            && let Some(year) = reader.number(4, 4)
        {
            (found.day, found.month, found.year) = (first, Some(month), Some(year));
            return true;
        }
        reader.at = start;
    }
    skip(reader, &["st", "nd", "rd", "th"]);
    while reader.eat(' ') || reader.eat('-') {}
    found.day = first;
    found.month = month_by_name(reader.word());
    while reader.eat(' ') || reader.eat('-') || reader.eat(',') {}
    found.year = reader.number(4, 4);
    found.month.is_some() && found.year.is_some()
}

fn read_month_first(reader: &mut Reader<'_>, found: &mut Found, month: i64) -> bool {
    found.month = Some(month);
    while reader.eat(' ') || reader.eat('.') {}
    found.day = reader.number(1, 2);
    skip(reader, &["st", "nd", "rd", "th"]);
    while reader.eat(' ') || reader.eat(',') {}
    found.year = reader.number(4, 4);
    found.day.is_some() && found.year.is_some()
}

fn skip(reader: &mut Reader<'_>, words: &[&str]) {
    if let Some(word) = words.iter().find(|word| reader.rest().starts_with(**word)) {
        reader.at += word.len();
    }
}

/// An optional time of day and offset. False if something starts and is no time.
fn read_time(reader: &mut Reader<'_>, found: &mut Found) -> bool {
    let t = reader.eat('T') || reader.eat('t');
    while !t && (reader.eat(' ') || reader.eat(',')) {}
    if reader.rest().is_empty() {
        return !t;
    }
    if !reader.rest().starts_with(|c: char| c.is_ascii_digit()) {
        found.offset_ms = reader.offset();
        return !t && found.offset_ms.is_some();
    }
    let Some(hour) = reader.number(1, 2) else { return false };
    found.hour = hour;
    if reader.eat(':') || t {
        let Some(minute) = reader.number(2, 2) else { return false };
        found.minute = minute;
        let second = if reader.eat(':') {
            reader.number(2, 2)
        } else if t {
            reader.number(2, 2).or(Some(0))
        } else {
            Some(0)
        };
        let Some(second) = second else { return false };
        found.second = second;
        if reader.eat('.') || reader.eat(',') {
            let Some(ms) = fraction(reader) else { return false };
            found.ms = ms;
        }
    }
    while reader.eat(' ') {}
    match reader.rest().get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("am") if found.hour <= 12 => {
            found.hour %= 12;
            reader.at += 2;
        }
        Some("pm") if found.hour <= 12 => {
            found.hour = found.hour % 12 + 12;
            reader.at += 2;
        }
        _ => {}
    }
    while reader.eat(' ') {}
    if !reader.rest().is_empty() {
        found.offset_ms = reader.offset();
        return found.offset_ms.is_some();
    }
    true
}

/// Digits after the point, as milliseconds.
fn fraction(reader: &mut Reader<'_>) -> Option<i64> {
    let digits = reader.rest().bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let n = reader.number(1, 9)?;
    let scale = 10i64.pow(digits.abs_diff(3) as u32);
    Some(if digits <= 3 { n * scale } else { n / scale })
}

fn parse_formatted(text: &str, format: &str, zone: Option<&Zone>) -> Result<i64> {
    if text.len() > MAX_TEXT {
        return Err(bad(text, "0: the string is too long"));
    }
    let mut reader = Reader { text, at: 0 };
    let mut found = Found::default();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        let ok = if c == '%' { directive(&mut reader, &mut found, chars.next().unwrap_or('%')) } else { reader.eat(c) };
        if !ok {
            return Err(bad(text, &format!("{}: Format literal or field not found '{c}'", reader.at)));
        }
    }
    if !reader.rest().is_empty() {
        return Err(bad(text, &format!("{}: Trailing data", reader.at)));
    }
    if found.year.is_some()
        && found.day_of_year.is_none()
        && found.iso_year.is_none()
        && (found.month.is_none() || found.day.is_none())
    {
        return Err(Error::new(
            241,
            format!("an incomplete date/time string has been found, with elements missing: \"{text}\""),
        ));
    }
    found.instant(text, zone)
}

fn directive(reader: &mut Reader<'_>, found: &mut Found, directive: char) -> bool {
    let mut set = |slot: fn(&mut Found) -> &mut Option<i64>, n: Option<i64>| {
        *slot(found) = n;
        n.is_some()
    };
    match directive {
        'Y' => set(|f| &mut f.year, reader.number(4, 4)),
        'G' => set(|f| &mut f.iso_year, reader.number(4, 4)),
        'm' => set(|f| &mut f.month, reader.number(1, 2)),
        'd' => set(|f| &mut f.day, reader.number(1, 2)),
        'j' => set(|f| &mut f.day_of_year, reader.number(3, 3)),
        'V' => set(|f| &mut f.iso_week, reader.number(1, 2)),
        'u' => set(|f| &mut f.iso_day, reader.number(1, 1)),
        'b' | 'B' => set(|f| &mut f.month, month_by_name(reader.word())),
        'z' => set(|f| &mut f.offset_ms, reader.offset()),
        'Z' => {
            let sign = if reader.eat('-') { -1 } else { 1 };
            reader.eat('+');
            set(|f| &mut f.offset_ms, reader.number(1, 4).map(|minutes| sign * minutes * MS_PER_MINUTE))
        }
        '%' => reader.eat('%'),
        _ => {
            let (slot, width): (fn(&mut Found) -> &mut i64, usize) = match directive {
                'H' => (|f| &mut f.hour, 2),
                'M' => (|f| &mut f.minute, 2),
                'S' => (|f| &mut f.second, 2),
                _ => (|f| &mut f.ms, 3),
            };
            match reader.number(1, width) {
                Some(n) => {
                    *slot(found) = n;
                    true
                }
                None => false,
            }
        }
    }
}
