//! GROUP BY and the aggregates of a SELECT.

use std::sync::Arc;

use sqlparser::ast::{self, GroupByExpr};

use super::Binder;
use super::aggregate::same_aggregate;
use super::edit;
use super::marks::{self, Ref};
use super::scope::{Scope, determined};
use super::select::{Env, Item, State};
use super::subquery::OPERANDS;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::plan::{AggregateExpr, AggregateFunction, Field, Plan};
use crate::types::Type;

/// GROUPING calls are numbered after the aggregates until the number of aggregates is known.
const GROUPINGS: usize = 1 << 30;
/// Grouping sets of one query, PostgreSQL's limit.
const MAX_SETS: usize = 4096;
const MAX_CUBE: usize = 12;

/// GROUP BY, bound: distinct expressions, and which of them each set keeps.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    pub present: bool,
    pub groups: Vec<Expr>,
    pub sets: Vec<Vec<usize>>,
}

impl State {
    pub fn add_aggregate(&mut self, aggregate: AggregateExpr) -> Expr {
        let ty = aggregate.ty.clone();
        let n = match self.aggregates.iter().position(|known| same_aggregate(known, &aggregate)) {
            Some(n) => n,
            None => {
                self.aggregates.push(aggregate);
                self.aggregates.len() - 1
            }
        };
        Ref::Aggregate(n).expr(ty)
    }

    pub fn add_grouping(&mut self, args: Vec<Expr>) -> Expr {
        self.groupings.push(args);
        Ref::Aggregate(GROUPINGS + self.groupings.len() - 1).expr(Type::Int4)
    }
}

impl Binder<'_> {
    pub(super) fn bind_group_by(
        &mut self,
        group_by: &GroupByExpr,
        items: &[Item],
        env: &mut Env<'_, '_>,
    ) -> Result<Grouping> {
        let exprs = match group_by {
            GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => exprs,
            GroupByExpr::Expressions(..) => return Err(SqlError::unsupported("GROUP BY … WITH")),
            GroupByExpr::All(_) => return Err(SqlError::unsupported("GROUP BY ALL")),
        };
        let mut grouping = Grouping { present: !exprs.is_empty(), groups: vec![], sets: vec![vec![]] };
        for expr in exprs {
            let alternatives = self.group_element(expr, items, &mut grouping.groups, env)?;
            if grouping.sets.len().saturating_mul(alternatives.len()) > MAX_SETS {
                return Err(SqlError::new("54000", format!("too many grouping sets present (maximum {MAX_SETS})")));
            }
            grouping.sets = grouping
                .sets
                .iter()
                .flat_map(|set| alternatives.iter().map(move |more| set.iter().chain(more).copied().collect()))
                .collect();
        }
        for set in &mut grouping.sets {
            set.sort_unstable();
            set.dedup();
        }
        Ok(grouping)
    }

    /// The sets that one element of GROUP BY stands for.
    fn group_element(
        &mut self,
        expr: &ast::Expr,
        items: &[Item],
        groups: &mut Vec<Expr>,
        env: &mut Env<'_, '_>,
    ) -> Result<Vec<Vec<usize>>> {
        match expr {
            ast::Expr::GroupingSets(sets) => {
                let mut all = Vec::new();
                for set in sets {
                    // A set may itself be ROLLUP, CUBE or GROUPING SETS.
                    match &set[..] {
                        [nested @ (ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_))] => {
                            all.extend(self.group_element(nested, items, groups, env)?);
                        }
                        // The grammar reads them as calls there.
                        [ast::Expr::Function(call)] if let Some(nested) = nested_sets(call) => {
                            all.extend(self.group_element(&nested, items, groups, env)?);
                        }
                        _ => all.push(self.group_list(set, items, groups, env)?),
                    }
                }
                Ok(all)
            }
            ast::Expr::Rollup(parts) => {
                let parts = self.group_parts(parts, items, groups, env)?;
                Ok((0..=parts.len()).rev().map(|n| parts[..n].concat()).collect())
            }
            ast::Expr::Cube(parts) => {
                let parts = self.group_parts(parts, items, groups, env)?;
                if parts.len() > MAX_CUBE {
                    return Err(SqlError::new("54023", format!("CUBE is limited to {MAX_CUBE} elements")));
                }
                let picked = |mask: usize| {
                    let chosen = (0..parts.len()).filter(|i| mask & (1 << (parts.len() - 1 - i)) != 0);
                    chosen.flat_map(|i| parts[i].iter().copied()).collect()
                };
                Ok((0..1usize << parts.len()).rev().map(picked).collect())
            }
            ast::Expr::Tuple(list) => Ok(vec![self.group_list(list, items, groups, env)?]),
            _ => Ok(vec![self.group_list(std::slice::from_ref(expr), items, groups, env)?]),
        }
    }

    fn group_parts(
        &mut self,
        parts: &[Vec<ast::Expr>],
        items: &[Item],
        groups: &mut Vec<Expr>,
        env: &mut Env<'_, '_>,
    ) -> Result<Vec<Vec<usize>>> {
        parts.iter().map(|part| self.group_list(part, items, groups, env)).collect()
    }

    fn group_list(
        &mut self,
        list: &[ast::Expr],
        items: &[Item],
        groups: &mut Vec<Expr>,
        env: &mut Env<'_, '_>,
    ) -> Result<Vec<usize>> {
        let mut indexes = Vec::new();
        for ast in list {
            if let ast::Expr::Tuple(inner) = ast {
                indexes.extend(self.group_list(inner, items, groups, env)?);
                continue;
            }
            let expr = self.group_expr(ast, items, env)?;
            let at = groups.iter().position(|known| marks::same(known, &expr));
            indexes.push(at.unwrap_or_else(|| {
                groups.push(expr);
                groups.len() - 1
            }));
        }
        Ok(indexes)
    }

    /// A column's name, else a SELECT alias, an ordinal, or an expression. Over an open relation,
    /// where every name could be a field, aliases come before fields.
    fn group_expr(&mut self, ast: &ast::Expr, items: &[Item], env: &mut Env<'_, '_>) -> Result<Expr> {
        match ast {
            ast::Expr::Identifier(ident) if !env.scope.has_column(&crate::parser::fold(ident)) => {
                let name = crate::parser::fold(ident);
                let mut named = items.iter().filter(|item| item.name == name);
                let first = named.next();
                if let Some(item) = first {
                    if named.any(|other| !marks::same(&other.expr, &item.expr)) {
                        return Err(
                            SqlError::new("42702", format!("GROUP BY \"{name}\" is ambiguous")).at(self.at(ident.span))
                        );
                    }
                    return self.item_expr(item);
                }
            }
            ast::Expr::Value(value) => {
                if let ast::Value::Number(digits, false) = &value.value {
                    let position = self.at(value.span);
                    let Some(item) = digits.parse::<usize>().ok().and_then(|n| items.get(n.checked_sub(1)?)) else {
                        let message = format!("GROUP BY position {digits} is not in select list");
                        return Err(SqlError::new("42P10", message).at(position));
                    };
                    return self.item_expr(item);
                }
                let message = "non-integer constant in GROUP BY";
                return Err(SqlError::syntax(message).at(self.at(value.span)));
            }
            _ => {}
        }
        self.bind_known(ast, env)
    }

    fn item_expr(&mut self, item: &Item) -> Result<Expr> {
        let mut refused = None;
        marks::for_each_ref(&item.expr, &mut |r| match r {
            Ref::Aggregate(_) => refused = Some(("42803", "aggregate functions are not allowed in GROUP BY")),
            Ref::Window(_) => refused = Some(("42P20", "window functions are not allowed in GROUP BY")),
            Ref::SetReturning(_) => refused = Some(("0A000", "set-returning functions are not allowed in GROUP BY")),
            _ => {}
        });
        if let Some((code, message)) = refused {
            return Err(SqlError::new(code, message).at(item.expr.position.map(|p| p as usize)));
        }
        let expr = item.expr.clone();
        if expr.ty == Type::Unknown { self.coerce(expr, &Type::Text) } else { Ok(expr) }
    }

    /// Puts the aggregation on the plan, and rewrites `targets` to its columns.
    pub(super) fn aggregate(
        &mut self,
        plan: Arc<Plan>,
        scope: &Scope<'_>,
        grouping: Grouping,
        targets: &mut [&mut Expr],
        state: &mut State,
    ) -> Result<Arc<Plan>> {
        let Grouping { mut groups, sets, .. } = grouping;
        let originals = groups.clone();
        let mut aggregates = std::mem::take(&mut state.aggregates);
        // Subqueries in groups and arguments belong below.
        let mut below: Vec<&mut Expr> = groups.iter_mut().collect();
        for aggregate in &mut aggregates {
            below.extend(aggregate.args.iter_mut());
            below.extend(aggregate.filter.iter_mut());
            below.extend(aggregate.order_by.iter_mut().map(|key| &mut key.expr));
        }
        let plan = self.attach(plan, &mut below, state)?;
        let mut grouped = Grouped { scope, groups: &originals, sets: &sets, aggregates, notices: Vec::new() };
        let mut pending = std::mem::take(&mut state.subqueries);
        for target in targets.iter_mut() {
            grouped.rewrite(target, &mut pending)?;
        }
        for window in &mut state.windows {
            let mut result = Ok(());
            edit::window_exprs_mut(window, &mut |e| {
                if result.is_ok() {
                    result = grouped.rewrite(e, &mut pending);
                }
            });
            result?;
        }
        for call in &mut state.set_returning {
            for arg in &mut call.args {
                grouped.rewrite(arg, &mut pending)?;
            }
        }
        state.subqueries = pending;
        for column in std::mem::take(&mut grouped.notices) {
            self.notice(crate::rewrite::determined_column(&column));
        }
        let aggregates = grouped.aggregates;
        let (count, several) = (groups.len() + aggregates.len(), sets.len() > 1);
        self.fill_groupings(targets, state, &originals, &sets, count)?;
        let mut fields: Vec<Field> = groups.iter().map(|g| Field::new(group_name(scope, g), g.ty.clone())).collect();
        fields.extend(aggregates.iter().map(|a| Field::new(aggregate_name(a.function), a.ty.clone())));
        if several {
            fields.push(Field::new("grouping_set", Type::Int4));
        }
        let (plan, aggregates) = in_element_order(plan, aggregates);
        Ok(Arc::new(Plan::Aggregate { input: plan, groups, sets, aggregates, fields }))
    }

    /// GROUPING calls read the number of the row's set.
    fn fill_groupings(
        &mut self,
        targets: &mut [&mut Expr],
        state: &mut State,
        groups: &[Expr],
        sets: &[Vec<usize>],
        set_column: usize,
    ) -> Result<()> {
        let mut values = Vec::with_capacity(state.groupings.len());
        for args in &state.groupings {
            let mut positions = Vec::with_capacity(args.len());
            for arg in args {
                let Some(at) = groups.iter().position(|group| marks::same(group, arg)) else {
                    return Err(SqlError::new(
                        "42803",
                        "arguments to GROUPING must be grouping expressions of the associated query level",
                    )
                    .at(arg.position.map(|p| p as usize)));
                };
                positions.push(at);
            }
            let bits: Vec<i64> = sets
                .iter()
                .map(|set| positions.iter().fold(0, |bits, at| bits << 1 | i64::from(!set.contains(at))))
                .collect();
            values.push(self.by_set(&bits, set_column)?);
        }
        if values.is_empty() {
            return Ok(());
        }
        fn fill(expr: &mut Expr, values: &[Expr]) {
            if let Some(Ref::Aggregate(n)) = marks::reference(expr)
                && n >= GROUPINGS
            {
                *expr = values[n - GROUPINGS].clone();
                return;
            }
            expr.for_each_child_mut(&mut |child| fill(child, values));
        }
        targets.iter_mut().for_each(|target| fill(target, &values));
        for window in &mut state.windows {
            edit::window_exprs_mut(window, &mut |e| fill(e, &values));
        }
        Ok(())
    }

    fn by_set(&mut self, bits: &[i64], set_column: usize) -> Result<Expr> {
        let literal = |n: i64| Expr::literal(Datum::Int(n), Type::Int4);
        let Some((last, rest)) = bits.split_last() else { return Ok(literal(0)) };
        if rest.iter().all(|b| b == last) {
            return Ok(literal(*last));
        }
        let mut branches = Vec::with_capacity(rest.len());
        for (n, b) in rest.iter().enumerate() {
            let test = self.operator("=", Expr::column(set_column, Type::Int4), literal(n as i64))?;
            branches.push((test, literal(*b)));
        }
        Ok(Expr::new(ExprKind::Case { branches, otherwise: Some(Box::new(literal(*last))) }, Type::Int4))
    }
}

/// Lists over the elements of one array have their order, unless they say another.
fn in_element_order(plan: Arc<Plan>, mut aggregates: Vec<AggregateExpr>) -> (Arc<Plan>, Vec<AggregateExpr>) {
    let is_list = |a: &AggregateExpr| a.function.is_list() && a.order_by.is_empty() && !a.distinct;
    if !aggregates.iter().any(is_list) {
        return (plan, aggregates);
    }
    let Some((plan, column)) = edit::with_ordinality(&plan) else { return (plan, aggregates) };
    for aggregate in aggregates.iter_mut().filter(|a| is_list(a)) {
        aggregate.order_by.push(super::subquery::by_number(column));
    }
    (plan, aggregates)
}

/// `ROLLUP (a, (b, c))` or `CUBE (…)` that was read as a function's call.
fn nested_sets(call: &ast::Function) -> Option<ast::Expr> {
    let name = super::call::function_name(&call.name).ok()?;
    let ast::FunctionArguments::List(list) = &call.args else { return None };
    let parts = super::call::arguments(&list.args)
        .ok()?
        .into_iter()
        .map(|arg| match arg {
            super::call::Arg::Expr(ast::Expr::Tuple(items)) => Some(items.clone()),
            super::call::Arg::Expr(expr) => Some(vec![expr.clone()]),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    match name.as_str() {
        "rollup" => Some(ast::Expr::Rollup(parts)),
        "cube" => Some(ast::Expr::Cube(parts)),
        _ => None,
    }
}

/// Is this the grouped expression? One without a type of its own has become text in GROUP BY.
fn is_group(group: &Expr, expr: &Expr) -> bool {
    if expr.ty != Type::Unknown {
        return marks::same(group, expr);
    }
    marks::same(group, &Expr { ty: Type::Text, ..expr.clone() })
}

/// What may be read above an aggregation.
struct Grouped<'a> {
    scope: &'a Scope<'a>,
    groups: &'a [Expr],
    sets: &'a [Vec<usize>],
    aggregates: Vec<AggregateExpr>,
    /// Columns that were taken because their relation's key is grouped by.
    notices: Vec<String>,
}

impl Grouped<'_> {
    fn rewrite(&mut self, expr: &mut Expr, pending: &mut Vec<super::subquery::Pending>) -> Result<()> {
        if let Some(at) = self.groups.iter().position(|group| is_group(group, expr)) {
            *expr = Expr { position: expr.position, ..Expr::column(at, self.groups[at].ty.clone()) };
            return Ok(());
        }
        match marks::reference(expr) {
            Some(Ref::Aggregate(n)) if n < GROUPINGS => {
                *expr = Expr::column(self.groups.len() + n, expr.ty.clone());
                return Ok(());
            }
            Some(Ref::Subquery(n)) => return self.rewrite_subquery(n, pending),
            Some(Ref::Local(column)) => {
                let at = self.column(column, &expr.ty, expr, None)?;
                *expr = Expr { position: expr.position, ..Expr::column(at, expr.ty.clone()) };
                return Ok(());
            }
            _ => {}
        }
        // `document->'name'` names a field to the user.
        if let ExprKind::Call { function, args } = &expr.kind
            && function.name == "->"
            && let [document, Expr { kind: ExprKind::Literal(Datum::Text(key)), .. }] = &args[..]
            && let Some(Ref::Local(column)) = marks::reference(document)
            && self.scope.relations.iter().any(|relation| relation.open == Some(column))
        {
            self.column(column, &Type::Json, expr, Some(&**key))?;
        }
        let mut result = Ok(());
        expr.for_each_child_mut(&mut |child| {
            if result.is_ok() {
                result = self.rewrite(child, pending);
            }
        });
        result
    }

    /// A column that is neither grouped nor aggregated: an arbitrary value if the groups determine it.
    fn column(&mut self, column: usize, ty: &Type, expr: &Expr, field: Option<&str>) -> Result<usize> {
        if let Some(at) = self.groups.iter().position(|group| marks::reference(group) == Some(Ref::Local(column))) {
            return Ok(at);
        }
        let groups = self.groups;
        let known = |k: usize| groups.iter().any(|group| marks::reference(group) == Some(Ref::Local(k)));
        if self.sets.len() == 1 && determined(self.scope, column, &known) {
            let name = self.column_name(column);
            if !self.notices.contains(&name) {
                self.notices.push(name);
            }
            let any = AggregateExpr {
                function: AggregateFunction::AnyValue,
                args: vec![Expr::column(column, ty.clone())],
                distinct: false,
                order_by: vec![],
                filter: None,
                ty: ty.clone(),
            };
            let n = match self.aggregates.iter().position(|known| same_aggregate(known, &any)) {
                Some(n) => n,
                None => {
                    self.aggregates.push(any);
                    self.aggregates.len() - 1
                }
            };
            return Ok(self.groups.len() + n);
        }
        let mut name = self.column_name(column);
        if let (Some(field), Some((relation, _))) = (field, name.rsplit_once('.')) {
            name = format!("{relation}.{field}");
        }
        Err(SqlError::new(
            "42803",
            format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"),
        )
        .at(expr.position.map(|p| p as usize)))
    }

    fn column_name(&self, column: usize) -> String {
        let found = self.scope.columns.iter().find(|c| marks::reference(&c.expr) == Some(Ref::Local(column)));
        let Some(found) = found else { return "?column?".into() };
        match found.relation.and_then(|r| self.scope.relations[r].name.as_deref()) {
            Some(relation) => format!("{relation}.{}", found.name),
            None => found.name.clone(),
        }
    }

    /// A subquery above the aggregation refers to grouped columns only.
    fn rewrite_subquery(&mut self, n: usize, pending: &mut Vec<super::subquery::Pending>) -> Result<()> {
        let mut operands = std::mem::take(&mut pending[n].operands);
        for operand in &mut operands {
            self.rewrite(operand, pending)?;
        }
        let plan = pending[n].plan.clone();
        let mut error = None;
        let mut aggregated = Vec::new();
        for (level, column, ty) in edit::outer_refs(&plan) {
            if level != 1 || column >= OPERANDS {
                continue;
            }
            match self.column(column, &ty, &Expr::column(column, ty.clone()), None) {
                Ok(at) => aggregated.push((column, at)),
                Err(_) => {
                    let name = self.column_name(column);
                    let message = format!("subquery uses ungrouped column \"{name}\" from outer query");
                    error = Some(SqlError::new("42803", message));
                }
            }
        }
        if let Some(error) = error {
            return Err(error);
        }
        let plan = edit::map_exprs(&plan, &mut |expr| {
            marks::map_refs(expr, &mut |r| match r {
                Ref::Outer { level: 1, column } => match aggregated.iter().find(|(from, _)| *from == column) {
                    Some((_, at)) => Ref::Outer { level: 1, column: *at },
                    None => r,
                },
                other => other,
            });
        });
        pending[n] = super::subquery::Pending { plan, operands };
        Ok(())
    }
}

fn group_name(scope: &Scope<'_>, group: &Expr) -> String {
    let by_column = scope.columns.iter().find(|c| marks::same(&c.expr, group)).map(|c| c.name.clone());
    by_column.unwrap_or_else(|| match &group.kind {
        ExprKind::Call { function, args } if function.name == "->" => match args.get(1).map(|a| &a.kind) {
            Some(ExprKind::Literal(Datum::Text(key))) => key.to_string(),
            _ => "?column?".into(),
        },
        ExprKind::Call { function, .. } => function.name.to_string(),
        _ => "?column?".into(),
    })
}

/// PostgreSQL's name of an aggregate's column.
pub(crate) fn aggregate_name(function: AggregateFunction) -> &'static str {
    use AggregateFunction::*;
    match function {
        CountStar | Count => "count",
        Sum => "sum",
        Avg => "avg",
        Min => "min",
        Max => "max",
        BoolAnd => "bool_and",
        BoolOr => "bool_or",
        StringAgg => "string_agg",
        ArrayAgg => "array_agg",
        JsonAgg => "json_agg",
        JsonObjectAgg => "json_object_agg",
        StddevPop => "stddev_pop",
        StddevSamp => "stddev_samp",
        VarPop => "var_pop",
        VarSamp => "var_samp",
        PercentileCont => "percentile_cont",
        PercentileDisc => "percentile_disc",
        Mode => "mode",
        BitAnd => "bit_and",
        BitOr => "bit_or",
        BitXor => "bit_xor",
        CovarPop => "covar_pop",
        CovarSamp => "covar_samp",
        Corr => "corr",
        RegrCount => "regr_count",
        RegrAvgX => "regr_avgx",
        RegrAvgY => "regr_avgy",
        RegrSxx => "regr_sxx",
        RegrSyy => "regr_syy",
        RegrSxy => "regr_sxy",
        RegrSlope => "regr_slope",
        RegrIntercept => "regr_intercept",
        RegrR2 => "regr_r2",
        AnyValue => "any_value",
    }
}
