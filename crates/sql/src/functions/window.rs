//! Result types of window functions.

use crate::error::{Result, SqlError};
use crate::plan::WindowFunction;
use crate::types::Type;

/// The window-only function of a name.
pub fn window_by_name(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "row_number" => WindowFunction::RowNumber,
        "rank" => WindowFunction::Rank,
        "dense_rank" => WindowFunction::DenseRank,
        "percent_rank" => WindowFunction::PercentRank,
        "cume_dist" => WindowFunction::CumeDist,
        "ntile" => WindowFunction::Ntile,
        "lag" => WindowFunction::Lag,
        "lead" => WindowFunction::Lead,
        "first_value" => WindowFunction::FirstValue,
        "last_value" => WindowFunction::LastValue,
        "nth_value" => WindowFunction::NthValue,
        _ => return None,
    })
}

/// What the arguments of a window-only function must be cast to, and its result type. Errors with
/// 42883. Aggregates over a window have `aggregates::resolve`.
pub fn window_type(function: WindowFunction, args: &[Type]) -> Result<(Vec<Type>, Type)> {
    use WindowFunction::*;
    let value = |ty: &Type| if *ty == Type::Unknown { Type::Text } else { ty.clone() };
    let found = match (function, args) {
        (RowNumber | Rank | DenseRank, []) => Some((vec![], Type::Int8)),
        (PercentRank | CumeDist, []) => Some((vec![], Type::Float8)),
        (Ntile, [_]) => Some((vec![Type::Int4], Type::Int4)),
        (FirstValue | LastValue, [ty]) => Some((vec![value(ty)], value(ty))),
        (NthValue, [ty, _]) => Some((vec![value(ty), Type::Int4], value(ty))),
        (Lag | Lead, [ty]) => Some((vec![value(ty)], value(ty))),
        (Lag | Lead, [ty, _]) => Some((vec![value(ty), Type::Int4], value(ty))),
        (Lag | Lead, [ty, _, default]) => crate::cast::common_type(&[ty.clone(), default.clone()])
            .ok()
            .map(|common| (vec![common.clone(), Type::Int4, common.clone()], common)),
        _ => None,
    };
    let integers_fit = |types: &[Type]| {
        types.get(1).is_none_or(|wanted| {
            *wanted != Type::Int4 || crate::cast::can_cast(&args[1], wanted) == Some(crate::cast::CastContext::Implicit)
        })
    };
    match found {
        Some((types, result)) if integers_fit(&types) => Ok((types, result)),
        _ => {
            let types: Vec<String> = args.iter().map(Type::to_string).collect();
            Err(SqlError::new("42883", format!("function {}({}) does not exist", name(function), types.join(", ")))
                .with_hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                ))
        }
    }
}

fn name(function: WindowFunction) -> &'static str {
    match function {
        WindowFunction::RowNumber => "row_number",
        WindowFunction::Rank => "rank",
        WindowFunction::DenseRank => "dense_rank",
        WindowFunction::PercentRank => "percent_rank",
        WindowFunction::CumeDist => "cume_dist",
        WindowFunction::Ntile => "ntile",
        WindowFunction::Lag => "lag",
        WindowFunction::Lead => "lead",
        WindowFunction::FirstValue => "first_value",
        WindowFunction::LastValue => "last_value",
        WindowFunction::NthValue => "nth_value",
        WindowFunction::Aggregate(_) => "aggregate",
    }
}
