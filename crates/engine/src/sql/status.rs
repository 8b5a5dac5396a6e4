//! How the database does: for the dashboard, metrics and whoever embeds it.

use std::sync::atomic::Ordering;

use ::sql::{Field, SqlError};
use changes::{Event, LogFilter, LogSubscription, Scope};
use document::json::to_plain_string;
use document::{Raw, RawDoc};
use store::{LogEntry, Operation};
use views::progress::BuildProgress;

use super::objects::scope_text;
use crate::{Error, Headwater, Result};

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub uptime_ms: u64,
    pub collections: usize,
    /// Changes committed since the database was opened.
    pub events: u64,
    pub streams: Vec<StreamStatus>,
    pub views: Vec<ViewStatus>,
    /// The deployment that changes are captured from.
    pub source: Option<capture::SourceStatus>,
    pub sinks: Vec<SinkStatus>,
}

/// A sink or handler.
#[derive(Clone, Debug)]
pub struct SinkStatus {
    pub db: String,
    pub name: String,
    /// What it reads: a stream, a view or a query.
    pub source: String,
    /// Where it delivers, without passwords.
    pub target: String,
    /// `starting`, `running`, `paused`, `failed` or `stopped`.
    pub state: &'static str,
    /// In all its lives.
    pub delivered: u64,
    /// Attempts that failed, since its start.
    pub failures: u64,
    /// Events that became dead letters, since its start.
    pub dead: u64,
    /// Read and not finished.
    pub waiting: u64,
    /// Keys that stand behind a dead letter.
    pub parked_keys: u64,
    /// The target is left alone for a while.
    pub circuit_open: bool,
    /// How long the oldest unfinished change has been waiting.
    pub lag_ms: i64,
    /// Milliseconds since the epoch; 0 before the first.
    pub last_event_ms: i64,
    /// From the last finished change to the end of its delivery.
    pub last_latency_ms: i64,
    pub error: Option<String>,
}

#[derive(Clone, Debug)]
pub struct StreamStatus {
    pub db: String,
    pub name: String,
    /// `db.collection`, `DATABASE db` or `CLUSTER`.
    pub on: String,
    pub filter: Option<String>,
    pub paused: bool,
    /// Since the database was opened.
    pub events: u64,
    /// Milliseconds since the epoch; 0 before the first.
    pub last_event_ms: i64,
}

#[derive(Clone, Debug)]
pub struct ViewStatus {
    pub db: String,
    pub name: String,
    pub query: String,
    /// Distinct rows.
    pub rows: usize,
    /// Estimated bytes, and entries and rows, of everything that the view holds.
    pub state_bytes: usize,
    pub state_rows: usize,
    /// `running`, `stopped`, `building`, or `waiting` for a view that is being built.
    pub state: &'static str,
    /// While it is being built.
    pub build: Option<BuildProgress>,
    /// Output deltas since the database was opened.
    pub changes: u64,
    /// Input rows whose evaluation failed.
    pub failures: u64,
    pub subscribers: usize,
    /// How far the view is behind the newest commit, in whole seconds of cluster time.
    pub lag_ms: i64,
    pub error: Option<String>,
    pub fields: Vec<Field>,
}

/// One committed change, shortly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSummary {
    pub wall_ms: i64,
    pub operation: &'static str,
    pub namespace: String,
    /// The document's `_id` as plain JSON.
    pub key: Option<String>,
    /// The inserted document or the updated fields as plain JSON.
    pub detail: Option<String>,
}

/// The changes of all collections from now on.
#[derive(Debug)]
pub struct ChangeFeed(LogSubscription);

impl ChangeFeed {
    /// Waits for the next changes.
    pub async fn next(&mut self) -> Result<Vec<ChangeSummary>> {
        let batch = self.0.next(None).await?;
        Ok(batch.entries.iter().map(summary).collect())
    }
}

impl Headwater {
    /// Counters of everything.
    pub async fn status(&self) -> Result<Status> {
        let sql = self.sql();
        let definitions = sql.views.definitions();
        let views = sql.views.status(false).await.map_err(|error| Error::unavailable(error.message))?;
        let applied = self.store().durable();
        let counters = sql.counters.lock().clone();
        let streams = definitions.streams.values().map(|stream| {
            let counted = counters.get(&(stream.db.clone(), stream.name.clone())).copied().unwrap_or_default();
            StreamStatus {
                db: stream.db.clone(),
                name: stream.name.clone(),
                on: scope_text(&stream.scope),
                filter: stream.filter_text.clone(),
                paused: stream.paused_at.is_some(),
                events: counted.events,
                last_event_ms: counted.last_event_ms,
            }
        });
        let views = views.into_iter().map(|view| ViewStatus {
            state_bytes: view.state_bytes,
            state_rows: view.state_rows,
            state: super::system::view_state(&view),
            build: view.build,
            db: view.db,
            name: view.name,
            query: view.query,
            rows: view.rows,
            changes: view.counters.changes,
            failures: view.counters.failures,
            subscribers: view.subscribers,
            lag_ms: match view.build.is_some() || view.awaiting {
                true => 0,
                false => i64::from(applied.seconds().saturating_sub(view.position.seconds())) * 1000,
            },
            error: view.error,
            fields: view.fields,
        });
        Ok(Status {
            uptime_ms: self.clock().now_ms().saturating_sub(sql.started_ms).max(0) as u64,
            collections: self.store().catalog().all().count(),
            events: sql.events.load(Ordering::Relaxed),
            streams: streams.collect(),
            views: views.collect(),
            source: self.source().map(capture::Source::status),
            sinks: self.sink_status(),
        })
    }

    fn sink_status(&self) -> Vec<SinkStatus> {
        let now_ms = self.clock().now_ms();
        let status = |snapshot: crate::delivery::SinkSnapshot| {
            let (sink, report) = (&snapshot.sink, &snapshot.report);
            SinkStatus {
                db: sink.db.clone(),
                name: sink.name.clone(),
                source: sink.source.text(),
                target: sink.shown_target(),
                state: report.state.as_str(),
                delivered: report.total_delivered(),
                failures: report.numbers.failures,
                dead: report.numbers.dead,
                waiting: report.numbers.waiting,
                parked_keys: report.numbers.parked_keys,
                circuit_open: report.numbers.circuit_open,
                lag_ms: snapshot.lag_ms(now_ms),
                last_event_ms: report.last_event_ms,
                last_latency_ms: report.last_latency_ms,
                error: report.error.clone(),
            }
        };
        self.deliveries().snapshot().into_iter().map(status).collect()
    }

    /// A view's rows, then its changes.
    ///
    /// # Errors
    /// 42P01 if there is no such view.
    pub async fn follow_view(&self, db: &str, name: &str) -> std::result::Result<views::Subscription, SqlError> {
        self.sql().views.subscribe_view(db, name, true).await
    }

    /// Every change of a document or collection from now on.
    pub fn follow_changes(&self) -> ChangeFeed {
        ChangeFeed(self.hub().subscribe(LogFilter::everything_in(Scope::Cluster), None))
    }
}

fn summary(entry: &LogEntry) -> ChangeSummary {
    let event = Event::new(entry);
    let json = |doc: RawDoc<'_>| to_plain_string(Raw::Document(doc));
    let detail = match &entry.operation {
        Operation::Insert { document, .. } | Operation::Replace { document, .. } => Some(json(document.as_doc())),
        Operation::Update { .. } => event.updated_fields().map(json),
        _ => None,
    };
    ChangeSummary {
        wall_ms: entry.wall_ms,
        operation: event.operation_type(),
        namespace: entry.namespace.to_string(),
        key: event.document_key().and_then(|key| key.get("_id")).map(to_plain_string),
        detail,
    }
}
