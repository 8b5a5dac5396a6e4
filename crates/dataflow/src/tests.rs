//! The law of the crate: whatever the plan and the history, the sum of the output deltas equals the
//! query run afresh over the sum of the input deltas, after every tick, also when the state went
//! through a checkpoint in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Random;
use sql::plan::{
    AggregateExpr, AggregateFunction, Exclude, Field, Frame, FrameBound, FrameUnit, JoinKey, JoinKind, Plan,
    ScanColumn, SetOperation, SortKey, Source, WindowExpr, WindowFunction,
};
use sql::{Datum, Expr, ExprKind, Row, Type};

use crate::{Dataflow, Delta, Mode, StepContext, run_once};

const WIDTH: usize = 3;

fn fields(n: usize) -> Vec<Field> {
    (0..n).map(|i| Field::new(format!("c{i}"), Type::Int8)).collect()
}

fn scan(name: &str) -> Arc<Plan> {
    let source = Source::Collection { db: "d".into(), name: name.into() };
    Arc::new(Plan::Scan { source, columns: (0..WIDTH).map(ScanColumn::Whole).collect(), fields: fields(WIDTH) })
}

/// Events, which never go.
fn stream() -> Arc<Plan> {
    let source = Source::Stream { db: "d".into(), name: "s".into(), since: None, up_to: None };
    Arc::new(Plan::Scan { source, columns: (0..WIDTH).map(ScanColumn::Whole).collect(), fields: fields(WIDTH) })
}

fn name_of(source: &Source) -> &str {
    match source {
        Source::Collection { name, .. } | Source::Stream { name, .. } => name,
        other => panic!("unexpected {other:?}"),
    }
}

fn col(i: usize) -> Expr {
    Expr::column(i, Type::Int8)
}

fn call(op: &str, a: Expr, b: Expr) -> Expr {
    let found = sql::functions::resolve_operator(op, Some(&a.ty), &b.ty).expect("an operator of the registry");
    Expr::new(ExprKind::Call { function: found.function, args: vec![a, b] }, found.result)
}

fn int(n: i64) -> Expr {
    Expr::literal(Datum::Int(n), Type::Int8)
}

fn key(expr: Expr, descending: bool) -> SortKey {
    SortKey { expr, descending, nulls_first: descending }
}

fn aggregate(function: AggregateFunction, arg: Expr, ty: Type, distinct: bool) -> AggregateExpr {
    let args = if function == AggregateFunction::CountStar { vec![] } else { vec![arg] };
    AggregateExpr { function, args, distinct, order_by: vec![], filter: None, ty }
}

/// A random plan of `depth` levels over the collections a and b; always `WIDTH` integer columns.
fn random_plan(random: &mut Random, depth: u32) -> Arc<Plan> {
    if depth == 0 {
        return match random.below(5) {
            0 | 1 => scan("a"),
            2 | 3 => scan("b"),
            _ => stream(),
        };
    }
    let input = random_plan(random, depth - 1);
    let column = |random: &mut Random| col(random.below(WIDTH as u64) as usize);
    let plan = match random.below(9) {
        0 => Plan::Filter { predicate: call("<", column(random), int(random.below(4) as i64)), input },
        1 => {
            let exprs = vec![column(random), call("+", column(random), int(1)), column(random)];
            Plan::Project { input, exprs, fields: fields(WIDTH) }
        }
        2 => Plan::Distinct { input },
        3 => random_aggregate(random, input),
        4 | 5 => random_join(random, input, depth),
        6 => random_set_operation(random, input, depth),
        7 => Plan::TopN {
            input,
            partition: if random.below(2) == 0 { vec![col(0)] } else { vec![] },
            order: vec![key(column(random), random.below(2) == 0)],
            offset: random.below(2),
            limit: Some(random.below(3) + 1),
        },
        _ => random_window(random, input),
    };
    Arc::new(plan)
}

fn random_aggregate(random: &mut Random, input: Arc<Plan>) -> Plan {
    use AggregateFunction as A;
    let functions = [A::CountStar, A::Count, A::Min, A::Max, A::BitOr, A::Sum, A::Mode, A::PercentileDisc, A::AnyValue];
    let mut pick = |distinct| {
        let function = functions[random.below(functions.len() as u64) as usize];
        let value = col(random.below(WIDTH as u64) as usize);
        let is_ordered_set = matches!(function, A::Mode | A::PercentileDisc);
        let mut aggregate = aggregate(function, value.clone(), Type::Int8, distinct && !is_ordered_set);
        if is_ordered_set {
            aggregate.args = vec![Expr::literal(Datum::Float(0.5), Type::Float8)];
            aggregate.order_by = vec![key(value, random.below(2) == 0)];
        }
        aggregate
    };
    let aggregates = vec![pick(false), pick(true)];
    Plan::Aggregate { input, groups: vec![col(0)], sets: vec![vec![0]], aggregates, fields: fields(WIDTH) }
}

fn random_join(random: &mut Random, left: Arc<Plan>, depth: u32) -> Plan {
    let right = random_plan(random, depth - 1);
    let kinds = [
        JoinKind::Inner,
        JoinKind::Left,
        JoinKind::Right,
        JoinKind::Full,
        JoinKind::Semi,
        JoinKind::Anti,
        JoinKind::NullAwareAnti,
    ];
    let kind = kinds[random.below(kinds.len() as u64) as usize];
    let keys = vec![JoinKey {
        left: col(0),
        right: col(1),
        null_safe: kind != JoinKind::NullAwareAnti && random.below(4) == 0,
    }];
    let residual =
        (kind != JoinKind::NullAwareAnti && random.below(2) == 0).then(|| call("<=", col(1), col(WIDTH + 2)));
    let left_only = matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti);
    let width = if left_only { WIDTH } else { 2 * WIDTH };
    let join = Plan::Join { left, right, kind, keys, residual, fields: fields(width) };
    if left_only {
        return join;
    }
    Plan::Project { input: Arc::new(join), exprs: vec![col(0), col(WIDTH), col(WIDTH + 2)], fields: fields(WIDTH) }
}

fn random_set_operation(random: &mut Random, left: Arc<Plan>, depth: u32) -> Plan {
    let operations = [SetOperation::Union, SetOperation::Intersect, SetOperation::Except];
    let operation = operations[random.below(3) as usize];
    let right = random_plan(random, depth - 1);
    Plan::SetOp { operation, all: random.below(2) == 0, left, right, fields: fields(WIDTH) }
}

fn random_window(random: &mut Random, input: Arc<Plan>) -> Plan {
    use WindowFunction as W;
    let functions = [
        W::RowNumber,
        W::Rank,
        W::DenseRank,
        W::PercentRank,
        W::CumeDist,
        W::Ntile,
        W::Lag,
        W::Lead,
        W::FirstValue,
        W::LastValue,
        W::NthValue,
        W::Aggregate(AggregateFunction::Count),
        W::Aggregate(AggregateFunction::Sum),
        W::Aggregate(AggregateFunction::Max),
    ];
    // Several that share their order, so that what one of them feels moves the others' ranges.
    let partition_by = if random.below(3) == 0 { vec![] } else { vec![col(0)] };
    let order_by = if random.below(8) == 0 { vec![] } else { vec![key(col(1), random.below(2) == 0)] };
    let count = random.below(3) + 1;
    let mut exprs = Vec::new();
    for _ in 0..count {
        let function = functions[random.below(functions.len() as u64) as usize];
        let args = match function {
            W::Lag | W::Lead | W::NthValue => vec![col(2), int(random.below(3) as i64 + 1)],
            W::Ntile => vec![int(2)],
            _ => vec![col(2)],
        };
        let (partition_by, order_by) = (partition_by.clone(), order_by.clone());
        let frame = random_frame(random, !order_by.is_empty());
        exprs.push(WindowExpr { function, args, filter: None, partition_by, order_by, frame, ty: Type::Int8 });
    }
    let shown = WIDTH + random.below(count) as usize;
    let shares = matches!(exprs[shown - WIDTH].function, W::PercentRank | W::CumeDist);
    let window = Plan::Window { input, exprs, fields: fields(WIDTH + count as usize) };
    // A share is no integer, so only whether it is more than a half goes on.
    let half = Expr::literal(Datum::Float(0.5), Type::Float8);
    let value = if shares {
        let more = call("<", half, Expr::column(shown, Type::Float8));
        Expr::new(ExprKind::Case { branches: vec![(more, int(1))], otherwise: Some(Box::new(int(0))) }, Type::Int8)
    } else {
        col(shown)
    };
    Plan::Project { input: Arc::new(window), exprs: vec![col(0), col(1), value], fields: fields(WIDTH) }
}

fn random_frame(random: &mut Random, has_order: bool) -> Frame {
    let unit = match random.below(3) {
        0 if has_order => FrameUnit::Range,
        1 if has_order => FrameUnit::Groups,
        _ => FrameUnit::Rows,
    };
    let n = |random: &mut Random| int(random.below(3) as i64);
    let start = match random.below(5) {
        0 | 1 => FrameBound::UnboundedPreceding,
        2 => FrameBound::CurrentRow,
        3 => FrameBound::Following(n(random)),
        _ => FrameBound::Preceding(n(random)),
    };
    let end = match random.below(5) {
        0 | 1 => FrameBound::CurrentRow,
        2 => FrameBound::UnboundedFollowing,
        3 => FrameBound::Preceding(n(random)),
        _ => FrameBound::Following(n(random)),
    };
    let excludes = [Exclude::NoOthers, Exclude::NoOthers, Exclude::CurrentRow, Exclude::Group, Exclude::Ties];
    Frame { unit, start, end, exclude: excludes[random.below(excludes.len() as u64) as usize] }
}

type Bag = BTreeMap<Row, i64>;

fn add(bag: &mut Bag, deltas: &[Delta]) {
    for (row, count) in deltas {
        *bag.entry(row.clone()).or_insert(0) += count;
    }
    bag.retain(|_, count| *count != 0);
}

fn random_row(random: &mut Random) -> Row {
    (0..WIDTH).map(|_| if random.below(8) == 0 { Datum::Null } else { Datum::Int(random.below(4) as i64) }).collect()
}

/// Inserts, and deletes of what is there.
fn random_deltas(random: &mut Random, held: &mut Bag, grows_only: bool) -> Vec<Delta> {
    let mut deltas = Vec::new();
    for _ in 0..random.below(4) {
        let row = random_row(random);
        add(held, &[(row.clone(), 1)]);
        deltas.push((row, 1));
    }
    for _ in 0..if grows_only { 0 } else { random.below(3) } {
        if held.is_empty() {
            break;
        }
        let at = random.below(held.len() as u64) as usize;
        let row = held.keys().nth(at).expect("in range").clone();
        add(held, &[(row.clone(), -1)]);
        deltas.push((row, -1));
    }
    deltas
}

fn afresh(plan: &Arc<Plan>, tables: &BTreeMap<String, Bag>) -> Bag {
    let mut ctx = StepContext::at(0);
    let rows = run_once(
        plan,
        |input| {
            let rows = tables[name_of(&input.source)].iter();
            Ok(rows.flat_map(|(row, n)| std::iter::repeat_n(row.clone(), *n as usize)).collect())
        },
        &mut ctx,
    );
    let mut bag = Bag::new();
    for row in rows.expect("the query runs") {
        add(&mut bag, &[(row, 1)]);
    }
    bag
}

/// Saves the state and loads it into a new dataflow.
fn through_a_checkpoint(plan: &Arc<Plan>, flow: &mut Dataflow, saved: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Dataflow {
    flow.save(&mut |key, value| {
        match value {
            Some(value) => saved.insert(key, value),
            None => saved.remove(&key),
        };
    });
    let mut fresh = Dataflow::compile(plan, Mode::Continuous).expect("compiled before");
    for (key, value) in &*saved {
        fresh.load(key, value).expect("its own state");
    }
    fresh
}

fn check_law(seed: u64) {
    let mut random = Random::seeded(seed);
    let depth = random.below(3) as u32 + 1;
    let plan = random_plan(&mut random, depth);
    let mut flow = Dataflow::compile(&plan, Mode::Continuous).expect("every random plan compiles");
    let mut tables: BTreeMap<String, Bag> = ["a", "b", "s"].map(|name| (name.to_owned(), Bag::new())).into();
    let mut shown = Bag::new();
    let mut saved = BTreeMap::new();
    for tick in 0..8 {
        // Each relation changes once, whoever reads it.
        let changes: BTreeMap<String, Vec<Delta>> = tables
            .iter_mut()
            .map(|(name, held)| (name.clone(), random_deltas(&mut random, held, name == "s")))
            .collect();
        let deltas = flow.inputs().map(|input| changes[name_of(&input.source)].clone()).collect();
        let out = flow.step(deltas, &mut StepContext::at(0)).expect("the tick runs");
        add(&mut shown, &out);
        let expected = afresh(&plan, &tables);
        assert_eq!(shown, expected, "seed {seed}, tick {tick}\n{plan:#?}");
        if random.below(3) == 0 {
            flow = through_a_checkpoint(&plan, &mut flow, &mut saved);
        }
    }
}

#[test]
fn incremental_equals_afresh() {
    for seed in 0..1500 {
        check_law(seed);
    }
}

#[test]
fn a_float_sum_forgets_what_was_taken_back() {
    let mut sum = crate::operator::exact_float::ExactSum::default();
    let mut random = Random::seeded(3);
    let values: Vec<f64> =
        (0..1000).map(|_| (random.unit() - 0.5) * 10f64.powi(random.below(40) as i32 - 20)).collect();
    values.iter().for_each(|x| sum.add(*x, 1));
    values.iter().skip(1).for_each(|x| sum.add(*x, -1));
    assert_eq!(sum.value(), values[0]);
}

#[test]
fn rows_survive_the_checkpoint_codec() {
    let values = [
        Datum::Null,
        Datum::Bool(true),
        Datum::Int(-5),
        Datum::Float(f64::NAN),
        Datum::text("x\0y"),
        Datum::Timestamp(i64::MAX),
        Datum::Array(Arc::from([Datum::Int(1), Datum::Null])),
        Datum::Json(sql::Json::copy(document::Raw::String("a"))),
    ];
    let mut bytes = Vec::new();
    crate::codec::encode_row(&values, &mut bytes);
    let back = crate::codec::Reader(&bytes).row().expect("its own encoding");
    assert_eq!(&back[..], &values[..]);
    for cut in 0..bytes.len() {
        assert!(crate::codec::Reader(&bytes[..cut]).row().is_err());
    }
}
