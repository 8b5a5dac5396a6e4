//! Golden scripts: statements and the plans or errors they become. `BLESS=1` rewrites them.

mod support;

use std::path::Path;

use sql::binder::{BindOptions, bind_filter, bind_query};
use sql::explain::{expr_to_sql, plan_to_text};
use sql::parser::statement::Statement;
use sql::{Notice, SqlError};

fn error(e: &SqlError) -> String {
    let mut text = format!("ERROR {}: {}", e.code, e.message);
    if let Some(position) = e.position {
        text += &format!(" at {position}");
    }
    for (name, part) in [("DETAIL", &e.detail), ("HINT", &e.hint)] {
        if let Some(part) = part {
            text += &format!("\n{name}: {part}");
        }
    }
    text + "\n"
}

fn notices(notices: &[Notice]) -> String {
    notices.iter().map(|n| format!("NOTICE: {}\n", n.message)).collect()
}

fn explain(statement: &Statement) -> Result<String, SqlError> {
    let catalog = support::catalog();
    let options = BindOptions::default();
    match statement {
        Statement::Query(query) => {
            let bound = bind_query(query, &catalog, &options)?;
            let columns: Vec<String> = bound.fields.iter().map(|f| format!("{} {}", f.name, f.ty)).collect();
            let mut text = notices(&bound.notices) + &format!("({})\n", columns.join(", "));
            if !bound.parameter_types.is_empty() {
                let types: Vec<String> = bound.parameter_types.iter().map(|ty| ty.to_string()).collect();
                text += &format!("parameters: {}\n", types.join(", "));
            }
            Ok(text + &plan_to_text(&bound.plan))
        }
        Statement::CreateChangeStream(stream) => match &stream.filter {
            Some(filter) => {
                let relation = support::stream("s");
                let bound = bind_filter(filter, &relation, &catalog, &options)?;
                let pushdown = sql::optimize::filter_pushdown(&bound.predicate);
                Ok(notices(&bound.notices)
                    + &format!("Filter: {}\n", expr_to_sql(&bound.predicate, &relation.columns))
                    + &format!("Pushdown: {pushdown:?}\n"))
            }
            None => Ok("no filter\n".into()),
        },
        other => Ok(format!("{other:?}\n")),
    }
}

fn answer(text: &str) -> String {
    match sql::parser::parse(text) {
        Err(e) => error(&e),
        Ok(statements) => statements
            .iter()
            .map(|parsed| explain(&parsed.statement).unwrap_or_else(|e| error(&e)))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// `# comment`, `> statement` (continued by further `> ` lines), then its answer up to a blank line.
fn run(script: &str) -> String {
    let mut out = String::new();
    let mut statement = String::new();
    for line in script.lines().chain([""]) {
        if let Some(part) = line.strip_prefix("> ") {
            statement += part;
            statement.push('\n');
            continue;
        }
        if !statement.is_empty() {
            let text = statement.trim_end();
            for part in text.lines() {
                out += &format!("> {part}\n");
            }
            out += &answer(text);
            out.push('\n');
            statement.clear();
        }
        if line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out.trim_end().to_string() + "\n"
}

#[test]
fn every_script_gives_its_answer() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut paths: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut different = Vec::new();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "txt")) {
        let script = std::fs::read_to_string(&path).unwrap();
        let result = run(&script);
        if result != script {
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &result).unwrap();
            } else {
                let at = result.lines().zip(script.lines()).position(|(a, b)| a != b).unwrap_or(0);
                different.push(format!("{} line {}: {:?}", path.display(), at + 1, result.lines().nth(at)));
            }
        }
    }
    assert!(different.is_empty(), "answers changed:\n{}", different.join("\n"));
}
