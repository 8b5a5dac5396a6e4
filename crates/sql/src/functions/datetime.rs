//! Dates, times and intervals: operators and functions.

use super::{PlainEval, Registry};
use crate::datetime::fields::{self, Instant};
use crate::datetime::{self, DAY_US, interval, zone};
use crate::datum::{Datum, Interval};
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::numeric::Numeric;

pub(super) fn register(r: &mut Registry) {
    date_operators(r);
    timestamp_operators(r);
    interval_operators(r);
    extraction(r);
    truncation(r);
    zones(r);
    making(r);
    misc(r);
    super::datetime_text::register(r);
}

fn boxed(value: Interval) -> Datum {
    Datum::Interval(Box::new(value))
}

fn date_operators(r: &mut Registry) {
    r.strict("+(date, int4) -> date", |args, _| add_days(&args[0], args[1].as_int()?));
    r.strict("+(int4, date) -> date", |args, _| add_days(&args[1], args[0].as_int()?));
    r.strict("-(date, int4) -> date", |args, _| add_days(&args[0], -args[1].as_int()?));
    r.strict("-(date, date) -> int4", |args, _| {
        let (a, b) = (args[0].as_date()?, args[1].as_date()?);
        if datetime::is_infinite_date(a) || datetime::is_infinite_date(b) {
            return Err(SqlError::new("22008", "cannot subtract infinite dates"));
        }
        crate::cast::fit_integer(i64::from(a) - i64::from(b), &crate::types::Type::Int4)
    });
    r.strict("+(date, interval) -> timestamp", |args, _| date_plus(&args[0], args[1].as_interval()?));
    r.strict("+(interval, date) -> timestamp", |args, _| date_plus(&args[1], args[0].as_interval()?));
    r.strict("-(date, interval) -> timestamp", |args, _| {
        date_plus(&args[0], &interval::negate(args[1].as_interval()?)?)
    });
    r.strict("+(date, time) -> timestamp", |args, _| date_and_time(&args[0], &args[1]));
    r.strict("+(time, date) -> timestamp", |args, _| date_and_time(&args[1], &args[0]));
    r.strict("+(time, interval) -> time", |args, _| time_plus(&args[0], args[1].as_interval()?));
    r.strict("+(interval, time) -> time", |args, _| time_plus(&args[1], args[0].as_interval()?));
    r.strict("-(time, interval) -> time", |args, _| time_plus(&args[0], &interval::negate(args[1].as_interval()?)?));
    r.strict("-(time, time) -> interval", |args, _| {
        let microseconds = args[0].as_time()? - args[1].as_time()?;
        Ok(boxed(Interval { months: 0, days: 0, microseconds }))
    });
}

fn add_days(date: &Datum, days: i64) -> Result<Datum> {
    let date = date.as_date()?;
    if datetime::is_infinite_date(date) {
        return Ok(Datum::Date(date));
    }
    datetime::check_date(i64::from(date).saturating_add(days)).map(Datum::Date)
}

fn date_plus(date: &Datum, value: &Interval) -> Result<Datum> {
    let us = datetime::date_to_timestamp(date.as_date()?)?;
    datetime::add_interval(us, value).map(Datum::Timestamp)
}

fn date_and_time(date: &Datum, time: &Datum) -> Result<Datum> {
    let us = datetime::date_to_timestamp(date.as_date()?)?;
    if datetime::is_infinite(us) {
        return Ok(Datum::Timestamp(us));
    }
    datetime::check_timestamp(i128::from(us) + i128::from(time.as_time()?)).map(Datum::Timestamp)
}

fn time_plus(time: &Datum, value: &Interval) -> Result<Datum> {
    let within = value.microseconds % DAY_US;
    Ok(Datum::Time((time.as_time()? + within).rem_euclid(DAY_US)))
}

fn timestamp_operators(r: &mut Registry) {
    r.strict("+(timestamp, interval) -> timestamp", |args, _| {
        datetime::add_interval(args[0].as_timestamp()?, args[1].as_interval()?).map(Datum::Timestamp)
    });
    r.strict("+(interval, timestamp) -> timestamp", |args, _| {
        datetime::add_interval(args[1].as_timestamp()?, args[0].as_interval()?).map(Datum::Timestamp)
    });
    r.strict("-(timestamp, interval) -> timestamp", |args, _| {
        datetime::add_interval(args[0].as_timestamp()?, &interval::negate(args[1].as_interval()?)?)
            .map(Datum::Timestamp)
    });
    r.strict("+(timestamptz, interval) -> timestamptz", |args, ctx| {
        instant_plus(&args[0], args[1].as_interval()?, ctx)
    })
    .stable();
    r.strict("+(interval, timestamptz) -> timestamptz", |args, ctx| {
        instant_plus(&args[1], args[0].as_interval()?, ctx)
    })
    .stable();
    r.strict("-(timestamptz, interval) -> timestamptz", |args, ctx| {
        instant_plus(&args[0], &interval::negate(args[1].as_interval()?)?, ctx)
    })
    .stable();
    for ty in ["timestamp", "timestamptz"] {
        r.strict(&format!("-({ty}, {ty}) -> interval"), |args, _| {
            datetime::difference(args[0].as_timestamp()?, args[1].as_timestamp()?).map(boxed)
        });
        r.strict(&format!("age({ty}, {ty}) -> interval"), if ty == "timestamp" { age } else { age_in_zone }).stable();
    }
    r.strict("age(timestamp) -> interval", |args, ctx| {
        let midnight = today(ctx)?;
        datetime::age(midnight, args[0].as_timestamp()?).map(boxed)
    })
    .stable();
    r.strict("age(timestamptz) -> interval", |args, ctx| {
        let local = zone::to_local(args[0].as_timestamp()?, ctx.time_zone)?;
        datetime::age(today(ctx)?, local).map(boxed)
    })
    .stable();
}

/// Local midnight of the statement's day.
fn today(ctx: &EvalContext<'_>) -> Result<i64> {
    let local = zone::to_local(ctx.now_us, ctx.time_zone)?;
    Ok(local - local.rem_euclid(DAY_US))
}

fn instant_plus(at: &Datum, value: &Interval, ctx: &EvalContext<'_>) -> Result<Datum> {
    datetime::add_interval_in_zone(at.as_timestamp()?, value, ctx.time_zone).map(Datum::Timestamp)
}

fn age(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    datetime::age(args[0].as_timestamp()?, args[1].as_timestamp()?).map(boxed)
}

fn age_in_zone(args: &[Datum], ctx: &EvalContext<'_>) -> Result<Datum> {
    let local = |datum: &Datum| zone::to_local(datum.as_timestamp()?, ctx.time_zone);
    datetime::age(local(&args[0])?, local(&args[1])?).map(boxed)
}

fn interval_operators(r: &mut Registry) {
    r.strict("+(interval, interval) -> interval", |args, _| {
        interval::add(args[0].as_interval()?, args[1].as_interval()?).map(boxed)
    });
    r.strict("-(interval, interval) -> interval", |args, _| {
        interval::add(args[0].as_interval()?, &interval::negate(args[1].as_interval()?)?).map(boxed)
    });
    r.strict("-(interval) -> interval", |args, _| interval::negate(args[0].as_interval()?).map(boxed));
    r.strict("*(interval, float8) -> interval", |args, _| {
        interval::multiply(args[0].as_interval()?, args[1].as_float()?).map(boxed)
    });
    r.strict("*(float8, interval) -> interval", |args, _| {
        interval::multiply(args[1].as_interval()?, args[0].as_float()?).map(boxed)
    });
    r.strict("/(interval, float8) -> interval", |args, _| {
        interval::divide(args[0].as_interval()?, args[1].as_float()?).map(boxed)
    });
    r.strict("justify_hours(interval) -> interval", |args, _| {
        Ok(boxed(interval::justify_hours(args[0].as_interval()?)))
    });
    r.strict("justify_days(interval) -> interval", |args, _| Ok(boxed(interval::justify_days(args[0].as_interval()?))));
    r.strict("justify_interval(interval) -> interval", |args, _| {
        Ok(boxed(interval::justify_interval(args[0].as_interval()?)))
    });
}

/// The moment that a timestamp argument means.
fn instant(datum: &Datum, zoned: bool, ctx: &EvalContext<'_>) -> Result<Instant> {
    let us = datum.as_timestamp()?;
    if !zoned || datetime::is_infinite(us) {
        return Ok(Instant { us, local_us: us, offset: zoned.then_some(0) });
    }
    let offset = zone::offset_at(us, ctx.time_zone)?;
    Ok(Instant { us, local_us: zone::to_local(us, ctx.time_zone)?, offset: Some(offset) })
}

fn extract(args: &[Datum], zoned: bool, ctx: &EvalContext<'_>) -> Result<Option<Numeric>> {
    let name = args[0].as_text()?;
    match &args[1] {
        Datum::Timestamp(_) => {
            let ty = if zoned { "timestamp with time zone" } else { "timestamp without time zone" };
            fields::of_timestamp(name, &instant(&args[1], zoned, ctx)?, ty)
        }
        Datum::Date(days) => fields::of_day(name, *days),
        Datum::Time(us) => fields::of_time(name, *us).map(Some),
        Datum::Interval(value) => fields::of_interval(name, value).map(Some),
        other => Err(SqlError::internal(format!("cannot extract from {other:?}"))),
    }
}

fn extraction(r: &mut Registry) {
    for ty in ["timestamp", "date", "time", "interval"] {
        r.strict(&format!("extract(text, {ty}) -> numeric"), |args, ctx| {
            Ok(extract(args, false, ctx)?.map_or(Datum::Null, Datum::Numeric))
        });
        r.strict(&format!("date_part(text, {ty}) -> float8"), |args, ctx| date_part(args, false, ctx));
    }
    r.strict("extract(text, timestamptz) -> numeric", |args, ctx| {
        Ok(extract(args, true, ctx)?.map_or(Datum::Null, Datum::Numeric))
    })
    .stable();
    r.strict("date_part(text, timestamptz) -> float8", |args, ctx| date_part(args, true, ctx)).stable();
}

fn date_part(args: &[Datum], zoned: bool, ctx: &EvalContext<'_>) -> Result<Datum> {
    // Of a date, date_part answers as of its midnight.
    if let Datum::Date(days) = &args[1] {
        let midnight = [args[0].clone(), Datum::Timestamp(datetime::date_to_timestamp(*days)?)];
        return date_part(&midnight, false, ctx);
    }
    Ok(extract(args, zoned, ctx)?.map_or(Datum::Null, |n| Datum::Float(n.to_f64())))
}

fn truncation(r: &mut Registry) {
    r.strict("date_trunc(text, timestamp) -> timestamp", |args, _| {
        fields::truncate(args[0].as_text()?, args[1].as_timestamp()?, "timestamp without time zone")
            .map(Datum::Timestamp)
    });
    r.strict("date_trunc(text, timestamptz) -> timestamptz", |args, ctx| {
        truncate_in_zone(args[0].as_text()?, args[1].as_timestamp()?, ctx.time_zone)
    })
    .stable();
    r.strict("date_trunc(text, timestamptz, text) -> timestamptz", |args, _| {
        truncate_in_zone(args[0].as_text()?, args[1].as_timestamp()?, args[2].as_text()?)
    })
    .stable();
    r.strict("date_trunc(text, interval) -> interval", |args, _| {
        fields::truncate_interval(args[0].as_text()?, args[1].as_interval()?).map(boxed)
    });
    for ty in ["timestamp", "timestamptz"] {
        r.strict(&format!("date_bin(interval, {ty}, {ty}) -> {ty}"), |args, _| {
            datetime::date_bin(args[0].as_interval()?, args[1].as_timestamp()?, args[2].as_timestamp()?)
                .map(Datum::Timestamp)
        });
    }
}

fn truncate_in_zone(unit: &str, us: i64, time_zone: &str) -> Result<Datum> {
    const TYPE: &str = "timestamp with time zone";
    if datetime::is_infinite(us) {
        return fields::truncate(unit, us, TYPE).map(Datum::Timestamp);
    }
    let local = zone::to_local(us, time_zone)?;
    let truncated = fields::truncate(unit, local, TYPE)?;
    if fields::is_calendar(unit) {
        return zone::to_instant(truncated, time_zone).map(Datum::Timestamp);
    }
    // Within a day the offset stays what it was, also in the hour that a clock change repeats.
    Ok(Datum::Timestamp(us - (local - truncated)))
}

fn zones(r: &mut Registry) {
    r.strict("timezone(text, timestamptz) -> timestamp", |args, _| {
        zone::to_local(args[1].as_timestamp()?, args[0].as_text()?).map(Datum::Timestamp)
    });
    r.strict("timezone(text, timestamp) -> timestamptz", |args, _| {
        zone::to_instant(args[1].as_timestamp()?, args[0].as_text()?).map(Datum::Timestamp)
    });
    r.strict("timezone(interval, timestamptz) -> timestamp", |args, _| shifted(args, 1));
    r.strict("timezone(interval, timestamp) -> timestamptz", |args, _| shifted(args, -1));
}

fn shifted(args: &[Datum], sign: i128) -> Result<Datum> {
    let offset = args[0].as_interval()?;
    if offset.months != 0 || offset.days != 0 {
        return Err(SqlError::new("22023", "interval time zone must not include months or days"));
    }
    let us = args[1].as_timestamp()?;
    if datetime::is_infinite(us) {
        return Ok(args[1].clone());
    }
    datetime::check_timestamp(i128::from(us) + sign * i128::from(offset.microseconds)).map(Datum::Timestamp)
}

fn field_range(what: &str, args: &[Datum]) -> SqlError {
    let parts: Vec<String> = args.iter().map(|d| d.as_int().map_or_else(|_| "?".into(), |n| n.to_string())).collect();
    SqlError::new("22008", format!("{what} field value out of range: {}", parts.join("-")))
}

/// Microseconds since midnight of hour, minute and second.
fn clock(hour: &Datum, minute: &Datum, second: &Datum) -> Result<i64> {
    let (hour, minute, second) = (hour.as_int()?, minute.as_int()?, second.as_float()?);
    let us = (second * 1e6).round_ties_even();
    let valid = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60_000_000.0).contains(&us);
    let total = if valid { hour * datetime::HOUR_US + minute * datetime::MINUTE_US + us as i64 } else { i64::MAX };
    if total > DAY_US {
        return Err(SqlError::new("22008", format!("time field value out of range: {hour}:{minute:02}:{second:02}")));
    }
    Ok(total)
}

fn day(args: &[Datum]) -> Result<i64> {
    let (year, month, day) = (args[0].as_int()?, args[1].as_int()?, args[2].as_int()?);
    // A negative year is BC; there is no year 0.
    let astronomical = if year < 0 { year + 1 } else { year };
    datetime::parse::checked_days(astronomical, month, day)
        .filter(|_| year != 0)
        .ok_or_else(|| field_range("date", &args[..3]))
}

fn making(r: &mut Registry) {
    r.strict("make_date(int4, int4, int4) -> date", |args, _| datetime::check_date(day(args)?).map(Datum::Date));
    r.strict("make_time(int4, int4, float8) -> time", |args, _| clock(&args[0], &args[1], &args[2]).map(Datum::Time));
    r.strict("make_timestamp(int4, int4, int4, int4, int4, float8) -> timestamp", |args, _| {
        made_timestamp(args).map(Datum::Timestamp)
    });
    r.strict("make_timestamptz(int4, int4, int4, int4, int4, float8) -> timestamptz", |args, ctx| {
        zone::to_instant(made_timestamp(args)?, ctx.time_zone).map(Datum::Timestamp)
    })
    .stable();
    r.strict("make_timestamptz(int4, int4, int4, int4, int4, float8, text) -> timestamptz", |args, _| {
        zone::to_instant(made_timestamp(args)?, args[6].as_text()?).map(Datum::Timestamp)
    })
    .stable();
    // Trailing arguments have defaults of zero.
    const PARTS: [&str; 7] = ["int4", "int4", "int4", "int4", "int4", "int4", "float8"];
    for count in 0..=PARTS.len() {
        r.strict(&format!("make_interval({}) -> interval", PARTS[..count].join(", ")), make_interval);
    }
}

fn made_timestamp(args: &[Datum]) -> Result<i64> {
    let time = clock(&args[3], &args[4], &args[5])?;
    datetime::check_timestamp(i128::from(day(args)?) * i128::from(DAY_US) + i128::from(time))
}

fn make_interval(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    let part = |i: usize| args.get(i).map_or(Ok(0), Datum::as_int);
    let out_of_range = || SqlError::new("22008", "interval out of range");
    let months = part(0)? * 12 + part(1)?;
    let days = part(2)? * 7 + part(3)?;
    let seconds = args.get(6).map_or(Ok(0.0), Datum::as_float)?;
    let us = (seconds * 1e6).round_ties_even();
    if us.is_nan() || us.abs() > 9.2e18 {
        return Err(out_of_range());
    }
    let microseconds = i128::from(part(4)?) * i128::from(datetime::HOUR_US)
        + i128::from(part(5)?) * i128::from(datetime::MINUTE_US)
        + us as i128;
    Ok(boxed(Interval {
        months: i32::try_from(months).map_err(|_| out_of_range())?,
        days: i32::try_from(days).map_err(|_| out_of_range())?,
        microseconds: i64::try_from(microseconds).map_err(|_| out_of_range())?,
    }))
}

fn misc(r: &mut Registry) {
    for ty in ["timestamp", "timestamptz"] {
        r.strict(&format!("isfinite({ty}) -> bool"), |args, _| {
            Ok(Datum::Bool(!datetime::is_infinite(args[0].as_timestamp()?)))
        });
    }
    r.strict("isfinite(date) -> bool", |args, _| Ok(Datum::Bool(!datetime::is_infinite_date(args[0].as_date()?))));
    r.strict("isfinite(interval) -> bool", |_, _| Ok(Datum::Bool(true)));
    // Evaluation reads no clock: the statement's time stands for the clock's.
    r.strict("clock_timestamp() -> timestamptz", |_, ctx| Ok(Datum::Timestamp(ctx.now_us))).stable();
    r.strict("to_timestamp(float8) -> timestamptz", |args, _| {
        let seconds = args[0].as_float()?;
        match seconds {
            f64::INFINITY => return Ok(Datum::Timestamp(datetime::INFINITY)),
            f64::NEG_INFINITY => return Ok(Datum::Timestamp(datetime::NEGATIVE_INFINITY)),
            s if s.is_nan() => return Err(SqlError::new("22008", "timestamp cannot be NaN")),
            s if s.abs() > 9.3e12 => {
                return Err(SqlError::new("22008", format!("timestamp out of range: \"{seconds}\"")));
            }
            _ => {}
        }
        datetime::check_timestamp((seconds * 1e6).round_ties_even() as i128).map(Datum::Timestamp)
    });
    r.strict("to_timestamp(numeric) -> timestamptz", |args, _| {
        let us = args[0].as_numeric()?.multiply(&Numeric::from_i64(datetime::SECOND_US))?.round(0)?;
        let us = us.to_i64().ok_or_else(|| SqlError::new("22008", "timestamp out of range"))?;
        datetime::check_timestamp(i128::from(us)).map(Datum::Timestamp)
    });
    // An instant is what it is asked to become.
    r.strict("to_timestamp(timestamptz) -> timestamptz", |args, _| Ok(args[0].clone()));
    for ty in ["timestamp", "timestamptz", "date", "time"] {
        let eval: PlainEval = overlaps;
        r.lenient(&format!("overlaps({ty}, {ty}, {ty}, {ty}) -> bool"), eval);
        if ty != "date" {
            r.lenient(&format!("overlaps({ty}, interval, {ty}, interval) -> bool"), eval).stable();
        }
    }
}

/// `(s1, e1) OVERLAPS (s2, e2)`: half-open spans, a point where both ends are one.
fn overlaps(args: &[Datum], ctx: &EvalContext<'_>) -> Result<Datum> {
    let end = |start: &Datum, end: &Datum| -> Result<Datum> {
        match (start, end) {
            (Datum::Timestamp(us), Datum::Interval(value)) => {
                datetime::add_interval_in_zone(*us, value, ctx.time_zone).map(Datum::Timestamp)
            }
            (Datum::Time(_), Datum::Interval(value)) => time_plus(start, value),
            (Datum::Null, Datum::Interval(_)) => Ok(Datum::Null),
            _ => Ok(end.clone()),
        }
    };
    let order = |a: Datum, b: Datum| match (a.is_null(), b.is_null()) {
        (true, false) => (b, a),
        (false, false) if crate::compare::compare(&a, &b).is_gt() => (b, a),
        _ => (a, b),
    };
    let (s1, e1) = order(args[0].clone(), end(&args[0], &args[1])?);
    let (s2, e2) = order(args[2].clone(), end(&args[2], &args[3])?);
    if s1.is_null() || s2.is_null() {
        return Ok(Datum::Null);
    }
    let compare = crate::compare::compare;
    let (start, first_end) = match compare(&s1, &s2) {
        std::cmp::Ordering::Equal if e1.is_null() || e2.is_null() => return Ok(Datum::Null),
        std::cmp::Ordering::Equal => return Ok(Datum::Bool(true)),
        std::cmp::Ordering::Greater => (s1, e2),
        std::cmp::Ordering::Less => (s2, e1),
    };
    Ok(if first_end.is_null() { Datum::Null } else { Datum::Bool(compare(&start, &first_end).is_lt()) })
}

/// An interval's n-th part, as `/` has it.
pub fn mean(sum: &Datum, count: i64) -> Result<Datum> {
    interval::divide(sum.as_interval()?, count as f64).map(boxed)
}

/// Between two intervals, as `low + (high - low) * fraction` computes it.
pub fn between(low: &Datum, high: &Datum, fraction: f64) -> Result<Datum> {
    let (low, high) = (low.as_interval()?, high.as_interval()?);
    let way = interval::multiply(&interval::add(high, &interval::negate(low)?)?, fraction)?;
    interval::add(&way, low).map(boxed)
}

/// `value` an `offset` later or earlier: the bound of a RANGE frame.
pub fn shift(value: &Datum, offset: &Datum, forward: bool) -> Result<Datum> {
    let negative = match offset {
        Datum::Int(n) => *n < 0,
        Datum::Float(x) => *x < 0.0 || x.is_nan(),
        Datum::Numeric(n) => n.signum() < 0 || n.is_nan(),
        Datum::Interval(i) => interval::total_us(i) < 0,
        _ => false,
    };
    if negative {
        return Err(SqlError::new("22013", "invalid preceding or following size in window function"));
    }
    let signed = |value: &Interval| if forward { Ok(*value) } else { interval::negate(value) };
    match (value, offset) {
        (Datum::Int(a), Datum::Int(b)) => {
            Ok(Datum::Int(if forward { a.saturating_add(*b) } else { a.saturating_sub(*b) }))
        }
        (Datum::Float(a), Datum::Float(b)) => Ok(Datum::Float(if forward { a + b } else { a - b })),
        (Datum::Numeric(a), Datum::Numeric(b)) => Ok(Datum::Numeric(if forward { a.add(b)? } else { a.subtract(b)? })),
        (Datum::Timestamp(us), Datum::Interval(i)) => datetime::add_interval(*us, &signed(i)?).map(Datum::Timestamp),
        (Datum::Date(days), Datum::Interval(i)) => {
            let us = datetime::add_interval(datetime::date_to_timestamp(*days)?, &signed(i)?)?;
            Ok(Datum::Date(datetime::timestamp_to_date(us)))
        }
        (Datum::Interval(a), Datum::Interval(b)) => interval::add(a, &signed(b)?).map(boxed),
        _ => Err(SqlError::unsupported("RANGE with offset PRECEDING/FOLLOWING over this type")),
    }
}
