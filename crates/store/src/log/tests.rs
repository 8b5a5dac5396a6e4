//! Reading from any position, also inside a record.

use base::ClusterTime;

use crate::entry::{LogEntry, LogPosition};
use crate::testing::{self, Fixture, doc, orders};

/// Single inserts, a bulk that spans several records, and a transaction.
fn filled() -> Fixture {
    let fixture = testing::memory();
    for id in 0..3 {
        fixture.insert(&format!(r#"{{"_id": {id}}}"#)).unwrap();
    }
    fixture
        .write(|txn| {
            let orders = txn.ensure_collection(&orders())?;
            for id in 100..400 {
                let filler = "x".repeat(300);
                txn.insert(orders.id, doc(&format!(r#"{{"_id": {id}, "filler": "{filler}"}}"#)))?;
            }
            Ok(())
        })
        .unwrap();
    let mut transaction = fixture.store.begin().unwrap();
    for id in 500..510 {
        let insert = |txn: &mut crate::WriteTxn| {
            let orders = txn.ensure_collection(&orders())?;
            txn.insert(orders.id, doc(&format!(r#"{{"_id": {id}}}"#)))
        };
        transaction.statement(insert).unwrap();
    }
    transaction.commit(doc(r#"{"id": 1}"#), 1).wait().unwrap();
    fixture
}

fn positions(entries: impl Iterator<Item = crate::Result<LogEntry>>) -> Vec<LogPosition> {
    entries.map(|entry| entry.unwrap().position).collect()
}

#[test]
fn a_reader_sees_exactly_what_follows_its_position() {
    let fixture = filled();
    let store = &fixture.store;
    let all = positions(store.log(None, ClusterTime::MAX));
    assert_eq!(all.len(), 1 + 3 + 300 + 10);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    for (i, position) in all.iter().enumerate() {
        assert_eq!(positions(store.log(Some(*position), ClusterTime::MAX)), all[i + 1..]);
        let from: Vec<_> = all.iter().copied().filter(|other| other.time >= position.time).collect();
        assert_eq!(positions(store.log_from_time(position.time, ClusterTime::MAX)), from);
        let up_to: Vec<_> = all.iter().copied().filter(|other| other.time <= position.time).collect();
        assert_eq!(positions(store.log(None, position.time)), up_to);
    }
    let later = LogPosition { time: store.applied().next(), index: 0 };
    assert_eq!(positions(store.log(Some(later), ClusterTime::MAX)), []);
}
