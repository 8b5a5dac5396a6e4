//! Aggregates that can take a value back.
//!
//! Sums are exact (whole numbers, decimals with their display scale, doubles as big integers), so
//! that what was added and taken back leaves nothing. Minimum and maximum keep every value unless
//! the input only grows. Lists keep their order: by ORDER BY, else by arrival if the input only
//! grows, else by value (the answer must be a function of the rows, not of their history).

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use sql::datum::Numeric;
use sql::plan::{AggregateExpr, AggregateFunction as Function};
use sql::{Datum, Interval, Row, SqlError, Type};

use super::exact_float::ExactSum;
use super::ordered::{Directions, SortedRow};
use super::{StepContext, finish};
use crate::state::{StateReader, ValueWriter, row_bytes};

/// The state of one aggregate in one group.
#[derive(Debug)]
pub enum Accumulator {
    Count(i64),
    Int {
        sum: i128,
        count: i64,
    },
    Decimal(Box<DecimalSum>),
    Float(Box<FloatMoments>),
    Interval(Box<(i64, i64, i128, i64)>),
    /// Minimum or maximum of an input that only grows.
    Best(Option<Datum>),
    /// Values in order, for everything that needs them all.
    Sorted(Box<Sorted>),
    Bools {
        trues: i64,
        falses: i64,
    },
    Bits(Box<BitCounts>),
    Distinct(Box<DistinctValues>),
}

/// Exact sums for numeric (and integer) statistics.
#[derive(Debug)]
pub struct DecimalSum {
    pub count: i64,
    pub sum: Numeric,
    /// Only for variances.
    pub sum_of_squares: Numeric,
    /// How many values have each display scale: the result's scale is the largest.
    pub scales: SmallVec<[(u16, i64); 2]>,
    /// NaN, infinity, -infinity.
    pub specials: [i64; 3],
}

/// Exact sums of one or two double variables and their products.
#[derive(Debug, Default)]
pub struct FloatMoments {
    pub count: i64,
    pub x: ExactSum,
    pub xx: ExactSum,
    pub y: ExactSum,
    pub yy: ExactSum,
    pub xy: ExactSum,
}

#[derive(Debug)]
pub struct Sorted {
    pub items: BTreeMap<SortedRow, i64>,
    directions: Arc<Directions>,
    /// Arrival number of the next item, if arrival decides ties.
    arrivals: Option<i64>,
}

#[derive(Debug)]
pub struct BitCounts {
    pub count: i64,
    pub ones: [i64; 64],
}

#[derive(Debug)]
pub struct DistinctValues {
    counts: FxHashMap<Row, (Row, i64)>,
    inner: Accumulator,
}

impl Accumulator {
    /// The state of an aggregate over no rows.
    pub fn new(aggregate: &AggregateExpr, append_only: bool) -> Self {
        if aggregate.distinct && !is_idempotent(aggregate.function) {
            // Which of the equal values came first does not matter here: lists are sorted by value.
            let inner = Accumulator::plain(aggregate, false);
            return Accumulator::Distinct(Box::new(DistinctValues { counts: FxHashMap::default(), inner }));
        }
        Accumulator::plain(aggregate, append_only)
    }

    fn plain(aggregate: &AggregateExpr, append_only: bool) -> Self {
        let ty = aggregate.args.first().map_or(Type::Int8, |arg| arg.ty.clone());
        match aggregate.function {
            Function::CountStar | Function::Count => Accumulator::Count(0),
            Function::Sum | Function::Avg => match ty {
                Type::Float4 | Type::Float8 => Accumulator::Float(Box::default()),
                Type::Numeric(_) => Accumulator::Decimal(Box::new(DecimalSum::new())),
                Type::Interval => Accumulator::Interval(Box::new((0, 0, 0, 0))),
                _ => Accumulator::Int { sum: 0, count: 0 },
            },
            Function::StddevPop | Function::StddevSamp | Function::VarPop | Function::VarSamp => match ty {
                Type::Float4 | Type::Float8 => Accumulator::Float(Box::default()),
                _ => Accumulator::Decimal(Box::new(DecimalSum::new())),
            },
            Function::CovarPop | Function::CovarSamp | Function::Corr => Accumulator::Float(Box::default()),
            Function::Min | Function::Max if append_only => Accumulator::Best(None),
            Function::BoolAnd | Function::BoolOr => Accumulator::Bools { trues: 0, falses: 0 },
            Function::BitAnd | Function::BitOr => Accumulator::Bits(Box::new(BitCounts { count: 0, ones: [0; 64] })),
            Function::Min
            | Function::Max
            | Function::Mode
            | Function::AnyValue
            | Function::PercentileCont
            | Function::PercentileDisc => Accumulator::Sorted(Box::new(Sorted::new(aggregate, None))),
            Function::StringAgg | Function::ArrayAgg | Function::JsonAgg | Function::JsonObjectAgg => {
                Accumulator::Sorted(Box::new(Sorted::new(aggregate, append_only.then_some(0))))
            }
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

    fn add(
        &mut self,
        aggregate: &AggregateExpr,
        values: Vec<Datum>,
        keys: Vec<Datum>,
        count: i64,
    ) -> Result<(), SqlError> {
        match (self, values.first()) {
            (Accumulator::Count(n), _) => *n += count,
            (Accumulator::Int { sum, count: n }, Some(Datum::Int(x))) => {
                *sum += i128::from(*x) * i128::from(count);
                *n += count;
            }
            (Accumulator::Decimal(sum), Some(Datum::Numeric(x))) => {
                sum.add(x, count, is_variance(aggregate.function))?
            }
            (Accumulator::Decimal(sum), Some(Datum::Int(x))) => {
                sum.add(&Numeric::from_i64(*x), count, is_variance(aggregate.function))?;
            }
            (Accumulator::Float(moments), Some(Datum::Float(_))) => moments.add(aggregate.function, &values, count),
            (Accumulator::Interval(sum), Some(Datum::Interval(x))) => {
                sum.0 += i64::from(x.months) * count;
                sum.1 += i64::from(x.days) * count;
                sum.2 += i128::from(x.microseconds) * i128::from(count);
                sum.3 += count;
            }
            (Accumulator::Best(best), Some(x)) => {
                let better = |held: &Datum| {
                    let order = sql::compare::compare(x, held);
                    if aggregate.function == Function::Min { order.is_lt() } else { order.is_gt() }
                };
                if best.as_ref().is_none_or(better) {
                    *best = Some(x.clone());
                }
            }
            (Accumulator::Sorted(sorted), _) => sorted.add(values, keys, count),
            (Accumulator::Bools { trues, falses }, Some(Datum::Bool(b))) => {
                *(if *b { trues } else { falses }) += count;
            }
            (Accumulator::Bits(bits), Some(Datum::Int(x))) => {
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
            Accumulator::Int { sum, count } => finish::int(aggregate, *sum, *count),
            Accumulator::Decimal(sum) => finish::decimal(aggregate, sum),
            Accumulator::Float(moments) => Ok(finish::float(aggregate, moments)),
            Accumulator::Interval(sum) => finish::interval(aggregate, **sum),
            Accumulator::Best(best) => Ok(best.clone().unwrap_or(Datum::Null)),
            Accumulator::Sorted(sorted) => finish::sorted(aggregate, sorted),
            Accumulator::Bools { trues: 0, falses: 0 } => Ok(Datum::Null),
            Accumulator::Bools { trues, falses } => {
                Ok(Datum::Bool(if aggregate.function == Function::BoolAnd { *falses == 0 } else { *trues > 0 }))
            }
            Accumulator::Bits(bits) => Ok(finish::bits(aggregate, bits)),
        }
    }

    pub fn save(&self, w: &mut ValueWriter) {
        match self {
            Accumulator::Count(n) => w.i64(*n),
            Accumulator::Int { sum, count } => {
                w.i64((*sum >> 64) as i64);
                w.i64(*sum as i64);
                w.i64(*count);
            }
            Accumulator::Decimal(sum) => sum.save(w),
            Accumulator::Float(moments) => moments.save(w),
            Accumulator::Interval(sum) => {
                w.i64(sum.0);
                w.i64(sum.1);
                w.i64((sum.2 >> 64) as i64);
                w.i64(sum.2 as i64);
                w.i64(sum.3);
            }
            Accumulator::Best(best) => w.row(best.as_slice()),
            Accumulator::Sorted(sorted) => sorted.save(w),
            Accumulator::Bools { trues, falses } => {
                w.i64(*trues);
                w.i64(*falses);
            }
            Accumulator::Bits(bits) => {
                w.i64(bits.count);
                bits.ones.iter().for_each(|n| w.i64(*n));
            }
            Accumulator::Distinct(distinct) => {
                w.u64(distinct.counts.len() as u64);
                for (key, (values, count)) in &distinct.counts {
                    w.row(key);
                    w.row(values);
                    w.i64(*count);
                }
                distinct.inner.save(w);
            }
        }
    }

    pub fn load(aggregate: &AggregateExpr, append_only: bool, r: &mut StateReader<'_>) -> Result<Self, SqlError> {
        let mut state = Accumulator::new(aggregate, append_only);
        state.read(r)?;
        Ok(state)
    }

    fn read(&mut self, r: &mut StateReader<'_>) -> Result<(), SqlError> {
        let wide = |r: &mut StateReader<'_>| Ok::<i128, SqlError>(i128::from(r.i64()?) << 64 | i128::from(r.u64()?));
        match self {
            Accumulator::Count(n) => *n = r.i64()?,
            Accumulator::Int { sum, count } => (*sum, *count) = (wide(r)?, r.i64()?),
            Accumulator::Decimal(sum) => **sum = DecimalSum::load(r)?,
            Accumulator::Float(moments) => moments.read(r)?,
            Accumulator::Interval(sum) => **sum = (r.i64()?, r.i64()?, wide(r)?, r.i64()?),
            Accumulator::Best(best) => *best = r.row()?.first().cloned(),
            Accumulator::Sorted(sorted) => sorted.read(r)?,
            Accumulator::Bools { trues, falses } => (*trues, *falses) = (r.i64()?, r.i64()?),
            Accumulator::Bits(bits) => {
                bits.count = r.i64()?;
                for ones in &mut bits.ones {
                    *ones = r.i64()?;
                }
            }
            Accumulator::Distinct(distinct) => {
                for _ in 0..r.u64()? {
                    let key = r.row()?;
                    let held = (r.row()?, r.i64()?);
                    distinct.counts.insert(key, held);
                }
                distinct.inner.read(r)?;
            }
        }
        Ok(())
    }

    /// Estimated bytes, the enum itself included.
    pub fn bytes(&self) -> usize {
        std::mem::size_of::<Self>()
            + match self {
                Accumulator::Count(_) | Accumulator::Int { .. } | Accumulator::Bools { .. } => 0,
                Accumulator::Decimal(_) => std::mem::size_of::<DecimalSum>(),
                Accumulator::Float(_) => std::mem::size_of::<FloatMoments>() + 300,
                Accumulator::Interval(_) => 40,
                Accumulator::Best(best) => row_bytes(best.as_slice()),
                Accumulator::Sorted(sorted) => {
                    sorted.items.keys().map(|s| row_bytes(&s.row) + row_bytes(&s.keys) + 48).sum()
                }
                Accumulator::Bits(_) => 520,
                Accumulator::Distinct(distinct) => {
                    let values = distinct.counts.iter().map(|(key, (row, _))| row_bytes(key) + row_bytes(row) + 48);
                    values.sum::<usize>() + distinct.inner.bytes()
                }
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
        Function::CovarPop | Function::CovarSamp | Function::Corr => values.iter().any(Datum::is_null),
        _ => values.first().is_some_and(Datum::is_null),
    }
}

impl DistinctValues {
    fn update(
        &mut self,
        aggregate: &AggregateExpr,
        values: Vec<Datum>,
        keys: Vec<Datum>,
        count: i64,
    ) -> Result<(), SqlError> {
        let key = super::key_of(&values);
        let (first, held) = self.counts.entry(key.clone()).or_insert_with(|| (values.clone().into(), 0));
        let before = *held > 0;
        *held += count;
        let after = *held > 0;
        let first = first.to_vec();
        if *held == 0 {
            self.counts.remove(&key);
        }
        match (before, after) {
            (false, true) => self.inner.add(aggregate, first, keys, 1),
            (true, false) => self.inner.add(aggregate, first, keys, -1),
            _ => Ok(()),
        }
    }
}

impl DecimalSum {
    fn new() -> Self {
        let zero = || Numeric::ZERO;
        DecimalSum { count: 0, sum: zero(), sum_of_squares: zero(), scales: SmallVec::new(), specials: [0; 3] }
    }

    fn add(&mut self, x: &Numeric, count: i64, squares: bool) -> Result<(), SqlError> {
        self.count += count;
        match x {
            Numeric::NaN => self.specials[0] += count,
            Numeric::Infinity => self.specials[1] += count,
            Numeric::NegativeInfinity => self.specials[2] += count,
            _ => {
                let times = Numeric::from_i64(count);
                self.sum = self.sum.add(&if count == 1 { x.clone() } else { x.multiply(&times)? })?;
                if squares {
                    self.sum_of_squares = self.sum_of_squares.add(&x.multiply(x)?.multiply(&times)?)?;
                }
                let scale = x.scale();
                match self.scales.iter_mut().find(|(s, _)| *s == scale) {
                    Some((_, n)) => *n += count,
                    None => self.scales.push((scale, count)),
                }
                self.scales.retain(|(_, n)| *n != 0);
            }
        }
        Ok(())
    }

    /// The largest display scale among the values.
    pub fn scale(&self) -> u16 {
        self.scales.iter().map(|(scale, _)| *scale).max().unwrap_or(0)
    }

    fn save(&self, w: &mut ValueWriter) {
        w.i64(self.count);
        w.datum(&Datum::Numeric(self.sum.clone()));
        w.datum(&Datum::Numeric(self.sum_of_squares.clone()));
        w.u64(self.scales.len() as u64);
        for (scale, n) in &self.scales {
            w.u64(u64::from(*scale));
            w.i64(*n);
        }
        self.specials.iter().for_each(|n| w.i64(*n));
    }

    fn load(r: &mut StateReader<'_>) -> Result<Self, SqlError> {
        let numeric = |r: &mut StateReader<'_>| match r.datum()? {
            Datum::Numeric(n) => Ok(n),
            _ => Err(SqlError::internal("damaged state of a sum")),
        };
        let count = r.i64()?;
        let (sum, sum_of_squares) = (numeric(r)?, numeric(r)?);
        let mut scales = SmallVec::new();
        for _ in 0..r.u64()? {
            scales.push((r.u64()? as u16, r.i64()?));
        }
        Ok(DecimalSum { count, sum, sum_of_squares, scales, specials: [r.i64()?, r.i64()?, r.i64()?] })
    }
}

impl FloatMoments {
    fn add(&mut self, function: Function, values: &[Datum], count: i64) {
        let number = |i: usize| match values.get(i) {
            Some(Datum::Float(x)) => *x,
            _ => 0.0,
        };
        // The two-variable aggregates are f(Y, X).
        let (y, x) = if values.len() > 1 { (number(0), number(1)) } else { (0.0, number(0)) };
        self.count += count;
        self.x.add(x, count);
        if is_variance(function) || values.len() > 1 {
            self.xx.add_product(x, x, count);
        }
        if values.len() > 1 {
            self.y.add(y, count);
            self.yy.add_product(y, y, count);
            self.xy.add_product(x, y, count);
        }
    }

    fn sums(&mut self) -> [&mut ExactSum; 5] {
        [&mut self.x, &mut self.xx, &mut self.y, &mut self.yy, &mut self.xy]
    }

    fn save(&self, w: &mut ValueWriter) {
        w.i64(self.count);
        for sum in [&self.x, &self.xx, &self.y, &self.yy, &self.xy] {
            let (units, specials) = sum.to_parts();
            w.datum(&Datum::Bytea(units.into()));
            specials.iter().for_each(|n| w.i64(*n));
        }
    }

    fn read(&mut self, r: &mut StateReader<'_>) -> Result<(), SqlError> {
        self.count = r.i64()?;
        for sum in self.sums() {
            let Datum::Bytea(units) = r.datum()? else {
                return Err(SqlError::internal("damaged state of a sum"));
            };
            *sum = ExactSum::from_parts(&units, [r.i64()?, r.i64()?, r.i64()?]);
        }
        Ok(())
    }
}

impl Sorted {
    fn new(aggregate: &AggregateExpr, arrivals: Option<i64>) -> Self {
        let directions = if aggregate.order_by.is_empty() {
            Directions::ascending(aggregate.args.len().max(1))
        } else {
            Directions::of(&aggregate.order_by)
        };
        Sorted { items: BTreeMap::new(), directions, arrivals }
    }

    fn add(&mut self, values: Vec<Datum>, keys: Vec<Datum>, count: i64) {
        let (keys, row): (Row, Row) = match &mut self.arrivals {
            Some(next) => {
                *next += 1;
                // Arrival breaks ties, and is the order itself where there is none.
                (keys.into(), std::iter::once(Datum::Int(*next)).chain(values).collect())
            }
            None if keys.is_empty() => (values.clone().into(), values.into()),
            None => (keys.into(), values.into()),
        };
        let item = SortedRow { keys, row, directions: self.directions.clone() };
        let held = self.items.entry(item.clone()).or_insert(0);
        *held += count;
        if *held == 0 {
            self.items.remove(&item);
        }
    }

    /// The values in order, repeated as often as they are there.
    pub fn values(&self) -> impl Iterator<Item = &[Datum]> {
        let skip = usize::from(self.arrivals.is_some());
        self.items.iter().flat_map(move |(item, n)| std::iter::repeat_n(&item.row[skip..], (*n).max(0) as usize))
    }

    /// Distinct values with their counts, in order.
    pub fn counted(&self) -> impl DoubleEndedIterator<Item = (&[Datum], i64)> {
        let skip = usize::from(self.arrivals.is_some());
        self.items.iter().map(move |(item, n)| (&item.row[skip..], *n))
    }

    fn save(&self, w: &mut ValueWriter) {
        w.i64(self.arrivals.unwrap_or(-1));
        w.u64(self.items.len() as u64);
        for (item, count) in &self.items {
            w.row(&item.keys);
            w.row(&item.row);
            w.i64(*count);
        }
    }

    fn read(&mut self, r: &mut StateReader<'_>) -> Result<(), SqlError> {
        let arrivals = r.i64()?;
        self.arrivals = self.arrivals.map(|_| arrivals.max(0));
        for _ in 0..r.u64()? {
            let item = SortedRow { keys: r.row()?, row: r.row()?, directions: self.directions.clone() };
            self.items.insert(item, r.i64()?);
        }
        Ok(())
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
