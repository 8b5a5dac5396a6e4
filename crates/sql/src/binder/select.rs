//! One SELECT, from FROM to its output rows.
//!
//! Expressions are bound before the operators below them exist; what they wait for stands in
//! `State`. The order of the operators is PostgreSQL's order of evaluation:
//! FROM, WHERE, GROUP BY, HAVING, windows, set-returning functions, SELECT list, DISTINCT, ORDER BY.

use std::sync::Arc;

use sqlparser::ast::{self, SelectItem, SelectItemQualifiedWildcardKind};

use super::call::function_name;
use super::edit;
use super::group::Grouping;
use super::marks::{self, Ref};
use super::order::SortTarget;
use super::query::Ordered;
use super::scope::{self, Bound, Origin, Scope};
use super::subquery::Pending;
use super::{Binder, MAX_COLUMNS};
use crate::error::{Result, SqlError};
use crate::expr::Expr;
use crate::parser::fold;
use crate::plan::{AggregateExpr, Field, Plan, SortKey, TableFunction, WindowExpr};
use crate::types::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clause {
    Select,
    Where,
    GroupBy,
    Having,
    OrderBy,
    JoinOn,
    From,
    Limit,
    Values,
    Filter,
    Window,
    AggregateArgument,
}

/// What a SELECT's expressions wait for, numbered by `marks::Ref`.
#[derive(Debug, Default)]
pub(super) struct State {
    pub aggregates: Vec<AggregateExpr>,
    pub groupings: Vec<Vec<Expr>>,
    pub windows: Vec<WindowExpr>,
    pub subqueries: Vec<Pending>,
    pub set_returning: Vec<SetReturning>,
}

#[derive(Debug)]
pub(super) struct SetReturning {
    pub function: TableFunction,
    pub args: Vec<Expr>,
    pub ty: Type,
}

impl State {
    pub fn add_subquery(&mut self, pending: Pending, ty: Type) -> Expr {
        self.subqueries.push(pending);
        Ref::Subquery(self.subqueries.len() - 1).expr(ty)
    }

    pub fn add_window(&mut self, window: WindowExpr) -> Expr {
        let ty = window.ty.clone();
        self.windows.push(window);
        Ref::Window(self.windows.len() - 1).expr(ty)
    }

    pub fn add_set_returning(&mut self, function: TableFunction, args: Vec<Expr>, ty: Type) -> Expr {
        self.set_returning.push(SetReturning { function, args, ty: ty.clone() });
        Ref::SetReturning(self.set_returning.len() - 1).expr(ty)
    }
}

/// Where an expression stands.
pub(super) struct Env<'e, 's> {
    pub scope: &'e Scope<'s>,
    pub clause: Clause,
    pub state: &'e mut State,
    /// The SELECT list, for T6.
    pub aliases: Option<&'e [SelectItem]>,
    pub windows: &'e [ast::NamedWindowDefinition],
}

impl<'e, 's> Env<'e, 's> {
    pub fn new(scope: &'e Scope<'s>, clause: Clause, state: &'e mut State) -> Self {
        Env { scope, clause, state, aliases: None, windows: &[] }
    }

    /// The same place in another clause.
    pub fn within(&mut self, clause: Clause) -> Env<'_, 's> {
        Env { scope: self.scope, clause, state: self.state, aliases: self.aliases, windows: self.windows }
    }

    pub fn without_aliases(&mut self) -> Env<'_, 's> {
        Env { scope: self.scope, clause: self.clause, state: self.state, aliases: None, windows: self.windows }
    }
}

/// A column of the output.
#[derive(Debug)]
pub(super) struct Item {
    pub name: String,
    pub expr: Expr,
    pub origin: Origin,
}

impl Binder<'_> {
    pub(super) fn bind_select(
        &mut self,
        select: &ast::Select,
        order_by: &[ast::OrderByExpr],
        parent: Option<&Scope<'_>>,
    ) -> Result<Ordered> {
        refuse_parts(select)?;
        let (mut plan, scope) = self.bind_from(&select.from, parent)?;
        let mut state = State::default();
        if let Some(condition) = &select.selection {
            plan = self.bind_where(plan, condition, select, &scope, &mut state)?;
        }
        let mut env = Env { windows: &select.named_window, ..Env::new(&scope, Clause::Select, &mut state) };
        let mut items = self.bind_items(&select.projection, &mut env)?;
        let grouping = self.bind_group_by(&select.group_by, &items, &mut env.within(Clause::GroupBy))?;
        let mut having = match &select.having {
            Some(having) => {
                let expr = self.bind_expr(having, &mut env.within(Clause::Having))?;
                Some(self.boolean(expr, "HAVING")?)
            }
            None => None,
        };
        let mut targets = self.bind_order(order_by, &items, &mut env.within(Clause::OrderBy))?;
        let mut distinct_on = self.bind_distinct_on(select.distinct.as_ref(), &items, &mut env)?;

        let aggregated =
            grouping.present || having.is_some() || !state.aggregates.is_empty() || !state.groupings.is_empty();
        let key = self.output_key(&scope, &items, aggregated.then_some(&grouping), &state);
        if aggregated {
            let mut exprs: Vec<&mut Expr> = items.iter_mut().map(|item| &mut item.expr).collect();
            exprs.extend(having.iter_mut());
            exprs.extend(targets.iter_mut().filter_map(SortTarget::expr_mut));
            exprs.extend(distinct_on.iter_mut().filter_map(SortTarget::expr_mut));
            plan = self.aggregate(plan, &scope, grouping, &mut exprs, &mut state)?;
        }
        if let Some(mut having) = having {
            plan = self.attach(plan, &mut [&mut having], &state)?;
            plan = edit::filter(plan, vec![having]);
        }
        let mut exprs: Vec<&mut Expr> = items.iter_mut().map(|item| &mut item.expr).collect();
        exprs.extend(targets.iter_mut().filter_map(SortTarget::expr_mut));
        exprs.extend(distinct_on.iter_mut().filter_map(SortTarget::expr_mut));
        plan = self.windows(plan, &mut exprs, &mut state)?;
        plan = self.multiply(plan, &mut exprs, &mut state)?;
        plan = self.attach(plan, &mut exprs, &state)?;
        self.output(plan, items, targets, select.distinct.as_ref(), distinct_on, key)
    }

    // ---- WHERE ---------------------------------------------------------------------------------

    /// Plain conditions first, then the semi-joins, which see fewer rows.
    fn bind_where(
        &mut self,
        mut plan: Arc<Plan>,
        condition: &ast::Expr,
        select: &ast::Select,
        scope: &Scope<'_>,
        state: &mut State,
    ) -> Result<Arc<Plan>> {
        let mut plain = Vec::new();
        let mut joins = Vec::new();
        for conjunct in conjuncts(condition) {
            if is_semi_join(conjunct) { joins.push(conjunct) } else { plain.push(conjunct) }
        }
        let width = plan.fields().len();
        let mut filters = Vec::new();
        for conjunct in plain {
            filters.push(self.where_condition(conjunct, select, scope, state)?);
        }
        let (mut simple, with_subqueries): (Vec<_>, Vec<_>) = filters.into_iter().partition(no_subquery);
        plan = edit::filter(plan, std::mem::take(&mut simple));
        for mut filter in with_subqueries {
            plan = self.attach(plan, &mut [&mut filter], state)?;
            plan = edit::filter(plan, vec![filter]);
        }
        for conjunct in joins {
            let mut env = Env::new(scope, Clause::Where, state);
            plan = match self.semi_join(&plan, conjunct, &mut env).map_err(|e| e.at(self.position_of(conjunct)))? {
                Some(joined) => joined,
                None => {
                    let mut filter = self.where_condition(conjunct, select, scope, state)?;
                    let plan = self.attach(plan, &mut [&mut filter], state)?;
                    edit::filter(plan, vec![filter])
                }
            };
        }
        let kept: Vec<usize> = (0..width).collect();
        Ok(if plan.fields().len() == width { plan } else { edit::keep(plan, &kept) })
    }

    fn where_condition(
        &mut self,
        conjunct: &ast::Expr,
        select: &ast::Select,
        scope: &Scope<'_>,
        state: &mut State,
    ) -> Result<Expr> {
        let mut env = Env { aliases: Some(&select.projection), ..Env::new(scope, Clause::Where, state) };
        let expr = self.bind_expr(conjunct, &mut env)?;
        self.boolean(expr, "WHERE")
    }

    // ---- SELECT list ---------------------------------------------------------------------------

    fn bind_items(&mut self, projection: &[SelectItem], env: &mut Env<'_, '_>) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(ast) => items.push(self.bind_item(ast, None, env)?),
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(self.bind_item(expr, Some(fold(alias)), env)?)
                }
                SelectItem::ExprWithAliases { .. } => return Err(SqlError::unsupported("several aliases")),
                SelectItem::Wildcard(options) => {
                    refuse_wildcard_options(options)?;
                    if env.scope.relations.is_empty() {
                        return Err(SqlError::syntax("SELECT * with no tables specified is not valid")
                            .at(self.at(options.wildcard_token.0.span)));
                    }
                    items.extend(wildcard_items(scope::wildcard(env.scope, None)));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    refuse_wildcard_options(options)?;
                    let columns = self.relation_columns(name, env)?;
                    items.extend(wildcard_items(columns));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    return Err(SqlError::unsupported("expansion of a composite value"));
                }
            }
            if items.len() > MAX_COLUMNS {
                return Err(SqlError::new("54011", format!("target lists can have at most {MAX_COLUMNS} entries")));
            }
        }
        Ok(items)
    }

    fn bind_item(&mut self, ast: &ast::Expr, alias: Option<String>, env: &mut Env<'_, '_>) -> Result<Item> {
        let expr = self.bind_expr(ast, env)?;
        let origin = self.origin(ast, env);
        let name = alias.or_else(|| output_name(ast)).unwrap_or_else(|| "?column?".into());
        Ok(Item { name, expr, origin })
    }

    /// The columns of `relation.*`, of this query or one around it.
    pub(super) fn relation_columns(
        &mut self,
        name: &ast::ObjectName,
        env: &Env<'_, '_>,
    ) -> Result<Vec<(String, Expr, Origin)>> {
        let parts = super::name_parts(name)?;
        let position = self.position(super::name_location(name));
        let (db, relation) = match &parts[..] {
            [relation] => (None, relation),
            [db, relation] => (Some(db.as_str()), relation),
            _ => return Err(SqlError::syntax("improper qualified name (too many dotted names)").at(position)),
        };
        let Some((at, level, scope)) = env.scope.relation(db, relation)? else {
            let message = format!("missing FROM-clause entry for table \"{relation}\"");
            return Err(SqlError::new("42P01", message).at(position));
        };
        let mut columns = scope::wildcard(scope, Some(at));
        columns.iter_mut().for_each(|(_, expr, _)| marks::raise(expr, level));
        Ok(columns)
    }

    // ---- above the rows ------------------------------------------------------------------------

    /// Window functions see the rows of the groups.
    fn windows(&mut self, plan: Arc<Plan>, targets: &mut [&mut Expr], state: &mut State) -> Result<Arc<Plan>> {
        if state.windows.is_empty() {
            return Ok(plan);
        }
        let mut windows = std::mem::take(&mut state.windows);
        let mut inside: Vec<&mut Expr> = Vec::new();
        for window in &mut windows {
            inside.extend(window.args.iter_mut());
            inside.extend(window.filter.iter_mut());
            inside.extend(window.partition_by.iter_mut());
            inside.extend(window.order_by.iter_mut().map(|key| &mut key.expr));
        }
        let plan = self.attach(plan, &mut inside, state)?;
        let width = plan.fields().len();
        for target in targets.iter_mut() {
            marks::map_refs(target, &mut |r| match r {
                Ref::Window(n) => Ref::Local(width + n),
                other => other,
            });
        }
        let mut fields = plan.fields().to_vec();
        fields.extend(windows.iter().map(|w| Field::new(window_name(w), w.ty.clone())));
        Ok(Arc::new(Plan::Window { input: plan, exprs: windows, fields }))
    }

    /// Set-returning functions of the SELECT list: arrays side by side, anything else alone.
    fn multiply(&mut self, plan: Arc<Plan>, targets: &mut [&mut Expr], state: &mut State) -> Result<Arc<Plan>> {
        if state.set_returning.is_empty() {
            return Ok(plan);
        }
        let mut calls = std::mem::take(&mut state.set_returning);
        if calls.len() > 1 {
            for call in &mut calls {
                self.as_array(call)?;
            }
        }
        let function = calls[0].function;
        let mut inside: Vec<&mut Expr> = calls.iter_mut().flat_map(|call| call.args.iter_mut()).collect();
        let nested = inside.iter().any(|e| {
            let mut found = false;
            marks::for_each_ref(e, &mut |r| found |= matches!(r, Ref::SetReturning(_)));
            found
        });
        if nested {
            return Err(SqlError::unsupported("a set-returning function inside another one"));
        }
        let plan = self.attach(plan, &mut inside, state)?;
        let width = plan.fields().len();
        for target in targets.iter_mut() {
            marks::map_refs(target, &mut |r| match r {
                Ref::SetReturning(n) => Ref::Local(width + n),
                other => other,
            });
        }
        let mut fields = plan.fields().to_vec();
        fields.extend(calls.iter().map(|call| Field::new("unnest", call.ty.clone())));
        let args = calls.into_iter().flat_map(|call| call.args).collect();
        Ok(Arc::new(Plan::FlatMap { input: plan, function, args, outer: false, ordinality: false, fields }))
    }

    /// Several set-returning functions run in lockstep, as `unnest` of several arrays does.
    fn as_array(&mut self, call: &mut SetReturning) -> Result<()> {
        let whole = match (call.function, call.args.len()) {
            (TableFunction::Unnest, 1) => return Ok(()),
            (TableFunction::GenerateSubscripts, _) => "[#]",
            (TableFunction::ExpandArray, _) => "[x, n]",
            (TableFunction::JsonArrayElements, _) => "[elements]",
            (TableFunction::JsonArrayElementsText, _) => "[elements_text]",
            (TableFunction::GenerateSeries, _) => "[series]",
            (TableFunction::StringToTable, 2) => "[strings]",
            (TableFunction::JsonPathQuery, 2) => "[path]",
            _ => {
                return Err(SqlError::unsupported("more than one set-returning function in a SELECT list")
                    .with_hint("Read them in FROM."));
            }
        };
        let array = self.call(whole, std::mem::take(&mut call.args))?;
        call.function = TableFunction::Unnest;
        call.args.push(array);
        Ok(())
    }

    /// SELECT list, DISTINCT, and the columns that only ORDER BY needs.
    fn output(
        &mut self,
        plan: Arc<Plan>,
        items: Vec<Item>,
        targets: Vec<SortTarget>,
        distinct: Option<&ast::Distinct>,
        distinct_on: Vec<SortTarget>,
        key: Vec<usize>,
    ) -> Result<Ordered> {
        let visible = items.len();
        let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
        let origins = items.iter().map(|item| item.origin).collect();
        let mut fields: Vec<Field> = items.iter().map(|i| Field::new(i.name.clone(), i.expr.ty.clone())).collect();
        let mut exprs: Vec<Expr> = items.into_iter().map(|item| item.expr).collect();
        let mut column = |expr: Expr| -> usize {
            if let Some(at) = exprs.iter().position(|known| marks::same(known, &expr)) {
                return at;
            }
            fields.push(Field::new("order", expr.ty.clone()));
            exprs.push(expr);
            exprs.len() - 1
        };
        let order: Vec<(usize, bool, bool)> = targets
            .into_iter()
            .map(|target| (target.column(&mut column), target.descending, target.nulls_first))
            .collect();
        let on: Vec<usize> = distinct_on.into_iter().map(|target| target.column(&mut column)).collect();
        if matches!(distinct, Some(ast::Distinct::Distinct)) && exprs.len() > visible {
            let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
            return Err(SqlError::new("42P10", message));
        }
        let sort_key = |(n, descending, nulls_first): (usize, bool, bool)| SortKey {
            expr: Expr::column(n, fields[n].ty.clone()),
            descending,
            nulls_first,
        };
        let order: Vec<SortKey> = order.into_iter().map(sort_key).collect();
        let on_exprs: Vec<Expr> = on.iter().map(|n| Expr::column(*n, fields[*n].ty.clone())).collect();
        let mut plan = edit::project(plan, exprs, fields);
        let mut key = key;
        match distinct {
            None | Some(ast::Distinct::All) => {}
            Some(ast::Distinct::Distinct) => {
                plan = Arc::new(Plan::Distinct { input: plan });
                key = vec![];
            }
            Some(ast::Distinct::On(_)) => {
                check_distinct_on(&on_exprs, &order)?;
                plan = Arc::new(Plan::TopN {
                    input: plan,
                    partition: on_exprs,
                    order: order.clone(),
                    offset: 0,
                    limit: Some(1),
                });
            }
        }
        Ok(Ordered { bound: Bound { plan, names, origins, key, open: None }, order })
    }

    /// The output columns that determine a row, where that is known.
    fn output_key(&self, scope: &Scope<'_>, items: &[Item], grouping: Option<&Grouping>, state: &State) -> Vec<usize> {
        let at = |wanted: &Expr| items.iter().position(|item| marks::same(&item.expr, wanted));
        if !state.set_returning.is_empty() {
            return vec![];
        }
        let columns: Option<Vec<usize>> = match grouping {
            Some(grouping) if grouping.sets.len() == 1 => grouping.groups.iter().map(at).collect(),
            Some(_) => None,
            None => match &scope.relations[..] {
                [relation] if !relation.key.is_empty() => relation
                    .key
                    .iter()
                    .map(|k| items.iter().position(|item| marks::reference(&item.expr) == Some(Ref::Local(*k))))
                    .collect(),
                _ => None,
            },
        };
        columns.unwrap_or_default()
    }
}

fn wildcard_items(columns: Vec<(String, Expr, Origin)>) -> impl Iterator<Item = Item> {
    columns.into_iter().map(|(name, expr, origin)| Item { name, expr, origin })
}

/// DISTINCT ON keeps the first row in the order, so the order must begin with its expressions.
fn check_distinct_on(on: &[Expr], order: &[SortKey]) -> Result<()> {
    let leading = &order[..order.len().min(on.len())];
    if leading.iter().all(|key| on.iter().any(|e| marks::same(e, &key.expr))) {
        return Ok(());
    }
    Err(SqlError::new("42P10", "SELECT DISTINCT ON expressions must match initial ORDER BY expressions"))
}

fn no_subquery(expr: &Expr) -> bool {
    let mut found = false;
    marks::for_each_ref(expr, &mut |r| found |= matches!(r, Ref::Subquery(_)));
    !found
}

/// The operands of a chain of ANDs.
pub(super) fn conjuncts(ast: &ast::Expr) -> Vec<&ast::Expr> {
    let mut found = Vec::new();
    let mut stack = vec![ast];
    while let Some(ast) = stack.pop() {
        match ast {
            ast::Expr::BinaryOp { left, op: ast::BinaryOperator::And, right } => {
                stack.push(right);
                stack.push(left);
            }
            ast::Expr::Nested(inner) => match &**inner {
                ast::Expr::BinaryOp { op: ast::BinaryOperator::And, .. } => stack.push(inner),
                _ => found.push(ast),
            },
            other => found.push(other),
        }
    }
    found
}

fn is_semi_join(ast: &ast::Expr) -> bool {
    use ast::Expr::*;
    match ast {
        Nested(inner) => is_semi_join(inner),
        UnaryOp { op: ast::UnaryOperator::Not, expr } => is_semi_join(expr),
        Exists { .. } | In { target: ast::InTarget::Subquery(_), .. } => true,
        _ => false,
    }
}

fn refuse_parts(select: &ast::Select) -> Result<()> {
    let ast::Select {
        select_token: _,
        optimizer_hints: _,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window: _,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    let refused = [
        (select_modifiers.is_some(), "a modifier of SELECT"),
        (top.is_some(), "TOP"),
        (exclude.is_some(), "EXCLUDE"),
        (into.is_some(), "SELECT INTO"),
        (!lateral_views.is_empty(), "LATERAL VIEW"),
        (prewhere.is_some(), "PREWHERE"),
        (!connect_by.is_empty(), "CONNECT BY"),
        (!cluster_by.is_empty(), "CLUSTER BY"),
        (!distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!sort_by.is_empty(), "SORT BY"),
        (qualify.is_some(), "QUALIFY"),
        (value_table_mode.is_some(), "SELECT AS"),
        (*flavor != ast::SelectFlavor::Standard, "FROM before SELECT"),
    ];
    match refused.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}

fn refuse_wildcard_options(options: &ast::WildcardAdditionalOptions) -> Result<()> {
    let ast::WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let any = opt_ilike.is_some()
        || opt_exclude.is_some()
        || opt_except.is_some()
        || opt_replace.is_some()
        || opt_rename.is_some()
        || opt_alias.is_some();
    if any { Err(SqlError::unsupported("* with options")) } else { Ok(()) }
}

/// The name PostgreSQL gives a column without alias.
pub(super) fn output_name(ast: &ast::Expr) -> Option<String> {
    use ast::Expr::*;
    match ast {
        Identifier(ident) => Some(fold(ident)),
        CompoundIdentifier(idents) => idents.last().map(fold),
        CompoundFieldAccess { root, access_chain } => access_chain
            .iter()
            .rev()
            .find_map(|access| match access {
                ast::AccessExpr::Dot(Identifier(ident)) => Some(fold(ident)),
                _ => None,
            })
            .or_else(|| output_name(root)),
        Nested(inner) | Collate { expr: inner, .. } => output_name(inner),
        Function(function) => function_name(&function.name).ok(),
        Cast { expr, data_type, .. } => output_name(expr).or_else(|| Some(type_name(data_type))),
        TypedString(typed) => Some(type_name(&typed.data_type)),
        Interval(_) => Some("interval".into()),
        Case { else_result, .. } => else_result.as_deref().and_then(output_name).or_else(|| Some("case".into())),
        Exists { .. } => Some("exists".into()),
        Array(_) => Some("array".into()),
        Tuple(_) => Some("row".into()),
        Extract { .. } => Some("extract".into()),
        Ceil { .. } => Some("ceil".into()),
        Floor { .. } => Some("floor".into()),
        Position { .. } => Some("position".into()),
        Substring { .. } => Some("substring".into()),
        Overlay { .. } => Some("overlay".into()),
        Trim { trim_where, .. } => Some(
            match trim_where {
                Some(ast::TrimWhereField::Leading) => "ltrim",
                Some(ast::TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            }
            .into(),
        ),
        AtTimeZone { .. } => Some("timezone".into()),
        Value(value) => match value.value {
            ast::Value::Boolean(_) => Some("bool".into()),
            _ => None,
        },
        Subquery(query) => match &*query.body {
            ast::SetExpr::Select(select) => match &select.projection[..] {
                [SelectItem::UnnamedExpr(expr)] => output_name(expr),
                [SelectItem::ExprWithAlias { alias, .. }] => Some(fold(alias)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// PostgreSQL's internal name of a type.
fn type_name(ty: &ast::DataType) -> String {
    use ast::DataType::*;
    match ty {
        Bool | Boolean => "bool".into(),
        SmallInt(_) | Int2(_) => "int2".into(),
        Int(_) | Int4(_) | Integer(_) => "int4".into(),
        BigInt(_) | Int8(_) => "int8".into(),
        Real | Float4 => "float4".into(),
        Float8 | DoublePrecision | Double(_) | Float(_) => "float8".into(),
        Numeric(_) | Decimal(_) | Dec(_) => "numeric".into(),
        Varchar(_) | CharacterVarying(_) | CharVarying(_) => "varchar".into(),
        Char(_) | Character(_) => "bpchar".into(),
        Timestamp(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => "timestamptz".into(),
        Timestamp(..) => "timestamp".into(),
        Time(..) => "time".into(),
        Array(ast::ArrayElemTypeDef::SquareBracket(element, _)) => type_name(element),
        Custom(name, _) => name.0.last().map(|part| part.to_string().to_ascii_lowercase()).unwrap_or_default(),
        other => other.to_string().to_ascii_lowercase(),
    }
}

fn window_name(window: &WindowExpr) -> &'static str {
    use crate::plan::WindowFunction::*;
    match window.function {
        RowNumber => "row_number",
        Rank => "rank",
        DenseRank => "dense_rank",
        PercentRank => "percent_rank",
        CumeDist => "cume_dist",
        Ntile => "ntile",
        Lag => "lag",
        Lead => "lead",
        FirstValue => "first_value",
        LastValue => "last_value",
        NthValue => "nth_value",
        Aggregate(function) => super::group::aggregate_name(function),
    }
}
