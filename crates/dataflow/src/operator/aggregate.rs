//! GROUP BY: per group, how many rows it has and one accumulator per aggregate.
//!
//! A tick touches the groups of its rows only: the group's old output row is taken back and its new
//! one shown. A group without rows disappears; the group of an empty grouping set (no GROUP BY, or
//! the grand total of a ROLLUP) is always there.

use rustc_hash::{FxHashMap, FxHashSet};
use sql::plan::AggregateExpr;
use sql::{Datum, Expr, Row, SqlError};

use super::accumulator::Accumulator;
use super::{Operator, StepContext};
use crate::delta::Delta;
use crate::state::{StateReader, StateWriter, row_bytes};

#[derive(Debug)]
pub struct Aggregate {
    groups: Vec<Expr>,
    sets: Vec<Vec<usize>>,
    aggregates: Vec<AggregateExpr>,
    append_only: bool,
    state: FxHashMap<Row, Group>,
    touched: Vec<(Row, Option<Row>)>,
    changed: FxHashSet<Row>,
    tick: u32,
    started: bool,
}

#[derive(Debug)]
struct Group {
    rows: i64,
    /// The tick that last touched it.
    tick: u32,
    /// The group's values as they first came; the map's key has their canonical form.
    shown: Row,
    accumulators: Box<[Accumulator]>,
}

impl Aggregate {
    pub fn new(groups: Vec<Expr>, sets: Vec<Vec<usize>>, aggregates: Vec<AggregateExpr>, append_only: bool) -> Self {
        Aggregate {
            groups,
            sets,
            aggregates,
            append_only,
            state: FxHashMap::default(),
            touched: Vec::new(),
            changed: FxHashSet::default(),
            tick: 0,
            started: false,
        }
    }

    fn new_group(&self, shown: Row) -> Group {
        let accumulators = self.aggregates.iter().map(|a| Accumulator::new(a, self.append_only)).collect();
        Group { rows: 0, tick: 0, shown, accumulators }
    }

    /// The group's values under one grouping set: NULL where the set leaves a column out, then the
    /// set's number if there are several.
    fn values_of(&self, set: usize, values: &[Datum]) -> Row {
        if self.sets.len() == 1 && self.sets[0].len() == values.len() {
            return values.into();
        }
        let keeps = |i: usize| self.sets[set].contains(&i);
        let kept = values.iter().enumerate().map(|(i, v)| if keeps(i) { v.clone() } else { Datum::Null });
        let number = (self.sets.len() > 1).then_some(Datum::Int(set as i64));
        kept.chain(number).collect()
    }

    fn is_permanent(&self, key: &Row) -> bool {
        let set = match key.last() {
            Some(Datum::Int(set)) if self.sets.len() > 1 => *set as usize,
            _ => 0,
        };
        self.sets[set].is_empty()
    }

    fn output(&self, group: &Group) -> Result<Row, SqlError> {
        let width = self.groups.len();
        let mut row = Vec::with_capacity(group.shown.len() + self.aggregates.len());
        row.extend_from_slice(&group.shown[..width]);
        for (accumulator, aggregate) in group.accumulators.iter().zip(&self.aggregates) {
            row.push(accumulator.value(aggregate)?);
        }
        row.extend_from_slice(&group.shown[width..]);
        Ok(row.into())
    }

    fn touch(&mut self, shown: Row) -> Result<Row, SqlError> {
        let key = canonical(&shown);
        if !self.state.contains_key(&key) {
            let mut group = self.new_group(shown);
            group.tick = self.tick;
            self.state.insert(key.clone(), group);
            self.touched.push((key.clone(), None));
            return Ok(key);
        }
        let group = &self.state[&key];
        if group.tick != self.tick {
            let before = self.output(group)?;
            self.state.get_mut(&key).expect("found just now").tick = self.tick;
            self.touched.push((key.clone(), Some(before)));
        }
        Ok(key)
    }

    fn start(&mut self) -> Result<(), SqlError> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let nulls = vec![Datum::Null; self.groups.len()];
        for set in 0..self.sets.len() {
            if self.sets[set].is_empty() {
                self.touch(self.values_of(set, &nulls))?;
            }
        }
        Ok(())
    }
}

/// The canonical key; shares the row if it is canonical already, as most are.
fn canonical(shown: &Row) -> Row {
    let key = super::key_of(shown);
    if key == *shown { shown.clone() } else { key }
}

impl Operator for Aggregate {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        if inputs[0].is_empty() && self.started {
            return Ok(());
        }
        self.tick = self.tick.wrapping_add(1).max(1);
        self.start()?;
        for (row, count) in inputs[0] {
            let Some(values) = ctx.eval_all(&self.groups, row)? else { continue };
            for set in 0..self.sets.len() {
                let key = self.touch(self.values_of(set, &values))?;
                let group = self.state.get_mut(&key).expect("touched just now");
                group.rows += count;
                for (accumulator, aggregate) in group.accumulators.iter_mut().zip(&self.aggregates) {
                    accumulator.update(aggregate, row, *count, ctx)?;
                }
            }
        }
        for (key, before) in std::mem::take(&mut self.touched) {
            let group = &self.state[&key];
            let after = if group.rows != 0 || self.is_permanent(&key) { Some(self.output(group)?) } else { None };
            if after.is_none() {
                self.state.remove(&key);
            }
            if before != after {
                out.extend(before.map(|row| (row, -1)));
                out.extend(after.map(|row| (row, 1)));
            }
            self.changed.insert(key);
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        for key in self.changed.drain() {
            writer.entry(&key, self.state.get(&key), |group, w| {
                w.i64(group.rows);
                w.row(&group.shown);
                group.accumulators.iter().for_each(|accumulator| accumulator.save(w));
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let key = entry.key()?;
        let rows = entry.i64()?;
        let shown = entry.row()?;
        let key = if key == shown { shown.clone() } else { key };
        let mut accumulators = Vec::with_capacity(self.aggregates.len());
        for aggregate in &self.aggregates {
            accumulators.push(Accumulator::load(aggregate, self.append_only, &mut entry)?);
        }
        self.state.insert(key, Group { rows, tick: 0, shown, accumulators: accumulators.into() });
        self.started = true;
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        let of_group = |(key, group): (&Row, &Group)| {
            let shown = if std::sync::Arc::ptr_eq(key, &group.shown) { 0 } else { row_bytes(&group.shown) };
            row_bytes(key) + shown + 64 + group.accumulators.iter().map(Accumulator::bytes).sum::<usize>()
        };
        (self.state.iter().map(of_group).sum(), self.state.len())
    }

    fn name(&self) -> &'static str {
        "Aggregate"
    }
}
