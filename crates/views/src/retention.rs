//! `WITH (retention = …)`: an event of a stream counts for so long; and which queries hold more and
//! more without it.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sql::plan::{AggregateFunction, ScanColumn};
use sql::{Datum, Expr, ExprKind, Field, Interval, Plan, Source, Type};

/// Columns of a stream, by their place in `sql::catalog::stream_columns()`.
const EVENT_TIMESTAMP: usize = 2;
/// Those that differ from event to event or from document to document.
const OF_ONE_EVENT: [usize; 7] = [0, 1, 2, 3, 7, 8, 9];

/// Does the query read a change stream?
pub fn reads_stream(plan: &Plan) -> bool {
    plan.sources().iter().any(|source| matches!(source, Source::Stream { .. }))
}

/// The plan over the events of the last `us` microseconds: each scan of a stream gets the condition
/// `event_timestamp >= CURRENT_TIMESTAMP - interval`.
pub fn retained(plan: &Arc<Plan>, us: i64) -> Arc<Plan> {
    Retain { us, done: FxHashMap::default() }.plan(plan)
}

struct Retain {
    us: i64,
    /// What is read twice stays one node with two readers.
    done: FxHashMap<*const Plan, Arc<Plan>>,
}

impl Retain {
    fn plan(&mut self, plan: &Arc<Plan>) -> Arc<Plan> {
        if let Some(done) = self.done.get(&Arc::as_ptr(plan)) {
            return Arc::clone(done);
        }
        let made = match &**plan {
            Plan::Scan { source: Source::Stream { .. }, columns, fields } => recent(plan, columns, fields, self.us),
            _ => Arc::new(plan.with_inputs(plan.inputs().into_iter().map(|input| self.plan(input)).collect())),
        };
        self.done.insert(Arc::as_ptr(plan), Arc::clone(&made));
        made
    }
}

fn recent(plan: &Plan, columns: &[ScanColumn], fields: &[Field], us: i64) -> Arc<Plan> {
    let Plan::Scan { source, .. } = plan else { return Arc::new(plan.clone()) };
    let width = columns.len();
    let (mut wide, mut wide_fields) = (columns.to_vec(), fields.to_vec());
    wide.push(ScanColumn::Whole(EVENT_TIMESTAMP));
    wide_fields.push(Field::new("event_timestamp", Type::Timestamptz));
    let scan = Plan::Scan { source: source.clone(), columns: wide, fields: wide_fields };
    let kept = Datum::Interval(Box::new(Interval { months: 0, days: 0, microseconds: us }));
    let now = Expr::new(ExprKind::Now, Type::Timestamptz);
    let oldest = call("-", now, Expr::literal(kept, Type::Interval));
    let predicate = call(">=", Expr::column(width, Type::Timestamptz), oldest);
    let filter = Plan::Filter { input: Arc::new(scan), predicate };
    let exprs = fields.iter().enumerate().map(|(i, field)| Expr::column(i, field.ty.clone())).collect();
    Arc::new(Plan::Project { input: Arc::new(filter), exprs, fields: fields.to_vec() })
}

fn call(operator: &str, left: Expr, right: Expr) -> Expr {
    let found = sql::functions::resolve_operator(operator, Some(&left.ty), &right.ty)
        .expect("timestamps and intervals have these operators");
    Expr::new(ExprKind::Call { function: found.function, args: vec![left, right] }, found.result)
}

/// A part of a query whose state grows with every event, and what bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbounded {
    /// `the join keeps`, to be followed by what it keeps.
    pub what: &'static str,
    pub clause: &'static str,
}

const TIME_BOUND: &str = "WHERE event_timestamp >= CURRENT_TIMESTAMP - INTERVAL '1 day'";

/// What of a maintained query keeps something of every event for ever, each part once.
pub fn unbounded(plan: &Plan) -> Vec<Unbounded> {
    let mut found = Vec::new();
    let mut seen = rustc_hash::FxHashSet::default();
    look(plan, &mut seen, &mut found);
    found
}

fn look(plan: &Plan, seen: &mut rustc_hash::FxHashSet<*const Plan>, found: &mut Vec<Unbounded>) {
    if !seen.insert(std::ptr::from_ref(plan)) {
        return;
    }
    if let Some(own) = own(plan)
        && !found.contains(&own)
    {
        found.push(own);
    }
    plan.inputs().into_iter().for_each(|input| look(input, seen, found));
}

fn own(plan: &Plan) -> Option<Unbounded> {
    let of = |what| Some(Unbounded { what, clause: TIME_BOUND });
    let grows = plan.inputs().iter().any(|input| grows_forever(input));
    match plan {
        Plan::Join { .. } if grows => of("the join keeps every event of the change stream"),
        Plan::Window { .. } if grows => of("the window function keeps every event of the change stream"),
        Plan::SetOp { all: false, left, right, .. }
            if grows && [left, right].iter().any(|side| differs_by_event(side)) =>
        {
            of("the set operation keeps a row for every event of the change stream")
        }
        Plan::SetOp { operation: sql::plan::SetOperation::Intersect | sql::plan::SetOperation::Except, .. }
            if grows =>
        {
            of("the set operation keeps rows of every event of the change stream")
        }
        Plan::Distinct { input } if grows && differs_by_event(input) => {
            of("DISTINCT keeps a row for every event or document of the change stream")
        }
        Plan::Aggregate { groups, aggregates, input, .. } if grows => {
            if groups.iter().any(|group| is_of_one_event(group, input)) {
                return of("GROUP BY keeps a group for every event or document of the change stream");
            }
            let keeps = aggregates.iter().any(|aggregate| keeps_values(aggregate.function));
            if keeps { of("an aggregate keeps the values of every event of the change stream") } else { None }
        }
        _ => None,
    }
}

/// Aggregates whose result, or what it is made of, has something of every row.
fn keeps_values(function: AggregateFunction) -> bool {
    use AggregateFunction as A;
    matches!(
        function,
        A::StringAgg | A::ArrayAgg | A::JsonAgg | A::JsonObjectAgg | A::PercentileCont | A::PercentileDisc
    )
}

fn differs_by_event(plan: &Plan) -> bool {
    (0..plan.fields().len()).any(|column| column_is_of_one_event(plan, column))
}

fn is_of_one_event(expr: &Expr, input: &Plan) -> bool {
    matches!(expr.kind, ExprKind::Column(column) if column_is_of_one_event(input, column))
}

/// Does the column come unchanged from one that is another in each event or document?
fn column_is_of_one_event(plan: &Plan, column: usize) -> bool {
    match plan {
        Plan::Scan { source: Source::Stream { .. }, columns, .. } => match columns.get(column) {
            Some(ScanColumn::Whole(whole)) => OF_ONE_EVENT.contains(whole),
            Some(ScanColumn::Path { path, .. }) => {
                matches!(path.last(), Some(sql::plan::PathStep::Key(key)) if key == "_id") && path.len() == 1
            }
            None => false,
        },
        Plan::Filter { input, .. } | Plan::Distinct { input } | Plan::TopN { input, .. } => {
            column_is_of_one_event(input, column)
        }
        Plan::Project { input, exprs, .. } => exprs.get(column).is_some_and(|expr| is_of_one_event(expr, input)),
        Plan::FlatMap { input, .. } | Plan::Window { input, .. } if column < input.fields().len() => {
            column_is_of_one_event(input, column)
        }
        Plan::SetOp { left, right, .. } => {
            column_is_of_one_event(left, column) || column_is_of_one_event(right, column)
        }
        Plan::Aggregate { input, groups, .. } => groups.get(column).is_some_and(|group| is_of_one_event(group, input)),
        Plan::Join { left, right, .. } => match column.checked_sub(left.fields().len()) {
            None => column_is_of_one_event(left, column),
            Some(column) => column_is_of_one_event(right, column),
        },
        _ => false,
    }
}

/// Does the output get a row for each event, for ever? Groups and first rows are bounded by their keys.
fn grows_forever(plan: &Plan) -> bool {
    match plan {
        Plan::Scan { source, .. } => matches!(source, Source::Stream { up_to: None, .. }),
        Plan::Values { .. } | Plan::TopN { .. } => false,
        Plan::Aggregate { .. } | Plan::Distinct { .. } => false,
        Plan::Filter { input, predicate } => grows_forever(input) && !leaves_with_time(predicate),
        _ => plan.inputs().into_iter().any(|input| grows_forever(input)),
    }
}

/// A condition on the time that rows stop to meet.
fn leaves_with_time(predicate: &Expr) -> bool {
    match &predicate.kind {
        ExprKind::And(list) => list.iter().any(leaves_with_time),
        ExprKind::Call { function, args } if args.len() == 2 => match function.name {
            ">" | ">=" => !args[0].reads_now() && args[1].reads_now(),
            "<" | "<=" => args[0].reads_now() && !args[1].reads_now(),
            _ => false,
        },
        _ => false,
    }
}
