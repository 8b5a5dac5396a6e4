//! T5: a common table expression that selects `*` from nothing reads the one before it.

use sqlparser::ast::{Ident, ObjectName, Query, SelectItem, SetExpr, TableFactor, TableWithJoins};

use crate::error::Notice;

/// The query with `FROM previous`, if it selects `*` without a FROM.
pub(crate) fn implicit_from(query: &Query, previous: Option<&str>) -> Option<Query> {
    let previous = previous?;
    let SetExpr::Select(select) = &*query.body else { return None };
    let star = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    if !star || !select.from.is_empty() {
        return None;
    }
    let mut query = query.clone();
    if let SetExpr::Select(select) = &mut *query.body {
        select.from.push(TableWithJoins { relation: table(previous), joins: vec![] });
    }
    Some(query)
}

fn table(name: &str) -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_directives: vec![],
        inheritance: None,
    }
}

pub(crate) fn reads_previous(name: &str, previous: &str, position: Option<usize>) -> Notice {
    Notice {
        message: format!("\"{name}\" has no FROM and reads \"{previous}\""),
        hint: Some(format!("Write FROM {previous} to be portable.")),
        position,
    }
}
