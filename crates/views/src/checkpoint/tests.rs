//! A checkpoint of many batches that ends between any two of them.

use super::*;
use crate::definition::Definitions;
use crate::testing::{Refusing, definition, feed, memory, sorted};

const QUERY: &str = "SELECT k, count(*) AS n FROM t GROUP BY k";

fn fresh(store: &Store) -> RunningView {
    RunningView::new(definition(store, &Definitions::default(), 7, QUERY), true).expect("a plan")
}

/// What a process that starts now has.
fn restored(store: &Store) -> Option<RunningView> {
    let mut view = fresh(store);
    restore(store, &StoreRecords(store.clone()), &mut view).expect("whole records").then_some(view)
}

fn staged(store: &Store) -> usize {
    store.snapshot().expect("memory").records(SPACE, &key(7, b'w', &[])).count()
}

#[test]
fn whatever_batch_is_the_last_one_the_old_or_the_new_checkpoint_stands() {
    let mut outcomes = Vec::new();
    for batches in 0.. {
        let store = memory();
        let records = StoreRecords(store.clone());
        let mut view = fresh(&store);
        feed(&mut view, 0..100, 1);
        view.position = ClusterTime(5);
        Checkpoint::of(&mut view).write_first(&records).expect("nothing refuses");
        let old = sorted(&view);
        // New groups, changed ones, and some that go.
        feed(&mut view, 50..6000, 1);
        feed(&mut view, 0..20, -1);
        view.position = ClusterTime(9);
        let refusing = Refusing::after(&store, batches);
        let checkpoint = Checkpoint::of(&mut view);
        assert!(!checkpoint.is_small(), "more than one batch");
        let written = checkpoint.write_staged(&*refusing, 3);
        let restored = restored(&store).expect("one of both stands");
        let is_new = restored.position == ClusterTime(9);
        assert_eq!(sorted(&restored), if is_new { sorted(&view) } else { old.clone() }, "after {batches} batches");
        assert_eq!(staged(&store), 0, "what was staged is in its place or gone");
        // It goes on from there: its groups count on.
        let mut restored = restored;
        feed(&mut restored, [60], 1);
        let count = restored.rows.keys().find(|row| row[0] == sql::Datum::Int(60)).map(|row| row[1].clone());
        assert_eq!(count, Some(sql::Datum::Int(if is_new { 3 } else { 2 })), "after {batches} batches");
        outcomes.push(is_new);
        if written.is_ok() {
            break;
        }
    }
    let stands = outcomes.iter().position(|is_new| *is_new).expect("in the end it stands");
    assert!(stands >= 2 && outcomes.len() > stands + 2, "faults before and after it stands: {outcomes:?}");
    assert!(outcomes[stands..].iter().all(|is_new| *is_new), "what stands stays: {outcomes:?}");
}

#[test]
fn the_first_checkpoint_counts_only_when_it_is_whole() {
    for batches in 0.. {
        let store = memory();
        let mut view = fresh(&store);
        feed(&mut view, 0..6000, 1);
        view.position = ClusterTime(5);
        let refusing = Refusing::after(&store, batches);
        let written = write_built(&*refusing, &mut view, &|| Ok(()));
        let found = restored(&store);
        assert_eq!(found.is_some(), written.is_ok(), "after {batches} batches");
        if let Some(found) = found {
            assert!(batches > 2, "more than one batch and the position");
            assert_eq!(sorted(&found), sorted(&view));
            break;
        }
        // What is left goes, and then it can be written again.
        remove(&store, &StoreRecords(store.clone()), 7).expect("nothing refuses");
        assert_eq!(store.snapshot().expect("memory").records(SPACE, &7_u64.to_be_bytes()).count(), 0);
    }
}

#[test]
fn changes_keep_their_bytes_when_staged() {
    let changes = vec![(b"a".to_vec(), Some(vec![0; 300])), (vec![], Some(vec![])), (vec![1; 70_000], None)];
    assert_eq!(decode_changes(&encode_changes(&changes)), Some(changes.clone()));
    let encoded = encode_changes(&changes);
    assert_eq!(decode_changes(&encoded[..encoded.len() - 2]), None, "cut off");
}

#[test]
fn one_change_that_is_larger_than_a_batch_is_a_batch() {
    let changes =
        vec![(vec![1], Some(vec![0; 2 * BATCH_BYTES])), (vec![2], None), (vec![3], Some(vec![0; BATCH_BYTES]))];
    let sizes: Vec<usize> = batches(&changes).map(<[Change]>::len).collect();
    assert_eq!(sizes, [1, 1, 1]);
}
