//! DISTINCT inside an aggregate: each value reaches it once while it is there at all.

use rustc_hash::{FxHashMap, FxHashSet};
use sql::plan::AggregateExpr;
use sql::{Datum, Row, SqlError};

use super::{Accumulator, Use};
use crate::operator::key_of;
use crate::state::{StateReader, ValueWriter, row_bytes};

/// Map slot and reference counts beside the value.
const ENTRY_BYTES: usize = 72;

#[derive(Debug)]
struct Held {
    /// As it first came.
    values: Row,
    keys: Row,
    count: i64,
}

#[derive(Debug)]
pub struct DistinctValues {
    counts: FxHashMap<Row, Held>,
    pub inner: Accumulator,
    changed: Option<FxHashSet<Row>>,
    bytes: usize,
}

impl DistinctValues {
    pub fn new(inner: Accumulator, use_: Use) -> Self {
        DistinctValues { counts: FxHashMap::default(), inner, changed: use_.saved.then(FxHashSet::default), bytes: 0 }
    }

    pub fn update(
        &mut self,
        aggregate: &AggregateExpr,
        values: Vec<Datum>,
        keys: Vec<Datum>,
        count: i64,
    ) -> Result<(), SqlError> {
        let key = key_of(&values);
        if let Some(changed) = &mut self.changed {
            changed.insert(key.clone());
        }
        let (first, before, after) = match self.counts.get_mut(&key) {
            Some(held) => {
                let before = held.count;
                held.count += count;
                (held.values.to_vec(), before, held.count)
            }
            None => {
                let held = Held { values: values.clone().into(), keys: keys.clone().into(), count };
                self.bytes += held_bytes(&key, &held);
                self.counts.insert(key.clone(), held);
                (values, 0, count)
            }
        };
        if after == 0
            && let Some(held) = self.counts.remove(&key)
        {
            self.bytes = self.bytes.saturating_sub(held_bytes(&key, &held));
        }
        match (before > 0, after > 0) {
            (false, true) => self.inner.add(aggregate, first, keys, 1),
            (true, false) => self.inner.add(aggregate, first, keys, -1),
            _ => Ok(()),
        }
    }

    /// Hands out what changed since the last call: a value's key, and what is held of it or `None`.
    pub fn save_items(&mut self, sink: super::ItemSink<'_>) {
        for key in self.changed.as_mut().map(std::mem::take).unwrap_or_default() {
            let held = self.counts.get(&key);
            let key = Datum::Record(key);
            match held {
                None => sink(key, None),
                Some(held) => sink(
                    key,
                    Some(&|w: &mut ValueWriter| {
                        w.i64(held.count);
                        w.row(&held.values);
                        w.row(&held.keys);
                    }),
                ),
            }
        }
    }

    /// Reads one value that `save_items` handed out; what it means to the aggregate follows from it.
    pub fn load_item(
        &mut self,
        aggregate: &AggregateExpr,
        key: &Datum,
        r: &mut StateReader<'_>,
    ) -> Result<(), SqlError> {
        let Datum::Record(key) = key else {
            return Err(SqlError::internal("damaged state of an aggregate"));
        };
        let count = r.i64()?;
        let held = Held { values: r.row()?, keys: r.row()?, count };
        if count > 0 {
            self.inner.add(aggregate, held.values.to_vec(), held.keys.to_vec(), 1)?;
        }
        self.bytes += held_bytes(key, &held);
        self.counts.insert(key.clone(), held);
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        std::mem::size_of::<Self>() + self.bytes + self.inner.bytes()
    }
}

fn held_bytes(key: &Row, held: &Held) -> usize {
    row_bytes(key) + row_bytes(&held.values) + row_bytes(&held.keys) + ENTRY_BYTES
}
