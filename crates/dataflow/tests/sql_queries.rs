//! SQL from text to rows, against PostgreSQL's answers, at once and row by row: what the binder's
//! rewritings (subqueries to joins, conditions to sources, columns to paths) must not change.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflow::{Dataflow, Input, Mode, StepContext, run_once};
use sql::binder::{BindOptions, bind_query};
use sql::parser::statement::Statement;
use sql::plan::{Plan, ScanColumn};
use sql::{Catalog, Datum, Field, Relation, Row, Source, SqlError, Type};

struct Tables;

fn columns(name: &str) -> Option<Vec<(&'static str, Type)>> {
    match name {
        "t" => Some(vec![("a", Type::Int4), ("b", Type::Text), ("c", Type::Numeric(None)), ("d", Type::Timestamptz)]),
        "u" => Some(vec![("a", Type::Int4), ("x", Type::Int8), ("tags", Type::array_of(Type::Text))]),
        _ => None,
    }
}

const T: &[&str] = &[
    "1|x|1.5|2024-01-01 00:00+00",
    "2|y|2.50|2024-01-02 00:00+00",
    "2|x|NULL|2024-01-02 12:00+00",
    "3|NULL|-1|2024-01-03 00:00+00",
    "NULL|z|0|NULL",
    "4|y|10|2024-02-01 00:00+00",
];
const U: &[&str] = &["1|10|{p,q}", "1|3|{}", "2|5|NULL", "2|1|{r}", "3|NULL|{p}", "5|7|{s,s}", "NULL|2|{t}"];

impl Catalog for Tables {
    fn database(&self) -> &str {
        "d"
    }

    fn relation(&self, _: Option<&str>, name: &str) -> Option<Relation> {
        let columns = columns(name)?.into_iter().map(|(name, ty)| Field::new(name, ty)).collect();
        Some(Relation { source: Source::View { db: "d".into(), name: name.into() }, columns, open: None, key: vec![] })
    }

    fn stream(&self, _: &str) -> Option<Relation> {
        None
    }
}

fn table(input: &Input) -> Vec<Row> {
    let Source::View { name, .. } = &input.source else { panic!("only views here") };
    let types = columns(name).unwrap();
    let lines = if name == "t" { T } else { U };
    let ctx = sql::EvalContext::at(0);
    lines
        .iter()
        .map(|line| {
            let row: Vec<Datum> = line
                .split('|')
                .zip(&types)
                .map(|(text, (_, ty))| match text {
                    "NULL" => Datum::Null,
                    text => sql::cast::parse_literal(text, ty, &ctx).unwrap(),
                })
                .collect();
            input
                .columns
                .iter()
                .map(|column| match column {
                    ScanColumn::Whole(n) => row[*n].clone(),
                    ScanColumn::Path { .. } => panic!("no JSON here"),
                })
                .collect()
        })
        .collect()
}

fn bind(text: &str) -> Result<Arc<Plan>, SqlError> {
    match sql::parser::parse(text)?.pop().map(|parsed| parsed.statement) {
        Some(Statement::Query(query)) => Ok(bind_query(&query, &Tables, &BindOptions::default())?.plan),
        _ => panic!("not a query: {text}"),
    }
}

fn show(rows: &[Row], plan: &Plan, ordered: bool) -> Vec<String> {
    let cell = |datum: &Datum, field: &Field| match datum {
        Datum::Null => "NULL".to_string(),
        datum => sql::text::to_string(datum, &field.ty, "UTC"),
    };
    let line = |row: &Row| {
        assert_eq!(row.len(), plan.fields().len());
        row.iter().zip(plan.fields()).map(|(d, f)| cell(d, f)).collect::<Vec<_>>().join("|")
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    if !ordered {
        lines.sort();
    }
    lines
}

/// One row per tick, every row of the inputs first inserted, removed, and inserted again.
fn step_by_step(plan: &Arc<Plan>) -> Result<Vec<Row>, SqlError> {
    let mut flow = Dataflow::compile(plan, Mode::Once)?;
    // Every step says what follows from it, as a view's does.
    flow.hold(false);
    let mut ctx = StepContext::at(0);
    let inputs: Vec<Input> = flow.inputs().cloned().collect();
    let mut sum: BTreeMap<Row, i64> = BTreeMap::new();
    let mut step = |deltas, flow: &mut Dataflow, ctx: &mut StepContext<'_>| -> Result<(), SqlError> {
        for (row, n) in flow.step(deltas, ctx)? {
            *sum.entry(row).or_default() += n;
        }
        Ok(())
    };
    step(vec![vec![]; inputs.len()], &mut flow, &mut ctx)?;
    for (i, input) in inputs.iter().enumerate() {
        for row in table(input) {
            for n in [1, -1, 1] {
                let mut deltas = vec![vec![]; inputs.len()];
                deltas[i].push((row.clone(), n));
                step(deltas, &mut flow, &mut ctx)?;
            }
        }
    }
    let rows = sum.into_iter().flat_map(|(row, n)| std::iter::repeat_n(row, n.max(0) as usize)).collect();
    flow.presentation().apply(rows, &mut ctx)
}

#[test]
fn queries_answer_as_postgresql_does() {
    let script = include_str!("queries.txt");
    let mut failures = Vec::new();
    for part in script.split("\n\n").skip(1) {
        let mut lines = part.lines();
        let Some(query) = lines.next().and_then(|line| line.strip_prefix("> ")) else { continue };
        let expected: Vec<String> = lines.map(str::to_string).collect();
        let ordered = query.rfind("ORDER BY").is_some_and(|at| Some(at) > query.rfind(')'));
        let answer = bind(query).and_then(|plan| {
            let rows = run_once(&plan, |input| Ok(table(input)), &mut StepContext::at(0))?;
            Ok((show(&rows, &plan, ordered), step_by_step(&plan).map(|rows| show(&rows, &plan, ordered)), plan))
        });
        match answer {
            Err(e) => failures.push(format!("{query}\n  {e:?}")),
            Ok((once, _, plan)) if once != expected => {
                let plan = sql::explain::plan_to_text(&plan);
                failures.push(format!("{query}\n  expected {expected:?}\n  got      {once:?}\n{plan}"));
            }
            Ok((_, Ok(steps), _)) if steps != expected => {
                failures.push(format!("{query}\n  expected {expected:?}\n  in steps {steps:?}"));
            }
            // A subquery may have too many rows on the way, or an average none.
            Ok((_, Err(e), _)) if !["21000", "22012"].contains(&e.code) => {
                failures.push(format!("{query}\n  in steps {e:?}"))
            }
            Ok(_) => {}
        }
    }
    assert!(failures.is_empty(), "{} queries differ:\n{}", failures.len(), failures.join("\n\n"));
}
