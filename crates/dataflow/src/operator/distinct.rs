//! DISTINCT: a row is there once while its count is positive.

use rustc_hash::FxHashMap;
use sql::{Row, SqlError};

use super::{Operator, StepContext, key_of};
use crate::delta::Delta;
use crate::state::{Changed, StateReader, StateWriter, row_bytes};

/// Counts SQL-equal rows; shows the representation that came first.
#[derive(Debug, Default)]
pub struct Distinct {
    counts: FxHashMap<Row, (Row, i64)>,
    changed: Changed<Row>,
    bytes: usize,
}

/// Map slot and reference counts beside a row and its canonical form.
fn entry_bytes(shown: &Row) -> usize {
    2 * row_bytes(shown) + 48
}

impl Operator for Distinct {
    fn step(&mut self, inputs: &[&[Delta]], _: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for (row, count) in inputs[0] {
            let key = key_of(row);
            let (shown, held) = self.counts.entry(key.clone()).or_insert_with(|| {
                self.bytes += entry_bytes(row);
                (row.clone(), 0)
            });
            let before = *held > 0;
            *held += count;
            match (before, *held > 0) {
                (false, true) => out.push((shown.clone(), 1)),
                (true, false) => out.push((shown.clone(), -1)),
                _ => {}
            }
            if *held == 0 {
                self.bytes = self.bytes.saturating_sub(entry_bytes(shown));
                self.counts.remove(&key);
            }
            self.changed.insert(&key);
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        for key in self.changed.take() {
            writer.entry(&key, self.counts.get(&key), |(shown, count), w| {
                w.row(shown);
                w.i64(*count);
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let key = entry.key()?;
        let value = (entry.row()?, entry.i64()?);
        self.bytes += entry_bytes(&value.0);
        self.counts.insert(key, value);
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        (self.bytes, self.counts.len())
    }

    fn never_saved(&mut self) {
        self.changed.turn_off();
    }

    fn name(&self) -> &'static str {
        "Distinct"
    }
}
