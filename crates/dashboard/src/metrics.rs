//! Prometheus text. Names follow the field's word, units last.

use std::fmt::Write;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::report::{Report, report};

/// All metrics at this moment.
pub async fn metrics(State(app): State<App>) -> Response {
    match report(&app.engine).await {
        Ok(report) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], render(&report)).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

fn render(report: &Report) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, f64)>| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    family("headwater_uptime_seconds", "gauge", "Time since the server started.", one(report.uptime_s as f64));
    family("headwater_changes_total", "counter", "Changes committed since the start.", one(report.events as f64));
    let streams = |value: fn(&crate::report::Stream) -> f64| {
        report.streams.iter().map(|s| (labels("stream", &s.db, &s.name), value(s))).collect()
    };
    family("headwater_stream_events_total", "counter", "Events of a change stream.", streams(|s| s.events as f64));
    let views = |value: fn(&crate::report::View) -> f64| {
        report.views.iter().map(|v| (labels("view", &v.db, &v.name), value(v))).collect()
    };
    family("headwater_view_rows", "gauge", "Rows of a view.", views(|v| v.rows as f64));
    family("headwater_view_changes_total", "counter", "Output deltas of a view.", views(|v| v.changes as f64));
    family("headwater_view_failures_total", "counter", "Input rows that failed.", views(|v| v.failures as f64));
    family("headwater_view_lag_seconds", "gauge", "How far a view is behind.", views(|v| v.lag_ms as f64 / 1000.0));
    family("headwater_view_subscribers", "gauge", "Subscribers of a view.", views(|v| v.subscribers as f64));
    family(
        "headwater_view_stopped",
        "gauge",
        "1 if a view stopped with an error.",
        views(|v| f64::from(u8::from(v.error.is_some()))),
    );
    family("headwater_view_state_bytes", "gauge", "Estimated memory of a view.", views(|v| v.state_bytes as f64));
    family("headwater_view_state_rows", "gauge", "Rows and entries that a view holds.", views(|v| v.state_rows as f64));
    let builds = |value: fn(&crate::report::Build) -> f64| {
        let building = report.views.iter().filter_map(|v| Some((v, v.build.as_ref()?)));
        building.map(|(v, build)| (labels("view", &v.db, &v.name), value(build))).collect()
    };
    family("headwater_view_build_ratio", "gauge", "How far a view's build is.", builds(|b| b.percent / 100.0));
    family("headwater_view_build_read", "gauge", "Events read by a view's build.", builds(|b| b.read as f64));
    family("headwater_view_build_total", "gauge", "Events to read by a view's build.", builds(|b| b.total as f64));
    let sinks = |value: fn(&crate::report::Sink) -> f64| {
        report.sinks.iter().map(|s| (labels("sink", &s.db, &s.name), value(s))).collect()
    };
    family("headwater_sink_delivered_total", "counter", "Events that a sink delivered.", sinks(|s| s.delivered as f64));
    family("headwater_sink_failures_total", "counter", "Attempts that failed.", sinks(|s| s.failures as f64));
    family("headwater_sink_dead_letters_total", "counter", "Events given up.", sinks(|s| s.dead as f64));
    family("headwater_sink_waiting", "gauge", "Events read and not finished.", sinks(|s| s.waiting as f64));
    family("headwater_sink_parked_keys", "gauge", "Keys behind a dead letter.", sinks(|s| s.parked_keys as f64));
    family(
        "headwater_sink_lag_seconds",
        "gauge",
        "Age of the oldest waiting event.",
        sinks(|s| s.lag_ms as f64 / 1000.0),
    );
    family(
        "headwater_sink_last_latency_seconds",
        "gauge",
        "From the last finished change to the end of its delivery.",
        sinks(|s| s.last_latency_ms as f64 / 1000.0),
    );
    family(
        "headwater_sink_circuit_open",
        "gauge",
        "1 while the target is left alone.",
        sinks(|s| f64::from(u8::from(s.circuit_open))),
    );
    family("headwater_sink_up", "gauge", "1 if the sink runs.", sinks(|s| f64::from(u8::from(s.state == "running"))));
    if let Some(source) = &report.source {
        let capturing = f64::from(u8::from(source.state == "capturing"));
        let live = source.mirrors.iter().filter(|mirror| mirror.state == "live").count();
        family("headwater_source_capturing", "gauge", "1 while changes are captured.", one(capturing));
        family("headwater_source_events_total", "counter", "Events captured.", one(source.events as f64));
        family("headwater_source_gaps_total", "counter", "Gaps in the history.", one(source.gaps as f64));
        family("headwater_source_cursors_total", "counter", "Cursors opened.", one(source.cursors_opened as f64));
        family(
            "headwater_source_lag_seconds",
            "gauge",
            "How far capturing is behind.",
            one(source.lag_ms as f64 / 1000.0),
        );
        family("headwater_source_mirrors_live", "gauge", "Mirrors that are complete.", one(live as f64));
        if let Some(window) = source.window_ms {
            let help = "For how long the source still has what has not been captured.";
            family("headwater_source_window_seconds", "gauge", help, one(window as f64 / 1000.0));
        }
    }
    out
}

/// Label values are escaped as the format asks.
fn labels(kind: &str, db: &str, name: &str) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{db=\"{}\",{kind}=\"{}\"}}", escape(db), escape(name))
}
