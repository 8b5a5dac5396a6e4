//! Statements whose document lies deep in a large collection, and others that are quicker.

use document::{Context, Doc, DocBuf};
use store::Namespace;

use super::*;
use crate::documents::{
    Aggregate, FindAndModify, Modification, Origin, UpdateStatement, Write, WriteBatch, WriteReport,
};
use crate::{BatchLimit, Options};

/// More than a closure looks at.
const DEEP: i32 = 4 * LOOKED_AT_INSIDE as i32;

fn jobs() -> Namespace {
    Namespace::new("t", "jobs")
}

/// Many old jobs, then so many new ones.
async fn with_new_jobs(count: i32) -> (tempfile::TempDir, Headwater) {
    let dir = tempfile::tempdir().unwrap();
    let db = Headwater::open(Options::new(dir.path())).unwrap();
    let state = |n: i32| if n < DEEP { "old" } else { "new" };
    let all = (0..DEEP + count).map(|n| Doc::new().with("_id", n).with("state", state(n)).with("rank", -n).to_buf());
    db.insert(jobs(), all.collect()).await.unwrap();
    (dir, db)
}

fn query(filter: Doc, sort: Option<Doc>) -> Query {
    let sort = sort.map(|sort| sort.to_buf());
    Query::parse(&filter.to_buf(), sort.as_ref(), None, &Context::default()).unwrap()
}

/// What a closure finds: the `_id`, "nothing" or "unfinished".
async fn look(db: &Headwater, searches: &Arc<Searches>, query: &Arc<Query>, absence_matters: bool) -> String {
    let (searches, query) = (Arc::clone(searches), Arc::clone(query));
    let closure = move |txn: &mut WriteTxn| {
        let collection = txn.collection(&jobs()).unwrap();
        let search = searches.find(txn, 0, &query, &collection, absence_matters).unwrap();
        Ok(match search {
            Search::Found(found) => format!("{:?}", found.stored.document.get("_id").unwrap()),
            Search::Nothing => "nothing".to_owned(),
            Search::Unfinished => "unfinished".to_owned(),
        })
    };
    db.store().write(closure).await.unwrap().value
}

async fn set_state(db: &Headwater, id: i32, state: &str) {
    let set = Doc::new().with("$set", Doc::new().with("state", state)).to_buf();
    let update = UpdateStatement::new(Doc::new().with("_id", id).to_buf(), Modification::Document(set));
    let report = db.write(&Caller::default(), WriteBatch::on(jobs(), [Write::Update(update)])).await.unwrap();
    assert_eq!(report.written().next().unwrap().1.n, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_reads_few_documents_and_passes_over_what_others_took() {
    let (_dir, db) = with_new_jobs(3).await;
    let searches = Arc::new(Searches::default());
    for (sort, order) in [(None, [0, 1, 2]), (Some(Doc::new().with("rank", 1)), [2, 1, 0])] {
        let wanted = Arc::new(query(Doc::new().with("state", "new"), sort));
        let id = |n: usize| format!("Int32({})", DEEP + order[n]);
        *searches.next.lock() = None;
        assert_eq!(look(&db, &searches, &wanted, false).await, "unfinished");
        db.search(&Caller::default(), &searches, 0, &wanted, &jobs()).unwrap();
        assert_eq!(look(&db, &searches, &wanted, false).await, id(0));
        set_state(&db, DEEP + order[0], "taken").await;
        assert_eq!(look(&db, &searches, &wanted, false).await, id(1));
        set_state(&db, DEEP + order[1], "taken").await;
        set_state(&db, DEEP + order[2], "taken").await;
        assert_eq!(look(&db, &searches, &wanted, false).await, "unfinished", "all candidates are gone");
        for n in order {
            set_state(&db, DEEP + n, "new").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nothing_matches_counts_for_an_upsert_only_while_nothing_changes() {
    let (_dir, db) = with_new_jobs(0).await;
    let (searches, wanted) = (Arc::new(Searches::default()), Arc::new(query(Doc::new().with("state", "new"), None)));
    db.search(&Caller::default(), &searches, 0, &wanted, &jobs()).unwrap();
    assert_eq!(look(&db, &searches, &wanted, true).await, "nothing");
    set_state(&db, 0, "older").await;
    assert_eq!(look(&db, &searches, &wanted, false).await, "nothing", "an update was late by a moment");
    assert_eq!(look(&db, &searches, &wanted, true).await, "unfinished");
    for _ in 1..=MAX_SEARCHES {
        db.search(&Caller::default(), &searches, 0, &wanted, &jobs()).unwrap();
        set_state(&db, 0, "old").await;
        set_state(&db, 0, "older").await;
    }
    assert_eq!(look(&db, &searches, &wanted, true).await, "nothing", "it has looked for itself");
}

fn take(filter: DocBuf, set: DocBuf) -> FindAndModify {
    FindAndModify {
        namespace: jobs(),
        filter,
        sort: None,
        modification: Some(Modification::Document(set)),
        return_new: false,
        upsert: false,
        projection: None,
        array_filters: Vec::new(),
        collation: None,
        hint: None,
        variables: None,
        bypass_validation: false,
        statement_id: 0,
    }
}

/// The statement ran as a whole: how many documents it met.
fn met(report: &WriteReport) -> u64 {
    report.written().next().unwrap().1.n
}

async fn count(db: &Headwater, filter: Doc) -> usize {
    let pipeline = vec![Doc::new().with("$match", filter).to_buf()];
    let mut opened =
        db.aggregate(&Caller::default(), Aggregate::new(Origin::Collection(jobs()), pipeline)).await.unwrap();
    let everything = BatchLimit { documents: usize::MAX, bytes: usize::MAX };
    opened.cursor.next_batch(everything, None).await.unwrap().documents.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_race_for_jobs_take_each_once() {
    let (_dir, db) = with_new_jobs(120).await;
    let worker = |name: i32| {
        let db = db.clone();
        async move {
            let mut taken = 0;
            loop {
                let set = Doc::new().with("$set", Doc::new().with("state", "taken").with("by", name)).to_buf();
                let filter = Doc::new().with("state", "new").to_buf();
                let take = take(filter, set);
                match db.find_and_modify(&Caller::default(), take).await.unwrap().value {
                    Some(_) => taken += 1,
                    None => return taken,
                }
            }
        }
    };
    let workers: Vec<_> = (0..6).map(|name| tokio::spawn(worker(name))).collect();
    let mut taken = 0;
    for worker in workers {
        taken += worker.await.unwrap();
    }
    assert_eq!(taken, 120);
    assert_eq!(count(&db, Doc::new().with("state", "taken")).await, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_that_race_insert_one_document() {
    let (_dir, db) = with_new_jobs(0).await;
    let upsert = |name: i32, multi: bool| {
        let db = db.clone();
        async move {
            let set = Doc::new().with("$set", Doc::new().with("by", name)).to_buf();
            let filter = Doc::new().with("only", "one").to_buf();
            let update =
                UpdateStatement { upsert: true, multi, ..UpdateStatement::new(filter, Modification::Document(set)) };
            met(&db.write(&Caller::default(), WriteBatch::on(jobs(), [Write::Update(update)])).await.unwrap())
        }
    };
    let upserts: Vec<_> = (0..8).map(|n| tokio::spawn(upsert(n, n % 2 == 0))).collect();
    for upsert in upserts {
        assert_eq!(upsert.await.unwrap(), 1);
    }
    assert_eq!(count(&db, Doc::new().with("only", "one")).await, 1);
}
