//! Window functions over finite partitions.
//!
//! ```text
//!   rows before   a b c d e f       - d: which rows have another value now?
//!   felt before       ~ ~ ~         lag, lead, frames of neighbours: those around it
//!   felt after        ~ ~           row_number, rank, running sums: those behind it (unless others
//!   rows after    a b c e f         came in its place); shares of a whole: all
//! ```
//!
//! A change is felt by some ranges of rows (`reach.rs`); their values are computed before and after
//! it, and what stayed equal cancels out. All other rows are not looked at, so that the cost follows
//! the output's change rather than the partition's size. Values outside a range are found by position.
//!
//! Aggregates over a whole partition, and over everything up to the current row, start from the
//! partition's total, which is kept: taking the felt rows back out of it gives what stands before them.
//! Other frames with an unbounded side, and GROUPS with an offset, are computed for the whole partition.

mod partition;
mod reach;

use std::ops::Range;

use rustc_hash::FxHashMap;
use sql::plan::{AggregateExpr, Exclude, Frame, FrameBound, FrameUnit, WindowExpr, WindowFunction};
use sql::{Datum, Row, SqlError};

use super::accumulator::{Accumulator, Use};
use super::counted::Counted;
use super::ordered::SortedRow;
use super::partitioned::{PartitionDelta, Partitioned, Rows};
use super::{OnError, Operator, StepContext};
use crate::delta::{Delta, consolidate};
use crate::state::{StateReader, StateWriter};

use partition::Partition;
use reach::Reach;

/// Window expressions that share one PARTITION BY and ORDER BY.
#[derive(Debug)]
pub struct Window {
    columns: Vec<Column>,
    rows: Partitioned,
    /// What is derived of partitions that have changed since the start.
    derived: FxHashMap<Row, Derived>,
}

/// One window expression, and what a change means to it.
#[derive(Debug)]
struct Column {
    expr: WindowExpr,
    /// For functions that are aggregates.
    aggregate: Option<AggregateExpr>,
    reach: Reach,
}

/// Per partition what follows from its rows and would cost their number to find.
#[derive(Debug)]
struct Derived {
    /// Per column, the aggregate of the whole partition, if the column starts from it.
    totals: Vec<Option<Accumulator>>,
    /// The different sort keys, if a column numbers them.
    keys: Option<Counted<SortedRow>>,
}

/// Partitions of up to so many rows are looked through rather than remembered.
const DERIVE_ANEW: u64 = 64;

/// Ranges of rows, in order, apart from each other.
type Ranges = Vec<Range<u64>>;

impl Column {
    fn new(expr: WindowExpr) -> Result<Self, SqlError> {
        let aggregate = match expr.function {
            WindowFunction::Aggregate(function) => Some(AggregateExpr {
                function,
                args: expr.args.clone(),
                distinct: false,
                // A list over a frame is in the frame's order.
                order_by: if function.is_list() { expr.order_by.clone() } else { vec![] },
                filter: expr.filter.clone(),
                ty: expr.ty.clone(),
            }),
            _ => None,
        };
        let reach = Reach::of(&expr)?;
        Ok(Column { expr, aggregate, reach })
    }

    /// Does the column start from the partition's total?
    fn has_total(&self) -> bool {
        self.aggregate.is_some() && matches!(self.reach, Reach::Whole | Reach::Behind { .. })
    }
}

/// Is every row of the partition in the frame?
fn is_whole(frame: &Frame, has_order: bool) -> bool {
    if frame.exclude != Exclude::NoOthers {
        return false;
    }
    let to_the_end = match frame.end {
        FrameBound::UnboundedFollowing => true,
        // Without an order all rows are peers.
        FrameBound::CurrentRow => !has_order && frame.unit != FrameUnit::Rows,
        _ => false,
    };
    let from_the_start = match frame.start {
        FrameBound::UnboundedPreceding => true,
        FrameBound::CurrentRow => !has_order && frame.unit != FrameUnit::Rows,
        _ => false,
    };
    from_the_start && to_the_end
}

impl Window {
    /// `exprs` is not empty and all have the partition and order of the first.
    pub fn new(exprs: Vec<WindowExpr>) -> Result<Self, SqlError> {
        let rows = Partitioned::new(exprs[0].partition_by.clone(), exprs[0].order_by.clone());
        let columns = exprs.into_iter().map(Column::new).collect::<Result<_, _>>()?;
        Ok(Window { columns, rows, derived: FxHashMap::default() })
    }

    fn derive(&self, rows: Option<&Rows>, ctx: &mut StepContext<'_>) -> Result<Derived, SqlError> {
        let mut totals = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let Some(aggregate) = column.aggregate.as_ref().filter(|_| column.has_total()) else {
                totals.push(None);
                continue;
            };
            let mut total = Accumulator::new(aggregate, Use::DERIVED);
            for (sorted, count) in rows.into_iter().flat_map(Counted::iter) {
                total.update(aggregate, &sorted.row, count as i64, ctx)?;
            }
            totals.push(Some(total));
        }
        let numbers_keys =
            |c: &Column| c.expr.function == WindowFunction::DenseRank || c.expr.frame.unit == FrameUnit::Groups;
        let wants_keys = self.columns.iter().any(numbers_keys);
        let keys = wants_keys.then(|| {
            let mut keys = Counted::default();
            for (sorted, count) in rows.into_iter().flat_map(Counted::iter) {
                keys.add(key_alone(sorted), count as i64);
            }
            keys
        });
        Ok(Derived { totals, keys })
    }

    fn change(
        &mut self,
        partition: Row,
        deltas: PartitionDelta,
        ctx: &mut StepContext<'_>,
        out: &mut Vec<Delta>,
    ) -> Result<(), SqlError> {
        self.report_failures(&deltas, ctx)?;
        ctx.taking(-1);
        let mut derived = match self.derived.remove(&partition) {
            Some(derived) => derived,
            None => self.derive(self.rows.get(&partition), ctx)?,
        };
        let whole = self.change_of_totals(&mut derived, &deltas, ctx)?;
        let empty = Rows::default();
        let rows = self.rows.get(&partition).unwrap_or(&empty);
        let felt = self.felt(rows, &deltas, &whole, ctx)?;
        self.show(rows, &felt, &mut derived, (-1, &whole), ctx, out)?;
        if let Some(keys) = &mut derived.keys {
            for (sorted, count) in &deltas {
                keys.add(key_alone(sorted), *count);
            }
        }
        self.rows.apply(&partition, deltas.clone());
        if let Some(rows) = self.rows.get(&partition) {
            let after = self.felt(rows, &deltas, &whole, ctx)?;
            self.show(rows, &after, &mut derived, (1, &whole), ctx, out)?;
            if rows.rows() > DERIVE_ANEW {
                self.derived.insert(partition, derived);
            }
        }
        Ok(())
    }

    /// Rows whose arguments fail are reported once, when they come.
    fn report_failures(&self, deltas: &PartitionDelta, ctx: &mut StepContext<'_>) -> Result<(), SqlError> {
        if ctx.on_error == OnError::Fail {
            return Ok(());
        }
        ctx.taking(1);
        for (sorted, _) in deltas.iter().filter(|(_, count)| *count > 0) {
            for column in &self.columns {
                ctx.eval_all(&column.expr.args, &sorted.row)?;
            }
        }
        Ok(())
    }

    /// The values over whole partitions before and after the change; their totals take the change in
    /// here, those of running aggregates while their rows are shown.
    fn change_of_totals(
        &self,
        derived: &mut Derived,
        deltas: &PartitionDelta,
        ctx: &mut StepContext<'_>,
    ) -> Result<Vec<Option<(Datum, Datum)>>, SqlError> {
        let mut changes = Vec::with_capacity(self.columns.len());
        for (column, total) in self.columns.iter().zip(&mut derived.totals) {
            let (Some(aggregate), Some(total), Reach::Whole) = (&column.aggregate, total, &column.reach) else {
                changes.push(None);
                continue;
            };
            let before = total.value(aggregate)?;
            for (sorted, count) in deltas {
                total.update(aggregate, &sorted.row, *count, ctx)?;
            }
            changes.push(Some((before, total.value(aggregate)?)));
        }
        Ok(changes)
    }

    /// The ranges of `rows` that feel the change, on either side of it.
    fn felt(
        &self,
        rows: &Rows,
        deltas: &PartitionDelta,
        whole: &[Option<(Datum, Datum)>],
        ctx: &mut StepContext<'_>,
    ) -> Result<Ranges, SqlError> {
        let change = reach::Change { rows, deltas, directions: &self.rows.directions };
        let mut ranges = change.points();
        for (column, whole) in self.columns.iter().zip(whole) {
            match whole {
                Some((before, after)) if before == after => {}
                Some(_) => ranges.push(0..rows.rows()),
                None => change.felt(&column.reach, ctx, &mut ranges)?,
            }
        }
        let mut ranges = merged(ranges);
        // Running totals are taken apart from the end.
        if self.columns.iter().any(|column| matches!(column.reach, Reach::Behind { .. }))
            && let Some(first) = ranges.first_mut()
        {
            first.end = rows.rows();
            ranges.truncate(1);
        }
        Ok(ranges)
    }

    fn show(
        &self,
        rows: &Rows,
        ranges: &Ranges,
        derived: &mut Derived,
        (sign, whole): (i64, &[Option<(Datum, Datum)>]),
        ctx: &mut StepContext<'_>,
        out: &mut Vec<Delta>,
    ) -> Result<(), SqlError> {
        for range in ranges {
            let view = Partition::new(rows, range.clone(), &self.rows.directions, derived.keys.as_ref());
            let mut columns = Vec::with_capacity(self.columns.len());
            for ((column, total), whole) in self.columns.iter().zip(&mut derived.totals).zip(whole) {
                columns.push(match (&column.aggregate, total, whole) {
                    (_, _, Some((before, after))) => {
                        let value = if sign < 0 { before } else { after };
                        vec![value.clone(); view.len()]
                    }
                    (Some(aggregate), Some(total), None) => {
                        let by_row = column.expr.frame.unit == FrameUnit::Rows;
                        view.running(aggregate, total, (sign, by_row), ctx)?
                    }
                    (Some(aggregate), None, None) => view.aggregated(aggregate, &column.expr.frame, ctx)?,
                    (None, _, None) => view.evaluate(&column.expr, ctx)?,
                });
            }
            for (i, row) in view.rows().enumerate() {
                let values = columns.iter().map(|column| column[i].clone());
                out.push((row.row.iter().cloned().chain(values).collect(), sign));
            }
        }
        Ok(())
    }
}

/// A row's sort keys without the row, as a key of `Derived::keys`.
fn key_alone(sorted: &SortedRow) -> SortedRow {
    SortedRow { keys: sorted.keys.clone(), row: Row::from([]), directions: sorted.directions.clone() }
}

/// Sorted, without overlaps and empty ranges.
fn merged(mut ranges: Ranges) -> Ranges {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|later, earlier| {
        let touches = later.start <= earlier.end;
        if touches {
            earlier.end = earlier.end.max(later.end);
        }
        touches
    });
    ranges
}

impl Operator for Window {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        let mut changes = Vec::new();
        for (partition, deltas) in self.rows.split(inputs[0], ctx)? {
            self.change(partition, deltas, ctx, &mut changes)?;
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

    fn never_saved(&mut self) {
        self.rows.never_saved();
    }

    fn state_size(&self) -> (usize, usize) {
        self.rows.state_size()
    }

    fn name(&self) -> &'static str {
        "Window"
    }
}
