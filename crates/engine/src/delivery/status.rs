//! How a sink does, for whoever looks: SQL, metrics, the dashboard, the terminal.

use base::{ClusterTime, Rate};
use delivery::Event;
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Before its first look at the source, or waiting for its target.
    #[default]
    Starting,
    Running,
    Paused,
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
            State::Failed => "failed",
            State::Ended => "stopped",
        }
    }
}

/// Counted by the scheduler since the sink was started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    pub delivered: u64,
    /// Attempts that failed.
    pub failures: u64,
    pub dead: u64,
    pub skipped: u64,
    /// Read and not finished.
    pub waiting: u64,
    /// Batches under way.
    pub flying: u64,
    /// Keys with dead letters.
    pub parked_keys: u64,
    pub circuit_open: bool,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct SinkReport {
    pub state: State,
    pub numbers: Numbers,
    /// Of deliveries.
    pub rate: Rate,
    /// Everything in the log before this is finished; `None` if the sink does not read the log.
    pub position: Option<ClusterTime>,
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

    /// A round of the runner at `now_ms`.
    pub fn report(&self, state: State, numbers: Numbers, position: Option<ClusterTime>, now_ms: i64) {
        let mut report = self.0.lock();
        let delivered = numbers.delivered.saturating_sub(report.numbers.delivered);
        report.rate.add(delivered, now_ms);
        report.heartbeat_ms = now_ms;
        report.position = position;
        if report.state != State::Failed {
            report.state = state;
        }
        report.numbers = numbers;
        // Cluster time is wall time to the second, which is what a lag needs to be known to.
        let waits = position.filter(|_| numbers.waiting > 0);
        report.oldest_ms = waits.map(|low| i64::from(low.seconds()) * 1000);
    }

    pub fn fail(&self, message: &str) {
        let mut report = self.0.lock();
        report.state = State::Failed;
        report.error = Some(message.to_owned());
    }

    /// The target cannot be reached yet.
    pub fn waits(&self, message: &str) {
        self.0.lock().error = Some(message.to_owned());
    }

    pub fn ended(&self) {
        let mut report = self.0.lock();
        if report.state != State::Failed {
            report.state = State::Ended;
        }
    }

    pub fn attempt_failed(&self, message: &str, now_ms: i64) {
        let mut report = self.0.lock();
        report.error = Some(message.to_owned());
        report.error_ms = now_ms;
    }

    pub fn rows_failed(&self, count: u64, message: Option<String>) {
        if count > 0 {
            let mut report = self.0.lock();
            report.rows_failed += count;
            report.error = message.or(report.error.take());
        }
    }

    pub fn concluded(&self, event: &Event, at_ms: i64) {
        let mut report = self.0.lock();
        report.last_event_ms = event.time_ms;
        report.last_delivery_ms = at_ms;
        report.last_latency_ms = at_ms.saturating_sub(event.time_ms).max(0);
    }
}
