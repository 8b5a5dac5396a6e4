//! ORDER BY … LIMIT, DISTINCT ON, ROW_NUMBER() <= n: the first rows of each partition.

use sql::plan::SortKey;
use sql::{Expr, Row, SqlError};

use super::partitioned::Partitioned;
use super::{Operator, StepContext};
use crate::delta::{Delta, consolidate};
use crate::state::{StateReader, StateWriter};

/// Keeps every row in order and shows those at `offset .. offset + limit` of each partition. A
/// change costs a search plus the rows shown, whatever the partition holds.
#[derive(Debug)]
pub struct TopN {
    rows: Partitioned,
    offset: u64,
    limit: Option<u64>,
}

impl TopN {
    pub fn new(partition: Vec<Expr>, order: Vec<SortKey>, offset: u64, limit: Option<u64>) -> Self {
        TopN { rows: Partitioned::new(partition, order), offset, limit }
    }

    fn shown(&self, partition: &Row, sign: i64, out: &mut Vec<Delta>) {
        let Some(rows) = self.rows.get(partition) else { return };
        let mut skip = self.offset;
        let mut left = self.limit.unwrap_or(u64::MAX);
        for (sorted, count) in rows {
            let mut count = (*count).max(0) as u64;
            let skipped = skip.min(count);
            skip -= skipped;
            count = (count - skipped).min(left);
            left -= count;
            if count > 0 {
                out.push((sorted.row.clone(), sign * count as i64));
            }
            if left == 0 {
                break;
            }
        }
    }
}

impl Operator for TopN {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        let mut changes = Vec::new();
        for (partition, deltas) in self.rows.split(inputs[0], ctx)? {
            self.shown(&partition, -1, &mut changes);
            self.rows.apply(&partition, deltas);
            self.shown(&partition, 1, &mut changes);
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
        "Top N"
    }
}
