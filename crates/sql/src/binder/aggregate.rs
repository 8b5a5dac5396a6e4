//! Aggregate calls: their arguments now, their operator when the SELECT is put together (`group.rs`).

use super::Binder;
use super::call::{Arg, Call};
use super::marks::{self, Ref};
use super::select::{Clause, Env};
use crate::aggregates::{self, ResolvedAggregate};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::Expr;
use crate::plan::{AggregateExpr, AggregateFunction, SortKey};
use crate::types::Type;

/// An aggregate with its arguments bound, of a GROUP BY or over a window.
pub(super) struct BoundAggregate {
    pub function: AggregateFunction,
    pub args: Vec<Expr>,
    pub order_by: Vec<SortKey>,
    pub filter: Option<Expr>,
    pub ty: Type,
}

impl Binder<'_> {
    pub(super) fn bind_aggregate(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Expr> {
        match env.clause {
            Clause::Select | Clause::Having | Clause::OrderBy | Clause::Window => {}
            Clause::AggregateArgument => {
                return Err(SqlError::new("42803", "aggregate function calls cannot be nested"));
            }
            _ => return Err(self.refuse_clause(env, "aggregate functions", "42803")),
        }
        let bound = self.aggregate_parts(call, env, Clause::AggregateArgument)?;
        let aggregate = AggregateExpr {
            function: bound.function,
            args: bound.args,
            distinct: call.distinct,
            order_by: bound.order_by,
            filter: bound.filter,
            ty: bound.ty,
        };
        check_levels(&aggregate)?;
        Ok(env.state.add_aggregate(aggregate))
    }

    /// Arguments, order and filter, bound in `clause`.
    pub(super) fn aggregate_parts(
        &mut self,
        call: &Call<'_>,
        env: &mut Env<'_, '_>,
        clause: Clause,
    ) -> Result<BoundAggregate> {
        let mut inner = env.within(clause);
        let mut args = Vec::new();
        match &call.args[..] {
            [Arg::Star(None)] if call.name == "count" => {
                if call.distinct {
                    return Err(SqlError::new("42809", "DISTINCT specified, but count(*) has no argument"));
                }
            }
            [Arg::Star(None), ..] => {
                return Err(SqlError::new("42883", format!("function {}() does not exist", call.name)));
            }
            [] if call.name == "count" => {
                return Err(SqlError::new("42809", "count(*) must be used to call a parameterless aggregate function"));
            }
            _ => {
                args = self.json_arguments(call, &mut inner)?;
            }
        }
        let mut order_by = self.sort_keys(call.order_by, &mut inner)?;
        let filter = match call.filter {
            Some(filter) => {
                let expr = self.bind_expr(filter, &mut inner)?;
                Some(self.boolean(expr, "FILTER")?)
            }
            None => None,
        };
        let ordered_set = aggregates::by_name(&call.name).is_some_and(aggregates::is_ordered_set);
        let direct = args.len();
        if ordered_set {
            if call.within_group.is_empty() {
                let message = format!("WITHIN GROUP is required for ordered-set aggregate {}", call.name);
                return Err(SqlError::new("42809", message));
            }
            order_by = self.sort_keys(call.within_group, &mut inner)?;
            args.extend(order_by.iter().map(|key| key.expr.clone()));
        } else if !call.within_group.is_empty() {
            let message = format!("{} is not an ordered-set aggregate, so it cannot have WITHIN GROUP", call.name);
            return Err(SqlError::new("42809", message));
        }
        let (resolved, mut args) = self.resolve_aggregate(&call.name, args)?;
        if ordered_set {
            for (key, arg) in order_by.iter_mut().zip(args.drain(direct..)) {
                key.expr = arg;
            }
        }
        if call.distinct && order_by.iter().any(|key| !args.iter().any(|arg| marks::same(arg, &key.expr))) {
            return Err(SqlError::new(
                "42P10",
                "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
            ));
        }
        Ok(BoundAggregate { function: resolved.function, args, order_by, filter, ty: resolved.result })
    }

    /// JSON where no aggregate takes it is a number, text or a boolean.
    fn resolve_aggregate(&mut self, name: &str, args: Vec<Expr>) -> Result<(ResolvedAggregate, Vec<Expr>)> {
        let types: Vec<Type> = args.iter().map(|arg| arg.ty.clone()).collect();
        let resolve = |types: &[Type]| {
            aggregates::resolve(name, types).unwrap_or_else(|| Err(SqlError::internal("no aggregate")))
        };
        let mut candidates = vec![types.clone()];
        if types.contains(&Type::Json) {
            candidates.extend([Type::Numeric(None), Type::Text, Type::Bool].map(|instead| {
                types.iter().map(|ty| if *ty == Type::Json { instead.clone() } else { ty.clone() }).collect()
            }));
        }
        let Some(resolved) = candidates.iter().find_map(|types| resolve(types).ok()) else {
            return Err(resolve(&types).err().unwrap_or_else(|| SqlError::internal("no aggregate")));
        };
        let args = args
            .into_iter()
            .zip(&resolved.parameter_types)
            .map(|(arg, ty)| if arg.ty == Type::Json { self.explicit_cast(arg, ty) } else { self.coerce(arg, ty) })
            .collect::<Result<_>>()?;
        Ok((resolved, args))
    }

    /// `GROUPING(a, b)`: one bit per expression, set where its group is not in the grouping set.
    pub(super) fn bind_grouping(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Expr> {
        if !matches!(env.clause, Clause::Select | Clause::Having | Clause::OrderBy) {
            return Err(self.refuse_clause(env, "grouping operations", "42803"));
        }
        let args = call.exprs()?;
        if args.is_empty() || args.len() > 31 {
            return Err(SqlError::new("54023", "GROUPING must have fewer than 32 arguments"));
        }
        let args = args.into_iter().map(|arg| self.bind_expr(arg, env)).collect::<Result<Vec<_>>>()?;
        Ok(env.state.add_grouping(args))
    }
}

/// An aggregate whose arguments are the outer query's only belongs to that query in PostgreSQL.
fn check_levels(aggregate: &AggregateExpr) -> Result<()> {
    let (mut own, mut outer) = (false, false);
    let exprs = aggregate.args.iter().chain(aggregate.order_by.iter().map(|key| &key.expr));
    for expr in exprs {
        marks::for_each_ref(expr, &mut |r| match r {
            Ref::Outer { .. } => outer = true,
            _ => own = true,
        });
    }
    if outer && !own {
        return Err(SqlError::unsupported("an aggregate over columns of an outer query only"));
    }
    Ok(())
}

/// Equal but for positions.
pub(super) fn same_aggregate(a: &AggregateExpr, b: &AggregateExpr) -> bool {
    let same_all = |x: &[Expr], y: &[Expr]| x.len() == y.len() && x.iter().zip(y).all(|(p, q)| marks::same(p, q));
    let filters = match (&a.filter, &b.filter) {
        (None, None) => true,
        (Some(x), Some(y)) => marks::same(x, y),
        _ => false,
    };
    a.function == b.function
        && a.distinct == b.distinct
        && a.ty == b.ty
        && filters
        && same_all(&a.args, &b.args)
        && a.order_by.len() == b.order_by.len()
        && a.order_by.iter().zip(&b.order_by).all(|(x, y)| {
            x.descending == y.descending && x.nulls_first == y.nulls_first && marks::same(&x.expr, &y.expr)
        })
}

/// `count(*)` and `count(x)` of no rows; NULL for the others.
pub(super) fn int8(n: i64) -> Expr {
    Expr::literal(Datum::Int(n), Type::Int8)
}
