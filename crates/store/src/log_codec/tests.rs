//! What is decoded is what was encoded, and damage is an error.

use super::*;
use crate::testing::doc;

fn entries() -> Vec<LogEntry> {
    let image = |by_option| Some(PreImage { document: doc(r#"{"_id": 1, "old": true}"#), by_option });
    let key = doc(r#"{"_id": 1}"#);
    let operations = vec![
        Operation::Insert { key: key.clone(), document: doc(r#"{"_id": 1, "a": "x"}"#) },
        Operation::Update {
            key: key.clone(),
            description: doc(r#"{"updatedFields": {"a": 2}}"#),
            document: Some(doc(r#"{"_id": 1, "a": 2}"#)),
            before: image(true),
        },
        Operation::Update { key: key.clone(), description: DocBuf::default(), document: None, before: None },
        Operation::Corrected { key: key.clone(), document: None, before: Some(doc(r#"{"_id": 1}"#)) },
        Operation::Gap { from: ClusterTime::new(7, 1), reason: "the history is gone".into() },
        Operation::Replace { key: key.clone(), document: doc(r#"{"_id": 1}"#), before: image(false) },
        Operation::Delete { key, before: None },
        Operation::Create { description: DocBuf::default(), kind: CollectionKind::View },
        Operation::Drop,
        Operation::Rename { to: Namespace::new("b", "c"), dropped_target: Some(Uuid([9; 16])) },
        Operation::Rename { to: Namespace::new("b", "c"), dropped_target: None },
        Operation::DropDatabase,
        Operation::CreateIndexes { description: doc(r#"{"indexes": []}"#) },
        Operation::DropIndexes { description: doc(r#"{"indexes": []}"#) },
        Operation::Modify { description: doc(r#"{"a": 1}"#), before: doc(r#"{"b": 1}"#) },
    ];
    let entry = |(i, operation)| LogEntry {
        token: None,
        position: LogPosition { time: ClusterTime(1 << 40), index: i as u32 },
        wall_ms: -5,
        namespace: Namespace::new("db", if i % 2 == 0 { "even" } else { "odd" }),
        collection: (i % 3 == 0).then_some(Uuid([i as u8; 16])),
        operation,
        txn: (i % 4 == 0).then(|| TxnInfo { lsid: doc(r#"{"id": 1}"#), txn_number: -1, last: i == 8 }),
    };
    operations.into_iter().enumerate().map(entry).collect()
}

fn record() -> Vec<u8> {
    let mut record = Vec::new();
    entries().iter().for_each(|entry| append(&mut record, entry));
    record
}

#[test]
fn every_kind_of_entry_survives() {
    let mut reader = RecordReader::default();
    reader.refill(record().into());
    for expected in entries() {
        assert_eq!(reader.peek().unwrap(), Some(expected.position));
        assert_eq!(reader.next().unwrap(), Some(expected));
    }
    assert_eq!(reader.next().unwrap(), None);
}

#[test]
fn a_record_cut_anywhere_is_an_error_and_no_panic() {
    let record = record();
    for end in 0..record.len() {
        let mut reader = RecordReader::default();
        reader.refill(Bytes::copy_from_slice(&record[..end]));
        let mut read = 0;
        while let Ok(Some(_)) = reader.next() {
            read += 1;
        }
        assert!(read < entries().len());
    }
}
