//! Window functions.

use super::super::group::Spec;
use super::Partition;
use super::bounds::Window;
use crate::error::{Error, Result};
use crate::expression::date::Unit;
use crate::expression::{Expression, compare, nullish};
use crate::number::Decimal;
use crate::number::arithmetic::{self, Number};
use crate::value::Value;

#[derive(Debug)]
pub(super) enum Function {
    Accumulate(Spec),
    Rank,
    DenseRank,
    DocumentNumber,
    Shift { output: Expression, by: i64, default: Option<Value> },
    Derivative { input: Expression, unit: Option<Unit> },
    Integral { input: Expression, unit: Option<Unit> },
    ExpMovingAvg { input: Expression, alpha: f64 },
    Covariance { pair: Expression, sample: bool },
    LinearFill(Expression),
    Locf(Expression),
}

impl Function {
    /// The value for every document of the partition.
    pub fn evaluate(&self, partition: &Partition<'_>, window: &Window) -> Result<Vec<Value>> {
        match self {
            Function::Accumulate(spec) => accumulate(spec, partition, window),
            Function::Rank => Ok(ranks(partition, |_, i| i as i64 + 1)),
            Function::DenseRank => Ok(ranks(partition, |last, _| last + 1)),
            Function::DocumentNumber => {
                Ok((1..=partition.docs.len() as i64).map(|n| Number::narrow(n).into()).collect())
            }
            Function::Shift { output, by, default } => shift(output, *by, default.as_ref(), partition),
            Function::Derivative { input, unit } => derivative(input, *unit, partition, window),
            Function::Integral { input, unit } => integral(input, *unit, partition, window),
            Function::ExpMovingAvg { input, alpha } => moving_average(input, *alpha, partition),
            Function::Covariance { pair, sample } => covariance(pair, *sample, partition, window),
            Function::LinearFill(input) => linear_fill(input, partition),
            Function::Locf(input) => {
                let mut last = Value::Null;
                column(input, partition).map(|values| {
                    values
                        .into_iter()
                        .map(|value| {
                            if !nullish(&value) {
                                last = value.unwrap_or(Value::Null);
                            }
                            last.clone()
                        })
                        .collect()
                })
            }
        }
    }
}

fn column(input: &Expression, partition: &Partition<'_>) -> Result<Vec<Option<Value>>> {
    partition.docs.iter().map(|doc| input.evaluate(doc.as_doc())).collect()
}

fn accumulate(spec: &Spec, partition: &Partition<'_>, window: &Window) -> Result<Vec<Value>> {
    let ranges = window.ranges(partition)?;
    let len = ranges.len();
    let push = |state: &mut _, i: usize| spec.push(state, partition.doc(i), partition.ctx);
    let mut results = vec![Value::Null; len];
    if ranges.iter().all(|(start, _)| *start == 0) {
        let (mut state, mut fed) = (spec.start(&Value::Null)?, 0);
        for (i, (_, end)) in ranges.iter().enumerate() {
            let grown = fed < *end;
            while fed < *end {
                push(&mut state, fed)?;
                fed += 1;
            }
            results[i] = if grown || i == 0 { spec.finish(&state) } else { results[i - 1].clone() };
        }
    } else if spec.is_commutative() && ranges.iter().all(|(_, end)| *end == len) {
        let (mut state, mut fed) = (spec.start(&Value::Null)?, len);
        for (i, (start, _)) in ranges.iter().enumerate().rev() {
            while fed > *start {
                fed -= 1;
                push(&mut state, fed)?;
            }
            results[i] = spec.finish(&state);
        }
    } else {
        for (i, (start, end)) in ranges.into_iter().enumerate() {
            let mut state = spec.start(&Value::Null)?;
            for at in start..end {
                push(&mut state, at)?;
            }
            results[i] = spec.finish(&state);
        }
    }
    Ok(results)
}

/// `next` gives a new rank out of the last one and the position.
fn ranks(partition: &Partition<'_>, next: fn(i64, usize) -> i64) -> Vec<Value> {
    let mut rank = 0;
    let values = &partition.sort_values;
    let ranked = (0..values.len()).map(|i| {
        let tie = i > 0 && compare(partition.ctx, values[i].as_ref(), values[i - 1].as_ref()).is_eq();
        if !tie {
            rank = next(rank, i);
        }
        Number::narrow(rank).into()
    });
    ranked.collect()
}

fn shift(output: &Expression, by: i64, default: Option<&Value>, partition: &Partition<'_>) -> Result<Vec<Value>> {
    let len = partition.docs.len();
    (0..len)
        .map(|i| match (i as i64).checked_add(by).and_then(|at| usize::try_from(at).ok()).filter(|at| *at < len) {
            Some(at) => Ok(output.evaluate(partition.doc(at))?.unwrap_or(Value::Null)),
            None => Ok(default.cloned().unwrap_or(Value::Null)),
        })
        .collect()
}

/// The sort field as a coordinate: numbers as they are, dates in `unit`s.
fn coordinate(op: &str, value: Option<&Value>, unit: Option<Unit>) -> Result<Number> {
    match (unit, value) {
        (Some(unit), Some(Value::Date(ms))) => {
            Ok(Number::Double(*ms as f64 / unit.fixed_ms().map_or(1.0, |ms| ms as f64)))
        }
        (Some(_), _) => Err(Error::new(5624900, format!("{op} with 'unit' expects the sortBy field to be a Date"))),
        (None, Some(Value::Date(_))) => {
            Err(Error::new(5624901, format!("{op} where the sortBy is a Date requires a 'unit'")))
        }
        (None, value) => value
            .and_then(Number::from_value)
            .ok_or_else(|| Error::new(5624902, format!("{op} expects the sortBy field to be numeric"))),
    }
}

fn numeric(op: &str, value: &Option<Value>) -> Result<Number> {
    match value {
        Some(Value::Date(ms)) => Ok(Number::Int64(*ms)),
        value => value
            .as_ref()
            .and_then(Number::from_value)
            .ok_or_else(|| Error::new(5624903, format!("{op} expects its input to be numeric"))),
    }
}

fn derivative(
    input: &Expression,
    unit: Option<Unit>,
    partition: &Partition<'_>,
    window: &Window,
) -> Result<Vec<Value>> {
    let at = |i: usize| -> Result<(Number, Number)> {
        let x = coordinate("$derivative", partition.sort_values[i].as_ref(), unit)?;
        let y = numeric("$derivative", &input.evaluate(partition.doc(i))?)?;
        Ok((x, y))
    };
    let slope = |(start, end): (usize, usize)| {
        if end < start + 2 {
            return Ok(Value::Null);
        }
        let ((x0, y0), (x1, y1)) = (at(start)?, at(end - 1)?);
        let rise = arithmetic::subtract(y1, y0);
        Ok(arithmetic::divide(rise, arithmetic::subtract(x1, x0)).map_or(Value::Null, Value::from))
    };
    window.ranges(partition)?.into_iter().map(slope).collect()
}

fn integral(input: &Expression, unit: Option<Unit>, partition: &Partition<'_>, window: &Window) -> Result<Vec<Value>> {
    let ranges = window.ranges(partition)?;
    let values = column(input, partition)?;
    // Trapezoids between neighbours; a window is the difference of two running totals.
    let mut totals = Vec::with_capacity(values.len() + 1);
    totals.push(Number::Int32(0));
    let mut last: Option<(Number, Number)> = None;
    for (i, value) in values.iter().enumerate() {
        let x = coordinate("$integral", partition.sort_values[i].as_ref(), unit)?;
        let y = numeric("$integral", value)?;
        let before = totals[totals.len() - 1];
        let total = match last {
            Some((x0, y0)) => {
                let area = arithmetic::multiply(arithmetic::subtract(x, x0), arithmetic::add(y, y0));
                let half = arithmetic::divide(area, Number::Int32(2)).expect("two is not zero");
                arithmetic::add(before, half)
            }
            None => before,
        };
        totals.push(total);
        last = Some((x, y));
    }
    let area = |(start, end): (usize, usize)| {
        if end <= start { Value::Null } else { arithmetic::subtract(totals[end], totals[start + 1]).into() }
    };
    Ok(ranges.into_iter().map(area).collect())
}

fn moving_average(input: &Expression, alpha: f64, partition: &Partition<'_>) -> Result<Vec<Value>> {
    let mut average: Option<Number> = None;
    let mut results = Vec::with_capacity(partition.docs.len());
    for value in column(input, partition)? {
        if let Some(n) = value.as_ref().and_then(Number::from_value) {
            average = Some(match average {
                None => n,
                Some(old) => {
                    let weight = |n: Number, w: f64| match n {
                        Number::Decimal(n) => Number::Decimal(n.multiply(Decimal::from_f64(w))),
                        n => Number::Double(n.to_f64() * w),
                    };
                    arithmetic::add(weight(n, alpha), weight(old, 1.0 - alpha))
                }
            });
        }
        results.push(average.map_or(Value::Null, Value::from));
    }
    Ok(results)
}

fn covariance(pair: &Expression, sample: bool, partition: &Partition<'_>, window: &Window) -> Result<Vec<Value>> {
    let points: Vec<Option<(f64, f64)>> = column(pair, partition)?
        .into_iter()
        .map(|value| match value.as_ref().and_then(Value::as_array) {
            Some([x, y]) => Some((Number::from_value(x)?.to_f64(), Number::from_value(y)?.to_f64())),
            _ => None,
        })
        .collect();
    let of = |(start, end): (usize, usize)| {
        let points: Vec<(f64, f64)> = points[start..end].iter().flatten().copied().collect();
        let n = points.len() as f64;
        let freedom = if sample { n - 1.0 } else { n };
        if freedom <= 0.0 {
            return Value::Null;
        }
        let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
        Value::Double(points.iter().map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / freedom)
    };
    Ok(window.ranges(partition)?.into_iter().map(of).collect())
}

fn linear_fill(input: &Expression, partition: &Partition<'_>) -> Result<Vec<Value>> {
    let values = column(input, partition)?;
    let x = |i: usize| match partition.sort_values.get(i).and_then(Option::as_ref) {
        Some(Value::Date(ms)) => Ok(*ms as f64),
        Some(value) if let Some(n) = Number::from_value(value) => Ok(n.to_f64()),
        _ => Err(Error::type_mismatch("$linearFill expects the sortBy field to be numeric or a Date")),
    };
    let mut results: Vec<Value> = vec![Value::Null; values.len()];
    let mut known: Option<usize> = None;
    for (i, value) in values.iter().enumerate() {
        x(i)?;
        if nullish(value) {
            continue;
        }
        let y1 = numeric("$linearFill", value)?;
        if let Some(last) = known.filter(|last| i - last > 1) {
            let y0 = numeric("$linearFill", &values[last])?;
            let (x0, x1) = (x(last)?, x(i)?);
            if x0 == x1 {
                return Err(Error::new(6050106, "There can be no repeated values in the sort field"));
            }
            for (between, gap) in results.iter_mut().enumerate().take(i).skip(last + 1) {
                let share = (x(between)? - x0) / (x1 - x0);
                *gap = match (y0, y1) {
                    (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
                        let rise = y1.to_decimal().subtract(y0.to_decimal());
                        let value = y0.to_decimal().add(rise.multiply(Decimal::from_f64(share)));
                        Number::Decimal(value).into()
                    }
                    _ => Value::Double(y0.to_f64() + (y1.to_f64() - y0.to_f64()) * share),
                };
            }
        }
        results[i] = y1.into();
        known = Some(i);
    }
    Ok(results)
}
