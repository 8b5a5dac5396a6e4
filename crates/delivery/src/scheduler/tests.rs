//! The scheduler's decisions, one at a time.

use std::time::Duration;

use super::*;

type Small = Scheduler<&'static str>;

fn policy() -> Policy {
    Policy { parallelism: 4, retry_delay: Duration::from_secs(1), max_retries: 2, ..Policy::default() }
}

fn scheduler(policy: Policy) -> Small {
    Scheduler::new(policy, 1, Position::at(1), [], [])
}

/// `time key`: the event's name is its time and key.
fn give(scheduler: &mut Small, events: &[(u64, &'static str)]) {
    for (time, name) in events {
        let key = Bytes::from_static(name.split_once(' ').map_or(*name, |(key, _)| key).as_bytes());
        let offer = Offer { position: Position::at(*time), key, bytes: 1, priority: 0, event: *name };
        scheduler.offer(offer, 0);
    }
}

fn polled(scheduler: &mut Small, now_us: i64) -> Vec<(u64, Vec<&'static str>)> {
    std::iter::from_fn(|| scheduler.poll(now_us)).map(|batch| (batch.number, batch.events)).collect()
}

const SECOND: i64 = 1_000_000;

#[test]
fn keys_fly_in_parallel_and_each_keeps_its_order() {
    let mut s = scheduler(policy());
    give(&mut s, &[(1, "a 1"), (2, "a 2"), (3, "b 1")]);
    let first = polled(&mut s, 0);
    assert_eq!(first, [(1, vec!["a 1"]), (2, vec!["b 1"])]);
    s.succeeded(2);
    assert_eq!(s.low(), Position::at(1), "the position stays before what is unfinished");
    assert_eq!(s.take_changes().progress.ledger_added, [Position::at(3)]);
    s.succeeded(1);
    assert_eq!(polled(&mut s, 0), [(3, vec!["a 2"])]);
    s.succeeded(3);
    let progress = s.take_changes().progress;
    assert_eq!(progress.low, Position::at(3).next());
    assert_eq!(progress.ledger_removed, [Position::at(3)]);
}

#[test]
fn what_was_finished_before_a_crash_is_not_delivered_again() {
    let mut s: Small = Scheduler::new(policy(), 1, Position::at(5), [Position::at(7)], []);
    give(&mut s, &[(4, "a"), (5, "b"), (6, "c"), (7, "d"), (8, "e")]);
    let names: Vec<_> = polled(&mut s, 0).into_iter().flat_map(|(_, names)| names).collect();
    assert_eq!(names, ["b", "c", "e"]);
}

#[test]
fn retries_wait_longer_each_time_then_the_letter_parks_its_key() {
    let mut s = scheduler(policy());
    give(&mut s, &[(1, "a 1"), (2, "a 2"), (3, "b")]);
    let fault = Fault::failed("no");
    let mut now = 0;
    for (attempt, least) in [(1, SECOND * 3 / 4), (2, SECOND * 3 / 2)] {
        let (number, events) = polled(&mut s, now).remove(0);
        assert_eq!(events, ["a 1"], "attempt {attempt}");
        s.failed(number, &fault, now);
        assert!(!polled(&mut s, now + least - 1).iter().any(|(_, events)| events == &["a 1"]));
        now += least * 2;
    }
    let (number, _) = polled(&mut s, now).remove(0);
    let given_up = s.failed(number, &fault, now);
    assert_eq!(given_up.iter().map(|outcome| (outcome.event, outcome.attempts)).collect::<Vec<_>>(), [("a 1", 3)]);
    give(&mut s, &[(4, "a 3")]);
    let letters: Vec<_> = s.take_changes().letters.into_iter().map(|letter| (letter.event, letter.state)).collect();
    use LetterState::{Dead, Waiting};
    assert_eq!(letters, [("a 1", Dead), ("a 2", Waiting), ("a 3", Waiting)]);
    assert_eq!(s.low(), Position::at(3), "b is under way, the letters are finished");
}

#[test]
fn letters_come_back_in_order_while_new_events_join_them() {
    let key = Bytes::from_static(b"a");
    let mut s: Small = Scheduler::new(policy(), 1, Position::at(9), [], [key.clone()]);
    let letter = |time, event| Offer { position: Position::at(time), key: key.clone(), bytes: 1, priority: 0, event };
    s.redrive(vec![letter(1, "a 1"), letter(2, "a 2")], 0);
    give(&mut s, &[(9, "a 3")]);
    assert_eq!(s.take_changes().letters.len(), 1);
    let (number, events) = polled(&mut s, 0).remove(0);
    assert_eq!(events, ["a 1"]);
    s.succeeded(number);
    let (number, events) = polled(&mut s, 0).remove(0);
    assert_eq!(events, ["a 2"]);
    s.succeeded(number);
    assert_eq!(s.take_changes().settled.len(), 2);
    assert!(!s.is_redriving(&key));
    s.redrive(vec![letter(9, "a 3")], 0);
    let (number, _) = polled(&mut s, 0).remove(0);
    s.succeeded(number);
    s.unpark(&key);
    give(&mut s, &[(10, "a 4")]);
    assert_eq!(polled(&mut s, 0).len(), 1);
}

#[test]
fn a_batch_that_fails_is_taken_apart() {
    let mut s = scheduler(Policy { batch_size: 10, ..policy() });
    give(&mut s, &[(1, "a"), (2, "b"), (3, "c")]);
    let (number, events) = polled(&mut s, 0).remove(0);
    assert_eq!(events, ["a", "b", "c"]);
    s.failed(number, &Fault::refused("one of you"), 0);
    let singles = polled(&mut s, 0);
    assert_eq!(singles.iter().map(|(_, events)| events.len()).collect::<Vec<_>>(), [1, 1, 1]);
    s.failed(singles[1].0, &Fault::refused("you"), 0);
    s.succeeded(singles[0].0);
    s.succeeded(singles[2].0);
    assert_eq!(s.take_changes().letters.len(), 1);
    assert_eq!(s.unfinished(), 0);
}

#[test]
fn an_unreachable_target_costs_no_attempts_and_opens_the_circuit() {
    let mut s = scheduler(policy());
    give(&mut s, &[(1, "a"), (2, "b")]);
    for now in [0, 10 * SECOND, 100 * SECOND, 1000 * SECOND, 10_000 * SECOND] {
        let batches = polled(&mut s, now);
        for (number, _) in &batches {
            s.failed(*number, &Fault::unreachable("down"), now);
        }
        assert!(s.poll(now).is_none(), "the circuit is open");
        assert!(s.deadline_us().is_some_and(|deadline| deadline > now));
    }
    let trial = polled(&mut s, 100_000 * SECOND);
    assert_eq!(trial.len(), 1, "one event looks whether the target is back");
    s.succeeded(trial[0].0);
    assert_eq!(polled(&mut s, 100_000 * SECOND).len(), 1);
    assert_eq!(s.take_changes().letters.len(), 0);
}

#[test]
fn an_event_that_is_always_asked_to_wait_does_not_hold_up_the_others() {
    let mut s = scheduler(Policy { parallelism: 1, ..policy() });
    give(&mut s, &[(1, "a"), (2, "b"), (3, "c")]);
    let mut done = Vec::new();
    for n in 0..200 {
        let now = n * SECOND / 10;
        for (number, events) in polled(&mut s, now) {
            match events[0] {
                "a" => drop(s.failed(number, &Fault::unreachable("503"), now)),
                other => {
                    s.succeeded(number);
                    done.push(other);
                }
            }
        }
    }
    assert_eq!(done, ["b", "c"]);
}

#[test]
fn one_poisoned_key_opens_no_circuit_but_five_do() {
    let mut s = scheduler(Policy { max_retries: 100, retry_delay: Duration::from_millis(1), ..policy() });
    give(&mut s, &[(1, "a")]);
    for n in 1..50 {
        // Past the longest delay.
        let now = n * 100 * SECOND;
        let (number, _) = polled(&mut s, now).remove(0);
        s.failed(number, &Fault::failed("no"), now);
        assert_eq!(s.circuit(), Circuit::Closed);
    }
    let mut s = scheduler(Policy { parallelism: 5, ..policy() });
    give(&mut s, &[(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]);
    for (number, _) in polled(&mut s, 0) {
        s.failed(number, &Fault::failed("no"), 0);
    }
    assert!(matches!(s.circuit(), Circuit::Open { .. }));
}

#[test]
fn priority_goes_first_and_the_oldest_still_gets_its_turn() {
    let mut s: Scheduler<u64> = Scheduler::new(Policy { parallelism: 1, ..policy() }, 1, Position::at(1), [], []);
    let offer = |time: u64, priority| Offer {
        position: Position::at(time),
        key: Bytes::copy_from_slice(&time.to_be_bytes()),
        bytes: 1,
        priority,
        event: time,
    };
    s.offer(offer(1, 0), 0);
    (2..=40).for_each(|time| {
        s.offer(offer(time, 5), 0);
    });
    let mut order = Vec::new();
    while let Some(batch) = s.poll(0) {
        order.extend(batch.events);
        s.succeeded(batch.number);
    }
    assert_eq!(order[0], 2);
    let turn = order.iter().position(|time| *time == 1).unwrap();
    assert!(turn > 0 && turn <= 8, "the low one came {turn}th");
}

#[test]
fn a_small_batch_waits_for_company_only_so_long() {
    let mut s = scheduler(Policy { batch_size: 3, batch_delay: Duration::from_millis(10), ..policy() });
    give(&mut s, &[(1, "a")]);
    assert!(s.poll(0).is_none());
    assert_eq!(s.deadline_us(), Some(10_000));
    assert_eq!(polled(&mut s, 10_000).len(), 1);
    give(&mut s, &[(2, "b"), (3, "c"), (4, "d")]);
    assert_eq!(polled(&mut s, 0).len(), 1, "a full batch does not wait");
}

#[test]
fn memory_is_bounded_by_events_bytes_and_ledger() {
    let mut s = scheduler(Policy { queue_events: 2, ..policy() });
    give(&mut s, &[(1, "a"), (2, "b")]);
    assert!(!s.wants_more());
    let mut s = scheduler(Policy { ledger_events: 2, ..policy() });
    give(&mut s, &[(1, "a"), (2, "b"), (3, "c")]);
    let batches = polled(&mut s, 0);
    s.succeeded(batches[1].0);
    assert!(s.wants_more());
    s.succeeded(batches[2].0);
    assert!(!s.wants_more());
    s.succeeded(batches[0].0);
    assert!(s.wants_more());
}

#[test]
fn a_full_ledger_is_read_past_after_a_restart() {
    let ledger = [Position::at(2), Position::at(3)];
    let mut s: Small = Scheduler::new(Policy { ledger_events: 2, ..policy() }, 1, Position::at(1), ledger, []);
    assert!(s.wants_more());
    give(&mut s, &[(1, "a"), (2, "b"), (3, "c")]);
    let (number, events) = polled(&mut s, 0).remove(0);
    assert_eq!(events, ["a"]);
    s.succeeded(number);
    assert_eq!(s.low(), Position::at(3).next());
}

#[test]
fn a_sink_that_stops_at_errors_keeps_its_position() {
    let mut s = scheduler(Policy { on_death: OnDeath::Stop, ..policy() });
    give(&mut s, &[(1, "a"), (2, "b")]);
    let batches = polled(&mut s, 0);
    s.failed(batches[0].0, &Fault::refused("never"), 0);
    s.succeeded(batches[1].0);
    assert_eq!(s.stopped(), Some("never"));
    assert_eq!(s.low(), Position::at(1));
    assert!(s.poll(SECOND).is_none());
}

#[test]
fn what_comes_after_a_skipped_event_waits_until_the_skip_is_written() {
    let mut s = scheduler(Policy { on_death: OnDeath::Skip, ..policy() });
    give(&mut s, &[(1, "a 1")]);
    let (number, _) = polled(&mut s, 0).remove(0);
    s.failed(number, &Fault::refused("never"), 0);
    // The lane was empty by then; a crash now would bring the first event back after the second.
    give(&mut s, &[(2, "a 2")]);
    assert_eq!(polled(&mut s, 0), []);
    s.take_changes();
    assert_eq!(polled(&mut s, 0), []);
    s.changes_written();
    assert_eq!(polled(&mut s, 0).remove(0).1, ["a 2"]);
}
