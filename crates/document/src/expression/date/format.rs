//! `$dateToString`.

use super::civil::{Civil, Zone};
use super::{date_arg, zone_arg};
use crate::error::{Error, Result};
use crate::expression::nullish;
use crate::expression::operator::{Args, Named};
use crate::expression::text::value_text;
use crate::value::Value;

pub(super) const TO_STRING: Named = Named {
    fields: &[("date", 18628), ("format", 0), ("timezone", 0), ("onNull", 0)],
    not_object: 18629,
    unknown: 18534,
};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) fn to_string(mut args: Args) -> Result<Option<Value>> {
    let format = match args.slot(1) {
        _ if !args.given(1) => None,
        Some(Value::String(format)) => Some(format.clone()),
        value if nullish(value) => return Ok(Some(Value::Null)),
        value => {
            return Err(Error::new(
                18533,
                format!(
                    "$dateToString requires that 'format' be a string, found: {} with value {}",
                    args.type_of(1),
                    value_text(value.as_ref())
                ),
            ));
        }
    };
    if let Some(format) = &format {
        check(format)?;
    }
    let Some(ms) = date_arg(args.slot(0))? else {
        return Ok(if args.given(3) { args.take(3) } else { Some(Value::Null) });
    };
    let Some(zone) = zone_arg(&args, 2)? else { return Ok(Some(Value::Null)) };
    let default = if matches!(zone, Zone::Utc) { "%Y-%m-%dT%H:%M:%S.%LZ" } else { "%Y-%m-%dT%H:%M:%S.%L" };
    let text = write(format.as_deref().unwrap_or(default), ms, &zone)?;
    Ok(Some(Value::String(text)))
}

fn check(format: &str) -> Result<()> {
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        match chars.next() {
            None => return Err(Error::new(18535, "Unmatched '%' at end of format string")),
            Some(c) if "dGHjLmMSuUVYzZ%wbB".contains(c) => {}
            Some(c) => return Err(Error::new(18536, format!("Invalid format character '%{c}' in format string"))),
        }
    }
    Ok(())
}

fn write(format: &str, ms: i64, zone: &Zone) -> Result<String> {
    let c = zone.to_civil(ms);
    let offset = zone.offset_ms(ms) / 60_000;
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(literal) = chars.next() {
        if literal != '%' {
            out.push(literal);
            continue;
        }
        let directive = chars.next().unwrap_or('%');
        out.push_str(&directive_text(directive, c, offset)?);
    }
    Ok(out)
}

fn directive_text(directive: char, c: Civil, offset: i64) -> Result<String> {
    let year = |year: i64| {
        if (0..=9999).contains(&year) {
            return Ok(format!("{year:04}"));
        }
        Err(Error::new(
            18537,
            format!(
                "Could not convert date to string: date component was outside the supported range of 0-9999: {year}"
            ),
        ))
    };
    Ok(match directive {
        'Y' => year(c.year)?,
        'G' => year(c.iso_week().0)?,
        'm' => format!("{:02}", c.month),
        'd' => format!("{:02}", c.day),
        'H' => format!("{:02}", c.hour),
        'M' => format!("{:02}", c.minute),
        'S' => format!("{:02}", c.second),
        'L' => format!("{:03}", c.ms),
        'j' => format!("{:03}", c.day_of_year()),
        'w' => (c.weekday() + 1).to_string(),
        'u' => c.iso_weekday().to_string(),
        'U' => format!("{:02}", c.week()),
        'V' => format!("{:02}", c.iso_week().1),
        'b' => MONTHS[(c.month - 1) as usize][..3].to_owned(),
        'B' => MONTHS[(c.month - 1) as usize].to_owned(),
        'z' => format!("{}{:02}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 60, offset.abs() % 60),
        'Z' => offset.to_string(),
        _ => "%".to_owned(),
    })
}
