//! A plan as a graph of operators, and the tick that runs it.
//!
//! Nodes stand in topological order. A node that several others read (a CTE, or equal sub-plans)
//! is one node: its deltas are computed once per tick and each reader sees the same ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sql::plan::{AggregateExpr, Plan, ScanColumn, SetOperation, Source, WindowExpr};
use sql::{Expr, Field, Row, SqlError, Type};

use crate::delta::{Delta, consolidate};
use crate::operator::aggregate::Aggregate;
use crate::operator::distinct::Distinct;
use crate::operator::join::Join;
use crate::operator::linear::{Filter, FlatMap, MaterializedProject, Project, UnionAll, Values};
use crate::operator::set_operation::{self, Rule};
use crate::operator::temporal::Temporal;
use crate::operator::top_n::TopN;
use crate::operator::window::Window;
use crate::operator::{Operator, StepContext};
use crate::presentation::Presentation;
use crate::state::{StateReader, StateWriter};

/// What a dataflow wants to be fed: the rows of `source` with these columns, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    pub source: Source,
    pub columns: Vec<ScanColumn>,
}

#[derive(Debug)]
struct Node {
    /// `None` for inputs.
    operator: Option<Box<dyn Operator>>,
    inputs: Vec<usize>,
    /// Never takes a row back.
    append_only: bool,
    output: Vec<Delta>,
    held: Held,
    counters: Counters,
}

/// What a query that runs once keeps back until it has read everything. A group's sum so far, a row
/// whose partner has yet to come, were never there: nothing may be computed of them, or fail on them.
#[derive(Debug, Default)]
struct Held {
    deltas: Vec<Delta>,
    /// How many there were when they were last consolidated.
    settled: usize,
}

/// Deltas that are held without a look at what of them cancels out.
const HELD_UNSETTLED: usize = 1 << 16;

impl Held {
    fn keep(&mut self, output: &mut Vec<Delta>) {
        self.deltas.append(output);
        if self.deltas.len() > 2 * self.settled + HELD_UNSETTLED {
            consolidate(&mut self.deltas);
            self.settled = self.deltas.len();
        }
    }

    fn release(&mut self, output: &mut Vec<Delta>) {
        if !self.deltas.is_empty() {
            output.append(&mut self.deltas);
            consolidate(output);
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    rows: u64,
    time: Duration,
}

/// What one operator has done and holds, for EXPLAIN ANALYZE.
#[derive(Clone, Debug)]
pub struct OperatorStatistics {
    pub name: &'static str,
    pub inputs: Vec<usize>,
    /// Output deltas since the graph was built.
    pub rows: u64,
    pub time: Duration,
    pub state_bytes: usize,
    pub state_entries: usize,
}

/// Is the graph kept running, or run once?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The time stands still: CURRENT_TIMESTAMP is the statement's.
    Once,
    /// Time passes: conditions on it are maintained.
    Continuous,
}

/// A running query.
#[derive(Debug)]
pub struct Dataflow {
    nodes: Vec<Node>,
    inputs: Vec<(Input, usize)>,
    output: usize,
    fields: Vec<Field>,
    presentation: Presentation,
    mode: Mode,
    /// Do operators that take rows back keep quiet?
    holding: bool,
    measure_time: bool,
}

impl Dataflow {
    /// Lowers a bound plan. Sort and Limit at the top become the presentation.
    pub fn compile(plan: &Arc<Plan>, mode: Mode) -> Result<Self, SqlError> {
        let (body, presentation) = split_presentation(plan);
        let mut builder = Builder { nodes: Vec::new(), inputs: Vec::new(), known: Vec::new(), mode };
        let output = builder.add(body)?;
        let mut flow = Dataflow {
            nodes: builder.nodes,
            inputs: builder.inputs,
            output,
            fields: body.fields().to_vec(),
            presentation,
            mode,
            holding: mode == Mode::Once,
            measure_time: false,
        };
        if mode == Mode::Once {
            flow.never_saved();
        }
        Ok(flow)
    }

    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.inputs.iter().map(|(input, _)| input)
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub fn presentation(&self) -> &Presentation {
        &self.presentation
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Does the output only ever grow?
    pub fn is_append_only(&self) -> bool {
        self.nodes[self.output].append_only
    }

    /// Measures time per operator from now on (two clock reads per operator and tick).
    pub fn measure_time(&mut self, on: bool) {
        self.measure_time = on;
    }

    /// `save` will not be called: what it would need is not kept. Before the first tick.
    pub fn never_saved(&mut self) {
        self.nodes.iter_mut().filter_map(|node| node.operator.as_mut()).for_each(|operator| operator.never_saved());
    }

    /// Runs one tick: `deltas[i]` belongs to the i-th input. Returns the consolidated output delta.
    /// After an error the state is undefined; rebuild the dataflow.
    ///
    /// Run once, a query's operators that take rows back say nothing before `finish`.
    pub fn step(&mut self, deltas: Vec<Vec<Delta>>, ctx: &mut StepContext<'_>) -> Result<Vec<Delta>, SqlError> {
        self.tick(deltas, self.holding, ctx)
    }

    /// While whole inputs are read piece by piece, operators that take rows back keep what they would
    /// say: what follows from a part of the input was never so.
    pub fn hold(&mut self, holding: bool) {
        self.holding = holding;
    }

    /// The tick after which everything has been said.
    pub fn finish(&mut self, deltas: Vec<Vec<Delta>>, ctx: &mut StepContext<'_>) -> Result<Vec<Delta>, SqlError> {
        self.tick(deltas, false, ctx)
    }

    fn tick(
        &mut self,
        mut deltas: Vec<Vec<Delta>>,
        hold: bool,
        ctx: &mut StepContext<'_>,
    ) -> Result<Vec<Delta>, SqlError> {
        assert_eq!(deltas.len(), self.inputs.len(), "one delta per input");
        for ((_, node), delta) in self.inputs.iter().zip(&mut deltas) {
            self.nodes[*node].output = std::mem::take(delta);
        }
        for i in 0..self.nodes.len() {
            self.run(i, ctx)?;
            let node = &mut self.nodes[i];
            if node.operator.is_some() && !node.append_only {
                match hold {
                    true => node.held.keep(&mut node.output),
                    false => node.held.release(&mut node.output),
                }
            }
        }
        let mut out = std::mem::take(&mut self.nodes[self.output].output);
        for node in &mut self.nodes {
            node.output.clear();
        }
        consolidate(&mut out);
        Ok(out)
    }

    fn run(&mut self, i: usize, ctx: &mut StepContext<'_>) -> Result<(), SqlError> {
        let (before, rest) = self.nodes.split_at_mut(i);
        let node = &mut rest[0];
        let Some(operator) = &mut node.operator else {
            node.counters.rows += node.output.len() as u64;
            return Ok(());
        };
        let started = self.measure_time.then(Instant::now);
        let inputs: smallvec::SmallVec<[&[Delta]; 2]> = node.inputs.iter().map(|n| &before[*n].output[..]).collect();
        operator.step(&inputs, ctx, &mut node.output)?;
        node.counters.rows += node.output.len() as u64;
        if let Some(started) = started {
            node.counters.time += started.elapsed();
        }
        Ok(())
    }

    /// When the output next changes without input, microseconds since the epoch.
    pub fn deadline(&self) -> Option<i64> {
        self.nodes.iter().filter_map(|n| n.operator.as_ref()?.deadline()).min()
    }

    /// Hands every state entry that changed since the last call to `sink`: key, and value or `None`.
    pub fn save(&mut self, sink: &mut dyn FnMut(Vec<u8>, Option<Vec<u8>>)) {
        for (i, node) in self.nodes.iter_mut().enumerate() {
            if let Some(operator) = &mut node.operator {
                operator.save(&mut StateWriter::new(i as u32, sink));
            }
        }
    }

    /// Reads one entry that `save` handed out; the plan must be the same.
    pub fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), SqlError> {
        let (number, entry) = StateReader::open(key, value)?;
        let operator = self.nodes.get_mut(number as usize).and_then(|n| n.operator.as_mut());
        operator.ok_or_else(|| SqlError::internal("checkpoint of another plan"))?.load(entry)
    }

    /// One entry per node, in graph order.
    pub fn statistics(&self) -> Vec<OperatorStatistics> {
        let of_node = |node: &Node| {
            let (state_bytes, state_entries) = node.operator.as_ref().map_or((0, 0), |o| o.state_size());
            OperatorStatistics {
                name: node.operator.as_ref().map_or("Scan", |o| o.name()),
                inputs: node.inputs.clone(),
                rows: node.counters.rows,
                time: node.counters.time,
                state_bytes,
                state_entries,
            }
        };
        self.nodes.iter().map(of_node).collect()
    }

    /// Estimated bytes of all state, and how many entries it has. Costs nothing that grows with them.
    pub fn state_size(&self) -> (usize, usize) {
        let sizes = self.nodes.iter().filter_map(|n| Some(n.operator.as_ref()?.state_size()));
        sizes.fold((0, 0), |(bytes, entries), (b, e)| (bytes + b, entries + e))
    }
}

/// Peels Sort and Limit off the top. A LIMIT keeps its meaning only on the whole result, so it is
/// applied when the result is read.
fn split_presentation(plan: &Arc<Plan>) -> (&Arc<Plan>, Presentation) {
    let mut presentation = Presentation::default();
    let mut body = plan;
    // Columns that only the order needs stand below it and are left out above it.
    if let Plan::Project { input, exprs, .. } = &**body
        && matches!(**input, Plan::Sort { .. } | Plan::Limit { .. })
        && let Some(columns) = plain_columns(exprs)
    {
        presentation.columns = Some(columns);
        body = input;
    }
    if let Plan::Limit { input, offset, limit } = &**body {
        (presentation.offset, presentation.limit) = (offset.clone(), limit.clone());
        body = input;
    }
    if let Plan::Sort { input, keys } = &**body {
        presentation.order = keys.clone();
        body = input;
    }
    (body, presentation)
}

fn plain_columns(exprs: &[sql::Expr]) -> Option<Vec<usize>> {
    exprs
        .iter()
        .map(|e| match e.kind {
            sql::ExprKind::Column(column) => Some(column),
            _ => None,
        })
        .collect()
}

struct Builder {
    nodes: Vec<Node>,
    inputs: Vec<(Input, usize)>,
    /// Plans that have a node already.
    known: Vec<(Arc<Plan>, usize)>,
    mode: Mode,
}

impl Builder {
    fn push(&mut self, operator: impl Operator + 'static, inputs: Vec<usize>, append_only: bool) -> usize {
        self.nodes.push(Node {
            operator: Some(Box::new(operator)),
            inputs,
            append_only,
            output: Vec::new(),
            held: Held::default(),
            counters: Counters::default(),
        });
        self.nodes.len() - 1
    }

    fn append_only(&self, nodes: &[usize]) -> bool {
        nodes.iter().all(|n| self.nodes[*n].append_only)
    }

    fn add(&mut self, plan: &Arc<Plan>) -> Result<usize, SqlError> {
        if let Some((_, node)) = self.known.iter().find(|(known, _)| Arc::ptr_eq(known, plan) || known == plan) {
            return Ok(*node);
        }
        let node = self.lower(plan)?;
        self.known.push((plan.clone(), node));
        Ok(node)
    }

    fn lower(&mut self, plan: &Plan) -> Result<usize, SqlError> {
        match plan {
            Plan::Scan { source: Source::Recursive(_) | Source::Working(_), .. } if self.mode == Mode::Continuous => {
                Err(SqlError::unsupported("WITH RECURSIVE in a maintained query")
                    .with_hint("A recursive query is run when it is asked; use a plain SELECT."))
            }
            Plan::Scan { source, columns, .. } => Ok(self.input(source, columns)),
            Plan::Values { rows, .. } => Ok(self.push(Values { rows: rows.clone(), emitted: false }, vec![], true)),
            Plan::Filter { input, predicate } => self.filter(input, predicate),
            Plan::Project { input, exprs, .. } => self.project(input, exprs),
            Plan::Aggregate { input, groups, sets, aggregates, .. } => self.aggregate(input, groups, sets, aggregates),
            Plan::Distinct { input } => {
                let input = self.add(input)?;
                let append_only = self.append_only(&[input]);
                Ok(self.push(Distinct::default(), vec![input], append_only))
            }
            Plan::TopN { input, partition, order, offset, limit } => {
                let input = self.add(input)?;
                let append_only = self.append_only(&[input]);
                let operator = TopN::new(partition.clone(), order.clone(), (*offset, *limit), append_only);
                Ok(self.push(operator, vec![input], false))
            }
            Plan::SetOp { operation, all, left, right, .. } => self.set_operation(*operation, *all, left, right),
            Plan::Join { left, right, kind, keys, residual, .. } => {
                let widths = (left.fields().len(), right.fields().len());
                let inputs = vec![self.add(left)?, self.add(right)?];
                let append_only = *kind == sql::plan::JoinKind::Inner && self.append_only(&inputs);
                Ok(self.push(Join::new(*kind, keys.clone(), residual.clone(), widths)?, inputs, append_only))
            }
            Plan::FlatMap { input, function, args, outer, ordinality, fields } => {
                let width = fields.len() - input.fields().len() - usize::from(*ordinality);
                let input = self.add(input)?;
                let append_only = self.append_only(&[input]);
                let (function, args) = (*function, args.clone());
                let operator = FlatMap { function, args, outer: *outer, ordinality: *ordinality, width };
                Ok(self.push(operator, vec![input], append_only))
            }
            Plan::Window { input, exprs, .. } => self.window(input, exprs),
            // Order is not a property of a multiset; a LIMIT inside is a TopN in a bound plan.
            Plan::Sort { input, .. } => self.add(input),
            Plan::Limit { .. } => Err(SqlError::internal("LIMIT below the top of a plan")),
        }
    }

    fn input(&mut self, source: &Source, columns: &[ScanColumn]) -> usize {
        let wanted = Input { source: source.clone(), columns: columns.to_vec() };
        if let Some((_, node)) = self.inputs.iter().find(|(input, _)| *input == wanted) {
            return *node;
        }
        self.nodes.push(Node {
            operator: None,
            inputs: vec![],
            append_only: matches!(source, Source::Stream { .. }),
            output: Vec::new(),
            held: Held::default(),
            counters: Counters::default(),
        });
        self.inputs.push((wanted, self.nodes.len() - 1));
        self.nodes.len() - 1
    }

    fn is_temporal(&self, expr: &Expr) -> bool {
        self.mode == Mode::Continuous && expr.reads_now()
    }

    fn filter(&mut self, input: &Arc<Plan>, predicate: &Expr) -> Result<usize, SqlError> {
        let width = input.fields().len();
        let input = self.add(input)?;
        let append_only = self.append_only(&[input]);
        if !self.is_temporal(predicate) {
            return Ok(self.push(Filter { predicate: predicate.clone() }, vec![input], append_only));
        }
        // Time-free conjuncts first: what they drop need not be kept for later.
        let conjuncts = match &predicate.kind {
            sql::ExprKind::And(list) => list.clone(),
            _ => vec![predicate.clone()],
        };
        let (temporal, plain): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(Expr::reads_now);
        let mut node = input;
        for predicate in plain {
            node = self.push(Filter { predicate }, vec![node], append_only);
        }
        let flags = temporal.len();
        node = self.push(Temporal::new(temporal, append_only)?, vec![node], false);
        for flag in 0..flags {
            node = self.push(Filter { predicate: Expr::column(width + flag, Type::Bool) }, vec![node], false);
        }
        Ok(self.push(Project { exprs: columns(0..width, plan_types(width)) }, vec![node], false))
    }

    fn project(&mut self, input: &Arc<Plan>, exprs: &[Expr]) -> Result<usize, SqlError> {
        let input = self.add(input)?;
        let append_only = self.append_only(&[input]);
        let volatile = exprs.iter().any(is_volatile);
        if volatile && !append_only && self.mode == Mode::Continuous {
            return Ok(self.push(MaterializedProject::new(exprs.to_vec()), vec![input], false));
        }
        Ok(self.push(Project { exprs: exprs.to_vec() }, vec![input], append_only))
    }

    fn aggregate(
        &mut self,
        input: &Arc<Plan>,
        groups: &[Expr],
        sets: &[Vec<usize>],
        aggregates: &[AggregateExpr],
    ) -> Result<usize, SqlError> {
        let width = input.fields().len();
        let mut node = self.add(input)?;
        let mut append_only = self.append_only(&[node]);
        let mut aggregates = aggregates.to_vec();
        let temporal: Vec<Expr> =
            aggregates.iter().filter_map(|a| a.filter.clone()).filter(|f| self.is_temporal(f)).collect();
        if !temporal.is_empty() {
            let flagged = aggregates.iter_mut().filter(|a| a.filter.as_ref().is_some_and(Expr::reads_now));
            for (flag, aggregate) in (width..).zip(flagged) {
                aggregate.filter = Some(Expr::column(flag, Type::Bool));
            }
            node = self.push(Temporal::new(temporal, append_only)?, vec![node], false);
            append_only = false;
        }
        let reads_now = |e: &Expr| self.mode == Mode::Continuous && e.reads_now();
        if aggregates.iter().flat_map(|a| &a.args).chain(groups).any(reads_now) {
            return Err(SqlError::unsupported(
                "CURRENT_TIMESTAMP inside GROUP BY or an aggregate of a maintained query",
            )
            .with_hint("compute it in a subquery's SELECT list"));
        }
        let operator = Aggregate::new(groups.to_vec(), sets.to_vec(), aggregates, append_only);
        Ok(self.push(operator, vec![node], false))
    }

    fn set_operation(
        &mut self,
        operation: SetOperation,
        all: bool,
        left: &Arc<Plan>,
        right: &Arc<Plan>,
    ) -> Result<usize, SqlError> {
        let inputs = vec![self.add(left)?, self.add(right)?];
        let rule = match (operation, all) {
            (SetOperation::Union, _) => {
                let append_only = self.append_only(&inputs);
                let union = self.push(UnionAll, inputs, append_only);
                return Ok(if all { union } else { self.push(Distinct::default(), vec![union], append_only) });
            }
            (SetOperation::Intersect, false) => Rule::Intersect,
            (SetOperation::Intersect, true) => Rule::IntersectAll,
            (SetOperation::Except, false) => Rule::Except,
            (SetOperation::Except, true) => Rule::ExceptAll,
        };
        Ok(self.push(set_operation::SetOperation::new(rule), inputs, false))
    }

    /// One operator per distinct PARTITION BY and ORDER BY; a projection puts the columns in order.
    fn window(&mut self, input: &Arc<Plan>, exprs: &[WindowExpr]) -> Result<usize, SqlError> {
        let width = input.fields().len();
        let mut node = self.add(input)?;
        let mut placed: Vec<usize> = Vec::with_capacity(exprs.len());
        let mut rest: Vec<usize> = (0..exprs.len()).collect();
        while let Some(&first) = rest.first() {
            let same = |i: &usize| same_window(&exprs[*i], &exprs[first]);
            let (now, later): (Vec<usize>, Vec<usize>) = rest.into_iter().partition(same);
            node = self.push(Window::new(now.iter().map(|i| exprs[*i].clone()).collect())?, vec![node], false);
            placed.extend(now);
            rest = later;
        }
        if placed.is_sorted() {
            return Ok(node);
        }
        let position = |i: usize| width + placed.iter().position(|p| *p == i).expect("every expression was placed");
        let order: Vec<usize> = (0..width).chain((0..exprs.len()).map(position)).collect();
        let exprs = columns(order.iter().copied(), plan_types(order.len()));
        Ok(self.push(Project { exprs }, vec![node], false))
    }
}

/// One PARTITION BY and ORDER BY, wherever they are written: rows that tie are then in one order
/// for all functions, as PostgreSQL promises.
fn same_window(a: &WindowExpr, b: &WindowExpr) -> bool {
    let (partition, order) = (&a.partition_by, &a.order_by);
    let same_partition = partition.len() == b.partition_by.len();
    let same_order = order.len() == b.order_by.len();
    same_partition
        && same_order
        && partition.iter().zip(&b.partition_by).all(|(x, y)| x.same(y))
        && order
            .iter()
            .zip(&b.order_by)
            .all(|(x, y)| x.expr.same(&y.expr) && x.descending == y.descending && x.nulls_first == y.nulls_first)
}

/// Column expressions; their types are not read by evaluation.
fn columns(order: impl Iterator<Item = usize>, types: impl Iterator<Item = Type>) -> Vec<Expr> {
    order.zip(types).map(|(i, ty)| Expr::column(i, ty)).collect()
}

fn plan_types(n: usize) -> impl Iterator<Item = Type> {
    std::iter::repeat_n(Type::Unknown, n)
}

fn is_volatile(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |e| {
        found |= match &e.kind {
            sql::ExprKind::Now => true,
            sql::ExprKind::Call { function, .. } => function.volatility == sql::functions::Volatility::Volatile,
            _ => false,
        }
    });
    found
}

/// Runs a query once over whole inputs; rows in presentation order.
pub fn run_once(
    plan: &Arc<Plan>,
    mut read: impl FnMut(&Input) -> Result<Vec<Row>, SqlError>,
    ctx: &mut StepContext<'_>,
) -> Result<Vec<Row>, SqlError> {
    let mut flow = Dataflow::compile(plan, Mode::Once)?;
    let inputs: Vec<Input> = flow.inputs().cloned().collect();
    let mut deltas = Vec::with_capacity(inputs.len());
    for input in &inputs {
        deltas.push(read(input)?.into_iter().map(|row| (row, 1)).collect());
    }
    let out = flow.finish(deltas, ctx)?;
    let rows = out.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count.max(0) as usize)).collect();
    flow.presentation.apply(rows, ctx)
}
