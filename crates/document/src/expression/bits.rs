//! `$bitAnd`, `$bitOr`, `$bitXor`, `$bitNot` over int32 and int64.

use super::operator::{Args, Operator, Shape};
use super::{nullish, type_of};
use crate::error::{Error, Result};
use crate::value::Value;

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$bitAnd", shape: Shape::Any, run: |args, _| fold(args, -1, |a, b| a & b) },
    Operator { name: "$bitOr", shape: Shape::Any, run: |args, _| fold(args, 0, |a, b| a | b) },
    Operator { name: "$bitXor", shape: Shape::Any, run: |args, _| fold(args, 0, |a, b| a ^ b) },
    Operator { name: "$bitNot", shape: Shape::Exactly(1), run: |args, _| not(args) },
];

fn unsupported(op: &str, value: &Option<Value>) -> Error {
    Error::type_mismatch(format!("{op} only supports int and long, not: {}.", type_of(value)))
}

/// int32 as long as every argument is one; sign extension makes the wide result right for both.
fn fold(args: Args, start: i64, combine: fn(i64, i64) -> i64) -> Result<Option<Value>> {
    let op = args.op;
    let (mut bits, mut wide, mut null) = (start, false, false);
    for value in args.values() {
        match value {
            Some(Value::Int32(n)) => bits = combine(bits, i64::from(*n)),
            Some(Value::Int64(n)) => {
                bits = combine(bits, *n);
                wide = true;
            }
            value if nullish(value) => null = true,
            value => return Err(unsupported(op, value)),
        }
    }
    Ok(Some(match (null, wide) {
        (true, _) => Value::Null,
        (_, true) => Value::Int64(bits),
        (_, false) => Value::Int32(bits as i32),
    }))
}

fn not(args: Args) -> Result<Option<Value>> {
    Ok(Some(match args.slot(0) {
        Some(Value::Int32(n)) => Value::Int32(!n),
        Some(Value::Int64(n)) => Value::Int64(!n),
        value if nullish(value) => Value::Null,
        value => return Err(unsupported("$bitNot", value)),
    }))
}
