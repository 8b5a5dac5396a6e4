//! Which expressions may be computed again, or elsewhere.

use crate::datum::Datum;
use crate::expr::{Expr, ExprKind};
use crate::functions::Volatility;

/// Reading a column, a constant, or a path of constants inside a JSON value: as cheap as passing the
/// value on. `now()` is not: its value belongs to the row it was computed for.
pub(super) fn is_cheap(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Column(_) | ExprKind::Literal(_) | ExprKind::Parameter(_) => true,
        ExprKind::Call { function, args } if matches!(function.name, "->" | "->>") => match &args[..] {
            [value, key] => is_cheap(value) && matches!(key.kind, ExprKind::Literal(_)),
            _ => false,
        },
        ExprKind::Cast { input, .. } => is_cheap(input),
        _ => false,
    }
}

/// Gives the same value whenever it is computed for the same row.
pub(super) fn is_deterministic(expr: &Expr) -> bool {
    let mut deterministic = true;
    expr.walk(&mut |e| {
        if let ExprKind::Call { function, .. } | ExprKind::Quantified { function, .. } = &e.kind {
            deterministic &= function.volatility != Volatility::Volatile;
        }
    });
    deterministic
}

pub(super) fn is_true(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Literal(Datum::Bool(true)))
}

/// The expression with the columns of a projection replaced by their definitions.
pub(super) fn substitute(expr: &Expr, definitions: &[Expr]) -> Expr {
    if let ExprKind::Column(index) = expr.kind {
        return definitions[index].clone();
    }
    let mut expr = expr.clone();
    expr.for_each_child_mut(&mut |child| *child = substitute(child, definitions));
    expr
}

/// Calls `visit` with each column that is read, as often as it is.
pub(super) fn for_each_column(expr: &Expr, visit: &mut dyn FnMut(usize)) {
    expr.walk(&mut |e| {
        if let ExprKind::Column(index) = e.kind {
            visit(index);
        }
    });
}

pub(super) fn reads_only(expr: &Expr, allowed: impl Fn(usize) -> bool) -> bool {
    let mut only = true;
    for_each_column(expr, &mut |column| only &= allowed(column));
    only
}

pub(super) fn shift(expr: &Expr, by: isize) -> Expr {
    let mut expr = expr.clone();
    remap(&mut expr, &|column| column.saturating_add_signed(by));
    expr
}

pub(super) fn remap(expr: &mut Expr, map: &dyn Fn(usize) -> usize) {
    if let ExprKind::Column(index) = &mut expr.kind {
        *index = map(*index);
    }
    expr.for_each_child_mut(&mut |child| remap(child, map));
}
