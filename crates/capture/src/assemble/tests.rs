//! Commits stay whole however batches cut them.

use document::{Doc, DocBuf};
use store::{LogEntry, LogPosition, Namespace, Operation, TxnInfo};

use super::*;

fn event(time: u64, index: u32, in_transaction: bool) -> Captured {
    let txn = in_transaction.then(|| TxnInfo { lsid: DocBuf::default(), txn_number: 1, last: false });
    let entry = LogEntry {
        position: LogPosition { time: ClusterTime(time), index },
        wall_ms: 0,
        namespace: Namespace::new("shop", "orders"),
        collection: None,
        operation: Operation::Delete { key: Doc::new().with("_id", 1).to_buf(), before: None },
        txn,
        token: None,
    };
    Captured { entry, resume: DocBuf::default(), token: DocBuf::default(), exact: true }
}

/// `time.index`, with `!` for the last of a transaction.
fn shown(events: &[Captured]) -> String {
    let one = |captured: &Captured| {
        let LogPosition { time, index } = captured.entry.position;
        let last = captured.entry.txn.as_ref().is_some_and(|txn| txn.last);
        format!("{}.{index}{}", time.0, if last { "!" } else { "" })
    };
    events.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_single_write_does_not_wait() {
    let mut assembler = Assembler::default();
    assert_eq!(shown(&assembler.take(vec![event(5, 0, false)], BatchEnd::Drained)), "5.0");
    assert!(!assembler.is_holding());
}

#[test]
fn a_transaction_waits_until_something_says_that_it_is_whole() {
    let begin = || vec![event(4, 0, false), event(5, 0, true), event(5, 1, true)];
    let mut assembler = Assembler::default();
    assert_eq!(shown(&assembler.take(begin(), BatchEnd::Cut)), "4.0");
    assert_eq!(shown(&assembler.take(vec![event(5, 2, true)], BatchEnd::Cut)), "");
    assert_eq!(shown(&assembler.take(vec![], BatchEnd::Cut)), "5.0 5.1 5.2!");
    assert_eq!(shown(&assembler.take(begin(), BatchEnd::Drained)), "4.0");
    assert_eq!(shown(&assembler.take(vec![event(6, 0, false)], BatchEnd::Drained)), "5.0 5.1! 6.0");
    assert_eq!(shown(&assembler.take(begin(), BatchEnd::Complete(ClusterTime(5)))), "4.0 5.0 5.1!");
    assert_eq!(shown(&assembler.take(begin(), BatchEnd::Complete(ClusterTime(4)))), "4.0");
    assert!(assembler.is_holding());
    assert_eq!(shown(&assembler.flush()), "5.0 5.1!");
}

#[test]
fn a_bulk_insert_of_one_time_waits_too() {
    let mut assembler = Assembler::default();
    let bulk = vec![event(5, 0, false), event(5, 1, false)];
    assert_eq!(shown(&assembler.take(bulk, BatchEnd::Drained)), "");
    assert_eq!(
        shown(&assembler.take(vec![event(5, 2, false), event(6, 0, false)], BatchEnd::Drained)),
        "5.0 5.1 5.2 6.0"
    );
}
