//! Time zones: names, abbreviations and offsets, and the way between instants and local time.

use jiff::tz::{AmbiguousOffset, TimeZone};

use super::{DAY_US, SECOND_US, check_timestamp, is_infinite};
use crate::error::{Result, SqlError};

/// Abbreviations that PostgreSQL knows by default and people use, in hours (half hours as `.5`).
const ABBREVIATIONS: &[(&str, f32)] = &[
    ("utc", 0.0),
    ("gmt", 0.0),
    ("z", 0.0),
    ("zulu", 0.0),
    ("ut", 0.0),
    ("wet", 0.0),
    ("west", 1.0),
    ("bst", 1.0),
    ("cet", 1.0),
    ("met", 1.0),
    ("cest", 2.0),
    ("mest", 2.0),
    ("eet", 2.0),
    ("eest", 3.0),
    ("msk", 3.0),
    ("ist", 2.0),
    ("jst", 9.0),
    ("kst", 9.0),
    ("aest", 10.0),
    ("aedt", 11.0),
    ("nzst", 12.0),
    ("nzdt", 13.0),
    ("ast", -4.0),
    ("adt", -3.0),
    ("nst", -3.5),
    ("est", -5.0),
    ("edt", -4.0),
    ("cst", -6.0),
    ("cdt", -5.0),
    ("mst", -7.0),
    ("mdt", -6.0),
    ("pst", -8.0),
    ("pdt", -7.0),
    ("akst", -9.0),
    ("akdt", -8.0),
    ("hst", -10.0),
];

/// A zone, resolved.
#[derive(Clone, Debug)]
pub enum Zone {
    /// Seconds east of Greenwich.
    Fixed(i64),
    Named(TimeZone),
}

/// Seconds east of an abbreviation.
pub fn abbreviation(name: &str) -> Option<i64> {
    let name = name.to_ascii_lowercase();
    ABBREVIATIONS.iter().find(|(known, _)| *known == name).map(|(_, hours)| (hours * 3600.0) as i64)
}

/// `±HH`, `±HHMM`, `±HH:MM` or `±HH:MM:SS` as seconds, positive for `+`.
pub fn numeric_offset(text: &str) -> Option<i64> {
    let (sign, body) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let mut parts: Vec<i64> = Vec::new();
    if body.contains(':') {
        for part in body.split(':') {
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            parts.push(part.parse().ok()?);
        }
    } else {
        if !body.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        match body.len() {
            1 | 2 => parts.push(body.parse().ok()?),
            3 => parts.extend([body[..1].parse::<i64>().ok()?, body[1..].parse::<i64>().ok()?]),
            4 => parts.extend([body[..2].parse::<i64>().ok()?, body[2..].parse::<i64>().ok()?]),
            _ => return None,
        }
    }
    let (hours, minutes, seconds) =
        (parts.first().copied()?, parts.get(1).copied().unwrap_or(0), parts.get(2).copied().unwrap_or(0));
    if parts.len() > 3 || hours > 15 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Finds a zone by the names that `SET TIME ZONE` and `AT TIME ZONE` take. A bare offset there is
/// POSIX: positive is west.
pub fn find(name: &str) -> Result<Zone> {
    if name.eq_ignore_ascii_case("utc") {
        return Ok(Zone::Fixed(0));
    }
    if let Some(offset) = numeric_offset(name) {
        return Ok(Zone::Fixed(-offset));
    }
    if let Some(offset) = abbreviation(name) {
        return Ok(Zone::Fixed(offset));
    }
    if let Ok(zone) = TimeZone::get(name) {
        return Ok(Zone::Named(zone));
    }
    // "UTC+3", "<X>-2": letters, then a POSIX offset.
    let letters = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    if letters.len() + 3 <= name.len() {
        let offset =
            if letters.starts_with(|c: char| c.is_ascii_digit()) { format!("+{letters}") } else { letters.to_owned() };
        if let Some(offset) = numeric_offset(&offset) {
            return Ok(Zone::Fixed(-offset));
        }
    }
    Err(SqlError::new("22023", format!("time zone \"{name}\" not recognized")))
}

/// Years beyond these repeat the rules of a year 400 years nearer.
const CYCLE_US: i64 = 146_097 * DAY_US;
const JIFF_LIMIT_US: i64 = 253_000_000_000 * SECOND_US;

fn nearer(us: i64) -> i64 {
    if us > JIFF_LIMIT_US {
        us - (us - JIFF_LIMIT_US).div_euclid(CYCLE_US) * CYCLE_US - CYCLE_US
    } else if us < -JIFF_LIMIT_US {
        us + (-JIFF_LIMIT_US - us).div_euclid(CYCLE_US) * CYCLE_US + CYCLE_US
    } else {
        us
    }
}

impl Zone {
    /// Seconds east at an instant.
    pub fn offset_at(&self, us: i64) -> i64 {
        match self {
            Zone::Fixed(offset) => *offset,
            Zone::Named(zone) => {
                jiff::Timestamp::from_microsecond(nearer(us)).map_or(0, |t| i64::from(zone.to_offset(t).seconds()))
            }
        }
    }

    /// Seconds east at a local time. A time that does not exist is read with the offset before the
    /// change, one that exists twice with the offset after it.
    pub fn offset_at_local(&self, local_us: i64) -> i64 {
        let zone = match self {
            Zone::Fixed(offset) => return *offset,
            Zone::Named(zone) => zone,
        };
        let Ok(as_utc) = jiff::Timestamp::from_microsecond(nearer(local_us)) else { return 0 };
        let local = jiff::tz::Offset::UTC.to_datetime(as_utc);
        let offset = match zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { after, .. } => after,
        };
        i64::from(offset.seconds())
    }
}

/// Seconds east of a zone at an instant.
pub fn offset_at(us: i64, time_zone: &str) -> Result<i64> {
    Ok(find(time_zone)?.offset_at(us))
}

/// The zone's wall clock at an instant, as a timestamp.
pub fn to_local(us: i64, time_zone: &str) -> Result<i64> {
    if is_infinite(us) || time_zone == "UTC" {
        return Ok(us);
    }
    check_timestamp(i128::from(us) + i128::from(find(time_zone)?.offset_at(us)) * i128::from(SECOND_US))
}

/// The instant at which the zone's wall clock shows `local_us`.
pub fn to_instant(local_us: i64, time_zone: &str) -> Result<i64> {
    if is_infinite(local_us) || time_zone == "UTC" {
        return Ok(local_us);
    }
    let offset = find(time_zone)?.offset_at_local(local_us);
    check_timestamp(i128::from(local_us) - i128::from(offset) * i128::from(SECOND_US))
}

/// `+00`, `+05:30`, `-03:30:52`.
pub fn write_offset(offset: i64, out: &mut String) {
    use std::fmt::Write;
    let magnitude = offset.abs();
    let (hours, minutes, seconds) = (magnitude / 3600, magnitude / 60 % 60, magnitude % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    let _ = write!(out, "{sign}{hours:02}");
    if minutes != 0 || seconds != 0 {
        let _ = write!(out, ":{minutes:02}");
    }
    if seconds != 0 {
        let _ = write!(out, ":{seconds:02}");
    }
}
