//! Lags of made-up histories.

use super::*;

fn time(n: u64) -> ClusterTime {
    ClusterTime(n)
}

#[test]
fn a_lag_is_what_was_committed_after_a_position() {
    let count = LogCount::default();
    assert_eq!(count.after(time(0), 5000), Lag::default());
    count.add(time(10), 3, 1000);
    count.add(time(20), 2, 2000);
    assert_eq!(count.total(), 5);
    assert_eq!(count.after(time(0), 5000), Lag { events: 5, ms: 4000 });
    assert_eq!(count.after(time(10), 5000), Lag { events: 2, ms: 3000 });
    // Within a group: all of it.
    assert_eq!(count.after(time(15), 5000), Lag { events: 2, ms: 3000 });
    assert_eq!(count.after(time(20), 5000), Lag::default());
}

#[test]
fn a_long_history_is_remembered_coarsely_and_never_too_little_is_said() {
    let count = LogCount::default();
    let groups = 10 * MARKS as u64;
    for n in 1..=groups {
        count.add(time(n), 1, n as i64);
    }
    assert!(count.0.lock().marks.len() < 2 * MARKS);
    for position in [0, 1, groups / 2, groups - 1000, groups - 10, groups - 1, groups] {
        let lag = count.after(time(position), groups as i64);
        let exact = groups - position;
        assert!(lag.events >= exact, "{position}: {lag:?}");
        let allowed = if exact < MARKS as u64 / 2 { 0 } else { exact / 100 };
        assert!(lag.events - exact <= allowed, "{position}: {lag:?}");
    }
}
