//! Accumulators: what `$group` and window functions keep, and `$sum`, `$avg`, … as expressions.

use super::object::Merger;
use super::operator::{Args, Named, Operator, Shape};
use super::{DoubleDouble, Scope, compare_present, nullish};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::number::Decimal;
use crate::number::arithmetic::Number;
use crate::value::Value;

const MEDIAN: Named = Named { fields: &[("input", 40414), ("method", 40414)], not_object: 7436100, unknown: 40415 };
const PERCENTILE: Named =
    Named { fields: &[("input", 40414), ("method", 40414), ("p", 40414)], not_object: 7436200, unknown: 40415 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$sum", shape: Shape::Any, run: |args, scope| run(args, scope, Accumulator::sum()) },
    Operator { name: "$avg", shape: Shape::Any, run: |args, scope| run(args, scope, Accumulator::avg()) },
    Operator { name: "$min", shape: Shape::Any, run: |args, scope| run(args, scope, Accumulator::Min(None)) },
    Operator { name: "$max", shape: Shape::Any, run: |args, scope| run(args, scope, Accumulator::Max(None)) },
    Operator {
        name: "$stdDevPop",
        shape: Shape::Any,
        run: |args, scope| run(args, scope, Accumulator::std_dev(false)),
    },
    Operator {
        name: "$stdDevSamp",
        shape: Shape::Any,
        run: |args, scope| run(args, scope, Accumulator::std_dev(true)),
    },
    Operator { name: "$median", shape: Shape::Named(&MEDIAN), run: |args, _| quantiles(args, &[0.5]).map(first) },
    Operator {
        name: "$percentile",
        shape: Shape::Named(&PERCENTILE),
        run: |args, _| {
            let points = percentile_points(args.slot(2))?;
            quantiles(args, &points).map(|values| Some(Value::Array(values)))
        },
    },
];

/// The operands of an accumulator used as an expression: a single array stands for its elements.
pub(super) fn operands(args: Args) -> Vec<Option<Value>> {
    let mut values: Vec<Option<Value>> = args.into_values().collect();
    match values.as_mut_slice() {
        [Some(Value::Array(items))] => std::mem::take(items).into_iter().map(Some).collect(),
        _ => values,
    }
}

fn run(args: Args, scope: &mut Scope<'_>, mut accumulator: Accumulator) -> Result<Option<Value>> {
    for value in operands(args) {
        accumulator.push(value, scope.ctx)?;
    }
    Ok(accumulator.value())
}

/// A sum over all number types: doubles and integers in one compensated sum, decimals in another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    plain: DoubleDouble,
    decimal: Decimal,
    widest: Widest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Widest {
    Int32,
    Int64,
    Double,
    Decimal,
}

impl Default for Sum {
    fn default() -> Self {
        Sum { plain: DoubleDouble::default(), decimal: Decimal::ZERO, widest: Widest::Int32 }
    }
}

impl Sum {
    pub fn push(&mut self, n: Number) {
        let kind = match n {
            Number::Int32(n) => {
                self.plain.add_integer(i64::from(n));
                Widest::Int32
            }
            Number::Int64(n) => {
                self.plain.add_integer(n);
                Widest::Int64
            }
            Number::Double(n) => {
                self.plain.add(n);
                Widest::Double
            }
            Number::Decimal(n) => {
                self.decimal = self.decimal.add(n);
                Widest::Decimal
            }
        };
        self.widest = self.widest.max(kind);
    }

    pub fn total(self) -> Number {
        match self.widest {
            Widest::Decimal => Number::Decimal(self.decimal.add(self.plain.decimal())),
            Widest::Double => Number::Double(self.plain.value()),
            widest => match self.plain.whole() {
                Some(n) if widest == Widest::Int32 => Number::narrow(n),
                Some(n) => Number::Int64(n),
                None => Number::Double(self.plain.value()),
            },
        }
    }

    /// The mean of `count` numbers; double or decimal.
    pub fn mean(self, count: u64) -> Number {
        match self.total() {
            Number::Decimal(n) => Number::Decimal(n.divide(Decimal::from_i64(count as i64))),
            _ => Number::Double(self.plain.value() / count as f64),
        }
    }
}

/// Running mean and squared deviations (Welford).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deviation {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Deviation {
    pub fn push(&mut self, x: f64) {
        self.count += 1;
        let delta = x - self.mean;
        if delta != 0.0 {
            self.mean += delta / self.count as f64;
            self.squares += delta * (x - self.mean);
        }
    }

    pub fn value(self, sample: bool) -> Option<f64> {
        let freedom = if sample { self.count.checked_sub(1)? } else { self.count };
        (freedom > 0).then(|| (self.squares / freedom as f64).sqrt())
    }
}

/// The simple accumulators: one value in, one kept.
#[derive(Debug)]
pub(crate) enum Accumulator {
    Sum(Sum),
    Avg { sum: Sum, count: u64 },
    Min(Option<Value>),
    Max(Option<Value>),
    StdDev { state: Deviation, sample: bool },
    MergeObjects(Merger),
}

impl Accumulator {
    pub fn sum() -> Self {
        Accumulator::Sum(Sum::default())
    }

    pub fn avg() -> Self {
        Accumulator::Avg { sum: Sum::default(), count: 0 }
    }

    pub fn std_dev(sample: bool) -> Self {
        Accumulator::StdDev { state: Deviation::default(), sample }
    }

    pub fn merge_objects() -> Self {
        Accumulator::MergeObjects(Merger::default())
    }

    pub fn push(&mut self, value: Option<Value>, ctx: &Context) -> Result<()> {
        match self {
            Accumulator::Sum(sum) => {
                if let Some(n) = value.as_ref().and_then(Number::from_value) {
                    sum.push(n);
                }
            }
            Accumulator::Avg { sum, count } => {
                if let Some(n) = value.as_ref().and_then(Number::from_value) {
                    sum.push(n);
                    *count += 1;
                }
            }
            Accumulator::Min(best) if !nullish(&value) => {
                keep(best, value, |new, old| compare_present(ctx, new, old).is_lt())
            }
            Accumulator::Max(best) if !nullish(&value) => {
                keep(best, value, |new, old| compare_present(ctx, new, old).is_gt())
            }
            Accumulator::Min(_) | Accumulator::Max(_) => {}
            Accumulator::StdDev { state, .. } => {
                if let Some(n) = value.as_ref().and_then(Number::from_value) {
                    state.push(n.to_f64());
                }
            }
            Accumulator::MergeObjects(merger) => merger.merge(value)?,
        }
        Ok(())
    }

    pub fn value(&self) -> Option<Value> {
        Some(match self {
            Accumulator::Sum(sum) => sum.total().into(),
            Accumulator::Avg { count: 0, .. } => Value::Null,
            Accumulator::Avg { sum, count } => sum.mean(*count).into(),
            Accumulator::Min(best) | Accumulator::Max(best) => best.clone().unwrap_or(Value::Null),
            Accumulator::StdDev { state, sample } => state.value(*sample).map_or(Value::Null, Value::Double),
            Accumulator::MergeObjects(merger) => Value::Document(merger.doc().clone()),
        })
    }
}

fn keep(best: &mut Option<Value>, value: Option<Value>, better: impl Fn(&Value, &Value) -> bool) {
    let Some(value) = value else { return };
    match best {
        Some(old) if !better(&value, old) => {}
        _ => *best = Some(value),
    }
}

/// The points of `$percentile`: numbers in [0, 1], at least one.
pub(crate) fn percentile_points(value: &Option<Value>) -> Result<Vec<f64>> {
    let bad = || {
        Error::new(
            7750302,
            "The $percentile 'p' field must be an array of numbers from [0.0, 1.0], with at least one element",
        )
    };
    let Some(Value::Array(points)) = value else { return Err(bad()) };
    let points: Option<Vec<f64>> = points
        .iter()
        .map(|point| Number::from_value(point).map(Number::to_f64).filter(|p| (0.0..=1.0).contains(p)))
        .collect();
    points.filter(|points| !points.is_empty()).ok_or_else(bad)
}

/// The smallest number that at least that share of all numbers does not exceed; null for none.
pub(crate) fn percentiles(mut numbers: Vec<f64>, points: &[f64]) -> Vec<Value> {
    numbers.sort_by(f64::total_cmp);
    let pick = |p: &f64| {
        let rank = (p * numbers.len() as f64).ceil() as usize;
        numbers.get(rank.saturating_sub(1)).map_or(Value::Null, |n| Value::Double(*n))
    };
    points.iter().map(pick).collect()
}

fn first(values: Vec<Value>) -> Option<Value> {
    values.into_iter().next()
}

/// `$median` and `$percentile` of one array (or one number).
fn quantiles(mut args: Args, points: &[f64]) -> Result<Vec<Value>> {
    if args.get(1).and_then(Value::as_str) != Some("approximate") {
        return Err(Error::bad_value("Currently only 'approximate' can be used as percentile 'method'."));
    }
    let items = match args.take(0) {
        Some(Value::Array(items)) => items,
        other => other.into_iter().collect(),
    };
    let numbers = items.iter().filter_map(Number::from_value).map(Number::to_f64).filter(|n| !n.is_nan());
    Ok(percentiles(numbers.collect(), points))
}
