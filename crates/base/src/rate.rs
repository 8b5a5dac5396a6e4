//! How many in a second, over the last few.

#[cfg(test)]
mod tests;

const SECONDS: i64 = 10;

/// Counts by the second and forgets what is older than ten of them. Times are milliseconds, of one
/// clock; one that jumps back makes a lower rate for a while, no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    counts: [u64; SECONDS as usize],
    /// The youngest second that has a count.
    youngest: i64,
    /// The first second of all.
    first: Option<i64>,
}

impl Rate {
    /// `count` more at this time.
    pub fn add(&mut self, count: u64, now_ms: i64) {
        let second = now_ms.div_euclid(1000).max(self.youngest);
        self.first.get_or_insert(second);
        self.forget(second);
        self.counts[second.rem_euclid(SECONDS) as usize] += count;
    }

    /// Per second, to a tenth: the mean since the first count, but over ten seconds at most.
    pub fn per_second(&self, now_ms: i64) -> f64 {
        let Some(first) = self.first else { return 0.0 };
        let mut seen = *self;
        let second = now_ms.div_euclid(1000).max(self.youngest);
        seen.forget(second);
        let began_ms = first.max(second - SECONDS + 1).saturating_mul(1000);
        let ms = now_ms.saturating_sub(began_ms).max(1000);
        (seen.counts.iter().sum::<u64>() as f64 * 10_000.0 / ms as f64).round() / 10.0
    }

    /// Makes `second` the youngest.
    fn forget(&mut self, second: i64) {
        let passed = second.saturating_sub(self.youngest);
        for gone in 0..passed.min(SECONDS) {
            self.counts[(second - gone).rem_euclid(SECONDS) as usize] = 0;
        }
        self.youngest = second;
    }
}
