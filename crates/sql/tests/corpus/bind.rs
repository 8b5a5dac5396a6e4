//! Binds one constant expression: just enough to drive the evaluator from text.

use sql::cast::{self, CastContext};
use sql::functions::{self, Resolved};
use sql::{Datum, EvalContext, Expr, ExprKind, Result, SqlError, Type};
use sqlparser::ast::{self, BinaryOperator, DataType, UnaryOperator, Value};

/// The time at which the corpus was recorded counts as this: 2026-01-02 03:04:05.678901+00.
pub const NOW_US: i64 = 1_767_323_045_678_901;

pub fn context() -> EvalContext<'static> {
    EvalContext::at(NOW_US)
}

pub fn bind(expr: &ast::Expr) -> Result<Expr> {
    use ast::Expr::*;
    match expr {
        Nested(inner) => bind(inner),
        Value(value) => literal(&value.value),
        TypedString(typed) => {
            let text = typed.value.value.clone().into_string().expect("a typed string has a text");
            parsed(&text, &data_type(&typed.data_type)?)
        }
        Interval(interval) => match bind(&interval.value)?.kind {
            ExprKind::Literal(Datum::Text(text)) => {
                let unit = interval.leading_field.as_ref().map_or(String::new(), |f| format!(" {f}"));
                parsed(&format!("{text}{unit}"), &Type::Interval)
            }
            _ => Err(SqlError::unsupported("this interval")),
        },
        Cast { expr, data_type: ty, .. } => explicit(bind(expr)?, &data_type(ty)?),
        UnaryOp { op: UnaryOperator::Not, expr } => {
            Ok(Expr::new(ExprKind::Not(Box::new(coerced(bind(expr)?, &Type::Bool)?)), Type::Bool))
        }
        UnaryOp { op, expr } => {
            let operand = bind(expr)?;
            let resolved = functions::resolve_operator(&op.to_string(), None, &operand.ty)?;
            apply(resolved, vec![operand])
        }
        BinaryOp { left, op: BinaryOperator::And, right } => connect(left, right, ExprKind::And),
        BinaryOp { left, op: BinaryOperator::Or, right } => connect(left, right, ExprKind::Or),
        BinaryOp { left, op, right } => {
            let (left, right) = (bind(left)?, bind(right)?);
            let resolved = functions::resolve_operator(&op.to_string(), Some(&left.ty), &right.ty)?;
            apply(resolved, vec![left, right])
        }
        Like { negated, expr, pattern, escape_char, .. } => {
            pattern_match(if *negated { "notlike" } else { "like" }, expr, pattern, escape_char.as_deref())
        }
        ILike { negated, expr, pattern, escape_char, .. } => {
            pattern_match(if *negated { "notilike" } else { "ilike" }, expr, pattern, escape_char.as_deref())
        }
        SimilarTo { negated: false, expr, pattern, escape_char } => {
            pattern_match("similar_to", expr, pattern, escape_char.as_deref())
        }
        IsNull(inner) => Ok(Expr::new(ExprKind::IsNull(Box::new(bind(inner)?)), Type::Bool)),
        IsNotDistinctFrom(a, b) => {
            let (items, _) = unified(vec![bind(a)?, bind(b)?])?;
            let [a, b] = <[Expr; 2]>::try_from(items).expect("two");
            Ok(Expr::new(ExprKind::NotDistinct(Box::new(a), Box::new(b)), Type::Bool))
        }
        In { expr, target: ast::InTarget::List(list), negated, .. } => {
            let mut all = vec![bind(expr)?];
            for item in list {
                all.push(bind(item)?);
            }
            let (mut all, _) = unified(all)?;
            let input = Box::new(all.remove(0));
            Ok(Expr::new(ExprKind::InList { input, list: all, negated: *negated }, Type::Bool))
        }
        AnyOp { left, compare_op, right, .. } => quantified(left, compare_op, right, false),
        AllOp { left, compare_op, right } => quantified(left, compare_op, right, true),
        Array(array) => array_of(array.elem.iter().map(bind).collect::<Result<_>>()?),
        Tuple(items) => Ok(Expr::new(ExprKind::Record(items.iter().map(bind).collect::<Result<_>>()?), Type::Record)),
        Case { operand, conditions, else_result, .. } => case(operand.as_deref(), conditions, else_result.as_deref()),
        AtTimeZone { timestamp, time_zone } => call("timezone", vec![bind(time_zone)?, bind(timestamp)?]),
        Extract { field, expr, .. } => {
            call("extract", vec![Expr::literal(Datum::text(field.to_string()), Type::Text), bind(expr)?])
        }
        Ceil { expr, .. } => call("ceil", vec![bind(expr)?]),
        Floor { expr, .. } => call("floor", vec![bind(expr)?]),
        Position { expr, r#in } => call("position", vec![bind(expr)?, bind(r#in)?]),
        Substring { expr, substring_from, substring_for, .. } => {
            let mut args = vec![bind(expr)?];
            args.push(match substring_from {
                Some(from) => bind(from)?,
                None => Expr::literal(Datum::Int(1), Type::Int4),
            });
            if let Some(length) = substring_for {
                args.push(bind(length)?);
            }
            call("substring", args)
        }
        Trim { trim_where, trim_what, expr, .. } => {
            let name = match trim_where {
                Some(ast::TrimWhereField::Leading) => "ltrim",
                Some(ast::TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            };
            let mut args = vec![bind(expr)?];
            if let Some(what) = trim_what {
                args.push(bind(what)?);
            }
            call(name, args)
        }
        Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let mut args = vec![bind(expr)?, bind(overlay_what)?, bind(overlay_from)?];
            if let Some(length) = overlay_for {
                args.push(bind(length)?);
            }
            call("overlay", args)
        }
        Function(function) => bind_function(function),
        CompoundFieldAccess { root, access_chain } => {
            let mut value = bind(root)?;
            for access in access_chain {
                let index = match access {
                    ast::AccessExpr::Subscript(ast::Subscript::Index { index }) => index,
                    ast::AccessExpr::Subscript(ast::Subscript::Slice { lower_bound, upper_bound, stride: None }) => {
                        let bound = |bound: &Option<ast::Expr>, absent: i64| match bound {
                            Some(bound) => bind(bound),
                            None => Ok(Expr::literal(Datum::Int(absent), Type::Int4)),
                        };
                        value = call("[:]", vec![value, bound(lower_bound, 1)?, bound(upper_bound, 99)?])?;
                        continue;
                    }
                    _ => return Err(SqlError::unsupported("this access")),
                };
                let ty = match &value.ty {
                    Type::Array(element) => (**element).clone(),
                    other => other.clone(),
                };
                let index = Box::new(bind(index)?);
                value = Expr::new(ExprKind::Subscript { array: Box::new(value), index }, ty);
            }
            Ok(value)
        }
        other => Err(SqlError::unsupported(format!("{other}"))),
    }
}

fn literal(value: &Value) -> Result<Expr> {
    Ok(match value {
        Value::Number(text, _) => match text.parse::<i64>() {
            Ok(n) if i32::try_from(n).is_ok() => Expr::literal(Datum::Int(n), Type::Int4),
            Ok(n) => Expr::literal(Datum::Int(n), Type::Int8),
            Err(_) => return parsed(text, &Type::Numeric(None)),
        },
        Value::SingleQuotedString(s) | Value::EscapedStringLiteral(s) => {
            Expr::literal(Datum::text(s.as_str()), Type::Unknown)
        }
        Value::DollarQuotedString(s) => Expr::literal(Datum::text(s.value.as_str()), Type::Unknown),
        Value::Boolean(b) => Expr::literal(Datum::Bool(*b), Type::Bool),
        Value::Null => Expr::literal(Datum::Null, Type::Unknown),
        other => return Err(SqlError::unsupported(format!("{other}"))),
    })
}

fn parsed(text: &str, ty: &Type) -> Result<Expr> {
    Ok(Expr::literal(cast::parse_literal(text, ty, &context())?, ty.clone()))
}

pub fn data_type(ty: &DataType) -> Result<Type> {
    if let DataType::Array(ast::ArrayElemTypeDef::SquareBracket(element, _)) = ty {
        return data_type(element).map(Type::array_of);
    }
    let text = ty.to_string();
    let mut found = functions::system::type_by_name(&text)
        .ok_or_else(|| SqlError::new("42704", format!("type \"{text}\" does not exist")))?;
    let modifiers: Vec<i64> = text
        .split_once('(')
        .map(|(_, rest)| rest.trim_end_matches(')').split(',').filter_map(|n| n.trim().parse().ok()).collect())
        .unwrap_or_default();
    match (&mut found, modifiers.as_slice()) {
        (Type::Numeric(limits), [p]) => *limits = Some((*p as u16, 0)),
        (Type::Numeric(limits), [p, s]) => *limits = Some((*p as u16, *s as i16)),
        (Type::Varchar(limit), [n]) => *limit = Some(*n as u32),
        _ => {}
    }
    Ok(found)
}

fn coerced(expr: Expr, ty: &Type) -> Result<Expr> {
    convert(expr, ty, false)
}

fn explicit(expr: Expr, ty: &Type) -> Result<Expr> {
    convert(expr, ty, true)
}

fn convert(expr: Expr, ty: &Type, explicit: bool) -> Result<Expr> {
    if expr.ty == *ty {
        return Ok(expr);
    }
    if expr.ty == Type::Unknown
        && let ExprKind::Literal(datum) = &expr.kind
    {
        return match datum {
            Datum::Text(text) if explicit && matches!(ty, Type::Varchar(Some(_))) => {
                let text = Expr::literal(Datum::text(text.as_ref()), Type::Text);
                convert(text, ty, true)
            }
            Datum::Text(text) => parsed(text, ty),
            _ => Ok(Expr::literal(Datum::Null, ty.clone())),
        };
    }
    // An empty ARRAY[] takes the type it is cast to.
    if let ExprKind::Array(items) = &expr.kind
        && items.is_empty()
    {
        return Ok(Expr::new(ExprKind::Array(vec![]), ty.clone()));
    }
    let allowed = cast::can_cast(&expr.ty, ty);
    let needed = if explicit { CastContext::Explicit } else { CastContext::Implicit };
    if allowed.is_none_or(|context| context > needed) {
        return Err(cast::cannot_cast(&expr.ty, ty));
    }
    Ok(Expr::new(ExprKind::Cast { input: Box::new(expr), explicit }, ty.clone()))
}

fn apply(resolved: Resolved, args: Vec<Expr>) -> Result<Expr> {
    let args: Vec<Expr> =
        args.into_iter().zip(&resolved.parameter_types).map(|(arg, ty)| coerced(arg, ty)).collect::<Result<_>>()?;
    Ok(Expr::new(ExprKind::Call { function: resolved.function, args }, resolved.result))
}

fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    let types: Vec<Type> = args.iter().map(|arg| arg.ty.clone()).collect();
    apply(functions::resolve(name, &types)?, args)
}

fn connect(left: &ast::Expr, right: &ast::Expr, make: impl Fn(Vec<Expr>) -> ExprKind) -> Result<Expr> {
    let operands = vec![coerced(bind(left)?, &Type::Bool)?, coerced(bind(right)?, &Type::Bool)?];
    Ok(Expr::new(make(operands), Type::Bool))
}

fn unified(items: Vec<Expr>) -> Result<(Vec<Expr>, Type)> {
    let types: Vec<Type> = items.iter().map(|item| item.ty.clone()).collect();
    let ty = cast::common_type(&types)?;
    let items = items.into_iter().map(|item| coerced(item, &ty)).collect::<Result<_>>()?;
    Ok((items, ty))
}

fn array_of(items: Vec<Expr>) -> Result<Expr> {
    let (items, ty) = unified(items)?;
    let ty = if matches!(ty, Type::Array(_)) { ty } else { Type::array_of(ty) };
    Ok(Expr::new(ExprKind::Array(items), ty))
}

fn pattern_match(name: &str, text: &ast::Expr, pattern: &ast::Expr, escape: Option<&ast::Expr>) -> Result<Expr> {
    let mut args = vec![bind(text)?, bind(pattern)?];
    if let Some(escape) = escape {
        args.push(bind(escape)?);
    }
    call(name, args)
}

fn quantified(left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, all: bool) -> Result<Expr> {
    let (input, mut array) = (bind(left)?, bind(right)?);
    if array.ty == Type::Unknown {
        array = coerced(array, &Type::array_of(input.ty.clone()))?;
    }
    let Type::Array(element) = &array.ty else { return Err(SqlError::unsupported("this operand of ANY")) };
    let resolved = functions::resolve_operator(&op.to_string(), Some(&input.ty), element)?;
    let input = coerced(input, &resolved.parameter_types[0])?;
    let array = coerced(array, &Type::array_of(resolved.parameter_types[1].clone()))?;
    let kind =
        ExprKind::Quantified { function: resolved.function, input: Box::new(input), array: Box::new(array), all };
    Ok(Expr::new(kind, Type::Bool))
}

fn case(operand: Option<&ast::Expr>, conditions: &[ast::CaseWhen], otherwise: Option<&ast::Expr>) -> Result<Expr> {
    let mut results = Vec::new();
    for when in conditions {
        results.push(bind(&when.result)?);
    }
    if let Some(otherwise) = otherwise {
        results.push(bind(otherwise)?);
    }
    let (mut results, ty) = unified(results)?;
    let otherwise = otherwise.and_then(|_| results.pop()).map(Box::new);
    let mut branches = Vec::new();
    for (when, result) in conditions.iter().zip(results) {
        let condition = match operand {
            None => coerced(bind(&when.condition)?, &Type::Bool)?,
            Some(operand) => {
                let (left, right) = (bind(operand)?, bind(&when.condition)?);
                let resolved = functions::resolve_operator("=", Some(&left.ty), &right.ty)?;
                apply(resolved, vec![left, right])?
            }
        };
        branches.push((condition, result));
    }
    Ok(Expr::new(ExprKind::Case { branches, otherwise }, ty))
}

fn bind_function(function: &ast::Function) -> Result<Expr> {
    let name = function.name.to_string().to_lowercase();
    let mut args = Vec::new();
    if let ast::FunctionArguments::List(list) = &function.args {
        for arg in &list.args {
            let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)) = arg else {
                return Err(SqlError::unsupported("this argument"));
            };
            args.push(bind(arg)?);
        }
    }
    match name.as_str() {
        "now" | "current_timestamp" => return Ok(Expr::new(ExprKind::Now, Type::Timestamptz)),
        "coalesce" => {
            let (items, ty) = unified(args)?;
            return Ok(Expr::new(ExprKind::Coalesce(items), ty));
        }
        "row" => return Ok(Expr::new(ExprKind::Record(args), Type::Record)),
        _ => {}
    }
    call(&name, args)
}
