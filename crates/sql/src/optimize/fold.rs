//! Constant folding: what depends on nothing is computed once. Errors stay for the row that raises
//! them: `1/0` in a branch that is never taken is no error.

use std::sync::Arc;

use crate::binder::edit;
use crate::datum::Datum;
use crate::expr::{EvalContext, Expr, ExprKind};
use crate::functions::Volatility;
use crate::plan::Plan;
use crate::types::Type;

/// Longest constant that replaces the expression it comes from, in bytes; `repeat('x', 1e6)` stays.
const MAX_FOLDED: usize = 4096;

pub(super) fn fold(plan: &Arc<Plan>) -> Arc<Plan> {
    edit::map_exprs(plan, &mut fold_expr)
}

pub(super) fn fold_expr(expr: &mut Expr) {
    expr.for_each_child_mut(&mut fold_expr);
    match &mut expr.kind {
        ExprKind::And(list) => fold_connective(list, true),
        ExprKind::Or(list) => fold_connective(list, false),
        ExprKind::Case { branches, otherwise } => {
            branches.retain(|(condition, _)| !is_false(condition));
            if let Some(at) = branches.iter().position(|(condition, _)| super::cost::is_true(condition)) {
                let (_, result) = branches.swap_remove(at);
                branches.truncate(at);
                *otherwise = Some(Box::new(result));
            }
        }
        _ => {}
    }
    collapse(expr);
    if is_foldable(expr)
        && let Ok(datum) = expr.eval(&[], &EvalContext::at(0))
        && is_small(&datum)
    {
        expr.kind = ExprKind::Literal(datum);
    }
}

/// Drops the neutral operands, and everything after a deciding one.
fn fold_connective(list: &mut Vec<Expr>, all: bool) {
    let constant = |e: &Expr| match e.kind {
        ExprKind::Literal(Datum::Bool(b)) => Some(b),
        _ => None,
    };
    list.retain(|e| constant(e) != Some(all));
    // An operand before the deciding one could raise an error, but need not: order is not promised.
    if let Some(at) = list.iter().position(|e| constant(e) == Some(!all)) {
        let decided = list.swap_remove(at);
        *list = vec![decided];
    }
}

fn collapse(expr: &mut Expr) {
    let replacement = match &mut expr.kind {
        ExprKind::And(list) | ExprKind::Or(list) if list.len() == 1 => list.pop(),
        ExprKind::And(list) if list.is_empty() => Some(Expr::literal(Datum::Bool(true), Type::Bool)),
        ExprKind::Or(list) if list.is_empty() => Some(Expr::literal(Datum::Bool(false), Type::Bool)),
        ExprKind::Case { branches, otherwise } if branches.is_empty() => match otherwise.take() {
            Some(result) => Some(*result),
            None => Some(Expr::literal(Datum::Null, expr.ty.clone())),
        },
        _ => None,
    };
    if let Some(replacement) = replacement {
        *expr = Expr { position: replacement.position.or(expr.position), ..replacement };
    }
}

fn is_false(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Literal(Datum::Bool(false) | Datum::Null))
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Literal(_))
}

/// All operands constant, and nothing that reads the session, the clock or a generator.
fn is_foldable(expr: &Expr) -> bool {
    let mut constant = true;
    expr.for_each_child(&mut |child| constant &= is_literal(child));
    if !constant {
        return false;
    }
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Column(_) | ExprKind::Parameter(_) | ExprKind::Now => false,
        ExprKind::Call { function, .. } | ExprKind::Quantified { function, .. } => {
            function.volatility == Volatility::Immutable
        }
        ExprKind::Cast { input, .. } => !reads_session(&input.ty) && !reads_session(&expr.ty),
        // Records have no type of their own to print, and arrays read better as they were written.
        ExprKind::Array(_) | ExprKind::Record(_) => false,
        _ => true,
    }
}

/// Conversions of these depend on the time zone, or on the catalogue.
fn reads_session(ty: &Type) -> bool {
    match ty {
        Type::Timestamptz | Type::Regclass | Type::Regtype | Type::Regproc | Type::Regnamespace | Type::Record => true,
        Type::Array(element) => reads_session(element),
        _ => false,
    }
}

fn is_small(datum: &Datum) -> bool {
    match datum {
        Datum::Text(text) => text.len() <= MAX_FOLDED,
        Datum::Bytea(bytes) => bytes.len() <= MAX_FOLDED,
        Datum::Json(json) => json.bytes().len() <= MAX_FOLDED,
        Datum::Array(items) | Datum::Record(items) => items.len() <= 64 && items.iter().all(is_small),
        _ => true,
    }
}
