//! Reading a sink's source from a position on: the change log, or the outbox of a view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::sql::{Plan, SqlError};
use async_trait::async_trait;
use base::ClusterTime;
use changes::{LogBatch, LogFilter, LogSubscription, ResumeToken, Scope};
use dataflow::{Dataflow, Mode, OnError, StepContext};
use delivery::runner::{Portion, Source};
use delivery::{Event, Position};
use store::{LogEntry, LogPosition, Namespace, Store};
use tokio::sync::Notify;
use views::scan::ScanColumns;
use views::{StreamDefinition, StreamScope, Views};

use super::Surroundings;
use super::definition::{SinkDefinition, SourcePlan};
use super::handlers::ChangesPlan;
use super::outbox::Appender;
use super::records;
use super::rows::{RowShape, query_event, stream_event};
use super::status::SinkStatus;

/// How often a quiet log says how far it has been looked through.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a paused stream is looked at.
const PAUSED: Duration = Duration::from_millis(200);
/// Outbox events read at a time.
const OUTBOX_CHUNK: usize = 512;

/// Opens what a sink reads, from a position on.
///
/// # Errors
/// A sentence.
pub(super) fn open(
    sink: &Arc<SinkDefinition>,
    around: &Surroundings,
    status: &Arc<SinkStatus>,
    from: Position,
) -> Result<Box<dyn Source>, String> {
    match &sink.source {
        SourcePlan::Stream { .. } | SourcePlan::StreamQuery { .. } | SourcePlan::Changes(_) => {
            Ok(Box::new(LogReader::new(sink, around, from).map_err(|error| error.message)?))
        }
        SourcePlan::View { shape, .. } | SourcePlan::Query { shape, .. } => {
            let appended = Arc::new(Notify::new());
            let store = around.store.clone();
            let low = Arc::new(AtomicU64::new(from.time));
            let last = records::last_outbox(&store, sink.uid).map_err(|error| error.to_string())?;
            let appender = Appender {
                sink: Arc::clone(sink),
                shape: shape.clone(),
                store: store.clone(),
                views: around.views.clone(),
                low: Arc::clone(&low),
                appended: Arc::clone(&appended),
                next: last.max(from.time.saturating_sub(1)) + 1,
            };
            let appender = follow_view(appender, Arc::clone(status));
            Ok(Box::new(OutboxReader { store, uid: sink.uid, next: from, appended, low, appender }))
        }
    }
}

fn follow_view(appender: Appender, status: Arc<SinkStatus>) -> tokio::task::AbortHandle {
    let name = appender.sink.full_name();
    let task = tokio::spawn(async move {
        if let Err(error) = appender.run().await {
            tracing::error!(sink = name, %error, "a sink can no longer follow its view");
            status.fail(&error.message);
        }
    });
    task.abort_handle()
}

pub(super) struct LogReader {
    log: LogSubscription,
    /// Read, and not yet looked at: a paused stream ends in the middle of it.
    ahead: Option<LogBatch>,
    /// Where the first event may stand: a restart may be in the middle of a transaction.
    from: Position,
    views: Views,
    watched: Watched,
    source: Arc<str>,
    query: Option<RowMaker>,
    priority: Option<::sql::Expr>,
    store: Store,
    /// The name under which this sink keeps the log.
    pin: String,
    /// Other processes have the same events in logs of their own: places must be the same there.
    shared: bool,
    last: Position,
}

/// Whose events are read.
enum Watched {
    /// A change stream's, as it is defined when an event is read.
    Stream(String, String),
    /// A handler's own.
    Own(Arc<ChangesPlan>),
}

/// A query over one event at a time.
struct RowMaker {
    flow: Dataflow,
    columns: ScanColumns,
    shape: RowShape,
}

impl RowMaker {
    fn new(plan: &Arc<Plan>, shape: &RowShape) -> Result<Self, SqlError> {
        // Nothing is ever taken back, so nothing needs to be kept: the time is each event's own.
        let flow = Dataflow::compile(plan, Mode::Once)?;
        let columns = flow.inputs().map(|input| ScanColumns::new(&input.columns)).next();
        let columns = columns.ok_or_else(|| SqlError::internal("a query over a stream without an input"))?;
        Ok(RowMaker { flow, columns, shape: shape.clone() })
    }

    fn rows(
        &mut self,
        entry: &LogEntry,
        stream: &StreamDefinition,
        source: &Arc<str>,
        portion: &mut Portion,
    ) -> Result<(), SqlError> {
        let now_us = entry.wall_ms.saturating_mul(1000);
        let mut ctx = StepContext { on_error: OnError::DeadLetter, ..StepContext::at(now_us) };
        let row = views::events::stream_row(entry, stream, &self.columns);
        let out = self.flow.finish(vec![vec![(row, 1)]], &mut ctx)?;
        portion.failed += ctx.failure_count;
        if let Some(failure) = ctx.failures.last() {
            portion.failure = Some(failure.error.message.clone());
        }
        let mut part = 0;
        for (row, count) in out {
            for _ in 0..count.max(0) {
                portion.events.push(query_event(entry, &row, part, &self.shape, source)?);
                part += 1;
            }
        }
        Ok(())
    }
}

fn scope_of(stream: &StreamDefinition) -> Scope {
    match &stream.scope {
        StreamScope::Collection { db, name } => Scope::Collection(Namespace::new(db.as_str(), name.as_str())),
        StreamScope::Database(db) => Scope::Database(db.as_str().into()),
        StreamScope::Cluster => Scope::Cluster,
    }
}

impl Watched {
    fn stream(&self, views: &Views) -> Result<Arc<StreamDefinition>, SqlError> {
        match self {
            Watched::Own(plan) => Ok(Arc::clone(&plan.stream)),
            Watched::Stream(db, name) => {
                let definitions = views.definitions();
                definitions.stream(db, name).cloned().ok_or_else(|| views::build::missing("change stream", name))
            }
        }
    }
}

/// A change for a handler, if it wants it.
fn own_event(entry: &LogEntry, plan: &ChangesPlan, source: &Arc<str>, portion: &mut Portion) -> Result<(), SqlError> {
    match plan.event_document(entry) {
        Ok(None) => {}
        Ok(Some(body)) => portion.events.push(Event { body, ..stream_event(entry, &plan.stream, source, None)? }),
        Err(message) => {
            portion.failed += 1;
            portion.failure = Some(message);
        }
    }
    Ok(())
}

impl LogReader {
    /// Reads the sink's stream from a position on.
    pub fn new(sink: &SinkDefinition, around: &Surroundings, from: Position) -> Result<Self, SqlError> {
        let Surroundings { hub, views, store, .. } = around;
        let named = |db: &String, name: &String| Watched::Stream(db.clone(), name.clone());
        let (watched, query) = match &sink.source {
            SourcePlan::Stream { db, name, .. } => (named(db, name), None),
            SourcePlan::StreamQuery { db, name, plan, shape } => (named(db, name), Some(RowMaker::new(plan, shape)?)),
            SourcePlan::Changes(plan) => (Watched::Own(Arc::clone(plan)), None),
            SourcePlan::View { .. } | SourcePlan::Query { .. } => {
                return Err(SqlError::internal("a view is not read from the log"));
            }
        };
        let stream = watched.stream(views)?;
        let shared = around.group;
        // What is first here of a commit may not be its first elsewhere.
        let place = LogPosition { time: ClusterTime(from.time), index: if shared { 0 } else { from.index } };
        let log = hub.subscribe(LogFilter::everything_in(scope_of(&stream)), Some(place));
        let source = sink.source_name().into();
        let priority = match &sink.source {
            SourcePlan::Stream { priority, .. } => priority.clone(),
            _ => None,
        };
        let (views, store, pin) = (views.clone(), store.clone(), sink.pin_name());
        let last = Position::START;
        Ok(LogReader { log, ahead: None, from, views, watched, source, query, priority, store, pin, shared, last })
    }

    async fn read(&mut self) -> Result<Portion, String> {
        loop {
            if self.ahead.is_none() {
                self.ahead = Some(self.log.next(Some(LOOK_EVERY)).await.map_err(|error| error.to_string())?);
            }
            let stream = self.watched.stream(&self.views).map_err(|error| error.message)?;
            if let Some(batch) = self.take_until(stream.paused_at) {
                return self.portion(&batch, &stream);
            }
            tokio::time::sleep(PAUSED).await;
        }
    }

    /// What was read, up to where a paused stream ends. `None`: it ends before all of it.
    fn take_until(&mut self, paused_at: Option<ClusterTime>) -> Option<LogBatch> {
        let batch = self.ahead.take()?;
        let Some(at) = paused_at else { return Some(batch) };
        let count = batch.entries.partition_point(|entry| entry.position.time <= at);
        if count == batch.entries.len() {
            return Some(batch);
        }
        let taken = LogBatch { entries: batch.entries[..count].into(), up_to: at };
        self.ahead = Some(LogBatch { entries: batch.entries[count..].into(), up_to: batch.up_to });
        (count > 0).then_some(taken)
    }

    fn portion(&mut self, batch: &LogBatch, stream: &StreamDefinition) -> Result<Portion, String> {
        let mut portion = Portion { before: Position::at(batch.up_to.next().0), ..Portion::default() };
        for entry in batch.entries.iter() {
            if !stream.takes(entry, entry.wall_ms.saturating_mul(1000)) {
                continue;
            }
            let made = match (&mut self.query, &self.watched) {
                (Some(maker), _) => maker.rows(entry, stream, &self.source, &mut portion),
                (None, Watched::Stream(..)) => stream_event(entry, stream, &self.source, self.priority.as_ref())
                    .map(|event| portion.events.push(event)),
                (None, Watched::Own(plan)) => own_event(entry, plan, &self.source, &mut portion),
            };
            made.map_err(|error| error.message)?;
            if self.shared {
                let from = portion.events.len() - portion.events.iter().rev().take_while(|e| is_of(e, entry)).count();
                self.last = place_by_token(&mut portion.events[from..], entry, self.last);
            }
        }
        portion.events.retain(|event| event.position >= self.from);
        Ok(portion)
    }
}

fn is_of(event: &Event, entry: &LogEntry) -> bool {
    (event.position.time, event.position.index) == (entry.position.time.0, entry.position.index)
}

/// Parts that the rows of one event may have when several events share a place.
const PARTS: u32 = 1 << 16;

/// Gives the events of an entry the places that follow from the deployment's token. A log may have had
/// to move an entry whose place was taken: by how much differs from process to process. Events of
/// several shards may share a place; their order is the same everywhere.
fn place_by_token(events: &mut [Event], entry: &LogEntry, last: Position) -> Position {
    let token = entry.token.as_ref().and_then(|token| ResumeToken::parse(token.as_doc()).ok());
    let index = match token {
        Some(token) if token.cluster_time() == entry.position.time => token.facts().txn_op_index,
        _ => entry.position.index,
    };
    let place = Position { index, ..Position::at(entry.position.time.0) };
    let shares = last.time == place.time && last.index == place.index;
    let base = if shares { (last.part / PARTS + 1) * PARTS } else { 0 };
    let mut last = Position { part: base, ..place };
    for event in events {
        event.position = Position { part: base + event.position.part.min(PARTS - 1), ..place };
        last = event.position;
    }
    last
}

#[async_trait]
impl Source for LogReader {
    async fn next(&mut self) -> Result<Portion, String> {
        self.read().await
    }

    fn finished(&mut self, low: Position) {
        self.store.pin_log(&self.pin, Some(ClusterTime(low.time)));
    }
}

/// Reads what `outbox::Appender` writes.
pub(super) struct OutboxReader {
    pub store: Store,
    pub uid: base::Uuid,
    pub next: Position,
    /// Something was appended.
    pub appended: Arc<Notify>,
    /// Tells the appender how far the sink is.
    pub low: Arc<AtomicU64>,
    /// The appender, which ends with its reader.
    pub appender: tokio::task::AbortHandle,
}

#[async_trait]
impl Source for OutboxReader {
    async fn next(&mut self) -> Result<Portion, String> {
        loop {
            let appended = Arc::clone(&self.appended);
            let appended = appended.notified();
            let events = records::outbox(&self.store, self.uid, self.next, OUTBOX_CHUNK).map_err(|e| e.to_string())?;
            if let Some(last) = events.last() {
                self.next = Position::at(last.position.time + 1);
                return Ok(Portion { before: self.next, events, ..Portion::default() });
            }
            appended.await;
        }
    }

    fn finished(&mut self, low: Position) {
        self.low.store(low.time, Ordering::Release);
    }
}

impl Drop for OutboxReader {
    fn drop(&mut self) {
        self.appender.abort();
    }
}
