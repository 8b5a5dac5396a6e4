//! Values of window functions for a range of a partition's rows.

use std::ops::Range;

use smallvec::{SmallVec, smallvec};
use sql::plan::{AggregateExpr, Exclude, Frame, FrameBound, FrameUnit, WindowExpr, WindowFunction};
use sql::{Datum, SqlError};

use crate::operator::StepContext;
use crate::operator::accumulator::{Accumulator, Use};
use crate::operator::counted::Counted;
use crate::operator::ordered::{Directions, SortedRow};
use crate::operator::partitioned::Rows;

/// Some of a partition's rows, in order, and the way to all others. Positions count from the
/// partition's first row.
pub struct Partition<'a> {
    all: &'a Rows,
    range: Range<u64>,
    rows: Vec<&'a SortedRow>,
    /// For each row of the range, where the rows with its sort keys stand.
    peers: Vec<Range<u64>>,
    directions: &'a Directions,
    /// The partition's different sort keys, for what counts them.
    keys: Option<&'a Counted<SortedRow>>,
}

impl<'a> Partition<'a> {
    pub fn new(
        all: &'a Rows,
        range: Range<u64>,
        directions: &'a Directions,
        keys: Option<&'a Counted<SortedRow>>,
    ) -> Self {
        let wanted = (range.end - range.start) as usize;
        let rows: Vec<&SortedRow> = all
            .forward(range.start)
            .flat_map(|(row, count)| std::iter::repeat_n(row, count as usize))
            .take(wanted)
            .collect();
        let mut partition = Partition { all, range, rows, peers: Vec::with_capacity(wanted), directions, keys };
        partition.find_peers();
        partition
    }

    /// Only the first and the last group may reach beyond the range.
    fn find_peers(&mut self) {
        let n = self.rows.len();
        let mut start = 0;
        while start < n {
            let same = |row: &&&SortedRow| self.directions.compare(&self.rows[start].keys, &row.keys).is_eq();
            let end = start + self.rows[start..].iter().take_while(same).count();
            let order = |row: &SortedRow| self.directions.compare(&row.keys, &self.rows[start].keys);
            let from = match start {
                0 => self.all.before(|row| order(row).is_lt()).0,
                _ => self.range.start + start as u64,
            };
            let to = if end == n { self.all.before(|row| order(row).is_le()).0 } else { self.range.start + end as u64 };
            self.peers.extend(std::iter::repeat_n(from..to, end - start));
            start = end;
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn rows(&self) -> impl Iterator<Item = &SortedRow> {
        self.rows.iter().copied()
    }

    fn row(&self, at: u64) -> Option<&SortedRow> {
        match at.checked_sub(self.range.start).and_then(|i| self.rows.get(i as usize)) {
            Some(row) => Some(row),
            None => self.all.at(at),
        }
    }

    /// Position and index of each row of the range.
    fn positions(&self) -> impl Iterator<Item = (u64, usize)> + use<> {
        self.range.clone().zip(0..self.rows.len())
    }

    pub fn evaluate(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let n = self.all.rows();
        let fraction = |top: u64, bottom: u64| Datum::Float(top as f64 / bottom as f64);
        let peers = self.peers.iter();
        Ok(match expr.function {
            WindowFunction::RowNumber => self.range.clone().map(|at| Datum::Int(at as i64 + 1)).collect(),
            WindowFunction::Rank => peers.map(|p| Datum::Int(p.start as i64 + 1)).collect(),
            WindowFunction::DenseRank => self.dense_ranks(),
            WindowFunction::PercentRank => {
                peers.map(|p| if n < 2 { Datum::Float(0.0) } else { fraction(p.start, n - 1) }).collect()
            }
            WindowFunction::CumeDist => peers.map(|p| fraction(p.end, n)).collect(),
            WindowFunction::Ntile => self.ntile(expr, ctx)?,
            WindowFunction::Lag | WindowFunction::Lead => self.shifted(expr, ctx)?,
            WindowFunction::FirstValue | WindowFunction::LastValue | WindowFunction::NthValue => {
                self.picked(expr, ctx)?
            }
            WindowFunction::Aggregate(_) => return Err(SqlError::internal("an aggregate is no window function alone")),
        })
    }

    /// How many different sort keys stand before a row's.
    fn groups_before(&self, row: &SortedRow) -> u64 {
        let order = |key: &SortedRow| self.directions.compare(&key.keys, &row.keys);
        self.keys.map_or(0, |keys| keys.before(|key| order(key).is_lt()).1)
    }

    fn dense_ranks(&self) -> Vec<Datum> {
        let mut rank = self.rows.first().map_or(0, |first| self.groups_before(first));
        let mut ranks = Vec::with_capacity(self.rows.len());
        let mut group = 0..0;
        for peers in &self.peers {
            if *peers != group {
                rank += 1;
                group = peers.clone();
            }
            ranks.push(Datum::Int(rank as i64));
        }
        ranks
    }

    fn arg(&self, expr: &WindowExpr, arg: usize, at: u64, ctx: &mut StepContext<'_>) -> Result<Datum, SqlError> {
        match (expr.args.get(arg), self.row(at)) {
            (Some(arg), Some(row)) => Ok(ctx.eval(arg, &row.row)?.unwrap_or(Datum::Null)),
            _ => Ok(Datum::Null),
        }
    }

    fn ntile(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let n = self.all.rows();
        if n == 0 {
            return Ok(vec![]);
        }
        let buckets = match self.arg(expr, 0, 0, ctx)? {
            Datum::Int(k) if k > 0 => k as u64,
            Datum::Null => return Ok(vec![Datum::Null; self.rows.len()]),
            _ => return Err(SqlError::new("22014", "argument of ntile must be greater than zero")),
        };
        let (size, extra) = (n / buckets, n % buckets);
        let bucket = |i: u64| {
            if i < extra * (size + 1) { i / (size + 1) } else { extra + (i - extra * (size + 1)) / size.max(1) }
        };
        Ok(self.range.clone().map(|at| Datum::Int(bucket(at) as i64 + 1)).collect())
    }

    fn shifted(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let mut values = Vec::with_capacity(self.rows.len());
        for (at, _) in self.positions() {
            let offset = match (expr.args.len() > 1).then(|| self.arg(expr, 1, at, ctx)).transpose()? {
                None => 1,
                Some(Datum::Int(n)) => n,
                Some(_) => {
                    values.push(Datum::Null);
                    continue;
                }
            };
            let offset = if expr.function == WindowFunction::Lag { offset.checked_neg() } else { Some(offset) };
            let target = offset.and_then(|o| (at as i64).checked_add(o)).and_then(|t| u64::try_from(t).ok());
            values.push(match target {
                Some(target) if target < self.all.rows() => self.arg(expr, 0, target, ctx)?,
                _ => self.arg(expr, 2, at, ctx)?,
            });
        }
        Ok(values)
    }

    fn picked(&self, expr: &WindowExpr, ctx: &mut StepContext<'_>) -> Result<Vec<Datum>, SqlError> {
        let mut values = Vec::with_capacity(self.rows.len());
        for (at, i) in self.positions() {
            let frame = self.frame(&expr.frame, i, ctx)?;
            let parts = self.without_excluded(&expr.frame, frame, i);
            let filled = || parts.iter().filter(|part| !part.is_empty());
            let picked = match expr.function {
                WindowFunction::FirstValue => filled().next().map(|part| part.start),
                WindowFunction::LastValue => filled().next_back().map(|part| part.end - 1),
                _ => match self.arg(expr, 1, at, ctx)? {
                    Datum::Int(n) if n > 0 => nth(&parts, n as u64 - 1),
                    Datum::Null => None,
                    _ => return Err(SqlError::new("22016", "argument of nth_value must be greater than zero")),
                },
            };
            values.push(match picked {
                Some(picked) => self.arg(expr, 0, picked, ctx)?,
                _ => Datum::Null,
            });
        }
        Ok(values)
    }

    /// Over everything up to each row (or, not `by_row`, up to its last peer). The range reaches the
    /// partition's end. `total` is the aggregate of all rows: before a change (`sign` < 0) this takes
    /// the range's rows out of it, from the last on; after it, puts them in.
    pub fn running(
        &self,
        aggregate: &AggregateExpr,
        total: &mut Accumulator,
        (sign, by_row): (i64, bool),
        ctx: &mut StepContext<'_>,
    ) -> Result<Vec<Datum>, SqlError> {
        let mut values = vec![Datum::Null; self.rows.len()];
        let group = |i: usize| if by_row { i..i + 1 } else { self.group(i) };
        if sign > 0 {
            let mut at = 0;
            while at < self.rows.len() {
                let group = group(at);
                for row in &self.rows[group.clone()] {
                    total.update(aggregate, &row.row, 1, ctx)?;
                }
                values[group.clone()].fill(total.value(aggregate)?);
                at = group.end;
            }
            return Ok(values);
        }
        let mut end = self.rows.len();
        while end > 0 {
            let group = group(end - 1);
            values[group.clone()].fill(total.value(aggregate)?);
            for row in &self.rows[group.clone()] {
                total.update(aggregate, &row.row, -1, ctx)?;
            }
            end = group.start;
        }
        Ok(values)
    }

    /// The rows of the range that are peers of the one at `i`, as indexes.
    fn group(&self, i: usize) -> Range<usize> {
        let clip = |at: u64| at.clamp(self.range.start, self.range.end) - self.range.start;
        clip(self.peers[i].start) as usize..clip(self.peers[i].end) as usize
    }

    /// Frames of successive rows only move forward, so rows enter and leave an accumulator once.
    pub fn aggregated(
        &self,
        aggregate: &AggregateExpr,
        frame: &Frame,
        ctx: &mut StepContext<'_>,
    ) -> Result<Vec<Datum>, SqlError> {
        let mut accumulator = Accumulator::new(aggregate, Use::DERIVED);
        let mut held = 0..0;
        let mut values = Vec::with_capacity(self.rows.len());
        for (_, i) in self.positions() {
            let wanted = self.frame(frame, i, ctx)?;
            if wanted.start < held.start || wanted.end < held.end || wanted.start > held.end {
                accumulator = Accumulator::new(aggregate, Use::DERIVED);
                held = wanted.start..wanted.start;
            }
            self.update(&mut accumulator, aggregate, (held.end..wanted.end, 1), ctx)?;
            self.update(&mut accumulator, aggregate, (held.start..wanted.start, -1), ctx)?;
            held = wanted;
            let excluded = self.excluded(frame, &held, i);
            for rows in &excluded {
                self.update(&mut accumulator, aggregate, (rows.clone(), -1), ctx)?;
            }
            values.push(accumulator.value(aggregate)?);
            for rows in excluded {
                self.update(&mut accumulator, aggregate, (rows, 1), ctx)?;
            }
        }
        Ok(values)
    }

    fn update(
        &self,
        accumulator: &mut Accumulator,
        aggregate: &AggregateExpr,
        (rows, sign): (Range<u64>, i64),
        ctx: &mut StepContext<'_>,
    ) -> Result<(), SqlError> {
        let mut left = rows.end.saturating_sub(rows.start);
        if left == 0 {
            return Ok(());
        }
        for (row, count) in self.all.forward(rows.start) {
            let taken = count.min(left);
            accumulator.update(aggregate, &row.row, sign * taken as i64, ctx)?;
            left -= taken;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    /// What EXCLUDE takes out of a frame of the row at index `i`.
    fn excluded(&self, frame: &Frame, rows: &Range<u64>, i: usize) -> SmallVec<[Range<u64>; 2]> {
        let (at, peers) = (self.range.start + i as u64, self.peers[i].clone());
        let parts: SmallVec<[Range<u64>; 2]> = match frame.exclude {
            Exclude::NoOthers => return SmallVec::new(),
            Exclude::CurrentRow => smallvec![at..at + 1],
            Exclude::Group => smallvec![peers],
            Exclude::Ties => smallvec![peers.start..at, at + 1..peers.end],
        };
        let inside = parts.into_iter().map(|part| part.start.max(rows.start)..part.end.min(rows.end));
        inside.filter(|part| part.start < part.end).collect()
    }

    /// The parts of a frame that EXCLUDE leaves.
    fn without_excluded(&self, frame: &Frame, rows: Range<u64>, i: usize) -> SmallVec<[Range<u64>; 3]> {
        let mut parts = SmallVec::new();
        let mut from = rows.start;
        for excluded in self.excluded(frame, &rows, i) {
            parts.push(from..excluded.start);
            from = excluded.end;
        }
        parts.push(from..rows.end);
        parts
    }

    /// The positions in the frame of the row at index `i`.
    fn frame(&self, frame: &Frame, i: usize, ctx: &mut StepContext<'_>) -> Result<Range<u64>, SqlError> {
        let start = self.bound(frame, &frame.start, i, true, ctx)?;
        let end = self.bound(frame, &frame.end, i, false, ctx)?;
        Ok(start.min(end)..end)
    }

    /// The position of the first row inside (`is_start`) or after the frame.
    fn bound(
        &self,
        frame: &Frame,
        bound: &FrameBound,
        i: usize,
        is_start: bool,
        ctx: &mut StepContext<'_>,
    ) -> Result<u64, SqlError> {
        let (n, at) = (self.all.rows(), self.range.start + i as u64);
        let (offset, forward) = match bound {
            FrameBound::UnboundedPreceding => return Ok(0),
            FrameBound::UnboundedFollowing => return Ok(n),
            FrameBound::CurrentRow => {
                let of_peers = frame.unit != FrameUnit::Rows;
                return Ok(match (of_peers, is_start) {
                    (true, true) => self.peers[i].start,
                    (true, false) => self.peers[i].end,
                    (false, true) => at,
                    (false, false) => at + 1,
                });
            }
            FrameBound::Preceding(offset) => (offset, false),
            FrameBound::Following(offset) => (offset, true),
        };
        let offset = ctx.eval(offset, &self.rows[i].row)?.unwrap_or(Datum::Null);
        if frame.unit == FrameUnit::Range {
            return self.range_bound(&offset, forward, i, is_start);
        }
        let Datum::Int(offset) = offset else {
            return Err(SqlError::new("22004", "frame offset must not be null"));
        };
        let offset = u64::try_from(offset).map_err(|_| SqlError::new("22013", "frame offset must not be negative"))?;
        if frame.unit == FrameUnit::Groups {
            return Ok(self.group_bound(offset, forward, i, is_start));
        }
        let before_all = !forward && offset > at;
        let at = if forward { at.saturating_add(offset) } else { at.saturating_sub(offset) };
        Ok(if is_start {
            at.min(n)
        } else if before_all {
            0
        } else {
            at.saturating_add(1).min(n)
        })
    }

    /// GROUPS with an offset: by the number of the group.
    fn group_bound(&self, offset: u64, forward: bool, i: usize, is_start: bool) -> u64 {
        let group = self.groups_before(self.rows[i]);
        let wanted = if forward { group.checked_add(offset) } else { group.checked_sub(offset) };
        match wanted.and_then(|wanted| self.keys?.entry(wanted)) {
            Some(key) => {
                let order = |row: &SortedRow| self.directions.compare(&row.keys, &key.keys);
                self.all.before(|row| if is_start { order(row).is_lt() } else { order(row).is_le() }).0
            }
            None if forward => self.all.rows(),
            None => 0,
        }
    }

    /// RANGE with an offset: by the value of the one sort key.
    fn range_bound(&self, offset: &Datum, forward: bool, i: usize, is_start: bool) -> Result<u64, SqlError> {
        let current = &self.rows[i].keys[0];
        if current.is_null() {
            return Ok(if is_start { self.peers[i].start } else { self.peers[i].end });
        }
        let limit = sql::functions::shift(current, offset, forward != self.directions.is_descending(0))?;
        let limit = [limit];
        let order = |row: &SortedRow| self.directions.compare(&row.keys[..1], &limit);
        Ok(self.all.before(|row| if is_start { order(row).is_lt() } else { order(row).is_le() }).0)
    }
}

/// The position of the n-th row, from 0, of some parts of a partition.
fn nth(parts: &[Range<u64>], mut n: u64) -> Option<u64> {
    for part in parts {
        let len = part.end.saturating_sub(part.start);
        if n < len {
            return Some(part.start + n);
        }
        n -= len;
    }
    None
}
