//! The status as the page and scripts read it.

use engine::{Error, Headwater};
use serde::Serialize;

/// Everything at one moment. Times are milliseconds since the epoch, lags milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub uptime_s: u64,
    pub collections: usize,
    /// Changes since the server started.
    pub events: u64,
    /// How far the slowest view is behind the log.
    pub lag_ms: i64,
    /// Filled in by the feed, which sees two moments.
    pub rate: f64,
    pub streams: Vec<Stream>,
    pub views: Vec<View>,
    /// The deployment that changes are captured from.
    pub source: Option<Source>,
    pub sinks: Vec<Sink>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Source {
    pub uri: String,
    pub state: &'static str,
    pub problem: Option<String>,
    pub cluster: String,
    pub version: String,
    pub events: u64,
    pub gaps: u64,
    pub cursors_opened: u64,
    pub lag_ms: i64,
    pub window_ms: Option<i64>,
    pub mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Mirror {
    pub db: String,
    pub collection: String,
    pub state: &'static str,
    pub loaded: u64,
    pub estimated: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Sink {
    pub db: String,
    pub name: String,
    pub source: String,
    pub target: String,
    pub state: &'static str,
    pub delivered: u64,
    pub rate: f64,
    pub failures: u64,
    pub dead: u64,
    pub waiting: u64,
    pub parked_keys: u64,
    pub circuit_open: bool,
    pub lag_ms: i64,
    pub last_event_ms: i64,
    pub last_latency_ms: i64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Stream {
    pub db: String,
    pub name: String,
    pub on: String,
    pub filter: Option<String>,
    pub paused: bool,
    pub events: u64,
    pub rate: f64,
    pub last_event_ms: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct View {
    pub db: String,
    pub name: String,
    pub query: String,
    pub rows: usize,
    pub state_bytes: usize,
    pub state_rows: usize,
    /// `running`, `stopped`, `building` or `waiting`.
    pub state: &'static str,
    pub build: Option<Build>,
    pub changes: u64,
    pub failures: u64,
    pub subscribers: usize,
    pub lag_ms: i64,
    pub error: Option<String>,
    pub fields: Vec<Field>,
}

/// How far a view's first build is.
#[derive(Clone, Debug, Serialize)]
pub struct Build {
    pub phase: &'static str,
    pub read: u64,
    pub total: u64,
    pub percent: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub numeric: bool,
}

/// Asks the engine.
pub async fn report(engine: &Headwater) -> Result<Report, Error> {
    let status = engine.status().await?;
    let streams = status.streams.into_iter().map(|s| Stream {
        db: s.db,
        name: s.name,
        on: s.on,
        filter: s.filter,
        paused: s.paused,
        events: s.events,
        rate: 0.0,
        last_event_ms: s.last_event_ms,
    });
    let views = status.views.into_iter().map(|v| View {
        fields: v
            .fields
            .iter()
            .map(|f| Field { name: f.name.clone(), ty: f.ty.to_string(), numeric: f.ty.is_numeric() })
            .collect(),
        db: v.db,
        name: v.name,
        query: v.query,
        rows: v.rows,
        state_bytes: v.state_bytes,
        state_rows: v.state_rows,
        state: v.state,
        build: v.build.map(|build| Build {
            phase: build.phase.as_str(),
            read: build.read,
            total: build.total,
            percent: build.percent(),
        }),
        changes: v.changes,
        failures: v.failures,
        subscribers: v.subscribers,
        lag_ms: v.lag_ms,
        error: v.error,
    });
    let sinks = status.sinks.into_iter().map(|s| Sink {
        db: s.db,
        name: s.name,
        source: s.source,
        target: s.target,
        state: s.state,
        delivered: s.delivered,
        rate: 0.0,
        failures: s.failures,
        dead: s.dead,
        waiting: s.waiting,
        parked_keys: s.parked_keys,
        circuit_open: s.circuit_open,
        lag_ms: s.lag_ms,
        last_event_ms: s.last_event_ms,
        last_latency_ms: s.last_latency_ms,
        error: s.error,
    });
    let views: Vec<View> = views.collect();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: status.uptime_ms / 1000,
        collections: status.collections,
        events: status.events,
        lag_ms: views.iter().map(|v| v.lag_ms).max().unwrap_or(0),
        rate: 0.0,
        streams: streams.collect(),
        views,
        source: status.source.map(source),
        sinks: sinks.collect(),
    })
}

fn source(status: engine::SourceStatus) -> Source {
    let mirror = |mirror: engine::MirrorStatus| Mirror {
        db: mirror.db,
        collection: mirror.collection,
        state: mirror.state.as_str(),
        loaded: mirror.loaded,
        estimated: mirror.estimated,
    };
    Source {
        uri: status.uri,
        state: status.state.as_str(),
        problem: status.problem,
        cluster: status.cluster,
        version: status.version,
        events: status.events,
        gaps: status.gaps,
        cursors_opened: status.cursors_opened,
        lag_ms: status.lag_ms,
        window_ms: status.window_ms,
        mirrors: status.mirrors.into_iter().map(mirror).collect(),
    }
}

impl Report {
    /// Fills the rates from an earlier report, `seconds` ago.
    pub fn since(&mut self, earlier: &Report, seconds: f64) {
        let rate = |now: u64, then: u64| ((now.saturating_sub(then)) as f64 / seconds * 10.0).round() / 10.0;
        self.rate = rate(self.events, earlier.events);
        for stream in &mut self.streams {
            let then = earlier.streams.iter().find(|s| s.db == stream.db && s.name == stream.name);
            stream.rate = rate(stream.events, then.map_or(stream.events, |s| s.events));
        }
        for sink in &mut self.sinks {
            let then = earlier.sinks.iter().find(|s| s.db == sink.db && s.name == sink.name);
            sink.rate = rate(sink.delivered, then.map_or(sink.delivered, |s| s.delivered));
        }
    }
}
