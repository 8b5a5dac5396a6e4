//! `$cmp`, `$eq` … `$lte`, `$not`, `$toBool`'s sibling questions.

use std::cmp::Ordering;

use super::operator::{Args, Operator, Shape};
use super::{Scope, compare, truthy};
use crate::error::Result;
use crate::value::Value;

pub(super) const OPERATORS: &[Operator] = &[
    Operator {
        name: "$cmp",
        shape: Shape::Exactly(2),
        run: |args, scope| Ok(Some(Value::Int32(order(&args, scope) as i32))),
    },
    Operator { name: "$eq", shape: Shape::Exactly(2), run: |args, scope| test(&args, scope, Ordering::is_eq) },
    Operator { name: "$ne", shape: Shape::Exactly(2), run: |args, scope| test(&args, scope, Ordering::is_ne) },
    Operator { name: "$gt", shape: Shape::Exactly(2), run: |args, scope| test(&args, scope, Ordering::is_gt) },
    Operator { name: "$gte", shape: Shape::Exactly(2), run: |args, scope| test(&args, scope, Ordering::is_ge) },
    Operator { name: "$lt", shape: Shape::Exactly(2), run: |args, scope| test(&args, scope, Ordering::is_lt) },
    Operator { name: "$lte", shape: Shape::Exactly(2), run: |args, scope| test(&args, scope, Ordering::is_le) },
    Operator { name: "$not", shape: Shape::Exactly(1), run: |args, _| Ok(Some(Value::Bool(!truthy(args.slot(0))))) },
];

fn order(args: &Args, scope: &Scope<'_>) -> Ordering {
    compare(scope.ctx, args.get(0), args.get(1))
}

fn test(args: &Args, scope: &Scope<'_>, is: fn(Ordering) -> bool) -> Result<Option<Value>> {
    Ok(Some(Value::Bool(is(order(args, scope)))))
}
