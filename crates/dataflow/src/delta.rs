//! Rows with signed counts.

use rustc_hash::FxHashMap;
use sql::Row;

/// A row, and how many times it is added (positive) or removed (negative).
pub type Delta = (Row, i64);

/// Adds up the counts of equal rows and drops those that cancel out. Keeps first-seen order.
pub fn consolidate(deltas: &mut Vec<Delta>) {
    if deltas.len() < 2 {
        deltas.retain(|(_, count)| *count != 0);
        return;
    }
    let mut position: FxHashMap<Row, usize> = FxHashMap::default();
    position.reserve(deltas.len());
    let mut kept: Vec<Delta> = Vec::with_capacity(deltas.len());
    for (row, count) in deltas.drain(..) {
        match position.get(&row) {
            Some(&at) => kept[at].1 += count,
            None => {
                position.insert(row.clone(), kept.len());
                kept.push((row, count));
            }
        }
    }
    kept.retain(|(_, count)| *count != 0);
    *deltas = kept;
}
