//! Window functions: their definition, named or not, and their frame.

use sqlparser::ast::{self, NamedWindowExpr, WindowFrameBound, WindowFrameUnits, WindowType};

use super::Binder;
use super::call::Call;
use super::select::{Clause, Env};
use crate::aggregates;
use crate::error::{Result, SqlError};
use crate::expr::Expr;
use crate::functions;
use crate::parser::fold;
use crate::plan::{Exclude, Frame, FrameBound, FrameUnit, SortKey, WindowExpr, WindowFunction};
use crate::types::Type;

/// A definition with the window it was built on resolved.
struct Definition<'a> {
    partition_by: Vec<&'a ast::Expr>,
    order_by: &'a [ast::OrderByExpr],
    frame: Option<&'a ast::WindowFrame>,
    exclude: Exclude,
}

impl Binder<'_> {
    pub(super) fn bind_window(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Expr> {
        match env.clause {
            Clause::Select | Clause::OrderBy => {}
            Clause::Window => return Err(SqlError::new("42P20", "window function calls cannot be nested")),
            Clause::AggregateArgument => {
                return Err(SqlError::new("42803", "aggregate function calls cannot contain window function calls"));
            }
            _ => return Err(self.refuse_clause(env, "window functions", "42P20")),
        }
        if call.distinct {
            return Err(SqlError::new("0A000", "DISTINCT is not implemented for window functions"));
        }
        if !call.order_by.is_empty() {
            return Err(SqlError::new("0A000", "aggregate ORDER BY is not implemented for window functions"));
        }
        let over = call.over.ok_or_else(|| SqlError::internal("no window"))?;
        let definition = definition(over, env.windows)?;
        let (function, args, filter, ty) = self.window_function(call, env)?;
        let mut inner = env.within(Clause::Window);
        let partition_by =
            definition.partition_by.iter().map(|e| self.bind_known(e, &mut inner)).collect::<Result<Vec<_>>>()?;
        let order_by = self.sort_keys(definition.order_by, &mut inner)?;
        let mut frame = self.frame(definition.frame, &order_by, &mut inner)?;
        frame.exclude = definition.exclude;
        let window = WindowExpr { function, args, filter, partition_by, order_by, frame, ty };
        Ok(env.state.add_window(window))
    }

    fn window_function(
        &mut self,
        call: &Call<'_>,
        env: &mut Env<'_, '_>,
    ) -> Result<(WindowFunction, Vec<Expr>, Option<Expr>, Type)> {
        if let Some(function) = functions::window_by_name(&call.name) {
            if call.filter.is_some() {
                return Err(SqlError::new("0A000", "FILTER is not implemented for non-aggregate window functions"));
            }
            let mut inner = env.within(Clause::Window);
            let args = call.exprs()?.into_iter().map(|e| self.bind_expr(e, &mut inner)).collect::<Result<Vec<_>>>()?;
            let types: Vec<Type> = args.iter().map(|arg| arg.ty.clone()).collect();
            let (parameters, ty) = functions::window_type(function, &types)?;
            let args =
                args.into_iter().zip(&parameters).map(|(arg, ty)| self.unified(arg, ty)).collect::<Result<_>>()?;
            return Ok((function, args, None, ty));
        }
        if !aggregates::exists(&call.name) {
            let message =
                format!("OVER specified, but {} is not a window function nor an aggregate function", call.name);
            return Err(SqlError::new("42809", message));
        }
        let bound = self.aggregate_parts(call, env, Clause::Window)?;
        if aggregates::is_ordered_set(bound.function) {
            let message = format!("OVER is not supported for ordered-set aggregate {}", call.name);
            return Err(SqlError::new("0A000", message));
        }
        Ok((WindowFunction::Aggregate(bound.function), bound.args, bound.filter, bound.ty))
    }

    fn frame(
        &mut self,
        frame: Option<&ast::WindowFrame>,
        order_by: &[SortKey],
        env: &mut Env<'_, '_>,
    ) -> Result<Frame> {
        let Some(ast::WindowFrame { units, start_bound, end_bound }) = frame else {
            return Ok(Frame::DEFAULT);
        };
        let unit = match units {
            WindowFrameUnits::Rows => FrameUnit::Rows,
            WindowFrameUnits::Range => FrameUnit::Range,
            WindowFrameUnits::Groups => FrameUnit::Groups,
        };
        if unit == FrameUnit::Groups && order_by.is_empty() {
            return Err(SqlError::new("42P20", "GROUPS mode requires an ORDER BY clause"));
        }
        let start = self.frame_bound(start_bound, unit, order_by, env)?;
        let end = match end_bound {
            Some(bound) => self.frame_bound(bound, unit, order_by, env)?,
            None => FrameBound::CurrentRow,
        };
        check_frame(&start, &end)?;
        Ok(Frame { unit, start, end, exclude: Exclude::NoOthers })
    }

    fn frame_bound(
        &mut self,
        bound: &WindowFrameBound,
        unit: FrameUnit,
        order_by: &[SortKey],
        env: &mut Env<'_, '_>,
    ) -> Result<FrameBound> {
        Ok(match bound {
            WindowFrameBound::CurrentRow => FrameBound::CurrentRow,
            WindowFrameBound::Preceding(None) => FrameBound::UnboundedPreceding,
            WindowFrameBound::Following(None) => FrameBound::UnboundedFollowing,
            WindowFrameBound::Preceding(Some(offset)) => {
                FrameBound::Preceding(self.frame_offset(offset, unit, order_by, env)?)
            }
            WindowFrameBound::Following(Some(offset)) => {
                FrameBound::Following(self.frame_offset(offset, unit, order_by, env)?)
            }
        })
    }

    fn frame_offset(
        &mut self,
        offset: &ast::Expr,
        unit: FrameUnit,
        order_by: &[SortKey],
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        let expr = self.bind_expr(offset, env)?;
        let mut reads = false;
        super::marks::for_each_ref(&expr, &mut |_| reads = true);
        let name = match unit {
            FrameUnit::Rows => "ROWS",
            FrameUnit::Range => "RANGE",
            FrameUnit::Groups => "GROUPS",
        };
        if reads {
            return Err(SqlError::new("42P10", format!("argument of {name} must not contain variables")));
        }
        if unit != FrameUnit::Range {
            return self.coerce(expr, &Type::Int8);
        }
        let [key] = order_by else {
            return Err(SqlError::new(
                "42P20",
                "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
            ));
        };
        let ty = match &key.expr.ty {
            Type::Date | Type::Time | Type::Timestamp | Type::Timestamptz | Type::Interval => Type::Interval,
            ty if ty.is_numeric() => ty.clone(),
            other => {
                return Err(SqlError::new(
                    "0A000",
                    format!("RANGE with offset PRECEDING/FOLLOWING is not supported for column type {other}"),
                ));
            }
        };
        self.coerce(expr, &ty)
    }
}

fn check_frame(start: &FrameBound, end: &FrameBound) -> Result<()> {
    use FrameBound::*;
    let message = match (start, end) {
        (UnboundedFollowing, _) => "frame start cannot be UNBOUNDED FOLLOWING",
        (_, UnboundedPreceding) => "frame end cannot be UNBOUNDED PRECEDING",
        (CurrentRow, Preceding(_)) => "frame starting from current row cannot have preceding rows",
        (Following(_), Preceding(_) | CurrentRow) => "frame starting from following row cannot have preceding rows",
        _ => return Ok(()),
    };
    Err(SqlError::new("42P20", message))
}

fn definition<'a>(over: &'a WindowType, named: &'a [ast::NamedWindowDefinition]) -> Result<Definition<'a>> {
    match over {
        WindowType::NamedWindow(name) => resolve_named(name, named, named.len()),
        WindowType::WindowSpec(spec) => resolve_spec(spec, named, named.len()),
    }
}

fn resolve_named<'a>(
    name: &ast::Ident,
    named: &'a [ast::NamedWindowDefinition],
    before: usize,
) -> Result<Definition<'a>> {
    let wanted = fold(name);
    // A window is built on earlier ones only, so this ends.
    let found = named[..before].iter().rposition(|ast::NamedWindowDefinition(name, _)| fold(name) == wanted);
    let Some(at) = found else {
        return Err(SqlError::new("42704", format!("window \"{wanted}\" does not exist")));
    };
    match &named[at].1 {
        NamedWindowExpr::NamedWindow(name) => resolve_named(name, named, at),
        NamedWindowExpr::WindowSpec(spec) => resolve_spec(spec, named, at),
    }
}

fn resolve_spec<'a>(
    spec: &'a ast::WindowSpec,
    named: &'a [ast::NamedWindowDefinition],
    before: usize,
) -> Result<Definition<'a>> {
    let ast::WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
    let (order_by, exclude) = exclusion(order_by);
    let frame = window_frame.as_ref();
    let Some(name) = window_name else {
        return Ok(Definition { partition_by: partition_by.iter().collect(), order_by, frame, exclude });
    };
    let base = resolve_named(name, named, before)?;
    let refuse = |what: &str| Err(SqlError::new("42P20", format!("cannot {what} of window \"{}\"", fold(name))));
    if !partition_by.is_empty() {
        return refuse("override PARTITION BY clause");
    }
    if !order_by.is_empty() && !base.order_by.is_empty() {
        return refuse("override ORDER BY clause");
    }
    if base.frame.is_some() {
        return refuse("copy the frame clause");
    }
    let order_by = if order_by.is_empty() { base.order_by } else { order_by };
    Ok(Definition { partition_by: base.partition_by, order_by, frame, exclude })
}

/// The keys of the order, and the exclusion that the lexer put behind them.
fn exclusion(order_by: &[ast::OrderByExpr]) -> (&[ast::OrderByExpr], Exclude) {
    if let Some((ast::OrderByExpr { expr: ast::Expr::Identifier(name), .. }, keys)) = order_by.split_last()
        && let Some(name) = name.value.strip_prefix(crate::parser::EXCLUDE)
    {
        let exclude = match name {
            "current row" => Exclude::CurrentRow,
            "group" => Exclude::Group,
            "ties" => Exclude::Ties,
            _ => Exclude::NoOthers,
        };
        return (keys, exclude);
    }
    (order_by, Exclude::NoOthers)
}
