//! Change streams over the embedded store: what was acknowledged is seen, wherever it is read from.

use std::sync::Arc;
use std::time::Duration;

use base::{ClusterTime, Random};
use changes::{
    Batch, BatchLimit, ChangeStream, FullDocument, Hub, LogFilter, LogSource, ResumeToken, Scope, StartPoint,
    StreamOptions, StreamRequest, Target,
};
use document::{Context, DocBuf, Raw};
use store::{Change, Direction, Namespace, Reader, Store, StoreOptions, SyncMode};

const NO_LIMIT: BatchLimit = BatchLimit { documents: usize::MAX, bytes: usize::MAX };

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    hub: Hub,
}

fn doc(json: &str) -> DocBuf {
    document::json::parse_extended_json(json).expect("test JSON is well-formed").to_buf()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = StoreOptions { sync: SyncMode::Buffered, ..StoreOptions::new(dir.path()) };
        let store = Store::open(options).expect("opens");
        let hub = Hub::start(Arc::new(store.clone()));
        World { _dir: dir, store, hub }
    }

    fn insert(&self, name: &str, json: &str) -> ClusterTime {
        let (namespace, document) = (Namespace::new("shop", name), doc(json));
        let written = self.store.write(move |txn| {
            let collection = txn.ensure_collection(&namespace)?;
            txn.insert(collection.id, document)
        });
        written.wait().expect("writes").time
    }

    /// `$set: {n: value}` on every document.
    fn set_all(&self, name: &str, value: i32) {
        let namespace = Namespace::new("shop", name);
        let written = self.store.write(move |txn| {
            let collection = txn.ensure_collection(&namespace)?;
            let found: Vec<_> = txn.scan(collection.id, Direction::Forward).collect::<Result<_, _>>()?;
            for stored in found {
                let id = stored.document.get("_id").and_then(Raw::as_whole).unwrap_or_default();
                let after = doc(&format!(r#"{{"_id": {id}, "n": {value}}}"#));
                let description = doc(&format!(
                    r#"{{"updatedFields": {{"n": {value}}}, "removedFields": [], "truncatedArrays": []}}"#
                ));
                txn.replace(collection.id, stored.record, &stored.document, after, Change::Update { description })?;
            }
            Ok(())
        });
        written.wait().expect("writes");
    }

    fn watch(&self, name: &str, spec: &str, stages: &[&str]) -> ChangeStream {
        let pipeline: Vec<_> =
            [&format!(r#"{{"$changeStream": {spec}}}"#)[..]].iter().chain(stages).map(|s| doc(s)).collect();
        let pipeline: Vec<_> = pipeline.iter().map(|stage| stage.as_doc()).collect();
        let target = Target { db: "shop", collection: Some(name) };
        let request = StreamRequest::parse(&pipeline, target, &Context::default()).expect("parses");
        ChangeStream::open(&self.hub, request).expect("opens")
    }
}

fn field(batch: &Batch, path: [&str; 2]) -> Vec<i64> {
    let value = |event: &DocBuf| event.get(path[0])?.as_document()?.get(path[1])?.as_whole();
    batch.events.iter().map(|event| value(event).unwrap_or(-1)).collect()
}

#[tokio::test]
async fn acknowledged_writes_are_seen_at_once() {
    let world = World::new();
    let mut stream = world.watch("orders", "{}", &[]);
    for id in 0..20 {
        let time = world.insert("orders", &format!(r#"{{"_id": {id}}}"#));
        let wait = (id % 2 == 0).then_some(Duration::from_secs(600));
        let batch = stream.next_batch(NO_LIMIT, wait).await.expect("reads");
        assert_eq!(field(&batch, ["documentKey", "_id"]), [id]);
        let token = ResumeToken::parse(batch.post_batch_resume_token.as_doc()).expect("own token");
        assert_eq!(token.cluster_time(), time);
    }
}

#[tokio::test]
async fn a_waiting_read_is_woken_by_its_write_only() {
    let world = World::new();
    world.insert("orders", r#"{"_id": 1, "n": 0}"#);
    let stages = [r#"{"$match": {"fullDocument.n": 7}}"#, r#"{"$project": {"documentKey": 1, "fullDocument": 1}}"#];
    let mut stream = world.watch("orders", r#"{"fullDocument": "updateLookup"}"#, &stages);
    stream.next_batch(NO_LIMIT, Some(Duration::ZERO)).await.expect("reads");
    let waiting = tokio::spawn(async move { stream.next_batch(NO_LIMIT, Some(Duration::from_secs(600))).await });
    tokio::task::yield_now().await;
    for value in [1, 2, 3] {
        world.set_all("orders", value);
        world.insert("users", &format!(r#"{{"_id": {value}, "n": 7}}"#));
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    world.set_all("orders", 7);
    let batch = waiting.await.expect("the task is well").expect("reads");
    assert_eq!(field(&batch, ["fullDocument", "n"]), [7]);
}

#[tokio::test]
async fn a_read_after_the_fact_looks_up_what_is_there_now() {
    let world = World::new();
    world.insert("orders", r#"{"_id": 1, "n": 0}"#);
    let stages = [r#"{"$match": {"fullDocument.n": 3}}"#];
    let mut stream = world.watch("orders", r#"{"fullDocument": "updateLookup"}"#, &stages);
    stream.next_batch(NO_LIMIT, Some(Duration::ZERO)).await.expect("reads");
    for value in [1, 2, 3] {
        world.set_all("orders", value);
    }
    let batch = stream.next_batch(NO_LIMIT, Some(Duration::from_secs(600))).await.expect("reads");
    assert_eq!(field(&batch, ["fullDocument", "n"]), [3, 3, 3]);
}

#[tokio::test]
async fn resuming_reads_the_rest_also_after_reopening() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = StoreOptions { sync: SyncMode::Buffered, ..StoreOptions::new(dir.path()) };
    let mut random = Random::seeded(3);
    let mut tokens = Vec::new();
    {
        let store = Store::open(options.clone()).expect("opens");
        let hub = Hub::start(Arc::new(store.clone()));
        let world = World { _dir: tempfile::tempdir().expect("a temporary directory"), store, hub };
        let mut stream = world.watch("orders", "{}", &[]);
        for id in 0..30 {
            world.insert("orders", &format!(r#"{{"_id": {id}}}"#));
            if random.below(2) == 0 {
                world.insert("users", &format!(r#"{{"_id": {id}}}"#));
            }
            let batch = stream.next_batch(NO_LIMIT, None).await.expect("reads");
            tokens.push(batch.post_batch_resume_token);
        }
        world.store.close();
    }
    let store = Store::open(options).expect("opens again");
    let hub = Hub::start(Arc::new(store));
    for (at, token) in tokens.iter().enumerate() {
        let start = StartPoint::After(ResumeToken::parse(token.as_doc()).expect("own token"));
        let scope = Scope::Collection(Namespace::new("shop", "orders"));
        let request = StreamRequest::all(StreamOptions { start, ..StreamOptions::new(scope) });
        let mut stream = ChangeStream::open(&hub, request).expect("opens");
        let batch = stream.next_batch(NO_LIMIT, None).await.expect("reads");
        let expected: Vec<i64> = (at as i64 + 1..30).collect();
        assert_eq!(field(&batch, ["documentKey", "_id"]), expected);
    }
}

#[tokio::test]
async fn a_subscription_follows_the_store() {
    let world = World::new();
    world.insert("orders", r#"{"_id": 0}"#);
    let from = store::LogPosition { time: world.store.oldest_time(), index: 0 };
    let filter = LogFilter::everything_in(Scope::Database("shop".into()));
    let mut subscription = world.hub.subscribe(filter, Some(from));
    let (mut count, mut up_to) = (0, ClusterTime::ZERO);
    for id in 1..50 {
        let time = world.insert("orders", &format!(r#"{{"_id": {id}}}"#));
        while up_to < time {
            let batch = subscription.next(Some(Duration::from_secs(600))).await.expect("reads");
            count += batch.entries.len();
            up_to = batch.up_to;
        }
    }
    // The collection was created by the first insert.
    assert_eq!(count, 51);
}

#[test]
fn full_document_modes_are_public() {
    assert_eq!(FullDocument::default(), FullDocument::Default);
    let world = World::new();
    assert!(LogSource::durable(&world.store) >= world.hub.watermark());
}
