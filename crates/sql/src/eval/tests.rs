//! Short circuits, three-valued logic, and where an error points.

use crate::datum::Datum;
use crate::error::Result;
use crate::expr::{EvalContext, Expr, ExprKind};
use crate::functions;
use crate::types::Type;

fn int(n: i64) -> Expr {
    Expr::literal(Datum::Int(n), Type::Int4)
}

fn boolean(value: Option<bool>) -> Expr {
    Expr::literal(value.map_or(Datum::Null, Datum::Bool), Type::Bool)
}

/// `1 / 0`, at position 42.
fn failing() -> Expr {
    let resolved = functions::resolve_operator("/", Some(&Type::Int4), &Type::Int4).expect("exists");
    let call = ExprKind::Call { function: resolved.function, args: vec![int(1), int(0)] };
    Expr { kind: call, ty: Type::Int4, position: Some(42) }
}

fn eval(kind: ExprKind) -> Result<Datum> {
    Expr::new(kind, Type::Bool).eval(&[], &EvalContext::at(0))
}

#[test]
fn logic_stops_at_what_decides() {
    let fails = Expr::new(ExprKind::IsNull(Box::new(failing())), Type::Bool);
    let (yes, no) = (boolean(Some(true)), boolean(Some(false)));
    assert_eq!(eval(ExprKind::And(vec![no.clone(), fails.clone()])), Ok(Datum::Bool(false)));
    assert_eq!(eval(ExprKind::Or(vec![yes.clone(), fails.clone()])), Ok(Datum::Bool(true)));
    assert!(eval(ExprKind::And(vec![yes.clone(), fails.clone()])).is_err());
    assert_eq!(eval(ExprKind::Coalesce(vec![yes.clone(), fails.clone()])), Ok(Datum::Bool(true)));
    let case = ExprKind::Case { branches: vec![(yes, no)], otherwise: Some(Box::new(fails)) };
    assert_eq!(eval(case), Ok(Datum::Bool(false)));
}

#[test]
fn unknown_is_neither() {
    let unknown = boolean(None);
    assert_eq!(eval(ExprKind::And(vec![unknown.clone(), boolean(Some(true))])), Ok(Datum::Null));
    assert_eq!(eval(ExprKind::And(vec![unknown.clone(), boolean(Some(false))])), Ok(Datum::Bool(false)));
    assert_eq!(unknown.eval_predicate(&[], &EvalContext::at(0)), Ok(false));
}

#[test]
fn an_error_points_at_the_innermost_expression() {
    let outer = Expr {
        kind: ExprKind::Not(Box::new(Expr::new(ExprKind::IsNull(Box::new(failing())), Type::Bool))),
        ty: Type::Bool,
        position: Some(7),
    };
    let error = outer.eval(&[], &EvalContext::at(0)).expect_err("division by zero");
    assert_eq!((error.code, error.position), ("22012", Some(42)));
}

#[test]
fn json_subscripts_count_from_zero_and_arrays_from_one() {
    let json = crate::json::parse::parse("[10, 20]").expect("JSON");
    let subscript = |value: Datum, ty: Type| {
        Expr::new(
            ExprKind::Subscript { array: Box::new(Expr::literal(value, ty)), index: Box::new(int(1)) },
            Type::Json,
        )
        .eval(&[], &EvalContext::at(0))
    };
    let shown =
        crate::text::to_string(&subscript(Datum::Json(json), Type::Json).expect("in range"), &Type::Json, "UTC");
    assert_eq!(shown, "20");
    let array = Datum::Array([Datum::Int(10), Datum::Int(20)].into());
    assert_eq!(subscript(array, Type::array_of(Type::Int4)), Ok(Datum::Int(10)));
}

#[test]
fn a_missing_parameter_is_an_error() {
    assert_eq!(eval(ExprKind::Parameter(0)).expect_err("none bound").code, "08P01");
}
