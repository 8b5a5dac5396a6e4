//! DISTINCT: a row is there once while its count is positive.

use rustc_hash::{FxHashMap, FxHashSet};
use sql::{Row, SqlError};

use super::{Operator, StepContext, key_of};
use crate::delta::Delta;
use crate::state::{StateReader, StateWriter, row_bytes};

/// Counts SQL-equal rows; shows the representation that came first.
#[derive(Debug, Default)]
pub struct Distinct {
    counts: FxHashMap<Row, (Row, i64)>,
    changed: FxHashSet<Row>,
}

impl Operator for Distinct {
    fn step(&mut self, inputs: &[&[Delta]], _: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for (row, count) in inputs[0] {
            let key = key_of(row);
            let (shown, held) = self.counts.entry(key.clone()).or_insert_with(|| (row.clone(), 0));
            let before = *held > 0;
            *held += count;
            match (before, *held > 0) {
                (false, true) => out.push((shown.clone(), 1)),
                (true, false) => out.push((shown.clone(), -1)),
                _ => {}
            }
            if *held == 0 {
                self.counts.remove(&key);
            }
            self.changed.insert(key);
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        for key in self.changed.drain() {
            writer.entry(&key, self.counts.get(&key), |(shown, count), w| {
                w.row(shown);
                w.i64(*count);
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let key = entry.key()?;
        let value = (entry.row()?, entry.i64()?);
        self.counts.insert(key, value);
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        (self.counts.values().map(|(row, _)| 2 * row_bytes(row) + 48).sum(), self.counts.len())
    }

    fn name(&self) -> &'static str {
        "Distinct"
    }
}
