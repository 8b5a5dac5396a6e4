//! `to_char` for dates, times and intervals: PostgreSQL's template patterns.
//!
//! # Not here
//! Reading by pattern (`read.rs`); numbers (`functions/number_format.rs`).

use std::fmt::Write;

use super::parse::{MONTHS, WEEKDAYS};
use super::{Civil, JULIAN_EPOCH, days_from_civil, fields};
use crate::datum::Interval;

/// What a template is filled from.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub civil: Civil,
    /// Seconds east and the zone's name, for timestamptz.
    pub offset: Option<i64>,
    /// Intervals have no weekday, no zone and no calendar.
    pub is_interval: bool,
}

impl Moment {
    pub fn of_interval(value: &Interval) -> Moment {
        let us = value.microseconds;
        Moment {
            civil: Civil {
                year: i64::from(value.months / 12),
                month: i64::from(value.months % 12),
                day: i64::from(value.days),
                hour: us / super::HOUR_US,
                minute: us / super::MINUTE_US % 60,
                second: us / super::SECOND_US % 60,
                micro: us % super::SECOND_US,
            },
            offset: None,
            is_interval: true,
        }
    }
}

/// The patterns, longest first among those with a common beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    Year(u8),
    YearComma,
    IsoYear(u8),
    Era(&'static str),
    MonthName(Case, bool),
    Month,
    DayName(Case, bool),
    DayOfYear,
    IsoDayOfYear,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    Century,
    Julian,
    Quarter,
    Roman(Case),
    Hour12,
    Hour24,
    Minute,
    Second,
    Fraction(u8),
    SecondsOfDay,
    Meridiem(&'static str),
    Zone(Case),
    ZoneHours,
    ZoneMinutes,
    Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Upper,
    Title,
    Lower,
}

use Case::{Lower, Title, Upper};

const PATTERNS: &[(&str, Pattern)] = &[
    ("Y,YYY", Pattern::YearComma),
    ("YYYY", Pattern::Year(4)),
    ("YYY", Pattern::Year(3)),
    ("YY", Pattern::Year(2)),
    ("Y", Pattern::Year(1)),
    ("IYYY", Pattern::IsoYear(4)),
    ("IYY", Pattern::IsoYear(3)),
    ("IY", Pattern::IsoYear(2)),
    ("IDDD", Pattern::IsoDayOfYear),
    ("ID", Pattern::IsoDayOfWeek),
    ("IW", Pattern::IsoWeek),
    ("I", Pattern::IsoYear(1)),
    ("B.C.", Pattern::Era("B.C.")),
    ("b.c.", Pattern::Era("b.c.")),
    ("A.D.", Pattern::Era("A.D.")),
    ("a.d.", Pattern::Era("a.d.")),
    ("A.M.", Pattern::Meridiem("A.M.")),
    ("a.m.", Pattern::Meridiem("a.m.")),
    ("P.M.", Pattern::Meridiem("P.M.")),
    ("p.m.", Pattern::Meridiem("p.m.")),
    ("BC", Pattern::Era("BC")),
    ("bc", Pattern::Era("bc")),
    ("AD", Pattern::Era("AD")),
    ("ad", Pattern::Era("ad")),
    ("AM", Pattern::Meridiem("AM")),
    ("am", Pattern::Meridiem("am")),
    ("PM", Pattern::Meridiem("PM")),
    ("pm", Pattern::Meridiem("pm")),
    ("MONTH", Pattern::MonthName(Upper, true)),
    ("Month", Pattern::MonthName(Title, true)),
    ("month", Pattern::MonthName(Lower, true)),
    ("MON", Pattern::MonthName(Upper, false)),
    ("Mon", Pattern::MonthName(Title, false)),
    ("mon", Pattern::MonthName(Lower, false)),
    ("MM", Pattern::Month),
    ("MI", Pattern::Minute),
    ("MS", Pattern::Fraction(3)),
    ("DAY", Pattern::DayName(Upper, true)),
    ("Day", Pattern::DayName(Title, true)),
    ("day", Pattern::DayName(Lower, true)),
    ("DY", Pattern::DayName(Upper, false)),
    ("Dy", Pattern::DayName(Title, false)),
    ("dy", Pattern::DayName(Lower, false)),
    ("DDD", Pattern::DayOfYear),
    ("DD", Pattern::Day),
    ("D", Pattern::DayOfWeek),
    ("WW", Pattern::WeekOfYear),
    ("W", Pattern::WeekOfMonth),
    ("CC", Pattern::Century),
    ("J", Pattern::Julian),
    ("Q", Pattern::Quarter),
    ("RM", Pattern::Roman(Upper)),
    ("rm", Pattern::Roman(Lower)),
    ("HH24", Pattern::Hour24),
    ("HH12", Pattern::Hour12),
    ("HH", Pattern::Hour12),
    ("SSSSS", Pattern::SecondsOfDay),
    ("SSSS", Pattern::SecondsOfDay),
    ("SS", Pattern::Second),
    ("US", Pattern::Fraction(6)),
    ("FF1", Pattern::Fraction(1)),
    ("FF2", Pattern::Fraction(2)),
    ("FF3", Pattern::Fraction(3)),
    ("FF4", Pattern::Fraction(4)),
    ("FF5", Pattern::Fraction(5)),
    ("FF6", Pattern::Fraction(6)),
    ("TZH", Pattern::ZoneHours),
    ("TZM", Pattern::ZoneMinutes),
    ("TZ", Pattern::Zone(Upper)),
    ("tz", Pattern::Zone(Lower)),
    ("OF", Pattern::Offset),
];

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(String),
    Field {
        pattern: Pattern,
        /// `FM`: no padding.
        fill: bool,
        /// `TH` or `th`.
        ordinal: Option<Case>,
    },
}

/// Takes a template apart.
pub fn pieces(template: &str) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    let mut rest = template;
    let mut fill = true;
    let push_text = |text: &str, out: &mut Vec<Piece>| match out.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => out.push(Piece::Text(text.to_owned())),
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            (fill, rest) = (false, after);
            continue;
        }
        if let Some(after) = ["FX", "fx", "TM", "tm"].iter().find_map(|prefix| rest.strip_prefix(prefix)) {
            // Templates are read strictly or loosely alike; names have one language.
            if rest.starts_with(['T', 't']) {
                fill = false;
            }
            rest = after;
            continue;
        }
        if let Some((text, pattern)) = find_pattern(rest) {
            rest = &rest[text.len()..];
            let ordinal = if let Some(after) = rest.strip_prefix("TH") {
                rest = after;
                Some(Upper)
            } else if let Some(after) = rest.strip_prefix("th") {
                rest = after;
                Some(Lower)
            } else {
                None
            };
            out.push(Piece::Field { pattern, fill, ordinal });
            fill = true;
            continue;
        }
        fill = true;
        if let Some(after) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut chars = after.chars();
            for c in chars.by_ref() {
                match c {
                    '"' => break,
                    c => text.push(c),
                }
            }
            rest = chars.as_str();
            push_text(&text, &mut out);
            continue;
        }
        let body = rest.strip_prefix("\\\"").map_or(rest, |_| &rest[1..]);
        let c = body.chars().next().expect("not empty");
        push_text(&body[..c.len_utf8()], &mut out);
        rest = &body[c.len_utf8()..];
    }
    out
}

/// Patterns are the same in either case, except where the case says how to write a name.
fn find_pattern(rest: &str) -> Option<(&'static str, Pattern)> {
    let exact = PATTERNS.iter().find(|(text, _)| rest.starts_with(text));
    let loose = PATTERNS.iter().find(|(text, pattern)| {
        !matches!(
            pattern,
            Pattern::Era(_)
                | Pattern::Meridiem(_)
                | Pattern::MonthName(..)
                | Pattern::DayName(..)
                | Pattern::Roman(_)
                | Pattern::Zone(_)
        ) && rest.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text))
    });
    match (exact, loose) {
        (Some(a), Some(b)) => Some(if b.0.len() > a.0.len() { *b } else { *a }),
        (found, other) => found.or(other).copied(),
    }
}

fn cased(name: &str, case: Case) -> String {
    match case {
        Upper => name.to_uppercase(),
        Lower => name.to_owned(),
        Title => name[..1].to_uppercase() + &name[1..],
    }
}

/// Fills a template.
pub fn write(template: &str, moment: &Moment, time_zone: &str) -> String {
    let mut out = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => out.push_str(&text),
            Piece::Field { pattern, fill, ordinal } => {
                let from = out.len();
                field(pattern, fill, moment, time_zone, &mut out);
                if let Some(case) = ordinal {
                    let suffix = ordinal_suffix(&out[from..]);
                    out.push_str(&if case == Upper { suffix.to_uppercase() } else { suffix.to_owned() });
                }
            }
        }
    }
    out
}

/// `st`, `nd`, `rd` or `th` for a number's text.
pub fn ordinal_suffix(digits: &str) -> &'static str {
    let digits = digits.trim_end();
    let tens = digits.len() >= 2 && digits.as_bytes()[digits.len() - 2] == b'1';
    match (tens, digits.bytes().last()) {
        (false, Some(b'1')) => "st",
        (false, Some(b'2')) => "nd",
        (false, Some(b'3')) => "rd",
        _ => "th",
    }
}

fn padded(n: i64, width: usize, fill: bool, out: &mut String) {
    if fill {
        let sign = usize::from(n < 0);
        let _ = write!(out, "{n:0width$}", width = width + sign);
    } else {
        let _ = write!(out, "{n}");
    }
}

fn named(name: &str, case: Case, whole: bool, fill: bool, out: &mut String) {
    let name = cased(if whole { name } else { &name[..3] }, case);
    if whole && fill {
        let _ = write!(out, "{name:<9}");
    } else {
        out.push_str(&name);
    }
}

fn field(pattern: Pattern, fill: bool, moment: &Moment, time_zone: &str, out: &mut String) {
    let civil = &moment.civil;
    let days = if moment.is_interval { 0 } else { civil.days() };
    let day_of_year = if moment.is_interval {
        civil.year * 365 + civil.month * 30 + civil.day
    } else {
        days - days_from_civil(civil.year, 1, 1) + 1
    };
    // Years are printed without sign; BC says the rest.
    let shown_year = |year: i64| if moment.is_interval || year > 0 { year } else { 1 - year };
    let year_digits = |year: i64, digits: u8, out: &mut String| {
        let year = shown_year(year);
        let cut = if digits >= 4 { year } else { year % 10i64.pow(u32::from(digits)) };
        padded(cut, usize::from(digits), fill, out);
    };
    match pattern {
        Pattern::Year(digits) => year_digits(civil.year, digits, out),
        Pattern::YearComma => {
            let year = shown_year(civil.year);
            let _ = write!(out, "{},{:03}", year / 1000, year % 1000);
        }
        Pattern::IsoYear(digits) => year_digits(fields::iso_week(days).0, digits, out),
        Pattern::Era(text) => {
            let before_christ = civil.year <= 0 && !moment.is_interval;
            let dotted = text.contains('.');
            let word = match (before_christ, dotted) {
                (true, true) => "B.C.",
                (true, false) => "BC",
                (false, true) => "A.D.",
                (false, false) => "AD",
            };
            let lower = text.starts_with(char::is_lowercase);
            out.push_str(&if lower { word.to_lowercase() } else { word.to_owned() });
        }
        Pattern::MonthName(case, whole) => {
            if let Some(name) = usize::try_from(civil.month - 1).ok().and_then(|i| MONTHS.get(i)) {
                named(name, case, whole, fill, out);
            }
        }
        Pattern::DayName(case, whole) => {
            named(WEEKDAYS[fields::day_of_week(days) as usize], case, whole, fill, out);
        }
        Pattern::Month => padded(civil.month, 2, fill, out),
        Pattern::Day => padded(civil.day, 2, fill, out),
        Pattern::DayOfYear => padded(day_of_year, 3, fill, out),
        Pattern::IsoDayOfYear => {
            let (_, week) = fields::iso_week(days);
            padded((week - 1) * 7 + (days + 3).rem_euclid(7) + 1, 3, fill, out);
        }
        Pattern::DayOfWeek => padded(fields::day_of_week(days) + 1, 1, fill, out),
        Pattern::IsoDayOfWeek => padded((days + 3).rem_euclid(7) + 1, 1, fill, out),
        Pattern::WeekOfMonth => padded((civil.day - 1) / 7 + 1, 1, fill, out),
        Pattern::WeekOfYear => padded((day_of_year - 1) / 7 + 1, 2, fill, out),
        Pattern::IsoWeek => padded(fields::iso_week(days).1, 2, fill, out),
        Pattern::Century => {
            let year = civil.year;
            let century = if moment.is_interval {
                year / 100
            } else if year > 0 {
                (year - 1) / 100 + 1
            } else {
                year / 100 - 1
            };
            padded(century, 2, fill, out);
        }
        Pattern::Julian => padded(days + JULIAN_EPOCH, 1, fill, out),
        Pattern::Quarter => {
            if civil.month > 0 {
                padded((civil.month - 1) / 3 + 1, 1, fill, out);
            }
        }
        Pattern::Roman(case) => roman_month(civil.month, case, fill, out),
        Pattern::Hour12 => padded(if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 }, 2, fill, out),
        Pattern::Hour24 => padded(civil.hour, 2, fill, out),
        Pattern::Minute => padded(civil.minute, 2, fill, out),
        Pattern::Second => padded(civil.second, 2, fill, out),
        Pattern::Fraction(digits) => {
            padded(civil.micro / 10i64.pow(u32::from(6 - digits)), usize::from(digits), true, out);
        }
        Pattern::SecondsOfDay => padded(civil.hour * 3600 + civil.minute * 60 + civil.second, 1, fill, out),
        Pattern::Meridiem(text) => {
            let afternoon = civil.hour % 24 >= 12;
            let word = match (afternoon, text.contains('.')) {
                (true, true) => "P.M.",
                (true, false) => "PM",
                (false, true) => "A.M.",
                (false, false) => "AM",
            };
            let lower = text.starts_with(char::is_lowercase);
            out.push_str(&if lower { word.to_lowercase() } else { word.to_owned() });
        }
        Pattern::Zone(case) => {
            if let Some(offset) = moment.offset {
                let name = zone_name(moment, time_zone, offset);
                out.push_str(&if case == Lower { name.to_lowercase() } else { name });
            }
        }
        Pattern::ZoneHours => {
            let offset = moment.offset.unwrap_or(0);
            let _ = write!(out, "{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600);
        }
        Pattern::ZoneMinutes => {
            let _ = write!(out, "{:02}", moment.offset.unwrap_or(0).abs() / 60 % 60);
        }
        Pattern::Offset => {
            let offset = moment.offset.unwrap_or(0);
            let _ = write!(out, "{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600);
            if offset.abs() / 60 % 60 != 0 {
                let _ = write!(out, ":{:02}", offset.abs() / 60 % 60);
            }
        }
    }
}

/// The zone's abbreviation at the moment, or its offset.
fn zone_name(moment: &Moment, time_zone: &str, offset: i64) -> String {
    if let Ok(super::zone::Zone::Named(zone)) = super::zone::find(time_zone)
        && let Ok(local) = moment.civil.to_us()
        && let Ok(at) = jiff::Timestamp::from_microsecond(local - offset * super::SECOND_US)
    {
        return zone.to_offset_info(at).abbreviation().to_owned();
    }
    if offset == 0 {
        return "UTC".to_owned();
    }
    let mut out = String::new();
    super::zone::write_offset(offset, &mut out);
    out
}

fn roman_month(month: i64, case: Case, fill: bool, out: &mut String) {
    const NAMES: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
    let Some(name) = usize::try_from(month - 1).ok().and_then(|i| NAMES.get(i)) else { return };
    let name = if case == Lower { name.to_lowercase() } else { (*name).to_owned() };
    if fill {
        let _ = write!(out, "{name:<4}");
    } else {
        out.push_str(&name);
    }
}
