//! Which rows feel a change of their partition.

use std::cell::RefCell;

use sql::plan::{Exclude, Frame, FrameBound, FrameUnit, WindowExpr, WindowFunction};
use sql::{Datum, EvalContext, Expr, ExprKind, SqlError};

use super::{Ranges, is_whole};
use crate::operator::StepContext;
use crate::operator::ordered::{Directions, SortedRow};
use crate::operator::partitioned::{PartitionDelta, Rows};

/// How far a change is felt.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// By the rows behind it, while more or fewer rows stand before them than did.
    Number,
    /// The same, equal sort keys counting as one place.
    Rank,
    /// By all if the number of rows or the place of any changed, because it is a share of them.
    Share,
    /// By rows at most so many places before and behind it.
    Around { before: u64, behind: u64 },
    /// By the rows whose RANGE frame has its value in it.
    Values { start: FrameBound, end: FrameBound },
    /// By rows of the same sort keys.
    Peers,
    /// By all rows behind it; with `peers` also by those of the same sort keys.
    Behind { peers: bool },
    /// By all if it is among the first so many rows.
    First(u64),
    /// By all, if the value over all of them changed: an aggregate of the whole partition.
    Whole,
    /// By all.
    Everything,
}

impl Reach {
    pub fn of(expr: &WindowExpr) -> Result<Self, SqlError> {
        let offset = |arg: usize| match expr.args.get(arg) {
            None => Some(1),
            Some(arg) => constant(arg),
        };
        let framed = matches!(
            expr.function,
            WindowFunction::FirstValue
                | WindowFunction::LastValue
                | WindowFunction::NthValue
                | WindowFunction::Aggregate(_)
        );
        if framed && expr.frame.exclude != Exclude::NoOthers {
            return Ok(Reach::Everything);
        }
        Ok(match expr.function {
            WindowFunction::RowNumber => Reach::Number,
            WindowFunction::Rank | WindowFunction::DenseRank => Reach::Rank,
            WindowFunction::PercentRank | WindowFunction::CumeDist | WindowFunction::Ntile => Reach::Share,
            WindowFunction::Lag => match offset(1) {
                Some(n) => shifted(n),
                None => Reach::Everything,
            },
            WindowFunction::Lead => match offset(1) {
                Some(n) => shifted(-n),
                None => Reach::Everything,
            },
            WindowFunction::FirstValue if has_all_before(&expr.frame) => Reach::First(1),
            WindowFunction::NthValue if has_all_before(&expr.frame) => match offset(1) {
                Some(n) => Reach::First(n.max(0) as u64),
                None => Reach::Everything,
            },
            WindowFunction::LastValue if is_default_end(&expr.frame) => Reach::Peers,
            WindowFunction::FirstValue | WindowFunction::LastValue | WindowFunction::NthValue => of_frame(&expr.frame),
            WindowFunction::Aggregate(_) if is_whole(&expr.frame, !expr.order_by.is_empty()) => Reach::Whole,
            WindowFunction::Aggregate(_) => match (&expr.frame.start, &expr.frame.end) {
                (FrameBound::UnboundedPreceding, FrameBound::CurrentRow) => {
                    Reach::Behind { peers: expr.frame.unit != FrameUnit::Rows }
                }
                _ => of_frame(&expr.frame),
            },
        })
    }
}

fn constant(expr: &Expr) -> Option<i64> {
    let mut reads_row = false;
    expr.walk(&mut |e| reads_row |= matches!(e.kind, ExprKind::Column(_) | ExprKind::Parameter(_) | ExprKind::Now));
    match expr.eval(&[], &EvalContext::at(0)) {
        Ok(Datum::Int(n)) if !reads_row => Some(n),
        _ => None,
    }
}

/// A row sees the one `n` places before it (below zero: behind it).
fn shifted(n: i64) -> Reach {
    match n {
        0.. => Reach::Around { before: 0, behind: n.unsigned_abs() },
        _ => Reach::Around { before: n.unsigned_abs(), behind: 0 },
    }
}

/// Has the frame of each row all rows before it, and itself?
fn has_all_before(frame: &Frame) -> bool {
    frame.start == FrameBound::UnboundedPreceding && frame.end == FrameBound::CurrentRow
}

/// RANGE or GROUPS from the start to the current row's peers, the frame of those who name none.
fn is_default_end(frame: &Frame) -> bool {
    frame.start == FrameBound::UnboundedPreceding
        && frame.end == FrameBound::CurrentRow
        && frame.unit != FrameUnit::Rows
}

/// Frames with two near ends.
fn of_frame(frame: &Frame) -> Reach {
    let unbounded =
        |bound: &FrameBound| matches!(bound, FrameBound::UnboundedPreceding | FrameBound::UnboundedFollowing);
    if unbounded(&frame.start) || unbounded(&frame.end) {
        return Reach::Everything;
    }
    match frame.unit {
        FrameUnit::Rows => match (places(&frame.start), places(&frame.end)) {
            // A row sees those from `start` to `end` places away, so it is felt the other way round.
            (Some(start), Some(end)) => {
                Reach::Around { before: end.max(0).unsigned_abs(), behind: start.min(0).unsigned_abs() }
            }
            _ => Reach::Everything,
        },
        FrameUnit::Range => Reach::Values { start: frame.start.clone(), end: frame.end.clone() },
        FrameUnit::Groups => Reach::Everything,
    }
}

fn places(bound: &FrameBound) -> Option<i64> {
    match bound {
        FrameBound::CurrentRow => Some(0),
        FrameBound::Preceding(n) => constant(n).filter(|n| *n >= 0).map(|n| -n),
        FrameBound::Following(n) => constant(n).filter(|n| *n >= 0),
        FrameBound::UnboundedPreceding | FrameBound::UnboundedFollowing => None,
    }
}

/// A change, and the partition's rows on one side of it.
pub struct Change<'a> {
    pub rows: &'a Rows,
    pub deltas: &'a PartitionDelta,
    pub directions: &'a Directions,
}

impl Change<'_> {
    /// The changed rows themselves.
    pub fn points(&self) -> Ranges {
        self.deltas.iter().map(|(sorted, _)| self.place(sorted)).collect()
    }

    fn place(&self, sorted: &SortedRow) -> std::ops::Range<u64> {
        let (before, _) = self.rows.before(|row| row < sorted);
        let count = self.rows.get(sorted).map_or(0, |(_, count)| count.max(0) as u64);
        before..before + count
    }

    fn peers(&self, sorted: &SortedRow) -> std::ops::Range<u64> {
        let order = |row: &SortedRow| self.directions.compare(&row.keys, &sorted.keys);
        self.rows.before(|row| order(row).is_lt()).0..self.rows.before(|row| order(row).is_le()).0
    }

    pub fn felt(&self, reach: &Reach, ctx: &mut StepContext<'_>, into: &mut Ranges) -> Result<(), SqlError> {
        let all = 0..self.rows.rows();
        let Some((first, _)) = self.deltas.first() else { return Ok(()) };
        match reach {
            Reach::Number => self.shifted_rows(into),
            Reach::Rank if self.moves_groups() => into.push(self.place(first).start..all.end),
            Reach::Share if self.moves_groups() => into.push(all),
            // Rows of the same keys may still have changed places.
            Reach::Share => self.shifted_rows(into),
            Reach::Rank => {}
            Reach::Around { before, behind } => {
                for (sorted, _) in self.deltas {
                    let place = self.place(sorted);
                    into.push(place.start.saturating_sub(*before)..place.end.saturating_add(*behind).min(all.end));
                }
            }
            Reach::Values { start, end } => {
                for (sorted, _) in self.deltas {
                    into.push(self.frames_with(sorted, start, end, ctx)?);
                }
            }
            Reach::Peers => into.extend(self.deltas.iter().map(|(sorted, _)| self.peers(sorted))),
            Reach::Behind { peers: true } => into.push(self.peers(first).start..all.end),
            Reach::Behind { peers: false } => into.push(self.place(first).start..all.end),
            Reach::First(n) if self.place(first).start < *n => into.push(all),
            Reach::First(_) => {}
            Reach::Whole | Reach::Everything => into.push(all),
        }
        Ok(())
    }

    /// Rows that have more or fewer rows before them: from a change to the one that makes up for it.
    fn shifted_rows(&self, into: &mut Ranges) {
        let (mut shift, mut from) = (0, 0);
        for (sorted, count) in self.deltas {
            let place = self.place(sorted);
            if shift == 0 {
                from = place.start;
            }
            shift += count;
            if shift == 0 {
                into.push(from..place.end);
            }
        }
        if shift != 0 {
            into.push(from..self.rows.rows());
        }
    }

    /// Did the number of rows with some sort keys change? Deltas are in order.
    fn moves_groups(&self) -> bool {
        let same = |a: &(SortedRow, i64), b: &(SortedRow, i64)| self.directions.compare(&a.0.keys, &b.0.keys).is_eq();
        self.deltas.chunk_by(same).any(|group| group.iter().map(|(_, count)| count).sum::<i64>() != 0)
    }

    /// Rows whose frame goes from before to behind the value that changed. Both of a frame's ends move
    /// forward with its row, so these rows stand together.
    fn frames_with(
        &self,
        changed: &SortedRow,
        start: &FrameBound,
        end: &FrameBound,
        ctx: &mut StepContext<'_>,
    ) -> Result<std::ops::Range<u64>, SqlError> {
        let Some(value) = changed.keys.get(..1) else { return Ok(0..self.rows.rows()) };
        if value[0].is_null() {
            return Ok(self.peers(changed));
        }
        let failed = RefCell::new(None);
        let ctx = RefCell::new(ctx);
        // Where the row's limit stands against the value; rows without one on their side of all others.
        let against = |row: &SortedRow, bound: &FrameBound| {
            if row.keys[0].is_null() {
                return self.directions.compare(&row.keys[..1], value);
            }
            match limit(row, bound, self.directions, *ctx.borrow_mut()) {
                Ok(limit) => self.directions.compare(&[limit], value),
                Err(error) => {
                    failed.borrow_mut().get_or_insert(error);
                    std::cmp::Ordering::Less
                }
            }
        };
        let (from, _) = self.rows.before(|row| against(row, end).is_lt());
        let (to, _) = self.rows.before(|row| against(row, start).is_le());
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(from..to.max(from)),
        }
    }
}

/// The value at which a RANGE frame of a row begins or ends.
fn limit(
    row: &SortedRow,
    bound: &FrameBound,
    directions: &Directions,
    ctx: &mut StepContext<'_>,
) -> Result<Datum, SqlError> {
    let (offset, forward) = match bound {
        FrameBound::Preceding(offset) => (offset, false),
        FrameBound::Following(offset) => (offset, true),
        _ => return Ok(row.keys[0].clone()),
    };
    let offset = ctx.eval(offset, &row.row)?.unwrap_or(Datum::Null);
    sql::functions::shift(&row.keys[0], &offset, forward != directions.is_descending(0))
}
