//! ORDER BY, DISTINCT ON, LIMIT and OFFSET.

use std::sync::Arc;

use sqlparser::ast::{self, LimitClause, OrderByKind, OrderBySort};

use super::Binder;
use super::edit;
use super::marks;
use super::query::Ordered;
use super::scope::Scope;
use super::select::{Clause, Env, Item, State};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::parser::fold;
use crate::plan::{Field, Frame, Plan, SortKey, WindowExpr, WindowFunction};
use crate::types::Type;

/// What to sort by: an output column, or an expression of the input.
#[derive(Debug)]
pub(super) struct SortTarget {
    source: Source,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Debug)]
enum Source {
    Output(usize),
    Input(Expr),
}

impl SortTarget {
    pub fn expr_mut(&mut self) -> Option<&mut Expr> {
        match &mut self.source {
            Source::Output(_) => None,
            Source::Input(expr) => Some(expr),
        }
    }

    /// The output column; `add` finds or makes one for an expression.
    pub fn column(&self, add: &mut dyn FnMut(Expr) -> usize) -> usize {
        match &self.source {
            Source::Output(n) => *n,
            Source::Input(expr) => add(expr.clone()),
        }
    }
}

/// The keys of a query's ORDER BY.
pub(super) fn order_keys(order_by: Option<&ast::OrderBy>) -> Result<&[ast::OrderByExpr]> {
    match order_by {
        None => Ok(&[]),
        Some(ast::OrderBy { kind: OrderByKind::Expressions(keys), interpolate: None }) => Ok(keys),
        Some(ast::OrderBy { kind: OrderByKind::All(_), .. }) => Err(SqlError::unsupported("ORDER BY ALL")),
        Some(ast::OrderBy { interpolate: Some(_), .. }) => Err(SqlError::unsupported("INTERPOLATE")),
    }
}

/// Descending, and NULLs first; PostgreSQL sorts NULL as the greatest value.
fn direction(key: &ast::OrderByExpr) -> Result<(bool, bool)> {
    let ast::OrderByExpr { expr: _, options: ast::OrderByOptions { sort, nulls_first }, with_fill } = key;
    if with_fill.is_some() {
        return Err(SqlError::unsupported("WITH FILL"));
    }
    let descending = match sort {
        None | Some(OrderBySort::Asc) => false,
        Some(OrderBySort::Desc) => true,
        Some(OrderBySort::Using(operator)) => match operator.to_string().as_str() {
            "<" => false,
            ">" => true,
            other => return Err(SqlError::new("42809", format!("operator {other} is not a valid ordering operator"))),
        },
    };
    Ok((descending, nulls_first.unwrap_or(descending)))
}

impl Binder<'_> {
    /// Keys inside an aggregate or a window: expressions only, an integer is a constant.
    pub(super) fn sort_keys(&mut self, keys: &[ast::OrderByExpr], env: &mut Env<'_, '_>) -> Result<Vec<SortKey>> {
        keys.iter()
            .map(|key| {
                let (descending, nulls_first) = direction(key)?;
                Ok(SortKey { expr: self.bind_known(&key.expr, env)?, descending, nulls_first })
            })
            .collect()
    }

    /// The keys of a SELECT's ORDER BY: output names and ordinals first, then expressions.
    pub(super) fn bind_order(
        &mut self,
        keys: &[ast::OrderByExpr],
        items: &[Item],
        env: &mut Env<'_, '_>,
    ) -> Result<Vec<SortTarget>> {
        keys.iter()
            .map(|key| {
                let (descending, nulls_first) = direction(key)?;
                let source = self.sort_source(&key.expr, items, "ORDER BY", env)?;
                Ok(SortTarget { source, descending, nulls_first })
            })
            .collect()
    }

    pub(super) fn bind_distinct_on(
        &mut self,
        distinct: Option<&ast::Distinct>,
        items: &[Item],
        env: &mut Env<'_, '_>,
    ) -> Result<Vec<SortTarget>> {
        let Some(ast::Distinct::On(exprs)) = distinct else { return Ok(vec![]) };
        let mut env = env.within(Clause::OrderBy);
        exprs
            .iter()
            .map(|expr| {
                let source = self.sort_source(expr, items, "DISTINCT ON", &mut env)?;
                Ok(SortTarget { source, descending: false, nulls_first: false })
            })
            .collect()
    }

    fn sort_source(&mut self, ast: &ast::Expr, items: &[Item], clause: &str, env: &mut Env<'_, '_>) -> Result<Source> {
        match ast {
            ast::Expr::Identifier(ident) => {
                let name = fold(ident);
                let mut named = items.iter().enumerate().filter(|(_, item)| item.name == name);
                if let Some((n, item)) = named.next() {
                    if named.any(|(_, other)| !marks::same(&other.expr, &item.expr)) {
                        return Err(
                            SqlError::new("42702", format!("{clause} \"{name}\" is ambiguous")).at(self.at(ident.span))
                        );
                    }
                    return Ok(Source::Output(n));
                }
            }
            ast::Expr::Value(value) => match &value.value {
                ast::Value::Number(digits, false) => {
                    let n = digits.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|n| *n < items.len());
                    return n.map(Source::Output).ok_or_else(|| {
                        let message = format!("{clause} position {digits} is not in select list");
                        SqlError::new("42P10", message).at(self.at(value.span))
                    });
                }
                ast::Value::SingleQuotedString(_) => {
                    let message = format!("non-integer constant in {clause}");
                    return Err(SqlError::syntax(message).at(self.at(value.span)));
                }
                _ => {}
            },
            _ => {}
        }
        Ok(Source::Input(self.bind_known(ast, env)?))
    }

    /// ORDER BY of a set operation: names and ordinals of its output only.
    pub(super) fn order_output(
        &mut self,
        keys: &[ast::OrderByExpr],
        names: &[String],
        plan: &Plan,
    ) -> Result<Vec<SortKey>> {
        keys.iter()
            .map(|key| {
                let (descending, nulls_first) = direction(key)?;
                let position = self.position_of(&key.expr);
                let n = match &key.expr {
                    ast::Expr::Identifier(ident) => names.iter().position(|name| *name == fold(ident)),
                    ast::Expr::Value(value) => match &value.value {
                        ast::Value::Number(digits, false) => {
                            let n = digits.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                            let n = n.filter(|n| *n < names.len());
                            if n.is_none() {
                                let message = format!("ORDER BY position {digits} is not in select list");
                                return Err(SqlError::new("42P10", message).at(position));
                            }
                            n
                        }
                        _ => None,
                    },
                    _ => None,
                };
                let Some(n) = n else {
                    return Err(SqlError::new("0A000", "invalid UNION/INTERSECT/EXCEPT ORDER BY clause")
                        .with_detail("Only result column names can be used, not expressions or functions.")
                        .with_hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause.")
                        .at(position));
                };
                let expr = Expr::column(n, plan.fields()[n].ty.clone());
                Ok(SortKey { expr, descending, nulls_first })
            })
            .collect()
    }

    // ---- LIMIT ---------------------------------------------------------------------------------

    /// LIMIT and OFFSET as expressions without columns, bigint each.
    pub(super) fn bind_limit(&mut self, query: &ast::Query) -> Result<(Option<Expr>, Option<Expr>)> {
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(SqlError::unsupported("LIMIT BY"));
                }
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::syntax("LIMIT #,# syntax is not supported")
                    .with_hint("Use separate LIMIT and OFFSET clauses."));
            }
        };
        let offset = self.row_count(offset, "OFFSET")?;
        let limit = match &query.fetch {
            None => self.row_count(limit, "LIMIT")?,
            Some(ast::Fetch { percent: true, .. }) => return Err(SqlError::unsupported("FETCH … PERCENT")),
            Some(ast::Fetch { quantity: None, .. }) => Some(super::aggregate::int8(1)),
            Some(ast::Fetch { quantity: Some(quantity), .. }) => self.row_count(Some(quantity), "LIMIT")?,
        };
        Ok((limit, offset))
    }

    /// FETCH FIRST n ROWS WITH TIES: the rows that rank so high, less those that OFFSET leaves out.
    pub(super) fn with_ties(&mut self, ordered: Ordered, limit: Expr, offset: Option<Expr>) -> Result<Ordered> {
        let Ordered { mut bound, order } = ordered;
        if order.is_empty() {
            return Err(SqlError::syntax("WITH TIES cannot be specified without ORDER BY clause"));
        }
        let width = bound.plan.fields().len();
        let numbered = |function| WindowExpr {
            function,
            args: vec![],
            filter: None,
            partition_by: vec![],
            order_by: order.clone(),
            frame: Frame::DEFAULT,
            ty: Type::Int8,
        };
        let mut exprs = vec![numbered(WindowFunction::Rank)];
        let mut fields = bound.plan.fields().to_vec();
        fields.push(Field::new("rank", Type::Int8));
        let rank = |column| Expr::column(column, Type::Int8);
        let mut conditions = Vec::with_capacity(2);
        match offset {
            None => conditions.push(self.operator("<=", rank(width), limit)?),
            Some(offset) => {
                exprs.push(numbered(WindowFunction::RowNumber));
                fields.push(Field::new("row_number", Type::Int8));
                let last = self.operator("+", limit, offset.clone())?;
                conditions.push(self.operator("<=", rank(width), last)?);
                conditions.push(self.operator(">", rank(width + 1), offset)?);
            }
        }
        let ranked = Arc::new(Plan::Window { input: bound.plan, exprs, fields });
        bound.plan = edit::keep(edit::filter(ranked, conditions), &(0..width).collect::<Vec<_>>());
        Ok(Ordered { bound, order })
    }

    fn row_count(&mut self, ast: Option<&ast::Expr>, clause: &str) -> Result<Option<Expr>> {
        let Some(ast) = ast else { return Ok(None) };
        // LIMIT ALL
        if let ast::Expr::Identifier(ident) = ast
            && fold(ident) == "all"
        {
            return Ok(None);
        }
        let scope = Scope::default();
        let mut state = State::default();
        let mut env = Env::new(&scope, Clause::Limit, &mut state);
        let expr = self.bind_expr(ast, &mut env).map_err(|e| match e.code {
            "42703" => {
                SqlError::new("42P10", format!("argument of {clause} must not contain variables")).at(e.position)
            }
            _ => e,
        })?;
        let expr = self.explicit_count(expr, clause)?;
        match &expr.kind {
            ExprKind::Literal(Datum::Null) => Ok(None),
            ExprKind::Literal(Datum::Int(n)) if *n < 0 => {
                let code = if clause == "LIMIT" { "2201W" } else { "2201X" };
                Err(SqlError::new(code, format!("{clause} must not be negative")).at(self.position_of(ast)))
            }
            _ => Ok(Some(expr)),
        }
    }

    fn explicit_count(&mut self, expr: Expr, clause: &str) -> Result<Expr> {
        if expr.ty.is_numeric() || expr.ty == Type::Unknown {
            let cast = self.explicit_cast(expr, &Type::Int8)?;
            return Ok(self.folded(cast));
        }
        Err(SqlError::new("42804", format!("argument of {clause} must be type bigint, not type {}", expr.ty)))
    }

    /// A constant's value, if it has one.
    fn folded(&self, expr: Expr) -> Expr {
        let mut constant = true;
        expr.walk(&mut |e| {
            constant &= !matches!(e.kind, ExprKind::Column(_) | ExprKind::Parameter(_) | ExprKind::Now);
        });
        match constant.then(|| expr.eval(&[], &self.constant_context())) {
            Some(Ok(datum)) => Expr { kind: ExprKind::Literal(datum), ..expr },
            _ => expr,
        }
    }

    /// ORDER BY and LIMIT at the top of a statement: how the answer is presented.
    pub(super) fn present(
        &mut self,
        ordered: Ordered,
        limit: Option<Expr>,
        offset: Option<Expr>,
    ) -> Result<super::scope::Bound> {
        let Ordered { mut bound, order } = ordered;
        let visible = bound.names.len();
        if !order.is_empty() {
            bound.plan = Arc::new(Plan::Sort { input: bound.plan, keys: order });
        }
        if limit.is_some() || offset.is_some() {
            bound.plan = Arc::new(Plan::Limit { input: bound.plan, offset, limit });
        }
        bound.plan = edit::keep(bound.plan, &(0..visible).collect::<Vec<_>>());
        Ok(bound)
    }

    /// ORDER BY and LIMIT of a subquery: which rows it has.
    pub(super) fn limit_rows(
        &mut self,
        ordered: Ordered,
        limit: Option<Expr>,
        offset: Option<Expr>,
    ) -> Result<Ordered> {
        let count = |expr: &Option<Expr>| match expr.as_ref().map(|e| &e.kind) {
            None => Ok(None),
            Some(ExprKind::Literal(Datum::Int(n))) => Ok(Some(n.unsigned_abs())),
            Some(_) => Err(SqlError::unsupported("LIMIT or OFFSET of a subquery that is not constant")),
        };
        let (limit, offset) = (count(&limit)?, count(&offset)?);
        if limit.is_none() && offset.is_none() {
            return Ok(ordered);
        }
        let Ordered { mut bound, order } = ordered;
        bound.plan = Arc::new(Plan::TopN {
            input: bound.plan,
            partition: vec![],
            order: order.clone(),
            offset: offset.unwrap_or(0),
            limit,
        });
        Ok(Ordered { bound, order })
    }
}
