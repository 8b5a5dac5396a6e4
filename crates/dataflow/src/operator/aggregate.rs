//! GROUP BY: per group, how many rows it has and one accumulator per aggregate.
//!
//! ```text
//!   numbers   canonical key -> number of a group
//!   groups    by number: its rows, its values as they first came
//!   states    by number * aggregates: the accumulators
//! ```
//!
//! A tick touches the groups of its rows only: the group's old output row is taken back and its new
//! one shown. A group without rows disappears; the group of an empty grouping set (no GROUP BY, or
//! the grand total of a ROLLUP) is always there.

use rustc_hash::FxHashMap;
use sql::plan::AggregateExpr;
use sql::{Datum, Expr, Row, SqlError};

use super::accumulator::{Accumulator, Use};
use super::{Operator, StepContext};
use crate::delta::Delta;
use crate::state::{Changed, StateReader, StateWriter, row_bytes};

/// Map slot, slab entry and the allocators' share beside key, values and accumulators.
const GROUP_BYTES: usize = 100;

#[derive(Debug)]
pub struct Aggregate {
    groups: Vec<Expr>,
    sets: Vec<Vec<usize>>,
    aggregates: Vec<AggregateExpr>,
    use_: Use,
    state: Groups,
    /// This tick's groups, each with its output row before the tick.
    touched: Vec<(u32, Option<Row>)>,
    changed: Changed<Row>,
    /// Single values to remove from the checkpoint whose group is gone.
    gone: Vec<(Row, usize, Datum)>,
    tick: u32,
    started: bool,
}

#[derive(Debug, Default)]
struct Groups {
    numbers: FxHashMap<Row, u32>,
    groups: Vec<Group>,
    states: Vec<Accumulator>,
    free: Vec<u32>,
    bytes: usize,
}

#[derive(Debug)]
struct Group {
    rows: i64,
    /// The tick that last touched it.
    tick: u32,
    key: Row,
    /// The group's values as they first came, where the key has another form of them.
    shown: Option<Row>,
}

impl Group {
    fn shown(&self) -> &Row {
        self.shown.as_ref().unwrap_or(&self.key)
    }
}

impl Aggregate {
    pub fn new(groups: Vec<Expr>, sets: Vec<Vec<usize>>, aggregates: Vec<AggregateExpr>, append_only: bool) -> Self {
        Aggregate {
            groups,
            sets,
            aggregates,
            use_: Use { append_only, saved: true },
            state: Groups::default(),
            touched: Vec::new(),
            changed: Changed::default(),
            gone: Vec::new(),
            tick: 0,
            started: false,
        }
    }

    /// Width of a group's key: its values, and its set's number if there are several.
    fn key_width(&self) -> usize {
        self.groups.len() + usize::from(self.sets.len() > 1)
    }

    /// The group's values under one grouping set: NULL where the set leaves a column out, then the
    /// set's number if there are several.
    fn values_of(&self, set: usize, values: &[Datum], into: &mut Vec<Datum>) {
        into.clear();
        if self.sets.len() == 1 && self.sets[0].len() == values.len() {
            into.extend_from_slice(values);
            return;
        }
        let keeps = |i: usize| self.sets[set].contains(&i);
        into.extend(values.iter().enumerate().map(|(i, v)| if keeps(i) { v.clone() } else { Datum::Null }));
        into.extend((self.sets.len() > 1).then_some(Datum::Int(set as i64)));
    }

    fn is_permanent(&self, key: &Row) -> bool {
        let set = match key.last() {
            Some(Datum::Int(set)) if self.sets.len() > 1 => *set as usize,
            _ => 0,
        };
        self.sets[set].is_empty()
    }

    fn states(&self, number: u32) -> std::ops::Range<usize> {
        let n = self.aggregates.len();
        number as usize * n..(number as usize + 1) * n
    }

    /// What a reader sees of a group; `None` if it has no rows, or no value and such are left out.
    fn output(&self, number: u32, ctx: &mut StepContext<'_>) -> Result<Option<Row>, SqlError> {
        let group = &self.state.groups[number as usize];
        if group.rows == 0 && !self.is_permanent(&group.key) {
            return Ok(None);
        }
        let (width, shown) = (self.groups.len(), group.shown());
        let mut row = Vec::with_capacity(shown.len() + self.aggregates.len());
        row.extend_from_slice(&shown[..width]);
        for (accumulator, aggregate) in self.state.states[self.states(number)].iter().zip(&self.aggregates) {
            match ctx.settle(accumulator.value(aggregate), shown)? {
                Some(value) => row.push(value),
                None => return Ok(None),
            }
        }
        row.extend_from_slice(&shown[width..]);
        Ok(Some(row.into()))
    }

    fn bytes_of(&self, number: u32) -> usize {
        let group = &self.state.groups[number as usize];
        let states = self.state.states[self.states(number)].iter().map(Accumulator::bytes);
        GROUP_BYTES
            + row_bytes(&group.key)
            + group.shown.as_ref().map_or(0, |row| row_bytes(row))
            + states.sum::<usize>()
    }

    fn insert(&mut self, key: Row, shown: Option<Row>) -> u32 {
        let group = Group { rows: 0, tick: self.tick, key: key.clone(), shown };
        let number = match self.state.free.pop() {
            Some(number) => {
                self.state.groups[number as usize] = group;
                for (at, aggregate) in self.states(number).zip(&self.aggregates) {
                    self.state.states[at] = Accumulator::new(aggregate, self.use_);
                }
                number
            }
            None => {
                let number = u32::try_from(self.state.groups.len()).expect("fewer than 2^32 groups in memory");
                self.state.groups.push(group);
                self.state.states.extend(self.aggregates.iter().map(|a| Accumulator::new(a, self.use_)));
                number
            }
        };
        self.state.numbers.insert(key, number);
        number
    }

    fn remove(&mut self, number: u32) {
        let key = self.state.groups[number as usize].key.clone();
        self.state.numbers.remove(&key);
        for (index, at) in self.states(number).enumerate() {
            let gone = &mut self.gone;
            self.state.states[at].save_items(&mut |item, _| gone.push((key.clone(), index, item)));
            // What it held goes now, not when the number is used again.
            self.state.states[at] = Accumulator::Count(0);
        }
        self.state.free.push(number);
    }

    /// The group of these values, marked as touched in this tick.
    fn touch(&mut self, values: &[Datum], key: &mut Vec<Datum>, ctx: &mut StepContext<'_>) -> Result<u32, SqlError> {
        key.clear();
        key.extend(values.iter().map(Datum::sql_key));
        let Some(&number) = self.state.numbers.get(&key[..]) else {
            let shown = (key[..] != *values).then(|| values.into());
            let number = self.insert(key[..].into(), shown);
            self.touched.push((number, None));
            return Ok(number);
        };
        if self.state.groups[number as usize].tick != self.tick {
            let before = ctx.quietly(|ctx| self.output(number, ctx))?;
            self.state.bytes = self.state.bytes.saturating_sub(self.bytes_of(number));
            self.state.groups[number as usize].tick = self.tick;
            self.touched.push((number, before));
        }
        Ok(number)
    }

    fn start(&mut self, ctx: &mut StepContext<'_>) -> Result<(), SqlError> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let nulls = vec![Datum::Null; self.groups.len()];
        let (mut values, mut key) = (Vec::new(), Vec::new());
        for set in 0..self.sets.len() {
            if self.sets[set].is_empty() {
                self.values_of(set, &nulls, &mut values);
                self.touch(&values, &mut key, ctx)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, input: &[Delta], ctx: &mut StepContext<'_>) -> Result<(), SqlError> {
        let (mut values, mut key) = (Vec::new(), Vec::new());
        for (row, count) in input {
            ctx.taking(*count);
            let Some(evaluated) = ctx.eval_all(&self.groups, row)? else { continue };
            for set in 0..self.sets.len() {
                self.values_of(set, &evaluated, &mut values);
                let number = self.touch(&values, &mut key, ctx)?;
                self.state.groups[number as usize].rows += count;
                let states = self.states(number);
                for (accumulator, aggregate) in self.state.states[states].iter_mut().zip(&self.aggregates) {
                    accumulator.update(aggregate, row, *count, ctx)?;
                }
            }
        }
        Ok(())
    }
}

impl Operator for Aggregate {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        if inputs[0].is_empty() && self.started {
            return Ok(());
        }
        self.tick = self.tick.wrapping_add(1).max(1);
        self.start(ctx)?;
        self.take(inputs[0], ctx)?;
        ctx.taking(1);
        for (number, before) in std::mem::take(&mut self.touched) {
            let after = self.output(number, ctx)?;
            self.changed.insert(&self.state.groups[number as usize].key);
            if self.state.groups[number as usize].rows == 0
                && !self.is_permanent(&self.state.groups[number as usize].key)
            {
                self.remove(number);
            } else {
                self.state.bytes += self.bytes_of(number);
            }
            if before != after {
                out.extend(before.map(|row| (row, -1)));
                out.extend(after.map(|row| (row, 1)));
            }
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        let item_key = |key: &Row, index: usize, item: Datum| -> Row {
            key.iter().cloned().chain([item, Datum::Int(index as i64)]).collect()
        };
        // First what went with its group: a group that came back has its values below.
        for (key, index, item) in std::mem::take(&mut self.gone) {
            writer.entry(&item_key(&key, index, item), None::<&()>, |(), _| {});
        }
        for key in self.changed.take() {
            let number = self.state.numbers.get(&key).copied();
            let states = number.map(|number| self.states(number));
            let group = number.map(|number| &self.state.groups[number as usize]);
            writer.entry(&key, group, |group, w| {
                w.i64(group.rows);
                w.row(group.shown());
                let states = states.clone().unwrap_or_default();
                self.state.states[states].iter().for_each(|accumulator| accumulator.save(w));
            });
            for (index, at) in states.unwrap_or_default().enumerate() {
                self.state.states[at].save_items(&mut |item, value| {
                    writer.entry(&item_key(&key, index, item), value.as_ref(), |value, w| value(w));
                });
            }
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        self.started = true;
        let whole = entry.key()?;
        let damaged = || SqlError::internal("damaged state of an aggregate");
        let (key, item) = whole.split_at_checked(self.key_width()).ok_or_else(damaged)?;
        let number = match self.state.numbers.get(key) {
            Some(number) => {
                self.state.bytes = self.state.bytes.saturating_sub(self.bytes_of(*number));
                *number
            }
            None => self.insert(key.into(), None),
        };
        let states = self.states(number);
        match item {
            [] => {
                let group = &mut self.state.groups[number as usize];
                group.rows = entry.i64()?;
                let shown = entry.row()?;
                group.shown = (shown != group.key).then_some(shown);
                for accumulator in &mut self.state.states[states] {
                    accumulator.read(&mut entry)?;
                }
            }
            [item, Datum::Int(index)] => {
                let index = usize::try_from(*index).map_err(|_| damaged())?;
                let aggregate = self.aggregates.get(index).ok_or_else(damaged)?;
                self.state.states[states.start + index].load_item(aggregate, item, &mut entry)?;
            }
            _ => return Err(damaged()),
        }
        self.state.bytes += self.bytes_of(number);
        Ok(())
    }

    fn never_saved(&mut self) {
        self.changed.turn_off();
        self.use_.saved = false;
    }

    fn state_size(&self) -> (usize, usize) {
        (self.state.bytes, self.state.numbers.len())
    }

    fn name(&self) -> &'static str {
        "Aggregate"
    }
}
