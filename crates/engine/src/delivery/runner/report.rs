//! What a runner says of itself: the status in memory, the heartbeat on disk.

use base::ClusterTime;
use changes::ResumeToken;
use delivery::Position;
use document::{Doc, Value};

use super::super::journal::Heartbeat;
use super::super::status::{Numbers, State};
use super::Runner;

impl Runner {
    fn token(&self, low: Position) -> Option<String> {
        self.sink.reads_log().then(|| ResumeToken::high_water_mark(ClusterTime(low.time)).data())
    }

    fn numbers(&self) -> Numbers {
        let counters = self.scheduler.counters();
        Numbers {
            delivered: counters.delivered,
            failures: counters.failures,
            dead: counters.dead,
            skipped: counters.skipped,
            waiting: self.scheduler.unfinished() as u64,
            flying: self.scheduler.flying() as u64,
            parked_keys: self.scheduler.parked_len() as u64,
            circuit_open: self.scheduler.circuit() != delivery::Circuit::Closed,
        }
    }

    /// Updates the status that others look at.
    pub(super) fn report(&self) {
        let state = if self.paused { State::Paused } else { State::Running };
        let position = self.sink.reads_log().then(|| ClusterTime(self.scheduler.low().time));
        self.status.report(state, self.numbers(), position, self.now_us() / 1000);
    }

    /// The documents that people and drivers read.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let report = self.status.snapshot();
        let now = Value::Date(self.now_us() / 1000);
        let low = self.scheduler.low();
        let date = |ms: i64| if ms == 0 { Value::Null } else { Value::Date(ms) };
        let status = Doc::new()
            .with("_id", self.sink.full_name())
            .with("processorId", self.sink.full_name())
            .with("streamId", self.sink.source_name())
            .with("target", self.sink.shown_target())
            .with("status", report.state.as_str())
            .with("eventCount", report.total_delivered() as i64)
            .with("errorCount", report.numbers.failures as i64)
            .with("waiting", report.numbers.waiting as i64)
            .with("parkedKeys", report.numbers.parked_keys as i64)
            .with("lastEventAt", date(report.last_event_ms))
            .with("lastHeartbeat", now.clone())
            .with("lastError", report.error.map_or(Value::Null, Value::String));
        let token = self.token(low).map_or(Value::Null, |data| Value::Document(Doc::new().with("_data", data)));
        let token = Doc::new()
            .with("_id", self.sink.full_name())
            .with("streamId", self.sink.source_name())
            .with("processorId", self.sink.full_name())
            .with("resumeToken", token)
            .with("position", low.to_string())
            .with("lastUpdated", now);
        Heartbeat { status: status.to_buf(), token: token.to_buf() }
    }
}
