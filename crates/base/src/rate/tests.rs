//! Rates of made-up seconds.

use super::*;

#[test]
fn a_steady_rate_is_seen_and_then_forgotten() {
    let mut rate = Rate::default();
    assert_eq!(rate.per_second(5), 0.0);
    let start = 1_700_000_000_000;
    for ms in (0..30_000).step_by(100) {
        rate.add(5, start + ms);
    }
    assert!((rate.per_second(start + 30_000) - 50.0).abs() < 6.0, "{}", rate.per_second(start + 30_000));
    // Half a window later half of it is left, then nothing.
    assert!((rate.per_second(start + 34_999) - 25.0).abs() < 6.0);
    assert_eq!(rate.per_second(start + 41_000), 0.0);
}

#[test]
fn a_young_counter_has_the_rate_of_its_own_life() {
    let mut rate = Rate::default();
    rate.add(10, 1_000_000);
    assert_eq!(rate.per_second(1_000_200), 10.0);
    assert_eq!(rate.per_second(1_002_000), 5.0);
}

#[test]
fn a_clock_that_jumps_back_loses_no_count() {
    let mut rate = Rate::default();
    rate.add(1, 50_000);
    rate.add(1, 20_000);
    assert_eq!(rate.per_second(20_000), 2.0);
}
