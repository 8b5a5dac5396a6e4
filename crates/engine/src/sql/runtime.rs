//! The SQL half of an open database: the view runtime, the definitions, and the thread that counts
//! and logs streams' events and lets go of log that no stream keeps any longer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, ClusterTime, Rate};
use capture::Source;
use changes::{Hub, LogFilter, LogSubscription, Scope};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use store::{LogEntry, Store};
use tokio::sync::oneshot;
use views::{StreamDefinition, Views, ViewsOptions};

use super::lag::LogCount;
use super::{definitions, interest};
use crate::{Error, Result};

/// How often the log's pins follow the streams' retention.
const REPIN_EVERY: Duration = Duration::from_secs(60);

/// Events of one stream since the database was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamCounters {
    pub events: u64,
    pub rate: Rate,
    /// Milliseconds since the epoch; 0 before the first.
    pub last_event_ms: i64,
    /// Events that the stream's filter failed on.
    pub errors: u64,
    pub last_error: Option<String>,
}

/// Newest events that streams took in, kept for `change_stream_processing_log`.
const PROCESSED_KEPT: usize = 20_000;

/// One event that a stream took in. Times are microseconds.
#[derive(Clone, Debug)]
pub(super) struct Processed {
    pub db: String,
    pub stream: String,
    pub collection: String,
    pub event_us: i64,
    /// When it reached the stream's readers.
    pub processed_us: i64,
    /// What the stream's filter took.
    pub duration_us: i64,
    pub error: Option<String>,
}

/// What the keeper has counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub streams: FxHashMap<(String, String), StreamCounters>,
    /// Everything up to here is in.
    pub up_to: ClusterTime,
}

type Counters = Arc<Mutex<Counted>>;
type ProcessingLog = Arc<Mutex<VecDeque<Processed>>>;

pub(crate) struct SqlRuntime {
    pub(super) views: Views,
    /// Held while definitions change, so that a statement sees the ones it builds on.
    pub(crate) ddl: tokio::sync::Mutex<()>,
    pub(super) started_ms: i64,
    /// Entries of the change log since the database was opened.
    pub(super) log: Arc<LogCount>,
    pub(super) counters: Counters,
    pub(super) processed: ProcessingLog,
    keeper: Mutex<Option<Keeper>>,
}

struct Keeper {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl SqlRuntime {
    /// Binds the stored definitions and brings their views up to date.
    pub fn open(store: &Store, hub: &Hub, source: Option<&Source>, clock: Arc<dyn Clock>) -> Result<Self> {
        let definitions = definitions::load_definitions(store).map_err(open_error)?;
        for stream in definitions.streams.values() {
            interest::want_stream(store, source, stream, true);
            pin(store, stream, clock.now_ms());
        }
        for view in definitions.views.values() {
            interest::want_plan(store, &view.plan, true);
        }
        let log = Arc::new(LogCount::default());
        let counted = Arc::clone(&log);
        store.on_durable(Box::new(move |entries, _| {
            // What sinks write about themselves is no event.
            let mut events = entries.iter().filter(|entry| !changes::scope::is_internal_db(&entry.namespace.db));
            if let (Some(first), Some(last)) = (events.next(), entries.last()) {
                counted.add(last.position.time, 1 + events.count() as u64, first.wall_ms);
            }
        }));
        let started_ms = clock.now_ms();
        let options = ViewsOptions { clock };
        let views = Views::open(store.clone(), hub.clone(), options, definitions).map_err(open_error)?;
        let counters = Counters::default();
        let processed = ProcessingLog::default();
        let keeper = start_keeper(hub, views.clone(), (Arc::clone(&counters), Arc::clone(&processed)))?;
        Ok(SqlRuntime {
            views,
            ddl: tokio::sync::Mutex::new(()),
            started_ms,
            log,
            counters,
            processed,
            keeper: Mutex::new(Some(keeper)),
        })
    }

    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    /// Ends subscriptions, writes the views' last checkpoint.
    pub fn close(&self) {
        if let Some(keeper) = self.keeper.lock().take() {
            let _ = keeper.stop.send(());
            let _ = keeper.thread.join();
        }
        self.views.close();
    }
}

impl Drop for SqlRuntime {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_error(error: ::sql::SqlError) -> Error {
    Error::unavailable(format!("the SQL catalogue cannot be opened: {}", error.message))
}

fn start_keeper(hub: &Hub, views: Views, tallies: (Counters, ProcessingLog)) -> Result<Keeper> {
    let (stop, stopped) = oneshot::channel();
    let log = hub.subscribe(LogFilter::everything_in(Scope::Cluster), None);
    let failed = |error: std::io::Error| Error::unavailable(format!("cannot start a thread for SQL: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
    let thread = std::thread::Builder::new()
        .name("sql-keeper".into())
        .spawn(move || runtime.block_on(keep(log, &views, &tallies, stopped)))
        .map_err(failed)?;
    Ok(Keeper { stop, thread })
}

async fn keep(
    mut log: LogSubscription,
    views: &Views,
    tallies: &(Counters, ProcessingLog),
    mut stopped: oneshot::Receiver<()>,
) {
    let mut repin = tokio::time::interval(REPIN_EVERY);
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            _ = repin.tick() => {
                let store = views.store();
                for stream in views.definitions().streams.values() {
                    pin(store, stream, store.clock().now_ms());
                }
            }
            batch = log.next(None) => match batch {
                Ok(batch) => {
                    count(&batch.entries, views, tallies);
                    tallies.0.lock().up_to = batch.up_to;
                }
                Err(error) => {
                    tracing::error!(%error, "the change log cannot be read; streams' events are no longer counted");
                    return;
                }
            },
        }
    }
}

fn count(entries: &[LogEntry], views: &Views, (counters, processed): &(Counters, ProcessingLog)) {
    let clock = views.store().clock();
    for (key, stream) in &views.definitions().streams {
        let mut found = StreamCounters::default();
        for entry in entries {
            let began_us = clock.now_us();
            let taken = stream.judge(entry, entry.wall_ms.saturating_mul(1000));
            if matches!(taken, Ok(false)) {
                continue;
            }
            match &taken {
                Ok(_) => {
                    found.events += 1;
                    found.last_event_ms = entry.wall_ms;
                }
                Err(error) => {
                    found.errors += 1;
                    found.last_error = Some(error.message.clone());
                }
            }
            let processed_us = clock.now_us();
            let event = Processed {
                db: stream.db.clone(),
                stream: stream.name.clone(),
                collection: entry.namespace.collection.to_string(),
                event_us: entry.wall_ms.saturating_mul(1000),
                processed_us,
                duration_us: processed_us.saturating_sub(began_us).max(0),
                error: taken.err().map(|error| error.message),
            };
            let mut processed = processed.lock();
            if processed.len() >= PROCESSED_KEPT {
                processed.pop_front();
            }
            processed.push_back(event);
        }
        if found.events + found.errors > 0 {
            let mut counters = counters.lock();
            let counter = counters.streams.entry(key.clone()).or_default();
            counter.events += found.events;
            counter.rate.add(found.events, clock.now_ms());
            counter.last_event_ms = counter.last_event_ms.max(found.last_event_ms);
            counter.errors += found.errors;
            counter.last_error = found.last_error.or(counter.last_error.take());
        }
    }
}

fn pin_name(db: &str, name: &str) -> String {
    format!("stream {db}.{name}")
}

/// Keeps the log from the stream's start on, or for as long as its retention says.
pub(super) fn pin(store: &Store, stream: &StreamDefinition, now_ms: i64) {
    let mut from = stream.start.next();
    if let Some(retention) = stream.retention_ms {
        let seconds = (now_ms.saturating_sub(retention) / 1000).clamp(0, i64::from(u32::MAX));
        from = from.max(ClusterTime::new(seconds as u32, 0));
    }
    store.pin_log(&pin_name(&stream.db, &stream.name), Some(from));
}

pub(super) fn unpin(store: &Store, db: &str, name: &str) {
    store.pin_log(&pin_name(db, name), None);
}
