//! T6: WHERE may use an alias of its own SELECT list, if no column has the name.

use sqlparser::ast::{Expr, SelectItem};

use crate::error::Notice;
use crate::parser::fold;

/// The expression that a SELECT list gives this name, if exactly one.
pub(crate) fn alias_definition<'a>(name: &str, projection: &'a [SelectItem]) -> Option<&'a Expr> {
    let mut named = projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if fold(alias) == name => Some(expr),
        _ => None,
    });
    let first = named.next()?;
    named.next().is_none().then_some(first)
}

pub(crate) fn alias_in_where(name: &str, position: Option<usize>) -> Notice {
    Notice {
        message: format!("WHERE reads \"{name}\" of the SELECT list"),
        hint: Some("In PostgreSQL WHERE does not see the SELECT list; repeat the expression to be portable.".into()),
        position,
    }
}
