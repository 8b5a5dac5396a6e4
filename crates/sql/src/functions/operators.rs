//! Comparison and arithmetic operators of the plain types.

use std::cmp::Ordering;

use super::Registry;
use crate::cast::fit_integer;
use crate::compare::compare;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::numeric::{Numeric, division_by_zero, out_of_range};
use crate::types::Type;

const INTEGERS: [&str; 3] = ["int2", "int4", "int8"];
/// Types that compare with themselves.
const ORDERED: &[&str] = &[
    "bool",
    "float4",
    "float8",
    "numeric",
    "text",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "json",
    "oid",
    "record",
    "char",
    "name",
    "anyarray",
];

pub(super) fn register(r: &mut Registry) {
    for a in INTEGERS {
        for b in INTEGERS {
            comparisons(r, a, b);
            let widest = if a == "int8" || b == "int8" {
                "int8"
            } else if a == "int4" || b == "int4" {
                "int4"
            } else {
                "int2"
            };
            integer_arithmetic(r, a, b, widest);
        }
    }
    for ty in ORDERED {
        comparisons(r, ty, ty);
    }
    r.strict("=(regtype, regtype) -> bool", equal);
    r.strict("<>(regtype, regtype) -> bool", not_equal);
    for (a, b) in [("float4", "float8"), ("float8", "float4"), ("date", "timestamp"), ("timestamp", "date")] {
        if a.starts_with("float") {
            comparisons(r, a, b);
        }
    }
    float_arithmetic(r);
    numeric_arithmetic(r);
    bits(r);
}

fn comparisons(r: &mut Registry, a: &str, b: &str) {
    r.strict(&format!("=({a}, {b}) -> bool"), equal);
    r.strict(&format!("<>({a}, {b}) -> bool"), not_equal);
    r.strict(&format!("<({a}, {b}) -> bool"), |args, _| Ok(Datum::Bool(compare(&args[0], &args[1]).is_lt())));
    r.strict(&format!("<=({a}, {b}) -> bool"), |args, _| Ok(Datum::Bool(compare(&args[0], &args[1]).is_le())));
    r.strict(&format!(">({a}, {b}) -> bool"), |args, _| Ok(Datum::Bool(compare(&args[0], &args[1]).is_gt())));
    r.strict(&format!(">=({a}, {b}) -> bool"), |args, _| Ok(Datum::Bool(compare(&args[0], &args[1]).is_ge())));
}

fn equal(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    Ok(Datum::Bool(crate::compare::sql_equal(&args[0], &args[1])))
}

fn not_equal(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    Ok(Datum::Bool(!crate::compare::sql_equal(&args[0], &args[1])))
}

fn integer_arithmetic(r: &mut Registry, a: &str, b: &str, result: &str) {
    let mut add = |op: &str, small, middle, large| {
        let eval = match result {
            "int2" => small,
            "int4" => middle,
            _ => large,
        };
        r.strict(&format!("{op}({a}, {b}) -> {result}"), eval);
    };
    add("+", integers::<2, ADD>, integers::<4, ADD>, integers::<8, ADD>);
    add("-", integers::<2, SUBTRACT>, integers::<4, SUBTRACT>, integers::<8, SUBTRACT>);
    add("*", integers::<2, MULTIPLY>, integers::<4, MULTIPLY>, integers::<8, MULTIPLY>);
    add("/", integers::<2, DIVIDE>, integers::<4, DIVIDE>, integers::<8, DIVIDE>);
    if a == b {
        add("%", integers::<2, REMAINDER>, integers::<4, REMAINDER>, integers::<8, REMAINDER>);
        add("mod", integers::<2, REMAINDER>, integers::<4, REMAINDER>, integers::<8, REMAINDER>);
        let negate = match a {
            "int2" => negate_integer::<2>,
            "int4" => negate_integer::<4>,
            _ => negate_integer::<8>,
        };
        r.strict(&format!("-({a}) -> {a}"), negate);
        r.strict(&format!("+({a}) -> {a}"), identity);
        let abs = match a {
            "int2" => abs_integer::<2>,
            "int4" => abs_integer::<4>,
            _ => abs_integer::<8>,
        };
        r.strict(&format!("abs({a}) -> {a}"), abs);
        r.strict(&format!("@({a}) -> {a}"), abs);
    }
}

const ADD: u8 = b'+';
const SUBTRACT: u8 = b'-';
const MULTIPLY: u8 = b'*';
const DIVIDE: u8 = b'/';
const REMAINDER: u8 = b'%';

/// The integer type of so many bytes.
fn integer_type(bytes: u8) -> Type {
    match bytes {
        2 => Type::Int2,
        4 => Type::Int4,
        _ => Type::Int8,
    }
}

fn integers<const BYTES: u8, const OP: u8>(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    let (a, b) = (args[0].as_int()?, args[1].as_int()?);
    let result = match OP {
        ADD => a.checked_add(b),
        SUBTRACT => a.checked_sub(b),
        MULTIPLY => a.checked_mul(b),
        _ if b == 0 => return Err(division_by_zero()),
        DIVIDE => a.checked_div(b),
        // The remainder of the smallest number by -1 is 0, not an overflow.
        _ => Some(a.wrapping_rem(b)),
    };
    let ty = integer_type(BYTES);
    match result {
        Some(n) => fit_integer(n, &ty),
        None => Err(out_of_range(&ty.to_string())),
    }
}

fn negate_integer<const BYTES: u8>(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    let ty = integer_type(BYTES);
    let negated = args[0].as_int()?.checked_neg().ok_or_else(|| out_of_range(&ty.to_string()))?;
    fit_integer(negated, &ty)
}

fn abs_integer<const BYTES: u8>(args: &[Datum], ctx: &EvalContext<'_>) -> Result<Datum> {
    if args[0].as_int()? < 0 { negate_integer::<BYTES>(args, ctx) } else { Ok(args[0].clone()) }
}

fn identity(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    Ok(args[0].clone())
}

/// Refuses what finite operands must not give.
pub(super) fn check_float(result: f64, operands_finite: bool, may_be_zero: bool) -> Result<f64> {
    if result.is_infinite() && operands_finite {
        return Err(SqlError::new("22003", "value out of range: overflow"));
    }
    if result == 0.0 && !may_be_zero {
        return Err(SqlError::new("22003", "value out of range: underflow"));
    }
    Ok(result)
}

fn floats<const OP: u8>(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    float_operation::<OP>(args).map(Datum::Float)
}

/// The same for two reals, rounded to a real.
fn reals<const OP: u8>(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    let narrow = float_operation::<OP>(args)? as f32;
    let finite = args[0].as_float()?.is_finite() && args[1].as_float()?.is_finite();
    check_float(f64::from(narrow), finite, true).map(Datum::Float)
}

fn float_operation<const OP: u8>(args: &[Datum]) -> Result<f64> {
    let (a, b) = (args[0].as_float()?, args[1].as_float()?);
    let finite = a.is_finite() && b.is_finite();
    match OP {
        ADD => check_float(a + b, finite, true),
        SUBTRACT => check_float(a - b, finite, true),
        MULTIPLY => check_float(a * b, finite, a == 0.0 || b == 0.0),
        _ if b == 0.0 && !a.is_nan() => Err(division_by_zero()),
        _ => check_float(a / b, finite, a == 0.0 || b.is_infinite()),
    }
}

fn float_arithmetic(r: &mut Registry) {
    for (a, b) in [("float8", "float8"), ("float4", "float8"), ("float8", "float4")] {
        r.strict(&format!("+({a}, {b}) -> float8"), floats::<ADD>);
        r.strict(&format!("-({a}, {b}) -> float8"), floats::<SUBTRACT>);
        r.strict(&format!("*({a}, {b}) -> float8"), floats::<MULTIPLY>);
        r.strict(&format!("/({a}, {b}) -> float8"), floats::<DIVIDE>);
    }
    r.strict("+(float4, float4) -> float4", reals::<ADD>);
    r.strict("-(float4, float4) -> float4", reals::<SUBTRACT>);
    r.strict("*(float4, float4) -> float4", reals::<MULTIPLY>);
    r.strict("/(float4, float4) -> float4", reals::<DIVIDE>);
    for ty in ["float4", "float8"] {
        r.strict(&format!("-({ty}) -> {ty}"), |args, _| Ok(Datum::Float(-args[0].as_float()?)));
        r.strict(&format!("+({ty}) -> {ty}"), identity);
        r.strict(&format!("abs({ty}) -> {ty}"), |args, _| Ok(Datum::Float(args[0].as_float()?.abs())));
        r.strict(&format!("@({ty}) -> {ty}"), |args, _| Ok(Datum::Float(args[0].as_float()?.abs())));
    }
}

type NumericOperation = fn(&Numeric, &Numeric) -> Result<Numeric>;

fn numerics(args: &[Datum], operation: NumericOperation) -> Result<Datum> {
    operation(args[0].as_numeric()?, args[1].as_numeric()?).map(Datum::Numeric)
}

fn numeric_arithmetic(r: &mut Registry) {
    r.strict("+(numeric, numeric) -> numeric", |args, _| numerics(args, Numeric::add));
    r.strict("-(numeric, numeric) -> numeric", |args, _| numerics(args, Numeric::subtract));
    r.strict("*(numeric, numeric) -> numeric", |args, _| numerics(args, Numeric::multiply));
    r.strict("/(numeric, numeric) -> numeric", |args, _| numerics(args, Numeric::divide));
    r.strict("%(numeric, numeric) -> numeric", |args, _| numerics(args, Numeric::remainder));
    r.strict("mod(numeric, numeric) -> numeric", |args, _| numerics(args, Numeric::remainder));
    r.strict("div(numeric, numeric) -> numeric", |args, _| numerics(args, Numeric::divide_whole));
    r.strict("-(numeric) -> numeric", |args, _| Ok(Datum::Numeric(args[0].as_numeric()?.negate())));
    r.strict("+(numeric) -> numeric", identity);
    r.strict("abs(numeric) -> numeric", |args, _| Ok(Datum::Numeric(args[0].as_numeric()?.abs())));
    r.strict("@(numeric) -> numeric", |args, _| Ok(Datum::Numeric(args[0].as_numeric()?.abs())));
}

fn bits(r: &mut Registry) {
    for ty in INTEGERS {
        r.strict(&format!("&({ty}, {ty}) -> {ty}"), |args, _| Ok(Datum::Int(args[0].as_int()? & args[1].as_int()?)));
        r.strict(&format!("|({ty}, {ty}) -> {ty}"), |args, _| Ok(Datum::Int(args[0].as_int()? | args[1].as_int()?)));
        r.strict(&format!("#({ty}, {ty}) -> {ty}"), |args, _| Ok(Datum::Int(args[0].as_int()? ^ args[1].as_int()?)));
        r.strict(&format!("~({ty}) -> {ty}"), |args, _| Ok(Datum::Int(!args[0].as_int()?)));
        let (left, right) = match ty {
            "int2" => (shift::<2, true> as super::PlainEval, shift::<2, false> as super::PlainEval),
            "int4" => (shift::<4, true> as super::PlainEval, shift::<4, false> as super::PlainEval),
            _ => (shift::<8, true> as super::PlainEval, shift::<8, false> as super::PlainEval),
        };
        r.strict(&format!("<<({ty}, int4) -> {ty}"), left);
        r.strict(&format!(">>({ty}, int4) -> {ty}"), right);
    }
}

/// The processor's shift: by the count modulo the width.
fn shift<const BYTES: u8, const LEFT: bool>(args: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    let (n, by) = (args[0].as_int()?, args[1].as_int()?);
    let width: i64 = if BYTES == 8 { 64 } else { 32 };
    let by = by.rem_euclid(width) as u32;
    let shifted = if LEFT { n.wrapping_shl(by) } else { n >> by };
    Ok(Datum::Int(match BYTES {
        2 => i64::from(shifted as i16),
        4 => i64::from(shifted as i32),
        _ => shifted,
    }))
}

/// The greatest or least of some values, NULLs aside.
pub(super) fn extreme(args: &[Datum], wanted: Ordering) -> Datum {
    args.iter()
        .filter(|d| !d.is_null())
        .reduce(|best, next| if compare(next, best) == wanted { next } else { best })
        .cloned()
        .unwrap_or(Datum::Null)
}
