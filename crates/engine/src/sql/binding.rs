//! From statements to plans: what the binder is told about this session.

use std::sync::Arc;

use ::sql::binder::{self, BindOptions};
use ::sql::catalog::stream_columns;
use ::sql::parser::statement::{Predicate, Query};
use ::sql::{Catalog, Expr, Field, Notice, Plan, Relation, Source, SqlError, Type};
use views::names::SessionCatalog;

/// A bound query.
#[derive(Debug)]
pub(crate) struct Bound {
    pub plan: Arc<Plan>,
    /// Of the parameters, inferred where the client did not say.
    pub parameters: Vec<Type>,
    pub notices: Vec<Notice>,
    /// What it sets in the session.
    pub settings: Vec<binder::SetConfig>,
}

/// Binds a query; `types` are the parameter types that the client named.
pub(crate) fn query(
    query: &Query,
    catalog: &SessionCatalog,
    types: &[Option<Type>],
    options: BindOptions,
) -> Result<Bound, SqlError> {
    let options = BindOptions { parameter_types: types.to_vec(), ..options };
    let bound = binder::bind_query(query, catalog, &options)?;
    Ok(Bound { plan: bound.plan, parameters: bound.parameter_types, notices: bound.notices, settings: bound.settings })
}

/// A stream's FILTER, over the columns of streams.
pub(crate) fn stream_filter(filter: &Predicate) -> Result<binder::BoundFilter, SqlError> {
    let source = Source::Stream { db: String::new(), name: String::new(), since: None, up_to: None };
    let relation = Relation { source, columns: stream_columns(), open: None, key: vec![0] };
    binder::bind_filter(filter, &relation, &NoNames, &BindOptions::default())
}

/// The condition of a statement about dead letters, over their columns.
pub(crate) fn letter_filter(filter: &Predicate, columns: &[Field]) -> Result<Expr, SqlError> {
    let source = Source::System { schema: "headwater".to_owned(), name: "dead_letters".to_owned() };
    let relation = Relation { source, columns: columns.to_vec(), open: None, key: Vec::new() };
    Ok(binder::bind_filter(filter, &relation, &NoNames, &BindOptions::default())?.predicate)
}

/// An expression over rows of these columns, such as a sink's priority.
pub(crate) fn row_expression(expr: &Predicate, columns: &[Field]) -> Result<Expr, SqlError> {
    let source = Source::System { schema: "headwater".to_owned(), name: "rows".to_owned() };
    let relation = Relation { source, columns: columns.to_vec(), open: None, key: Vec::new() };
    binder::bind_scalar(expr, &relation, &NoNames, &BindOptions::default())
}

/// A filter sees nothing but its event.
struct NoNames;

impl Catalog for NoNames {
    fn database(&self) -> &str {
        ""
    }

    fn relation(&self, _: Option<&str>, _: &str) -> Option<Relation> {
        None
    }

    fn stream(&self, _: &str) -> Option<Relation> {
        None
    }
}
