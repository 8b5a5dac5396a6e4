//! Plans that do the same with less work and state.
//!
//! ```text
//!   fold       constants are computed once
//!   pushdown   conditions move to where fewer rows pass
//!   keys       equalities of a join become its keys
//!   top_n      ROW_NUMBER() <= n keeps n rows per partition
//!   merge      neighbouring projections become one
//!   needs      columns nobody reads disappear; JSON paths are read by the scan
//! ```
//!
//! # Invariants
//! - Every rule preserves the result, row for row, ties included.
//! - A node with several readers stays one node: no rule copies it for one of them.
//! - The time (`now()`) is never moved into or out of a row: see `cost.rs`.

mod cost;
mod fold;
mod keys;
mod merge;
mod needs;
mod pushdown;
mod source_filter;
mod top_n;

use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use source_filter::{SourceFilter, filter_pushdown};

use crate::error::Result;
use crate::plan::Plan;

/// Applies the rules in order.
pub(crate) fn optimize(plan: Arc<Plan>) -> Result<Arc<Plan>> {
    let plan = fold::fold(&plan);
    let plan = pushdown::push_down(&plan);
    let plan = keys::extract_keys(&plan);
    let plan = top_n::limit_partitions(&plan);
    let plan = merge::merge(&plan);
    let plan = needs::narrow(&plan);
    Ok(merge::merge(&plan))
}

/// How many readers each node has.
struct Readers(FxHashMap<*const Plan, usize>);

impl Readers {
    fn of(plan: &Arc<Plan>) -> Self {
        let mut readers = FxHashMap::default();
        crate::binder::edit::walk(plan, &mut |node| {
            for input in node.inputs() {
                *readers.entry(Arc::as_ptr(input)).or_insert(0) += 1;
            }
        });
        Readers(readers)
    }

    fn is_shared(&self, plan: &Arc<Plan>) -> bool {
        self.0.get(&Arc::as_ptr(plan)).is_some_and(|n| *n > 1)
    }
}
