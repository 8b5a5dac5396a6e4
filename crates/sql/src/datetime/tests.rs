//! The calendar against itself, and the corners of interval arithmetic.

use super::*;

#[test]
fn days_and_dates_are_inverse() {
    let mut day = MIN_DAY;
    while day < END_DAY {
        let (year, month, dom) = civil_from_days(day);
        assert_eq!(days_from_civil(year, month, dom), day);
        assert!((1..=days_in_month(year, month)).contains(&dom), "{year}-{month}-{dom}");
        day += 99_991;
    }
    assert_eq!(civil_from_days(0), (1970, 1, 1));
    assert_eq!(civil_from_days(-1), (1969, 12, 31));
    assert_eq!(days_from_civil(2000, 3, 1), 11_017);
}

#[test]
fn months_cut_the_day_to_the_months_last() {
    let at = |y, m, d| days_from_civil(y, m, d) * DAY_US;
    let month = Interval { months: 1, days: 0, microseconds: 0 };
    assert_eq!(add_interval(at(2024, 1, 31), &month), Ok(at(2024, 2, 29)));
    assert_eq!(add_interval(at(2023, 1, 31), &month), Ok(at(2023, 2, 28)));
    assert_eq!(add_interval(INFINITY, &month), Ok(INFINITY));
}

#[test]
fn a_day_in_a_zone_is_not_always_24_hours() {
    // 2024-03-09 12:00 in New York; the clocks go forward in the next night.
    let noon = days_from_civil(2024, 3, 9) * DAY_US + 17 * HOUR_US;
    let day = Interval { months: 0, days: 1, microseconds: 0 };
    assert_eq!(add_interval_in_zone(noon, &day, "America/New_York"), Ok(noon + 23 * HOUR_US));
    let hours = Interval { months: 0, days: 0, microseconds: 24 * HOUR_US };
    assert_eq!(add_interval_in_zone(noon, &hours, "America/New_York"), Ok(noon + 24 * HOUR_US));
}

#[test]
fn zones_beyond_the_tables_repeat_their_rules() {
    let far = days_from_civil(100_000, 7, 1) * DAY_US;
    assert_eq!(zone::offset_at(far, "Europe/Berlin"), Ok(7200));
    let local = zone::to_local(far, "Europe/Berlin").expect("in range");
    assert_eq!(zone::to_instant(local, "Europe/Berlin"), Ok(far));
}

#[test]
fn the_ends_of_time_are_errors() {
    let second = Interval { months: 0, days: 0, microseconds: SECOND_US };
    assert_eq!(add_interval(INFINITY - 1, &second).expect_err("past the end").code, "22008");
    let years = Interval { months: -12 * 7000, days: 0, microseconds: 0 };
    assert_eq!(add_interval(0, &years).expect_err("before the beginning").code, "22008");
}
