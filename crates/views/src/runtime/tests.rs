//! The runtime with a disk that refuses or stands still, and with statements at the same instant.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::*;
use crate::checkpoint::Change;
use crate::checkpoint::StoreRecords;
use crate::testing::{self, Refusing, definition, insert, memory, with_stream};

const COUNTS: &str = "SELECT full_document->>'k' AS k, count(*) AS n FROM CHANGE_STREAM('s') GROUP BY 1";

fn open(store: &Store, definitions: Definitions, records: Option<Arc<dyn Records>>) -> Views {
    let options = ViewsOptions { clock: Arc::clone(store.clock()), records };
    Views::open(store.clone(), Hub::start(Arc::new(store.clone())), options, definitions).expect("a thread")
}

fn with_view(store: &Store, id: u64, text: &str) -> Definitions {
    let mut definitions = with_stream(None);
    let view = definition(store, &definitions, id, text);
    definitions.views.insert(("shop".into(), view.name.clone()), view);
    definitions
}

async fn rows(views: &Views, name: &str) -> Vec<(String, i64)> {
    let read = views.read(vec![("shop".into(), name.into())], views.store().durable()).await.expect("a running view");
    let text = |row: &Row| match (&row[0], &row[1]) {
        (sql::Datum::Text(k), sql::Datum::Int(n)) => (k.to_string(), *n),
        other => panic!("unexpected {other:?}"),
    };
    let mut rows: Vec<_> = read.views[0].rows.iter().map(|(row, _)| text(row)).collect();
    rows.sort();
    rows
}

fn counted(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect()
}

/// Records that wait until they may be written.
#[derive(Debug)]
struct Gated {
    records: StoreRecords,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gated {
    fn closed(store: &Store) -> Arc<Self> {
        Arc::new(Gated { records: StoreRecords(store.clone()), open: Mutex::new(false), opened: Condvar::new() })
    }

    fn open(&self) {
        *self.open.lock() = true;
        self.opened.notify_all();
    }
}

impl Records for Gated {
    fn write(&self, changes: Arc<Vec<Change>>) -> Result<(), SqlError> {
        let mut open = self.open.lock();
        while !*open {
            self.opened.wait(&mut open);
        }
        drop(open);
        self.records.write(changes)
    }
}

async fn until(mut met: impl FnMut() -> bool) {
    while !met() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_refused_checkpoint_is_written_later_and_a_restart_has_everything_once() {
    let store = memory();
    let refusing = Refusing::after(&store, usize::MAX);
    let definitions = with_view(&store, 1, COUNTS);
    let views = open(&store, definitions.clone(), Some(refusing.clone()));
    insert(&store, 1, "a");
    assert_eq!(rows(&views, "v1").await, counted(&[("a", 1)]));
    views.checkpoint().await.expect("nothing refuses");
    refusing.allow(0);
    insert(&store, 2, "a");
    insert(&store, 3, "b");
    assert_eq!(rows(&views, "v1").await, counted(&[("a", 2), ("b", 1)]));
    views.checkpoint().await.expect_err("the disk refuses");
    insert(&store, 4, "b");
    assert_eq!(rows(&views, "v1").await, counted(&[("a", 2), ("b", 2)]));
    refusing.allow(usize::MAX);
    views.checkpoint().await.expect("nothing refuses");
    // What comes after that is lost with the process; the log has it.
    refusing.allow(0);
    insert(&store, 5, "c");
    views.close();
    let again = open(&store, definitions, None);
    assert_eq!(rows(&again, "v1").await, counted(&[("a", 2), ("b", 2), ("c", 1)]));
    let status = again.status(false).await.expect("a running thread");
    assert_eq!(status[0].counters.events, 1, "the log after the checkpoint, and nothing before it");
    again.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_on_while_a_view_is_built_and_its_readers_wait() {
    let store = memory();
    let gated = Gated::closed(&store);
    let views = open(&store, with_stream(None), Some(gated.clone()));
    insert(&store, 1, "a");
    // The other one is anonymous: nothing of it is written.
    let other = definition(&store, &views.definitions(), 0, COUNTS);
    let mut other = views.subscribe_query(other, true).await.expect("built");
    other.next().await.expect("its snapshot").expect("no error");
    let created = definition(&store, &views.definitions(), 1, COUNTS);
    let create = tokio::spawn({
        let views = views.clone();
        async move { views.create(created).await }
    });
    until(|| views.builds().find(|_| true).is_some()).await;
    insert(&store, 2, "b");
    let heard = other.next().await.expect("a change").expect("no error");
    assert_eq!(heard.deltas.len(), 1, "while the other view is built");
    let status = views.status(false).await.expect("a running thread");
    assert!(status[0].build.is_some() && status[0].error.is_none(), "{status:?}");
    let reader = tokio::spawn({
        let views = views.clone();
        async move { rows(&views, "v1").await }
    });
    gated.open();
    create.await.expect("no panic").expect("built");
    assert_eq!(reader.await.expect("no panic"), counted(&[("a", 1), ("b", 1)]));
    assert!(views.builds().find(|_| true).is_none());
    views.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_ends_a_build_and_leaves_nothing() {
    use store::Reader as _;
    let store = memory();
    let gated = Gated::closed(&store);
    let views = open(&store, with_stream(None), Some(gated.clone()));
    insert(&store, 1, "a");
    let created = definition(&store, &views.definitions(), 1, COUNTS);
    let create = tokio::spawn({
        let views = views.clone();
        async move { views.create(created).await }
    });
    until(|| views.builds().find(|_| true).is_some()).await;
    views.drop_view("shop", "v1").await.expect("it is there");
    let error = create.await.expect("no panic").expect_err("dropped");
    assert_eq!(error.code, "42P01");
    gated.open();
    views.close();
    let left = store.snapshot().expect("memory").records(checkpoint::SPACE, &1_u64.to_be_bytes()).count();
    assert_eq!(left, 0, "records of a view that is gone");
}

#[tokio::test]
async fn a_query_that_was_built_before_a_resume_has_what_the_pause_held_back() {
    let store = memory();
    insert(&store, 1, "a");
    let paused_at = store.durable();
    let views = open(&store, with_stream(Some(paused_at)), None);
    insert(&store, 2, "b");
    let query = definition(&store, &views.definitions(), 0, COUNTS);
    // Built while the stream is paused, subscribed after it went on.
    let built = views.start(query).await.expect("built");
    let resume = |_| Redefinition { stream: testing::stream(None), space: "sql", key: b"s".to_vec(), record: vec![1] };
    views.redefine(Box::new(resume)).await.expect("resumed");
    let at_least = store.durable();
    let target = Target::Query(Box::new(built));
    let mut subscription =
        views.ask(|reply| Command::Subscribe { target, snapshot: true, at_least, reply }).await.expect("subscribed");
    let first = subscription.next().await.expect("a snapshot").expect("no error");
    assert_eq!(first.deltas.len(), 2, "a and b: {:?}", first.deltas);
    views.close();
}

#[tokio::test]
async fn a_limit_stops_one_view_and_a_higher_one_builds_it_again() {
    let store = memory();
    let mut definitions = with_view(&store, 1, COUNTS);
    let limited = |rows| {
        let view = definition(&store, &with_stream(None), 2, COUNTS);
        Arc::new(ViewDefinition {
            limits: crate::StateLimits { rows: Some(rows), bytes: None },
            ..ViewDefinition::clone(&view)
        })
    };
    definitions.views.insert(("shop".into(), "v2".into()), limited(4));
    let views = open(&store, definitions, None);
    for (id, k) in ["a", "b", "c"].into_iter().enumerate() {
        insert(&store, id as i64, k);
    }
    let all = counted(&[("a", 1), ("b", 1), ("c", 1)]);
    assert_eq!(rows(&views, "v1").await, all);
    let error = views.read(vec![("shop".into(), "v2".into())], store.durable()).await.expect_err("stopped");
    assert_eq!((error.code, error.message.contains("max_state_rows of 4")), ("53200", true), "{error:?}");
    assert!(error.hint.is_some_and(|hint| hint.contains("ALTER MATERIALIZED VIEW v2 SET (max_state_rows")));
    views.alter(limited(5), false).await.expect_err("three groups and three rows are six");
    views.alter(limited(6), false).await.expect("built again");
    assert_eq!(rows(&views, "v2").await, all);
    insert(&store, 9, "a");
    assert_eq!(rows(&views, "v2").await[0], ("a".to_owned(), 2), "it follows again");
    views.alter(limited(3), false).await.expect_err("it holds more already");
    assert_eq!(rows(&views, "v2").await.len(), 3, "and goes on as it was");
    views.close();
}
