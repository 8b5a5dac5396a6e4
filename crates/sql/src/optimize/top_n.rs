//! `ROW_NUMBER() OVER (PARTITION BY p ORDER BY o) <= n` keeps the first n rows of each partition, so
//! only those need to be numbered. Where nobody reads the number, `needs` removes the window.

use std::sync::Arc;

use super::Readers;
use crate::binder::edit::{self, conjunction, conjuncts};
use crate::datum::Datum;
use crate::expr::{Expr, ExprKind};
use crate::plan::{Plan, WindowExpr, WindowFunction};

pub(super) fn limit_partitions(plan: &Arc<Plan>) -> Arc<Plan> {
    let readers = Readers::of(plan);
    // Sharing is known of the old nodes; a filter with one reader has an input with at least one.
    let mut shared_windows = Vec::new();
    edit::walk(plan, &mut |node| {
        if matches!(**node, Plan::Window { .. }) && readers.is_shared(node) {
            shared_windows.push((**node).clone());
        }
    });
    edit::rebuild(plan, &mut |node| {
        let Plan::Filter { input, predicate } = node else { return };
        let Plan::Window { input: rows, exprs, fields } = &**input else { return };
        let [window] = &exprs[..] else { return };
        if window.function != WindowFunction::RowNumber || shared_windows.contains(input) {
            return;
        }
        let number = rows.fields().len();
        let mut conditions = Vec::new();
        conjuncts(predicate.clone(), &mut conditions);
        let Some((at, limit)) = conditions.iter().enumerate().find_map(|(n, c)| Some((n, bound(c, number)?))) else {
            return;
        };
        conditions.remove(at);
        let limited = Arc::new(numbered(rows, window, limit, fields));
        *node = match conjunction(conditions) {
            Some(predicate) => Plan::Filter { input: limited, predicate },
            None => (*limited).clone(),
        };
    })
}

fn numbered(rows: &Arc<Plan>, window: &WindowExpr, limit: u64, fields: &[crate::plan::Field]) -> Plan {
    let first = Plan::TopN {
        input: rows.clone(),
        partition: window.partition_by.clone(),
        order: window.order_by.clone(),
        offset: 0,
        limit: Some(limit),
    };
    Plan::Window { input: Arc::new(first), exprs: vec![window.clone()], fields: fields.to_vec() }
}

/// The n of `number <= n`, `number < n + 1`, `number = 1`, either way round.
fn bound(condition: &Expr, number: usize) -> Option<u64> {
    let ExprKind::Call { function, args } = &condition.kind else { return None };
    let [a, b] = &args[..] else { return None };
    let (operator, n) = match (&a.kind, &b.kind) {
        (ExprKind::Column(c), ExprKind::Literal(Datum::Int(n))) if *c == number => (function.name, *n),
        (ExprKind::Literal(Datum::Int(n)), ExprKind::Column(c)) if *c == number => match function.name {
            ">=" => ("<=", *n),
            ">" => ("<", *n),
            other => (other, *n),
        },
        _ => return None,
    };
    let limit = match operator {
        "<=" => n,
        "<" => n.checked_sub(1)?,
        "=" if n == 1 => 1,
        _ => return None,
    };
    u64::try_from(limit).ok()
}
