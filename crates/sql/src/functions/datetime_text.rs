//! `to_char`, `to_date`, `to_timestamp` and `to_number`.

use super::{Registry, number_format};
use crate::datetime::format::{self, Moment};
use crate::datetime::{self, Civil, read, zone};
use crate::datum::Datum;
use crate::error::Result;
use crate::expr::EvalContext;
use crate::numeric::Numeric;

pub(super) fn register(r: &mut Registry) {
    r.strict("to_char(timestamp, text) -> text", |args, ctx| {
        let us = args[0].as_timestamp()?;
        if datetime::is_infinite(us) {
            return Ok(Datum::Null);
        }
        let moment = Moment { civil: Civil::from_us(us), offset: None, is_interval: false };
        Ok(Datum::text(format::write(args[1].as_text()?, &moment, ctx.time_zone)))
    });
    r.strict("to_char(timestamptz, text) -> text", to_char_in_zone).stable();
    r.strict("to_char(interval, text) -> text", |args, ctx| {
        let moment = Moment::of_interval(args[0].as_interval()?);
        Ok(Datum::text(format::write(args[1].as_text()?, &moment, ctx.time_zone)))
    });
    r.strict("to_char(numeric, text) -> text", |args, _| {
        number_format::write(args[0].as_numeric()?, args[1].as_text()?).map(Datum::text)
    });
    for ty in ["int4", "int8"] {
        r.strict(&format!("to_char({ty}, text) -> text"), |args, _| {
            number_format::write(&Numeric::from_i64(args[0].as_int()?), args[1].as_text()?).map(Datum::text)
        });
    }
    for ty in ["float4", "float8"] {
        r.strict(&format!("to_char({ty}, text) -> text"), |args, _| {
            number_format::write(&Numeric::from_f64(args[0].as_float()?), args[1].as_text()?).map(Datum::text)
        });
    }
    r.strict("to_number(text, text) -> numeric", |args, _| {
        number_format::read(args[0].as_text()?, args[1].as_text()?).map(Datum::Numeric)
    });
    r.strict("to_date(text, text) -> date", |args, _| {
        let found = read::read(args[0].as_text()?, args[1].as_text()?)?;
        datetime::check_date(found.days).map(Datum::Date)
    });
    r.strict("to_timestamp(text, text) -> timestamptz", |args, ctx| {
        let found = read::read(args[0].as_text()?, args[1].as_text()?)?;
        let local = i128::from(found.days) * i128::from(datetime::DAY_US) + i128::from(found.time_us);
        let us = match found.offset {
            Some(offset) => datetime::check_timestamp(local - i128::from(offset) * i128::from(datetime::SECOND_US))?,
            None => zone::to_instant(datetime::check_timestamp(local)?, ctx.time_zone)?,
        };
        Ok(Datum::Timestamp(us))
    })
    .stable();
}

fn to_char_in_zone(args: &[Datum], ctx: &EvalContext<'_>) -> Result<Datum> {
    let us = args[0].as_timestamp()?;
    if datetime::is_infinite(us) {
        return Ok(Datum::Null);
    }
    let offset = zone::offset_at(us, ctx.time_zone)?;
    let local = zone::to_local(us, ctx.time_zone)?;
    let moment = Moment { civil: Civil::from_us(local), offset: Some(offset), is_interval: false };
    Ok(Datum::text(format::write(args[1].as_text()?, &moment, ctx.time_zone)))
}
