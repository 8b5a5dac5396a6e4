//! Aggregates that can take a value back.
//!
//! Sums are exact, so that what was added and taken back leaves nothing (`sums.rs`). Minimum and
//! maximum keep every value unless the input only grows; percentiles and lists keep them always
//! (`sorted.rs`). What keeps many values is written to a checkpoint value by value.

pub mod distinct;
pub mod sorted;
pub mod sums;

use sql::aggregates::is_regression;
use sql::plan::{AggregateExpr, AggregateFunction as Function};
use sql::{Datum, Interval, SqlError, Type};

use super::{StepContext, finish};
use crate::state::{StateReader, ValueWriter, row_bytes};

use distinct::DistinctValues;
use sorted::Sorted;
use sums::{DecimalSum, FloatMoments};

/// Takes single values for a checkpoint: the value's key, and what writes what is held of it, or
/// `None` if nothing is held any more.
pub type ItemSink<'a> = &'a mut dyn FnMut(Datum, Option<&dyn Fn(&mut ValueWriter)>);

/// What an accumulator is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// No value is ever taken back.
    pub append_only: bool,
    /// It goes into checkpoints, so it must remember what changed.
    pub saved: bool,
}

impl Use {
    /// Derived from other state: never saved itself.
    pub const DERIVED: Use = Use { append_only: false, saved: false };
}

/// The state of one aggregate in one group. Small, because there may be millions of groups.
#[derive(Debug)]
pub enum Accumulator {
    Count(i64),
    Int(IntSum),
    Decimal(Box<DecimalSum>),
    Float(Box<FloatMoments>),
    Interval(Box<IntervalSum>),
    /// Minimum or maximum of an input that only grows.
    Best(Option<Box<Datum>>),
    /// Values in order, for everything that needs them all.
    Sorted(Box<Sorted>),
    Bools(Box<BoolCounts>),
    Bits(Box<BitCounts>),
    Distinct(Box<DistinctValues>),
}

/// A sum of whole numbers; in two halves, because an `i128` would widen every accumulator.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntSum {
    high: i64,
    low: u64,
    pub count: i64,
}

impl IntSum {
    pub fn sum(self) -> i128 {
        i128::from(self.high) << 64 | i128::from(self.low)
    }

    fn add(&mut self, x: i64, count: i64) {
        let sum = self.sum() + i128::from(x) * i128::from(count);
        (self.high, self.low) = ((sum >> 64) as i64, sum as u64);
        self.count += count;
    }
}

#[derive(Debug, Default)]
pub struct IntervalSum {
    pub months: i64,
    pub days: i64,
    pub microseconds: i128,
    pub count: i64,
}

#[derive(Debug, Default)]
pub struct BoolCounts {
    pub trues: i64,
    pub falses: i64,
}

#[derive(Debug)]
pub struct BitCounts {
    pub count: i64,
    pub ones: [i64; 64],
}

impl Accumulator {
    /// The state of an aggregate over no rows.
    pub fn new(aggregate: &AggregateExpr, use_: Use) -> Self {
        if aggregate.distinct && !is_idempotent(aggregate.function) {
            // Which of the equal values came first does not matter here: lists are sorted by value.
            let inner = Accumulator::plain(aggregate, Use::DERIVED);
            return Accumulator::Distinct(Box::new(DistinctValues::new(inner, use_)));
        }
        Accumulator::plain(aggregate, use_)
    }

    fn plain(aggregate: &AggregateExpr, use_: Use) -> Self {
        let ty = aggregate.args.first().map_or(Type::Int8, |arg| arg.ty.clone());
        match aggregate.function {
            Function::CountStar | Function::Count => Accumulator::Count(0),
            Function::Sum | Function::Avg => match ty {
                Type::Float4 | Type::Float8 => Accumulator::Float(Box::default()),
                Type::Numeric(_) => Accumulator::Decimal(Box::new(DecimalSum::new())),
                Type::Interval => Accumulator::Interval(Box::default()),
                _ => Accumulator::Int(IntSum::default()),
            },
            Function::StddevPop | Function::StddevSamp | Function::VarPop | Function::VarSamp => match ty {
                Type::Float4 | Type::Float8 => Accumulator::Float(Box::default()),
                _ => Accumulator::Decimal(Box::new(DecimalSum::new())),
            },
            Function::Min | Function::Max if use_.append_only => Accumulator::Best(None),
            Function::BoolAnd | Function::BoolOr => Accumulator::Bools(Box::default()),
            Function::BitAnd | Function::BitOr | Function::BitXor => {
                Accumulator::Bits(Box::new(BitCounts { count: 0, ones: [0; 64] }))
            }
            Function::Min
            | Function::Max
            | Function::Mode
            | Function::AnyValue
            | Function::PercentileCont
            | Function::PercentileDisc
            | Function::StringAgg
            | Function::ArrayAgg
            | Function::JsonAgg
            | Function::JsonObjectAgg => Accumulator::Sorted(Box::new(Sorted::new(aggregate, use_))),
            Function::CovarPop
            | Function::CovarSamp
            | Function::Corr
            | Function::RegrCount
            | Function::RegrAvgX
            | Function::RegrAvgY
            | Function::RegrSxx
            | Function::RegrSyy
            | Function::RegrSxy
            | Function::RegrSlope
            | Function::RegrIntercept
            | Function::RegrR2 => Accumulator::Float(Box::default()),
        }
    }

    /// Takes a row in (`count` > 0) or back.
    pub fn update(
        &mut self,
        aggregate: &AggregateExpr,
        row: &[Datum],
        count: i64,
        ctx: &mut StepContext<'_>,
    ) -> Result<(), SqlError> {
        if let Some(filter) = &aggregate.filter
            && !ctx.holds(filter, row)?
        {
            return Ok(());
        }
        if aggregate.function == Function::CountStar {
            if let Accumulator::Count(n) = self {
                *n += count;
            }
            return Ok(());
        }
        if let ([arg], true) = (&aggregate.args[..], self.takes_one_value()) {
            return match ctx.eval(arg, row)? {
                None | Some(Datum::Null) => Ok(()),
                Some(value) => self.add_one(aggregate, value, count),
            };
        }
        let is_ordered_set =
            matches!(aggregate.function, Function::PercentileCont | Function::PercentileDisc | Function::Mode);
        let Some(keys) = ctx.eval_all(aggregate.order_by.iter().map(|k| &k.expr), row)? else { return Ok(()) };
        let values = if is_ordered_set { Some(keys.clone()) } else { ctx.eval_all(&aggregate.args, row)? };
        let Some(values) = values else { return Ok(()) };
        let keeps_nulls =
            matches!(aggregate.function, Function::ArrayAgg | Function::JsonAgg | Function::JsonObjectAgg);
        if !keeps_nulls && skips(aggregate.function, &values) {
            return Ok(());
        }
        if let Accumulator::Distinct(distinct) = self {
            return distinct.update(aggregate, values, keys, count);
        }
        self.add(aggregate, values, keys, count)
    }

    /// Does `add_one` do for it?
    fn takes_one_value(&self) -> bool {
        !matches!(self, Accumulator::Sorted(_) | Accumulator::Distinct(_))
    }

    fn add(
        &mut self,
        aggregate: &AggregateExpr,
        mut values: Vec<Datum>,
        keys: Vec<Datum>,
        count: i64,
    ) -> Result<(), SqlError> {
        match self {
            Accumulator::Sorted(sorted) => sorted.add(values, keys, count),
            Accumulator::Float(moments) => moments.add(aggregate.function, &values, count),
            _ if values.is_empty() => return Err(SqlError::internal("an aggregate without its argument")),
            _ => return self.add_one(aggregate, values.swap_remove(0), count),
        }
        Ok(())
    }

    fn add_one(&mut self, aggregate: &AggregateExpr, value: Datum, count: i64) -> Result<(), SqlError> {
        match (self, value) {
            (Accumulator::Count(n), _) => *n += count,
            (Accumulator::Int(sum), Datum::Int(x)) => sum.add(x, count),
            (Accumulator::Decimal(sum), Datum::Numeric(x)) => sum.add(&x, count, is_variance(aggregate.function))?,
            (Accumulator::Decimal(sum), Datum::Int(x)) => {
                sum.add(&sql::datum::Numeric::from_i64(x), count, is_variance(aggregate.function))?;
            }
            (Accumulator::Float(moments), value @ Datum::Float(_)) => {
                moments.add(aggregate.function, &[value], count);
            }
            (Accumulator::Interval(sum), Datum::Interval(x)) => {
                sum.months += i64::from(x.months) * count;
                sum.days += i64::from(x.days) * count;
                sum.microseconds += i128::from(x.microseconds) * i128::from(count);
                sum.count += count;
            }
            (Accumulator::Best(best), x) => {
                let better = |held: &Datum| {
                    let order = sql::compare::compare(&x, held);
                    if aggregate.function == Function::Min { order.is_lt() } else { order.is_gt() }
                };
                if best.as_deref().is_none_or(better) {
                    *best = Some(Box::new(x));
                }
            }
            (Accumulator::Bools(counts), Datum::Bool(b)) => {
                *(if b { &mut counts.trues } else { &mut counts.falses }) += count;
            }
            (Accumulator::Bits(bits), Datum::Int(x)) => {
                bits.count += count;
                for (i, ones) in bits.ones.iter_mut().enumerate() {
                    *ones += (x >> i & 1) * count;
                }
            }
            (state, value) => {
                return Err(SqlError::internal(format!(
                    "{:?} cannot take {value:?} into {state:?}",
                    aggregate.function
                )));
            }
        }
        Ok(())
    }

    /// The aggregate's value now.
    pub fn value(&self, aggregate: &AggregateExpr) -> Result<Datum, SqlError> {
        match self {
            Accumulator::Distinct(distinct) => distinct.inner.value(aggregate),
            Accumulator::Count(n) => Ok(Datum::Int(*n)),
            Accumulator::Int(sum) => finish::int(aggregate, sum.sum(), sum.count),
            Accumulator::Decimal(sum) => finish::decimal(aggregate, sum),
            Accumulator::Float(moments) => Ok(finish::float(aggregate, moments)),
            Accumulator::Interval(sum) => finish::interval(aggregate, sum),
            Accumulator::Best(best) => Ok(best.as_deref().cloned().unwrap_or(Datum::Null)),
            Accumulator::Sorted(sorted) => finish::sorted(aggregate, sorted),
            Accumulator::Bools(counts) if counts.trues == 0 && counts.falses == 0 => Ok(Datum::Null),
            Accumulator::Bools(counts) => Ok(Datum::Bool(if aggregate.function == Function::BoolAnd {
                counts.falses == 0
            } else {
                counts.trues > 0
            })),
            Accumulator::Bits(bits) => Ok(finish::bits(aggregate, bits)),
        }
    }

    /// The part that is written with its group.
    pub fn save(&self, w: &mut ValueWriter) {
        match self {
            Accumulator::Count(n) => w.i64(*n),
            Accumulator::Int(sum) => {
                w.i64(sum.high);
                w.u64(sum.low);
                w.i64(sum.count);
            }
            Accumulator::Decimal(sum) => sum.save(w),
            Accumulator::Float(moments) => moments.save(w),
            Accumulator::Interval(sum) => {
                w.i64(sum.months);
                w.i64(sum.days);
                w.i64((sum.microseconds >> 64) as i64);
                w.i64(sum.microseconds as i64);
                w.i64(sum.count);
            }
            Accumulator::Best(best) => w.row(best.as_deref().map_or(&[], std::slice::from_ref)),
            Accumulator::Sorted(sorted) => sorted.save(w),
            Accumulator::Bools(counts) => {
                w.i64(counts.trues);
                w.i64(counts.falses);
            }
            Accumulator::Bits(bits) => {
                w.i64(bits.count);
                bits.ones.iter().for_each(|n| w.i64(*n));
            }
            Accumulator::Distinct(_) => {}
        }
    }

    /// Reads what `save` wrote; values that are saved one by one stay.
    pub fn read(&mut self, r: &mut StateReader<'_>) -> Result<(), SqlError> {
        match self {
            Accumulator::Count(n) => *n = r.i64()?,
            Accumulator::Int(sum) => *sum = IntSum { high: r.i64()?, low: r.u64()?, count: r.i64()? },
            Accumulator::Decimal(sum) => **sum = DecimalSum::load(r)?,
            Accumulator::Float(moments) => moments.read(r)?,
            Accumulator::Interval(sum) => {
                (sum.months, sum.days) = (r.i64()?, r.i64()?);
                sum.microseconds = i128::from(r.i64()?) << 64 | i128::from(r.u64()?);
                sum.count = r.i64()?;
            }
            Accumulator::Best(best) => *best = r.row()?.first().cloned().map(Box::new),
            Accumulator::Sorted(sorted) => sorted.read(r)?,
            Accumulator::Bools(counts) => (counts.trues, counts.falses) = (r.i64()?, r.i64()?),
            Accumulator::Bits(bits) => {
                bits.count = r.i64()?;
                for ones in &mut bits.ones {
                    *ones = r.i64()?;
                }
            }
            Accumulator::Distinct(_) => {}
        }
        Ok(())
    }

    /// Hands out the single values that changed since the last call: a value's key, and what is held
    /// of it or `None`.
    pub fn save_items(&mut self, sink: ItemSink<'_>) {
        match self {
            Accumulator::Sorted(sorted) => sorted.save_items(&mut |key, count| match count {
                None => sink(key, None),
                Some(count) => sink(key, Some(&|w: &mut ValueWriter| w.i64(count))),
            }),
            Accumulator::Distinct(distinct) => distinct.save_items(sink),
            _ => {}
        }
    }

    /// Reads one value that `save_items` handed out.
    pub fn load_item(
        &mut self,
        aggregate: &AggregateExpr,
        key: &Datum,
        r: &mut StateReader<'_>,
    ) -> Result<(), SqlError> {
        match self {
            Accumulator::Sorted(sorted) => sorted.load_item(key, r.i64()?),
            Accumulator::Distinct(distinct) => distinct.load_item(aggregate, key, r),
            _ => Err(SqlError::internal("damaged state of an aggregate")),
        }
    }

    /// Estimated bytes, the enum itself included.
    pub fn bytes(&self) -> usize {
        std::mem::size_of::<Self>()
            + match self {
                Accumulator::Count(_) | Accumulator::Int(_) => 0,
                Accumulator::Bools(_) => 16,
                Accumulator::Decimal(_) => std::mem::size_of::<DecimalSum>(),
                // Big integers as long as the exponents are far apart.
                Accumulator::Float(_) => std::mem::size_of::<FloatMoments>() + 300,
                Accumulator::Interval(_) => std::mem::size_of::<IntervalSum>(),
                Accumulator::Best(best) => row_bytes(best.as_deref().map_or(&[], std::slice::from_ref)),
                Accumulator::Sorted(sorted) => sorted.bytes(),
                Accumulator::Bits(_) => std::mem::size_of::<BitCounts>(),
                Accumulator::Distinct(distinct) => distinct.bytes(),
            }
    }
}

/// DISTINCT changes nothing for these.
fn is_idempotent(function: Function) -> bool {
    matches!(
        function,
        Function::Min | Function::Max | Function::BoolAnd | Function::BoolOr | Function::BitAnd | Function::BitOr
    )
}

fn is_variance(function: Function) -> bool {
    matches!(function, Function::VarPop | Function::VarSamp | Function::StddevPop | Function::StddevSamp)
}

/// Is this input ignored because it is NULL?
fn skips(function: Function, values: &[Datum]) -> bool {
    match function {
        function if is_regression(function) => values.iter().any(Datum::is_null),
        _ => values.first().is_some_and(Datum::is_null),
    }
}

/// An interval from wide sums; the error is PostgreSQL's.
pub fn interval_from(months: i64, days: i64, microseconds: i128) -> Result<Datum, SqlError> {
    let out_of_range = || SqlError::new("22008", "interval out of range");
    Ok(Datum::Interval(Box::new(Interval {
        months: i32::try_from(months).map_err(|_| out_of_range())?,
        days: i32::try_from(days).map_err(|_| out_of_range())?,
        microseconds: i64::try_from(microseconds).map_err(|_| out_of_range())?,
    })))
}
