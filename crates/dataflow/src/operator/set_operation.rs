//! INTERSECT and EXCEPT, with and without ALL: a row's output count is a function of its counts
//! on both sides.

use rustc_hash::FxHashMap;
use sql::{Row, SqlError};

use super::{Operator, StepContext, key_of};
use crate::delta::Delta;
use crate::state::{Changed, StateReader, StateWriter, row_bytes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Intersect,
    IntersectAll,
    Except,
    ExceptAll,
}

impl Rule {
    fn count(self, left: i64, right: i64) -> i64 {
        match self {
            Rule::Intersect => i64::from(left > 0 && right > 0),
            Rule::IntersectAll => left.min(right),
            Rule::Except => i64::from(left > 0 && right <= 0),
            Rule::ExceptAll => (left - right).max(0),
        }
    }
}

#[derive(Debug)]
struct Counts {
    shown: Row,
    left: i64,
    right: i64,
}

#[derive(Debug)]
pub struct SetOperation {
    rule: Rule,
    counts: FxHashMap<Row, Counts>,
    changed: Changed<Row>,
    bytes: usize,
}

/// Map slot and reference counts beside a row and its canonical form.
fn entry_bytes(shown: &Row) -> usize {
    2 * row_bytes(shown) + 56
}

impl SetOperation {
    pub fn new(rule: Rule) -> Self {
        SetOperation { rule, counts: FxHashMap::default(), changed: Changed::default(), bytes: 0 }
    }
}

impl Operator for SetOperation {
    fn step(&mut self, inputs: &[&[Delta]], _: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for (side, input) in inputs.iter().enumerate() {
            for (row, delta) in *input {
                let key = key_of(row);
                let counts = self.counts.entry(key.clone()).or_insert_with(|| {
                    self.bytes += entry_bytes(row);
                    Counts { shown: row.clone(), left: 0, right: 0 }
                });
                let before = self.rule.count(counts.left, counts.right);
                *(if side == 0 { &mut counts.left } else { &mut counts.right }) += delta;
                let change = self.rule.count(counts.left, counts.right) - before;
                if change != 0 {
                    out.push((counts.shown.clone(), change));
                }
                if counts.left == 0 && counts.right == 0 {
                    self.bytes = self.bytes.saturating_sub(entry_bytes(&counts.shown));
                    self.counts.remove(&key);
                }
                self.changed.insert(&key);
            }
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        for key in self.changed.take() {
            writer.entry(&key, self.counts.get(&key), |counts, w| {
                w.row(&counts.shown);
                w.i64(counts.left);
                w.i64(counts.right);
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let key = entry.key()?;
        let counts = Counts { shown: entry.row()?, left: entry.i64()?, right: entry.i64()? };
        self.bytes += entry_bytes(&counts.shown);
        self.counts.insert(key, counts);
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        (self.bytes, self.counts.len())
    }

    fn never_saved(&mut self) {
        self.changed.turn_off();
    }

    fn name(&self) -> &'static str {
        match self.rule {
            Rule::Intersect => "Intersect",
            Rule::IntersectAll => "Intersect All",
            Rule::Except => "Except",
            Rule::ExceptAll => "Except All",
        }
    }
}
