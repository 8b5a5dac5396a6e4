//! Subqueries in expressions: bound where they stand, joined when the operator below is known.
//!
//! A subquery in an expression is a value per row: its plan waits in `State::subqueries` while
//! GROUP BY and windows are put together, and then becomes a join of at most one row. EXISTS, IN
//! and ANY are counted or folded into such a value too; only where a conjunct of WHERE or HAVING is
//! nothing else (`select.rs`) do EXISTS and IN become semi-joins.

use std::sync::Arc;

use sqlparser::ast::{self, BinaryOperator};

use super::Binder;
use super::aggregate::int8;
use super::decorrelate::dependent_join;
use super::edit;
use super::marks::{self, Ref};
use super::operator::{Operand, negated, row_items, symbol};
use super::query::Ordered;
use super::select::{Clause, Env, State};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::plan::{AggregateExpr, AggregateFunction, Field, JoinKind, Plan, SortKey};
use crate::types::Type;

/// Level-1 columns from here on are the operands of IN and ANY, which stand in `Pending::operands`
/// until the plan that they are columns of exists.
pub(super) const OPERANDS: usize = 1 << 36;

/// A subquery that gives one value per row.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// One column.
    pub plan: Arc<Plan>,
    pub operands: Vec<Expr>,
}

impl Binder<'_> {
    fn allow_subquery(&self, env: &Env<'_, '_>) -> Result<()> {
        match env.clause {
            Clause::Filter | Clause::Limit => {
                Err(SqlError::new("0A000", format!("a subquery in {} is not supported", env.clause.name())))
            }
            _ => Ok(()),
        }
    }

    /// The plan of a subquery that sees the names of `env`.
    pub(super) fn subquery(&mut self, query: &ast::Query, env: &Env<'_, '_>) -> Result<Ordered> {
        self.allow_subquery(env)?;
        self.count_relation()?;
        self.bind_query(query, Some(env.scope))
    }

    pub(super) fn scalar_subquery(&mut self, query: &ast::Query, env: &mut Env<'_, '_>) -> Result<Expr> {
        let bound = self.subquery(query, env)?.without_order();
        let bound = self.known(bound)?;
        if bound.width() != 1 {
            return Err(SqlError::syntax("subquery must return only one column"));
        }
        let ty = bound.plan.fields()[0].ty.clone();
        Ok(env.state.add_subquery(Pending { plan: bound.plan, operands: vec![] }, ty))
    }

    pub(super) fn exists_subquery(&mut self, query: &ast::Query, not: bool, env: &mut Env<'_, '_>) -> Result<Expr> {
        let bound = self.subquery(query, env)?.without_order();
        let count = aggregate(AggregateFunction::CountStar, vec![], Type::Int8);
        let counted = grand_total(bound.plan, vec![count]);
        let positive = self.operator(">", Expr::column(0, Type::Int8), int8(0))?;
        let plan = edit::project(counted, vec![positive], vec![Field::new("exists", Type::Bool)]);
        let value = env.state.add_subquery(Pending { plan, operands: vec![] }, Type::Bool);
        Ok(if not { negated(value) } else { value })
    }

    /// `ARRAY(SELECT …)`, in the subquery's order.
    pub(super) fn array_subquery(&mut self, query: &ast::Query, env: &mut Env<'_, '_>) -> Result<Expr> {
        let Ordered { bound, order } = self.subquery(query, env)?;
        let visible = bound.names.len();
        if visible != 1 {
            return Err(SqlError::syntax("subquery must return only one column"));
        }
        let field = &bound.plan.fields()[0];
        let (element, plan) = match &field.ty {
            Type::Unknown => (Type::Text, bound.plan.clone()),
            Type::Array(_) => return Err(SqlError::unsupported("a multidimensional array")),
            ty => (ty.clone(), bound.plan.clone()),
        };
        let ty = Type::array_of(element.clone());
        let mut collect = aggregate(AggregateFunction::ArrayAgg, vec![Expr::column(0, element)], ty.clone());
        let (plan, order) = match edit::with_ordinality(&plan) {
            Some((numbered, column)) if order.is_empty() => (numbered, vec![by_number(column)]),
            _ => (plan, order),
        };
        collect.order_by = order;
        let empty = Expr::literal(Datum::Array(Arc::from([])), ty.clone());
        let value = Expr::new(ExprKind::Coalesce(vec![Expr::column(0, ty.clone()), empty]), ty.clone());
        let plan = edit::project(grand_total(plan, vec![collect]), vec![value], vec![Field::new("array", ty.clone())]);
        Ok(env.state.add_subquery(Pending { plan, operands: vec![] }, ty))
    }

    pub(super) fn in_subquery(
        &mut self,
        left: &ast::Expr,
        query: &ast::Query,
        not: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        let value = self.fold_subquery(left, "=", query, false, env)?;
        Ok(if not { negated(value) } else { value })
    }

    pub(super) fn quantified_subquery(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        query: &ast::Query,
        all: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        self.fold_subquery(left, &symbol(op)?, query, all, env)
    }

    /// The operands on the left of IN and ANY.
    pub(super) fn left_operands(&mut self, left: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Vec<Operand>> {
        match row_items(left) {
            Some(items) => items.iter().map(|item| self.operand(item, env)).collect(),
            None => Ok(vec![self.operand(left, env)?]),
        }
    }

    /// `left op ANY (query)` as a value: true if any row's comparison is, else unknown if one is
    /// unknown, else false; ALL is its mirror.
    fn fold_subquery(
        &mut self,
        left: &ast::Expr,
        op: &str,
        query: &ast::Query,
        all: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        let operands = self.left_operands(left, env)?;
        let bound = self.subquery(query, env)?.without_order();
        check_width(operands.len(), bound.width())?;
        let mut values = Vec::with_capacity(operands.len());
        let mut pairs = Vec::with_capacity(operands.len());
        for (n, (operand, field)) in operands.into_iter().zip(bound.plan.fields()).enumerate() {
            let mut value = operand.expr;
            if value.ty == Type::Unknown {
                let ty = if field.ty == Type::Unknown { Type::Text } else { field.ty.clone() };
                value = self.coerce(value, &ty)?;
            }
            let outside = Ref::Outer { level: 1, column: OPERANDS + n }.expr(value.ty.clone());
            let inside = Expr::column(n, field.ty.clone());
            pairs.push((Operand { expr: outside, named: operand.named }, Operand { expr: inside, named: true }));
            values.push(value);
        }
        let test = self.compare_pairs(pairs, op)?;
        let (function, decisive) =
            if all { (AggregateFunction::BoolAnd, false) } else { (AggregateFunction::BoolOr, true) };
        let folded = grand_total(
            bound.plan,
            vec![
                aggregate(function, vec![test.clone()], Type::Bool),
                aggregate(AggregateFunction::CountStar, vec![], Type::Int8),
                aggregate(AggregateFunction::Count, vec![test], Type::Int8),
            ],
        );
        let decided = {
            let literal = Expr::literal(Datum::Bool(decisive), Type::Bool);
            Expr::new(ExprKind::NotDistinct(Box::new(Expr::column(0, Type::Bool)), Box::new(literal)), Type::Bool)
        };
        let unknown = self.operator("<>", Expr::column(1, Type::Int8), Expr::column(2, Type::Int8))?;
        let boolean = |b| Expr::literal(Datum::Bool(b), Type::Bool);
        let value = Expr::new(
            ExprKind::Case {
                branches: vec![(decided, boolean(decisive)), (unknown, super::scope::null(Type::Bool))],
                otherwise: Some(Box::new(boolean(!decisive))),
            },
            Type::Bool,
        );
        let plan = edit::project(folded, vec![value], vec![Field::new("any", Type::Bool)]);
        Ok(env.state.add_subquery(Pending { plan, operands: values }, Type::Bool))
    }

    /// The output of a query with its unknown columns as text.
    pub(super) fn known(&mut self, mut bound: super::scope::Bound) -> Result<super::scope::Bound> {
        if bound.plan.fields().iter().any(|field| field.ty == Type::Unknown) {
            let types: Vec<Type> = bound
                .plan
                .fields()
                .iter()
                .map(|field| if field.ty == Type::Unknown { Type::Text } else { field.ty.clone() })
                .collect();
            bound.plan = self.with_types(bound.plan, &types)?;
        }
        Ok(bound)
    }

    // ---- joining -------------------------------------------------------------------------------

    /// Joins the subqueries that `exprs` refer to, and puts their columns in place.
    pub(super) fn attach(&mut self, mut plan: Arc<Plan>, exprs: &mut [&mut Expr], state: &State) -> Result<Arc<Plan>> {
        let mut done: Vec<(usize, usize)> = Vec::new();
        for expr in exprs {
            for n in subqueries_in(expr) {
                if done.iter().any(|(known, _)| *known == n) {
                    continue;
                }
                plan = self.attach_one(plan, &state.subqueries[n], state)?;
                done.push((n, plan.fields().len() - 1));
            }
            marks::map_refs(expr, &mut |r| match r {
                Ref::Subquery(n) => match done.iter().find(|(known, _)| *known == n) {
                    Some((_, column)) => Ref::Local(*column),
                    None => r,
                },
                other => other,
            });
        }
        Ok(plan)
    }

    fn attach_one(&mut self, plan: Arc<Plan>, pending: &Pending, state: &State) -> Result<Arc<Plan>> {
        let mut operands = pending.operands.clone();
        let mut plan = self.attach(plan, &mut operands.iter_mut().collect::<Vec<_>>(), state)?;
        let mut columns = Vec::with_capacity(operands.len());
        for operand in operands {
            match marks::reference(&operand) {
                Some(Ref::Local(column)) => columns.push(column),
                _ => {
                    plan = edit::extend(plan, vec![operand], "operand");
                    columns.push(plan.fields().len() - 1);
                }
            }
        }
        let inner = edit::map_exprs(&pending.plan, &mut |expr| {
            marks::map_refs(expr, &mut |r| match r {
                Ref::Outer { level: 1, column } if column >= OPERANDS => {
                    Ref::Outer { level: 1, column: columns[column - OPERANDS] }
                }
                other => other,
            });
        });
        dependent_join(plan, inner, JoinKind::Single, vec![])
    }

    // ---- conjuncts that are nothing but EXISTS or IN -------------------------------------------

    /// Filters by `[NOT] EXISTS (…)` or `x [NOT] IN (…)`; `None` if the conjunct is something else.
    pub(super) fn semi_join(
        &mut self,
        plan: &Arc<Plan>,
        conjunct: &ast::Expr,
        env: &mut Env<'_, '_>,
    ) -> Result<Option<Arc<Plan>>> {
        match conjunct {
            ast::Expr::Nested(inner) => self.semi_join(plan, inner, env),
            ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr } => match unnest(expr) {
                ast::Expr::Exists { subquery, negated } => self.exists_join(plan, subquery, !negated, env).map(Some),
                ast::Expr::In { expr, target: ast::InTarget::Subquery(query), negated, global: false } => {
                    self.in_join(plan, expr, query, !negated, env)
                }
                _ => Ok(None),
            },
            ast::Expr::Exists { subquery, negated } => self.exists_join(plan, subquery, *negated, env).map(Some),
            ast::Expr::In { expr, target: ast::InTarget::Subquery(query), negated, global: false } => {
                self.in_join(plan, expr, query, *negated, env)
            }
            _ => Ok(None),
        }
    }

    fn exists_join(
        &mut self,
        plan: &Arc<Plan>,
        query: &ast::Query,
        not: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Arc<Plan>> {
        let bound = self.subquery(query, env)?.without_order();
        let kind = if not { JoinKind::Anti } else { JoinKind::Semi };
        dependent_join(plan.clone(), without_output(bound.plan), kind, vec![])
    }

    fn in_join(
        &mut self,
        plan: &Arc<Plan>,
        left: &ast::Expr,
        query: &ast::Query,
        not: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Option<Arc<Plan>>> {
        let operands = self.left_operands(left, env)?;
        let simple = operands.iter().all(|o| subqueries_in(&o.expr).is_empty());
        let bound = self.subquery(query, env)?.without_order();
        check_width(operands.len(), bound.width())?;
        let correlated = edit::is_correlated(&bound.plan);
        if !simple || (not && (correlated || operands.len() != 1)) {
            return Ok(None);
        }
        let width = plan.fields().len();
        let mut on = Vec::with_capacity(operands.len());
        for (n, operand) in operands.into_iter().enumerate() {
            let inside = Expr::column(width + n, bound.plan.fields()[n].ty.clone());
            on.push(self.compare(operand, "=", Operand { expr: inside, named: true })?);
        }
        if !not {
            return dependent_join(plan.clone(), bound.plan, JoinKind::Semi, on).map(Some);
        }
        let Some(Expr { kind: ExprKind::Call { args, .. }, .. }) = on.pop() else { return Ok(None) };
        let [left, right] = &args[..] else { return Ok(None) };
        let mut right = right.clone();
        marks::map_locals(&mut right, &|column| column - width);
        let key = crate::plan::JoinKey { left: left.clone(), right, null_safe: false };
        let inner = edit::shift_levels(&bound.plan, 1, -1);
        Ok(Some(edit::join(plan.clone(), inner, JoinKind::NullAwareAnti, vec![key], None)))
    }
}

/// In the order of a function's elements.
pub(super) fn by_number(column: usize) -> SortKey {
    SortKey { expr: Expr::column(column, Type::Int8), descending: false, nulls_first: false }
}

fn unnest(ast: &ast::Expr) -> &ast::Expr {
    match ast {
        ast::Expr::Nested(inner) => unnest(inner),
        other => other,
    }
}

/// EXISTS does not look at the columns, and neither should its correlation.
fn without_output(plan: Arc<Plan>) -> Arc<Plan> {
    match &*plan {
        Plan::Project { input, .. } => without_output(input.clone()),
        Plan::Distinct { input } | Plan::Sort { input, .. } => without_output(input.clone()),
        _ => plan,
    }
}

fn check_width(left: usize, right: usize) -> Result<()> {
    if left == right {
        return Ok(());
    }
    let amount = if right > left { "many" } else { "few" };
    Err(SqlError::syntax(format!("subquery has too {amount} columns")))
}

fn subqueries_in(expr: &Expr) -> Vec<usize> {
    let mut found = Vec::new();
    marks::for_each_ref(expr, &mut |r| {
        if let Ref::Subquery(n) = r {
            found.push(n);
        }
    });
    found
}

fn aggregate(function: AggregateFunction, args: Vec<Expr>, ty: Type) -> AggregateExpr {
    AggregateExpr { function, args, distinct: false, order_by: vec![], filter: None, ty }
}

/// Aggregates over all rows.
fn grand_total(input: Arc<Plan>, aggregates: Vec<AggregateExpr>) -> Arc<Plan> {
    let fields = aggregates.iter().map(|a| Field::new("?column?", a.ty.clone())).collect();
    Arc::new(Plan::Aggregate { input, groups: vec![], sets: vec![vec![]], aggregates, fields })
}
