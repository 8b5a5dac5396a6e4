//! Every function survives every argument of its types.

use base::Random;

use super::*;
use crate::test_data;

fn argument_type(random: &mut Random, parameter: &Parameter, element: &Type) -> Type {
    let types = test_data::types();
    match parameter {
        Parameter::Is(ty) => ty.clone(),
        Parameter::Any => types[random.below(types.len() as u64) as usize].clone(),
        Parameter::AnyElement | Parameter::AnyNonArray => element.clone(),
        Parameter::AnyArray => Type::array_of(element.clone()),
    }
}

#[test]
fn no_function_panics() {
    let ctx = EvalContext { now_us: 1_700_000_000_000_000, parameters: &[], time_zone: "Europe/Berlin" };
    let mut functions: Vec<_> = all().collect();
    functions.sort_by_key(|f| format!("{f:?}"));
    for (seed, function) in functions.into_iter().enumerate() {
        let mut random = Random::seeded(seed as u64);
        for _ in 0..40 {
            let element = [Type::Int4, Type::Text, Type::Numeric(None), Type::Json][random.below(4) as usize].clone();
            let more = if function.signature.variadic { random.below(3) as usize } else { 0 };
            let count = function.signature.parameters.len() + more;
            let types: Vec<Type> = (0..count)
                .filter_map(|i| function.signature.parameter(i).cloned())
                .map(|p| argument_type(&mut random, &p, &element))
                .collect();
            let args: Vec<Datum> =
                types
                    .iter()
                    .map(|ty| {
                        if random.below(10) == 0 { Datum::Null } else { bounded(test_data::datum(&mut random, ty), ty) }
                    })
                    .collect();
            let result = function.call(&args, Types::of_list(&types, &Type::Text), &ctx);
            if let Err(error) = &result {
                assert_ne!(error.code, "XX000", "{function:?} of {args:?}: {error}");
            }
            if function.strict && args.iter().any(Datum::is_null) {
                assert_eq!(result, Ok(Datum::Null), "{function:?}");
            }
        }
    }
}

/// Counts and widths of a size that a test can wait for.
fn bounded(datum: Datum, ty: &Type) -> Datum {
    match (datum, ty) {
        (Datum::Int(n), Type::Int4) if n.abs() > 1_000_000 && n != i64::from(i32::MIN) && n != i64::from(i32::MAX) => {
            Datum::Int(n % 100)
        }
        (datum, _) => datum,
    }
}

#[test]
fn results_have_the_declared_representation() {
    // A value of the declared type must survive a look through that type's text form.
    let ctx = EvalContext::at(0);
    for function in all() {
        let Parameter::Is(result_type) = &function.signature.result else { continue };
        let mut random = Random::seeded(9);
        for _ in 0..10 {
            let types: Vec<Type> =
                function.signature.parameters.iter().map(|p| argument_type(&mut random, p, &Type::Int4)).collect();
            let args: Vec<Datum> = types.iter().map(|ty| bounded(test_data::datum(&mut random, ty), ty)).collect();
            let Ok(value) = function.call(&args, Types::of_list(&types, result_type), &ctx) else { continue };
            let fits = matches!(
                (&value, result_type),
                (Datum::Null, _)
                    | (Datum::Bool(_), Type::Bool)
                    | (Datum::Float(_), Type::Float4 | Type::Float8)
                    | (Datum::Numeric(_), Type::Numeric(_))
                    | (Datum::Text(_), Type::Text | Type::Name)
                    | (Datum::Bytea(_), Type::Bytea)
                    | (Datum::Date(_), Type::Date)
                    | (Datum::Time(_), Type::Time)
                    | (Datum::Timestamp(_), Type::Timestamp | Type::Timestamptz)
                    | (Datum::Interval(_), Type::Interval)
                    | (Datum::Uuid(_), Type::Uuid)
                    | (Datum::Json(_), Type::Json)
                    | (Datum::Array(_), Type::Array(_))
            ) || matches!(&value, Datum::Int(n) if match result_type {
                Type::Int2 => i16::try_from(*n).is_ok(),
                Type::Int4 => i32::try_from(*n).is_ok(),
                Type::Int8 => true,
                Type::Oid | Type::Regtype | Type::Regclass => u32::try_from(*n).is_ok(),
                _ => false,
            });
            assert!(fits, "{function:?} of {args:?} gave {value:?}");
        }
    }
}

fn check_error(result: Result<Resolved>, code: &str, message: &str) {
    let error = result.expect_err("nothing fits");
    assert_eq!((error.code, error.message.as_str()), (code, message));
    assert!(error.hint.is_some());
}

#[test]
fn what_does_not_exist_is_said_in_postgresqls_words() {
    check_error(
        resolve_operator("+", Some(&Type::Text), &Type::Int4),
        "42883",
        "operator does not exist: text + integer",
    );
    check_error(resolve_operator("-", None, &Type::Text), "42883", "operator does not exist: - text");
    check_error(resolve("foo", &[Type::Int4]), "42883", "function foo(integer) does not exist");
    check_error(
        resolve_operator("+", Some(&Type::Unknown), &Type::Unknown),
        "42725",
        "operator is not unique: unknown + unknown",
    );
}

#[test]
fn overloads_are_chosen_like_postgresql() {
    let chosen = |name: &str, args: &[Type]| {
        let found = resolve(name, args).expect("an overload fits");
        (format!("{:?}", found.function), found.result.to_string())
    };
    assert_eq!(chosen("round", &[Type::Int4]).1, "double precision");
    assert_eq!(chosen("round", &[Type::Numeric(Some((10, 2))), Type::Int4]).1, "numeric");
    assert_eq!(chosen("abs", &[Type::Int2]).1, "smallint");
    assert_eq!(chosen("date_trunc", &[Type::Unknown, Type::Date]).1, "timestamp with time zone");
    assert_eq!(chosen("to_timestamp", &[Type::Numeric(None)]).0, "to_timestamp(numeric) -> timestamp with time zone");
    assert_eq!(chosen("array_append", &[Type::array_of(Type::Int4), Type::Numeric(None)]).1, "numeric[]");
    assert_eq!(chosen("greatest", &[Type::Int4, Type::Unknown, Type::Numeric(None)]).1, "numeric");
    let operator = |op: &str, left: Type, right: Type| {
        let found = resolve_operator(op, Some(&left), &right).expect("an operator fits");
        (found.parameter_types, found.result.to_string())
    };
    assert_eq!(operator("->", Type::Json, Type::Unknown).0, [Type::Json, Type::Text]);
    assert_eq!(operator("=", Type::Int4, Type::Unknown).0, [Type::Int4, Type::Int4]);
    assert_eq!(operator("=", Type::Int4, Type::Numeric(None)).0, [Type::Numeric(None), Type::Numeric(None)]);
    assert_eq!(operator("-", Type::Timestamptz, Type::Unknown).1, "interval");
    check_error(
        resolve_operator("+", Some(&Type::Date), &Type::Unknown),
        "42725",
        "operator is not unique: date + unknown",
    );
}

#[test]
fn like_needs_no_backtracking_beyond_the_last_percent() {
    // Would take for ever if every % kept a choice point.
    let (text, pattern) = ("a".repeat(2000), format!("{}b", "%a".repeat(200)));
    let resolved = resolve("like", &[Type::Text, Type::Text]).expect("exists");
    let types = [Type::Text, Type::Text];
    let args = [Datum::text(text), Datum::text(pattern)];
    let answer = resolved.function.call(&args, Types::of_list(&types, &Type::Bool), &EvalContext::at(0));
    assert_eq!(answer, Ok(Datum::Bool(false)));
}
