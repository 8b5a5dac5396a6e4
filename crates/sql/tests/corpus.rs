//! Expressions and what PostgreSQL 15 answers.
//!
//! Each line of `corpus/*.txt` is `expression => type: text`, `expression => NULL` or
//! `expression => ERROR sqlstate`, recorded from a real server. `ours.txt` has the same form for
//! what PostgreSQL does not have or where documents keep the order of their fields.

#[path = "corpus/bind.rs"]
mod bind;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

fn evaluate(text: &str) -> Result<String, sql::SqlError> {
    let mut parser =
        Parser::new(&PostgreSqlDialect {}).try_with_sql(text).map_err(|e| sql::SqlError::syntax(e.to_string()))?;
    let ast = parser.parse_expr().map_err(|e| sql::SqlError::syntax(e.to_string()))?;
    let expr = bind::bind(&ast)?;
    let value = expr.eval(&[], &bind::context())?;
    if value.is_null() {
        return Ok("NULL".to_owned());
    }
    let ty = if expr.ty == sql::Type::Unknown { sql::Type::Text } else { expr.ty };
    let shown = sql::text::to_string(&value, &ty, "UTC").replace('\n', "\\n");
    Ok(format!("{ty}: {shown}"))
}

fn check(file: &str) {
    let path = format!("{}/tests/corpus/{file}", env!("CARGO_MANIFEST_DIR"));
    let corpus = std::fs::read_to_string(&path).expect("the corpus is there");
    let mut failures = Vec::new();
    let mut count = 0;
    for line in corpus.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (text, expected) = line.rsplit_once(" => ").expect("a line has an expectation");
        count += 1;
        let found = match evaluate(text) {
            Ok(shown) => shown,
            Err(error) => format!("ERROR {} {}", error.code, error.message),
        };
        let matches = found == expected || expected.starts_with("ERROR") && found.starts_with(expected);
        if !matches {
            failures.push(format!("{text}\n    expected {expected}\n    found    {found}"));
        }
    }
    assert!(count > 0, "{file} has no cases");
    assert!(failures.is_empty(), "{} of {count} differ in {file}:\n{}", failures.len(), failures.join("\n"));
}

macro_rules! corpus {
    ($($name:ident),*) => { $(#[test] fn $name() { check(concat!(stringify!($name), ".txt")); })* };
}

corpus!(numbers, strings, dates, formats, json, arrays, logic, system, ours);
