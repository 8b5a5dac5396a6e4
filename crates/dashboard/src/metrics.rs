//! Prometheus text. Names follow the field's word, units last.

use std::fmt::Write;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{MirrorState, SinkStatus, SourceState, Status, StreamStatus, ViewStatus};

use crate::App;

/// All metrics at this moment.
pub async fn metrics(State(app): State<App>) -> Response {
    match app.engine.status().await {
        Ok(status) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], render(&status)).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

fn render(status: &Status) -> String {
    let mut text = Text(String::new());
    let seconds = |ms: i64| ms as f64 / 1000.0;
    text.one("headwater_uptime_seconds", "gauge", "Time since the server started.", status.uptime_ms as f64 / 1000.0);
    text.one("headwater_changes_total", "counter", "Changes committed since the start.", status.events as f64);
    text.one("headwater_log_from_seconds", "gauge", "When the log's oldest change was.", seconds(status.log_from_ms));

    let streams: Vec<_> = status.streams.iter().map(|s| (labels("stream", &s.db, &s.name), s)).collect();
    let mut of = |name, kind, help, value: fn(&StreamStatus) -> f64| text.family(name, kind, help, &streams, value);
    of("headwater_stream_events_total", "counter", "Events of a change stream.", |s| s.events as f64);
    of("headwater_stream_errors_total", "counter", "Events that its filter failed on.", |s| s.errors as f64);
    of("headwater_stream_lag_events", "gauge", "Changes that it has not seen.", |s| s.lag_events as f64);
    of("headwater_stream_lag_seconds", "gauge", "Age of the first of them.", |s| s.lag_ms as f64 / 1000.0);
    of("headwater_stream_last_event_seconds", "gauge", "When its last event was.", |s| s.last_event_ms as f64 / 1000.0);
    of("headwater_stream_kept_from_seconds", "gauge", "Its oldest readable change.", |s| {
        s.kept_from_ms as f64 / 1000.0
    });

    let views: Vec<_> = status.views.iter().map(|v| (labels("view", &v.db, &v.name), v)).collect();
    let mut of = |name, kind, help, value: fn(&ViewStatus) -> f64| text.family(name, kind, help, &views, value);
    of("headwater_view_rows", "gauge", "Rows of a view.", |v| v.rows as f64);
    of("headwater_view_events_total", "counter", "Input deltas of a view.", |v| v.events as f64);
    of("headwater_view_changes_total", "counter", "Output deltas of a view.", |v| v.changes as f64);
    of("headwater_view_failures_total", "counter", "Input rows that failed.", |v| v.failures as f64);
    of("headwater_view_lag_events", "gauge", "Changes that a view has not taken in.", |v| v.lag_events as f64);
    of("headwater_view_lag_seconds", "gauge", "Age of the first of them.", |v| v.lag_ms as f64 / 1000.0);
    of("headwater_view_last_event_seconds", "gauge", "When its last event was.", |v| v.last_event_ms as f64 / 1000.0);
    of("headwater_view_subscribers", "gauge", "Subscribers of a view.", |v| v.subscribers as f64);
    of("headwater_view_stopped", "gauge", "1 if a view stopped with an error.", |v| flag(v.error.is_some()));

    let sinks: Vec<_> = status.sinks.iter().map(|s| (labels("sink", &s.db, &s.name), s)).collect();
    let mut of = |name, kind, help, value: fn(&SinkStatus) -> f64| text.family(name, kind, help, &sinks, value);
    of("headwater_sink_delivered_total", "counter", "Events that a sink delivered.", |s| s.delivered as f64);
    of("headwater_sink_failures_total", "counter", "Attempts that failed.", |s| s.failures as f64);
    of("headwater_sink_dead_letters_total", "counter", "Events given up.", |s| s.dead as f64);
    of("headwater_sink_waiting", "gauge", "Events read and not finished.", |s| s.waiting as f64);
    of("headwater_sink_parked_keys", "gauge", "Keys behind a dead letter.", |s| s.parked_keys as f64);
    of("headwater_sink_lag_events", "gauge", "Changes after a sink's position.", |s| s.lag_events as f64);
    of("headwater_sink_lag_seconds", "gauge", "Age of the first of them.", |s| s.lag_ms as f64 / 1000.0);
    of("headwater_sink_last_event_seconds", "gauge", "When its last event was.", |s| s.last_event_ms as f64 / 1000.0);
    of("headwater_sink_heartbeat_seconds", "gauge", "When it last went round.", |s| s.heartbeat_ms as f64 / 1000.0);
    let help = "From the last finished change to the end of its delivery.";
    of("headwater_sink_last_latency_seconds", "gauge", help, |s| s.last_latency_ms as f64 / 1000.0);
    of("headwater_sink_circuit_open", "gauge", "1 while the target is left alone.", |s| flag(s.circuit_open));
    of("headwater_sink_up", "gauge", "1 if the sink runs.", |s| flag(s.state == "running"));

    if let Some(source) = &status.source {
        let live = source.mirrors.iter().filter(|mirror| mirror.state == MirrorState::Live).count();
        let capturing = flag(source.state == SourceState::Capturing);
        text.one("headwater_source_capturing", "gauge", "1 while changes are captured.", capturing);
        text.one("headwater_source_events_total", "counter", "Events captured.", source.events as f64);
        text.one("headwater_source_gaps_total", "counter", "Gaps in the history.", source.gaps as f64);
        text.one("headwater_source_cursors_total", "counter", "Cursors opened.", source.cursors_opened as f64);
        text.one("headwater_source_lag_seconds", "gauge", "How far capturing is behind.", seconds(source.lag_ms));
        text.one("headwater_source_mirrors_live", "gauge", "Mirrors that are complete.", live as f64);
        if let Some(window) = source.window_ms {
            let help = "For how long the source still has what has not been captured.";
            text.one("headwater_source_window_seconds", "gauge", help, seconds(window));
        }
    }
    text.0
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn family<T>(&mut self, name: &str, kind: &str, help: &str, all: &[(String, &T)], value: fn(&T) -> f64) {
        self.head(name, kind, help);
        for (labels, item) in all {
            let _ = writeln!(self.0, "{name}{labels} {}", value(item));
        }
    }
}

/// Label values are escaped as the format asks.
fn labels(kind: &str, db: &str, name: &str) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{db=\"{}\",{kind}=\"{}\"}}", escape(db), escape(name))
}
