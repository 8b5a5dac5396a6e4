//! How the database does: for the dashboard, metrics and whoever embeds it.

use ::sql::{Field, SqlError};
use base::ClusterTime;
use changes::{Event, LogFilter, LogSubscription, Scope};
use document::json::to_plain_string;
use document::{Raw, RawDoc};
use serde::Serialize;
use store::{LogEntry, Operation};
use views::StreamDefinition;

use super::lag::Lag;
use super::objects::scope_text;
use crate::delivery::SinkSnapshot;
use crate::{Error, Headwater, Result};

/// Everything at one moment. Times are milliseconds since the epoch, 0 for never; rates are events per
/// second over the last ten; a lag in events counts changes in the log that are not taken in yet (those
/// from before the database was opened apart), a lag in milliseconds says how old the first of them is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub now_ms: i64,
    pub uptime_ms: u64,
    pub collections: usize,
    /// Changes committed since the database was opened.
    pub events: u64,
    pub rate: f64,
    /// The oldest change that the log still has.
    pub log_from_ms: i64,
    pub streams: Vec<StreamStatus>,
    pub views: Vec<ViewStatus>,
    /// The deployment that changes are captured from.
    pub source: Option<capture::SourceStatus>,
    pub sinks: Vec<SinkStatus>,
}

/// A sink or handler.
#[derive(Clone, Debug, Serialize)]
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
    pub rate: f64,
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
    /// Changes (of a view: rows) after the position.
    pub lag_events: u64,
    /// How long the oldest unfinished change has been waiting.
    pub lag_ms: i64,
    pub last_event_ms: i64,
    /// When its runner last went round.
    pub heartbeat_ms: i64,
    /// From the last finished change to the end of its delivery.
    pub last_latency_ms: i64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StreamStatus {
    pub db: String,
    pub name: String,
    /// `db.collection`, `DATABASE db` or `CLUSTER`.
    pub on: String,
    pub filter: Option<String>,
    pub paused: bool,
    /// Since the database was opened.
    pub events: u64,
    pub rate: f64,
    /// Events that its filter failed on.
    pub errors: u64,
    pub last_error: Option<String>,
    pub last_event_ms: i64,
    pub lag_events: u64,
    pub lag_ms: i64,
    /// The oldest change that its readers can still get.
    pub kept_from_ms: i64,
    /// Until that change is let go; `None`: while the stream is there.
    pub retention_left_ms: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ViewStatus {
    pub db: String,
    pub name: String,
    pub query: String,
    /// Distinct rows.
    pub rows: usize,
    /// Input deltas since the database was opened.
    pub events: u64,
    pub rate: f64,
    /// Output deltas since the database was opened.
    pub changes: u64,
    /// Input rows whose evaluation failed.
    pub failures: u64,
    pub subscribers: usize,
    pub last_failure: Option<String>,
    pub last_event_ms: i64,
    pub lag_events: u64,
    pub lag_ms: i64,
    /// When its runtime last went round.
    pub heartbeat_ms: i64,
    pub error: Option<String>,
    pub fields: Vec<ColumnStatus>,
}

/// A column of a view.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnStatus {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub numeric: bool,
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
        let views = sql.views.status(false).await.map_err(|error| Error::unavailable(error.message))?;
        let now_ms = self.clock().now_ms();
        Ok(Status {
            now_ms,
            uptime_ms: now_ms.saturating_sub(sql.started_ms).max(0) as u64,
            collections: self.store().catalog().all().count(),
            events: sql.log.total(),
            rate: sql.log.rate(now_ms),
            log_from_ms: wall_ms(self.store().oldest_time()),
            streams: self.stream_status(),
            views: views.into_iter().map(|view| self.view_status(view)).collect(),
            source: self.source().map(capture::Source::status),
            sinks: self.sink_status(),
        })
    }

    pub(super) fn stream_status(&self) -> Vec<StreamStatus> {
        let sql = self.sql();
        let now_ms = self.clock().now_ms();
        let oldest = self.store().oldest_time();
        let counted = sql.counters.lock();
        let lag = sql.log.after(counted.up_to, now_ms);
        let status = |stream: &StreamDefinition| {
            let counters = counted.streams.get(&(stream.db.clone(), stream.name.clone())).cloned().unwrap_or_default();
            let kept_from_ms =
                wall_ms(stream.start.next().max(oldest)).max(now_ms - stream.retention_ms.unwrap_or(now_ms));
            StreamStatus {
                db: stream.db.clone(),
                name: stream.name.clone(),
                on: scope_text(&stream.scope),
                filter: stream.filter_text.clone(),
                paused: stream.paused_at.is_some(),
                events: counters.events,
                rate: counters.rate.per_second(now_ms),
                errors: counters.errors,
                last_error: counters.last_error,
                last_event_ms: counters.last_event_ms,
                lag_events: lag.events,
                lag_ms: lag.ms,
                kept_from_ms,
                retention_left_ms: stream.retention_ms.map(|kept| (kept_from_ms + kept - now_ms).max(0)),
            }
        };
        sql.views.definitions().streams.values().map(|stream| status(stream)).collect()
    }

    pub(super) fn view_status(&self, view: views::runtime::ViewStatus) -> ViewStatus {
        let now_ms = self.clock().now_ms();
        let lag = self.sql().log.after(view.position, now_ms);
        let column = |field: &Field| ColumnStatus {
            name: field.name.clone(),
            ty: field.ty.to_string(),
            numeric: field.ty.is_numeric(),
        };
        ViewStatus {
            db: view.db,
            name: view.name,
            query: view.query,
            rows: view.rows,
            events: view.counters.events,
            rate: view.counters.rate.per_second(now_ms),
            changes: view.counters.changes,
            failures: view.counters.failures,
            last_failure: view.counters.last_failure,
            last_event_ms: view.counters.last_event_ms,
            subscribers: view.subscribers,
            lag_events: lag.events,
            lag_ms: lag.ms,
            // It has just answered.
            heartbeat_ms: now_ms,
            error: view.error,
            fields: view.fields.iter().map(column).collect(),
        }
    }

    pub(super) fn sink_status(&self) -> Vec<SinkStatus> {
        let now_ms = self.clock().now_ms();
        let status = |snapshot: SinkSnapshot| {
            let lag = self.sink_lag(&snapshot, now_ms);
            let (sink, report) = (&snapshot.sink, &snapshot.report);
            SinkStatus {
                db: sink.db.clone(),
                name: sink.name.clone(),
                source: sink.source.text(),
                target: sink.shown_target(),
                state: report.state.as_str(),
                delivered: report.total_delivered(),
                rate: report.rate.per_second(now_ms),
                failures: report.numbers.failures,
                dead: report.numbers.dead,
                waiting: report.numbers.waiting,
                parked_keys: report.numbers.parked_keys,
                circuit_open: report.numbers.circuit_open,
                lag_events: lag.events,
                lag_ms: lag.ms,
                last_event_ms: report.last_event_ms,
                heartbeat_ms: report.heartbeat_ms,
                last_latency_ms: report.last_latency_ms,
                error: report.error.clone(),
            }
        };
        self.deliveries().snapshot().into_iter().map(status).collect()
    }

    /// How far a sink is behind: the log after its position, or the rows of its view that wait.
    pub(super) fn sink_lag(&self, snapshot: &SinkSnapshot, now_ms: i64) -> Lag {
        let ms = snapshot.lag_ms(now_ms);
        if !snapshot.sink.reads_log() {
            return Lag { events: snapshot.report.numbers.waiting, ms };
        }
        let lag = self.sql().log.after(ClusterTime(snapshot.report.low.time), now_ms);
        Lag { ms: lag.ms.max(ms), ..lag }
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

fn wall_ms(time: ClusterTime) -> i64 {
    i64::from(time.seconds()) * 1000
}
