//! Evaluates bound expressions, one row at a time.
//!
//! Only what can change the answer is evaluated: AND and OR stop at the operand that decides, CASE
//! and COALESCE at the branch they take. An error carries the position of the innermost expression
//! that raised it.

#[cfg(test)]
mod tests;

use document::Raw;
use smallvec::SmallVec;

use crate::cast;
use crate::compare::sql_equal;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{EvalContext, Expr, ExprKind};
use crate::functions::{ScalarFunction, Types};
use crate::json;

/// Arguments of a call; most functions have at most four.
type Arguments = SmallVec<[Datum; 4]>;

impl Expr {
    /// The value for a row. Errors with the SQLSTATE and position of what failed.
    pub fn eval(&self, row: &[Datum], ctx: &EvalContext<'_>) -> Result<Datum> {
        self.evaluate(row, ctx).map_err(|error| error.at(self.position.map(|p| p as usize)))
    }

    /// Whether a condition holds; NULL does not.
    pub fn eval_predicate(&self, row: &[Datum], ctx: &EvalContext<'_>) -> Result<bool> {
        Ok(matches!(self.eval(row, ctx)?, Datum::Bool(true)))
    }

    fn evaluate(&self, row: &[Datum], ctx: &EvalContext<'_>) -> Result<Datum> {
        match &self.kind {
            ExprKind::Column(index) => {
                row.get(*index).cloned().ok_or_else(|| SqlError::internal(format!("row has no column {index}")))
            }
            ExprKind::Literal(datum) => Ok(datum.clone()),
            ExprKind::Parameter(index) => ctx
                .parameters
                .get(*index)
                .cloned()
                .ok_or_else(|| SqlError::new("08P01", format!("there is no parameter ${}", index + 1))),
            ExprKind::Now => Ok(Datum::Timestamp(ctx.now_us)),
            ExprKind::Call { function, args } => {
                let mut values = Arguments::new();
                for arg in args {
                    let value = arg.eval(row, ctx)?;
                    if function.strict && value.is_null() {
                        return Ok(Datum::Null);
                    }
                    values.push(value);
                }
                function.call_unchecked(&values, Types::of_arguments(args, &self.ty), ctx)
            }
            ExprKind::Cast { input, explicit } => {
                cast::cast(&input.eval(row, ctx)?, &input.ty, &self.ty, *explicit, ctx)
            }
            ExprKind::And(operands) => connect(operands, row, ctx, false),
            ExprKind::Or(operands) => connect(operands, row, ctx, true),
            ExprKind::Not(operand) => Ok(match operand.eval(row, ctx)? {
                Datum::Null => Datum::Null,
                value => Datum::Bool(!value.as_bool()?),
            }),
            ExprKind::IsNull(operand) => Ok(Datum::Bool(operand.eval(row, ctx)?.is_null())),
            ExprKind::NotDistinct(a, b) => {
                let (a, b) = (a.eval(row, ctx)?, b.eval(row, ctx)?);
                Ok(Datum::Bool(match (a.is_null(), b.is_null()) {
                    (true, true) => true,
                    (false, false) => sql_equal(&a, &b),
                    _ => false,
                }))
            }
            ExprKind::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    if condition.eval_predicate(row, ctx)? {
                        return result.eval(row, ctx);
                    }
                }
                otherwise.as_ref().map_or(Ok(Datum::Null), |otherwise| otherwise.eval(row, ctx))
            }
            ExprKind::Coalesce(operands) => {
                for operand in operands {
                    let value = operand.eval(row, ctx)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Datum::Null)
            }
            ExprKind::InList { input, list, negated } => in_list(input, list, *negated, row, ctx),
            ExprKind::Quantified { function, input, array, all } => {
                let (input_value, array_value) = (input.eval(row, ctx)?, array.eval(row, ctx)?);
                quantified(function, (input, &input_value), (array, &array_value), *all, ctx)
            }
            ExprKind::Array(items) => eval_all(items, row, ctx).map(|items| Datum::Array(items.into())),
            ExprKind::Record(items) => eval_all(items, row, ctx).map(|items| Datum::Record(items.into())),
            ExprKind::Subscript { array, index } => subscript(&array.eval(row, ctx)?, &index.eval(row, ctx)?),
        }
    }
}

fn eval_all(items: &[Expr], row: &[Datum], ctx: &EvalContext<'_>) -> Result<Vec<Datum>> {
    items.iter().map(|item| item.eval(row, ctx)).collect()
}

/// AND (decided by false) or OR (decided by true).
fn connect(operands: &[Expr], row: &[Datum], ctx: &EvalContext<'_>, decisive: bool) -> Result<Datum> {
    let mut unknown = false;
    for operand in operands {
        match operand.eval(row, ctx)? {
            Datum::Null => unknown = true,
            value if value.as_bool()? == decisive => return Ok(Datum::Bool(decisive)),
            _ => {}
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(!decisive) })
}

fn in_list(input: &Expr, list: &[Expr], negated: bool, row: &[Datum], ctx: &EvalContext<'_>) -> Result<Datum> {
    let value = input.eval(row, ctx)?;
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let mut unknown = false;
    for item in list {
        match &item.kind {
            // The usual case, without a copy of the literal.
            ExprKind::Literal(literal) if !literal.is_null() => {
                if sql_equal(&value, literal) {
                    return Ok(Datum::Bool(!negated));
                }
            }
            _ => match item.eval(row, ctx)? {
                Datum::Null => unknown = true,
                item if sql_equal(&value, &item) => return Ok(Datum::Bool(!negated)),
                _ => {}
            },
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(negated) })
}

fn quantified(
    function: &ScalarFunction,
    (input, value): (&Expr, &Datum),
    (array, items): (&Expr, &Datum),
    all: bool,
    ctx: &EvalContext<'_>,
) -> Result<Datum> {
    if items.is_null() {
        return Ok(Datum::Null);
    }
    let element = match &array.ty {
        crate::types::Type::Array(element) => element,
        other => other,
    };
    let types = [input.ty.clone(), element.clone()];
    let mut unknown = false;
    for item in items.as_array()?.iter() {
        match function.call(&[value.clone(), item.clone()], Types::of_list(&types, &crate::types::Type::Bool), ctx)? {
            Datum::Null => unknown = true,
            answer if answer.as_bool()? != all => return Ok(Datum::Bool(!all)),
            _ => {}
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
}

/// `array[i]` from 1; of a JSON value a field, or an element from 0.
fn subscript(array: &Datum, index: &Datum) -> Result<Datum> {
    match (array, index) {
        (Datum::Null, _) | (_, Datum::Null) => Ok(Datum::Null),
        (Datum::Json(value), _) => {
            let found = match (value.raw(), index) {
                (Raw::Array(array), Datum::Int(n)) => json::element(array, *n),
                (raw, Datum::Text(key)) => json::step(raw, key),
                _ => None,
            };
            Ok(found.map_or(Datum::Null, |found| Datum::Json(value.share(found))))
        }
        _ => {
            let index = index.as_int()?.checked_sub(1).and_then(|i| usize::try_from(i).ok());
            Ok(index.and_then(|i| array.as_array().ok()?.get(i).cloned()).unwrap_or(Datum::Null))
        }
    }
}
