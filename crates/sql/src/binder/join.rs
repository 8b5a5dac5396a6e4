//! Joins of two sides: ON, USING, NATURAL, and lateral right sides.

use std::sync::Arc;

use sqlparser::ast::{self, JoinConstraint};

use super::Binder;
use super::decorrelate::dependent_join;
use super::edit;
use super::marks;
use super::operator::Operand;
use super::scope::{Column, Origin, Scope};
use super::select::{Clause, Env, State};
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::plan::{JoinKind, Plan};

/// One side of a join, or all of FROM so far.
pub(super) struct Side<'p> {
    pub plan: Arc<Plan>,
    pub scope: Scope<'p>,
}

pub(super) enum JoinType<'a> {
    Cross,
    Inner(&'a JoinConstraint),
    Left(&'a JoinConstraint),
    Right(&'a JoinConstraint),
    Full(&'a JoinConstraint),
}

impl<'a> JoinType<'a> {
    pub fn kind(&self) -> JoinKind {
        match self {
            JoinType::Cross | JoinType::Inner(_) => JoinKind::Inner,
            JoinType::Left(_) => JoinKind::Left,
            JoinType::Right(_) => JoinKind::Right,
            JoinType::Full(_) => JoinKind::Full,
        }
    }

    pub fn constraint(&self) -> Option<&'a JoinConstraint> {
        match self {
            JoinType::Cross => None,
            JoinType::Inner(c) | JoinType::Left(c) | JoinType::Right(c) | JoinType::Full(c) => Some(c),
        }
    }
}

/// The condition of a join over both sides' columns.
struct Condition {
    on: Vec<Expr>,
    state: State,
    /// The common columns of USING: name, left expression, right expression.
    using: Vec<(String, Expr, Expr)>,
}

impl Binder<'_> {
    pub(super) fn join<'p>(&mut self, left: Option<Side<'p>>, right: Side<'p>, kind: &JoinType<'_>) -> Result<Side<'p>> {
        let Some(left) = left else { return Ok(right) };
        let width = left.plan.fields().len();
        let (scope, condition) = self.combine_sides(left.scope, right.scope, width, kind)?;
        let Condition { mut on, state, using } = condition;
        let join_kind = kind.kind();
        let mut plan = left.plan;
        if state.subqueries.is_empty() {
            plan = edit::join(plan, right.plan, join_kind, vec![], edit::conjunction(on));
        } else if join_kind == JoinKind::Inner {
            plan = edit::join(plan, right.plan, join_kind, vec![], None);
            let both = plan.fields().len();
            plan = self.attach(plan, &mut on.iter_mut().collect::<Vec<_>>(), &state)?;
            plan = edit::keep(edit::filter(plan, on), &(0..both).collect::<Vec<_>>());
        } else {
            return Err(SqlError::unsupported("a subquery in the condition of an outer join"));
        }
        Ok(Side { plan, scope: merged(scope, using, join_kind) })
    }

    /// The right side reads columns of the left one.
    pub(super) fn lateral_join<'p>(&mut self, left: Side<'p>, right: Side<'p>, kind: &JoinType<'_>) -> Result<Side<'p>> {
        let join_kind = kind.kind();
        if matches!(join_kind, JoinKind::Right | JoinKind::Full) && edit::is_correlated(&right.plan) {
            return Err(SqlError::new("42P10", "invalid reference to FROM-clause entry on the left of this join")
                .with_detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference."));
        }
        let width = left.plan.fields().len();
        let (scope, condition) = self.combine_sides(left.scope, right.scope, width, kind)?;
        if !condition.state.subqueries.is_empty() {
            return Err(SqlError::unsupported("a subquery in the condition of a lateral join"));
        }
        let on: Vec<Expr> = condition.on.into_iter().filter(|c| !super::from::is_true(c)).collect();
        let plan = dependent_join(left.plan, right.plan, join_kind, on)?;
        Ok(Side { plan, scope: merged(scope, condition.using, join_kind) })
    }

    fn combine_sides<'p>(
        &mut self,
        left: Scope<'p>,
        right: Scope<'p>,
        width: usize,
        kind: &JoinType<'_>,
    ) -> Result<(Scope<'p>, Condition)> {
        let mut condition = Condition { on: vec![], state: State::default(), using: vec![] };
        let names = match kind.constraint() {
            Some(JoinConstraint::Using(names)) => Some(
                names
                    .iter()
                    .map(|name| super::name_parts(name).map(|mut parts| parts.pop().unwrap_or_default()))
                    .collect::<Result<Vec<_>>>()?,
            ),
            Some(JoinConstraint::UsingAlias(..)) => return Err(SqlError::unsupported("an alias of USING")),
            Some(JoinConstraint::Natural) => Some(common_names(&left, &right)),
            Some(JoinConstraint::On(_) | JoinConstraint::None) | None => None,
        };
        for name in names.iter().flatten() {
            let (a, b) = (using_column(&left, name, "left")?, using_column(&right, name, "right")?);
            let b = marks::shifted(&b, width);
            let test = self.compare(
                Operand { expr: a.clone(), named: true },
                "=",
                Operand { expr: b.clone(), named: true },
            )?;
            condition.on.push(test);
            condition.using.push((name.clone(), a, b));
        }
        let mut scope = left;
        scope.append(right, width)?;
        match kind.constraint() {
            Some(JoinConstraint::On(on)) => {
                for conjunct in super::select::conjuncts(on) {
                    let expr = self.on_condition(conjunct, &scope, &mut condition.state)?;
                    condition.on.push(expr);
                }
            }
            Some(JoinConstraint::None) => {
                return Err(SqlError::syntax("a JOIN needs ON, USING or NATURAL"));
            }
            _ => {}
        }
        Ok((scope, condition))
    }

    fn on_condition(&mut self, on: &ast::Expr, scope: &Scope<'_>, state: &mut State) -> Result<Expr> {
        let mut env = Env::new(scope, Clause::JoinOn, state);
        let expr = self.bind_expr(on, &mut env)?;
        self.boolean(expr, "JOIN/ON")
    }
}

fn common_names(left: &Scope<'_>, right: &Scope<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in left.columns.iter().filter(|c| c.listed) {
        if right.columns.iter().any(|c| c.listed && c.name == column.name) && !names.contains(&column.name) {
            names.push(column.name.clone());
        }
    }
    names
}

fn using_column(scope: &Scope<'_>, name: &str, side: &str) -> Result<Expr> {
    let mut found = scope.columns.iter().filter(|c| c.plain && c.name == name);
    match (found.next(), found.next()) {
        (Some(column), None) => Ok(column.expr.clone()),
        (None, _) => Err(SqlError::new(
            "42703",
            format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
        )),
        _ => {
            let message = format!("common column name \"{name}\" appears more than once in {side} table");
            Err(SqlError::new("42702", message))
        }
    }
}

/// USING's columns stand once, in front, and hide both sides' own.
fn merged<'p>(mut scope: Scope<'p>, using: Vec<(String, Expr, Expr)>, kind: JoinKind) -> Scope<'p> {
    if using.is_empty() {
        return scope;
    }
    let mut columns = Vec::with_capacity(scope.columns.len() + using.len());
    for (name, left, right) in using {
        for column in &mut scope.columns {
            if column.name == name && (marks::same(&column.expr, &left) || marks::same(&column.expr, &right)) {
                column.plain = false;
                column.listed = false;
            }
        }
        let expr = match kind {
            JoinKind::Right => right,
            JoinKind::Full => {
                let ty = left.ty.clone();
                Expr::new(ExprKind::Coalesce(vec![left, right]), ty)
            }
            _ => left,
        };
        columns.push(Column { name, expr, relation: None, plain: true, listed: true, origin: Origin::Any });
    }
    columns.append(&mut scope.columns);
    scope.columns = columns;
    scope
}

