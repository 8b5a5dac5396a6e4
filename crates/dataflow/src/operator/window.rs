//! Window functions over finite partitions.
//!
//! A change recomputes its partition (the value of any row may depend on every other), and what did
//! not change cancels out; other partitions are not looked at.

use std::ops::Range;

use sql::plan::{AggregateExpr, Frame, FrameBound, FrameUnit, WindowExpr, WindowFunction};
use sql::{Datum, Row, SqlError};

use super::accumulator::Accumulator;
use super::ordered::{Directions, SortedRow};
use super::partitioned::{Partitioned, Rows};
use super::{Operator, StepContext};
use crate::delta::{Delta, consolidate};
use crate::state::{StateReader, StateWriter};

/// Window expressions that share one PARTITION BY and ORDER BY.
#[derive(Debug)]
pub struct Window {
    exprs: Vec<WindowExpr>,
    rows: Partitioned,
}

impl Window {
    /// `exprs` is not empty and all have the partition and order of the first.
    pub fn new(exprs: Vec<WindowExpr>) -> Self {
        let rows = Partitioned::new(exprs[0].partition_by.clone(), exprs[0].order_by.clone());
        Window { exprs, rows }
    }

    fn shown(
        &self,
        partition: &Row,
        sign: i64,
        ctx: &mut StepContext<'_>,
        out: &mut Vec<Delta>,
    ) -> Result<(), SqlError> {
        let Some(held) = self.rows.get(partition) else { return Ok(()) };
        let rows = Partition::new(held, &self.rows.directions);
        let mut columns = Vec::with_capacity(self.exprs.len());
        for expr in &self.exprs {
            columns.push(rows.evaluate(expr, ctx)?);
        }
        for (i, row) in rows.rows.iter().enumerate() {
            let values = columns.iter().map(|column| column[i].clone());
            out.push((row.row.iter().cloned().chain(values).collect(), sign));
        }
        Ok(())
    }
}

impl Operator for Window {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        let mut changes = Vec::new();
        for (partition, deltas) in self.rows.split(inputs[0], ctx)? {
            self.shown(&partition, -1, ctx, &mut changes)?;
            self.rows.apply(&partition, deltas);
            self.shown(&partition, 1, ctx, &mut changes)?;
            consolidate(&mut changes);
            out.append(&mut changes);
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        self.rows.save(writer);
    }

    fn load(&mut self, entry: StateReader<'_>) -> Result<(), SqlError> {
        self.rows.load(entry)
    }

    fn state_size(&self) -> (usize, usize) {
        self.rows.state_size()
    }

    fn name(&self) -> &'static str {
        "Window"
    }
}

/// One partition's rows in order, with the bounds of each row's peers.
struct Partition<'a> {
    rows: Vec<&'a SortedRow>,
    /// For each row the range of rows with equal sort keys.
    peers: Vec<Range<usize>>,
    /// For each row, the number of its peer group.
    groups: Vec<usize>,
    directions: &'a Directions,
}

impl<'a> Partition<'a> {
    fn new(held: &'a Rows, directions: &'a Directions) -> Self {
        let rows: Vec<&SortedRow> =
            held.iter().flat_map(|(row, count)| std::iter::repeat_n(row, (*count).max(0) as usize)).collect();
        let mut peers = Vec::with_capacity(rows.len());
        let mut groups = Vec::with_capacity(rows.len());
        let (mut start, mut group) = (0, 0);
        while start < rows.len() {
            let same = rows[start..].iter().take_while(|r| directions.compare(&rows[start].keys, &r.keys).is_eq());
            let end = start + same.count();
            peers.extend(std::iter::repeat_n(start..end, end - start));
            groups.extend(std::iter::repeat_n(group, end - start));
            (start, group) = (end, group + 1);
        }
        Partition { rows, peers, groups, directions }
    }

    fn evaluate(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let n = self.rows.len();
        let fraction = |top: usize, bottom: usize| Datum::Float(top as f64 / bottom as f64);
        Ok(match expr.function {
            WindowFunction::RowNumber => (1..=n as i64).map(Datum::Int).collect(),
            WindowFunction::Rank => self.peers.iter().map(|p| Datum::Int(p.start as i64 + 1)).collect(),
            WindowFunction::DenseRank => self.groups.iter().map(|g| Datum::Int(*g as i64 + 1)).collect(),
            WindowFunction::PercentRank => {
                self.peers.iter().map(|p| if n < 2 { Datum::Float(0.0) } else { fraction(p.start, n - 1) }).collect()
            }
            WindowFunction::CumeDist => self.peers.iter().map(|p| fraction(p.end, n)).collect(),
            WindowFunction::Ntile => self.ntile(expr, ctx)?,
            WindowFunction::Lag | WindowFunction::Lead => self.shifted(expr, ctx)?,
            WindowFunction::FirstValue | WindowFunction::LastValue | WindowFunction::NthValue => {
                self.picked(expr, ctx)?
            }
            WindowFunction::Aggregate(function) => {
                let aggregate = AggregateExpr {
                    function,
                    args: expr.args.clone(),
                    distinct: false,
                    order_by: vec![],
                    filter: expr.filter.clone(),
                    ty: expr.ty.clone(),
                };
                self.aggregated(&aggregate, &expr.frame, ctx)?
            }
        })
    }

    fn arg(&self, expr: &WindowExpr, arg: usize, row: usize, ctx: &mut StepContext<'_>) -> Result<Datum, SqlError> {
        match expr.args.get(arg) {
            Some(arg) => Ok(ctx.eval(arg, &self.rows[row].row)?.unwrap_or(Datum::Null)),
            None => Ok(Datum::Null),
        }
    }

    fn ntile(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let n = self.rows.len();
        if n == 0 {
            return Ok(vec![]);
        }
        let buckets = match self.arg(expr, 0, 0, ctx)? {
            Datum::Int(k) if k > 0 => k as usize,
            Datum::Null => return Ok(vec![Datum::Null; n]),
            _ => return Err(SqlError::new("22014", "argument of ntile must be greater than zero")),
        };
        let (size, extra) = (n / buckets, n % buckets);
        let bucket = |i: usize| {
            if i < extra * (size + 1) { i / (size + 1) } else { extra + (i - extra * (size + 1)) / size.max(1) }
        };
        Ok((0..n).map(|i| Datum::Int(bucket(i) as i64 + 1)).collect())
    }

    fn shifted(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let mut values = Vec::with_capacity(self.rows.len());
        for i in 0..self.rows.len() {
            let offset = match (expr.args.len() > 1).then(|| self.arg(expr, 1, i, ctx)).transpose()? {
                None => 1,
                Some(Datum::Int(n)) => n,
                Some(_) => {
                    values.push(Datum::Null);
                    continue;
                }
            };
            let offset = if expr.function == WindowFunction::Lag { offset.checked_neg() } else { Some(offset) };
            let target = offset.and_then(|o| (i as i64).checked_add(o)).and_then(|t| usize::try_from(t).ok());
            values.push(match target {
                Some(t) if t < self.rows.len() => self.arg(expr, 0, t, ctx)?,
                _ => self.arg(expr, 2, i, ctx)?,
            });
        }
        Ok(values)
    }

    fn picked(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let mut values = Vec::with_capacity(self.rows.len());
        for i in 0..self.rows.len() {
            let frame = self.frame(&expr.frame, i, ctx)?;
            let at = match expr.function {
                WindowFunction::FirstValue => Some(frame.start),
                WindowFunction::LastValue => frame.end.checked_sub(1),
                _ => match self.arg(expr, 1, i, ctx)? {
                    Datum::Int(n) if n > 0 => Some(frame.start + n as usize - 1),
                    Datum::Null => None,
                    _ => return Err(SqlError::new("22016", "argument of nth_value must be greater than zero")),
                },
            };
            values.push(match at {
                Some(at) if frame.contains(&at) => self.arg(expr, 0, at, ctx)?,
                _ => Datum::Null,
            });
        }
        Ok(values)
    }

    /// Frames of successive rows only move forward, so rows enter and leave an accumulator once.
    fn aggregated(
        &self,
        aggregate: &AggregateExpr,
        frame: &Frame,
        ctx: &mut StepContext<'_>,
    ) -> Result<Vec<Datum>, SqlError> {
        let mut accumulator = Accumulator::new(aggregate, false);
        let mut held = 0..0;
        let mut values = Vec::with_capacity(self.rows.len());
        for i in 0..self.rows.len() {
            let wanted = self.frame(frame, i, ctx)?;
            if wanted.start < held.start || wanted.end < held.end || wanted.start > held.end {
                accumulator = Accumulator::new(aggregate, false);
                held = wanted.start..wanted.start;
            }
            for at in held.end..wanted.end {
                accumulator.update(aggregate, &self.rows[at].row, 1, ctx)?;
            }
            for at in held.start..wanted.start {
                accumulator.update(aggregate, &self.rows[at].row, -1, ctx)?;
            }
            held = wanted;
            values.push(accumulator.value(aggregate)?);
        }
        Ok(values)
    }

    fn frame(&self, frame: &Frame, row: usize, ctx: &mut StepContext<'_>) -> Result<Range<usize>, SqlError> {
        let start = self.bound(frame, &frame.start, row, true, ctx)?;
        let end = self.bound(frame, &frame.end, row, false, ctx)?;
        Ok(start.min(end)..end)
    }

    /// The index of the first row inside (`is_start`) or after the frame.
    fn bound(
        &self,
        frame: &Frame,
        bound: &FrameBound,
        row: usize,
        is_start: bool,
        ctx: &mut StepContext<'_>,
    ) -> Result<usize, SqlError> {
        let n = self.rows.len();
        let (offset, forward) = match bound {
            FrameBound::UnboundedPreceding => return Ok(0),
            FrameBound::UnboundedFollowing => return Ok(n),
            FrameBound::CurrentRow => {
                let of_peers = frame.unit != FrameUnit::Rows;
                return Ok(match (of_peers, is_start) {
                    (true, true) => self.peers[row].start,
                    (true, false) => self.peers[row].end,
                    (false, true) => row,
                    (false, false) => row + 1,
                });
            }
            FrameBound::Preceding(offset) => (offset, false),
            FrameBound::Following(offset) => (offset, true),
        };
        let offset = ctx.eval(offset, &self.rows[row].row)?.unwrap_or(Datum::Null);
        if frame.unit == FrameUnit::Range {
            return self.range_bound(&offset, forward, row, is_start);
        }
        let Datum::Int(offset) = offset else {
            return Err(SqlError::new("22004", "frame offset must not be null"));
        };
        let offset =
            usize::try_from(offset).map_err(|_| SqlError::new("22013", "frame offset must not be negative"))?;
        if frame.unit == FrameUnit::Rows {
            let at = if forward { row.saturating_add(offset) } else { row.saturating_sub(offset) };
            let before_all = !forward && offset > row;
            return Ok(if is_start {
                at.min(n)
            } else if before_all {
                0
            } else {
                at.saturating_add(1).min(n)
            });
        }
        let group = self.groups[row];
        let wanted = if forward { group.checked_add(offset) } else { group.checked_sub(offset) };
        Ok(match wanted {
            Some(wanted) if is_start => self.groups.partition_point(|g| *g < wanted),
            Some(wanted) => self.groups.partition_point(|g| *g <= wanted),
            None if forward => n,
            None => 0,
        })
    }

    /// RANGE with an offset: by the value of the one sort key.
    fn range_bound(&self, offset: &Datum, forward: bool, row: usize, is_start: bool) -> Result<usize, SqlError> {
        let current = &self.rows[row].keys[0];
        if current.is_null() {
            return Ok(if is_start { self.peers[row].start } else { self.peers[row].end });
        }
        let limit = sql::functions::shift(current, offset, forward != self.directions.is_descending(0))?;
        let limit = [limit];
        Ok(self.rows.partition_point(|r| {
            let order = self.directions.compare(&r.keys[..1], &limit);
            if is_start { order.is_lt() } else { order.is_le() }
        }))
    }
}
