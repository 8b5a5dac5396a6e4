//! The operators, and what they share.

use sql::{Datum, EvalContext, Expr, Row, SqlError};

use crate::delta::Delta;
use crate::state::{StateReader, StateWriter};

pub mod accumulator;
pub mod aggregate;
pub mod counted;
pub mod distinct;
pub mod exact_float;
pub mod finish;
pub mod join;
pub mod linear;
pub mod ordered;
pub mod partitioned;
pub mod set_operation;
pub mod temporal;
pub mod top_n;
pub mod window;

/// What happens to a row whose expression fails (a bad cast, a division by zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnError {
    /// The statement fails; a view stops with the error.
    #[default]
    Fail,
    /// The expression is NULL.
    Null,
    /// The row is left out and reported.
    DeadLetter,
}

/// A row that was left out or an expression that became NULL.
#[derive(Clone, Debug)]
pub struct Failure {
    pub row: Row,
    /// The names of its columns, as far as the plan knows them.
    pub names: Option<std::sync::Arc<[String]>>,
    pub error: SqlError,
}

/// What a tick is evaluated with, and what it reports.
#[derive(Debug)]
pub struct StepContext<'a> {
    /// The tick's time, microseconds since the epoch. Never runs backwards.
    pub now_us: i64,
    pub time_zone: &'a str,
    pub parameters: &'a [Datum],
    pub on_error: OnError,
    /// The newest of this tick's failures, `MAX_FAILURES` of them or more; `failure_count` has them all.
    pub failures: Vec<Failure>,
    pub failure_count: u64,
    /// Whether failures are reported: those of rows that leave were when they came.
    pub reports: bool,
}

/// Failures that a tick remembers; up to twice as many before older ones make room.
pub const MAX_FAILURES: usize = 1000;

impl<'a> StepContext<'a> {
    pub fn at(now_us: i64) -> Self {
        StepContext {
            now_us,
            time_zone: "UTC",
            parameters: &[],
            on_error: OnError::Fail,
            failures: Vec::new(),
            failure_count: 0,
            reports: true,
        }
    }

    /// What follows is about a row that comes (`count` > 0) or leaves.
    pub(crate) fn taking(&mut self, count: i64) {
        self.reports = count > 0;
    }

    /// Evaluates again what was evaluated before: its failures are known.
    pub(crate) fn quietly<T>(&mut self, evaluate: impl FnOnce(&mut Self) -> T) -> T {
        let reports = std::mem::replace(&mut self.reports, false);
        let value = evaluate(self);
        self.reports = reports;
        value
    }

    fn eval_context(&self) -> EvalContext<'a> {
        EvalContext { now_us: self.now_us, parameters: self.parameters, time_zone: self.time_zone }
    }

    fn fail(&mut self, row: &[Datum], error: SqlError) -> Result<(), SqlError> {
        if self.on_error == OnError::Fail {
            return Err(error);
        }
        if !self.reports {
            return Ok(());
        }
        self.failure_count += 1;
        if self.failures.len() >= 2 * MAX_FAILURES {
            self.failures.drain(..MAX_FAILURES);
        }
        self.failures.push(Failure { row: row.into(), names: None, error });
        Ok(())
    }

    /// Evaluates; `None` means: leave this row out.
    pub(crate) fn eval(&mut self, expr: &Expr, row: &[Datum]) -> Result<Option<Datum>, SqlError> {
        let value = expr.eval(row, &self.eval_context());
        self.settle(value, row)
    }

    /// What a value that may have failed means; `None`: leave this row out.
    pub(crate) fn settle(&mut self, value: Result<Datum, SqlError>, row: &[Datum]) -> Result<Option<Datum>, SqlError> {
        match value {
            Ok(datum) => Ok(Some(datum)),
            Err(error) => {
                self.fail(row, error)?;
                Ok((self.on_error == OnError::Null).then_some(Datum::Null))
            }
        }
    }

    /// Evaluates all; `None` means: leave this row out.
    pub(crate) fn eval_all<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        row: &[Datum],
    ) -> Result<Option<Vec<Datum>>, SqlError> {
        let exprs = exprs.into_iter();
        let mut values = Vec::with_capacity(exprs.size_hint().0);
        for expr in exprs {
            match self.eval(expr, row)? {
                Some(value) => values.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(values))
    }

    /// True only for true: NULL and failing rows are out.
    pub(crate) fn holds(&mut self, predicate: &Expr, row: &[Datum]) -> Result<bool, SqlError> {
        Ok(matches!(self.eval(predicate, row)?, Some(Datum::Bool(true))))
    }
}

/// One node of a dataflow.
pub trait Operator: Send + std::fmt::Debug {
    /// Takes the tick's input deltas (one slice per input), appends the output deltas.
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError>;

    /// When this operator's output next changes without input, microseconds since the epoch.
    fn deadline(&self) -> Option<i64> {
        None
    }

    /// Writes the state entries that changed since the last call.
    fn save(&mut self, _writer: &mut StateWriter<'_>) {}

    /// Reads one entry that `save` wrote.
    fn load(&mut self, _entry: StateReader<'_>) -> Result<(), SqlError> {
        Err(SqlError::internal("state for an operator that keeps none"))
    }

    /// The state will not be saved: changes to it need not be remembered.
    fn never_saved(&mut self) {}

    /// Bytes of state, estimated, and how many entries; asked after every tick, so it is only read off.
    fn state_size(&self) -> (usize, usize) {
        (0, 0)
    }

    /// For EXPLAIN ANALYZE.
    fn name(&self) -> &'static str;
}

/// The canonical key of `values`: SQL-equal values give equal keys.
pub(crate) fn key_of(values: &[Datum]) -> Row {
    values.iter().map(Datum::sql_key).collect()
}
