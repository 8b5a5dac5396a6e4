//! How a sink tries, waits and gives up.

use std::time::Duration;

use base::random::Random;

/// What becomes of an event whose retries are used up, or that the target refuses for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeath {
    /// It becomes a dead letter; later events of its key wait behind it.
    #[default]
    Park,
    /// It is left out and counted.
    Skip,
    /// The sink stops before it.
    Stop,
}

/// A sink's limits. The defaults are the documented ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Attempts after the first.
    pub max_retries: u32,
    /// Before the first retry; doubled for each further one.
    pub retry_delay: Duration,
    pub max_retry_delay: Duration,
    /// Of one attempt.
    pub timeout: Duration,
    /// Batches under way at once.
    pub parallelism: usize,
    /// Events of a batch, at most.
    pub batch_size: usize,
    /// Bytes of a batch, at most; a larger event travels alone.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub batch_delay: Duration,
    pub on_death: OnDeath,
    /// Events held in memory, at most.
    pub queue_events: usize,
    /// Bytes held in memory before the source is no longer read.
    pub queue_bytes: usize,
    /// Finished events above the position, at most, before the source is no longer read.
    pub ledger_events: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            max_retries: 3,
            retry_delay: Duration::from_secs(1),
            max_retry_delay: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            parallelism: 32,
            batch_size: 1,
            batch_bytes: 1024 * 1024,
            batch_delay: Duration::ZERO,
            on_death: OnDeath::Park,
            queue_events: 10_000,
            queue_bytes: 16 * 1024 * 1024,
            ledger_events: 200_000,
        }
    }
}

impl Policy {
    /// The wait before retry number `attempt` (from 1): exponential, with up to a quarter more or
    /// less, so that what failed together does not come back together. Microseconds.
    pub fn delay_us(&self, attempt: u32, random: &mut Random) -> i64 {
        let doubled = self.retry_delay.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let capped = doubled.min(self.max_retry_delay.max(self.retry_delay));
        let spread = 0.75 + random.unit() / 2.0;
        (micros(capped) as f64 * spread) as i64
    }
}

/// Microseconds of a duration, as timestamps count.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}
