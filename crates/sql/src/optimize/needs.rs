//! What each node must deliver: columns that nobody reads disappear, and paths into JSON columns
//! (`full_document->>'status'`) are asked of the scan, which finds all of them in one pass over the
//! document instead of carrying the document along.
//!
//! Two passes over the graph, each node once: from the readers down, what is needed of it; from the
//! sources up, the node that delivers it. A node delivers at least what is needed, in the order of
//! `Need`: whole columns first, so that rows compare as before.

mod build;

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::binder::edit;
use crate::datum::Datum;
use crate::expr::{Expr, ExprKind};
use crate::plan::{JoinKind, PathStep, Plan, ScanColumn, SetOperation};
use crate::types::Type;

/// A column of a node, or a path inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    /// Empty for the whole column. First, so that whole columns sort before paths.
    path: Vec<Step>,
    text: bool,
    column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(i32),
}

impl Need {
    fn whole(column: usize) -> Need {
        Need { path: vec![], text: false, column }
    }

    fn is_whole(&self) -> bool {
        self.path.is_empty()
    }

    fn at(&self, column: usize) -> Need {
        Need { column, ..self.clone() }
    }

    /// The name and type of the column that holds it.
    fn field(&self, whole: &crate::plan::Field) -> crate::plan::Field {
        match self.path.last() {
            None => whole.clone(),
            Some(step) => {
                let name = match step {
                    Step::Key(key) => key.clone(),
                    Step::Index(index) => index.to_string(),
                };
                crate::plan::Field::new(name, if self.text { Type::Text } else { Type::Json })
            }
        }
    }

    fn steps(&self) -> impl Iterator<Item = PathStep> + '_ {
        self.path.iter().map(|step| match step {
            Step::Key(key) => PathStep::Key(key.clone()),
            Step::Index(index) => PathStep::Index(*index),
        })
    }
}

type Needs = BTreeSet<Need>;

pub(super) fn narrow(plan: &Arc<Plan>) -> Arc<Plan> {
    let order = readers_first(plan);
    let mut pass = Pass { needs: FxHashMap::default(), reach: FxHashMap::default() };
    pass.needs.insert(Arc::as_ptr(plan), (0..plan.fields().len()).map(Need::whole).collect());
    for node in &order {
        pass.ask(node);
    }
    let mut built = FxHashMap::default();
    for node in order.iter().rev() {
        let result = pass.build(node, &built);
        built.insert(Arc::as_ptr(node), result);
    }
    let all: Vec<Need> = (0..plan.fields().len()).map(Need::whole).collect();
    match built.remove(&Arc::as_ptr(plan)) {
        Some(result) => build::exact(&result, &all),
        None => plan.clone(),
    }
}

/// Every node once, each before its inputs.
fn readers_first(plan: &Arc<Plan>) -> Vec<Arc<Plan>> {
    fn visit(plan: &Arc<Plan>, seen: &mut FxHashMap<*const Plan, ()>, out: &mut Vec<Arc<Plan>>) {
        if seen.insert(Arc::as_ptr(plan), ()).is_some() {
            return;
        }
        plan.inputs().into_iter().for_each(|input| visit(input, seen, out));
        out.push(plan.clone());
    }
    let mut out = Vec::new();
    visit(plan, &mut FxHashMap::default(), &mut out);
    out.reverse();
    out
}

struct Pass {
    needs: FxHashMap<*const Plan, Needs>,
    /// Whether a path into a column can be had from a scan.
    reach: FxHashMap<(*const Plan, usize), bool>,
}

/// `column->'a'->>'b'` with constant keys.
fn as_path(expr: &Expr) -> Option<Need> {
    let ExprKind::Call { function, args } = &expr.kind else { return None };
    let text = match function.name {
        "->" => false,
        "->>" => true,
        _ => return None,
    };
    let [value, key] = &args[..] else { return None };
    if value.ty != Type::Json {
        return None;
    }
    let step = match &key.kind {
        ExprKind::Literal(Datum::Text(key)) => Step::Key(key.to_string()),
        ExprKind::Literal(Datum::Int(index)) => Step::Index(i32::try_from(*index).ok()?),
        _ => return None,
    };
    let mut need = match value.kind {
        ExprKind::Column(column) => Need::whole(column),
        _ => as_path(value).filter(|need| !need.text)?,
    };
    need.path.push(step);
    need.text = text;
    Some(need)
}

/// What an expression reads; `reach` says where paths can be had.
fn reads(expr: &Expr, reach: &mut dyn FnMut(usize) -> bool, into: &mut Needs) {
    if let Some(need) = as_path(expr)
        && reach(need.column)
    {
        into.insert(need);
        return;
    }
    if let ExprKind::Column(column) = expr.kind {
        into.insert(Need::whole(column));
        return;
    }
    expr.for_each_child(&mut |child| reads(child, reach, into));
}

impl Pass {
    fn reaches(&mut self, plan: &Arc<Plan>, column: usize) -> bool {
        let key = (Arc::as_ptr(plan), column);
        if let Some(known) = self.reach.get(&key) {
            return *known;
        }
        let found = match &**plan {
            Plan::Scan { columns, fields, .. } => {
                fields[column].ty == Type::Json && !matches!(columns[column], ScanColumn::Path { text: true, .. })
            }
            Plan::Filter { input, .. }
            | Plan::Sort { input, .. }
            | Plan::Limit { input, .. }
            | Plan::TopN { input, .. } => self.reaches(input, column),
            Plan::Project { input, exprs, .. } => match (&exprs[column].kind, as_path(&exprs[column])) {
                (ExprKind::Column(below), _) => self.reaches(input, *below),
                (_, Some(need)) if !need.text => self.reaches(input, need.column),
                _ => false,
            },
            Plan::Join { left, right, .. } => {
                let width = left.fields().len();
                if column < width { self.reaches(left, column) } else { self.reaches(right, column - width) }
            }
            Plan::FlatMap { input, .. } | Plan::Window { input, .. } => {
                column < input.fields().len() && self.reaches(input, column)
            }
            Plan::Aggregate { .. } | Plan::Distinct { .. } | Plan::SetOp { .. } | Plan::Values { .. } => false,
        };
        self.reach.insert(key, found);
        found
    }

    fn needed(&self, plan: &Arc<Plan>) -> Needs {
        self.needs.get(&Arc::as_ptr(plan)).cloned().unwrap_or_default()
    }

    fn require(&mut self, plan: &Arc<Plan>, more: Needs) {
        self.needs.entry(Arc::as_ptr(plan)).or_default().extend(more);
    }

    /// Passes on what a node's readers need of it.
    fn ask(&mut self, plan: &Arc<Plan>) {
        let inputs: Vec<Arc<Plan>> = plan.inputs().into_iter().cloned().collect();
        for (input, needs) in inputs.iter().zip(self.asks(plan)) {
            self.require(input, needs);
        }
    }

    /// What a node needs of each input.
    fn asks(&mut self, plan: &Arc<Plan>) -> Vec<Needs> {
        let wanted = self.needed(plan);
        match &**plan {
            Plan::Scan { .. } | Plan::Values { .. } => vec![],
            Plan::Filter { input, .. } | Plan::Sort { input, .. } => {
                let mut needs = wanted;
                self.own_reads(plan, input, &mut needs);
                vec![needs]
            }
            Plan::Limit { .. } => vec![wanted],
            Plan::Project { input, exprs, .. } => {
                let mut needs = Needs::new();
                for need in &wanted {
                    match project_path(&exprs[need.column], need) {
                        Some(below) => {
                            needs.insert(below);
                        }
                        None => reads(&exprs[need.column], &mut |c| self.reaches(input, c), &mut needs),
                    }
                }
                vec![needs]
            }
            Plan::Aggregate { input, groups, aggregates, .. } => {
                let mut needs = Needs::new();
                let mut reach = |c| self.reaches(input, c);
                groups.iter().for_each(|g| reads(g, &mut reach, &mut needs));
                for n in kept_aggregates(plan, &wanted) {
                    let aggregate = &aggregates[n];
                    aggregate.args.iter().chain(&aggregate.filter).for_each(|e| reads(e, &mut reach, &mut needs));
                    aggregate.order_by.iter().for_each(|key| reads(&key.expr, &mut reach, &mut needs));
                }
                vec![needs]
            }
            Plan::Distinct { input } => vec![all_columns(input)],
            Plan::TopN { input, .. } => {
                let mut needs = all_columns(input);
                needs.extend(wanted);
                self.own_reads(plan, input, &mut needs);
                vec![needs]
            }
            Plan::SetOp { left, operation, all, .. } => {
                let needs = if *operation == SetOperation::Union && *all { wanted } else { all_columns(left) };
                vec![needs.clone(), needs]
            }
            Plan::Join { left, right, .. } => self.join_asks(plan, left, right, wanted),
            Plan::FlatMap { input, .. } => {
                let width = input.fields().len();
                let mut needs: Needs = wanted.into_iter().filter(|need| need.column < width).collect();
                self.own_reads(plan, input, &mut needs);
                vec![needs]
            }
            Plan::Window { input, .. } => {
                let width = input.fields().len();
                let kept = kept_windows(width, &wanted);
                let mut needs: Needs = wanted.into_iter().filter(|need| need.column < width).collect();
                let narrowed = build::only_windows(plan, &kept);
                self.own_reads(&narrowed, input, &mut needs);
                vec![needs]
            }
        }
    }

    /// What the node's own expressions read of its one input.
    fn own_reads(&mut self, plan: &Plan, input: &Arc<Plan>, needs: &mut Needs) {
        edit::node_exprs(plan, &mut |expr| reads(expr, &mut |c| self.reaches(input, c), needs));
    }

    fn join_asks(&mut self, plan: &Plan, left: &Arc<Plan>, right: &Arc<Plan>, wanted: Needs) -> Vec<Needs> {
        let Plan::Join { keys, residual, .. } = plan else { return vec![] };
        let width = left.fields().len();
        let (mut l, mut r) = (Needs::new(), Needs::new());
        for need in wanted {
            if need.column < width {
                l.insert(need)
            } else {
                r.insert(need.at(need.column - width))
            };
        }
        for key in keys {
            reads(&key.left, &mut |c| self.reaches(left, c), &mut l);
            reads(&key.right, &mut |c| self.reaches(right, c), &mut r);
        }
        if let Some(residual) = residual {
            let mut both = Needs::new();
            let mut reach = |c: usize| if c < width { self.reaches(left, c) } else { self.reaches(right, c - width) };
            reads(residual, &mut reach, &mut both);
            for need in both {
                if need.column < width {
                    l.insert(need)
                } else {
                    r.insert(need.at(need.column - width))
                };
            }
        }
        vec![l, r]
    }
}

fn all_columns(plan: &Arc<Plan>) -> Needs {
    (0..plan.fields().len()).map(Need::whole).collect()
}

/// A path into a projected column, as a path into the column below it.
fn project_path(expr: &Expr, need: &Need) -> Option<Need> {
    if need.is_whole() {
        return None;
    }
    let mut below = match expr.kind {
        ExprKind::Column(column) => Need::whole(column),
        _ => as_path(expr)?,
    };
    below.path.extend(need.path.iter().cloned());
    below.text = need.text;
    Some(below)
}

/// The aggregates that are read; a grand total keeps one, so that its row exists.
fn kept_aggregates(plan: &Plan, wanted: &Needs) -> Vec<usize> {
    let Plan::Aggregate { groups, aggregates, .. } = plan else { return vec![] };
    let mut kept: Vec<usize> =
        (0..aggregates.len()).filter(|n| wanted.contains(&Need::whole(groups.len() + n))).collect();
    if kept.is_empty() && groups.is_empty() && !aggregates.is_empty() {
        kept.push(0);
    }
    kept
}

fn kept_windows(width: usize, wanted: &Needs) -> Vec<usize> {
    wanted.iter().filter(|need| need.column >= width).map(|need| need.column - width).collect()
}

/// Does the output have the left side's columns only?
fn is_half_join(kind: JoinKind) -> bool {
    matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti)
}
