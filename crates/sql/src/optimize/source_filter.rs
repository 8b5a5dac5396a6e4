//! What a stream's FILTER says about the events it can match, for the source to leave the others out.

use crate::catalog::stream_columns;
use crate::datum::Datum;
use crate::expr::{Expr, ExprKind};

/// A superset of what a filter lets through; `None` is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFilter {
    pub operation_types: Option<Vec<String>>,
    pub collections: Option<Vec<String>>,
}

/// Reads the operation types and collections off a bound filter over the columns of a stream.
pub fn filter_pushdown(filter: &Expr) -> SourceFilter {
    let column = |name: &str| stream_columns().iter().position(|field| field.name == name);
    SourceFilter {
        operation_types: column("operation_type").and_then(|c| values(filter, c)),
        collections: column("namespace_collection").and_then(|c| values(filter, c)),
    }
}

/// The values of a column for which the expression can be true.
fn values(expr: &Expr, column: usize) -> Option<Vec<String>> {
    let is_column = |e: &Expr| matches!(e.kind, ExprKind::Column(c) if c == column);
    match &expr.kind {
        ExprKind::And(list) => list.iter().filter_map(|e| values(e, column)).reduce(|mut a, b| {
            a.retain(|value| b.contains(value));
            a
        }),
        ExprKind::Or(list) => {
            let mut all: Vec<String> = Vec::new();
            for e in list {
                for value in values(e, column)? {
                    if !all.contains(&value) {
                        all.push(value);
                    }
                }
            }
            Some(all)
        }
        ExprKind::Call { function, args } if function.name == "=" => match &args[..] {
            [a, b] if is_column(a) => text(b).map(|value| vec![value]),
            [a, b] if is_column(b) => text(a).map(|value| vec![value]),
            _ => None,
        },
        ExprKind::InList { input, list, negated: false } if is_column(input) => list.iter().map(text).collect(),
        // Never true.
        ExprKind::Literal(Datum::Bool(false) | Datum::Null) => Some(vec![]),
        _ => None,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Literal(Datum::Text(text)) => Some(text.to_string()),
        _ => None,
    }
}
