//! What a column number means while a query is being bound.
//!
//! A finished plan knows only columns of an operator's input. On the way there an expression also
//! refers to columns of an enclosing query, and to aggregates, window functions, subqueries and
//! set-returning functions whose operators do not exist yet. These references live in the upper
//! bits of `ExprKind::Column`, so that every rewrite of expressions carries them along; `finish`
//! proves that none is left.

use crate::expr::{Expr, ExprKind};
use crate::types::Type;

const LEVEL_SHIFT: u32 = 40;
const KIND_SHIFT: u32 = 60;
const COLUMN_MASK: usize = (1 << LEVEL_SHIFT) - 1;
const LEVEL_MASK: usize = (1 << (KIND_SHIFT - LEVEL_SHIFT)) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ref {
    /// A column of the input row.
    Local(usize),
    /// A column of the query `level` (from 1) levels out.
    Outer {
        level: usize,
        column: usize,
    },
    /// The n-th entry of the query's lists, see `select::State`.
    Aggregate(usize),
    Window(usize),
    Subquery(usize),
    SetReturning(usize),
}

impl Ref {
    pub fn encode(self) -> usize {
        match self {
            Ref::Local(column) => column,
            Ref::Outer { level, column } => (level << LEVEL_SHIFT) | column,
            Ref::Aggregate(n) => (1 << KIND_SHIFT) | n,
            Ref::Window(n) => (2 << KIND_SHIFT) | n,
            Ref::Subquery(n) => (3 << KIND_SHIFT) | n,
            Ref::SetReturning(n) => (4 << KIND_SHIFT) | n,
        }
    }

    pub fn decode(index: usize) -> Ref {
        let column = index & COLUMN_MASK;
        match (index >> KIND_SHIFT, (index >> LEVEL_SHIFT) & LEVEL_MASK) {
            (0, 0) => Ref::Local(column),
            (0, level) => Ref::Outer { level, column },
            (1, _) => Ref::Aggregate(column),
            (2, _) => Ref::Window(column),
            (3, _) => Ref::Subquery(column),
            _ => Ref::SetReturning(column),
        }
    }

    pub fn expr(self, ty: Type) -> Expr {
        Expr::column(self.encode(), ty)
    }
}

/// The reference an expression is, if it is one.
pub(super) fn reference(expr: &Expr) -> Option<Ref> {
    match expr.kind {
        ExprKind::Column(index) => Some(Ref::decode(index)),
        _ => None,
    }
}

/// Replaces every reference.
pub(super) fn map_refs(expr: &mut Expr, map: &mut dyn FnMut(Ref) -> Ref) {
    if let ExprKind::Column(index) = &mut expr.kind {
        *index = map(Ref::decode(*index)).encode();
    }
    expr.for_each_child_mut(&mut |child| map_refs(child, map));
}

/// Moves columns of the input row; references outwards stay.
pub(super) fn map_locals(expr: &mut Expr, map: &dyn Fn(usize) -> usize) {
    map_refs(expr, &mut |r| match r {
        Ref::Local(column) => Ref::Local(map(column)),
        other => other,
    });
}

pub(super) fn shifted(expr: &Expr, by: usize) -> Expr {
    let mut expr = expr.clone();
    map_locals(&mut expr, &|column| column + by);
    expr
}

/// The expression as a query `levels` further in sees it.
pub(super) fn raise(expr: &mut Expr, levels: usize) {
    if levels == 0 {
        return;
    }
    map_refs(expr, &mut |r| match r {
        Ref::Local(column) => Ref::Outer { level: levels, column },
        Ref::Outer { level, column } => Ref::Outer { level: level + levels, column },
        other => other,
    });
}

/// Calls `visit` for every reference.
pub(super) fn for_each_ref(expr: &Expr, visit: &mut dyn FnMut(Ref)) {
    expr.walk(&mut |e| {
        if let Some(r) = reference(e) {
            visit(r);
        }
    });
}

pub(super) fn has_level(expr: &Expr, wanted: usize) -> bool {
    let mut found = false;
    for_each_ref(expr, &mut |r| found |= matches!(r, Ref::Outer { level, .. } if level == wanted));
    found
}

pub(super) fn has_local(expr: &Expr) -> bool {
    let mut found = false;
    for_each_ref(expr, &mut |r| found |= matches!(r, Ref::Local(_)));
    found
}

/// Equal but for positions.
pub(crate) fn same(a: &Expr, b: &Expr) -> bool {
    a.same(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_survive_encoding() {
        for r in [
            Ref::Local(0),
            Ref::Local(COLUMN_MASK),
            Ref::Outer { level: 1, column: 7 },
            Ref::Outer { level: 900, column: 0 },
            Ref::Aggregate(3),
            Ref::Window(0),
            Ref::Subquery(9),
            Ref::SetReturning(1),
        ] {
            assert_eq!(Ref::decode(r.encode()), r);
        }
    }
}
