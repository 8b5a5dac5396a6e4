//! Operators by their deltas: golden scripts under `operators/`, one per operator.
//!
//! ```text
//!   table t (a int, b text)      a relation whose rows come and go
//!   stream s (k int, v text)     one whose rows only come: CHANGE_STREAM('s')
//!   query SELECT …               to the end of the block
//!   now 2024-01-01 00:00+00      the clock of the ticks after it
//!   on_error null                what happens to a row that fails
//!   insert t (1, x) (2, NULL)    changes of the block's one tick …
//!   delete t (1, x)
//!   tick                         … or of several
//!   checkpoint                   after what stands before it: the state goes through its stored form; says how many entries it wrote
//! ```
//!
//! Output: `+(row)` and `-(row)` with a count if it is not one, sorted, one line each; `!` is a row
//! that failed. After every tick the sum of all that was shown is compared with the query run afresh.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use dataflow::{Dataflow, Delta, Input, Mode, OnError, StepContext, run_once};
use sql::binder::{BindOptions, bind_query};
use sql::parser::Statement;
use sql::plan::{Plan, ScanColumn};
use sql::{Catalog, Datum, Field, Relation, Row, Source, Type};

#[test]
fn operators_show_these_deltas() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operators");
    testkit::run_scripts(folder, || {
        let mut script = Script::default();
        move |commands| script.block(commands)
    });
}

type Bag = BTreeMap<Row, i64>;

#[derive(Debug, Default)]
struct Relations(BTreeMap<String, (Vec<Field>, bool)>);

#[derive(Default)]
struct Script {
    relations: Relations,
    held: BTreeMap<String, Bag>,
    plan: Option<Arc<Plan>>,
    flow: Option<Dataflow>,
    saved: BTreeMap<Vec<u8>, Vec<u8>>,
    shown: Bag,
    pending: BTreeMap<String, Vec<Delta>>,
    now_us: i64,
    on_error: OnError,
}

impl Catalog for Relations {
    fn database(&self) -> &str {
        "d"
    }

    fn relation(&self, _: Option<&str>, name: &str) -> Option<Relation> {
        let (columns, _) = self.0.get(name).filter(|(_, is_stream)| !is_stream)?;
        let source = Source::View { db: "d".into(), name: name.into() };
        Some(Relation { source, columns: columns.clone(), open: None, key: vec![] })
    }

    fn stream(&self, name: &str) -> Option<Relation> {
        let (columns, _) = self.0.get(name).filter(|(_, is_stream)| *is_stream)?;
        let source = Source::Stream { db: "d".into(), name: name.into(), since: None, up_to: None };
        Some(Relation { source, columns: columns.clone(), open: None, key: vec![] })
    }
}

fn name_of(source: &Source) -> &str {
    match source {
        Source::View { name, .. } | Source::Stream { name, .. } => name,
        other => panic!("unexpected {other:?}"),
    }
}

fn scanned(row: &Row, input: &Input) -> Row {
    let column = |column: &ScanColumn| match column {
        ScanColumn::Whole(n) => row[*n].clone(),
        ScanColumn::Path { column, path, text } => {
            let Datum::Json(json) = &row[*column] else { return Datum::Null };
            let step = |value, step: &sql::plan::PathStep| match step {
                sql::plan::PathStep::Key(key) => sql::json::step(value, key),
                sql::plan::PathStep::Index(_) => panic!("no array paths here"),
            };
            match path.iter().try_fold(json.raw(), step) {
                None => Datum::Null,
                Some(found) if *text => sql::json::as_text(found),
                Some(found) => Datum::Json(json.share(found)),
            }
        }
    };
    input.columns.iter().map(column).collect()
}

impl Script {
    fn block(&mut self, commands: &str) -> String {
        let mut out = String::new();
        let mut lines = commands.lines();
        let mut ticked = false;
        while let Some(line) = lines.next() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "table" | "stream" => self.define(rest, word == "stream"),
                "query" => {
                    let rest = std::iter::once(rest).chain(lines.by_ref()).collect::<Vec<_>>().join("\n");
                    self.query(&rest, &mut out);
                }
                "now" => self.now_us = timestamp(rest),
                "on_error" => {
                    self.on_error = match rest {
                        "null" => OnError::Null,
                        "dead_letter" => OnError::DeadLetter,
                        _ => OnError::Fail,
                    }
                }
                "insert" => self.change(rest, 1),
                "delete" => self.change(rest, -1),
                "tick" => {
                    let _ = writeln!(out, "tick");
                    self.tick(&mut out);
                    ticked = true;
                }
                "checkpoint" => {
                    if !self.pending.is_empty() {
                        self.tick(&mut out);
                    }
                    self.checkpoint(&mut out);
                }
                other => panic!("no such command: {other}"),
            }
        }
        if !ticked && !self.pending.is_empty() {
            self.tick(&mut out);
        }
        out
    }

    fn define(&mut self, text: &str, is_stream: bool) {
        let (name, columns) = text.split_once(" (").unwrap();
        let column = |column: &str| {
            let (name, ty) = column.trim().split_once(' ').unwrap();
            Field::new(name, type_named(ty))
        };
        let columns = columns.trim_end_matches(')').split(',').map(column).collect();
        self.relations.0.insert(name.into(), (columns, is_stream));
        self.held.insert(name.into(), Bag::new());
    }

    fn query(&mut self, text: &str, out: &mut String) {
        let bound = sql::parser::parse(text).and_then(|mut parsed| {
            let Some(Statement::Query(query)) = parsed.pop().map(|p| p.statement) else { panic!("not a query") };
            let plan = bind_query(&query, &self.relations, &BindOptions::default())?.plan;
            Ok((Dataflow::compile(&plan, Mode::Continuous)?, plan))
        });
        match bound {
            Err(error) => {
                let _ = writeln!(out, "error {} {}", error.code, error.message);
            }
            Ok((flow, plan)) => {
                (self.flow, self.plan) = (Some(flow), Some(plan));
                self.saved.clear();
                self.shown.clear();
                self.held.values_mut().for_each(Bag::clear);
                // The first tick of queries that have rows without input.
                self.tick(out);
            }
        }
    }

    fn change(&mut self, text: &str, sign: i64) {
        let (name, rows) = text.split_once(' ').unwrap();
        let (fields, _) = &self.relations.0[name];
        for row in rows_of(rows, fields) {
            self.pending.entry(name.into()).or_default().push((row, sign));
        }
    }

    fn tick(&mut self, out: &mut String) {
        let flow = self.flow.as_mut().expect("a query comes first");
        let pending = std::mem::take(&mut self.pending);
        for (name, deltas) in &pending {
            add(self.held.get_mut(name).unwrap(), deltas);
        }
        let inputs: Vec<Input> = flow.inputs().cloned().collect();
        let delta = |input: &Input| -> Vec<Delta> {
            let rows = pending.get(name_of(&input.source)).map_or(&[][..], |rows| rows);
            rows.iter().map(|(row, n)| (scanned(row, input), *n)).collect()
        };
        let deltas = inputs.iter().map(delta).collect();
        let mut ctx = StepContext { on_error: self.on_error, ..StepContext::at(self.now_us) };
        let fields = flow.fields().to_vec();
        match flow.step(deltas, &mut ctx) {
            Err(error) => {
                let _ = writeln!(out, "error {} {}", error.code, error.message);
                return;
            }
            Ok(deltas) => {
                add(&mut self.shown, &deltas);
                let mut lines: Vec<String> = deltas.iter().map(|(row, n)| line(row, *n, &fields)).collect();
                lines.sort_by(|a, b| b.cmp(a));
                out.extend(lines);
            }
        }
        for failure in &ctx.failures {
            let _ = writeln!(out, "! {} {}", failure.error.code, failure.error.message);
        }
        self.compare_with_afresh();
    }

    fn compare_with_afresh(&self) {
        let plan = self.plan.as_ref().unwrap();
        let mut ctx = StepContext { on_error: self.on_error, ..StepContext::at(self.now_us) };
        let read = |input: &Input| {
            let rows = &self.held[name_of(&input.source)];
            Ok(rows.iter().flat_map(|(r, n)| std::iter::repeat_n(scanned(r, input), *n as usize)).collect())
        };
        let mut afresh = Bag::new();
        for row in run_once(plan, read, &mut ctx).expect("the query runs") {
            add(&mut afresh, &[(row, 1)]);
        }
        // ORDER BY at the top belongs to the reader.
        assert_eq!(self.shown, afresh, "shown (left) is not the query run afresh (right)");
    }

    fn checkpoint(&mut self, out: &mut String) {
        let flow = self.flow.as_mut().expect("a query comes first");
        let mut written = 0;
        flow.save(&mut |key, value| {
            written += 1;
            match value {
                Some(value) => self.saved.insert(key, value),
                None => self.saved.remove(&key),
            };
        });
        let mut fresh = Dataflow::compile(self.plan.as_ref().unwrap(), Mode::Continuous).unwrap();
        for (key, value) in &self.saved {
            fresh.load(key, value).expect("its own state");
        }
        let _ = writeln!(out, "{written} written, {} kept", self.saved.len());
        self.flow = Some(fresh);
    }
}

fn add(bag: &mut Bag, deltas: &[Delta]) {
    for (row, count) in deltas {
        *bag.entry(row.clone()).or_insert(0) += count;
    }
    bag.retain(|_, count| *count != 0);
}

fn type_named(name: &str) -> Type {
    match name {
        "int" => Type::Int4,
        "bigint" => Type::Int8,
        "float" => Type::Float8,
        "numeric" => Type::Numeric(None),
        "text" => Type::Text,
        "bool" => Type::Bool,
        "json" => Type::Json,
        "timestamptz" => Type::Timestamptz,
        "interval" => Type::Interval,
        "text[]" => Type::array_of(Type::Text),
        other => panic!("no type {other} here"),
    }
}

fn timestamp(text: &str) -> i64 {
    match sql::cast::parse_literal(text, &Type::Timestamptz, &sql::EvalContext::at(0)).unwrap() {
        Datum::Timestamp(us) => us,
        other => panic!("{other:?} is no time"),
    }
}

/// `(1, x) (2, NULL)`; commas inside braces and brackets belong to the value.
fn rows_of(text: &str, fields: &[Field]) -> Vec<Row> {
    let ctx = sql::EvalContext::at(0);
    let row = |text: &str| -> Row {
        let mut cells = vec![String::new()];
        let mut depth = 0;
        for c in text.chars() {
            depth += i32::from("{[".contains(c)) - i32::from("}]".contains(c));
            match c {
                ',' if depth == 0 => cells.push(String::new()),
                c => cells.last_mut().unwrap().push(c),
            }
        }
        assert_eq!(cells.len(), fields.len(), "values of ({text})");
        let value = |(cell, field): (&String, &Field)| match cell.trim() {
            "NULL" => Datum::Null,
            text => sql::cast::parse_literal(text, &field.ty, &ctx).unwrap(),
        };
        cells.iter().zip(fields).map(value).collect()
    };
    text.trim().trim_start_matches('(').trim_end_matches(')').split(") (").map(row).collect()
}

fn line(row: &Row, count: i64, fields: &[Field]) -> String {
    let cell = |(datum, field): (&Datum, &Field)| match datum {
        Datum::Null => "NULL".to_string(),
        datum => sql::text::to_string(datum, &field.ty, "UTC"),
    };
    let cells: Vec<String> = row.iter().zip(fields).map(cell).collect();
    let times = if count.abs() == 1 { String::new() } else { count.abs().to_string() };
    format!("{}{times}({})\n", if count > 0 { '+' } else { '-' }, cells.join(", "))
}

/// Queries in which a row can fail at every place of an operator.
const FAILING: &[&str] = &[
    "SELECT * FROM t WHERE a::int > 1",
    "SELECT k, a::int AS a, 6 / (k - 1) AS q FROM t",
    "SELECT a::int AS a, count(*) AS n FROM t GROUP BY 1",
    "SELECT k, count(*) AS n, sum(a::int) AS s, min(a::int) AS least, max(a::int) AS most, avg(a::int) AS mean FROM t GROUP BY k",
    "SELECT k, count(DISTINCT a::int) AS n, array_agg(a::int ORDER BY a::int) AS all, bool_or(a::int > 2) AS any FROM t GROUP BY k",
    "SELECT k, count(*) FILTER (WHERE a::int > 1) AS n, string_agg(a, ',' ORDER BY a::int) AS l FROM t GROUP BY k",
    "SELECT k, 6 / (count(*) - 2) AS q FROM t GROUP BY k HAVING sum(a::int) > 0",
    "SELECT k, a::int AS a, count(*) AS n FROM t GROUP BY GROUPING SETS ((k), (a::int), ())",
    "SELECT t.k, u.b FROM t JOIN u ON t.a::int = u.b::int",
    "SELECT t.k, u.b FROM t LEFT JOIN u ON t.k = u.k AND t.a::int < u.b::int",
    "SELECT t.a, u.b FROM t FULL JOIN u ON t.a::int = u.b::int",
    "SELECT k FROM t WHERE a::int IN (SELECT b::int FROM u)",
    "SELECT k FROM t WHERE a::int NOT IN (SELECT b::int FROM u)",
    "SELECT k FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.b::int > t.a::int)",
    "SELECT k, (SELECT sum(b::int) FROM u WHERE u.k = t.k) AS s FROM t",
    "SELECT DISTINCT a::int AS a FROM t",
    "SELECT a::int AS a FROM t EXCEPT SELECT b::int FROM u",
    "SELECT a::int AS a FROM t INTERSECT ALL SELECT b::int FROM u",
    "SELECT * FROM (SELECT k, a FROM t ORDER BY a::int, k LIMIT 2) AS x",
    "SELECT k, a FROM (SELECT DISTINCT ON (k) k, a FROM t ORDER BY k, a::int DESC) AS x",
    "SELECT k, a, row_number() OVER (PARTITION BY k ORDER BY a::int, a) AS n FROM t",
    "SELECT k, a, sum(a::int) OVER (PARTITION BY k ORDER BY a) AS s, lag(a::int) OVER (PARTITION BY k ORDER BY a) AS l FROM t",
    "SELECT k, a, count(*) OVER (PARTITION BY a::int) AS n FROM t",
    "SELECT k, g FROM t, generate_series(1, a::int) AS g",
    "SELECT k, CASE WHEN k > 1 THEN a::int ELSE 0 END AS c FROM t",
];

/// A row that failed when it came is neutral when it goes, wherever it fails: after each tick the harness
/// compares with the query run afresh, and now and then the state goes through its stored form.
#[test]
fn rows_that_fail_leave_no_trace() {
    for policy in ["null", "dead_letter"] {
        for (number, query) in FAILING.iter().enumerate() {
            let mut random = base::Random::seeded(number as u64 + 1);
            let mut script = Script::default();
            script
                .block(&format!("on_error {policy}\ntable t (k int, a text)\ntable u (k int, b text)\nquery {query}"));
            let mut held: [Vec<String>; 2] = Default::default();
            let mut commands = format!("-- {policy}: {query}");
            for _ in 0..60 {
                let mut block = String::new();
                for _ in 0..=random.below(3) {
                    let side = random.below(2) as usize;
                    let name = ["t", "u"][side];
                    if random.below(5) < 2 && !held[side].is_empty() {
                        let at = random.below(held[side].len() as u64) as usize;
                        let row = held[side].swap_remove(at);
                        block += &format!("delete {name} {row}\n");
                    } else {
                        let value = ["1", "2", "3", "x", "y", "NULL"][random.below(6) as usize];
                        let row = format!("({}, {value})", random.below(3));
                        block += &format!("insert {name} {row}\n");
                        held[side].push(row);
                    }
                }
                block += if random.below(4) == 0 { "checkpoint" } else { "tick" };
                commands += &format!("\n{block}");
                let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script.block(&block)));
                let answer = answer.unwrap_or_else(|_| panic!("after\n{commands}"));
                assert!(!answer.contains("error "), "{answer} after\n{commands}");
            }
        }
    }
}
