//! T7: `CASE x WHEN 'a' AND condition THEN` means `x = 'a' AND condition`.

use sqlparser::ast::{BinaryOperator, Expr};

use crate::error::Notice;

/// The value and the conditions of `WHEN value AND condition AND …`. A first operand that is itself a
/// condition is no value: then the whole is compared, as it says.
pub(crate) fn when_with_condition(condition: &Expr) -> Option<(&Expr, Vec<&Expr>)> {
    let mut rest = Vec::new();
    let mut at = condition;
    while let Expr::BinaryOp { left, op: BinaryOperator::And, right } = at {
        rest.push(&**right);
        at = left;
    }
    if rest.is_empty() || is_condition(at) {
        return None;
    }
    rest.reverse();
    Some((at, rest))
}

fn is_condition(expr: &Expr) -> bool {
    use Expr::*;
    match expr {
        Nested(inner) => is_condition(inner),
        BinaryOp { op, .. } => {
            use BinaryOperator::*;
            matches!(op, And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq)
        }
        IsNull(_) | IsNotNull(_) | IsTrue(_) | IsNotTrue(_) | IsFalse(_) | IsNotFalse(_) | In { .. }
        | Between { .. } | Like { .. } | ILike { .. } | Exists { .. } => true,
        Value(value) => matches!(value.value, sqlparser::ast::Value::Boolean(_)),
        _ => false,
    }
}

pub(crate) fn case_condition(position: Option<usize>) -> Notice {
    Notice {
        message: "WHEN value AND condition compares the value and also tests the condition".into(),
        hint: Some("Write CASE WHEN operand = value AND condition THEN … to be portable.".into()),
        position,
    }
}
