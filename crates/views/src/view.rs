//! One view: its dataflow, its rows, who listens, how much it may hold.

use std::sync::Arc;

use base::ClusterTime;
use dataflow::state::row_bytes;
use dataflow::{Dataflow, Delta, Failure, Input, Mode, StepContext};
use rustc_hash::{FxHashMap, FxHashSet};
use sql::{Row, Source, SqlError};

use crate::dead_letters::DeadLetters;
use crate::definition::{Definitions, ViewDefinition};
use crate::progress::Build;
use crate::scan::ScanColumns;
use crate::subscription::Publisher;

/// A map slot beside a row, and the reference counts of its allocation.
const ROW_BYTES: usize = 48;

/// What feeds one input of the dataflow.
#[derive(Debug)]
pub struct Feed {
    pub source: Source,
    pub columns: Arc<ScanColumns>,
    pub input: Input,
}

/// Counters for status.
#[derive(Clone, Debug, Default)]
pub struct ViewCounters {
    /// Input events taken in.
    pub events: u64,
    /// Output deltas.
    pub changes: u64,
    pub failures: u64,
    pub last_failure: Option<String>,
    pub last_event_ms: i64,
    /// Of `events`.
    pub rate: base::Rate,
}

/// Does a view follow the log?
#[derive(Clone, Debug, Default)]
pub enum Phase {
    #[default]
    Running,
    /// Another thread builds it; what stands here keeps its place, its subscribers and its old rows.
    Building(Arc<Build>),
    /// It reads a view that is still being built.
    Awaiting,
}

/// A view (or an anonymous subscribed query) that follows the log.
#[derive(Debug)]
pub struct RunningView {
    pub definition: Arc<ViewDefinition>,
    pub flow: Dataflow,
    pub feeds: Vec<Feed>,
    /// What a reader sees: distinct rows with their counts.
    pub rows: FxHashMap<Row, i64>,
    /// Estimated bytes of `rows`.
    rows_bytes: usize,
    /// Rows changed since the last checkpoint.
    pub changed_rows: FxHashSet<Row>,
    /// Everything up to here is in.
    pub position: ClusterTime,
    pub phase: Phase,
    /// The definitions that it was built with.
    pub built_with: Option<Arc<Definitions>>,
    pub publishers: Vec<Publisher>,
    pub counters: ViewCounters,
    pub dead_letters: DeadLetters,
    /// Rows that the last tick left out, until they are dead letters.
    pub failures: Vec<Failure>,
    /// The view stopped with this error.
    pub error: Option<SqlError>,
    /// It stopped because a view that it reads did; it goes on when that one does.
    pub orphaned: bool,
    /// Needs building anew: its collection was dropped or lacks pre-images.
    pub stale: bool,
    /// Keeps checkpoints; an anonymous subscription does not.
    pub durable: bool,
    /// Keeps `rows`: a view, and a subscription that may have to be built anew and then tells the
    /// difference (its collection can be dropped).
    pub keeps_rows: bool,
    /// This tick's output, for views that read this one.
    pub output: Vec<Delta>,
}

impl RunningView {
    pub fn new(definition: Arc<ViewDefinition>, durable: bool) -> Result<Self, SqlError> {
        let mut flow = Dataflow::compile(&definition.plan, Mode::Continuous)?;
        if !durable {
            flow.never_saved();
        }
        let feed = |input: &Input| Feed {
            source: input.source.clone(),
            columns: Arc::new(ScanColumns::new(&input.columns)),
            input: input.clone(),
        };
        let feeds: Vec<Feed> = flow.inputs().map(feed).collect();
        let keeps_rows = durable || feeds.iter().any(|feed| matches!(feed.source, Source::Collection { .. }));
        Ok(RunningView {
            definition,
            flow,
            feeds,
            rows: FxHashMap::default(),
            rows_bytes: 0,
            changed_rows: FxHashSet::default(),
            position: ClusterTime::ZERO,
            phase: Phase::Running,
            built_with: None,
            publishers: Vec::new(),
            counters: ViewCounters::default(),
            dead_letters: DeadLetters::default(),
            failures: Vec::new(),
            error: None,
            orphaned: false,
            stale: false,
            durable,
            keeps_rows,
            output: Vec::new(),
        })
    }

    pub fn reads(&self, source: &Source) -> bool {
        self.feeds.iter().any(|feed| feed.source == *source)
    }

    pub fn reads_views(&self) -> bool {
        self.feeds.iter().any(|feed| matches!(feed.source, Source::View { .. }))
    }

    /// Follows the log, neither stopped nor still to be built.
    pub fn is_running(&self) -> bool {
        self.error.is_none() && matches!(self.phase, Phase::Running)
    }

    /// One tick. The output delta is left in `output`, rows for dead letters in `failures`.
    ///
    /// # Errors
    /// Of a row's evaluation, where the view does not go on; 53200 beyond a limit of the state.
    pub fn step(&mut self, deltas: Vec<Vec<Delta>>, now_us: i64) -> Result<(), SqlError> {
        self.output.clear();
        let events: usize = deltas.iter().map(Vec::len).sum();
        let definition = Arc::clone(&self.definition);
        let mut ctx = StepContext {
            on_error: definition.on_error,
            parameters: &definition.parameters,
            ..StepContext::at(now_us)
        };
        let output = self.flow.step(deltas, &mut ctx)?;
        self.counters.events += events as u64;
        self.counters.changes += output.len() as u64;
        self.counters.failures += ctx.failure_count;
        if let Some(failure) = ctx.failures.last() {
            self.counters.last_failure = Some(failure.error.message.clone());
        }
        if definition.keeps_dead_letters {
            self.failures = ctx.failures;
        }
        if self.keeps_rows {
            self.apply(&output);
        }
        self.output = output;
        self.check_limits()
    }

    /// Estimated bytes of everything held, and how many entries and rows that is.
    pub fn size(&self) -> (usize, usize) {
        let (bytes, entries) = self.flow.state_size();
        (bytes + self.rows_bytes, entries + self.rows.len())
    }

    /// Estimated bytes of the rows that a reader sees.
    pub fn rows_bytes(&self) -> usize {
        self.rows_bytes
    }

    /// # Errors
    /// 53200 beyond a limit.
    pub fn check_limits(&self) -> Result<(), SqlError> {
        let limits = self.definition.limits;
        if limits.rows.is_none() && limits.bytes.is_none() {
            return Ok(());
        }
        let (bytes, rows) = self.size();
        let check = |option: &str, held: usize, limit: Option<u64>| match limit {
            Some(limit) if held as u64 > limit => Err(over_limit(&self.definition.name, option, held, limit)),
            _ => Ok(()),
        };
        check("max_state_rows", rows, limits.rows)?;
        check("max_state_bytes", bytes, limits.bytes)
    }

    fn apply(&mut self, output: &[Delta]) {
        for (row, count) in output {
            self.add_row(row, *count);
            if self.durable {
                self.changed_rows.insert(row.clone());
            }
        }
    }

    /// Takes a row in, or back.
    pub fn add_row(&mut self, row: &Row, count: i64) {
        let held = match self.rows.get_mut(row) {
            Some(held) => {
                *held += count;
                *held
            }
            None => {
                self.rows.insert(row.clone(), count);
                self.rows_bytes += row_bytes(row) + ROW_BYTES;
                count
            }
        };
        assert!(held >= 0, "a view never holds a row a negative number of times");
        if held == 0 {
            self.rows.remove(row);
            self.rows_bytes = self.rows_bytes.saturating_sub(row_bytes(row) + ROW_BYTES);
        }
    }

    /// Lets go of the rows: an anonymous query's, once its reader has them.
    pub fn take_rows(&mut self) -> FxHashMap<Row, i64> {
        self.rows_bytes = 0;
        std::mem::take(&mut self.rows)
    }

    /// Tells the subscribers of this tick; forgets those that left.
    pub fn publish(&mut self, wall_ms: i64) {
        let (position, output) = (self.position, &self.output);
        self.publishers.retain(|publisher| publisher.publish(position, wall_ms, output));
    }

    /// Stops with an error; subscribers get it. What the view holds is of no use any more.
    pub fn fail(&mut self, error: SqlError) {
        for publisher in self.publishers.drain(..) {
            publisher.end(Err(error.clone()));
        }
        self.output = Vec::new();
        self.failures = Vec::new();
        self.take_rows();
        self.changed_rows = FxHashSet::default();
        // A plan that ran compiles.
        if let Ok(empty) = Dataflow::compile(&self.definition.plan, Mode::Continuous) {
            self.flow = empty;
        }
        self.phase = Phase::Running;
        self.error = Some(error);
    }

    /// Every row as often as it is there.
    pub fn expanded_rows(&self) -> Vec<Row> {
        self.rows.iter().flat_map(|(row, n)| std::iter::repeat_n(row.clone(), (*n).max(0) as usize)).collect()
    }
}

fn over_limit(view: &str, option: &str, held: usize, limit: u64) -> SqlError {
    SqlError::new("53200", format!("materialized view \"{view}\" holds {held}, more than its {option} of {limit}"))
        .with_hint(format!(
            "Raise it with ALTER MATERIALIZED VIEW {view} SET ({option} = {}), which builds the view again, or bound \
             what it holds: SET (retention = '7 days'), or a condition such as event_timestamp >= CURRENT_TIMESTAMP - \
             INTERVAL '1 day'.",
            limit.saturating_mul(2)
        ))
}
