//! Function calls: which kind of function a name is, and the scalar ones.

use sqlparser::ast::{
    self, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
};

use super::operator::{Operand, is_name};
use super::select::{Clause, Env};
use super::{Binder, SetConfig};
use crate::aggregates;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::functions;
use crate::types::Type;

/// A call's parts, the ones that no function here takes refused.
pub(super) struct Call<'a> {
    pub name: String,
    pub args: Vec<Arg<'a>>,
    pub distinct: bool,
    pub order_by: &'a [ast::OrderByExpr],
    pub within_group: &'a [ast::OrderByExpr],
    pub filter: Option<&'a ast::Expr>,
    pub over: Option<&'a ast::WindowType>,
}

pub(super) enum Arg<'a> {
    Expr(&'a ast::Expr),
    Named(String, &'a ast::Expr),
    /// `f(*)`, or `f(t.*)`.
    Star(Option<&'a ast::ObjectName>),
}

impl<'a> Call<'a> {
    pub fn is_plain(&self) -> bool {
        !self.distinct && self.order_by.is_empty() && self.within_group.is_empty() && self.filter.is_none()
    }

    /// The arguments, if they are expressions all.
    pub fn exprs(&self) -> Result<Vec<&'a ast::Expr>> {
        self.args
            .iter()
            .map(|arg| match arg {
                Arg::Expr(expr) => Ok(*expr),
                Arg::Named(name, _) => Err(SqlError::unsupported(format!("the named argument \"{name}\""))),
                Arg::Star(_) => Err(SqlError::new("42809", format!("{}(*) is not an aggregate function", self.name))),
            })
            .collect()
    }
}

/// Splits a call up. Arguments in FROM come the same way.
pub(super) fn parts(function: &ast::Function) -> Result<Call<'_>> {
    let ast::Function { name, uses_odbc_syntax, parameters, args, within_group, filter, null_treatment, over } =
        function;
    if *uses_odbc_syntax || *parameters != FunctionArguments::None {
        return Err(SqlError::unsupported("this form of a function call"));
    }
    if matches!(null_treatment, Some(ast::NullTreatment::IgnoreNulls)) {
        return Err(SqlError::unsupported("IGNORE NULLS"));
    }
    let name = function_name(name)?;
    let mut call = Call {
        name,
        args: vec![],
        distinct: false,
        order_by: &[],
        within_group,
        filter: filter.as_deref(),
        over: over.as_ref(),
    };
    match args {
        FunctionArguments::None => {}
        FunctionArguments::Subquery(_) => return Err(SqlError::unsupported("a query as a function's argument")),
        FunctionArguments::List(list) => {
            let ast::FunctionArgumentList { duplicate_treatment, args, clauses } = list;
            call.distinct = matches!(duplicate_treatment, Some(DuplicateTreatment::Distinct));
            call.args = arguments(args)?;
            for clause in clauses {
                match clause {
                    FunctionArgumentClause::OrderBy(keys) => call.order_by = keys,
                    FunctionArgumentClause::IgnoreOrRespectNulls(ast::NullTreatment::RespectNulls) => {}
                    other => return Err(SqlError::unsupported(format!("{other} in a function call"))),
                }
            }
        }
    }
    Ok(call)
}

/// The name of a function; the schemas that have functions may stand before it.
pub(super) fn function_name(name: &ast::ObjectName) -> Result<String> {
    let mut parts = super::name_parts(name)?;
    let last = parts.pop().unwrap_or_default();
    match &parts[..] {
        [] => Ok(last),
        [schema] if matches!(schema.as_str(), "pg_catalog" | "public" | "information_schema") => Ok(last),
        [schema, ..] => Err(SqlError::new("3F000", format!("schema \"{schema}\" does not exist"))),
    }
}

pub(super) fn arguments(args: &[FunctionArg]) -> Result<Vec<Arg<'_>>> {
    let value = |arg: &FunctionArgExpr| matches!(arg, FunctionArgExpr::Expr(_));
    args.iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(Arg::Expr(expr)),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Ok(Arg::Star(None)),
            FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => Ok(Arg::Star(Some(name))),
            FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(_)) => {
                Err(SqlError::unsupported("* with options"))
            }
            FunctionArg::Named { name, arg, operator: _ } if value(arg) => match arg {
                FunctionArgExpr::Expr(expr) => Ok(Arg::Named(crate::parser::fold(name), expr)),
                _ => Err(SqlError::syntax("* cannot be a named argument")),
            },
            FunctionArg::ExprNamed { name: ast::Expr::Identifier(name), arg, operator: _ } if value(arg) => match arg {
                FunctionArgExpr::Expr(expr) => Ok(Arg::Named(crate::parser::fold(name), expr)),
                _ => Err(SqlError::syntax("* cannot be a named argument")),
            },
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                Err(SqlError::unsupported("this form of a named argument"))
            }
        })
        .collect()
}

impl Binder<'_> {
    pub(super) fn bind_function(&mut self, function: &ast::Function, env: &mut Env<'_, '_>) -> Result<Expr> {
        if let FunctionArguments::Subquery(query) = &function.args
            && function_name(&function.name)? == "array"
        {
            return self.array_subquery(query, env);
        }
        let call = parts(function)?;
        if call.over.is_some() {
            return self.bind_window(&call, env);
        }
        if aggregates::exists(&call.name) {
            return self.bind_aggregate(&call, env);
        }
        if functions::window_by_name(&call.name).is_some() {
            return Err(SqlError::new("42809", format!("window function {} requires an OVER clause", call.name)));
        }
        if !call.is_plain() {
            let what = if call.filter.is_some() {
                "FILTER"
            } else if call.distinct {
                "DISTINCT"
            } else if call.within_group.is_empty() {
                "ORDER BY"
            } else {
                "WITHIN GROUP"
            };
            let message = format!("{what} specified, but {} is not an aggregate function", call.name);
            return Err(SqlError::new("42809", message));
        }
        if let Some(expr) = self.niladic(&call)? {
            return Ok(expr);
        }
        if let Some(expr) = self.construct(&call, env)? {
            return Ok(expr);
        }
        if let Some(expr) = self.session_function(&call, env)? {
            return Ok(expr);
        }
        if let Some(expr) = self.set_returning(&call, env)? {
            return Ok(expr);
        }
        if call.name == "make_interval" {
            return self.make_interval(&call, env);
        }
        if call.name == "json_object_keys" || call.name == "jsonb_object_keys" {
            self.notice(crate::rewrite::keys_as_array(&call.name, self.position(super::name_location(&function.name))));
        }
        let args = self.json_arguments(&call, env)?;
        self.flexible_call(&call.name, args)
    }

    /// The arguments; for a function that makes JSON, `t` and `t.*` are objects with the names of the
    /// relation's columns.
    pub(super) fn json_arguments(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Vec<Expr>> {
        const MAKES_JSON: [&str; 11] = [
            "row_to_json",
            "to_json",
            "to_jsonb",
            "json_build_array",
            "jsonb_build_array",
            "json_build_object",
            "jsonb_build_object",
            "json_agg",
            "jsonb_agg",
            "json_object_agg",
            "jsonb_object_agg",
        ];
        if !MAKES_JSON.contains(&call.name.as_str()) {
            return call.exprs()?.into_iter().map(|arg| self.bind_expr(arg, env)).collect();
        }
        let mut bound = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            let row = match arg {
                Arg::Star(Some(name)) => super::name_parts(name)?.pop(),
                Arg::Expr(ast::Expr::Identifier(ident)) => Some(crate::parser::fold(ident)),
                _ => None,
            };
            match (arg, row) {
                (Arg::Star(_), Some(name)) => match self.row_object(&name, env)? {
                    Some(object) => bound.push(object),
                    None => {
                        return Err(SqlError::new("42P01", format!("missing FROM-clause entry for table \"{name}\"")));
                    }
                },
                (Arg::Expr(expr), row) => {
                    let value = self.bind_expr(expr, env)?;
                    let object = match row {
                        Some(name) if value.ty == Type::Record => self.row_object(&name, env)?,
                        _ => None,
                    };
                    bound.push(object.unwrap_or(value));
                }
                _ => {
                    call.exprs()?;
                }
            }
        }
        Ok(bound)
    }

    /// A relation's row as a JSON object. A row of nothing but NULLs is NULL: in practice it is the
    /// missing side of an outer join.
    fn row_object(&mut self, name: &str, env: &mut Env<'_, '_>) -> Result<Option<Expr>> {
        let Some(columns) = env.scope.named_row(name)? else { return Ok(None) };
        let missing: Vec<Expr> =
            columns.iter().map(|(_, value)| Expr::new(ExprKind::IsNull(Box::new(value.clone())), Type::Bool)).collect();
        let mut args = Vec::with_capacity(columns.len() * 2);
        for (name, value) in columns {
            args.push(Expr::literal(Datum::text(name), Type::Text));
            args.push(value);
        }
        let object = self.call("jsonb_build_object", args)?;
        if missing.is_empty() {
            return Ok(Some(object));
        }
        let (ty, null) = (object.ty.clone(), Expr::literal(Datum::Null, object.ty.clone()));
        let branches = vec![(super::operator::and(missing), null)];
        Ok(Some(Expr::new(ExprKind::Case { branches, otherwise: Some(Box::new(object)) }, ty)))
    }

    /// A function of the registry; where none takes JSON, its JSON arguments convert as `operator.rs`
    /// describes: to text, to numeric, or to a time.
    pub(super) fn flexible_call(&mut self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        let types: Vec<Type> = args.iter().map(|a| a.ty.clone()).collect();
        let error = match functions::resolve(name, &types) {
            Ok(resolved) => return self.apply(resolved, args),
            Err(e) => e,
        };
        if types.contains(&Type::Json) {
            for instead in [Type::Text, Type::Numeric(None), Type::Timestamptz] {
                let tried: Vec<Type> =
                    types.iter().map(|ty| if *ty == Type::Json { instead.clone() } else { ty.clone() }).collect();
                let Ok(resolved) = functions::resolve(name, &tried) else { continue };
                let args = args
                    .into_iter()
                    .map(|arg| if arg.ty == Type::Json { self.explicit_cast(arg, &instead) } else { Ok(arg) })
                    .collect::<Result<_>>()?;
                return self.apply(resolved, args);
            }
        }
        Err(error)
    }

    /// The time, in its spellings.
    fn niladic(&mut self, call: &Call<'_>) -> Result<Option<Expr>> {
        let now = Expr::new(ExprKind::Now, Type::Timestamptz);
        let ty = match call.name.as_str() {
            "now" | "current_timestamp" | "transaction_timestamp" | "statement_timestamp" => Type::Timestamptz,
            "current_date" => Type::Date,
            "localtimestamp" => Type::Timestamp,
            "localtime" => Type::Time,
            "current_time" => return Err(SqlError::unsupported("type time with time zone")),
            _ => return Ok(None),
        };
        match &call.args[..] {
            [] => {}
            [Arg::Expr(ast::Expr::Value(v))] if v.value == ast::Value::Number("6".into(), false) => {}
            _ if call.name == "now" || call.name.ends_with("_timestamp") && call.name != "current_timestamp" => {
                return Err(SqlError::new("42883", format!("function {} takes no arguments", call.name)));
            }
            _ => return Err(SqlError::unsupported(format!("a precision of {} other than 6", call.name))),
        }
        if ty == Type::Timestamptz {
            return Ok(Some(now));
        }
        self.explicit_cast(now, &ty).map(Some)
    }

    /// Expressions that look like functions.
    fn construct(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Option<Expr>> {
        match call.name.as_str() {
            "coalesce" => {
                let args = self.all(call, env)?;
                if args.is_empty() {
                    return Err(SqlError::syntax("syntax error at or near \")\""));
                }
                let (args, ty) = self.unify(args, "COALESCE")?;
                Ok(Some(Expr::new(ExprKind::Coalesce(args), ty)))
            }
            "greatest" | "least" => {
                let args = self.all(call, env)?;
                let (args, ty) = self.unify(args, if call.name == "least" { "LEAST" } else { "GREATEST" })?;
                let mut expr = self.call(&call.name, args)?;
                expr.ty = ty;
                Ok(Some(expr))
            }
            "nullif" => {
                let [a, b] = call.exprs()?[..] else {
                    return Err(SqlError::syntax("NULLIF takes two arguments"));
                };
                let mut value = self.bind_expr(a, env)?;
                let other = self.operand(b, env)?;
                if value.ty == Type::Unknown {
                    let ty = if other.expr.ty == Type::Unknown { Type::Text } else { other.expr.ty.clone() };
                    value = self.coerce(value, &ty)?;
                }
                let equal = self.compare(Operand { expr: value.clone(), named: is_name(a) }, "=", other)?;
                // The value as the comparison has it: NULLIF(1, 0.5) is numeric.
                if value.ty != Type::Json
                    && let ExprKind::Call { args, .. } = &equal.kind
                {
                    value = args[0].clone();
                }
                let ty = value.ty.clone();
                let null = Expr::literal(Datum::Null, ty.clone());
                let kind = ExprKind::Case { branches: vec![(equal, null)], otherwise: Some(Box::new(value)) };
                Ok(Some(Expr::new(kind, ty)))
            }
            "row" => {
                let items = call.exprs()?.into_iter().map(|arg| self.bind_known(arg, env)).collect::<Result<_>>()?;
                Ok(Some(Expr::new(ExprKind::Record(items), Type::Record)))
            }
            "grouping" => self.bind_grouping(call, env).map(Some),
            "tumble" | "tumble_start" | "tumble_end" => self.bind_tumble(call, env).map(Some),
            "hop" | "hop_start" | "hop_end" => Err(SqlError::unsupported("HOP outside FROM")
                .with_hint("Windows that overlap give several rows: read FROM HOP(relation, time, slide, width).")),
            _ => Ok(None),
        }
    }

    fn all(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Vec<Expr>> {
        call.exprs()?.into_iter().map(|arg| self.bind_expr(arg, env)).collect()
    }

    /// `TUMBLE(time, width)` as an expression is the beginning of the window the time lies in.
    fn bind_tumble(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Expr> {
        let [time, width] = call.exprs()?[..] else {
            return Err(SqlError::new("42883", format!("function {} takes a time and an interval", call.name)));
        };
        let time = self.bind_expr(time, env)?;
        let time = self.time_value(time)?;
        let width = self.bind_expr(width, env)?;
        let width = self.coerce(width, &Type::Interval)?;
        let origin = Expr::literal(Datum::Timestamp(0), time.ty.clone());
        let start = self.call("date_bin", vec![width.clone(), time, origin])?;
        if call.name == "tumble_end" { self.operator("+", start, width) } else { Ok(start) }
    }

    /// A timestamp, of JSON and dates too.
    pub(super) fn time_value(&mut self, time: Expr) -> Result<Expr> {
        match time.ty {
            Type::Timestamp | Type::Timestamptz => Ok(time),
            Type::Date => self.coerce(time, &Type::Timestamp),
            Type::Json => self.explicit_cast(time, &Type::Timestamptz),
            Type::Unknown => self.coerce(time, &Type::Timestamptz),
            ref other => Err(SqlError::new("42804", format!("a window needs a timestamp, not type {other}"))),
        }
    }

    /// `make_interval(days => 10)`: what is not given is 0.
    fn make_interval(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Expr> {
        const NAMES: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
        let mut args: Vec<Expr> = NAMES
            .iter()
            .map(|name| match *name {
                "secs" => Expr::literal(Datum::Float(0.0), Type::Float8),
                _ => Expr::literal(Datum::Int(0), Type::Int4),
            })
            .collect();
        for (n, arg) in call.args.iter().enumerate() {
            let (at, expr) = match arg {
                Arg::Expr(expr) => (n, expr),
                Arg::Named(name, expr) => (NAMES.iter().position(|known| known == name).unwrap_or(NAMES.len()), expr),
                Arg::Star(_) => return Err(SqlError::syntax("* is not allowed here")),
            };
            let slot = args.get(at).map(|slot| slot.ty.clone());
            let Some(ty) = slot else {
                return Err(SqlError::new("42883", "function make_interval has no such argument"));
            };
            let value = self.bind_expr(expr, env)?;
            args[at] = self.coerce(value, &ty)?;
        }
        self.call("make_interval", args)
    }

    /// What depends on the connection is known now.
    fn session_function(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Option<Expr>> {
        let session = &self.options.session;
        let name = |text: &str| Some(Expr::literal(Datum::text(text), Type::Name));
        let null = |ty| Some(Expr::literal(Datum::Null, ty));
        if call.args.is_empty() {
            return Ok(match call.name.as_str() {
                "current_database" | "current_catalog" => name(self.catalog.database()),
                "current_schema" => name(&session.schema),
                "current_user" | "session_user" | "current_role" | "user" => name(&session.user),
                "pg_backend_pid" => Some(Expr::literal(Datum::Int(i64::from(session.backend_pid)), Type::Int4)),
                "version" => Some(Expr::literal(Datum::text(session.version.as_str()), Type::Text)),
                "inet_client_addr" | "inet_server_addr" => null(Type::Text),
                "inet_client_port" | "inet_server_port" => null(Type::Int4),
                "pg_postmaster_start_time" | "pg_conf_load_time" => null(Type::Timestamptz),
                "txid_current" | "pg_current_xact_id" => Some(Expr::literal(Datum::Int(0), Type::Int8)),
                _ => None,
            });
        }
        match call.name.as_str() {
            "current_schemas" => {
                let schemas = ["pg_catalog", session.schema.as_str()].map(Datum::text);
                Ok(Some(Expr::literal(Datum::Array(schemas.into()), Type::array_of(Type::Name))))
            }
            "current_setting" => self.current_setting(call, env).map(Some),
            "set_config" => self.set_config(call, env).map(Some),
            "pg_get_viewdef" | "pg_get_indexdef" | "pg_get_constraintdef" => self.definition(call, env),
            _ => Ok(None),
        }
    }

    /// `set_config(name, value, is_local)` of constants: its value here, and for the session to set.
    fn set_config(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Expr> {
        let args = self.all(call, env)?;
        let constants: Vec<&ExprKind> = args.iter().map(|arg| &arg.kind).collect();
        let [ExprKind::Literal(Datum::Text(name)), ExprKind::Literal(Datum::Text(value)), ExprKind::Literal(local)] =
            constants[..]
        else {
            return Err(SqlError::unsupported("set_config of what is not constant"));
        };
        let local = *local == Datum::Bool(true);
        self.settings.push(SetConfig { name: name.to_string(), value: value.to_string(), local });
        Ok(Expr::literal(Datum::text(&**value), Type::Text))
    }

    /// `pg_get_viewdef(number)` and its kin read a table of all definitions.
    fn definition(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Option<Expr>> {
        if self.catalog.relation(Some("pg_catalog"), "pg_definitions").is_none() {
            return Ok(None);
        }
        let [object, rest @ ..] = &call.exprs()?[..] else { return Ok(None) };
        // The second argument of three is a column of an index, and 0 the whole.
        let text = match rest {
            [_, _] => {
                "(SELECT CASE 0 WHEN 0 THEN deftext ELSE defcolumn END FROM pg_catalog.pg_definitions WHERE defoid = 0)"
            }
            _ => "(SELECT deftext FROM pg_catalog.pg_definitions WHERE defoid = 0)",
        };
        let parsed = sqlparser::parser::Parser::new(&sqlparser::dialect::PostgreSqlDialect {})
            .try_with_sql(text)
            .and_then(|mut parser| parser.parse_expr());
        let Ok(ast::Expr::Subquery(mut query)) = parsed else {
            return Err(SqlError::internal("a query of our own is no query"));
        };
        if let ast::SetExpr::Select(select) = &mut *query.body {
            if let Some(ast::Expr::BinaryOp { right, .. }) = &mut select.selection {
                **right = (*object).clone();
            }
            if let ([column, _], [ast::SelectItem::UnnamedExpr(ast::Expr::Case { operand: Some(operand), .. })]) =
                (rest, &mut select.projection[..])
            {
                **operand = (*column).clone();
            }
        }
        self.bind_expr(&ast::Expr::Subquery(query), env).map(Some)
    }

    fn current_setting(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Expr> {
        let args = self.all(call, env)?;
        let name = match args.first() {
            Some(Expr { kind: ExprKind::Literal(Datum::Text(name)), .. }) => name,
            Some(name) => return self.setting_by_name(name.clone()),
            None => return Err(SqlError::new("42883", "function current_setting() does not exist")),
        };
        let missing_ok = matches!(args.get(1).map(|a| &a.kind), Some(ExprKind::Literal(Datum::Bool(true))));
        match self.options.session.settings.get(&name.to_ascii_lowercase()) {
            Some(value) => Ok(Expr::literal(Datum::text(value.as_str()), Type::Text)),
            None if missing_ok => Ok(Expr::literal(Datum::Null, Type::Text)),
            None => Err(SqlError::new("42704", format!("unrecognized configuration parameter \"{name}\""))),
        }
    }

    /// The value of a setting whose name is known when the query runs; NULL if there is none.
    fn setting_by_name(&mut self, name: Expr) -> Result<Expr> {
        let name = self.coerce(name, &Type::Text)?;
        let name = self.call("lower", vec![name])?;
        let settings = self.options.session.settings.clone();
        let mut branches = Vec::with_capacity(settings.len());
        for (known, value) in settings {
            let known = Expr::literal(Datum::text(known), Type::Text);
            let value = Expr::literal(Datum::text(value), Type::Text);
            branches.push((self.operator("=", name.clone(), known)?, value));
        }
        if branches.is_empty() {
            return Ok(Expr::literal(Datum::Null, Type::Text));
        }
        Ok(Expr::new(ExprKind::Case { branches, otherwise: None }, Type::Text))
    }

    /// In a SELECT list a set-returning function multiplies the rows.
    fn set_returning(&mut self, call: &Call<'_>, env: &mut Env<'_, '_>) -> Result<Option<Expr>> {
        let splits = call.name == "regexp_split_to_table";
        let function = match functions::table::by_name(&call.name) {
            Some(function) => function,
            None if splits => crate::plan::TableFunction::Unnest,
            None => return Ok(None),
        };
        // T9, and PostgreSQL's own scalar functions of the name.
        if matches!(function, crate::plan::TableFunction::JsonObjectKeys) {
            return Ok(None);
        }
        if env.clause != Clause::Select && env.clause != Clause::OrderBy {
            return Err(self.refuse_clause(env, "set-returning functions", "0A000"));
        }
        let args = call.exprs()?.into_iter().map(|arg| self.bind_expr(arg, env)).collect::<Result<Vec<_>>>()?;
        let args = if splits { vec![self.flexible_call("regexp_split_to_array", args)?] } else { args };
        let (args, columns) = self.table_function_args(function, args)?;
        let [(_, ty)] = &columns[..] else {
            return Err(SqlError::unsupported(format!("{} in a SELECT list", call.name))
                .with_hint("It has several columns: read it in FROM."));
        };
        Ok(Some(env.state.add_set_returning(function, args, ty.clone())))
    }
}
