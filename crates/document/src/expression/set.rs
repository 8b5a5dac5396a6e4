//! Set operators: arrays without order or repetition, elements equal under MongoDB's comparison.

use std::cmp::Ordering;

use super::operator::{Args, Operator, Shape};
use super::{Scope, compare_present, nullish, truthy, type_of};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::value::Value;

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$setUnion", shape: Shape::Any, run: union },
    Operator { name: "$setIntersection", shape: Shape::Any, run: intersection },
    Operator { name: "$setDifference", shape: Shape::Exactly(2), run: difference },
    Operator { name: "$setIsSubset", shape: Shape::Exactly(2), run: is_subset },
    Operator { name: "$setEquals", shape: Shape::Any, run: equals },
    Operator { name: "$anyElementTrue", shape: Shape::Exactly(1), run: |args, _| any_true(args) },
    Operator { name: "$allElementsTrue", shape: Shape::Exactly(1), run: |args, _| all_true(args) },
];

/// Sorted, without repetitions (the first of equal elements stays).
fn sorted(ctx: &Context, mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by(|a, b| compare_present(ctx, a, b));
    items.dedup_by(|a, b| compare_present(ctx, a, b).is_eq());
    items
}

fn contains(ctx: &Context, set: &[Value], value: &Value) -> bool {
    set.binary_search_by(|probe| compare_present(ctx, probe, value)).is_ok()
}

/// Every argument as an array; `None` if one is nullish.
fn arrays(args: Args, code: i32) -> Result<Option<Vec<Vec<Value>>>> {
    let op = args.op;
    let mut all = Vec::with_capacity(args.len());
    for value in args.into_values() {
        match value {
            Some(Value::Array(items)) => all.push(items),
            value if nullish(&value) => return Ok(None),
            value => {
                return Err(Error::new(
                    code,
                    format!("All operands of {op} must be arrays. One argument is of type: {}", type_of(&value)),
                ));
            }
        }
    }
    Ok(Some(all))
}

fn union(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(all) = arrays(args, 17043)? else { return Ok(Some(Value::Null)) };
    Ok(Some(Value::Array(sorted(scope.ctx, all.into_iter().flatten().collect()))))
}

fn intersection(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(all) = arrays(args, 17047)? else { return Ok(Some(Value::Null)) };
    let mut all = all.into_iter();
    let mut common = sorted(scope.ctx, all.next().unwrap_or_default());
    for items in all {
        let items = sorted(scope.ctx, items);
        common.retain(|value| contains(scope.ctx, &items, value));
    }
    Ok(Some(Value::Array(common)))
}

/// Two array arguments with a code each.
fn pair(mut args: Args, codes: [i32; 2]) -> Result<(Vec<Value>, Vec<Value>)> {
    let op = args.op;
    let mut one = |i: usize| match args.take(i) {
        Some(Value::Array(items)) => Ok(items),
        value => Err(Error::new(
            codes[i],
            format!(
                "both operands of {op} must be arrays. {} argument is of type: {}",
                ["First", "Second"][i],
                type_of(&value)
            ),
        )),
    };
    Ok((one(0)?, one(1)?))
}

fn difference(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    if args.any_nullish() {
        return Ok(Some(Value::Null));
    }
    let (kept, removed) = pair(args, [17048, 17049])?;
    let removed = sorted(scope.ctx, removed);
    // The order of the first array stays: number its elements, sort, keep each value's first place.
    let mut numbered: Vec<(usize, Value)> =
        kept.into_iter().enumerate().filter(|(_, value)| !contains(scope.ctx, &removed, value)).collect();
    let by_value = |a: &(usize, Value), b: &(usize, Value)| compare_present(scope.ctx, &a.1, &b.1);
    numbered.sort_by(|a, b| by_value(a, b).then(a.0.cmp(&b.0)));
    numbered.dedup_by(|a, b| by_value(a, b) == Ordering::Equal);
    numbered.sort_by_key(|(i, _)| *i);
    Ok(Some(Value::Array(numbered.into_iter().map(|(_, value)| value).collect())))
}

fn is_subset(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let (part, whole) = pair(args, [17046, 17042])?;
    let whole = sorted(scope.ctx, whole);
    Ok(Some(Value::Bool(part.iter().all(|value| contains(scope.ctx, &whole, value)))))
}

fn equals(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    if args.len() < 2 {
        return Err(Error::new(17045, format!("$setEquals needs at least two arguments had: {}", args.len())));
    }
    let mut first: Option<Vec<Value>> = None;
    let mut equal = true;
    for (i, value) in args.into_values().enumerate() {
        let Some(Value::Array(items)) = value else {
            return Err(Error::new(
                17044,
                format!(
                    "All operands of $setEquals must be arrays. {}-th argument is of type: {}",
                    i + 1,
                    type_of(&value)
                ),
            ));
        };
        let items = sorted(scope.ctx, items);
        match &first {
            None => first = Some(items),
            Some(first) => {
                equal &= first.len() == items.len()
                    && first.iter().zip(&items).all(|(a, b)| compare_present(scope.ctx, a, b).is_eq());
            }
        }
    }
    Ok(Some(Value::Bool(equal)))
}

fn one_array(mut args: Args, code: i32) -> Result<Vec<Value>> {
    match args.take(0) {
        Some(Value::Array(items)) => Ok(items),
        value => Err(Error::new(code, format!("{}'s argument must be an array, but is {}", args.op, type_of(&value)))),
    }
}

fn any_true(args: Args) -> Result<Option<Value>> {
    Ok(Some(Value::Bool(one_array(args, 17041)?.into_iter().any(|value| truthy(&Some(value))))))
}

fn all_true(args: Args) -> Result<Option<Value>> {
    Ok(Some(Value::Bool(one_array(args, 17040)?.into_iter().all(|value| truthy(&Some(value))))))
}
