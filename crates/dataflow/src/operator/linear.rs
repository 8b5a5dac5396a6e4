//! Operators whose output delta is a function of the input delta alone; and projections that show
//! the time, which must remember what they showed.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sql::plan::TableFunction;
use sql::{Datum, Expr, Row, SqlError};

use super::{Operator, StepContext};
use crate::delta::Delta;
use crate::state::{Changed, StateReader, StateWriter, row_bytes};

/// Keeps the rows for which the predicate is true.
#[derive(Debug)]
pub struct Filter {
    pub predicate: Expr,
}

impl Operator for Filter {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for (row, count) in inputs[0] {
            ctx.taking(*count);
            if ctx.holds(&self.predicate, row)? {
                out.push((row.clone(), *count));
            }
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "Filter"
    }
}

/// Computes new rows.
#[derive(Debug)]
pub struct Project {
    pub exprs: Vec<Expr>,
}

impl Operator for Project {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for (row, count) in inputs[0] {
            ctx.taking(*count);
            if let Some(values) = ctx.eval_all(&self.exprs, row)? {
                out.push((values.into(), *count));
            }
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "Project"
    }
}

/// List entry and the map's share beside an output that is remembered.
const OUTPUT_BYTES: usize = 64;

/// A projection that reads the time (or another volatile value) over an input that can retract:
/// it remembers each output so that the retraction carries the value of its insertion.
#[derive(Debug)]
pub struct MaterializedProject {
    pub exprs: Vec<Expr>,
    /// Input row to its outputs, oldest first.
    emitted: FxHashMap<Row, Vec<Delta>>,
    changed: Changed<Row>,
    bytes: usize,
}

impl MaterializedProject {
    pub fn new(exprs: Vec<Expr>) -> Self {
        MaterializedProject { exprs, emitted: FxHashMap::default(), changed: Changed::default(), bytes: 0 }
    }

    fn hold(&mut self, row: Row, output: Row, count: i64) {
        self.bytes += row_bytes(&output) + OUTPUT_BYTES;
        let outputs = self.emitted.entry(row.clone()).or_default();
        if outputs.is_empty() {
            self.bytes += row_bytes(&row);
        }
        outputs.push((output, count));
    }

    fn retract(&mut self, row: &Row, mut count: i64, out: &mut Vec<Delta>) {
        let Some(outputs) = self.emitted.get_mut(row) else { return };
        while count > 0 {
            let Some((output, held)) = outputs.last_mut() else { break };
            let taken = count.min(*held);
            out.push((output.clone(), -taken));
            if taken == *held {
                self.bytes = self.bytes.saturating_sub(row_bytes(output) + OUTPUT_BYTES);
            }
            *held -= taken;
            count -= taken;
            if *held == 0 {
                outputs.pop();
            }
        }
        if outputs.is_empty() {
            self.emitted.remove(row);
            self.bytes = self.bytes.saturating_sub(row_bytes(row));
        }
    }
}

impl Operator for MaterializedProject {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        // A row that comes and goes within one tick shows nothing, whatever the order.
        let mut deltas = inputs[0].to_vec();
        crate::delta::consolidate(&mut deltas);
        for (row, count) in deltas {
            self.changed.insert(&row);
            ctx.taking(count);
            if count < 0 {
                self.retract(&row, -count, out);
            } else if let Some(values) = ctx.eval_all(&self.exprs, &row)? {
                let output: Row = values.into();
                out.push((output.clone(), count));
                self.hold(row, output, count);
            }
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        for row in self.changed.take() {
            writer.entry(&row, self.emitted.get(&row), |outputs, w| {
                w.u64(outputs.len() as u64);
                for (output, count) in outputs {
                    w.row(output);
                    w.i64(*count);
                }
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let row = entry.key()?;
        for _ in 0..entry.u64()? {
            let (output, count) = (entry.row()?, entry.i64()?);
            self.hold(row.clone(), output, count);
        }
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        (self.bytes, self.emitted.len())
    }

    fn never_saved(&mut self) {
        self.changed.turn_off();
    }

    fn name(&self) -> &'static str {
        "Project (remembering)"
    }
}

/// All inputs together.
#[derive(Debug)]
pub struct UnionAll;

impl Operator for UnionAll {
    fn step(&mut self, inputs: &[&[Delta]], _: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for input in inputs {
            out.extend_from_slice(input);
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "Append"
    }
}

/// Each row with each row of a set-returning function of it.
#[derive(Debug)]
pub struct FlatMap {
    pub function: TableFunction,
    pub args: Vec<Expr>,
    pub outer: bool,
    pub ordinality: bool,
    /// How many columns the function returns.
    pub width: usize,
}

impl Operator for FlatMap {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for (row, count) in inputs[0] {
            ctx.taking(*count);
            let Some(args) = ctx.eval_all(&self.args, row)? else { continue };
            let rows = match sql::functions::table::rows(self.function, &args) {
                Ok(rows) => rows,
                Err(error) => {
                    ctx.fail(row, error)?;
                    continue;
                }
            };
            if rows.is_empty() && self.outer {
                let nulls = self.width + usize::from(self.ordinality);
                out.push((row.iter().cloned().chain(std::iter::repeat_n(Datum::Null, nulls)).collect(), *count));
            }
            for (i, values) in rows.into_iter().enumerate() {
                let ordinal = self.ordinality.then_some(Datum::Int(i as i64 + 1));
                let joined: Row = row.iter().cloned().chain(values).chain(ordinal).collect();
                out.push((joined, *count));
            }
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "Flat Map"
    }
}

/// Literal rows, present from the first tick on.
#[derive(Debug)]
pub struct Values {
    pub rows: Vec<Vec<Expr>>,
    pub emitted: bool,
}

impl Operator for Values {
    fn step(&mut self, _: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        if std::mem::replace(&mut self.emitted, true) {
            return Ok(());
        }
        for row in &self.rows {
            if let Some(values) = ctx.eval_all(row, &[])? {
                out.push((Arc::from(values), 1));
            }
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        if self.emitted {
            writer.entry(&Row::from([]), Some(&()), |(), _| {});
        }
    }

    fn load(&mut self, _: StateReader<'_>) -> Result<(), SqlError> {
        self.emitted = true;
        Ok(())
    }

    fn name(&self) -> &'static str {
        "Values"
    }
}
