//! Interval text and arithmetic.

use std::fmt::Write;

use super::{DAY_US, HOUR_US, MINUTE_US, SECOND_US};
use crate::datum::Interval;
use crate::error::{Result, SqlError};

fn out_of_range() -> SqlError {
    SqlError::new("22008", "interval out of range")
}

/// Total microseconds with months of 30 days: what comparison goes by.
pub fn total_us(interval: &Interval) -> i128 {
    (i128::from(interval.months) * 30 + i128::from(interval.days)) * i128::from(DAY_US)
        + i128::from(interval.microseconds)
}

/// PostgreSQL's default style: `1 year 2 mons -3 days +04:05:06.7`.
pub fn write(interval: &Interval, out: &mut String) {
    let mut first = true;
    let mut after_negative = false;
    let mut part = |value: i64, unit: &str, out: &mut String| {
        if value != 0 {
            let _ = write!(
                out,
                "{}{}{value} {unit}{}",
                if first { "" } else { " " },
                if after_negative && value > 0 { "+" } else { "" },
                if value == 1 { "" } else { "s" }
            );
            first = false;
            after_negative = value < 0;
        }
    };
    part(i64::from(interval.months / 12), "year", out);
    part(i64::from(interval.months % 12), "mon", out);
    part(i64::from(interval.days), "day", out);
    let time = interval.microseconds;
    if !first && time == 0 {
        return;
    }
    if !first {
        out.push(' ');
    }
    out.push_str(match (time < 0, after_negative) {
        (true, _) => "-",
        (false, true) => "+",
        _ => "",
    });
    let time = time.unsigned_abs();
    let (hours, minutes, seconds) = (time / HOUR_US as u64, time / MINUTE_US as u64 % 60, time / SECOND_US as u64 % 60);
    let _ = write!(out, "{hours:02}:{minutes:02}:{seconds:02}");
    write_fraction(time % SECOND_US as u64, out);
}

/// `.5` for 500000 microseconds, nothing for 0.
pub fn write_fraction(micro: u64, out: &mut String) {
    if micro != 0 {
        let digits = format!("{micro:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

pub fn negate(interval: &Interval) -> Result<Interval> {
    Ok(Interval {
        months: interval.months.checked_neg().ok_or_else(out_of_range)?,
        days: interval.days.checked_neg().ok_or_else(out_of_range)?,
        microseconds: interval.microseconds.checked_neg().ok_or_else(out_of_range)?,
    })
}

pub fn add(a: &Interval, b: &Interval) -> Result<Interval> {
    Ok(Interval {
        months: a.months.checked_add(b.months).ok_or_else(out_of_range)?,
        days: a.days.checked_add(b.days).ok_or_else(out_of_range)?,
        microseconds: a.microseconds.checked_add(b.microseconds).ok_or_else(out_of_range)?,
    })
}

/// `interval * factor`: fractions of months become days, fractions of days time.
pub fn multiply(interval: &Interval, factor: f64) -> Result<Interval> {
    let months = f64::from(interval.months) * factor;
    let days = f64::from(interval.days) * factor;
    scaled(months, days, |days_us| interval.microseconds as f64 * factor + days_us)
}

pub fn divide(interval: &Interval, divisor: f64) -> Result<Interval> {
    if divisor == 0.0 {
        return Err(crate::numeric::division_by_zero());
    }
    let months = f64::from(interval.months) / divisor;
    let days = f64::from(interval.days) / divisor;
    scaled(months, days, |days_us| interval.microseconds as f64 / divisor + days_us)
}

fn scaled(months: f64, days: f64, microseconds: impl Fn(f64) -> f64) -> Result<Interval> {
    let whole = |x: f64| -> Result<i32> {
        if x.is_nan() || x > f64::from(i32::MAX) || x < f64::from(i32::MIN) {
            return Err(out_of_range());
        }
        Ok(x as i32)
    };
    let (whole_months, mut whole_days) = (whole(months)?, whole(days)?);
    // Six decimals of a second are all that a fraction can mean; beyond is noise of the product.
    let to_microsecond = |x: f64| (x * 1e6).round_ties_even() / 1e6;
    let month_remainder_days = to_microsecond((months - f64::from(whole_months)) * 30.0);
    let mut seconds =
        to_microsecond((days - f64::from(whole_days) + month_remainder_days - month_remainder_days.trunc()) * 86_400.0);
    if seconds.abs() >= 86_400.0 {
        let carried = (seconds / 86_400.0) as i32;
        whole_days = whole_days.checked_add(carried).ok_or_else(out_of_range)?;
        seconds -= f64::from(carried) * 86_400.0;
    }
    let days = whole_days.checked_add(month_remainder_days as i32).ok_or_else(out_of_range)?;
    let time = microseconds(seconds * 1e6).round_ties_even();
    if time.is_nan() || time.abs() >= 9.223_372_036_854_775e18 {
        return Err(out_of_range());
    }
    Ok(Interval { months: whole_months, days, microseconds: time as i64 })
}

/// Whole days out of the time.
pub fn justify_hours(interval: &Interval) -> Interval {
    let mut days = i64::from(interval.days) + interval.microseconds / DAY_US;
    let mut time = interval.microseconds % DAY_US;
    if days > 0 && time < 0 {
        time += DAY_US;
        days -= 1;
    } else if days < 0 && time > 0 {
        time -= DAY_US;
        days += 1;
    }
    Interval { days: clamp(days), microseconds: time, ..*interval }
}

/// Whole months out of the days.
pub fn justify_days(interval: &Interval) -> Interval {
    let mut months = i64::from(interval.months) + i64::from(interval.days / 30);
    let mut days = i64::from(interval.days % 30);
    if months > 0 && days < 0 {
        days += 30;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= 30;
        months += 1;
    }
    Interval { months: clamp(months), days: clamp(days), ..*interval }
}

/// Both, with one sign for all parts.
pub fn justify_interval(interval: &Interval) -> Interval {
    let mut days = i64::from(interval.days) + interval.microseconds / DAY_US;
    let mut time = interval.microseconds % DAY_US;
    let mut months = i64::from(interval.months) + days / 30;
    days %= 30;
    if months > 0 && (days < 0 || days == 0 && time < 0) {
        days += 30;
        months -= 1;
    } else if months < 0 && (days > 0 || days == 0 && time > 0) {
        days -= 30;
        months += 1;
    }
    if days > 0 && time < 0 {
        time += DAY_US;
        days -= 1;
    } else if days < 0 && time > 0 {
        time -= DAY_US;
        days += 1;
    }
    Interval { months: clamp(months), days: clamp(days), microseconds: time }
}

/// A difference of two timestamps never has more days than fit.
fn clamp(n: i64) -> i32 {
    i32::try_from(n).unwrap_or(if n < 0 { i32::MIN } else { i32::MAX })
}

/// What a unit word stands for.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word.to_ascii_lowercase().as_str() {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" | "microsecond" | "microseconds" => {
            Unit::Microsecond
        }
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" | "millisecond" | "milliseconds" => {
            Unit::Millisecond
        }
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        _ => return None,
    })
}

/// Accumulates the parts in wide numbers, so that overflow shows only at the end.
#[derive(Default)]
struct Total {
    months: f64,
    days: f64,
    us: f64,
    exact_us: i128,
}

impl Total {
    fn add(&mut self, value: f64, unit: Unit) {
        match unit {
            Unit::Microsecond => self.us += value,
            Unit::Millisecond => self.us += value * 1e3,
            Unit::Second => self.us += value * 1e6,
            Unit::Minute => self.us += value * MINUTE_US as f64,
            Unit::Hour => self.us += value * HOUR_US as f64,
            Unit::Day => self.add_days(value),
            Unit::Week => self.add_days(value * 7.0),
            Unit::Month => {
                self.months += value.trunc();
                self.add_days(value.fract() * 30.0);
            }
            Unit::Year => self.months += (value * 12.0).round_ties_even(),
            Unit::Decade => self.months += (value * 120.0).round_ties_even(),
            Unit::Century => self.months += (value * 1200.0).round_ties_even(),
            Unit::Millennium => self.months += (value * 12_000.0).round_ties_even(),
        }
    }

    fn add_days(&mut self, days: f64) {
        self.days += days.trunc();
        self.us += days.fract() * DAY_US as f64;
    }

    fn finish(self, negate_all: bool) -> Option<Interval> {
        let narrow = |x: f64| (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&x).then_some(x as i32);
        if self.us.abs() > 9.3e18 {
            return None;
        }
        let us = i64::try_from(self.exact_us + self.us.round_ties_even() as i128).ok()?;
        let interval = Interval { months: narrow(self.months)?, days: narrow(self.days)?, microseconds: us };
        if negate_all { negate(&interval).ok() } else { Some(interval) }
    }
}

/// Reads PostgreSQL's, SQL's and ISO 8601's interval syntax.
pub fn parse(text: &str) -> Result<Interval> {
    let invalid = || SqlError::new("22007", format!("invalid input syntax for type interval: \"{text}\""));
    let overflow = || SqlError::new("22008", format!("interval field value out of range: \"{text}\""));
    let trimmed = text.trim();
    if trimmed.len() > 1000 {
        return Err(invalid());
    }
    if trimmed.starts_with(['P', 'p']) {
        return parse_iso(trimmed).ok_or_else(invalid)?.finish(false).ok_or_else(overflow);
    }
    let tokens = tokens(trimmed).ok_or_else(invalid)?;
    let mut total = Total::default();
    let (mut ago, mut any) = (false, false);
    let mut pending: Option<&str> = None;
    for token in &tokens {
        let token = token.as_str();
        if token.contains(':') {
            if let Some(days) = pending.take() {
                total.add(days.parse().map_err(|_| invalid())?, Unit::Day);
            }
            total.exact_us += i128::from(clock(token).ok_or_else(invalid)?);
            any = true;
        } else if let Some((negative, years, months)) = year_month(token) {
            let months = (years * 12 + months) as f64;
            total.months += if negative { -months } else { months };
            any = true;
        } else if token.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
            if pending.is_some() {
                return Err(invalid());
            }
            pending = Some(token);
        } else if token == "@" {
        } else if token.eq_ignore_ascii_case("ago") && any && pending.is_none() {
            ago = true;
        } else {
            let value = pending.take().ok_or_else(invalid)?;
            let unit = unit(token).ok_or_else(invalid)?;
            total.add(value.parse().map_err(|_| invalid())?, unit);
            any = true;
        }
    }
    if let Some(seconds) = pending {
        total.add(seconds.parse().map_err(|_| invalid())?, Unit::Second);
        any = true;
    }
    if !any {
        return Err(invalid());
    }
    total.finish(ago).ok_or_else(overflow)
}

/// Splits at spaces and between a number and its unit (`1day`).
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    for word in text.split(|c: char| c.is_ascii_whitespace() || c == ',') {
        let mut rest = word;
        while !rest.is_empty() {
            let numeric = rest.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            let end = if numeric {
                rest.find(|c: char| !(c.is_ascii_digit() || "+-.:".contains(c))).unwrap_or(rest.len())
            } else {
                rest.find(|c: char| c.is_ascii_digit() || "+-.".contains(c)).unwrap_or(rest.len())
            };
            tokens.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    // A sign on its own belongs to the number after it.
    let mut joined: Vec<String> = Vec::new();
    for token in tokens {
        match joined.last_mut() {
            Some(last) if last == "-" || last == "+" => last.push_str(&token),
            _ => joined.push(token),
        }
    }
    (!joined.is_empty()).then_some(joined)
}

/// `[-]h:mm[:ss[.f]]`; two parts with a fraction are minutes and seconds.
fn clock(token: &str) -> Option<i64> {
    let (negative, body) = match token.as_bytes()[0] {
        b'-' => (true, &token[1..]),
        b'+' => (false, &token[1..]),
        _ => (false, token),
    };
    let parts: Vec<&str> = body.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [m, s] if s.contains('.') => ("0", *m, *s),
        [h, m] => (*h, *m, "0"),
        [h, m, s] => (*h, *m, *s),
        _ => return None,
    };
    let hours: i64 = hours.parse().ok()?;
    let minutes: i64 = minutes.parse().ok()?;
    let seconds = super::parse::seconds_us(seconds)?;
    if hours < 0 || !(0..60).contains(&minutes) || seconds > 60 * SECOND_US {
        return None;
    }
    let us = hours.checked_mul(HOUR_US)?.checked_add(minutes * MINUTE_US)?.checked_add(seconds)?;
    Some(if negative { -us } else { us })
}

/// SQL's `[-]years-months`.
fn year_month(token: &str) -> Option<(bool, i64, i64)> {
    let (negative, body) = match token.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, token),
    };
    let (years, months) = body.split_once('-')?;
    let (years, months): (i64, i64) = (years.parse().ok()?, months.parse().ok()?);
    ((0..=178_956_970).contains(&years) && (0..12).contains(&months)).then_some((negative, years, months))
}

/// `P1Y2M3DT4H5M6.7S`.
fn parse_iso(text: &str) -> Option<Total> {
    let mut total = Total::default();
    let mut in_time = false;
    let mut number = String::new();
    let mut any = false;
    for c in text[1..].chars() {
        match c.to_ascii_uppercase() {
            'T' if number.is_empty() && !in_time => in_time = true,
            c if c.is_ascii_digit() || "+-.".contains(c) => number.push(c),
            c => {
                let value: f64 = std::mem::take(&mut number).parse().ok()?;
                let unit = match (c, in_time) {
                    ('Y', false) => Unit::Year,
                    ('M', false) => Unit::Month,
                    ('W', false) => Unit::Week,
                    ('D', false) => Unit::Day,
                    ('H', true) => Unit::Hour,
                    ('M', true) => Unit::Minute,
                    ('S', true) => Unit::Second,
                    _ => return None,
                };
                total.add(value, unit);
                any = true;
            }
        }
    }
    (any && number.is_empty()).then_some(total)
}
