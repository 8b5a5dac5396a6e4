//! Checkpoints that a disk refuses, and many that share a batch.

use std::sync::atomic::Ordering;

use super::*;
use crate::checkpoint::restore;
use crate::definition::Definitions;
use crate::testing::{Refusing, definition, feed, memory, sorted};
use crate::view::RunningView;

fn view(store: &Store, id: u64) -> RunningView {
    let text = "SELECT k, count(*) AS n FROM t GROUP BY k";
    RunningView::new(definition(store, &Definitions::default(), id, text), true).expect("a plan")
}

fn write(writer: &CheckpointWriter, views: &mut [RunningView]) -> Result<(), SqlError> {
    let checkpoints = views.iter_mut().map(Checkpoint::of).collect();
    writer.wait(|writer, done| writer.write(checkpoints, ClusterTime(1), done))
}

fn check_restored(store: &Store, view: &RunningView) {
    let mut found = self::view(store, view.definition.id);
    let records = crate::checkpoint::StoreRecords(store.clone());
    assert!(restore(store, &records, &mut found).expect("whole records"), "there is a checkpoint");
    assert_eq!(sorted(&found), sorted(view));
}

#[test]
fn what_was_refused_is_written_with_the_next() {
    for large in [false, true] {
        let store = memory();
        let refusing = Refusing::after(&store, usize::MAX);
        let writer = CheckpointWriter::start(store.clone(), refusing.clone()).expect("a thread");
        let mut views = [view(&store, 1)];
        let many = if large { 6000 } else { 60 };
        feed(&mut views[0], 0..many, 1);
        write(&writer, &mut views).expect("nothing refuses");
        // Refused at each step of the next one, and of the one after that.
        feed(&mut views[0], 0..many, 1);
        for batches in 0..4 {
            feed(&mut views[0], 0..many / 2, -1);
            feed(&mut views[0], many..many + 50 * batches as i64, 1);
            refusing.allow(if large { batches } else { 0 });
            write(&writer, &mut views).expect_err("the disk refuses");
            assert!(writer.has_failed(), "it will be tried again");
            if batches == 0 {
                feed(&mut views[0], 0..many / 2, 1);
            }
            feed(&mut views[0], 0..many / 2, 1);
        }
        refusing.allow(usize::MAX);
        write(&writer, &mut views).expect("nothing refuses");
        assert!(!writer.has_failed());
        check_restored(&store, &views[0]);
    }
}

#[test]
fn a_removal_that_was_refused_comes_before_the_next_checkpoint() {
    let store = memory();
    let refusing = Refusing::after(&store, usize::MAX);
    let writer = CheckpointWriter::start(store.clone(), refusing.clone()).expect("a thread");
    let mut old = [view(&store, 1)];
    feed(&mut old[0], 0..100, 1);
    write(&writer, &mut old).expect("nothing refuses");
    refusing.allow(0);
    writer.wait(|writer, done| writer.remove(1, done)).expect_err("the disk refuses");
    refusing.allow(usize::MAX);
    let mut new = [view(&store, 1)];
    feed(&mut new[0], 50..60, 1);
    write(&writer, &mut new).expect("nothing refuses");
    check_restored(&store, &new[0]);
}

#[test]
fn small_checkpoints_share_a_batch() {
    let store = memory();
    let refusing = Refusing::after(&store, usize::MAX);
    let writer = CheckpointWriter::start(store.clone(), refusing.clone()).expect("a thread");
    let mut views: Vec<RunningView> = (1..=40).map(|id| view(&store, id)).collect();
    views.iter_mut().for_each(|view| feed(view, 0..20, 1));
    write(&writer, &mut views).expect("nothing refuses");
    assert_eq!(refusing.written.load(Ordering::SeqCst), 1, "1,600 changes are one batch");
    views.iter().for_each(|view| check_restored(&store, view));
}
