//! Rebuilding plans: visiting and replacing the expressions of every node, each shared node once.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::marks::{self, Ref};
use crate::expr::Expr;
use crate::plan::{Field, FrameBound, JoinKey, Plan, WindowExpr};
use crate::types::Type;

type Memo = FxHashMap<*const Plan, Arc<Plan>>;

/// Calls `visit` for each expression that a node itself holds.
pub(crate) fn node_exprs<'a>(plan: &'a Plan, visit: &mut dyn FnMut(&'a Expr)) {
    match plan {
        Plan::Scan { .. } | Plan::Distinct { .. } | Plan::SetOp { .. } => {}
        Plan::Values { rows, .. } => rows.iter().flatten().for_each(visit),
        Plan::Filter { predicate, .. } => visit(predicate),
        Plan::Project { exprs, .. } => exprs.iter().for_each(visit),
        Plan::Aggregate { groups, aggregates, .. } => {
            groups.iter().for_each(&mut *visit);
            for aggregate in aggregates {
                aggregate.args.iter().for_each(&mut *visit);
                aggregate.order_by.iter().for_each(|key| visit(&key.expr));
                aggregate.filter.iter().for_each(&mut *visit);
            }
        }
        Plan::TopN { partition, order, .. } => {
            partition.iter().for_each(&mut *visit);
            order.iter().for_each(|key| visit(&key.expr));
        }
        Plan::Join { keys, residual, .. } => {
            for key in keys {
                visit(&key.left);
                visit(&key.right);
            }
            residual.iter().for_each(visit);
        }
        Plan::FlatMap { args, .. } => args.iter().for_each(visit),
        Plan::Window { exprs, .. } => exprs.iter().for_each(|window| window_exprs(window, visit)),
        Plan::Sort { keys, .. } => keys.iter().for_each(|key| visit(&key.expr)),
        Plan::Limit { offset, limit, .. } => offset.iter().chain(limit).for_each(visit),
    }
}

fn window_exprs<'a>(window: &'a WindowExpr, visit: &mut dyn FnMut(&'a Expr)) {
    window.args.iter().chain(&window.filter).chain(&window.partition_by).for_each(&mut *visit);
    window.order_by.iter().for_each(|key| visit(&key.expr));
    for bound in [&window.frame.start, &window.frame.end] {
        if let FrameBound::Preceding(expr) | FrameBound::Following(expr) = bound {
            visit(expr);
        }
    }
}

/// Replaces each expression that a node itself holds.
pub(crate) fn node_exprs_mut(plan: &mut Plan, map: &mut dyn FnMut(&mut Expr)) {
    match plan {
        Plan::Scan { .. } | Plan::Distinct { .. } | Plan::SetOp { .. } => {}
        Plan::Values { rows, .. } => rows.iter_mut().flatten().for_each(map),
        Plan::Filter { predicate, .. } => map(predicate),
        Plan::Project { exprs, .. } => exprs.iter_mut().for_each(map),
        Plan::Aggregate { groups, aggregates, .. } => {
            groups.iter_mut().for_each(&mut *map);
            for aggregate in aggregates {
                aggregate.args.iter_mut().for_each(&mut *map);
                aggregate.order_by.iter_mut().for_each(|key| map(&mut key.expr));
                aggregate.filter.iter_mut().for_each(&mut *map);
            }
        }
        Plan::TopN { partition, order, .. } => {
            partition.iter_mut().for_each(&mut *map);
            order.iter_mut().for_each(|key| map(&mut key.expr));
        }
        Plan::Join { keys, residual, .. } => {
            for key in keys {
                map(&mut key.left);
                map(&mut key.right);
            }
            residual.iter_mut().for_each(map);
        }
        Plan::FlatMap { args, .. } => args.iter_mut().for_each(map),
        Plan::Window { exprs, .. } => exprs.iter_mut().for_each(|window| window_exprs_mut(window, map)),
        Plan::Sort { keys, .. } => keys.iter_mut().for_each(|key| map(&mut key.expr)),
        Plan::Limit { offset, limit, .. } => offset.iter_mut().chain(limit).for_each(map),
    }
}

pub(crate) fn window_exprs_mut(window: &mut WindowExpr, map: &mut dyn FnMut(&mut Expr)) {
    window.args.iter_mut().chain(&mut window.filter).chain(&mut window.partition_by).for_each(&mut *map);
    window.order_by.iter_mut().for_each(|key| map(&mut key.expr));
    for bound in [&mut window.frame.start, &mut window.frame.end] {
        if let FrameBound::Preceding(expr) | FrameBound::Following(expr) = bound {
            map(expr);
        }
    }
}

/// The plan with every expression replaced; nodes that were shared stay shared.
pub(crate) fn map_exprs(plan: &Arc<Plan>, map: &mut dyn FnMut(&mut Expr)) -> Arc<Plan> {
    rebuild(plan, &mut |node| {
        node_exprs_mut(node, map);
    })
}

/// The plan with every node passed through `edit`, inputs first.
pub(crate) fn rebuild(plan: &Arc<Plan>, edit: &mut dyn FnMut(&mut Plan)) -> Arc<Plan> {
    fn go(plan: &Arc<Plan>, edit: &mut dyn FnMut(&mut Plan), memo: &mut Memo) -> Arc<Plan> {
        if let Some(done) = memo.get(&Arc::as_ptr(plan)) {
            return done.clone();
        }
        let inputs = plan.inputs().into_iter().map(|input| go(input, edit, memo)).collect();
        let mut node = plan.with_inputs(inputs);
        edit(&mut node);
        let node = Arc::new(node);
        memo.insert(Arc::as_ptr(plan), node.clone());
        node
    }
    go(plan, edit, &mut Memo::default())
}

/// Calls `visit` once for each node.
pub(crate) fn walk<'a>(plan: &'a Arc<Plan>, visit: &mut dyn FnMut(&'a Arc<Plan>)) {
    let mut seen: HashMap<*const Plan, ()> = HashMap::new();
    let mut stack = vec![plan];
    while let Some(plan) = stack.pop() {
        if seen.insert(Arc::as_ptr(plan), ()).is_none() {
            visit(plan);
            stack.extend(plan.inputs());
        }
    }
}

/// How many nodes the plan has when sharing is undone.
pub(super) fn weight(plan: &Arc<Plan>) -> u64 {
    fn go(plan: &Arc<Plan>, memo: &mut FxHashMap<*const Plan, u64>) -> u64 {
        if let Some(known) = memo.get(&Arc::as_ptr(plan)) {
            return *known;
        }
        let weight = plan.inputs().into_iter().fold(1u64, |sum, input| sum.saturating_add(go(input, memo)));
        memo.insert(Arc::as_ptr(plan), weight);
        weight
    }
    go(plan, &mut FxHashMap::default())
}

/// The references outwards in a plan: (level, column, type), without repeats.
pub(super) fn outer_refs(plan: &Arc<Plan>) -> Vec<(usize, usize, crate::types::Type)> {
    let mut found = Vec::new();
    walk(plan, &mut |node| {
        node_exprs(node, &mut |expr| {
            expr.walk(&mut |e| {
                if let Some(Ref::Outer { level, column }) = marks::reference(e)
                    && !found.iter().any(|(l, c, _)| (*l, *c) == (level, column))
                {
                    found.push((level, column, e.ty.clone()));
                }
            });
        });
    });
    found
}

/// Does the plan refer to the query just around it?
pub(super) fn is_correlated(plan: &Arc<Plan>) -> bool {
    outer_refs(plan).iter().any(|(level, ..)| *level == 1)
}

/// References to levels above `from` move by `by`.
pub(super) fn shift_levels(plan: &Arc<Plan>, from: usize, by: isize) -> Arc<Plan> {
    if !outer_refs(plan).iter().any(|(level, ..)| *level > from) {
        return plan.clone();
    }
    map_exprs(plan, &mut |expr| {
        marks::map_refs(expr, &mut |r| match r {
            Ref::Outer { level, column } if level > from => {
                Ref::Outer { level: level.saturating_add_signed(by), column }
            }
            other => other,
        });
    })
}

// ---- small plans -------------------------------------------------------------------------------

pub(super) fn filter(input: Arc<Plan>, predicates: Vec<Expr>) -> Arc<Plan> {
    match conjunction(predicates) {
        Some(predicate) => Arc::new(Plan::Filter { input, predicate }),
        None => input,
    }
}

pub(crate) fn conjunction(mut predicates: Vec<Expr>) -> Option<Expr> {
    match predicates.len() {
        0 | 1 => predicates.pop(),
        _ => Some(Expr::new(crate::expr::ExprKind::And(predicates), crate::types::Type::Bool)),
    }
}

/// The operands of a conjunction, nested ones too.
pub(crate) fn conjuncts(expr: Expr, into: &mut Vec<Expr>) {
    match expr.kind {
        crate::expr::ExprKind::And(list) => list.into_iter().for_each(|e| conjuncts(e, into)),
        _ => into.push(expr),
    }
}

pub(super) fn project(input: Arc<Plan>, exprs: Vec<Expr>, fields: Vec<Field>) -> Arc<Plan> {
    Arc::new(Plan::Project { input, exprs, fields })
}

/// The first `n` columns of a plan, as expressions.
pub(super) fn columns(plan: &Plan) -> Vec<Expr> {
    plan.fields().iter().enumerate().map(|(i, field)| Expr::column(i, field.ty.clone())).collect()
}

/// All columns and further expressions.
pub(super) fn extend(input: Arc<Plan>, more: Vec<Expr>, name: &str) -> Arc<Plan> {
    let mut exprs = columns(&input);
    let mut fields = input.fields().to_vec();
    fields.extend(more.iter().map(|expr| Field::new(name, expr.ty.clone())));
    exprs.extend(more);
    project(input, exprs, fields)
}

pub(super) fn keep(input: Arc<Plan>, kept: &[usize]) -> Arc<Plan> {
    if kept.len() == input.fields().len() && kept.iter().enumerate().all(|(i, column)| i == *column) {
        return input;
    }
    let fields: Vec<Field> = kept.iter().map(|i| input.fields()[*i].clone()).collect();
    let exprs = kept.iter().map(|i| Expr::column(*i, input.fields()[*i].ty.clone())).collect();
    project(input, exprs, fields)
}

/// A join whose output is both sides' columns, or the left side's for semi- and anti-joins.
pub(super) fn join(
    left: Arc<Plan>,
    right: Arc<Plan>,
    kind: crate::plan::JoinKind,
    keys: Vec<JoinKey>,
    residual: Option<Expr>,
) -> Arc<Plan> {
    use crate::plan::JoinKind::*;
    let mut fields = left.fields().to_vec();
    if !matches!(kind, Semi | Anti | NullAwareAnti) {
        fields.extend(right.fields().iter().cloned());
    }
    Arc::new(Plan::Join { left, right, kind, keys, residual, fields })
}

/// One row without columns.
/// Elements that a function makes of one row, with their number as a further column.
pub(super) fn with_ordinality(plan: &Arc<Plan>) -> Option<(Arc<Plan>, usize)> {
    match &**plan {
        Plan::Project { input, exprs, fields } => {
            let (input, at) = with_ordinality(input)?;
            let (mut exprs, mut fields) = (exprs.clone(), fields.clone());
            exprs.push(Expr::column(at, Type::Int8));
            fields.push(Field::new("ordinality", Type::Int8));
            let column = exprs.len() - 1;
            Some((Arc::new(Plan::Project { input, exprs, fields }), column))
        }
        Plan::Filter { input, predicate } => {
            let (input, at) = with_ordinality(input)?;
            Some((Arc::new(Plan::Filter { input, predicate: predicate.clone() }), at))
        }
        Plan::FlatMap { input, fields, ordinality: true, .. } if is_one_row(input) => {
            Some((plan.clone(), fields.len() - 1))
        }
        Plan::FlatMap { input, function, args, outer, ordinality: false, fields } if is_one_row(input) => {
            let mut fields = fields.clone();
            fields.push(Field::new("ordinality", Type::Int8));
            let (input, column) = (input.clone(), fields.len() - 1);
            let (function, args, outer) = (*function, args.clone(), *outer);
            Some((Arc::new(Plan::FlatMap { input, function, args, outer, ordinality: true, fields }), column))
        }
        _ => None,
    }
}

fn is_one_row(plan: &Plan) -> bool {
    matches!(plan, Plan::Values { rows, fields } if rows.len() == 1 && fields.is_empty())
}

pub(super) fn one_row() -> Arc<Plan> {
    Arc::new(Plan::Values { rows: vec![vec![]], fields: vec![] })
}
