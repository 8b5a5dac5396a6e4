//! Neighbouring projections become one, and those that change nothing go.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Readers;
use super::cost::{for_each_column, is_cheap, is_deterministic, is_true, substitute};
use crate::expr::{Expr, ExprKind};
use crate::plan::Plan;

type Done = FxHashMap<*const Plan, Arc<Plan>>;

pub(super) fn merge(plan: &Arc<Plan>) -> Arc<Plan> {
    merge_node(plan, &Readers::of(plan), &mut Done::default())
}

fn merge_node(plan: &Arc<Plan>, readers: &Readers, done: &mut Done) -> Arc<Plan> {
    if let Some(node) = done.get(&Arc::as_ptr(plan)) {
        return node.clone();
    }
    let inputs: Vec<Arc<Plan>> = plan.inputs().into_iter().map(|input| merge_node(input, readers, done)).collect();
    let shared_input = plan.inputs().first().is_some_and(|input| readers.is_shared(input));
    let node = plan.with_inputs(inputs);
    let node = match node {
        Plan::Project { input, exprs, fields } => match &*input {
            Plan::Project { input: below, exprs: inner, .. } if !shared_input && may_merge(&exprs, inner) => {
                let exprs = exprs.iter().map(|e| substitute(e, inner)).collect();
                Arc::new(Plan::Project { input: below.clone(), exprs, fields })
            }
            _ if is_identity(&exprs, &input) && fields == input.fields() => input,
            _ => Arc::new(Plan::Project { input, exprs, fields }),
        },
        Plan::Filter { input, predicate } if is_true(&predicate) => input,
        other => Arc::new(other),
    };
    done.insert(Arc::as_ptr(plan), node.clone());
    node
}

/// No expensive expression is computed twice, and none leaves the row whose time or random value it
/// holds.
fn may_merge(outer: &[Expr], inner: &[Expr]) -> bool {
    let mut uses = vec![0usize; inner.len()];
    for expr in outer {
        for_each_column(expr, &mut |column| uses[column] += 1);
    }
    inner.iter().zip(uses).all(|(e, n)| is_cheap(e) || n == 0 || (n == 1 && !e.reads_now() && is_deterministic(e)))
}

fn is_identity(exprs: &[Expr], input: &Plan) -> bool {
    exprs.len() == input.fields().len()
        && exprs.iter().enumerate().all(|(n, e)| matches!(e.kind, ExprKind::Column(c) if c == n))
}
