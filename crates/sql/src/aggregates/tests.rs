//! Result types of the aggregates.

use super::*;

fn check(name: &str, args: &[Type], expected: &str) {
    let found = match resolve(name, args) {
        None => "no aggregate".to_owned(),
        Some(Ok(found)) => found.result.to_string(),
        Some(Err(error)) => error.code.to_owned(),
    };
    assert_eq!(found, expected, "{name}{args:?}");
}

#[test]
fn result_types_are_postgresqls() {
    let numeric = Type::Numeric(Some((10, 2)));
    check("count", &[], "bigint");
    check("count", &[Type::Json], "bigint");
    check("sum", &[Type::Int2], "bigint");
    check("sum", &[Type::Int4], "bigint");
    check("sum", &[Type::Int8], "numeric");
    check("sum", std::slice::from_ref(&numeric), "numeric");
    check("sum", &[Type::Float4], "real");
    check("sum", &[Type::Interval], "interval");
    check("sum", &[Type::Text], "42883");
    check("avg", &[Type::Int4], "numeric");
    check("avg", &[Type::Float4], "double precision");
    check("min", &[Type::Timestamptz], "timestamp with time zone");
    check("max", &[Type::Varchar(Some(3))], "text");
    check("string_agg", &[Type::Text, Type::Unknown], "text");
    check("string_agg", &[Type::Int4, Type::Text], "42883");
    check("array_agg", &[Type::Json], "jsonb[]");
    check("jsonb_agg", &[Type::Record], "jsonb");
    check("json_object_agg", &[Type::Text, Type::Int4], "jsonb");
    check("stddev", &[Type::Int4], "numeric");
    check("var_pop", &[Type::Float8], "double precision");
    check("corr", &[Type::Int4, Type::Numeric(None)], "double precision");
    check("every", &[Type::Bool], "boolean");
    check("bit_and", &[Type::Int8], "bigint");
    check("percentile_cont", &[Type::Numeric(None), Type::Int4], "double precision");
    check("percentile_disc", &[Type::array_of(Type::Float8), Type::Text], "text[]");
    check("lower", &[Type::Text], "no aggregate");
}
