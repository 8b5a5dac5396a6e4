//! Names, types and plans: a parsed query becomes typed relational algebra over a catalogue.
//!
//! ```text
//!   Query --query.rs--> WITH, set operations, ORDER BY, LIMIT
//!     └─ select.rs: FROM (from.rs) → WHERE → GROUP BY (group.rs) → HAVING → windows → set-returning
//!                   functions → SELECT list → DISTINCT → ORDER BY
//!          └─ expr.rs, operator.rs, call.rs: expressions, with their types (coerce.rs)
//!               └─ subquery.rs: subqueries wait as references and become joins (decorrelate.rs)
//! ```
//!
//! PostgreSQL's rules throughout. Beyond them: open relations (collections) answer to every name,
//! JSON compares with typed operands as their type, and the readings of `rewrite`, each with a notice.
//!
//! # Invariants
//! - A finished plan has no reference outwards and no waiting one (`marks.rs`), no unknown type.
//! - Every part of the syntax tree is matched by name: what is not supported says so (0A000).
//!
//! Read next: `scope.rs`, `marks.rs`, `select.rs`, then `decorrelate.rs`.

mod aggregate;
mod call;
mod coerce;
mod decorrelate;
pub(crate) mod edit;
mod expr;
mod from;
mod group;
mod join;
mod literal;
pub(crate) mod marks;
mod operator;
mod order;
mod query;
mod record;
mod recursive;
mod scope;
mod select;
mod special;
mod subquery;
mod table_function;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast;
use sqlparser::tokenizer::{Location, Span};

pub(crate) use decorrelate::compatible_keys;
pub(crate) use group::aggregate_name;
use scope::Scope;

use crate::catalog::{Catalog, Relation};
use crate::error::{Notice, Result, SqlError};
use crate::expr::{EvalContext, Expr};
use crate::parser::SourceMap;
use crate::parser::statement::{Predicate, Query};
use crate::plan::{Field, Plan};
use crate::types::Type;

/// Relations, subqueries and CTEs of one statement, together.
const MAX_RELATIONS: usize = 500;
/// Nodes of a plan with its shared parts counted as often as they are read.
const MAX_PLAN_WEIGHT: u64 = 20_000;
/// Columns of a SELECT list, PostgreSQL's limit.
const MAX_COLUMNS: usize = 1664;

/// What a statement may ask about its connection.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: String,
    /// The unqualified schema name that `current_schema()` gives.
    pub schema: String,
    pub time_zone: String,
    pub backend_pid: i32,
    /// What `version()` says.
    pub version: String,
    /// For `current_setting`.
    pub settings: BTreeMap<String, String>,
}

impl Default for Session {
    fn default() -> Self {
        Session {
            user: "headwater".into(),
            schema: "public".into(),
            time_zone: "UTC".into(),
            backend_pid: 0,
            version: concat!("PostgreSQL 15.0 (Headwater ", env!("CARGO_PKG_VERSION"), ")").into(),
            settings: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct BindOptions {
    /// Types that the client gave its parameters; `None` where the statement shall tell.
    pub parameter_types: Vec<Option<Type>>,
    pub session: Session,
    /// The time, for literals such as `'now'` and `'today'`. Microseconds since the epoch.
    pub now_us: i64,
}

/// A bound query.
#[derive(Clone, Debug)]
pub struct Bound {
    pub plan: Arc<Plan>,
    pub fields: Vec<Field>,
    pub parameter_types: Vec<Type>,
    pub notices: Vec<Notice>,
    /// What the query's `set_config` calls change in the session that runs it.
    pub settings: Vec<SetConfig>,
}

/// A call of `set_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetConfig {
    pub name: String,
    pub value: String,
    /// Until the transaction ends.
    pub local: bool,
}

/// Binds a query. Errors carry the position in the text that was parsed.
pub fn bind_query(query: &Query, catalog: &dyn Catalog, options: &BindOptions) -> Result<Bound> {
    let mut binder = Binder::new(catalog, options, query.source.clone());
    let bound = binder.bind_top(&query.ast)?;
    let plan = binder.finish(bound.plan)?;
    let parameter_types = binder.parameter_types()?;
    Ok(Bound {
        fields: plan.fields().to_vec(),
        plan,
        parameter_types,
        notices: binder.notices,
        settings: binder.settings,
    })
}

/// A bound expression over one relation's columns.
#[derive(Clone, Debug)]
pub struct BoundFilter {
    pub predicate: Expr,
    pub notices: Vec<Notice>,
}

/// Binds the condition of CREATE CHANGE STREAM … FILTER, or of a dead-letter statement: no subqueries,
/// aggregates or parameters.
pub fn bind_filter(
    filter: &Predicate,
    relation: &Relation,
    catalog: &dyn Catalog,
    options: &BindOptions,
) -> Result<BoundFilter> {
    let (expr, mut binder) = bind_over(filter, relation, catalog, options)?;
    let predicate = binder.boolean(expr, "FILTER")?;
    if predicate.reads_now() {
        return Err(SqlError::unsupported("the current time in a stream's FILTER")
            .with_hint("Filter by time in the query that reads the stream."));
    }
    Ok(BoundFilter { predicate, notices: binder.notices })
}

/// Binds an expression over one row of a relation: no subqueries, aggregates or parameters.
pub fn bind_scalar(
    expr: &Predicate,
    relation: &Relation,
    catalog: &dyn Catalog,
    options: &BindOptions,
) -> Result<Expr> {
    bind_over(expr, relation, catalog, options).map(|(bound, _)| bound)
}

fn bind_over<'a>(
    expr: &Predicate,
    relation: &Relation,
    catalog: &'a dyn Catalog,
    options: &'a BindOptions,
) -> Result<(Expr, Binder<'a>)> {
    let mut binder = Binder::new(catalog, options, expr.source.clone());
    let table = from::scan(relation);
    let scope = Scope::of(None, &table, None, None);
    let mut state = select::State::default();
    let mut env = select::Env::new(&scope, select::Clause::Filter, &mut state);
    let bound = binder.bind_expr(&expr.ast, &mut env)?;
    if !binder.parameters.is_empty() {
        return Err(SqlError::new("42P02", "there is no parameter $1"));
    }
    Ok((bound, binder))
}

/// Binds an expression that reads no row, such as EXECUTE's arguments.
pub fn bind_constant(
    expr: &Predicate,
    ty: Option<&Type>,
    catalog: &dyn Catalog,
    options: &BindOptions,
) -> Result<Expr> {
    let mut binder = Binder::new(catalog, options, expr.source.clone());
    let scope = Scope::default();
    let mut state = select::State::default();
    let mut env = select::Env::new(&scope, select::Clause::Filter, &mut state);
    let bound = binder.bind_expr(&expr.ast, &mut env)?;
    match ty {
        Some(ty) => binder.explicit_cast(bound, ty),
        None if bound.ty == Type::Unknown => binder.coerce(bound, &Type::Text),
        None => Ok(bound),
    }
}

/// The type that a declaration (PREPARE's parameters) names.
pub fn bind_type(data_type: &ast::DataType, catalog: &dyn Catalog, options: &BindOptions) -> Result<Type> {
    Binder::new(catalog, options, Arc::new(SourceMap::new(""))).bind_type(data_type)
}

/// A CTE in scope.
struct Cte {
    name: String,
    /// `None` while it is being bound under RECURSIVE.
    bound: Option<scope::Bound>,
    /// How many queries deep it was defined.
    depth: usize,
}

struct Binder<'a> {
    catalog: &'a dyn Catalog,
    options: &'a BindOptions,
    source: Arc<SourceMap>,
    parameters: Vec<Option<Type>>,
    notices: Vec<Notice>,
    settings: Vec<SetConfig>,
    ctes: Vec<Cte>,
    relations: usize,
    /// How many recursive queries there are.
    recursions: usize,
}

impl<'a> Binder<'a> {
    fn new(catalog: &'a dyn Catalog, options: &'a BindOptions, source: Arc<SourceMap>) -> Self {
        Binder {
            catalog,
            options,
            source,
            parameters: options.parameter_types.clone(),
            notices: Vec::new(),
            settings: Vec::new(),
            ctes: Vec::new(),
            relations: 0,
            recursions: 0,
        }
    }

    fn constant_context(&self) -> EvalContext<'_> {
        EvalContext { now_us: self.options.now_us, parameters: &[], time_zone: &self.options.session.time_zone }
    }

    /// Each relation costs; a statement has so many at most.
    fn count_relation(&mut self) -> Result<()> {
        self.relations += 1;
        if self.relations > MAX_RELATIONS {
            return Err(SqlError::new("54000", format!("a statement can read at most {MAX_RELATIONS} relations")));
        }
        Ok(())
    }

    fn check_weight(&self, plan: &Arc<Plan>) -> Result<()> {
        if edit::weight(plan) > MAX_PLAN_WEIGHT {
            return Err(SqlError::new("54001", "the query is too complex")
                .with_hint("Read a common table expression fewer times."));
        }
        Ok(())
    }

    fn notice(&mut self, notice: Notice) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    fn position(&self, location: Location) -> Option<usize> {
        self.source.position(location)
    }

    fn at(&self, span: Span) -> Option<usize> {
        self.position(span.start)
    }

    /// Proves the invariants and optimizes.
    fn finish(&self, plan: Arc<Plan>) -> Result<Arc<Plan>> {
        self.check_weight(&plan)?;
        let mut dangling = false;
        edit::walk(&plan, &mut |node| {
            edit::node_exprs(node, &mut |expr| {
                marks::for_each_ref(expr, &mut |r| dangling |= !matches!(r, marks::Ref::Local(_)));
            });
        });
        if dangling {
            return Err(SqlError::internal("a reference was left unresolved"));
        }
        crate::optimize::optimize(plan)
    }

    fn parameter_types(&self) -> Result<Vec<Type>> {
        self.parameters
            .iter()
            .enumerate()
            .map(|(n, ty)| {
                ty.clone().ok_or_else(|| {
                    SqlError::new("42P18", format!("could not determine data type of parameter ${}", n + 1))
                })
            })
            .collect()
    }
}

/// The identifiers of a name, folded.
fn name_parts(name: &ast::ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ast::ObjectNamePart::Identifier(ident) => Ok(crate::parser::fold(ident)),
            ast::ObjectNamePart::Function(_) => Err(SqlError::unsupported("a function as part of a name")),
        })
        .collect()
}

fn name_location(name: &ast::ObjectName) -> Location {
    match name.0.first() {
        Some(ast::ObjectNamePart::Identifier(ident)) => ident.span.start,
        _ => Location { line: 0, column: 0 },
    }
}
