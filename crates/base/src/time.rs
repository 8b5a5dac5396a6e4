//! Clocks, and the cluster time that orders every committed write.

use std::sync::atomic::{AtomicI64, Ordering};

/// A source of wall-clock time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since the Unix epoch, UTC.
    fn now_ms(&self) -> i64;

    /// Microseconds since the Unix epoch, UTC.
    fn now_us(&self) -> i64 {
        self.now_ms() * 1000
    }
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        self.now_us() / 1000
    }

    #[allow(clippy::disallowed_methods, reason = "the one door through which time enters")]
    fn now_us(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(elapsed) => i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// A clock that moves only when told to; for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now_ms` until it is moved.
    pub fn new(now_ms: i64) -> Self {
        ManualClock(AtomicI64::new(now_ms))
    }

    /// Moves the clock by `ms`, which may be negative.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// MongoDB's logical time: seconds since the epoch and an increment within that second, as
/// `seconds << 32 | increment`. Strictly increasing over the operations of one deployment.
///
/// The same 64 bits as a BSON Timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterTime(pub u64);

impl ClusterTime {
    pub const ZERO: ClusterTime = ClusterTime(0);
    pub const MAX: ClusterTime = ClusterTime(u64::MAX);

    pub fn new(seconds: u32, increment: u32) -> Self {
        ClusterTime(u64::from(seconds) << 32 | u64::from(increment))
    }

    pub fn seconds(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub fn increment(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// The next representable time.
    pub fn next(self) -> Self {
        ClusterTime(self.0.saturating_add(1))
    }

    /// The time of the next operation when the clock shows `now_ms`: later than `self`, and never
    /// running backwards when the clock does.
    pub fn tick(self, now_ms: i64) -> Self {
        let seconds = u32::try_from((now_ms / 1000).max(0)).unwrap_or(u32::MAX);
        self.next().max(ClusterTime::new(seconds, 1))
    }
}

impl std::fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.seconds(), self.increment())
    }
}
