//! Correlated subqueries become joins.
//!
//! A correlated plan reads columns of the rows around it. An incremental operator cannot run a plan
//! per row, so the plan is rewritten to compute its answer for all outer rows at once, and joined:
//!
//! 1. `pull`: equalities between an outer expression and an inner one leave the subquery and become
//!    keys of the join; aggregates, DISTINCT, TopN and windows below group by them as well. This is
//!    what nearly every query people write needs, and reads the outer side once.
//! 2. `push`: otherwise the distinct values of the outer columns that are used (the *domain*) are
//!    pushed down to where they are used, as columns of every node on the way; the join is on them.
//!
//! # Invariants
//! - The result has the outer plan's columns first, in place.
//! - Level-1 references are gone from the inner side; farther ones moved one level nearer.

use std::sync::Arc;

use super::edit::{self, filter, join, outer_refs, project, shift_levels};
use super::marks::{self, Ref, has_level, map_locals};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::plan::{AggregateFunction, Field, JoinKey, JoinKind, Plan, SetOperation, SortKey};
use crate::types::Type;

/// Joins `inner`, which may refer to `outer`'s columns at level 1. `on` is over the outer columns
/// followed by the inner ones. The output is both sides' columns (Semi, Anti: the outer ones).
pub(super) fn dependent_join(outer: Arc<Plan>, inner: Arc<Plan>, kind: JoinKind, on: Vec<Expr>) -> Result<Arc<Plan>> {
    let kind = if kind == JoinKind::Single && at_most_one_row(&inner) { JoinKind::Left } else { kind };
    if !edit::is_correlated(&inner) {
        let inner = shift_levels(&inner, 1, -1);
        return Ok(join(outer, inner, kind, vec![], edit::conjunction(on)));
    }
    if let Some(pulled) = pull(&inner)
        && pulled.fits(kind, &on)
    {
        return Ok(join_pulled(outer, &inner, pulled, kind, on));
    }
    join_domain(outer, &inner, kind, on)
}

fn at_most_one_row(plan: &Plan) -> bool {
    match plan {
        Plan::Aggregate { groups, sets, .. } => groups.is_empty() && sets.len() <= 1,
        Plan::TopN { partition, limit, .. } => partition.is_empty() && limit.is_some_and(|n| n <= 1),
        Plan::Project { input, .. } | Plan::Filter { input, .. } | Plan::Sort { input, .. } => at_most_one_row(input),
        Plan::Values { rows, .. } => rows.len() <= 1,
        Plan::Join { left, right, kind: JoinKind::Inner | JoinKind::Left | JoinKind::Single, .. } => {
            at_most_one_row(left) && at_most_one_row(right)
        }
        Plan::Join { left, kind: JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti, .. } => {
            at_most_one_row(left)
        }
        _ => false,
    }
}

/// An expression over the rows around, seen from among them.
fn lower(expr: &Expr) -> Expr {
    let mut expr = expr.clone();
    marks::map_refs(&mut expr, &mut |r| match r {
        Ref::Outer { level: 1, column } => Ref::Local(column),
        Ref::Outer { level, column } => Ref::Outer { level: level - 1, column },
        other => other,
    });
    expr
}

// ---- 1. pull -----------------------------------------------------------------------------------

struct Key {
    /// Over the outer plan (still at level 1).
    outer: Expr,
    column: usize,
    null_safe: bool,
}

struct Pulled {
    plan: Arc<Plan>,
    /// Where the original columns are now.
    map: Vec<usize>,
    keys: Vec<Key>,
    /// Correlated conditions that are no equality, over the new columns.
    residual: Vec<Expr>,
    /// The row that a plan without input rows gives (an aggregate without GROUP BY), where the
    /// pulled plan, grouped by the keys, gives none.
    on_empty: Option<Vec<Expr>>,
}

impl Pulled {
    fn fits(&self, kind: JoinKind, on: &[Expr]) -> bool {
        match kind {
            JoinKind::Inner | JoinKind::Single => true,
            JoinKind::Left => self.on_empty.is_none() || on.is_empty(),
            _ => self.on_empty.is_none(),
        }
    }

    fn moved(&self, expr: &Expr) -> Expr {
        let mut expr = expr.clone();
        map_locals(&mut expr, &|column| self.map[column]);
        expr
    }

    fn key_columns(&self) -> Vec<Expr> {
        self.keys.iter().map(|key| Expr::column(key.column, self.plan.fields()[key.column].ty.clone())).collect()
    }

    /// Adds a correlated condition over the new columns.
    fn correlate(&mut self, condition: Expr) {
        let Some((outer, inner, null_safe)) = split_equality(&condition) else {
            self.residual.push(condition);
            return;
        };
        let column = match marks::reference(&inner) {
            Some(Ref::Local(column)) => column,
            _ => {
                self.plan = edit::extend(self.plan.clone(), vec![inner], "key");
                self.plan.fields().len() - 1
            }
        };
        self.keys.push(Key { outer, column, null_safe });
    }

    /// Only the original columns, then the keys.
    fn narrowed(mut self) -> Pulled {
        let mut kept = self.map.clone();
        kept.extend(self.keys.iter().map(|key| key.column));
        self.plan = edit::keep(self.plan, &kept);
        for (n, key) in self.keys.iter_mut().enumerate() {
            key.column = self.map.len() + n;
        }
        self.map = (0..self.map.len()).collect();
        self
    }
}

/// `outer = inner` with one side over outer rows only and the other over inner rows only.
fn split_equality(condition: &Expr) -> Option<(Expr, Expr, bool)> {
    let (a, b, null_safe) = match &condition.kind {
        ExprKind::Call { function, args } if function.name == "=" && args.len() == 2 => (&args[0], &args[1], false),
        ExprKind::NotDistinct(a, b) => (&**a, &**b, true),
        _ => return None,
    };
    let outer_only = |e: &Expr| has_level(e, 1) && !marks::has_local(e);
    let inner_only = |e: &Expr| !has_level(e, 1) && marks::has_local(e);
    if a.ty != b.ty && !compatible_keys(&a.ty, &b.ty) {
        return None;
    }
    if outer_only(a) && inner_only(b) {
        return Some((a.clone(), b.clone(), null_safe));
    }
    if outer_only(b) && inner_only(a) {
        return Some((b.clone(), a.clone(), null_safe));
    }
    None
}

/// Types whose values are one representation under `sql_key`.
pub(crate) fn compatible_keys(a: &Type, b: &Type) -> bool {
    (a.is_integer() && b.is_integer())
        || (a.is_text() && b.is_text())
        || matches!(
            (a, b),
            (Type::Numeric(_), Type::Numeric(_)) | (Type::Float4 | Type::Float8, Type::Float4 | Type::Float8)
        )
}

fn pull(plan: &Arc<Plan>) -> Option<Pulled> {
    if !edit::is_correlated(plan) {
        let map = (0..plan.fields().len()).collect();
        return Some(Pulled { plan: plan.clone(), map, keys: vec![], residual: vec![], on_empty: None });
    }
    let local_only = |exprs: &[Expr]| exprs.iter().all(|e| !has_level(e, 1));
    match &**plan {
        Plan::Filter { input, predicate } => {
            let mut pulled = pull(input).filter(|p| p.on_empty.is_none())?;
            let mut conditions = Vec::new();
            edit::conjuncts(predicate.clone(), &mut conditions);
            let (correlated, own): (Vec<_>, Vec<_>) =
                conditions.iter().map(|c| pulled.moved(c)).partition(|c| has_level(c, 1));
            pulled.plan = filter(pulled.plan.clone(), own);
            correlated.into_iter().for_each(|condition| pulled.correlate(condition));
            Some(pulled)
        }
        Plan::Project { input, exprs, fields } if local_only(exprs) => Some(pull_project(pull(input)?, exprs, fields)),
        Plan::Aggregate { .. } => pull_aggregate(plan),
        Plan::Distinct { input } => {
            let pulled = pull(input).filter(|p| p.on_empty.is_none() && p.residual.is_empty())?;
            let mut pulled = pulled.narrowed();
            pulled.plan = Arc::new(Plan::Distinct { input: pulled.plan });
            Some(pulled)
        }
        Plan::TopN { input, partition, order, offset, limit } => {
            let mut pulled = pull(input).filter(|p| p.on_empty.is_none() && p.residual.is_empty())?;
            if !local_only(partition) || order.iter().any(|key| has_level(&key.expr, 1)) {
                return None;
            }
            let mut partition: Vec<Expr> = partition.iter().map(|e| pulled.moved(e)).collect();
            partition.extend(pulled.key_columns());
            let order = order.iter().map(|key| SortKey { expr: pulled.moved(&key.expr), ..key.clone() }).collect();
            let input = pulled.plan.clone();
            pulled.plan = Arc::new(Plan::TopN { input, partition, order, offset: *offset, limit: *limit });
            Some(pulled)
        }
        Plan::FlatMap { input, function, args, outer, ordinality, fields } if local_only(args) => {
            let mut pulled = pull(input).filter(|p| p.on_empty.is_none())?;
            let args = args.iter().map(|e| pulled.moved(e)).collect();
            let (old, new) = (input.fields().len(), pulled.plan.fields().len());
            let mut columns = pulled.plan.fields().to_vec();
            columns.extend_from_slice(&fields[old..]);
            pulled.map.extend((old..fields.len()).map(|i| new + i - old));
            pulled.plan = Arc::new(Plan::FlatMap {
                input: pulled.plan.clone(),
                function: *function,
                args,
                outer: *outer,
                ordinality: *ordinality,
                fields: columns,
            });
            Some(pulled)
        }
        Plan::Join { left, right, kind, keys, residual, .. } => pull_join(left, right, *kind, keys, residual.as_ref()),
        Plan::Sort { input, .. } => pull(input),
        _ => None,
    }
}

fn pull_project(pulled: Pulled, exprs: &[Expr], fields: &[Field]) -> Pulled {
    let mut new: Vec<Expr> = exprs.iter().map(|e| pulled.moved(e)).collect();
    let mut names = fields.to_vec();
    let on_empty = pulled.on_empty.as_ref().map(|row| exprs.iter().map(|e| over_row(e, row)).collect());
    // Columns that keys and residual conditions need pass through.
    let mut carried: Vec<(usize, usize)> = Vec::new();
    let mut carry = |column: usize| -> usize {
        if let Some((_, to)) = carried.iter().find(|(from, _)| *from == column) {
            return *to;
        }
        let field = &pulled.plan.fields()[column];
        new.push(Expr::column(column, field.ty.clone()));
        names.push(field.clone());
        carried.push((column, new.len() - 1));
        new.len() - 1
    };
    let mut keys = pulled.keys;
    for key in &mut keys {
        key.column = carry(key.column);
    }
    let mut residual = pulled.residual;
    for condition in &mut residual {
        marks::map_refs(condition, &mut |r| match r {
            Ref::Local(column) => Ref::Local(carry(column)),
            other => other,
        });
    }
    let plan = project(pulled.plan.clone(), new, names);
    Pulled { plan, map: (0..exprs.len()).collect(), keys, residual, on_empty }
}

/// The expression with a row's values in place of the columns.
fn over_row(expr: &Expr, row: &[Expr]) -> Expr {
    if let Some(Ref::Local(column)) = marks::reference(expr) {
        return row[column].clone();
    }
    let mut expr = expr.clone();
    expr.for_each_child_mut(&mut |child| *child = over_row(child, row));
    expr
}

fn empty_value(function: AggregateFunction, ty: &Type) -> Expr {
    match function {
        AggregateFunction::CountStar | AggregateFunction::Count | AggregateFunction::RegrCount => {
            Expr::literal(Datum::Int(0), ty.clone())
        }
        _ => Expr::literal(Datum::Null, ty.clone()),
    }
}

fn pull_aggregate(plan: &Plan) -> Option<Pulled> {
    let Plan::Aggregate { input, groups, sets, aggregates, fields } = plan else { return None };
    let pulled = pull(input).filter(|p| p.on_empty.is_none() && p.residual.is_empty())?;
    let mut correlated = false;
    edit::node_exprs(plan, &mut |e| correlated |= has_level(e, 1));
    if correlated || sets.len() > 1 {
        return None;
    }
    let mut new_groups: Vec<Expr> = groups.iter().map(|e| pulled.moved(e)).collect();
    new_groups.extend(pulled.key_columns());
    let mut new_aggregates = aggregates.clone();
    for aggregate in &mut new_aggregates {
        let moved = |e: &mut Expr| *e = pulled.moved(e);
        aggregate.args.iter_mut().for_each(moved);
        aggregate.filter.iter_mut().for_each(moved);
        aggregate.order_by.iter_mut().for_each(|key| key.expr = pulled.moved(&key.expr));
    }
    let (g, k) = (groups.len(), pulled.keys.len());
    let mut new_fields = fields[..g].to_vec();
    new_fields.extend(pulled.keys.iter().map(|key| pulled.plan.fields()[key.column].clone()));
    new_fields.extend_from_slice(&fields[g..]);
    let on_empty =
        groups.is_empty().then(|| aggregates.iter().map(|a| empty_value(a.function, &a.ty)).collect::<Vec<_>>());
    let plan = Arc::new(Plan::Aggregate {
        input: pulled.plan.clone(),
        sets: vec![(0..g + k).collect()],
        groups: new_groups,
        aggregates: new_aggregates,
        fields: new_fields,
    });
    let keys = pulled.keys.into_iter().enumerate().map(|(n, key)| Key { column: g + n, ..key }).collect();
    let map = (0..fields.len()).map(|i| if i < g { i } else { i + k }).collect();
    Some(Pulled { plan, map, keys, residual: vec![], on_empty })
}

fn pull_join(
    left: &Arc<Plan>,
    right: &Arc<Plan>,
    kind: JoinKind,
    keys: &[JoinKey],
    residual: Option<&Expr>,
) -> Option<Pulled> {
    let right_fixed = !edit::is_correlated(right);
    let allowed = match kind {
        JoinKind::Inner => true,
        JoinKind::Left | JoinKind::Single | JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti => right_fixed,
        JoinKind::Right | JoinKind::Full => false,
    };
    if !allowed || keys.iter().any(|key| has_level(&key.left, 1) || has_level(&key.right, 1)) {
        return None;
    }
    let l = pull(left).filter(|p| p.on_empty.is_none())?;
    let r = pull(right).filter(|p| p.on_empty.is_none())?;
    let (old_width, width) = (left.fields().len(), l.plan.fields().len());
    let both = |column: usize| if column < old_width { l.map[column] } else { width + r.map[column - old_width] };
    let new_keys = keys
        .iter()
        .map(|key| JoinKey { left: l.moved(&key.left), right: r.moved(&key.right), null_safe: key.null_safe })
        .collect();
    let mut conditions = Vec::new();
    if let Some(residual) = residual {
        edit::conjuncts(residual.clone(), &mut conditions);
    }
    conditions.iter_mut().for_each(|c| map_locals(c, &both));
    let (correlated, own): (Vec<_>, Vec<_>) = conditions.into_iter().partition(|c| has_level(c, 1));
    if !correlated.is_empty() && kind != JoinKind::Inner {
        return None;
    }
    let plan = join(l.plan.clone(), r.plan.clone(), kind, new_keys, edit::conjunction(own));
    let mut map = l.map.clone();
    if !matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti) {
        map.extend(r.map.iter().map(|column| width + column));
    }
    let mut pulled = Pulled { plan, map, keys: l.keys, residual: l.residual, on_empty: None };
    pulled.keys.extend(r.keys.into_iter().map(|key| Key { column: width + key.column, ..key }));
    pulled.residual.extend(r.residual.iter().map(|c| marks::shifted(c, width)));
    correlated.into_iter().for_each(|condition| pulled.correlate(condition));
    Some(pulled)
}

fn join_pulled(outer: Arc<Plan>, inner: &Arc<Plan>, pulled: Pulled, kind: JoinKind, on: Vec<Expr>) -> Arc<Plan> {
    let width = outer.fields().len();
    let marker = pulled.plan.fields().len();
    let mut plan = pulled.plan.clone();
    if pulled.on_empty.is_some() {
        plan = edit::extend(plan, vec![Expr::literal(Datum::Bool(true), Type::Bool)], "matched");
    }
    let plan = shift_levels(&plan, 1, -1);
    let keys = pulled
        .keys
        .iter()
        .map(|key| JoinKey {
            left: lower(&key.outer),
            right: Expr::column(key.column, plan.fields()[key.column].ty.clone()),
            null_safe: key.null_safe,
        })
        .collect();
    let mut conditions: Vec<Expr> = pulled.residual.iter().map(|c| lower(&marks::shifted(c, width))).collect();
    let mut on = on;
    let row_always = pulled.on_empty.is_some() && kind == JoinKind::Inner;
    let kind = if pulled.on_empty.is_some() { JoinKind::Left } else { kind };
    if !row_always {
        on.iter_mut().for_each(|c| {
            map_locals(c, &|i| if i < width { i } else { width + pulled.map[i - width] });
        });
        conditions.append(&mut on);
    }
    let joined = join(outer.clone(), plan, kind, keys, edit::conjunction(conditions));
    if matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti) {
        return joined;
    }
    let mut exprs = edit::columns(&outer);
    let mut fields = outer.fields().to_vec();
    for (n, field) in inner.fields().iter().enumerate() {
        let value = Expr::column(width + pulled.map[n], field.ty.clone());
        let default = pulled.on_empty.as_ref().map(|row| &row[n]);
        exprs.push(match default {
            Some(default) if !matches!(default.kind, ExprKind::Literal(Datum::Null)) => {
                let missing = ExprKind::IsNull(Box::new(Expr::column(width + marker, Type::Bool)));
                let branches = vec![(Expr::new(missing, Type::Bool), lower(default))];
                Expr::new(ExprKind::Case { branches, otherwise: Some(Box::new(value)) }, field.ty.clone())
            }
            _ => value,
        });
        fields.push(field.clone());
    }
    filter(project(joined, exprs, fields), if row_always { on } else { vec![] })
}

// ---- 2. push -----------------------------------------------------------------------------------

/// The outer columns that a subquery uses, and their distinct values.
struct Domain {
    plan: Arc<Plan>,
    columns: Vec<usize>,
}

impl Domain {
    fn width(&self) -> usize {
        self.columns.len()
    }

    /// An inner expression when the domain's columns stand before its own.
    fn placed(&self, expr: &Expr) -> Expr {
        let mut expr = expr.clone();
        self.place(&mut expr);
        expr
    }

    fn place(&self, expr: &mut Expr) {
        marks::map_refs(expr, &mut |r| match r {
            Ref::Local(column) => Ref::Local(self.width() + column),
            Ref::Outer { level: 1, column } => match self.columns.iter().position(|c| *c == column) {
                Some(at) => Ref::Local(at),
                None => Ref::Outer { level: 1, column },
            },
            other => other,
        });
    }

    fn place_all(&self, exprs: &[Expr]) -> Vec<Expr> {
        exprs.iter().map(|e| self.placed(e)).collect()
    }

    fn place_order(&self, order: &[SortKey]) -> Vec<SortKey> {
        order.iter().map(|key| SortKey { expr: self.placed(&key.expr), ..key.clone() }).collect()
    }

    fn own(&self) -> Vec<Expr> {
        edit::columns(&self.plan)
    }

    fn fields_then(&self, fields: &[Field]) -> Vec<Field> {
        self.plan.fields().iter().chain(fields).cloned().collect()
    }

    /// Both sides have the same domain values at these offsets.
    fn equal(&self, left: usize, right: usize) -> Vec<JoinKey> {
        let column = |offset: usize, n: usize| Expr::column(offset + n, self.plan.fields()[n].ty.clone());
        (0..self.width()).map(|n| JoinKey { left: column(left, n), right: column(right, n), null_safe: true }).collect()
    }
}

fn join_domain(outer: Arc<Plan>, inner: &Arc<Plan>, kind: JoinKind, on: Vec<Expr>) -> Result<Arc<Plan>> {
    let refs = outer_refs(inner);
    let columns: Vec<usize> = refs.iter().filter(|(level, ..)| *level == 1).map(|(_, column, _)| *column).collect();
    let plan = Arc::new(Plan::Distinct { input: edit::keep(outer.clone(), &columns) });
    // The outer plan's own references outwards are one level farther away from inside.
    let domain = Domain { plan: shift_levels(&plan, 0, 1), columns };
    let pushed = shift_levels(&push(inner, &domain)?, 1, -1);
    let (width, d) = (outer.fields().len(), domain.width());
    let keys = domain
        .columns
        .iter()
        .enumerate()
        .map(|(n, column)| {
            let ty = domain.plan.fields()[n].ty.clone();
            JoinKey { left: Expr::column(*column, ty.clone()), right: Expr::column(n, ty), null_safe: true }
        })
        .collect();
    let mut on = on;
    on.iter_mut().for_each(|c| map_locals(c, &|i| if i < width { i } else { i + d }));
    let joined = join(outer, pushed, kind, keys, edit::conjunction(on));
    if matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti) {
        return Ok(joined);
    }
    let kept: Vec<usize> = (0..width).chain(width + d..joined.fields().len()).collect();
    Ok(edit::keep(joined, &kept))
}

/// The plan for every value of the domain at once: the domain's columns, then its own.
fn push(plan: &Arc<Plan>, domain: &Domain) -> Result<Arc<Plan>> {
    if !edit::is_correlated(plan) {
        return Ok(join(domain.plan.clone(), plan.clone(), JoinKind::Inner, vec![], None));
    }
    let d = domain.width();
    Ok(match &**plan {
        Plan::Filter { input, predicate } => {
            Arc::new(Plan::Filter { input: push(input, domain)?, predicate: domain.placed(predicate) })
        }
        Plan::Project { input, exprs, fields } => {
            let mut all = domain.own();
            all.extend(domain.place_all(exprs));
            project(push(input, domain)?, all, domain.fields_then(fields))
        }
        Plan::Aggregate { .. } => push_aggregate(plan, domain)?,
        Plan::Distinct { input } => Arc::new(Plan::Distinct { input: push(input, domain)? }),
        Plan::TopN { input, partition, order, offset, limit } => {
            let mut all = domain.own();
            all.extend(domain.place_all(partition));
            let order = domain.place_order(order);
            Arc::new(Plan::TopN { input: push(input, domain)?, partition: all, order, offset: *offset, limit: *limit })
        }
        Plan::SetOp { operation, all, left, right, fields } => Arc::new(Plan::SetOp {
            operation: *operation,
            all: *all,
            left: push(left, domain)?,
            right: push(right, domain)?,
            fields: domain.fields_then(fields),
        }),
        Plan::Join { left, right, kind, keys, residual, .. } => {
            push_join(left, right, *kind, keys, residual.as_ref(), domain)?
        }
        Plan::FlatMap { input, function, args, outer, ordinality, fields } => Arc::new(Plan::FlatMap {
            input: push(input, domain)?,
            function: *function,
            args: domain.place_all(args),
            outer: *outer,
            ordinality: *ordinality,
            fields: domain.fields_then(fields),
        }),
        Plan::Window { input, exprs, fields } => {
            let mut exprs = exprs.clone();
            for window in &mut exprs {
                edit::window_exprs_mut(window, &mut |e| domain.place(e));
                window.partition_by.splice(0..0, domain.own());
            }
            Arc::new(Plan::Window { input: push(input, domain)?, exprs, fields: domain.fields_then(fields) })
        }
        Plan::Sort { input, .. } => push(input, domain)?,
        Plan::Values { rows, fields } => push_values(rows, fields, domain),
        Plan::Scan { .. } | Plan::Limit { .. } => {
            debug_assert!(d > 0);
            return Err(SqlError::unsupported("this correlated subquery"));
        }
    })
}

fn push_values(rows: &[Vec<Expr>], fields: &[Field], domain: &Domain) -> Arc<Plan> {
    // Over the domain alone there are no columns of Values' own, so nothing moves.
    let row = |exprs: &Vec<Expr>| {
        let mut all = domain.own();
        all.extend(exprs.iter().map(|e| {
            let mut e = e.clone();
            marks::map_refs(&mut e, &mut |r| match r {
                Ref::Outer { level: 1, column } => {
                    Ref::Local(domain.columns.iter().position(|c| *c == column).unwrap_or(0))
                }
                other => other,
            });
            e
        }));
        project(domain.plan.clone(), all, domain.fields_then(fields))
    };
    let mut plans = rows.iter().map(row);
    let first = plans.next().expect("a correlated VALUES has a row that refers outwards");
    plans.fold(first, |left, right| {
        let fields = left.fields().to_vec();
        Arc::new(Plan::SetOp { operation: SetOperation::Union, all: true, left, right, fields })
    })
}

fn push_aggregate(plan: &Plan, domain: &Domain) -> Result<Arc<Plan>> {
    let Plan::Aggregate { input, groups, sets, aggregates, fields } = plan else {
        return Err(SqlError::internal("not an aggregate"));
    };
    let d = domain.width();
    let grand_total = sets.iter().any(Vec::is_empty);
    if grand_total && sets.len() > 1 {
        return Err(SqlError::unsupported("a correlated subquery with an empty grouping set"));
    }
    let mut all = domain.own();
    all.extend(domain.place_all(groups));
    let mut moved = aggregates.clone();
    for aggregate in &mut moved {
        aggregate.args.iter_mut().for_each(|e| domain.place(e));
        aggregate.filter.iter_mut().for_each(|e| domain.place(e));
        aggregate.order_by.iter_mut().for_each(|key| domain.place(&mut key.expr));
    }
    let sets = sets.iter().map(|set| (0..d).chain(set.iter().map(|g| g + d)).collect()).collect();
    let names = domain.fields_then(fields);
    let aggregate = Arc::new(Plan::Aggregate {
        input: push(input, domain)?,
        groups: all,
        sets,
        aggregates: moved,
        fields: names.clone(),
    });
    if !grand_total {
        return Ok(aggregate);
    }
    // Domain values without rows still have their one row of empty aggregates.
    let joined = join(domain.plan.clone(), aggregate, JoinKind::Left, domain.equal(0, 0), None);
    let mut exprs = domain.own();
    for (n, aggregate) in aggregates.iter().enumerate() {
        let value = Expr::column(2 * d + groups.len() + n, aggregate.ty.clone());
        exprs.push(match empty_value(aggregate.function, &aggregate.ty) {
            Expr { kind: ExprKind::Literal(Datum::Null), .. } => value,
            zero => Expr::new(ExprKind::Coalesce(vec![value, zero]), aggregate.ty.clone()),
        });
    }
    Ok(project(joined, exprs, names))
}

fn push_join(
    left: &Arc<Plan>,
    right: &Arc<Plan>,
    kind: JoinKind,
    keys: &[JoinKey],
    residual: Option<&Expr>,
    domain: &Domain,
) -> Result<Arc<Plan>> {
    use JoinKind::*;
    let d = domain.width();
    let width = left.fields().len();
    let l = push(left, domain)?;
    let both = edit::is_correlated(right) || matches!(kind, Right | Full);
    if kind == NullAwareAnti && both {
        return Err(SqlError::unsupported("NOT IN with a correlated subquery inside a correlated subquery"));
    }
    let r = if both { push(right, domain)? } else { right.clone() };
    let skip = if both { d } else { 0 };
    // Left columns stand at d, right ones after the left side and the right side's own domain.
    let place = |expr: &Expr| {
        let mut expr = domain.placed(expr);
        map_locals(&mut expr, &|i| if i < d + width { i } else { i + skip });
        expr
    };
    let mut new_keys = if both { domain.equal(0, 0) } else { vec![] };
    for key in keys {
        let mut right = if both { domain.placed(&key.right) } else { key.right.clone() };
        if has_level(&key.right, 1) && !both {
            return Err(SqlError::unsupported("this correlated subquery"));
        }
        right.position = key.right.position;
        new_keys.push(JoinKey { left: domain.placed(&key.left), right, null_safe: key.null_safe });
    }
    let joined = join(l, r, kind, new_keys, residual.map(place));
    if !both || matches!(kind, Semi | Anti) {
        return Ok(joined);
    }
    let total = joined.fields().len();
    let right_domain = d + width;
    let mut exprs: Vec<Expr> = (0..d)
        .map(|n| {
            let ty = domain.plan.fields()[n].ty.clone();
            let (a, b) = (Expr::column(n, ty.clone()), Expr::column(right_domain + n, ty.clone()));
            match kind {
                Right => b,
                Full => Expr::new(ExprKind::Coalesce(vec![a, b]), ty),
                _ => a,
            }
        })
        .collect();
    let mut fields = domain.plan.fields().to_vec();
    for column in (d..d + width).chain(right_domain + d..total) {
        let field = joined.fields()[column].clone();
        exprs.push(Expr::column(column, field.ty.clone()));
        fields.push(field);
    }
    Ok(project(joined, exprs, fields))
}
