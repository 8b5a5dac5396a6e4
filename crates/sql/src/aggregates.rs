//! Aggregate functions: names, parameter types and result types.
//!
//! # Not here
//! Accumulators (`dataflow`); the arithmetic of their final steps (`numeric/statistics.rs`).

#[cfg(test)]
mod tests;

use crate::cast::{CastContext, can_cast};
use crate::error::{Result, SqlError};
use crate::plan::AggregateFunction;
use crate::types::Type;

/// A chosen aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedAggregate {
    pub function: AggregateFunction,
    /// What each argument must be cast to. For ordered-set aggregates: the direct arguments, then
    /// the aggregated one.
    pub parameter_types: Vec<Type>,
    pub result: Type,
}

/// Is this the name of an aggregate?
pub fn exists(name: &str) -> bool {
    by_name(name).is_some()
}

/// Does the aggregate take its input from WITHIN GROUP (ORDER BY …)?
pub fn is_ordered_set(function: AggregateFunction) -> bool {
    use AggregateFunction::*;
    matches!(function, PercentileCont | PercentileDisc | Mode)
}

/// Is it over pairs (Y, X) of doubles, those with a NULL left out?
pub fn is_regression(function: AggregateFunction) -> bool {
    use AggregateFunction::*;
    matches!(
        function,
        CovarPop
            | CovarSamp
            | Corr
            | RegrCount
            | RegrAvgX
            | RegrAvgY
            | RegrSxx
            | RegrSyy
            | RegrSxy
            | RegrSlope
            | RegrIntercept
            | RegrR2
    )
}

/// The aggregate of a name; `count` is the one with an argument.
pub fn by_name(name: &str) -> Option<AggregateFunction> {
    use AggregateFunction::*;
    Some(match name {
        "count" => Count,
        "sum" => Sum,
        "avg" => Avg,
        "min" => Min,
        "max" => Max,
        "bool_and" | "every" => BoolAnd,
        "bool_or" => BoolOr,
        "string_agg" => StringAgg,
        "array_agg" => ArrayAgg,
        "json_agg" | "jsonb_agg" => JsonAgg,
        "json_object_agg" | "jsonb_object_agg" => JsonObjectAgg,
        "stddev_pop" => StddevPop,
        "stddev" | "stddev_samp" => StddevSamp,
        "var_pop" => VarPop,
        "variance" | "var_samp" => VarSamp,
        "percentile_cont" => PercentileCont,
        "percentile_disc" => PercentileDisc,
        "mode" => Mode,
        "bit_and" => BitAnd,
        "bit_or" => BitOr,
        "bit_xor" => BitXor,
        "covar_pop" => CovarPop,
        "covar_samp" => CovarSamp,
        "corr" => Corr,
        "regr_count" => RegrCount,
        "regr_avgx" => RegrAvgX,
        "regr_avgy" => RegrAvgY,
        "regr_sxx" => RegrSxx,
        "regr_syy" => RegrSyy,
        "regr_sxy" => RegrSxy,
        "regr_slope" => RegrSlope,
        "regr_intercept" => RegrIntercept,
        "regr_r2" => RegrR2,
        "any_value" => AnyValue,
        _ => return None,
    })
}

/// Chooses an aggregate's types; `None` if no aggregate has this name. `count(*)` has no argument.
/// Ordered-set aggregates get their direct arguments, then the types of WITHIN GROUP's ORDER BY.
/// Errors with 42883.
pub fn resolve(name: &str, args: &[Type]) -> Option<Result<ResolvedAggregate>> {
    let function = match (by_name(name)?, args) {
        (AggregateFunction::Count, []) => AggregateFunction::CountStar,
        (function, _) => function,
    };
    Some(
        signature(function, args)
            .map(|(parameter_types, result)| ResolvedAggregate { function, parameter_types, result })
            .ok_or_else(|| {
                let types: Vec<String> = args.iter().map(Type::to_string).collect();
                SqlError::new("42883", format!("function {name}({}) does not exist", types.join(", "))).with_hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                )
            }),
    )
}

fn signature(function: AggregateFunction, args: &[Type]) -> Option<(Vec<Type>, Type)> {
    use AggregateFunction::*;
    let known = |ty: &Type| if *ty == Type::Unknown { Type::Text } else { ty.clone() };
    let same = |ty: &Type| Some((vec![ty.clone()], ty.clone()));
    match (function, args) {
        (CountStar, []) => Some((vec![], Type::Int8)),
        (Count, [ty]) => Some((vec![known(ty)], Type::Int8)),
        (Sum, [ty]) => sum(ty),
        (Avg, [ty]) => average(ty),
        (Min | Max, [ty]) => extreme(ty),
        (AnyValue, [ty]) => same(&known(ty)),
        (BoolAnd | BoolOr, [Type::Bool | Type::Unknown]) => same(&Type::Bool),
        (BitAnd | BitOr | BitXor, [ty]) if ty.is_integer() => same(ty),
        (StringAgg, [Type::Bytea, Type::Bytea | Type::Unknown]) => None,
        (StringAgg, [a, b]) if implicit(a, &Type::Text) && implicit(b, &Type::Text) => {
            Some((vec![Type::Text, Type::Text], Type::Text))
        }
        (ArrayAgg, [ty]) => {
            let element = known(ty);
            // Arrays aggregate into one more dimension of the same type.
            let result = if let Type::Array(_) = element { element.clone() } else { Type::array_of(element.clone()) };
            Some((vec![element], result))
        }
        (JsonAgg, [ty]) => Some((vec![known(ty)], Type::Json)),
        (JsonObjectAgg, [key, value]) => Some((vec![known(key), known(value)], Type::Json)),
        (StddevPop | StddevSamp | VarPop | VarSamp, [ty]) => match ty {
            Type::Float4 | Type::Float8 | Type::Unknown => Some((vec![Type::Float8], Type::Float8)),
            Type::Numeric(_) | Type::Int2 | Type::Int4 | Type::Int8 => {
                Some((vec![Type::Numeric(None)], Type::Numeric(None)))
            }
            _ => None,
        },
        (function, [a, b]) if is_regression(function) && implicit(a, &Type::Float8) && implicit(b, &Type::Float8) => {
            let result = if function == RegrCount { Type::Int8 } else { Type::Float8 };
            Some((vec![Type::Float8, Type::Float8], result))
        }
        (Mode, [ty]) => same(&known(ty)),
        (PercentileDisc | PercentileCont, [fraction, ty]) => percentile(function, fraction, ty),
        _ => None,
    }
}

fn implicit(from: &Type, to: &Type) -> bool {
    can_cast(from, to) == Some(CastContext::Implicit)
}

fn sum(ty: &Type) -> Option<(Vec<Type>, Type)> {
    let result = match ty {
        Type::Int2 | Type::Int4 => Type::Int8,
        Type::Int8 | Type::Numeric(_) => Type::Numeric(None),
        Type::Float4 | Type::Float8 | Type::Interval => ty.clone(),
        Type::Unknown => return Some((vec![Type::Float8], Type::Float8)),
        _ => return None,
    };
    Some((vec![ty.clone()], result))
}

fn average(ty: &Type) -> Option<(Vec<Type>, Type)> {
    let result = match ty {
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Numeric(_) => Type::Numeric(None),
        Type::Float4 | Type::Float8 => Type::Float8,
        Type::Interval => Type::Interval,
        Type::Unknown => return Some((vec![Type::Float8], Type::Float8)),
        _ => return None,
    };
    // The mean of reals is computed in double precision.
    let parameter = if *ty == Type::Float4 { Type::Float8 } else { ty.clone() };
    Some((vec![parameter], result))
}

/// min and max: every type with an order that PostgreSQL gives them, and (beyond it) booleans,
/// UUIDs and JSON.
fn extreme(ty: &Type) -> Option<(Vec<Type>, Type)> {
    let taken = match ty {
        Type::Unknown | Type::Varchar(_) | Type::Name | Type::Char => Type::Text,
        Type::Void | Type::Record => return None,
        other => other.clone(),
    };
    Some((vec![taken.clone()], taken))
}

fn percentile(function: AggregateFunction, fraction: &Type, ty: &Type) -> Option<(Vec<Type>, Type)> {
    let many = matches!(fraction, Type::Array(_));
    let value = if function == AggregateFunction::PercentileDisc {
        if *ty == Type::Unknown { Type::Text } else { ty.clone() }
    } else if *ty == Type::Interval {
        Type::Interval
    } else if implicit(ty, &Type::Float8) {
        Type::Float8
    } else {
        return None;
    };
    let fraction_type = if many { Type::array_of(Type::Float8) } else { Type::Float8 };
    if !implicit(fraction, &fraction_type) {
        return None;
    }
    let result = if many { Type::array_of(value.clone()) } else { value.clone() };
    Some((vec![fraction_type, value], result))
}
