//! Rows in a query's order, for sorted state.

use std::cmp::Ordering;
use std::sync::Arc;

use sql::plan::SortKey;
use sql::{Datum, Row};

/// How sort keys compare; shared by all rows of one operator.
#[derive(Debug, PartialEq, Eq)]
pub struct Directions(Vec<Direction>);

#[derive(Debug, PartialEq, Eq)]
struct Direction {
    descending: bool,
    nulls_first: bool,
}

impl Directions {
    pub fn of(keys: &[SortKey]) -> Arc<Self> {
        Arc::new(Directions(
            keys.iter().map(|k| Direction { descending: k.descending, nulls_first: k.nulls_first }).collect(),
        ))
    }

    /// `n` keys, ascending, NULLs last.
    pub fn ascending(n: usize) -> Arc<Self> {
        Arc::new(Directions((0..n).map(|_| Direction { descending: false, nulls_first: false }).collect()))
    }

    pub fn is_descending(&self, key: usize) -> bool {
        self.0[key].descending
    }

    pub fn compare(&self, a: &[Datum], b: &[Datum]) -> Ordering {
        for ((direction, x), y) in self.0.iter().zip(a).zip(b) {
            let order = match (x.is_null(), y.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) if direction.nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if direction.nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    let order = sql::compare::compare(x, y);
                    if direction.descending { order.reverse() } else { order }
                }
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// A row under its sort keys; ties are broken by the row's representation, so that any two
/// different rows have one order, on every run.
#[derive(Clone, Debug)]
pub struct SortedRow {
    pub keys: Row,
    pub row: Row,
    pub directions: Arc<Directions>,
}

impl PartialEq for SortedRow {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for SortedRow {}
impl PartialOrd for SortedRow {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for SortedRow {
    fn cmp(&self, other: &Self) -> Ordering {
        self.directions.compare(&self.keys, &other.keys).then_with(|| self.row.cmp(&other.row))
    }
}
