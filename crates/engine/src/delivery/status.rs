//! How a sink does, for whoever looks: SQL, metrics, the dashboard, the terminal.

use base::Rate;
use delivery::runner::{Numbers, Observer, Round};
use delivery::{Event, Position};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Before its first look at the source, or waiting for its target.
    #[default]
    Starting,
    Running,
    Paused,
    /// Another process of the group delivers it.
    Standby,
    /// With an error, until RESUME or REPLAY.
    Failed,
    /// The server stops.
    Ended,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Paused => "paused",
            State::Standby => "standby",
            State::Failed => "failed",
            State::Ended => "stopped",
        }
    }
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct SinkReport {
    pub state: State,
    pub numbers: Numbers,
    /// Of deliveries.
    pub rate: Rate,
    /// Everything before this is finished.
    pub low: Position,
    /// When the runner last went round, milliseconds since the epoch; 0 before the first time.
    pub heartbeat_ms: i64,
    /// When the oldest change happened that is read and not finished, milliseconds since the epoch.
    pub oldest_ms: Option<i64>,
    /// Delivered before this start.
    pub delivered_before: u64,
    /// When the last finished event happened, milliseconds since the epoch; 0 before the first.
    pub last_event_ms: i64,
    /// When it was finished.
    pub last_delivery_ms: i64,
    /// How long it took from the change to the end of its delivery.
    pub last_latency_ms: i64,
    /// Rows of the query that could not be made.
    pub rows_failed: u64,
    /// Which process of a group delivers it, under which fence; empty and 0 without a group.
    pub holder: String,
    pub fence: u64,
    /// The last thing that went wrong.
    pub error: Option<String>,
    pub error_ms: i64,
}

impl SinkReport {
    pub fn total_delivered(&self) -> u64 {
        self.delivered_before + self.numbers.delivered
    }
}

#[derive(Debug, Default)]
pub(super) struct SinkStatus(Mutex<SinkReport>);

impl SinkStatus {
    pub fn new(delivered_before: u64) -> Self {
        SinkStatus(Mutex::new(SinkReport { delivered_before, ..SinkReport::default() }))
    }

    pub fn snapshot(&self) -> SinkReport {
        self.0.lock().clone()
    }

    pub fn fail(&self, message: &str) {
        let mut report = self.0.lock();
        report.state = State::Failed;
        report.error = Some(message.to_owned());
    }

    pub fn ended(&self) {
        let mut report = self.0.lock();
        if report.state != State::Failed {
            report.state = State::Ended;
        }
    }

    /// Another process of the group delivers it, or nobody yet.
    pub fn stands_by(&self, holder: &str, fence: u64, delivered: u64) {
        let mut report = self.0.lock();
        report.state = State::Standby;
        report.numbers = Numbers::default();
        report.oldest_ms = None;
        (report.holder, report.fence, report.delivered_before) = (holder.to_owned(), fence, delivered);
    }

    /// This process delivers it from now on.
    pub fn holds(&self, holder: &str, fence: u64, delivered: u64) {
        let mut report = self.0.lock();
        report.state = State::Starting;
        report.error = None;
        (report.holder, report.fence, report.delivered_before) = (holder.to_owned(), fence, delivered);
    }
}

impl Observer for SinkStatus {
    fn report(&self, round: &Round) {
        let mut report = self.0.lock();
        if report.state != State::Failed {
            report.state = if round.paused { State::Paused } else { State::Running };
        }
        let delivered = round.numbers.delivered.saturating_sub(report.numbers.delivered);
        report.rate.add(delivered, round.now_ms);
        report.heartbeat_ms = round.now_ms;
        (report.numbers, report.low, report.oldest_ms) = (round.numbers, round.low, round.oldest_ms);
    }

    fn waits(&self, message: &str) {
        self.0.lock().error = Some(message.to_owned());
    }

    fn attempt_failed(&self, message: &str, now_ms: i64) {
        let mut report = self.0.lock();
        report.error = Some(message.to_owned());
        report.error_ms = now_ms;
    }

    fn rows_failed(&self, count: u64, message: Option<String>) {
        if count > 0 {
            let mut report = self.0.lock();
            report.rows_failed += count;
            report.error = message.or(report.error.take());
        }
    }

    fn concluded(&self, event: &Event, at_ms: i64) {
        let mut report = self.0.lock();
        report.last_event_ms = event.time_ms;
        report.last_delivery_ms = at_ms;
        report.last_latency_ms = at_ms.saturating_sub(event.time_ms).max(0);
    }
}
