//! The second pass: nodes that deliver what is needed of them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Need, Needs, Pass, as_path, is_half_join, kept_aggregates, kept_windows, project_path};
use crate::binder::edit;
use crate::expr::{Expr, ExprKind};
use crate::plan::{Field, Plan, ScanColumn};

/// A node and what its columns hold, in terms of the old node's.
#[derive(Clone)]
pub(super) struct Built {
    pub plan: Arc<Plan>,
    pub columns: Vec<Need>,
}

impl Built {
    fn find(&self, need: &Need) -> Option<usize> {
        self.columns.iter().position(|column| column == need)
    }
}

/// The node with just these columns, in this order.
pub(super) fn exact(built: &Built, wanted: &[Need]) -> Arc<Plan> {
    if built.columns == wanted {
        return built.plan.clone();
    }
    let at: Vec<usize> = wanted.iter().filter_map(|need| built.find(need)).collect();
    debug_assert_eq!(at.len(), wanted.len(), "a node delivers what was asked of it");
    let fields: Vec<Field> = at.iter().map(|n| built.plan.fields()[*n].clone()).collect();
    let exprs = at.iter().zip(&fields).map(|(n, field)| Expr::column(*n, field.ty.clone())).collect();
    Arc::new(Plan::Project { input: built.plan.clone(), exprs, fields })
}

/// The expression over columns that hold `columns`.
fn rewrite(expr: &Expr, columns: &[Need]) -> Expr {
    let place = |need: &Need| columns.iter().position(|column| column == need);
    if let Some(at) = as_path(expr).and_then(|need| place(&need)) {
        return Expr { position: expr.position, ..Expr::column(at, expr.ty.clone()) };
    }
    if let ExprKind::Column(column) = expr.kind {
        let at = place(&Need::whole(column)).expect("every column that is read was asked for");
        return Expr { position: expr.position, ..Expr::column(at, expr.ty.clone()) };
    }
    let mut expr = expr.clone();
    expr.for_each_child_mut(&mut |child| *child = rewrite(child, columns));
    expr
}

/// A window node with some of its functions.
pub(super) fn only_windows(plan: &Plan, kept: &[usize]) -> Plan {
    let Plan::Window { input, exprs, fields } = plan else { return plan.clone() };
    let width = input.fields().len();
    let mut columns = fields[..width].to_vec();
    columns.extend(kept.iter().map(|n| fields[width + n].clone()));
    Plan::Window { input: input.clone(), exprs: kept.iter().map(|n| exprs[*n].clone()).collect(), fields: columns }
}

impl Pass {
    pub(super) fn build(&mut self, plan: &Arc<Plan>, built: &FxHashMap<*const Plan, Built>) -> Built {
        let wanted: Vec<Need> = self.needed(plan).into_iter().collect();
        let inputs: Vec<Built> = plan.inputs().into_iter().map(|input| built[&Arc::as_ptr(input)].clone()).collect();
        match &**plan {
            Plan::Scan { source, columns, fields } => {
                let node = Plan::Scan {
                    source: source.clone(),
                    columns: wanted.iter().map(|need| scan_column(&columns[need.column], need)).collect(),
                    fields: wanted.iter().map(|need| need.field(&fields[need.column])).collect(),
                };
                Built { plan: Arc::new(node), columns: wanted }
            }
            Plan::Values { rows, fields } => {
                let rows =
                    rows.iter().map(|row| wanted.iter().map(|need| row[need.column].clone()).collect()).collect();
                let fields = wanted.iter().map(|need| fields[need.column].clone()).collect();
                Built { plan: Arc::new(Plan::Values { rows, fields }), columns: wanted }
            }
            Plan::Filter { .. } | Plan::Sort { .. } | Plan::Limit { .. } => over(plan, &inputs[0]),
            Plan::Project { exprs, fields, .. } => {
                let input = &inputs[0];
                let new = wanted
                    .iter()
                    .map(|need| match project_path(&exprs[need.column], need).and_then(|below| input.find(&below)) {
                        Some(at) => Expr::column(at, need.field(&fields[need.column]).ty),
                        None => rewrite(&exprs[need.column], &input.columns),
                    })
                    .collect();
                let fields = wanted.iter().map(|need| need.field(&fields[need.column])).collect();
                let node = Plan::Project { input: input.plan.clone(), exprs: new, fields };
                Built { plan: Arc::new(node), columns: wanted }
            }
            Plan::Aggregate { .. } => aggregate(plan, &inputs[0], &wanted.into_iter().collect()),
            Plan::Distinct { input } => {
                let all: Vec<Need> = (0..input.fields().len()).map(Need::whole).collect();
                Built { plan: Arc::new(Plan::Distinct { input: exact(&inputs[0], &all) }), columns: all }
            }
            Plan::TopN { input, .. } => {
                // Ties are broken by the whole row, so the whole row stays.
                let mut columns: Vec<Need> = (0..input.fields().len()).map(Need::whole).collect();
                let mut more: Needs = wanted.into_iter().filter(|need| !need.is_whole()).collect();
                self.own_reads(plan, input, &mut more);
                columns.extend(more.into_iter().filter(|need| !need.is_whole()));
                let input = Built { plan: exact(&inputs[0], &columns), columns };
                over(plan, &input)
            }
            Plan::SetOp { operation, all, fields, left, .. } => {
                let narrow = *operation == crate::plan::SetOperation::Union && *all;
                let columns: Vec<Need> =
                    if narrow { wanted } else { (0..left.fields().len()).map(Need::whole).collect() };
                let node = Plan::SetOp {
                    operation: *operation,
                    all: *all,
                    left: exact(&inputs[0], &columns),
                    right: exact(&inputs[1], &columns),
                    fields: columns.iter().map(|need| fields[need.column].clone()).collect(),
                };
                Built { plan: Arc::new(node), columns }
            }
            Plan::Join { .. } => self.join(plan, &inputs),
            Plan::FlatMap { input, function, args, outer, ordinality, fields } => {
                let width = input.fields().len();
                let below = &inputs[0];
                let mut columns = below.columns.clone();
                columns.extend((width..fields.len()).map(Need::whole));
                let mut new_fields = below.plan.fields().to_vec();
                new_fields.extend_from_slice(&fields[width..]);
                let node = Plan::FlatMap {
                    input: below.plan.clone(),
                    function: *function,
                    args: args.iter().map(|e| rewrite(e, &below.columns)).collect(),
                    outer: *outer,
                    ordinality: *ordinality,
                    fields: new_fields,
                };
                Built { plan: Arc::new(node), columns }
            }
            Plan::Window { input, .. } => {
                let width = input.fields().len();
                let kept = kept_windows(width, &wanted.iter().cloned().collect());
                let below = self.exactly(plan, 0, &inputs[0]);
                if kept.is_empty() {
                    return below;
                }
                let mut node = only_windows(plan, &kept);
                edit::node_exprs_mut(&mut node, &mut |e| *e = rewrite(e, &below.columns));
                let mut columns = below.columns.clone();
                columns.extend(kept.iter().map(|n| Need::whole(width + n)));
                if let Plan::Window { input, fields, .. } = &mut node {
                    let own = fields.split_off(width);
                    *fields = below.plan.fields().to_vec();
                    fields.extend(own);
                    *input = below.plan.clone();
                }
                Built { plan: Arc::new(node), columns }
            }
        }
    }

    /// An input without what only other readers, or its own filter, need: operators with state keep
    /// the rows they get.
    fn exactly(&mut self, plan: &Arc<Plan>, input: usize, built: &Built) -> Built {
        let wanted: Vec<Need> = self.asks(plan).swap_remove(input).into_iter().collect();
        Built { plan: exact(built, &wanted), columns: wanted }
    }

    fn join(&mut self, plan: &Arc<Plan>, inputs: &[Built]) -> Built {
        let Plan::Join { left, kind, keys, residual, .. } = &**plan else { return inputs[0].clone() };
        let width = left.fields().len();
        let (l, r) = (self.exactly(plan, 0, &inputs[0]), self.exactly(plan, 1, &inputs[1]));
        let mut both = l.columns.clone();
        both.extend(r.columns.iter().map(|need| need.at(need.column + width)));
        let keys = keys
            .iter()
            .map(|key| crate::plan::JoinKey {
                left: rewrite(&key.left, &l.columns),
                right: rewrite(&key.right, &r.columns),
                null_safe: key.null_safe,
            })
            .collect();
        let residual = residual.as_ref().map(|e| rewrite(e, &both));
        let mut fields = l.plan.fields().to_vec();
        let columns = if is_half_join(*kind) {
            l.columns.clone()
        } else {
            fields.extend_from_slice(r.plan.fields());
            both
        };
        let node = Plan::Join { left: l.plan, right: r.plan, kind: *kind, keys, residual, fields };
        Built { plan: Arc::new(node), columns }
    }
}

/// A node that passes its input's rows on.
fn over(plan: &Plan, input: &Built) -> Built {
    let mut node = plan.with_inputs(vec![input.plan.clone()]);
    edit::node_exprs_mut(&mut node, &mut |e| *e = rewrite(e, &input.columns));
    Built { plan: Arc::new(node), columns: input.columns.clone() }
}

fn scan_column(column: &ScanColumn, need: &Need) -> ScanColumn {
    if need.is_whole() {
        return column.clone();
    }
    match column {
        ScanColumn::Whole(n) => ScanColumn::Path { column: *n, path: need.steps().collect(), text: need.text },
        ScanColumn::Path { column, path, .. } => ScanColumn::Path {
            column: *column,
            path: path.iter().cloned().chain(need.steps()).collect(),
            text: need.text,
        },
    }
}

fn aggregate(plan: &Plan, input: &Built, wanted: &Needs) -> Built {
    let Plan::Aggregate { groups, sets, aggregates, fields, .. } = plan else { return input.clone() };
    let kept = kept_aggregates(plan, wanted);
    let g = groups.len();
    let mut columns: Vec<Need> = (0..g).map(Need::whole).collect();
    columns.extend(kept.iter().map(|n| Need::whole(g + n)));
    // The number of the grouping set comes last.
    columns.extend((g + aggregates.len()..fields.len()).map(Need::whole));
    let mut node = Plan::Aggregate {
        input: input.plan.clone(),
        groups: groups.clone(),
        sets: sets.clone(),
        aggregates: kept.iter().map(|n| aggregates[*n].clone()).collect(),
        fields: columns.iter().map(|need| fields[need.column].clone()).collect(),
    };
    edit::node_exprs_mut(&mut node, &mut |e| *e = rewrite(e, &input.columns));
    Built { plan: Arc::new(node), columns }
}
