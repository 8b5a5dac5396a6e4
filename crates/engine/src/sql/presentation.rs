//! The order that a view's query asks for: not a property of its rows, which are a multiset, but of
//! how they are shown to whoever reads them without asking for another.

use std::sync::Arc;

use ::sql::plan::{ScanColumn, SortKey};
use ::sql::{Expr, ExprKind, Plan, Source};
use views::Definitions;

/// The order at the top of a query, in terms of its output: its keys up to the first that is not an
/// output column.
pub(super) fn order_of(plan: &Plan) -> Vec<SortKey> {
    match plan {
        Plan::Sort { keys, .. } => shown_keys(keys, Some),
        Plan::Limit { input, .. } => order_of(input),
        Plan::Project { input, exprs, .. } if matches!(**input, Plan::Sort { .. } | Plan::Limit { .. }) => {
            shown_keys(&order_of(input), |column| position(exprs, column))
        }
        _ => Vec::new(),
    }
}

/// A query that shows a view's rows without an order of its own, in the view's order.
pub(super) fn presented(plan: Arc<Plan>, definitions: &Definitions) -> Arc<Plan> {
    let sorted = |input: &Arc<Plan>| {
        let keys = inherited(input, definitions);
        (!keys.is_empty()).then(|| Arc::new(Plan::Sort { input: Arc::clone(input), keys }))
    };
    match &*plan {
        Plan::Limit { input, offset, limit } => match sorted(input) {
            Some(input) => Arc::new(Plan::Limit { input, offset: offset.clone(), limit: limit.clone() }),
            None => plan,
        },
        _ => sorted(&plan).unwrap_or(plan),
    }
}

/// The order of the view below, where nothing in between makes other rows of its rows.
fn inherited(plan: &Plan, definitions: &Definitions) -> Vec<SortKey> {
    match plan {
        Plan::Scan { source: Source::View { db, name }, columns, .. } => {
            let Some(view) = definitions.view(db, name) else { return Vec::new() };
            shown_keys(&view.order, |column| columns.iter().position(|c| *c == ScanColumn::Whole(column)))
        }
        Plan::Filter { input, .. } => inherited(input, definitions),
        Plan::Project { input, exprs, .. } => {
            shown_keys(&inherited(input, definitions), |column| position(exprs, column))
        }
        _ => Vec::new(),
    }
}

fn position(exprs: &[Expr], column: usize) -> Option<usize> {
    exprs.iter().position(|expr| matches!(expr.kind, ExprKind::Column(c) if c == column))
}

/// The keys with their columns where they are above, up to the first that is not there.
fn shown_keys(keys: &[SortKey], place: impl Fn(usize) -> Option<usize>) -> Vec<SortKey> {
    let shown = |key: &SortKey| {
        let ExprKind::Column(column) = key.expr.kind else { return None };
        let expr = Expr::column(place(column)?, key.expr.ty.clone());
        Some(SortKey { expr, ..key.clone() })
    };
    keys.iter().map_while(shown).collect()
}
