//! Exact sums: of whole numbers, of decimals with their display scale, of doubles as big integers.

use smallvec::SmallVec;
use sql::datum::Numeric;
use sql::plan::AggregateFunction as Function;
use sql::{Datum, SqlError};

use super::is_variance;
use crate::operator::exact_float::ExactSum;
use crate::state::{StateReader, ValueWriter};

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

impl DecimalSum {
    pub fn new() -> Self {
        let zero = || Numeric::ZERO;
        DecimalSum { count: 0, sum: zero(), sum_of_squares: zero(), scales: SmallVec::new(), specials: [0; 3] }
    }

    pub fn add(&mut self, x: &Numeric, count: i64, squares: bool) -> Result<(), SqlError> {
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

    pub fn save(&self, w: &mut ValueWriter) {
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

    pub fn load(r: &mut StateReader<'_>) -> Result<Self, SqlError> {
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
    pub fn add(&mut self, function: Function, values: &[Datum], count: i64) {
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

    pub fn save(&self, w: &mut ValueWriter) {
        w.i64(self.count);
        for sum in [&self.x, &self.xx, &self.y, &self.yy, &self.xy] {
            let (units, specials) = sum.to_parts();
            w.datum(&Datum::Bytea(units.into()));
            specials.iter().for_each(|n| w.i64(*n));
        }
    }

    pub fn read(&mut self, r: &mut StateReader<'_>) -> Result<(), SqlError> {
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
