//! One running view: its dataflow, its rows, who listens.

use std::sync::Arc;

use base::ClusterTime;
use dataflow::{Dataflow, Delta, Input, Mode, StepContext};
use rustc_hash::{FxHashMap, FxHashSet};
use sql::{Row, Source, SqlError};

use crate::definition::ViewDefinition;
use crate::scan::ScanColumns;
use crate::subscription::Publisher;

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

/// A view (or an anonymous subscribed query) that follows the log.
#[derive(Debug)]
pub struct RunningView {
    pub definition: Arc<ViewDefinition>,
    pub flow: Dataflow,
    pub feeds: Vec<Feed>,
    /// What a reader sees: distinct rows with their counts.
    pub rows: FxHashMap<Row, i64>,
    /// Rows changed since the last checkpoint.
    pub changed_rows: FxHashSet<Row>,
    /// Everything up to here is in.
    pub position: ClusterTime,
    pub publishers: Vec<Publisher>,
    pub counters: ViewCounters,
    /// The view stopped with this error.
    pub error: Option<SqlError>,
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
            changed_rows: FxHashSet::default(),
            position: ClusterTime::ZERO,
            publishers: Vec::new(),
            counters: ViewCounters::default(),
            error: None,
            stale: false,
            durable,
            keeps_rows,
            output: Vec::new(),
        })
    }

    pub fn reads(&self, source: &Source) -> bool {
        self.feeds.iter().any(|feed| feed.source == *source)
    }

    /// One tick. The output delta is left in `output`.
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
        if self.keeps_rows {
            self.apply(&output);
        }
        self.output = output;
        Ok(())
    }

    fn apply(&mut self, output: &[Delta]) {
        for (row, count) in output {
            let held = self.rows.entry(row.clone()).or_insert(0);
            *held += count;
            assert!(*held >= 0, "a view never holds a row a negative number of times");
            if *held == 0 {
                self.rows.remove(row);
            }
            if self.durable {
                self.changed_rows.insert(row.clone());
            }
        }
    }

    /// Tells the subscribers of this tick; forgets those that left.
    pub fn publish(&mut self, wall_ms: i64) {
        let (position, output) = (self.position, &self.output);
        self.publishers.retain(|publisher| publisher.publish(position, wall_ms, output));
    }

    /// Stops with an error; subscribers get it.
    pub fn fail(&mut self, error: SqlError) {
        for publisher in self.publishers.drain(..) {
            publisher.end(Err(error.clone()));
        }
        self.output.clear();
        self.error = Some(error);
    }

    /// Every row as often as it is there.
    pub fn expanded_rows(&self) -> Vec<Row> {
        self.rows.iter().flat_map(|(row, n)| std::iter::repeat_n(row.clone(), (*n).max(0) as usize)).collect()
    }
}
