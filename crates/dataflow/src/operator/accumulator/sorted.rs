//! Values in order, for every aggregate that needs them all: minimum and maximum of what can shrink,
//! percentiles, the mode, lists.
//!
//! The order is ORDER BY's; else the values' own. Arrival decides ties of a list whose input only
//! grows, and is its order if it has no other: elsewhere the answer must be a function of the rows and
//! not of their history.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use sql::plan::{AggregateExpr, AggregateFunction as Function};
use sql::{Datum, Row, SqlError};

use super::Use;
use crate::operator::counted::Counted;
use crate::operator::ordered::{Directions, SortedRow};
use crate::state::{StateReader, ValueWriter, row_bytes};

/// Tree node and reference counts beside the values.
const ENTRY_BYTES: usize = 80;

#[derive(Debug)]
pub struct Sorted {
    items: Counted<SortedRow>,
    directions: Arc<Directions>,
    /// Arrival number of the last item, if arrival decides ties.
    arrivals: Option<i64>,
    /// The most frequent first; only `mode` asks.
    by_count: Option<BTreeSet<(Reverse<i64>, SortedRow)>>,
    /// Items to write at the next checkpoint, if there is one.
    changed: Option<Vec<SortedRow>>,
    bytes: usize,
}

impl Sorted {
    pub fn new(aggregate: &AggregateExpr, use_: Use) -> Self {
        let directions = if aggregate.order_by.is_empty() {
            Directions::ascending(aggregate.args.len().max(1))
        } else {
            Directions::of(&aggregate.order_by)
        };
        let is_list = matches!(
            aggregate.function,
            Function::StringAgg | Function::ArrayAgg | Function::JsonAgg | Function::JsonObjectAgg
        );
        Sorted {
            items: Counted::default(),
            directions,
            arrivals: (use_.append_only && is_list).then_some(0),
            by_count: (aggregate.function == Function::Mode).then(BTreeSet::new),
            changed: use_.saved.then(Vec::new),
            bytes: 0,
        }
    }

    pub fn add(&mut self, values: Vec<Datum>, keys: Vec<Datum>, count: i64) {
        let keys: Option<Row> = (!keys.is_empty()).then(|| keys.into());
        let (keys, row): (Row, Row) = match &mut self.arrivals {
            Some(last) => {
                *last += 1;
                // Arrival breaks ties, and is the order itself where there is none.
                let row: Row = std::iter::once(Datum::Int(*last)).chain(values).collect();
                (keys.unwrap_or_else(|| Row::from([])), row)
            }
            None => {
                let row: Row = values.into();
                (keys.unwrap_or_else(|| row.clone()), row)
            }
        };
        let item = SortedRow { keys, row, directions: self.directions.clone() };
        if let Some(changed) = &mut self.changed {
            changed.push(item.clone());
        }
        self.put(item, count);
    }

    fn put(&mut self, item: SortedRow, count: i64) {
        let before = self.items.entries();
        let bytes = item_bytes(&item);
        let after = self.items.add(item.clone(), count);
        match self.items.entries() {
            now if now > before => self.bytes += bytes,
            now if now < before => self.bytes = self.bytes.saturating_sub(bytes),
            _ => {}
        }
        if let Some(by_count) = &mut self.by_count {
            by_count.remove(&(Reverse(after - count), item.clone()));
            if after != 0 {
                by_count.insert((Reverse(after), item));
            }
        }
    }

    fn values_of<'a>(&self, item: &'a SortedRow) -> &'a [Datum] {
        &item.row[usize::from(self.arrivals.is_some())..]
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many values there are, repetitions counted.
    pub fn count(&self) -> u64 {
        self.items.rows()
    }

    /// The values in order, repeated as often as they are there.
    pub fn values(&self) -> impl Iterator<Item = &[Datum]> {
        self.items.iter().flat_map(|(item, n)| std::iter::repeat_n(self.values_of(item), n as usize))
    }

    /// The value with `n` others before it.
    pub fn nth(&self, n: u64) -> Option<&[Datum]> {
        self.items.at(n).map(|item| self.values_of(item))
    }

    pub fn first(&self) -> Option<&[Datum]> {
        self.nth(0)
    }

    pub fn last(&self) -> Option<&[Datum]> {
        self.items.last().map(|item| self.values_of(item))
    }

    /// The first of the most frequent.
    pub fn most_frequent(&self) -> Option<&[Datum]> {
        self.by_count.as_ref()?.first().map(|(_, item)| self.values_of(item))
    }

    /// The part that is written with the group; the items are written one by one.
    pub fn save(&self, w: &mut ValueWriter) {
        w.i64(self.arrivals.unwrap_or(-1));
    }

    pub fn read(&mut self, r: &mut StateReader<'_>) -> Result<(), SqlError> {
        let last = r.i64()?;
        self.arrivals = self.arrivals.map(|_| last.max(0));
        Ok(())
    }

    /// Hands out what changed since the last call: an item's key, and its count or `None`.
    pub fn save_items(&mut self, sink: &mut dyn FnMut(Datum, Option<i64>)) {
        let mut changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        changed.sort();
        changed.dedup();
        for item in changed {
            let count = self.items.get(&item).map(|(_, count)| count);
            let keys = if Arc::ptr_eq(&item.keys, &item.row) { Datum::Null } else { Datum::Record(item.keys) };
            sink(Datum::Record([Datum::Record(item.row), keys].into()), count);
        }
    }

    /// Reads one item that `save_items` handed out.
    pub fn load_item(&mut self, key: &Datum, count: i64) -> Result<(), SqlError> {
        let damaged = || SqlError::internal("damaged state of an aggregate");
        let Datum::Record(parts) = key else { return Err(damaged()) };
        let (row, keys) = match &parts[..] {
            [Datum::Record(row), Datum::Null] => (row.clone(), row.clone()),
            [Datum::Record(row), Datum::Record(keys)] => (row.clone(), keys.clone()),
            _ => return Err(damaged()),
        };
        self.put(SortedRow { keys, row, directions: self.directions.clone() }, count);
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        std::mem::size_of::<Self>() + if self.by_count.is_some() { 2 * self.bytes } else { self.bytes }
    }
}

fn item_bytes(item: &SortedRow) -> usize {
    let keys = if Arc::ptr_eq(&item.keys, &item.row) { 0 } else { row_bytes(&item.keys) };
    row_bytes(&item.row) + keys + ENTRY_BYTES
}
