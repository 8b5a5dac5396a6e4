//! ORDER BY … LIMIT, DISTINCT ON, ROW_NUMBER() <= n: the first rows of each partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use sql::plan::SortKey;
use sql::{Expr, Row, SqlError};

use super::ordered::{Directions, SortedRow};
use super::{Operator, StepContext, key_of};
use crate::delta::{Delta, consolidate};
use crate::state::{StateReader, StateWriter, row_bytes};

/// Keeps every row in order and shows those at `offset .. offset + limit` of each partition. A
/// change costs a search plus the rows shown, whatever the partition holds.
#[derive(Debug)]
pub struct TopN {
    partition: Vec<Expr>,
    order: Vec<SortKey>,
    directions: Arc<Directions>,
    offset: u64,
    limit: Option<u64>,
    rows: FxHashMap<Row, BTreeMap<SortedRow, i64>>,
    changed: FxHashSet<(Row, Row)>,
}

impl TopN {
    pub fn new(partition: Vec<Expr>, order: Vec<SortKey>, offset: u64, limit: Option<u64>) -> Self {
        let directions = Directions::of(&order);
        TopN { partition, order, directions, offset, limit, rows: FxHashMap::default(), changed: FxHashSet::default() }
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

    fn sorted(&self, row: &Row, ctx: &mut StepContext<'_>) -> Result<Option<SortedRow>, SqlError> {
        let keys = ctx.eval_all(self.order.iter().map(|k| &k.expr), row)?;
        Ok(keys.map(|keys| SortedRow { keys: keys.into(), row: row.clone(), directions: self.directions.clone() }))
    }
}

impl Operator for TopN {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        let mut by_partition: FxHashMap<Row, Vec<(SortedRow, i64)>> = FxHashMap::default();
        for (row, count) in inputs[0] {
            let Some(partition) = ctx.eval_all(&self.partition, row)? else { continue };
            if let Some(sorted) = self.sorted(row, ctx)? {
                by_partition.entry(key_of(&partition)).or_default().push((sorted, *count));
            }
        }
        let mut changes = Vec::new();
        for (partition, deltas) in by_partition {
            self.shown(&partition, -1, &mut changes);
            let rows = self.rows.entry(partition.clone()).or_default();
            for (sorted, count) in deltas {
                self.changed.insert((partition.clone(), sorted.row.clone()));
                let held = rows.entry(sorted.clone()).or_insert(0);
                *held += count;
                if *held == 0 {
                    rows.remove(&sorted);
                }
            }
            if rows.is_empty() {
                self.rows.remove(&partition);
            }
            self.shown(&partition, 1, &mut changes);
            consolidate(&mut changes);
            out.append(&mut changes);
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        let mut ctx = StepContext::at(0);
        for (partition, row) in std::mem::take(&mut self.changed) {
            let sorted = self.sorted(&row, &mut ctx).ok().flatten();
            let held = sorted.and_then(|s| self.rows.get(&partition)?.get_key_value(&s));
            let key: Row = partition.iter().chain(row.iter()).cloned().collect();
            writer.entry(&key, held.as_ref(), |(sorted, count), w| {
                w.u64(partition.len() as u64);
                w.row(&sorted.keys);
                w.i64(**count);
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let whole = entry.key()?;
        let split = usize::try_from(entry.u64()?).unwrap_or(usize::MAX);
        let (partition, row) =
            whole.split_at_checked(split).ok_or_else(|| SqlError::internal("damaged state of a top-n operator"))?;
        let sorted = SortedRow { keys: entry.row()?, row: row.into(), directions: self.directions.clone() };
        self.rows.entry(partition.into()).or_default().insert(sorted, entry.i64()?);
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        let rows = self.rows.values().flat_map(|rows| rows.keys());
        let (bytes, count) =
            rows.fold((0, 0), |(bytes, n), s| (bytes + row_bytes(&s.row) + row_bytes(&s.keys) + 48, n + 1));
        (bytes, count)
    }

    fn name(&self) -> &'static str {
        "Top N"
    }
}
