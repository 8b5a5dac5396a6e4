//! Batches: order, errors, and statements that are spread over commits.

use document::{Doc, DocBuf};

use super::super::requests::{DeleteStatement, Find, Modification, UpdateStatement};
use super::*;
use crate::documents::{Aggregate, CreateCollection, Origin};
use crate::{BatchLimit, Namespace, Options};

fn open() -> (tempfile::TempDir, Headwater) {
    let dir = tempfile::tempdir().unwrap();
    let db = Headwater::open(Options::new(dir.path())).unwrap();
    (dir, db)
}

fn things() -> Namespace {
    Namespace::new("t", "things")
}

fn id(n: i32) -> Doc {
    Doc::new().with("_id", n)
}

async fn found(db: &Headwater, filter: Doc) -> Vec<DocBuf> {
    let mut cursor = db.find(&Caller::default(), Find::new(things(), filter.to_buf())).unwrap();
    let everything = BatchLimit { documents: usize::MAX, bytes: usize::MAX };
    cursor.next_batch(everything, None).await.unwrap().documents
}

fn set(filter: Doc, change: Doc, multi: bool) -> Write {
    let update = Doc::new().with("$set", change).to_buf();
    Write::Update(UpdateStatement { multi, ..UpdateStatement::new(filter.to_buf(), Modification::Document(update)) })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_batch_stops_where_it_fails_and_an_unordered_one_goes_on() {
    let (_dir, db) = open();
    let inserts = || [id(1), id(1), id(2)].map(|doc| Write::Insert(doc.to_buf()));
    let report = db.write(&Caller::default(), WriteBatch::on(things(), inserts())).await.unwrap();
    assert_eq!(report.errors().map(|(i, e)| (i, e.code())).collect::<Vec<_>>(), [(1, 11000)]);
    assert_eq!(found(&db, Doc::new()).await.len(), 1);
    let unordered = WriteBatch { ordered: false, ..WriteBatch::on(things(), inserts()) };
    let report = db.write(&Caller::default(), unordered).await.unwrap();
    assert_eq!(report.errors().map(|(i, _)| i).collect::<Vec<_>>(), [0, 1]);
    let (_, error) = report.errors().next().unwrap();
    assert_eq!(error.details().unwrap().get("keyValue").unwrap().as_document().unwrap(), &id(1));
    assert_eq!(found(&db, Doc::new()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_over_many_documents_reaches_all_of_them() {
    let (_dir, db) = open();
    let many = 2 * DOCUMENTS_PER_COMMIT as i32 + 7;
    db.insert(things(), (0..many).map(|n| id(n).with("a", n % 2).to_buf()).collect()).await.unwrap();
    let odd = Doc::new().with("a", 1);
    let batch = WriteBatch::on(things(), [set(odd.clone(), Doc::new().with("b", 1), true)]);
    let report = db.write(&Caller::default(), batch).await.unwrap();
    let (_, written) = report.written().next().unwrap();
    assert_eq!((written.n, written.modified), (many as u64 / 2, many as u64 / 2));
    assert_eq!(found(&db, Doc::new().with("b", 1)).await.len(), many as usize / 2);
    let delete = DeleteStatement { filter: odd.to_buf(), multi: true, collation: None, hint: None };
    let report = db.write(&Caller::default(), WriteBatch::on(things(), [Write::Delete(delete)])).await.unwrap();
    assert_eq!(report.written().next().unwrap().1.n, many as u64 / 2);
    assert_eq!(found(&db, Doc::new()).await.len(), many as usize - many as usize / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn later_statements_see_earlier_ones() {
    let (_dir, db) = open();
    let writes = [
        Write::Insert(id(1).with("a", 0).to_buf()),
        set(Doc::new().with("a", 0), Doc::new().with("a", 5), true),
        set(Doc::new().with("a", 5), Doc::new().with("c", 1), false),
    ];
    let report = db.write(&Caller::default(), WriteBatch::on(things(), writes)).await.unwrap();
    assert_eq!(report.written().map(|(_, written)| written.n).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(found(&db, Doc::new()).await[0].to_doc(), id(1).with("a", 5).with("c", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_says_which_clause_failed() {
    let (_dir, db) = open();
    let rule = Doc::new().with("n", Doc::new().with("$gte", 0));
    let options = Doc::new().with("validator", rule).to_buf();
    db.create_collection(&Caller::default(), CreateCollection { namespace: things(), options }).await.unwrap();
    let error = db.insert(things(), vec![id(1).with("n", -1).to_buf()]).await.unwrap_err();
    assert_eq!(error.code(), 121);
    let info = error.details().unwrap().get("errInfo").unwrap().as_document().unwrap();
    let details = info.get("details").unwrap().as_document().unwrap();
    assert_eq!(details.get("operatorName").unwrap().as_str(), Some("$gte"));
    assert_eq!(details.get("reason").unwrap().as_str(), Some("comparison failed"));
    assert!(db.insert(things(), vec![id(1).with("n", 1).to_buf()]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn out_replaces_its_target_and_merge_updates_it() {
    let (_dir, db) = open();
    db.insert(things(), (0..10).map(|n| id(n).with("g", n % 2).to_buf()).collect()).await.unwrap();
    let group = Doc::new().with("_id", "$g").with("n", Doc::new().with("$sum", 1));
    let run = async |last: Doc| {
        let stages = vec![Doc::new().with("$group", group.clone()).to_buf(), last.to_buf()];
        db.aggregate(&Caller::default(), Aggregate::new(Origin::Collection(things()), stages)).await
    };
    let target = Namespace::new("t", "counts");
    db.insert(target.clone(), vec![id(99).to_buf()]).await.unwrap();
    run(Doc::new().with("$out", "counts")).await.unwrap();
    let rows = |db: &Headwater| db.find(&Caller::default(), Find::new(target.clone(), DocBuf::default())).unwrap();
    let batch = rows(&db).next_batch(BatchLimit::default(), None).await.unwrap();
    assert_eq!(batch.documents.len(), 2, "what was there before $out is gone");
    db.insert(target.clone(), vec![id(99).to_buf()]).await.unwrap();
    run(Doc::new().with("$merge", "counts")).await.unwrap();
    let batch = rows(&db).next_batch(BatchLimit::default(), None).await.unwrap();
    assert_eq!(batch.documents.len(), 3, "what $merge does not name stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_comes_in_order_and_whole() {
    let (_dir, db) = open();
    let filler = "x".repeat(100_000);
    for part in 0..8 {
        let docs = (0..50).map(|n| id(part * 50 + n).with("f", filler.as_str()).to_buf()).collect();
        db.insert(things(), docs).await.unwrap();
    }
    let sort = Doc::new().with("$sort", Doc::new().with("_id", -1)).to_buf();
    let opened =
        db.aggregate(&Caller::default(), Aggregate::new(Origin::Collection(things()), vec![sort])).await.unwrap();
    let mut cursor = opened.cursor;
    let mut ids = Vec::new();
    loop {
        let batch = cursor.next_batch(BatchLimit::default(), None).await.unwrap();
        ids.extend(batch.documents.iter().map(|doc| doc.get("_id").unwrap().as_whole().unwrap()));
        if batch.exhausted {
            break;
        }
    }
    assert_eq!(ids, (0..400).rev().collect::<Vec<i64>>());
}
