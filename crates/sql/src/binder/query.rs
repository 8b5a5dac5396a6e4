//! Queries: WITH, set operations, VALUES, and what stands around a SELECT.

use std::sync::Arc;

use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier};

use super::edit;
use super::order::order_keys;
use super::scope::{Bound, Origin, Scope};
use super::select::{Clause, Env, State};
use super::{Binder, Cte};
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::parser::fold;
use crate::plan::{Field, Plan, SetOperation, SortKey};
use crate::types::Type;

/// A query's rows, and the order they would have. The plan's first columns are the output
/// (`bound.names`), further ones exist for the order.
pub(super) struct Ordered {
    pub bound: Bound,
    pub order: Vec<SortKey>,
}

impl Ordered {
    /// Only the output: in a subquery the order has no meaning.
    pub fn without_order(self) -> Bound {
        let mut bound = self.bound;
        bound.plan = edit::keep(bound.plan, &(0..bound.names.len()).collect::<Vec<_>>());
        bound
    }
}

fn depth(scope: Option<&Scope<'_>>) -> usize {
    let (mut at, mut depth) = (scope, 0);
    while let Some(scope) = at {
        depth += 1;
        at = scope.parent;
    }
    depth
}

impl Binder<'_> {
    /// The statement's query: its order and limit are how it is presented.
    pub(super) fn bind_top(&mut self, query: &ast::Query) -> Result<Bound> {
        let ctes = self.ctes.len();
        let (ordered, limit, offset) = self.bind_parts(query, None)?;
        self.ctes.truncate(ctes);
        let Ordered { bound, order } = ordered;
        let ordered = Ordered { bound: self.known(bound)?, order };
        self.present(ordered, limit, offset)
    }

    /// A query inside another one.
    pub(super) fn bind_query(&mut self, query: &ast::Query, parent: Option<&Scope<'_>>) -> Result<Ordered> {
        stacker::maybe_grow(256 * 1024, 4 * 1024 * 1024, || {
            let ctes = self.ctes.len();
            let (ordered, limit, offset) = self.bind_parts(query, parent)?;
            self.ctes.truncate(ctes);
            self.limit_rows(ordered, limit, offset)
        })
    }

    fn bind_parts(
        &mut self,
        query: &ast::Query,
        parent: Option<&Scope<'_>>,
    ) -> Result<(Ordered, Option<Expr>, Option<Expr>)> {
        let ast::Query {
            with,
            body,
            order_by,
            limit_clause: _,
            fetch: _,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let refused = [
            (!locks.is_empty(), "FOR UPDATE/SHARE"),
            (for_clause.is_some(), "FOR XML/JSON"),
            (settings.is_some(), "SETTINGS"),
            (format_clause.is_some(), "FORMAT"),
            (!pipe_operators.is_empty(), "a pipe operator"),
        ];
        if let Some((_, what)) = refused.iter().find(|(present, _)| *present) {
            return Err(SqlError::unsupported(what));
        }
        if let Some(with) = with {
            self.bind_with(with, parent)?;
        }
        let keys = order_keys(order_by.as_ref())?;
        let (limit, offset) = self.bind_limit(query)?;
        let ordered = self.bind_body(body, keys, parent)?;
        match limit {
            Some(limit) if query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties) => {
                Ok((self.with_ties(ordered, limit, offset)?, None, None))
            }
            limit => Ok((ordered, limit, offset)),
        }
    }

    fn bind_with(&mut self, with: &ast::With, parent: Option<&Scope<'_>>) -> Result<()> {
        let ast::With { with_token: _, recursive, cte_tables } = with;
        let mut previous: Option<String> = None;
        let first = self.ctes.len();
        for cte in cte_tables {
            let ast::Cte { alias, query, from, materialized: _, closing_paren_token: _ } = cte;
            if from.is_some() {
                return Err(SqlError::unsupported("FROM after a common table expression"));
            }
            let name = fold(&alias.name);
            let position = self.at(alias.name.span);
            if self.ctes[first..].iter().any(|known| known.name == name) {
                let message = format!("WITH query name \"{name}\" specified more than once");
                return Err(SqlError::new("42712", message).at(position));
            }
            self.count_relation()?;
            if *recursive {
                self.ctes.push(Cte { name: name.clone(), bound: None, depth: depth(parent) });
                if let Some(bound) = self.bind_recursive(query, alias, parent).map_err(|e| e.at(position))? {
                    self.ctes.pop();
                    self.ctes.push(Cte { name: name.clone(), bound: Some(bound), depth: depth(parent) });
                    previous = Some(name);
                    continue;
                }
            }
            // T5: a CTE that selects from nothing reads the one before it.
            let rewritten = crate::rewrite::implicit_from(query, previous.as_deref());
            if let (Some(_), Some(before)) = (&rewritten, &previous) {
                self.notice(crate::rewrite::reads_previous(&name, before, position));
            }
            let ordered = self.bind_query(rewritten.as_ref().unwrap_or(query), parent)?;
            if *recursive {
                self.ctes.pop();
            }
            let mut bound = self.known(ordered.without_order())?;
            rename(&mut bound, alias)?;
            self.check_weight(&bound.plan)?;
            self.ctes.push(Cte { name: name.clone(), bound: Some(bound), depth: depth(parent) });
            previous = Some(name);
        }
        Ok(())
    }

    /// A CTE by its name, seen from `parent`'s queries.
    pub(super) fn cte(&mut self, name: &str, parent: Option<&Scope<'_>>) -> Result<Option<Bound>> {
        let Some(cte) = self.ctes.iter().rev().find(|cte| cte.name == name) else { return Ok(None) };
        let Some(bound) = &cte.bound else {
            let message = format!(
                "recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term"
            );
            return Err(SqlError::new("42P19", message));
        };
        let mut bound = bound.clone();
        let deeper = depth(parent).saturating_sub(cte.depth);
        if deeper > 0 {
            bound.plan = edit::shift_levels(&bound.plan, 0, deeper as isize);
        }
        Ok(Some(bound))
    }

    pub(super) fn bind_body(
        &mut self,
        body: &SetExpr,
        keys: &[ast::OrderByExpr],
        parent: Option<&Scope<'_>>,
    ) -> Result<Ordered> {
        match body {
            SetExpr::Select(select) => self.bind_select(select, keys, parent),
            SetExpr::Query(query) => {
                let bound = self.bind_query(query, parent)?;
                if keys.is_empty() {
                    return Ok(bound);
                }
                let bound = bound.without_order();
                let order = self.order_output(keys, &bound.names, &bound.plan)?;
                Ok(Ordered { bound, order })
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let bound = self.bind_set_operation(left, op, set_quantifier, right, parent)?;
                let order = self.order_output(keys, &bound.names, &bound.plan)?;
                Ok(Ordered { bound, order })
            }
            SetExpr::Values(values) => {
                let bound = self.bind_values(values, parent)?;
                let order = self.order_output(keys, &bound.names, &bound.plan)?;
                Ok(Ordered { bound, order })
            }
            SetExpr::Table(table) => {
                let bound = self.bind_table_statement(table, parent)?;
                let order = self.order_output(keys, &bound.names, &bound.plan)?;
                Ok(Ordered { bound, order })
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(SqlError::unsupported("data modification in a query")
                    .with_hint("Write through a MongoDB driver; SQL reads."))
            }
        }
    }

    fn bind_table_statement(&mut self, table: &ast::Table, parent: Option<&Scope<'_>>) -> Result<Bound> {
        let ast::Table { table_name, schema_name } = table;
        let Some(name) = table_name else { return Err(SqlError::syntax("TABLE needs a name")) };
        let parts: Vec<ast::Ident> = schema_name.iter().chain([name]).cloned().collect();
        Ok(self.bind_relation(&ast::ObjectName::from(parts), parent)?.0)
    }

    // ---- set operations ------------------------------------------------------------------------

    fn bind_set_operation(
        &mut self,
        left: &SetExpr,
        op: &SetOperator,
        quantifier: &SetQuantifier,
        right: &SetExpr,
        parent: Option<&Scope<'_>>,
    ) -> Result<Bound> {
        let (operation, name) = match op {
            SetOperator::Union => (SetOperation::Union, "UNION"),
            SetOperator::Intersect => (SetOperation::Intersect, "INTERSECT"),
            SetOperator::Except => (SetOperation::Except, "EXCEPT"),
            SetOperator::Minus => return Err(SqlError::unsupported("MINUS")),
        };
        let all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::None | SetQuantifier::Distinct => false,
            SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                return Err(SqlError::unsupported(format!("{name} BY NAME")));
            }
        };
        let mut sides = Vec::with_capacity(2);
        for side in [left, right] {
            self.count_relation()?;
            let bound = stacker::maybe_grow(256 * 1024, 4 * 1024 * 1024, || self.bind_body(side, &[], parent))?;
            sides.push(bound.without_order());
        }
        let (Some(right), Some(left)) = (sides.pop(), sides.pop()) else {
            return Err(SqlError::internal("a set operation without sides"));
        };
        if left.width() != right.width() {
            return Err(SqlError::syntax(format!("each {name} query must have the same number of columns")));
        }
        let types = left
            .plan
            .fields()
            .iter()
            .zip(right.plan.fields())
            .map(|(a, b)| self.common_type(&[a.ty.clone(), b.ty.clone()], name))
            .collect::<Result<Vec<_>>>()?;
        let (l, r) = (self.with_types(left.plan, &types)?, self.with_types(right.plan, &types)?);
        let fields: Vec<Field> = left.names.iter().zip(types).map(|(name, ty)| Field::new(name.clone(), ty)).collect();
        let origins = left.origins.iter().zip(&right.origins).map(|(a, b)| if a == b { *a } else { Origin::Any });
        Ok(Bound {
            plan: Arc::new(Plan::SetOp { operation, all, left: l, right: r, fields }),
            names: left.names.clone(),
            origins: origins.collect(),
            key: vec![],
            open: None,
        })
    }

    /// The plan with its columns converted; literals of a SELECT list in place.
    pub(super) fn with_types(&mut self, plan: Arc<Plan>, types: &[Type]) -> Result<Arc<Plan>> {
        if plan.fields().iter().zip(types).all(|(field, ty)| field.ty == *ty) {
            return Ok(plan);
        }
        let (input, exprs) = match &*plan {
            Plan::Project { input, exprs, .. } => (input.clone(), exprs.clone()),
            _ => (plan.clone(), edit::columns(&plan)),
        };
        // Columns that only an order needs keep their types.
        let converted = exprs
            .into_iter()
            .enumerate()
            .map(|(n, e)| match types.get(n) {
                Some(ty) => self.unified(e, ty),
                None => Ok(e),
            })
            .collect::<Result<Vec<_>>>()?;
        let fields =
            plan.fields().iter().zip(&converted).map(|(f, e)| Field::new(f.name.clone(), e.ty.clone())).collect();
        Ok(edit::project(input, converted, fields))
    }

    // ---- VALUES --------------------------------------------------------------------------------

    fn bind_values(&mut self, values: &ast::Values, parent: Option<&Scope<'_>>) -> Result<Bound> {
        let ast::Values { explicit_row: _, value_keyword: _, rows } = values;
        let scope = Scope::child_of(parent);
        let mut state = State::default();
        let width = rows.first().map_or(0, |row| row.content.len());
        let mut columns: Vec<Vec<Expr>> = vec![Vec::with_capacity(rows.len()); width];
        for row in rows {
            if row.content.len() != width {
                return Err(SqlError::syntax("VALUES lists must all be the same length"));
            }
            for (column, ast) in columns.iter_mut().zip(&row.content) {
                let mut env = Env::new(&scope, Clause::Values, &mut state);
                column.push(self.bind_expr(ast, &mut env)?);
            }
        }
        let mut fields = Vec::with_capacity(width);
        for (n, column) in columns.iter_mut().enumerate() {
            let name = format!("column{}", n + 1);
            // A lone row's literals may still take a type from a set operation around it.
            if column.iter().all(|e| e.ty == Type::Unknown && matches!(e.kind, ExprKind::Literal(_))) && rows.len() == 1
            {
                fields.push(Field::new(name, Type::Unknown));
                continue;
            }
            let (unified, ty) = self.unify(std::mem::take(column), "VALUES")?;
            *column = unified;
            fields.push(Field::new(name, ty));
        }
        let mut rows: Vec<Vec<Expr>> =
            (0..rows.len()).map(|r| columns.iter().map(|column| column[r].clone()).collect()).collect();
        let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
        let plan = match &mut rows[..] {
            [row] => {
                // One row is a projection, so that subqueries and outer columns are possible in it.
                let exprs = std::mem::take(row);
                let mut exprs = exprs;
                let plan = self.attach(edit::one_row(), &mut exprs.iter_mut().collect::<Vec<_>>(), &state)?;
                edit::project(plan, exprs, fields)
            }
            _ if !state.subqueries.is_empty() => {
                return Err(SqlError::unsupported("a subquery in VALUES of several rows"));
            }
            _ => Arc::new(Plan::Values { rows, fields }),
        };
        Ok(Bound { plan, origins: vec![Origin::Any; names.len()], names, key: vec![], open: None })
    }
}

/// `AS name (a, b)`: new names for the first columns.
pub(super) fn rename(bound: &mut Bound, alias: &ast::TableAlias) -> Result<()> {
    let ast::TableAlias { explicit: _, name, columns, at } = alias;
    if at.is_some() {
        return Err(SqlError::unsupported("AT in an alias"));
    }
    if columns.len() > bound.names.len() {
        return Err(SqlError::new(
            "42P10",
            format!(
                "table \"{}\" has {} columns available but {} columns specified",
                fold(name),
                bound.names.len(),
                columns.len()
            ),
        ));
    }
    for (slot, column) in bound.names.iter_mut().zip(columns) {
        if column.data_type.is_some() {
            return Err(SqlError::unsupported("a column definition list"));
        }
        *slot = fold(&column.name);
    }
    Ok(())
}
