//! Rows by partition, in order: the state of top-n and of window functions.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sql::plan::SortKey;
use sql::{Expr, Row, SqlError};

use super::counted::Counted;
use super::ordered::{Directions, SortedRow};
use super::{OnError, StepContext, key_of};
use crate::delta::Delta;
use crate::state::{Changed, StateReader, StateWriter, row_bytes};

/// One partition's rows with their counts.
pub type Rows = Counted<SortedRow>;
/// A tick's deltas of one partition: in order, no row twice.
pub type PartitionDelta = Vec<(SortedRow, i64)>;

/// Tree node and reference counts beside the row and its keys.
const ENTRY_BYTES: usize = 80;

/// PARTITION BY … ORDER BY …, with every row kept.
#[derive(Debug)]
pub struct Partitioned {
    partition_by: Vec<Expr>,
    order_by: Vec<SortKey>,
    pub directions: Arc<Directions>,
    partitions: FxHashMap<Row, Rows>,
    /// Partition and row, since the last checkpoint.
    changed: Changed<(Row, Row)>,
    bytes: usize,
    entries: usize,
}

impl Partitioned {
    pub fn new(partition_by: Vec<Expr>, order_by: Vec<SortKey>) -> Self {
        let directions = Directions::of(&order_by);
        let (partitions, changed) = (FxHashMap::default(), Changed::default());
        Partitioned { partition_by, order_by, directions, partitions, changed, bytes: 0, entries: 0 }
    }

    pub fn get(&self, partition: &Row) -> Option<&Rows> {
        self.partitions.get(partition)
    }

    /// Sorts a tick's input into its partitions; nothing is changed yet.
    pub fn split(&self, input: &[Delta], ctx: &mut StepContext<'_>) -> Result<Vec<(Row, PartitionDelta)>, SqlError> {
        let mut split: FxHashMap<Row, PartitionDelta> = FxHashMap::default();
        for (row, count) in input {
            ctx.taking(*count);
            let Some(partition) = ctx.eval_all(&self.partition_by, row)? else { continue };
            if let Some(sorted) = self.sorted(row, ctx)? {
                split.entry(key_of(&partition)).or_default().push((sorted, *count));
            }
        }
        let in_order = |(partition, mut deltas): (Row, PartitionDelta)| {
            deltas.sort_by(|(a, _), (b, _)| a.cmp(b));
            deltas.dedup_by(|(later, n), (first, sum)| {
                let same = *later == *first;
                *sum += if same { *n } else { 0 };
                same
            });
            deltas.retain(|(_, count)| *count != 0);
            (partition, deltas)
        };
        Ok(split.into_iter().map(in_order).filter(|(_, deltas)| !deltas.is_empty()).collect())
    }

    /// Takes one row of a partition in or back.
    pub fn add(&mut self, partition: &Row, sorted: SortedRow, count: i64) {
        self.changed.insert(&(partition.clone(), sorted.row.clone()));
        let bytes = row_bytes(&sorted.row) + row_bytes(&sorted.keys) + ENTRY_BYTES;
        let rows = match self.partitions.get_mut(partition) {
            Some(rows) => rows,
            None => self.partitions.entry(partition.clone()).or_default(),
        };
        let before = rows.entries();
        rows.add(sorted, count);
        match rows.entries() {
            after if after > before => {
                self.bytes += bytes;
                self.entries += 1;
            }
            after if after < before => {
                self.bytes = self.bytes.saturating_sub(bytes);
                self.entries -= 1;
                if after == 0 {
                    self.partitions.remove(partition);
                }
            }
            _ => {}
        }
    }

    /// Takes the deltas of one partition in.
    pub fn apply(&mut self, partition: &Row, deltas: PartitionDelta) {
        for (sorted, count) in deltas {
            self.add(partition, sorted, count);
        }
    }

    fn sorted(&self, row: &Row, ctx: &mut StepContext<'_>) -> Result<Option<SortedRow>, SqlError> {
        let keys = ctx.eval_all(self.order_by.iter().map(|k| &k.expr), row)?;
        Ok(keys.map(|keys| SortedRow { keys: keys.into(), row: row.clone(), directions: self.directions.clone() }))
    }

    pub fn save(&mut self, writer: &mut StateWriter<'_>) {
        // A key that failed was NULL when its row came, or the row was left out and is not found below.
        let mut ctx = StepContext { on_error: OnError::Null, ..StepContext::at(0) };
        for (partition, row) in self.changed.take() {
            let sorted = self.sorted(&row, &mut ctx).ok().flatten();
            let held = sorted.and_then(|s| self.partitions.get(&partition)?.get(&s));
            let key: Row = partition.iter().chain(row.iter()).cloned().collect();
            writer.entry(&key, held.as_ref(), |(sorted, count), w| {
                w.u64(partition.len() as u64);
                w.row(&sorted.keys);
                w.i64(*count);
            });
        }
    }

    pub fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let whole = entry.key()?;
        let split = usize::try_from(entry.u64()?).unwrap_or(usize::MAX);
        let (partition, row) =
            whole.split_at_checked(split).ok_or_else(|| SqlError::internal("damaged state of ordered rows"))?;
        let sorted = SortedRow { keys: entry.row()?, row: row.into(), directions: self.directions.clone() };
        self.add(&partition.into(), sorted, entry.i64()?);
        self.changed.clear();
        Ok(())
    }

    pub fn never_saved(&mut self) {
        self.changed.turn_off();
    }

    /// Bytes, estimated, and rows.
    pub fn state_size(&self) -> (usize, usize) {
        (self.bytes, self.entries)
    }
}
