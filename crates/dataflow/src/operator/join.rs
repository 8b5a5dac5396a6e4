//! Joins: two indexes by key, and for each row the count of its matches where the kind needs it.
//!
//! ```text
//!   d(L ⋈ R) = dL ⋈ R_before  +  L_after ⋈ dR
//! ```
//!
//! An outer row's NULL-extended form appears when its match count falls to zero and disappears when
//! it leaves zero, so a change costs its matches, never the size of either side. Without keys
//! every row is a candidate: that product is what the query asked for.

use rustc_hash::{FxHashMap, FxHashSet};
use sql::plan::{JoinKey, JoinKind};
use sql::{Datum, Expr, Row, SqlError};

use super::{Operator, StepContext};
use crate::delta::{Delta, consolidate};
use crate::state::{Changed, StateReader, StateWriter, row_bytes};

/// One stored row: how often it is there, and how many rows of the other side match it.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    count: i64,
    matches: i64,
}

/// The rows of one key. Most keys have one row.
#[derive(Debug)]
enum Bucket {
    One(Row, Entry),
    Many(FxHashMap<Row, Entry>),
}

#[derive(Debug, Default)]
struct Side {
    rows: FxHashMap<Row, Bucket>,
    changed: Changed<(Row, Row)>,
    width: usize,
    bytes: usize,
    entries: usize,
}

/// Map slots and counters beside a key's first row, and beside a row.
const KEY_BYTES: usize = 64;
const ROW_BYTES: usize = 32;

impl Side {
    fn add(&mut self, key: &Row, row: &Row, count: i64, matches: i64) {
        self.changed.insert(&(key.clone(), row.clone()));
        let Some(bucket) = self.rows.get_mut(key) else {
            self.rows.insert(key.clone(), Bucket::One(row.clone(), Entry { count, matches }));
            self.bytes += row_bytes(key) + KEY_BYTES + row_bytes(row) + ROW_BYTES;
            self.entries += 1;
            return;
        };
        match bucket.add(row, count, matches) {
            Became::More => {
                self.bytes += row_bytes(row) + ROW_BYTES;
                self.entries += 1;
            }
            Became::Fewer => {
                self.bytes = self.bytes.saturating_sub(row_bytes(row) + ROW_BYTES);
                self.entries -= 1;
            }
            Became::Same => {}
        }
        if bucket.is_empty() {
            self.rows.remove(key);
            self.bytes = self.bytes.saturating_sub(row_bytes(key) + KEY_BYTES);
        }
    }

    fn for_each(&self, key: &Row, mut visit: impl FnMut(&Row, Entry) -> Result<(), SqlError>) -> Result<(), SqlError> {
        match self.rows.get(key) {
            None => Ok(()),
            Some(Bucket::One(row, entry)) => visit(row, *entry),
            Some(Bucket::Many(rows)) => rows.iter().try_for_each(|(row, entry)| visit(row, *entry)),
        }
    }

    fn entry(&self, key: &Row, row: &Row) -> Option<Entry> {
        match self.rows.get(key)? {
            Bucket::One(held, entry) => (held == row).then_some(*entry),
            Bucket::Many(rows) => rows.get(row).copied(),
        }
    }

    fn save(&mut self, side: i64, writer: &mut StateWriter<'_>) {
        for (key, row) in self.changed.take() {
            let head = [Datum::Int(side), Datum::Int(key.len() as i64)];
            let state_key: Row = head.iter().chain(key.iter()).chain(row.iter()).cloned().collect();
            writer.entry(&state_key, self.entry(&key, &row).as_ref(), |entry, w| {
                w.i64(entry.count);
                w.i64(entry.matches);
            });
        }
    }
}

/// What an addition did to the number of rows that are there.
enum Became {
    More,
    Same,
    Fewer,
}

impl Bucket {
    fn add(&mut self, row: &Row, count: i64, matches: i64) -> Became {
        match self {
            Bucket::One(held, entry) if held == row => {
                entry.count += count;
                entry.matches += matches;
                if entry.count == 0 { Became::Fewer } else { Became::Same }
            }
            Bucket::One(held, entry) => {
                let mut rows = FxHashMap::default();
                rows.insert(held.clone(), *entry);
                rows.insert(row.clone(), Entry { count, matches });
                *self = Bucket::Many(rows);
                Became::More
            }
            Bucket::Many(rows) => {
                let before = rows.len();
                let entry = rows.entry(row.clone()).or_default();
                entry.count += count;
                entry.matches += matches;
                if entry.count == 0 {
                    rows.remove(row);
                }
                match rows.len().cmp(&before) {
                    std::cmp::Ordering::Less => Became::Fewer,
                    std::cmp::Ordering::Equal => Became::Same,
                    std::cmp::Ordering::Greater => Became::More,
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Bucket::One(_, entry) => entry.count == 0,
            Bucket::Many(rows) => rows.is_empty(),
        }
    }
}

#[derive(Debug)]
pub struct Join {
    kind: JoinKind,
    keys: Vec<JoinKey>,
    residual: Option<Expr>,
    left: Side,
    right: Side,
    /// NOT IN only: rows of the right side, and those among them whose key is NULL.
    right_count: i64,
    right_nulls: i64,
}

/// The key of rows whose key has a NULL: it matches nothing, but outer rows are still shown.
fn is_unmatchable(keys: &[JoinKey], values: &[Datum]) -> bool {
    keys.iter().zip(values).any(|(key, value)| value.is_null() && !key.null_safe)
}

impl Join {
    pub fn new(
        kind: JoinKind,
        keys: Vec<JoinKey>,
        residual: Option<Expr>,
        widths: (usize, usize),
    ) -> Result<Self, SqlError> {
        if kind == JoinKind::NullAwareAnti && (keys.len() != 1 || residual.is_some()) {
            return Err(
                SqlError::unsupported("NOT IN over a correlated or many-column subquery").with_hint("use NOT EXISTS")
            );
        }
        let side = |width| Side { width, ..Side::default() };
        Ok(Join { kind, keys, residual, left: side(widths.0), right: side(widths.1), right_count: 0, right_nulls: 0 })
    }

    /// Consolidated deltas with their keys; `None` as the key of rows that can match nothing.
    fn keyed(
        &self,
        input: &[Delta],
        left: bool,
        ctx: &mut StepContext<'_>,
    ) -> Result<Vec<(Option<Row>, Row, i64)>, SqlError> {
        let mut deltas = input.to_vec();
        consolidate(&mut deltas);
        let mut keyed = Vec::with_capacity(deltas.len());
        for (row, count) in deltas {
            ctx.taking(count);
            let exprs = self.keys.iter().map(|k| if left { &k.left } else { &k.right });
            let Some(values) = ctx.eval_all(exprs, &row)? else { continue };
            let key = (!is_unmatchable(&self.keys, &values)).then(|| super::key_of(&values));
            keyed.push((key, row, count));
        }
        Ok(keyed)
    }

    fn matches(&self, left: &Row, right: &Row, ctx: &mut StepContext<'_>) -> Result<Option<Row>, SqlError> {
        let joined: Row = left.iter().chain(right.iter()).cloned().collect();
        match &self.residual {
            Some(residual) if !ctx.holds(residual, &joined)? => Ok(None),
            _ => Ok(Some(joined)),
        }
    }

    fn keeps_left(&self) -> bool {
        matches!(self.kind, JoinKind::Left | JoinKind::Full | JoinKind::Single)
    }

    fn keeps_right(&self) -> bool {
        matches!(self.kind, JoinKind::Right | JoinKind::Full)
    }

    fn shows_pairs(&self) -> bool {
        matches!(self.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full | JoinKind::Single)
    }

    /// The rows shown for a left row beside its pairs, as a function of its match count.
    fn left_alone(&self, row: &Row, matches: i64) -> Option<Row> {
        match self.kind {
            JoinKind::Semi => (matches > 0).then(|| row.clone()),
            JoinKind::Anti => (matches <= 0).then(|| row.clone()),
            _ if self.keeps_left() && matches <= 0 => {
                Some(row.iter().cloned().chain(std::iter::repeat_n(Datum::Null, self.right.width)).collect())
            }
            _ => None,
        }
    }

    fn right_alone(&self, row: &Row, matches: i64) -> Option<Row> {
        (self.keeps_right() && matches <= 0)
            .then(|| std::iter::repeat_n(Datum::Null, self.left.width).chain(row.iter().cloned()).collect())
    }

    fn push_left_change(&self, row: &Row, count: i64, before: i64, after: i64, out: &mut Vec<Delta>) {
        out.extend(self.left_alone(row, before).map(|shown| (shown, -count)));
        out.extend(self.left_alone(row, after).map(|shown| (shown, count)));
    }

    fn apply_left(
        &mut self,
        deltas: Vec<(Option<Row>, Row, i64)>,
        ctx: &mut StepContext<'_>,
        out: &mut Vec<Delta>,
    ) -> Result<(), SqlError> {
        for (key, row, count) in deltas {
            let Some(key) = key else {
                out.extend(self.left_alone(&row, 0).map(|shown| (shown, count)));
                continue;
            };
            let mut matches = 0;
            let mut touched = Vec::new();
            self.right.for_each(&key, |right, entry| {
                if let Some(joined) = self.matches(&row, right, ctx)? {
                    matches += entry.count;
                    if self.shows_pairs() {
                        out.push((joined, count * entry.count));
                    }
                    if self.keeps_right() {
                        touched.push((right.clone(), entry));
                    }
                }
                Ok(())
            })?;
            self.check_single(matches)?;
            for (right, entry) in touched {
                let after = entry.matches + count;
                out.extend(self.right_alone(&right, entry.matches).map(|shown| (shown, -entry.count)));
                out.extend(self.right_alone(&right, after).map(|shown| (shown, entry.count)));
                self.right.add(&key, &right, 0, count);
            }
            out.extend(self.left_alone(&row, matches).map(|shown| (shown, count)));
            // A row that is there already has its match count; only a new one brings it along.
            let known = self.left.entry(&key, &row).is_some();
            self.left.add(&key, &row, count, if known { 0 } else { matches });
        }
        Ok(())
    }

    fn apply_right(
        &mut self,
        deltas: Vec<(Option<Row>, Row, i64)>,
        ctx: &mut StepContext<'_>,
        out: &mut Vec<Delta>,
    ) -> Result<(), SqlError> {
        let tracks_left = self.keeps_left() || matches!(self.kind, JoinKind::Semi | JoinKind::Anti);
        for (key, row, count) in deltas {
            let Some(key) = key else {
                out.extend(self.right_alone(&row, 0).map(|shown| (shown, count)));
                continue;
            };
            let mut matches = 0;
            let mut touched = Vec::new();
            self.left.for_each(&key, |left, entry| {
                if let Some(joined) = self.matches(left, &row, ctx)? {
                    matches += entry.count;
                    if self.shows_pairs() {
                        out.push((joined, count * entry.count));
                    }
                    if tracks_left {
                        touched.push((left.clone(), entry));
                    }
                }
                Ok(())
            })?;
            for (left, entry) in touched {
                let after = entry.matches + count;
                self.push_left_change(&left, entry.count, entry.matches, after, out);
                self.left.add(&key, &left, 0, count);
            }
            out.extend(self.right_alone(&row, matches).map(|shown| (shown, count)));
            let known = self.right.entry(&key, &row).is_some();
            self.right.add(&key, &row, count, if known { 0 } else { matches });
        }
        Ok(())
    }

    fn check_single(&self, matches: i64) -> Result<(), SqlError> {
        if self.kind == JoinKind::Single && matches > 1 {
            return Err(SqlError::new("21000", "more than one row returned by a subquery used as an expression"));
        }
        Ok(())
    }

    /// After the tick: no left row may have two matches.
    fn check_singles(&self, keys: &FxHashSet<Row>) -> Result<(), SqlError> {
        if self.kind != JoinKind::Single {
            return Ok(());
        }
        for key in keys {
            self.left.for_each(key, |_, entry| self.check_single(entry.matches))?;
        }
        Ok(())
    }

    /// NOT IN. A NULL among the right keys makes every answer unknown; a NULL left key is kept only
    /// while the right side is empty. Each left row is in `left` under its key (NULL keys under an
    /// empty row), so a change of the right side's NULLs or emptiness walks the left side once.
    fn step_null_aware(
        &mut self,
        inputs: &[&[Delta]],
        ctx: &mut StepContext<'_>,
        out: &mut Vec<Delta>,
    ) -> Result<(), SqlError> {
        let left = self.keyed(inputs[0], true, ctx)?;
        let right = self.keyed(inputs[1], false, ctx)?;
        let null_key: Row = Row::from([]);
        let regime = |join: &Self| (join.right_nulls > 0, join.right_count > 0);
        let before = regime(self);
        let count_change: i64 = right.iter().map(|(_, _, count)| count).sum();
        let null_change: i64 = right.iter().filter(|(key, _, _)| key.is_none()).map(|(_, _, count)| count).sum();
        let after = (self.right_nulls + null_change > 0, self.right_count + count_change > 0);
        if before != after {
            self.show_null_aware(-1, out)?;
        }
        for (key, row, count) in &right {
            let Some(key) = key else { continue };
            let held = self.right_total(key)?;
            if before == after && !before.0 && (held > 0) != (held + count > 0) {
                let sign = if held > 0 { 1 } else { -1 };
                self.left.for_each(key, |left, entry| {
                    out.push((left.clone(), sign * entry.count));
                    Ok(())
                })?;
            }
            self.right.add(key, row, *count, 0);
        }
        self.right_count += count_change;
        self.right_nulls += null_change;
        if before != after {
            self.show_null_aware(1, out)?;
        }
        for (key, row, count) in left {
            let key = key.unwrap_or_else(|| null_key.clone());
            if self.shown_null_aware(&key)? {
                out.push((row.clone(), count));
            }
            self.left.add(&key, &row, count, 0);
        }
        Ok(())
    }

    fn right_total(&self, key: &Row) -> Result<i64, SqlError> {
        let mut total = 0;
        self.right.for_each(key, |_, entry| {
            total += entry.count;
            Ok(())
        })?;
        Ok(total)
    }

    fn shown_null_aware(&self, key: &Row) -> Result<bool, SqlError> {
        Ok(match (self.right_nulls > 0, self.right_count > 0) {
            (_, false) => true,
            (true, true) => false,
            (false, true) => !key.is_empty() && self.right_total(key)? == 0,
        })
    }

    fn show_null_aware(&self, sign: i64, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        for key in self.left.rows.keys() {
            if self.shown_null_aware(key)? {
                self.left.for_each(key, |row, entry| {
                    out.push((row.clone(), sign * entry.count));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

impl Operator for Join {
    fn step(&mut self, inputs: &[&[Delta]], ctx: &mut StepContext<'_>, out: &mut Vec<Delta>) -> Result<(), SqlError> {
        if self.kind == JoinKind::NullAwareAnti {
            return self.step_null_aware(inputs, ctx, out);
        }
        let mut left = self.keyed(inputs[0], true, ctx)?;
        let mut right = self.keyed(inputs[1], false, ctx)?;
        // A row that comes meets what leaves the other side in the same tick; such pairs were never there,
        // and whoever reads this must not compute anything of them.
        let cancels = !left.is_empty() && !right.is_empty();
        // Retractions first, so that a scalar subquery's replaced row is not seen beside its successor.
        left.sort_by_key(|(_, _, count)| *count > 0);
        right.sort_by_key(|(_, _, count)| *count > 0);
        if self.kind == JoinKind::Single {
            let keys = right.iter().filter_map(|(key, _, _)| key.clone()).collect();
            self.apply_right(right, ctx, out)?;
            self.check_singles(&keys)?;
            self.apply_left(left, ctx, out)?;
        } else {
            self.apply_left(left, ctx, out)?;
            self.apply_right(right, ctx, out)?;
        }
        if cancels {
            consolidate(out);
        }
        Ok(())
    }

    fn save(&mut self, writer: &mut StateWriter<'_>) {
        self.left.save(0, writer);
        self.right.save(1, writer);
        // Rows with a NULL key are counted but not kept, so no changed row tells of them.
        if self.kind == JoinKind::NullAwareAnti {
            writer.entry(&Row::from([Datum::Int(2)]), Some(&(self.right_count, self.right_nulls)), |(n, nulls), w| {
                w.i64(*n);
                w.i64(*nulls);
            });
        }
    }

    fn load(&mut self, mut entry: StateReader<'_>) -> Result<(), SqlError> {
        let whole = entry.key()?;
        let damaged = || SqlError::internal("damaged state of a join");
        if let [Datum::Int(2)] = whole[..] {
            (self.right_count, self.right_nulls) = (entry.i64()?, entry.i64()?);
            return Ok(());
        }
        let [Datum::Int(side), Datum::Int(split), rest @ ..] = &whole[..] else { return Err(damaged()) };
        let (key, row) = rest.split_at_checked(*split as usize).ok_or_else(damaged)?;
        let side = if *side == 0 { &mut self.left } else { &mut self.right };
        side.add(&key.into(), &row.into(), entry.i64()?, entry.i64()?);
        side.changed.clear();
        Ok(())
    }

    fn state_size(&self) -> (usize, usize) {
        (self.left.bytes + self.right.bytes, self.left.entries + self.right.entries)
    }

    fn never_saved(&mut self) {
        self.left.changed.turn_off();
        self.right.changed.turn_off();
    }

    fn name(&self) -> &'static str {
        match self.kind {
            JoinKind::Inner => "Join",
            JoinKind::Left => "Left Join",
            JoinKind::Right => "Right Join",
            JoinKind::Full => "Full Join",
            JoinKind::Semi => "Semi Join",
            JoinKind::Anti | JoinKind::NullAwareAnti => "Anti Join",
            JoinKind::Single => "Single Join",
        }
    }
}
