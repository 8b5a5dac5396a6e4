//! Predicates on the time: rows whose answer changes although they do not.
//!
//! `event_timestamp >= CURRENT_TIMESTAMP - INTERVAL '1 hour'` is true for a row until a moment that
//! can be computed when the row arrives. The operator appends the current value of each such
//! predicate to its input rows, keeps a queue of those moments, and when one has passed takes the
//! old row back and shows the new one.
//!
//! A predicate may combine any comparisons with AND, OR and NOT, as long as in each comparison the
//! side that reads the time moves in one direction with it; then each comparison changes once.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use sql::{Datum, EvalContext, Expr, ExprKind, Row, SqlError};

use super::{Operator, StepContext};
use crate::delta::{Delta, consolidate};
use crate::state::{Changed, StateReader, StateWriter, row_bytes};

/// How far ahead a change is looked for: later ones are found when the row is looked at again.
const HORIZON_US: i64 = 100 * 366 * 86_400 * 1_000_000;

#[derive(Debug)]
struct Held {
    count: i64,
    values: Row,
    deadline: Option<i64>,
}

/// Appends the values of `predicates` to each input row and keeps them true as time passes.
#[derive(Debug)]
pub struct Temporal {
    predicates: Vec<Expr>,
    /// The comparisons in them that read the time.
    atoms: Vec<Expr>,
    /// No input row is ever taken back, so a row that cannot change again need not be kept.
    append_only: bool,
    rows: FxHashMap<Row, Held>,
    queue: BTreeSet<(i64, Row)>,
    changed: Changed<Row>,
    bytes: usize,
}

/// Map slot, queue entry and reference counts beside a row and its predicates' values.
fn entry_bytes(row: &Row, held: &Held) -> usize {
    row_bytes(row) + row_bytes(&held.values) + 96
}

impl Temporal {
    pub fn new(predicates: Vec<Expr>, append_only: bool) -> Result<Self, SqlError> {
        let mut atoms = Vec::new();
        for predicate in &predicates {
            collect_atoms(predicate, &mut atoms)?;
        }
        Ok(Temporal {
            predicates,
            atoms,
            append_only,
            rows: FxHashMap::default(),
            queue: BTreeSet::new(),
            changed: Changed::default(),
            bytes: 0,
        })
    }

    /// The earliest time after now at which some comparison changes for this row.
    fn next_change(&self, row: &Row, ctx: &StepContext<'_>) -> Option<i64> {
        self.atoms.iter().filter_map(|atom| change_of(atom, row, ctx)).min()
    }

    fn shown(row: &Row, values: &Row) -> Row {
        row.iter().chain(values.iter()).cloned().collect()
    }

    fn expire(&mut self, ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        while let Some((deadline, _)) = self.queue.first() {
            if *deadline > ctx.now_us {
                break;
            }
            let (_, row) = self.queue.pop_first().expect("a first entry was just seen");
            let Some(values) = ctx.eval_all(&self.predicates, &row)? else { continue };
            let values: Row = values.into();
            let deadline = self.next_change(&row, ctx);
            let Some(held) = self.rows.get_mut(&row) else { continue };
            if held.values != values {
                out.push((Self::shown(&row, &held.values), -held.count));
                out.push((Self::shown(&row, &values), held.count));
            }
            (held.values, held.deadline) = (values, deadline);
            self.settle(row);
        }
        Ok(())
    }

    fn hold(&mut self, row: Row, held: Held) {
        self.bytes += entry_bytes(&row, &held);
        self.rows.insert(row, held);
    }

    fn forget(&mut self, row: &Row) {
        if let Some(held) = self.rows.remove(row) {
            self.bytes = self.bytes.saturating_sub(entry_bytes(row, &held));
        }
    }

    /// Queues a row's next change, or forgets a row that has none and cannot be taken back.
    fn settle(&mut self, row: Row) {
        self.changed.insert(&row);
        match self.rows.get(&row).map(|held| held.deadline) {
            Some(Some(deadline)) => {
                self.queue.insert((deadline, row));
            }
            Some(None) if self.append_only => {
                self.forget(&row);
            }
            _ => {}
        }
    }
}

impl Operator for Temporal {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        ctx.quietly(|ctx| self.expire(ctx, out))?;
        let mut deltas = inputs[0].to_vec();
        consolidate(&mut deltas);
        for (row, count) in deltas {
            ctx.taking(count);
            if let Some(held) = self.rows.get_mut(&row) {
                out.push((Self::shown(&row, &held.values), count));
                held.count += count;
                if held.count == 0 {
                    let deadline = held.deadline;
                    self.forget(&row);
                    self.queue.remove(&(deadline.unwrap_or_default(), row.clone()));
                }
                self.changed.insert(&row);
                continue;
            }
            let Some(values) = ctx.eval_all(&self.predicates, &row)? else { continue };
            let values: Row = values.into();
            out.push((Self::shown(&row, &values), count));
            let deadline = self.next_change(&row, ctx);
            self.hold(row.clone(), Held { count, values, deadline });
            self.settle(row);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<i64> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        for row in self.changed.take() {
            writer.entry(&row, self.rows.get(&row), |held, w| {
                w.i64(held.count);
                w.row(&held.values);
                w.i64(held.deadline.unwrap_or(i64::MAX));
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let row = entry.key()?;
        let (count, values, deadline) = (entry.i64()?, entry.row()?, entry.i64()?);
        let deadline = (deadline != i64::MAX).then_some(deadline);
        if let Some(deadline) = deadline {
            self.queue.insert((deadline, row.clone()));
        }
        self.hold(row, Held { count, values, deadline });
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        (self.bytes, self.rows.len())
    }

    fn never_saved(&mut self) {
        self.changed.turn_off();
    }

    fn name(&self) -> &'static str {
        "Temporal"
    }
}

fn collect_atoms(expr: &Expr, atoms: &mut Vec<Expr>) -> Result<(), SqlError> {
    if !expr.reads_now() {
        return Ok(());
    }
    match &expr.kind {
        ExprKind::And(list) | ExprKind::Or(list) => list.iter().try_for_each(|e| collect_atoms(e, atoms)),
        ExprKind::Not(inner) => collect_atoms(inner, atoms),
        ExprKind::Call { function, args } if matches!(function.name, "<" | "<=" | ">" | ">=") && args.len() == 2 => {
            let moving = if args[0].reads_now() { &args[0] } else { &args[1] };
            let both = args.iter().all(Expr::reads_now);
            if both || !is_monotonic(moving) {
                return Err(refuse(expr));
            }
            atoms.push(expr.clone());
            Ok(())
        }
        _ => Err(refuse(expr)),
    }
}

fn refuse(expr: &Expr) -> SqlError {
    SqlError::unsupported("this use of CURRENT_TIMESTAMP in a continuously maintained condition")
        .with_hint("compare a column with CURRENT_TIMESTAMP plus or minus an interval, using <, <=, > or >=")
        .at(expr.position.map(|p| p as usize))
}

/// Does the expression move in one direction as time passes?
fn is_monotonic(expr: &Expr) -> bool {
    if !expr.reads_now() {
        return true;
    }
    match &expr.kind {
        ExprKind::Now => true,
        ExprKind::Cast { input, .. } => is_monotonic(input),
        ExprKind::Call { function, args } => {
            let one_reader = args.iter().filter(|a| a.reads_now()).count() == 1;
            let name = function.name;
            let of_epoch = || matches!(&args[0].kind, ExprKind::Literal(Datum::Text(field)) if &**field == "epoch");
            one_reader
                && args.iter().all(is_monotonic)
                && match name {
                    "+" | "-" | "date_trunc" | "date_bin" | "timezone" => true,
                    "*" | "/" => matches!(args[1].kind, ExprKind::Literal(_)),
                    "date_part" | "extract" => of_epoch(),
                    _ => false,
                }
        }
        _ => false,
    }
}

/// The earliest time after `ctx.now_us` at which `atom` has another value for `row`.
fn change_of(atom: &Expr, row: &Row, ctx: &StepContext<'_>) -> Option<i64> {
    let at = |now_us: i64| {
        let eval = EvalContext { now_us, parameters: ctx.parameters, time_zone: ctx.time_zone };
        atom.eval(row, &eval).ok()
    };
    let now = ctx.now_us;
    let current = at(now)?;
    if let Some(distance) = distance(atom, row, ctx) {
        for candidate in [now.saturating_add(distance), now.saturating_add(distance).saturating_add(1)] {
            if candidate > now
                && at(candidate).is_some_and(|value| value != current)
                && at(candidate - 1) == Some(current.clone())
            {
                return Some(candidate);
            }
        }
    }
    let (mut same, mut differs) = (now, now.saturating_add(HORIZON_US));
    if at(differs).is_none_or(|value| value == current) {
        return None;
    }
    while differs - same > 1 {
        let middle = same + (differs - same) / 2;
        if at(middle).as_ref() == Some(&current) { same = middle } else { differs = middle }
    }
    Some(differs)
}

/// Microseconds until both sides of a comparison meet, if the moving side moves with the clock.
/// A guess for the common form; `change_of` verifies it.
fn distance(atom: &Expr, row: &Row, ctx: &StepContext<'_>) -> Option<i64> {
    let ExprKind::Call { args, .. } = &atom.kind else { return None };
    let eval = EvalContext { now_us: ctx.now_us, parameters: ctx.parameters, time_zone: ctx.time_zone };
    let microseconds = |expr: &Expr| match expr.eval(row, &eval).ok()? {
        Datum::Timestamp(t) => Some(t),
        Datum::Interval(i) if i.months == 0 => Some(i64::from(i.days) * 86_400_000_000 + i.microseconds),
        _ => None,
    };
    let (moving, fixed) = if args[0].reads_now() { (&args[0], &args[1]) } else { (&args[1], &args[0]) };
    microseconds(fixed)?.checked_sub(microseconds(moving)?)
}
