//! ORDER BY … LIMIT, DISTINCT ON, ROW_NUMBER() <= n: the first rows of each partition.
//!
//! ```text
//!   rows     a b c d e f g        offset 1, limit 3: shown are b c d
//!   + x      a x b c d e f g      x came in and pushed d out: +x -d
//!   - a      x b c d e f g        x slid out at the front, d back in behind: -x +d
//! ```
//!
//! A change moves the rows behind it by its count, so as many rows enter and leave the window as the
//! change has copies: its cost is a few walks from the root, whatever the partition and the limit.

use sql::plan::SortKey;
use sql::{Expr, Row, SqlError};

use super::ordered::SortedRow;
use super::partitioned::{Partitioned, Rows};
use super::{Operator, StepContext};
use crate::delta::{Delta, consolidate};
use crate::state::{StateReader, StateWriter};

/// Shows the rows at `offset .. offset + limit` of each partition.
#[derive(Debug)]
pub struct TopN {
    rows: Partitioned,
    offset: u64,
    /// The first row behind the window.
    end: u64,
    /// What falls behind the window never comes back, because nothing is ever taken away.
    append_only: bool,
}

impl TopN {
    pub fn new(
        partition: Vec<Expr>,
        order: Vec<SortKey>,
        (offset, limit): (u64, Option<u64>),
        append_only: bool,
    ) -> Self {
        let end = limit.map_or(u64::MAX, |limit| offset.saturating_add(limit));
        TopN { rows: Partitioned::new(partition, order), offset, end, append_only }
    }

    /// `count` copies come in (or, below zero, leave) at their place.
    fn change(&mut self, partition: &Row, sorted: SortedRow, count: i64, out: &mut Vec<Delta>) {
        let place = self.rows.get(partition).map_or(0, |rows| rows.before(|row| *row < sorted).0);
        let copies = count.unsigned_abs();
        if place >= self.end {
            if !(self.append_only && count > 0) {
                self.rows.add(partition, sorted, count);
            }
            return;
        }
        let shown = place.max(self.offset)..place.saturating_add(copies).min(self.end);
        let visible = shown.end.saturating_sub(shown.start);
        // Where the moved rows stand while the copies are away, and the two cuts they cross.
        let entering = place.max(self.offset.saturating_sub(copies))..self.offset.min(self.end.saturating_sub(copies));
        let leaving = place.max(self.end.saturating_sub(copies)).max(self.offset)..self.end;
        if count > 0 {
            self.show(partition, entering.clone(), 1, out);
            self.show(partition, leaving, -1, out);
            self.rows.add(partition, sorted.clone(), count);
        } else {
            self.rows.add(partition, sorted.clone(), count);
            self.show(partition, entering.clone(), -1, out);
            self.show(partition, leaving, 1, out);
        }
        if visible > 0 {
            out.push((sorted.row, count.signum() * visible as i64));
        }
    }

    fn show(&self, partition: &Row, rows: std::ops::Range<u64>, sign: i64, out: &mut Vec<Delta>) {
        let Some(held) = self.rows.get(partition) else { return };
        let mut left = rows.end.saturating_sub(rows.start);
        if left == 0 {
            return;
        }
        for (sorted, count) in held.forward(rows.start) {
            let taken = count.min(left);
            out.push((sorted.row.clone(), sign * taken as i64));
            left -= taken;
            if left == 0 {
                return;
            }
        }
    }

    /// Forgets what stands behind the window.
    fn cut(&mut self, partition: &Row) {
        let behind = |rows: &Rows| {
            let last = rows.last()?.clone();
            let (before, _) = rows.before(|row| *row < last);
            (before >= self.end).then(|| (last, rows.rows() - before))
        };
        while let Some((last, count)) = self.rows.get(partition).and_then(behind) {
            self.rows.add(partition, last, -(count as i64));
        }
    }
}

impl Operator for TopN {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        let mut changes = Vec::new();
        for (partition, mut deltas) in self.rows.split(inputs[0], ctx)? {
            // Removals first: no row is ever there a negative number of times.
            deltas.sort_by_key(|(_, count)| *count > 0);
            for (sorted, count) in deltas {
                self.change(&partition, sorted, count, &mut changes);
            }
            if self.append_only {
                self.cut(&partition);
            }
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
        "Top N"
    }
}
