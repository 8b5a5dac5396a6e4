//! Conditions move towards the sources, as far as that repeats no expensive expression.
//!
//! One pass from the top: each node gets the conditions over its output, keeps what must stay above
//! it and hands the rest on.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Readers;
use super::cost::{for_each_column, is_cheap, is_deterministic, is_true, reads_only, shift, substitute};
use crate::binder::edit::{conjunction, conjuncts};
use crate::expr::{Expr, ExprKind};
use crate::plan::{JoinKind, Plan};

pub(super) fn push_down(plan: &Arc<Plan>) -> Arc<Plan> {
    let mut pass = Pass { readers: Readers::of(plan), done: FxHashMap::default() };
    pass.push(plan, vec![])
}

struct Pass {
    readers: Readers,
    /// Shared nodes, rewritten once.
    done: FxHashMap<*const Plan, Arc<Plan>>,
}

fn filtered(input: Arc<Plan>, predicates: Vec<Expr>) -> Arc<Plan> {
    match conjunction(predicates) {
        Some(predicate) => Arc::new(Plan::Filter { input, predicate }),
        None => input,
    }
}

impl Pass {
    /// The plan under the conditions, which are over its output.
    fn push(&mut self, plan: &Arc<Plan>, predicates: Vec<Expr>) -> Arc<Plan> {
        if self.readers.is_shared(plan) {
            let pointer = Arc::as_ptr(plan);
            let known = self.done.get(&pointer).cloned();
            let node = known.unwrap_or_else(|| {
                let node = self.push_into(plan, vec![]);
                self.done.insert(pointer, node.clone());
                node
            });
            return filtered(node, predicates);
        }
        self.push_into(plan, predicates)
    }

    fn push_into(&mut self, plan: &Arc<Plan>, mut predicates: Vec<Expr>) -> Arc<Plan> {
        match &**plan {
            Plan::Filter { input, predicate } => {
                let mut own = Vec::new();
                conjuncts(predicate.clone(), &mut own);
                own.append(&mut predicates);
                own.retain(|p| !is_true(p));
                self.push(input, own)
            }
            Plan::Project { input, exprs, .. } => {
                let (down, stay) =
                    split(predicates, |p| is_deterministic(p) && reads_only(p, |column| is_cheap(&exprs[column])));
                let down = down.iter().map(|p| substitute(p, exprs)).collect();
                filtered(self.over(plan, vec![(input, down)]), stay)
            }
            Plan::Aggregate { input, groups, sets, .. } => {
                let groups_only = |column: usize| column < groups.len() && is_cheap(&groups[column]);
                let movable = !groups.is_empty() && sets.len() <= 1;
                let (down, stay) = split(predicates, |p| {
                    movable && is_deterministic(p) && has_column(p) && reads_only(p, groups_only)
                });
                let down = down.iter().map(|p| substitute(p, groups)).collect();
                filtered(self.over(plan, vec![(input, down)]), stay)
            }
            Plan::Distinct { input } => {
                let (down, stay) = split(predicates, is_deterministic);
                filtered(self.over(plan, vec![(input, down)]), stay)
            }
            Plan::SetOp { left, right, .. } => {
                let (down, stay) = split(predicates, is_deterministic);
                filtered(self.over(plan, vec![(left, down.clone()), (right, down)]), stay)
            }
            Plan::FlatMap { input, .. } => {
                let width = input.fields().len();
                let (down, stay) = split(predicates, |p| is_deterministic(p) && reads_only(p, |c| c < width));
                filtered(self.over(plan, vec![(input, down)]), stay)
            }
            Plan::Window { input, exprs, .. } => {
                // Whole partitions may go, single rows of one may not.
                let partitioned = |column: usize| {
                    exprs
                        .iter()
                        .all(|w| w.partition_by.iter().any(|e| matches!(e.kind, ExprKind::Column(c) if c == column)))
                };
                let (down, stay) =
                    split(predicates, |p| is_deterministic(p) && has_column(p) && reads_only(p, partitioned));
                filtered(self.over(plan, vec![(input, down)]), stay)
            }
            Plan::TopN { input, partition, .. } => {
                let partitioned =
                    |column: usize| partition.iter().any(|e| matches!(e.kind, ExprKind::Column(c) if c == column));
                let (down, stay) =
                    split(predicates, |p| is_deterministic(p) && has_column(p) && reads_only(p, partitioned));
                filtered(self.over(plan, vec![(input, down)]), stay)
            }
            Plan::Join { .. } => self.push_join(plan, predicates),
            Plan::Sort { input, .. } => {
                let (down, stay) = split(predicates, is_deterministic);
                filtered(self.over(plan, vec![(input, down)]), stay)
            }
            Plan::Limit { input, .. } => filtered(self.over(plan, vec![(input, vec![])]), predicates),
            Plan::Scan { .. } | Plan::Values { .. } => filtered(plan.clone(), predicates),
        }
    }

    /// The node over its inputs under conditions of their own.
    fn over(&mut self, plan: &Plan, inputs: Vec<(&Arc<Plan>, Vec<Expr>)>) -> Arc<Plan> {
        let inputs = inputs.into_iter().map(|(input, predicates)| self.push(input, predicates)).collect();
        Arc::new(plan.with_inputs(inputs))
    }

    fn push_join(&mut self, plan: &Plan, mut predicates: Vec<Expr>) -> Arc<Plan> {
        let Plan::Join { left, right, kind, keys, residual, fields } = plan else {
            return Arc::new(plan.clone());
        };
        use JoinKind::*;
        let width = left.fields().len();
        let on_left = |p: &Expr| is_deterministic(p) && reads_only(p, |c| c < width);
        let on_right = |p: &Expr| is_deterministic(p) && has_column(p) && reads_only(p, |c| c >= width);
        let mut conditions = Vec::new();
        if let Some(residual) = residual {
            conjuncts(residual.clone(), &mut conditions);
        }
        conditions.retain(|c| !is_true(c));
        // For an inner join ON and WHERE are the same.
        if *kind == Inner {
            conditions.append(&mut predicates);
        }
        let (mut left_down, mut right_down) = (Vec::new(), Vec::new());
        if matches!(kind, Inner | Semi | Right) {
            // A left row that fails ON is not joined; under RIGHT it is not kept either.
            let (down, stay) = split(conditions, on_left);
            left_down = down;
            conditions = stay;
        }
        if matches!(kind, Inner | Semi | Anti | Left | Single) {
            let (down, stay) = split(conditions, on_right);
            right_down.extend(down.iter().map(|p| shift(p, -(width as isize))));
            conditions = stay;
        }
        let mut stay = predicates;
        if matches!(kind, Left | Single | Semi | Anti | NullAwareAnti) {
            let (down, rest) = split(stay, on_left);
            left_down.extend(down);
            stay = rest;
        } else if *kind == Right {
            let (down, rest) = split(stay, on_right);
            right_down.extend(down.iter().map(|p| shift(p, -(width as isize))));
            stay = rest;
        }
        let node = Plan::Join {
            left: self.push(left, left_down),
            right: self.push(right, right_down),
            kind: *kind,
            keys: keys.clone(),
            residual: conjunction(conditions),
            fields: fields.clone(),
        };
        filtered(Arc::new(node), stay)
    }
}

fn split(predicates: Vec<Expr>, test: impl Fn(&Expr) -> bool) -> (Vec<Expr>, Vec<Expr>) {
    predicates.into_iter().partition(test)
}

/// A condition without columns would be asked of no row where there are none.
fn has_column(expr: &Expr) -> bool {
    let mut found = false;
    for_each_column(expr, &mut |_| found = true);
    found
}
