//! Equalities between the two sides of a join become its keys, so that rows find each other by an
//! index instead of by trying all pairs.

use std::sync::Arc;

use super::cost::{for_each_column, reads_only, shift};
use crate::binder::compatible_keys;
use crate::binder::edit::{self, conjunction, conjuncts};
use crate::expr::{Expr, ExprKind};
use crate::plan::{JoinKey, JoinKind, Plan};

pub(super) fn extract_keys(plan: &Arc<Plan>) -> Arc<Plan> {
    edit::rebuild(plan, &mut |node| {
        if let Plan::Join { left, kind, keys, residual, .. } = node
            && *kind != JoinKind::NullAwareAnti
            && let Some(condition) = residual.take()
        {
            let width = left.fields().len();
            let mut conditions = Vec::new();
            conjuncts(condition, &mut conditions);
            let mut rest = Vec::new();
            for condition in conditions {
                match key(&condition, width) {
                    Some(key) if !keys.contains(&key) => keys.push(key),
                    Some(_) => {}
                    None => rest.push(condition),
                }
            }
            *residual = conjunction(rest);
        }
    })
}

fn key(condition: &Expr, width: usize) -> Option<JoinKey> {
    let (a, b, null_safe) = match &condition.kind {
        ExprKind::Call { function, args } if function.name == "=" => match &args[..] {
            [a, b] => (a, b, false),
            _ => return None,
        },
        ExprKind::NotDistinct(a, b) => (&**a, &**b, true),
        _ => return None,
    };
    if a.ty != b.ty && !compatible_keys(&a.ty, &b.ty) {
        return None;
    }
    let reads = |e: &Expr| {
        let mut any = false;
        for_each_column(e, &mut |_| any = true);
        any
    };
    let left_only = |e: &Expr| reads(e) && reads_only(e, |c| c < width);
    let right_only = |e: &Expr| reads(e) && reads_only(e, |c| c >= width);
    let (left, right) = match () {
        () if left_only(a) && right_only(b) => (a, b),
        () if left_only(b) && right_only(a) => (b, a),
        () => return None,
    };
    Some(JoinKey { left: left.clone(), right: shift(right, -(width as isize)), null_safe })
}
