//! The circuit breaker: a target that fails for many keys in a row, or cannot be reached, is left
//! alone for a while, then tried with one event.

use rustc_hash::FxHashSet;

use crate::policy::Policy;

/// Different keys that must fail, with no success between, to open the circuit. One poisoned key
/// fails as often as it likes and opens nothing.
const FAILING_KEYS: usize = 5;
/// The first wait of an open circuit when the policy's delay is shorter.
const MIN_OPEN_US: i64 = 100_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Circuit {
    /// Everything goes.
    #[default]
    Closed,
    /// Nothing goes until then (microseconds).
    Open { until_us: i64 },
    /// One event is under way to see.
    Trying,
}

#[derive(Debug, Default)]
pub struct Breaker {
    circuit: Circuit,
    failing: FxHashSet<u64>,
    /// How often it opened in a row.
    opened: u32,
}

impl Breaker {
    pub fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// How many events may start now; the caller starts them.
    pub fn admits(&self, now_us: i64) -> Admission {
        match self.circuit {
            Circuit::Closed => Admission::Any,
            Circuit::Open { until_us } if now_us >= until_us => Admission::One,
            Circuit::Open { .. } | Circuit::Trying => Admission::None,
        }
    }

    /// The event that `Admission::One` let through is under way.
    pub fn trying(&mut self) {
        self.circuit = Circuit::Trying;
    }

    pub fn succeeded(&mut self) {
        self.failing.clear();
        self.opened = 0;
        self.circuit = Circuit::Closed;
    }

    /// An event of this key failed.
    pub fn failed(&mut self, key: u64, now_us: i64, policy: &Policy) {
        self.failing.insert(key);
        if self.circuit == Circuit::Trying || self.failing.len() >= FAILING_KEYS {
            self.open(now_us, policy);
        }
    }

    /// The target could not be reached, or asked for a pause until `not_before_us`.
    pub fn unreachable(&mut self, now_us: i64, not_before_us: Option<i64>, policy: &Policy) {
        self.open(now_us, policy);
        if let (Circuit::Open { until_us }, Some(asked)) = (&mut self.circuit, not_before_us) {
            *until_us = (*until_us).max(asked);
        }
    }

    /// A trial that came to nothing: given back.
    pub fn gave_back(&mut self, now_us: i64) {
        if self.circuit == Circuit::Trying {
            self.circuit = Circuit::Open { until_us: now_us };
        }
    }

    fn open(&mut self, now_us: i64, policy: &Policy) {
        // Flights that were under way when it opened tell nothing new.
        if matches!(self.circuit, Circuit::Open { until_us } if until_us > now_us) {
            return;
        }
        let first = crate::policy::micros(policy.retry_delay).max(MIN_OPEN_US);
        let most = crate::policy::micros(policy.max_retry_delay).max(first);
        let wait = first.saturating_mul(1 << self.opened.min(16)).min(most);
        self.opened = self.opened.saturating_add(1);
        self.failing.clear();
        self.circuit = Circuit::Open { until_us: now_us.saturating_add(wait) };
    }
}

/// What the breaker lets start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Any,
    One,
    None,
}
