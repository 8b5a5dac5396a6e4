//! Date operators.
//!
//! Read next: `civil.rs` (the calendar and time zones), `parts.rs`, `format.rs`, `parse.rs`, `arithmetic.rs`.

pub(crate) mod civil;

use super::operator::Operator;

pub(super) const OPERATORS: &[Operator] = &[];

use crate::error::{Error, Result};
use civil::Civil;

/// `2024-02-29T13:45:59.123Z`. Errors with 18537 outside the years 0 to 9999.
pub(crate) fn iso_text(ms: i64) -> Result<String> {
    let c = Civil::from_local_ms(ms);
    if !(0..=9999).contains(&c.year) {
        return Err(Error::new(18537, format!("date value out of range: year {}", c.year)));
    }
    Ok(format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", c.year, c.month, c.day, c.hour, c.minute, c.second, c.ms))
}
