//! The documents by which a sink says that it is alive, and how far it is.

use base::ClusterTime;
use changes::ResumeToken;
use delivery::Position;
use document::{Doc, Value};

use super::definition::SinkDefinition;
use super::journal::Heartbeat;
use super::status::SinkStatus;

/// What drivers and people read of a sink at this moment.
pub(super) fn heartbeat(sink: &SinkDefinition, status: &SinkStatus, low: Position, now_ms: i64) -> Heartbeat {
    let report = status.snapshot();
    let now = Value::Date(now_ms);
    let date = |ms: i64| if ms == 0 { Value::Null } else { Value::Date(ms) };
    let status = Doc::new()
        .with("_id", sink.full_name())
        .with("processorId", sink.full_name())
        .with("streamId", sink.source_name())
        .with("target", sink.shown_target())
        .with("status", report.state.as_str())
        .with("eventCount", report.total_delivered() as i64)
        .with("errorCount", report.numbers.failures as i64)
        .with("waiting", report.numbers.waiting as i64)
        .with("parkedKeys", report.numbers.parked_keys as i64)
        .with("lastEventAt", date(report.last_event_ms))
        .with("lastHeartbeat", now.clone())
        .with("lastError", report.error.map_or(Value::Null, Value::String));
    let token = sink.reads_log().then(|| ResumeToken::high_water_mark(ClusterTime(low.time)).data());
    let token = token.map_or(Value::Null, |data| Value::Document(Doc::new().with("_data", data)));
    let token = Doc::new()
        .with("_id", sink.full_name())
        .with("streamId", sink.source_name())
        .with("processorId", sink.full_name())
        .with("resumeToken", token)
        .with("position", low.to_string())
        .with("lastUpdated", now);
    Heartbeat { status: status.to_buf(), token: token.to_buf() }
}
