//! Statements that were right, broken at random: parsing and binding end with an answer or an error that
//! says which.
//!
//! The corpus is every query of `plans/` and of the comparison with PostgreSQL. Tokens are deleted, doubled,
//! swapped, replaced, spliced in from another statement, or nested deeply. `MUTATIONS` says how many (in
//! debug the default takes seconds), `SEED` which; a failure prints the statement.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use base::Random;
use sql::SqlError;
use sql::binder::{BindOptions, bind_query};
use sql::parser::statement::Statement;

/// Statements of one run without `MUTATIONS`.
const DEFAULT: u64 = 20_000;
/// What is odd by itself, or in a place where it does not belong.
const ODD: &[&str] = &[
    "\0",
    "\u{202E}",
    "𝕏",
    "\u{FEFF}",
    "\u{E003}",
    "\"\u{E003}\"(1)",
    "\"\u{E004}ties\"",
    "'",
    "\"",
    "\"\"",
    "$$",
    "$1",
    "$99999999",
    "$0",
    "E'\\",
    "U&'\\+FFFFFF'",
    "/*",
    "--",
    ";",
    "(",
    ")",
    "[",
    "]",
    "[:]",
    ".",
    "..",
    "::",
    ":",
    "->-",
    "1e999999",
    "-9223372036854775809",
    "99999999999999999999999999999999999999999999",
    "0x",
    "1_000",
    "'{{{'::int[]",
    "'9'::numeric(1001, 5000)",
    "INTERVAL '1e300 years'",
    "'infinity'::date",
    "BETWEEN SYMMETRIC",
    "EXCLUDE TIES",
    "ROWS 1 PRECEDING EXCLUDE CURRENT ROW",
    "WITH TIES",
    "FETCH FIRST 1e9 ROWS WITH TIES",
    "LIKE ANY (",
    "NOT LIKE ALL (ARRAY['a'])",
    "WITH RECURSIVE o AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM o)",
    "GROUPING SETS (ROLLUP (a, b), CUBE (a))",
    "AS r(a int, b text[])",
    "OVER (PARTITION BY",
    "FILTER (WHERE",
    "WITHIN GROUP (ORDER BY",
    "LATERAL",
    "SINCE 'x' UP TO",
    "AS OF TOKEN",
];
/// What nests, and how deep at most.
const NESTS: &[(&str, &str)] = &[
    ("(", ")"),
    ("ARRAY[", "]"),
    ("NOT ", ""),
    ("- ", ""),
    ("CASE WHEN true THEN ", " END"),
    ("(SELECT ", ")"),
    ("coalesce(", ")"),
    ("a AND (", ")"),
    ("EXISTS (SELECT ", ")"),
    ("x -> ", ""),
];
const DEEPEST: u64 = 3000;
/// Mutants longer than this are cut: the limits of long texts have tests of their own.
const MOST_BYTES: usize = 32 * 1024;

fn corpus() -> Vec<Vec<String>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut statements = Vec::new();
    for (folder, prefix) in [(here.join("tests/plans"), "> "), (here.join("../../tests/law/constructs"), "")] {
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .expect("the corpus is there")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.is_file()) {
            let text = std::fs::read_to_string(&path).expect("a text");
            let lines =
                text.lines().filter_map(|line| line.strip_prefix(prefix)).filter(|line| !line.starts_with("--"));
            statements.extend(lines.map(|line| tokens(line.trim_start_matches("@refused "))));
        }
    }
    statements.retain(|statement| !statement.is_empty());
    assert!(statements.len() > 300, "the corpus is there");
    statements
}

/// Words, literals and symbols; blanks are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        let mut token = String::from(c);
        if c == '\'' || c == '"' {
            for next in chars.by_ref() {
                token.push(next);
                if next == c {
                    break;
                }
            }
        } else if c.is_alphanumeric() || c == '_' || c == '$' {
            while let Some(next) = chars.next_if(|n| n.is_alphanumeric() || *n == '_' || *n == '.') {
                token.push(next);
            }
        } else if "<>=!|&#@?-:~*".contains(c) {
            while let Some(next) = chars.next_if(|n| "<>=!|&#@?-:~*".contains(*n)) {
                token.push(next);
            }
        }
        out.push(token);
    }
    out
}

fn mutate(random: &mut Random, corpus: &[Vec<String>]) -> String {
    let pick = |random: &mut Random, n: usize| random.below(n as u64) as usize;
    let mut statement = corpus[pick(random, corpus.len())].clone();
    for _ in 0..1 + random.below(4) {
        let at = pick(random, statement.len());
        match random.below(8) {
            0 if statement.len() > 1 => {
                let end = (at + 1 + pick(random, 4)).min(statement.len());
                if end - at < statement.len() {
                    statement.drain(at..end);
                }
            }
            1 => statement.insert(at, statement[at].clone()),
            2 => {
                let other = pick(random, statement.len());
                statement.swap(at, other);
            }
            3 => statement[at] = ODD[pick(random, ODD.len())].to_owned(),
            4 => statement.insert(at, ODD[pick(random, ODD.len())].to_owned()),
            5 => {
                let other = &corpus[pick(random, corpus.len())];
                let from = pick(random, other.len());
                let to = (from + 1 + pick(random, 12)).min(other.len());
                statement.splice(at..at, other[from..to].iter().cloned());
            }
            6 => {
                let other = &corpus[pick(random, corpus.len())];
                statement[at] = other[pick(random, other.len())].clone();
            }
            _ if random.below(6) == 0 => {
                let (open, close) = NESTS[pick(random, NESTS.len())];
                let depth = random.below(DEEPEST) as usize;
                statement[at] = format!("{}{}{}", open.repeat(depth), statement[at], close.repeat(depth));
            }
            _ => {}
        }
    }
    let separator = if random.below(20) == 0 { "" } else { " " };
    let mut text = statement.join(separator);
    if text.len() > MOST_BYTES {
        let end = (0..=MOST_BYTES).rev().find(|at| text.is_char_boundary(*at)).expect("0 is a boundary");
        text.truncate(end);
    }
    text
}

/// An error that a client can act on: it has a code, and it is not our own bug.
fn check(error: &SqlError, text: &str) {
    assert_eq!(error.code.len(), 5, "{error:?}");
    assert_ne!(error.code, "XX000", "{error:?}");
    assert!(!error.message.is_empty());
    if let Some(position) = error.position {
        assert!((1..=text.chars().count() + 1).contains(&position), "position {position}: {error:?}");
    }
}

fn run(text: &str) {
    let statements = match sql::parser::parse(text) {
        Ok(statements) => statements,
        Err(error) => {
            check(&error, text);
            // Where PostgreSQL's grammar stops it says where; at the end of the text there is no place.
            if error.code == "42601" && error.message.starts_with("syntax error at or near") {
                assert!(error.position.is_some(), "{error:?}");
            }
            return;
        }
    };
    let catalog = support::catalog();
    for parsed in statements {
        let query = match &parsed.statement {
            Statement::Query(query) => query,
            Statement::CreateMaterializedView(view) => &view.query,
            _ => continue,
        };
        match bind_query(query, &catalog, &BindOptions::default()) {
            Ok(bound) => {
                assert_eq!(bound.fields.len(), bound.plan.fields().len());
                assert!(!sql::explain::plan_to_text(&bound.plan).is_empty());
            }
            Err(error) => check(&error, text),
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn broken_statements_end_with_an_answer_or_an_error() {
    let (count, seed) = (setting("MUTATIONS", DEFAULT), setting("SEED", 2026));
    let corpus = corpus();
    for statement in &corpus {
        run(&statement.join(" "));
    }
    let mut random = Random::seeded(seed);
    let mut slowest = (0, String::new());
    for _ in 0..count {
        let text = mutate(&mut random, &corpus);
        let begun = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| run(&text))).is_err() {
            panic!("seed {seed}: {text:?}");
        }
        let took = begun.elapsed().as_millis();
        if took > slowest.0 {
            slowest = (took, text);
        }
    }
    // Shown with --nocapture, to look for what grows too fast.
    eprintln!("slowest: {} ms, {} bytes: {:.300}", slowest.0, slowest.1.len(), slowest.1);
}
