//! Figures: one line each, value and unit.

use std::time::Duration;

/// Prints one figure.
pub fn report(name: &str, value: f64, unit: &str) {
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    println!("{name:<72} {value:>12.digits$} {unit}");
}

/// Prints how many of `count` passed in a second.
pub fn report_rate(name: &str, count: u64, took: Duration, unit: &str) {
    report(name, count as f64 / took.as_secs_f64(), unit);
}

/// Prints the middle and the hundredth worst of the samples.
pub fn report_latency(name: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    report(&format!("{name}, p50"), ms(percentile(samples, 50)), "ms");
    report(&format!("{name}, p99"), ms(percentile(samples, 99)), "ms");
}

/// Of sorted samples, by nearest rank.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    assert!(!sorted.is_empty(), "a percentile of nothing");
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
