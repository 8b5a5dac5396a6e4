//! Rows by partition, in order: the state of top-n and of window functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use sql::plan::SortKey;
use sql::{Expr, Row, SqlError};

use super::ordered::{Directions, SortedRow};
use super::{StepContext, key_of};
use crate::delta::Delta;
use crate::state::{StateReader, StateWriter, row_bytes};

/// One partition's rows with their counts.
pub type Rows = BTreeMap<SortedRow, i64>;
/// A tick's deltas of one partition.
pub type PartitionDelta = Vec<(SortedRow, i64)>;

/// PARTITION BY … ORDER BY …, with every row kept.
#[derive(Debug)]
pub struct Partitioned {
    partition_by: Vec<Expr>,
    order_by: Vec<SortKey>,
    pub directions: Arc<Directions>,
    partitions: FxHashMap<Row, Rows>,
    /// Partition and row, since the last checkpoint.
    changed: FxHashSet<(Row, Row)>,
}

impl Partitioned {
    pub fn new(partition_by: Vec<Expr>, order_by: Vec<SortKey>) -> Self {
        let directions = Directions::of(&order_by);
        let (partitions, changed) = (FxHashMap::default(), FxHashSet::default());
        Partitioned { partition_by, order_by, directions, partitions, changed }
    }

    pub fn get(&self, partition: &Row) -> Option<&Rows> {
        self.partitions.get(partition)
    }

    /// Sorts a tick's input into its partitions; nothing is changed yet.
    pub fn split(
        &self,
        input: &[Delta],
        ctx: &mut StepContext<'_>,
    ) -> Result<FxHashMap<Row, PartitionDelta>, SqlError> {
        let mut split: FxHashMap<Row, PartitionDelta> = FxHashMap::default();
        for (row, count) in input {
            let Some(partition) = ctx.eval_all(&self.partition_by, row)? else { continue };
            if let Some(sorted) = self.sorted(row, ctx)? {
                split.entry(key_of(&partition)).or_default().push((sorted, *count));
            }
        }
        Ok(split)
    }

    /// Takes the deltas of one partition in.
    pub fn apply(&mut self, partition: &Row, deltas: PartitionDelta) {
        let rows = self.partitions.entry(partition.clone()).or_default();
        for (sorted, count) in deltas {
            self.changed.insert((partition.clone(), sorted.row.clone()));
            let held = rows.entry(sorted.clone()).or_insert(0);
            *held += count;
            if *held == 0 {
                rows.remove(&sorted);
            }
        }
        if rows.is_empty() {
            self.partitions.remove(partition);
        }
    }

    fn sorted(&self, row: &Row, ctx: &mut StepContext<'_>) -> Result<Option<SortedRow>, SqlError> {
        let keys = ctx.eval_all(self.order_by.iter().map(|k| &k.expr), row)?;
        Ok(keys.map(|keys| SortedRow { keys: keys.into(), row: row.clone(), directions: self.directions.clone() }))
    }

    pub fn save(&mut self, writer: &mut StateWriter<'_>) {
        let mut ctx = StepContext::at(0);
        for (partition, row) in std::mem::take(&mut self.changed) {
            let sorted = self.sorted(&row, &mut ctx).ok().flatten();
            let held = sorted.and_then(|s| self.partitions.get(&partition)?.get_key_value(&s));
            let key: Row = partition.iter().chain(row.iter()).cloned().collect();
            writer.entry(&key, held.as_ref(), |(sorted, count), w| {
                w.u64(partition.len() as u64);
                w.row(&sorted.keys);
                w.i64(**count);
            });
        }
    }

    pub fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let whole = entry.key()?;
        let split = usize::try_from(entry.u64()?).unwrap_or(usize::MAX);
        let (partition, row) =
            whole.split_at_checked(split).ok_or_else(|| SqlError::internal("damaged state of ordered rows"))?;
        let sorted = SortedRow { keys: entry.row()?, row: row.into(), directions: self.directions.clone() };
        self.partitions.entry(partition.into()).or_default().insert(sorted, entry.i64()?);
        Ok(())
    }

    /// Bytes, estimated, and rows.
    pub fn state_size(&self) -> (usize, usize) {
        let rows = self.partitions.values().flat_map(|rows| rows.keys());
        rows.fold((0, 0), |(bytes, n), s| (bytes + row_bytes(&s.row) + row_bytes(&s.keys) + 48, n + 1))
    }
}
