//! Whatever the text, parsing and binding end with an answer or an error.

mod support;

use proptest::prelude::*;
use sql::binder::{BindOptions, bind_query};
use sql::parser::statement::Statement;

/// Words that make statements.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "USING (a)",
    "UNION",
    "EXCEPT ALL",
    "WITH x AS (",
    "(",
    ")",
    "(SELECT",
    ",",
    "*",
    "t",
    "u",
    "t.a",
    "a",
    "b",
    "c",
    "d",
    "x",
    "orders",
    "status",
    "total",
    "orders.address.city",
    "CHANGE_STREAM('s')",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IN (1, 2)",
    "EXISTS",
    "ANY",
    "ALL",
    "=",
    "<",
    "<>",
    "+",
    "-",
    "*",
    "/",
    "||",
    "->",
    "->>",
    "?",
    "@>",
    "::int",
    "::text[]",
    "::numeric(10,2)",
    "'a'",
    "'1'",
    "'{\"a\":1}'",
    "1",
    "2.5",
    "-1",
    "NULL",
    "TRUE",
    "$1",
    "$2",
    "count(*)",
    "sum(",
    "max(",
    "unnest(tags)",
    "jsonb_each(document)",
    "row_number() OVER (",
    "PARTITION BY",
    "ROWS 1 PRECEDING",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "now()",
    "INTERVAL '1 day'",
    "BETWEEN",
    "LIKE",
    "IS NULL",
    "IS DISTINCT FROM",
    "DISTINCT",
    "DISTINCT ON (a)",
    "LATERAL",
    "VALUES (1, 2)",
    "ARRAY[",
    "]",
    "[1]",
    "GROUPING SETS ((a), ())",
    "ROLLUP (a, b)",
    "CUBE (a)",
    "FILTER (WHERE",
    "EMIT CHANGES",
    "SINCE '82'",
    "UP TO '82'",
    ";",
    "EXTRACT(epoch FROM",
    "coalesce(",
    "FOR UPDATE",
    "TUMBLE(orders, created_at, INTERVAL '1 hour')",
    "SUBSCRIBE",
    "CREATE CHANGE STREAM",
    "CREATE MATERIALIZED VIEW v AS",
    "COPY (",
    "TO STDOUT",
    "json_object_keys(",
    "string_agg(b, ','",
    "WITH ORDINALITY",
    "NATURAL JOIN",
    "CROSS JOIN",
    "é",
    "\"q\"",
];

fn try_all(text: &str) {
    let Ok(statements) = sql::parser::parse(text) else { return };
    let catalog = support::catalog();
    for parsed in statements {
        if let Statement::Query(query) = &parsed.statement
            && let Ok(bound) = bind_query(query, &catalog, &BindOptions::default())
        {
            let text = sql::explain::plan_to_text(&bound.plan);
            assert!(!text.is_empty());
            assert_eq!(bound.fields.len(), bound.plan.fields().len());
        }
    }
}

/// A pseudo-random but valid-looking query, so that binding is reached often.
fn expression(depth: u32) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "t.a", "b", "c", "d", "u.x", "u.tags", "t.b", "1", "'x'", "NULL", "2.5", "true", "$1", "now()"
        ])
        .prop_map(str::to_string),
        Just("count(*)".to_string()),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = expression(depth - 1);
    prop_oneof![
        3 => leaf,
        3 => (inner.clone(), prop::sample::select(vec!["+", "-", "*", "=", "<", "||", "AND", "OR", "->", "LIKE", "IS DISTINCT FROM"]), inner.clone())
            .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("CASE WHEN {a} THEN {b} END")),
        1 => (prop::sample::select(vec!["coalesce", "sum", "max", "lower", "abs", "to_jsonb", "greatest", "array_agg"]), inner.clone())
            .prop_map(|(f, a)| format!("{f}({a})")),
        1 => inner.clone().prop_map(|a| format!("(SELECT max(x) FROM u v WHERE v.a = t.a AND {a} IS NOT NULL)")),
        1 => inner.clone().prop_map(|a| format!("EXISTS (SELECT 1 FROM u v WHERE v.a < t.a AND v.x = {a})")),
        1 => inner.clone().prop_map(|a| format!("({a} IN (SELECT w.a FROM u w WHERE w.x = u.x))")),
        1 => inner.clone().prop_map(|a| format!("sum({a}) OVER (PARTITION BY b ORDER BY c)")),
        1 => inner.prop_map(|a| format!("({a})::text")),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn words_in_any_order(words in prop::collection::vec(prop::sample::select(WORDS), 1..40)) {
        try_all(&words.join(" "));
        try_all(&format!("SELECT {}", words.join(" ")));
    }

    #[test]
    fn any_text(text in "\\PC{0,80}") {
        try_all(&text);
    }

    #[test]
    fn queries(
        items in prop::collection::vec(expression(2), 1..4),
        condition in expression(2),
        group in prop::option::of(expression(1)),
        order in prop::option::of(expression(1)),
        limit in any::<bool>(),
    ) {
        let mut text = format!("SELECT {} FROM t JOIN u ON t.a = u.a WHERE {condition}", items.join(", "));
        if let Some(group) = group {
            text += &format!(" GROUP BY {group}, t.a, b");
        }
        if let Some(order) = order {
            text += &format!(" ORDER BY {order}");
        }
        if limit {
            text += " LIMIT 3";
        }
        try_all(&text);
        try_all(&format!("SELECT * FROM ({text}) q WHERE q IS NOT NULL"));
    }
}
