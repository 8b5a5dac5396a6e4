//! Windows: from bounds to index ranges.

use super::Partition;
use crate::error::{Error, Result};
use crate::expression::date::civil::Zone;
use crate::expression::date::{Unit, add_units};
use crate::number::arithmetic::{self, Number};
use crate::value::Value;

/// One end of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound<T> {
    Unbounded,
    Current,
    Offset(T),
}

/// Which documents around the current one count.
#[derive(Clone, Debug)]
pub(super) enum Window {
    /// By position.
    Documents(Bound<i64>, Bound<i64>),
    /// By the distance of the sort field's values; a unit if they are dates.
    Range(Bound<Number>, Bound<Number>, Option<Unit>),
}

impl Window {
    pub const WHOLE: Window = Window::Documents(Bound::Unbounded, Bound::Unbounded);

    /// Start and end (exclusive) for every document of the partition; neither ever goes back.
    pub fn ranges(&self, partition: &Partition<'_>) -> Result<Vec<(usize, usize)>> {
        let len = partition.docs.len();
        match self {
            Window::Documents(low, high) => {
                let at = |bound: &Bound<i64>, i: usize, open: i64| match bound {
                    Bound::Unbounded => open,
                    Bound::Current => i as i64,
                    Bound::Offset(n) => (i as i64).saturating_add(*n),
                };
                let clamp = |n: i64| n.clamp(0, len as i64) as usize;
                let range = |i| {
                    let start = clamp(at(low, i, 0));
                    (start, clamp(at(high, i, len as i64).saturating_add(1)).max(start))
                };
                Ok((0..len).map(range).collect())
            }
            Window::Range(low, high, unit) => value_ranges(low, high, *unit, partition),
        }
    }
}

fn value_ranges(
    low: &Bound<Number>,
    high: &Bound<Number>,
    unit: Option<Unit>,
    partition: &Partition<'_>,
) -> Result<Vec<(usize, usize)>> {
    let values =
        partition.sort_values.iter().map(|value| position(value.as_ref(), unit)).collect::<Result<Vec<_>>>()?;
    let (mut start, mut end) = (0, 0);
    let mut ranges = Vec::with_capacity(values.len());
    for value in &values {
        let lower = edge(low, *value, unit)?;
        let upper = edge(high, *value, unit)?;
        if let Some(lower) = lower {
            while start < values.len() && less(values[start], lower) {
                start += 1;
            }
        }
        match upper {
            Some(upper) => {
                while end < values.len() && !less(upper, values[end]) {
                    end += 1;
                }
            }
            None => end = values.len(),
        }
        ranges.push((start, end.max(start)));
    }
    Ok(ranges)
}

fn less(a: Number, b: Number) -> bool {
    let (a, b) = (Value::from(a), Value::from(b));
    crate::number::compare(a.as_scalar(), b.as_scalar()).is_lt()
}

/// The sort field as a number; a date as its milliseconds.
fn position(value: Option<&Value>, unit: Option<Unit>) -> Result<Number> {
    let kind = value.map_or("missing", Value::type_name);
    match (unit, value) {
        (Some(_), Some(Value::Date(ms))) => Ok(Number::Int64(*ms)),
        (Some(_), _) => Err(Error::new(
            5429513,
            format!("Invalid range: Expected the sortBy field to be a Date, but it was {kind}"),
        )),
        (None, Some(value)) if let Some(n) = Number::from_value(value) => Ok(n),
        (None, _) => Err(Error::new(
            5429414,
            format!("Invalid range: Expected the sortBy field to be a number, but it was {kind}"),
        )),
    }
}

fn edge(bound: &Bound<Number>, value: Number, unit: Option<Unit>) -> Result<Option<Number>> {
    let Bound::Offset(offset) = bound else {
        return Ok(matches!(bound, Bound::Current).then_some(value));
    };
    let Some(unit) = unit else { return Ok(Some(arithmetic::add(value, *offset))) };
    let (Some(ms), Some(amount)) = (value.as_integer(), offset.as_whole()) else { return Ok(None) };
    let shifted = add_units(ms, unit, amount, &Zone::Utc);
    shifted.map(|ms| Some(Number::Int64(ms))).ok_or_else(|| Error::new(15, "window bound is out of the range of dates"))
}
