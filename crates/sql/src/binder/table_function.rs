//! Functions in FROM: change streams, windows over time, set-returning functions.

use std::sync::Arc;

use sqlparser::ast::{self, FunctionArg, FunctionArguments};

use super::Binder;
use super::call::{Arg, arguments, function_name};
use super::edit;
use super::from::{is_true, scan};
use super::join::{JoinType, Side};
use super::marks;
use super::query::rename;
use super::scope::{Bound, Origin, Scope};
use super::select::{Clause, Env, State};
use crate::error::{Result, SqlError};
use crate::expr::Expr;
use crate::functions::{self, table};
use crate::parser::fold;
use crate::plan::{Field, JoinKind, Plan, Source, TableFunction};
use crate::types::Type;

/// `name(args) [WITH ORDINALITY] [AS alias]`.
pub(super) struct FunctionItem<'a> {
    pub name: &'a ast::ObjectName,
    pub args: &'a [FunctionArg],
    pub ordinality: bool,
    pub alias: Option<&'a ast::TableAlias>,
}

/// The names and types of a set-returning function's columns.
pub(super) type Columns = Vec<(String, Type)>;

impl Binder<'_> {
    pub(super) fn function_item<'p>(
        &mut self,
        left: Option<Side<'p>>,
        item: FunctionItem<'_>,
        kind: &JoinType<'_>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let name = function_name(item.name)?;
        match name.as_str() {
            "change_stream" => {
                let bound = self.change_stream(item.args)?;
                let right = self.named_side(bound, "change_stream", item.alias, parent)?;
                self.join(left, right, kind)
            }
            "tumble" | "hop" => {
                let bound = self.time_windows(&name, item.args, parent)?;
                let right = self.named_side(bound, &name, item.alias, parent)?;
                self.join(left, right, kind)
            }
            _ => {
                let args = arguments(item.args)?
                    .into_iter()
                    .map(|arg| match arg {
                        Arg::Expr(expr) => Ok(expr),
                        Arg::Named(name, _) => Err(SqlError::unsupported(format!("the named argument \"{name}\""))),
                        Arg::Star(_) => Err(SqlError::syntax("* is not allowed here")),
                    })
                    .collect::<Result<Vec<_>>>()?;
                self.rows_of(left, &name, &args, item.ordinality, item.alias, kind, parent)
            }
        }
    }

    pub(super) fn unnest_item<'p>(
        &mut self,
        left: Option<Side<'p>>,
        arrays: &[ast::Expr],
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        kind: &JoinType<'_>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let args: Vec<&ast::Expr> = arrays.iter().collect();
        self.rows_of(left, "unnest", &args, ordinality, alias, kind, parent)
    }

    fn named_side<'p>(
        &mut self,
        mut bound: Bound,
        name: &str,
        alias: Option<&ast::TableAlias>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let mut relation = name.to_string();
        if let Some(alias) = alias {
            rename(&mut bound, alias)?;
            relation = fold(&alias.name);
        }
        let scope = Scope::of(parent, &bound, Some(relation), None);
        Ok(Side { plan: bound.plan, scope })
    }

    // ---- change streams ------------------------------------------------------------------------

    /// `CHANGE_STREAM('s')`, with `since` and `up_to` from SINCE and UP TO.
    fn change_stream(&mut self, args: &[FunctionArg]) -> Result<Bound> {
        let mut stream = None;
        let (mut since, mut up_to) = (None, None);
        for arg in arguments(args)? {
            match arg {
                Arg::Expr(expr) if stream.is_none() => stream = Some(string(expr)?),
                Arg::Named(name, expr) if name == "since" && since.is_none() => since = Some(string(expr)?),
                Arg::Named(name, expr) if name == "up_to" && up_to.is_none() => up_to = Some(string(expr)?),
                _ => return Err(SqlError::syntax("CHANGE_STREAM takes the name of one stream")),
            }
        }
        let Some(name) = stream else {
            return Err(SqlError::syntax("CHANGE_STREAM takes the name of a stream"));
        };
        let Some(mut relation) = self.catalog.stream(&name) else {
            return Err(SqlError::new("42704", format!("change stream \"{name}\" does not exist"))
                .with_hint("Create it with CREATE CHANGE STREAM."));
        };
        if let Source::Stream { since: from, up_to: to, .. } = &mut relation.source {
            *from = since;
            *to = up_to;
        }
        Ok(scan(&relation))
    }

    // ---- TUMBLE and HOP ------------------------------------------------------------------------

    /// `TUMBLE(relation, time, width)` and `HOP(relation, time, slide, width)`: the relation's rows
    /// with `window_start` and `window_end`, once for each window they lie in.
    fn time_windows(&mut self, name: &str, args: &[FunctionArg], parent: Option<&Scope<'_>>) -> Result<Bound> {
        let expected = if name == "hop" { 4 } else { 3 };
        let args = arguments(args)?;
        let exprs: Vec<&ast::Expr> = args
            .iter()
            .filter_map(|arg| match arg {
                Arg::Expr(expr) => Some(*expr),
                _ => None,
            })
            .collect();
        if exprs.len() != expected || args.len() != expected {
            let usage =
                if name == "hop" { "HOP(relation, time, slide, width)" } else { "TUMBLE(relation, time, width)" };
            return Err(SqlError::new("42883", format!("wrong number of arguments for {name}"))
                .with_hint(format!("Use {usage}.")));
        }
        let (input, relation) = self.window_input(exprs[0], parent)?;
        let scope = Scope::of(parent, &input, Some(relation), None);
        let mut state = State::default();
        let mut env = Env::new(&scope, Clause::From, &mut state);
        let time = self.bind_expr(exprs[1], &mut env)?;
        let time = self.time_value(time)?;
        let mut lengths = Vec::with_capacity(2);
        for ast in &exprs[2..] {
            let length = self.bind_expr(ast, &mut env)?;
            lengths.push(self.coerce(length, &Type::Interval)?);
        }
        // The function takes the width first; a tumbling window slides by its width.
        let (slide, width) = match (lengths.pop(), lengths.pop()) {
            (Some(width), Some(slide)) => (slide, width),
            (Some(width), None) => (width.clone(), width),
            _ => return Err(SqlError::internal("a window without a width")),
        };
        if !state.subqueries.is_empty() {
            return Err(SqlError::unsupported(format!("a subquery in {name}")));
        }
        let ty = time.ty.clone();
        let mut fields = input.plan.fields().to_vec();
        let mut names = input.names.clone();
        let mut origins = input.origins.clone();
        for column in ["window_start", "window_end"] {
            fields.push(Field::new(column, ty.clone()));
            names.push(column.into());
            origins.push(Origin::Any);
        }
        let plan = Arc::new(Plan::FlatMap {
            input: input.plan,
            function: TableFunction::HopWindows,
            args: vec![time, width, slide],
            outer: false,
            ordinality: false,
            fields,
        });
        let key = if name == "tumble" { input.key } else { vec![] };
        Ok(Bound { plan, names, origins, key, open: input.open })
    }

    /// A relation's name, a stream, or a subquery, as the first argument.
    fn window_input(&mut self, ast: &ast::Expr, parent: Option<&Scope<'_>>) -> Result<(Bound, String)> {
        match ast {
            ast::Expr::Identifier(ident) => {
                let (bound, _, name) = self.bind_relation(&ast::ObjectName::from(vec![ident.clone()]), parent)?;
                Ok((bound, name))
            }
            ast::Expr::CompoundIdentifier(idents) => {
                let (bound, _, name) = self.bind_relation(&ast::ObjectName::from(idents.clone()), parent)?;
                Ok((bound, name))
            }
            ast::Expr::Function(function) if function_name(&function.name)? == "change_stream" => {
                match &function.args {
                    FunctionArguments::List(list) => Ok((self.change_stream(&list.args)?, "change_stream".into())),
                    _ => Err(SqlError::syntax("CHANGE_STREAM takes the name of a stream")),
                }
            }
            ast::Expr::Subquery(query) => {
                let ordered = self.bind_query(query, parent)?;
                Ok((self.known(ordered.without_order())?, "subquery".into()))
            }
            ast::Expr::Nested(inner) => self.window_input(inner, parent),
            _ => Err(SqlError::syntax("the first argument must be a relation").at(self.position_of(ast))),
        }
    }

    // ---- set-returning functions ---------------------------------------------------------------

    /// Arguments converted to what the function takes, and its columns.
    pub(super) fn table_function_args(
        &mut self,
        function: TableFunction,
        args: Vec<Expr>,
    ) -> Result<(Vec<Expr>, Columns)> {
        let types: Vec<Type> = args.iter().map(|arg| arg.ty.clone()).collect();
        let (wanted, columns) = table::columns(function, &types)?;
        let args = args.into_iter().zip(&wanted).map(|(arg, ty)| self.coerce(arg, ty)).collect::<Result<_>>()?;
        Ok((args, columns.into_iter().map(|(name, ty)| (name.to_string(), ty)).collect()))
    }

    #[allow(clippy::too_many_arguments)] // one FROM item, taken apart by its two spellings
    fn rows_of<'p>(
        &mut self,
        left: Option<Side<'p>>,
        name: &str,
        args: &[&ast::Expr],
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        kind: &JoinType<'_>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let mut state = State::default();
        // Functions in FROM see the items to their left, LATERAL or not.
        let scope = match &left {
            Some(side) => Scope { parent, ..side.scope.clone() },
            None => Scope::child_of(parent),
        };
        let mut bound = Vec::with_capacity(args.len());
        for arg in args {
            bound.push(self.bind_expr(arg, &mut Env::new(&scope, Clause::From, &mut state))?);
        }
        let (mut plan, width) = match &left {
            Some(side) => (side.plan.clone(), side.plan.fields().len()),
            None => (edit::one_row(), 0),
        };
        let direct = match kind.kind() {
            JoinKind::Inner => true,
            JoinKind::Left => self.joins_on_true(kind)?,
            _ => false,
        };
        if !state.subqueries.is_empty() {
            return Err(SqlError::unsupported("a subquery as an argument of a function in FROM"));
        }
        if !direct {
            return self.rows_beside(left, name, bound, (ordinality, alias), kind, parent);
        }
        let outer = kind.kind() == JoinKind::Left;
        let (function_plan, columns) = self.flat_map(plan, name, bound, alias, (ordinality, outer))?;
        plan = function_plan;
        let right = self.function_scope(&columns, name, alias, ordinality, parent)?;
        let mut scope = match left {
            Some(side) => side.scope,
            None => Scope::child_of(parent),
        };
        scope.append(right, width)?;
        if let (JoinKind::Inner, Some(ast::JoinConstraint::On(on))) = (kind.kind(), kind.constraint()) {
            let mut state = State::default();
            let expr = self.bind_expr(on, &mut Env::new(&scope, Clause::JoinOn, &mut state))?;
            let mut filter = self.boolean(expr, "JOIN/ON")?;
            let both = plan.fields().len();
            plan = self.attach(plan, &mut [&mut filter], &state)?;
            if !is_true(&filter) {
                plan = edit::filter(plan, vec![filter]);
            }
            plan = edit::keep(plan, &(0..both).collect::<Vec<_>>());
        } else if !matches!(kind.constraint(), None | Some(ast::JoinConstraint::On(_))) {
            return Err(SqlError::unsupported("USING with a function"));
        }
        Ok(Side { plan, scope })
    }

    fn joins_on_true(&mut self, kind: &JoinType<'_>) -> Result<bool> {
        Ok(match kind.constraint() {
            Some(ast::JoinConstraint::On(ast::Expr::Value(value))) => value.value == ast::Value::Boolean(true),
            _ => false,
        })
    }

    /// The function as a right side of its own, for joins with conditions.
    fn rows_beside<'p>(
        &mut self,
        left: Option<Side<'p>>,
        name: &str,
        mut args: Vec<Expr>,
        (ordinality, alias): (bool, Option<&ast::TableAlias>),
        kind: &JoinType<'_>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let correlated = left.is_some();
        if correlated {
            args.iter_mut().for_each(|arg| marks::raise(arg, 1));
        }
        let (plan, columns) = self.flat_map(edit::one_row(), name, args, alias, (ordinality, false))?;
        let scope = self.function_scope(&columns, name, alias, ordinality, parent)?;
        let right = Side { plan, scope };
        match left {
            Some(left) => self.lateral_join(left, right, kind),
            None => Ok(right),
        }
    }

    /// The input's rows with each row of the function; a scalar function gives one.
    pub(super) fn flat_map(
        &mut self,
        input: Arc<Plan>,
        name: &str,
        args: Vec<Expr>,
        alias: Option<&ast::TableAlias>,
        (ordinality, outer): (bool, bool),
    ) -> Result<(Arc<Plan>, Columns)> {
        if let Some(set) = super::record::record_function(name) {
            return self.records(input, (name, set), args, alias, (ordinality, outer));
        }
        if name == "regexp_split_to_table" {
            let array = self.flexible_call("regexp_split_to_array", args)?;
            let (plan, columns) = self.flat_map(input, "unnest", vec![array], None, (ordinality, outer))?;
            return Ok((plan, columns.into_iter().map(|(_, ty)| (name.to_string(), ty)).collect()));
        }
        let Some(function) = table::by_name(name) else {
            if !functions::exists(name) && !args.is_empty() {
                let types: Vec<String> = args.iter().map(|arg| arg.ty.to_string()).collect();
                return Err(SqlError::new("42883", format!("function {name}({}) does not exist", types.join(", ")))
                    .with_hint("No function matches the given name and argument types. You might need to add explicit type casts."));
            }
            let value = self.flexible_call(name, args)?;
            let ty = value.ty.clone();
            let mut plan = edit::extend(input, vec![value], name);
            if ordinality {
                plan = edit::extend(plan, vec![super::aggregate::int8(1)], "ordinality");
            }
            return Ok((plan, vec![(name.to_string(), ty)]));
        };
        let (args, columns) = self.table_function_args(function, args)?;
        let mut fields = input.fields().to_vec();
        fields.extend(columns.iter().map(|(name, ty)| Field::new(name.clone(), ty.clone())));
        if ordinality {
            fields.push(Field::new("ordinality", Type::Int8));
        }
        Ok((Arc::new(Plan::FlatMap { input, function, args, outer, ordinality, fields }), columns))
    }

    /// The relation that a function is: a single column also answers to the relation's name.
    fn function_scope<'p>(
        &mut self,
        columns: &Columns,
        name: &str,
        alias: Option<&ast::TableAlias>,
        ordinality: bool,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Scope<'p>> {
        let mut names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let mut types: Vec<Type> = columns.iter().map(|(_, ty)| ty.clone()).collect();
        let relation = alias.map_or_else(|| name.to_string(), |alias| fold(&alias.name));
        // A column that is called after its function takes the alias instead.
        if let ([only], Some(_)) = (&mut names[..], alias)
            && only == name
        {
            *only = relation.clone();
        }
        if ordinality {
            names.push("ordinality".into());
            types.push(Type::Int8);
        }
        let fields: Vec<Field> = names.iter().zip(types).map(|(n, ty)| Field::new(n.clone(), ty)).collect();
        let mut bound = Bound {
            plan: Arc::new(Plan::Values { rows: vec![], fields }),
            origins: vec![Origin::Any; names.len()],
            names,
            key: vec![],
            open: None,
        };
        match alias {
            // The names of a column definition list are the columns' already.
            Some(_) if super::record::record_function(name).is_some() => {}
            Some(alias) => rename(&mut bound, alias)?,
            None => {}
        }
        let mut scope = Scope::of(parent, &bound, Some(relation), None);
        scope.relations[0].scalar = columns.len() == 1 && !ordinality;
        Ok(scope)
    }
}

fn string(expr: &ast::Expr) -> Result<String> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => Ok(text.clone()),
            _ => Err(SqlError::syntax("a string literal is expected here")),
        },
        _ => Err(SqlError::syntax("a string literal is expected here")),
    }
}
