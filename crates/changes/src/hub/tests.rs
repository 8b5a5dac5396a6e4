//! Tests of `hub`.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Random;
use document::{Context, Raw};
use store::entry::{LogPosition, Namespace};

use super::*;
use crate::options::{StartPoint, StreamOptions};
use crate::stages::Stages;
use crate::stream::{BatchLimit, ChangeStream, StreamRequest};
use crate::testing::{MemoryLog, doc, insert, random_history};

const NO_LIMIT: BatchLimit = BatchLimit { documents: usize::MAX, bytes: usize::MAX };
/// Longer than any test takes: a wait that should end by an event.
const LONG: Option<Duration> = Some(Duration::from_secs(600));

fn scope(name: &str) -> Scope {
    match name.split_once('.') {
        _ if name == "*" => Scope::Cluster,
        Some((db, name)) => Scope::Collection(Namespace::new(db, name)),
        None => Scope::Database(name.into()),
    }
}

fn open(hub: &Hub, options: StreamOptions, condition: &str) -> ChangeStream {
    let stage = doc(&format!(r#"{{"$match": {condition}}}"#));
    let stages = Stages::parse(&[stage.as_doc()], &Context::default()).expect("parses");
    ChangeStream::open(hub, StreamRequest { options, stages, split_large_events: false }).expect("opens")
}

/// Attaches the stream to the hub: a wait that ends at once.
async fn attach(stream: &mut ChangeStream) {
    let batch = stream.next_batch(NO_LIMIT, Some(Duration::ZERO)).await.expect("reads");
    assert!(batch.events.is_empty());
}

const CONDITIONS: [&str; 22] = [
    r#"{}"#,
    r#"{"operationType": "insert"}"#,
    r#"{"operationType": {"$in": ["update", "delete"]}}"#,
    r#"{"fullDocument.n": 3}"#,
    r#"{"fullDocument.n": {"$numberDouble": "3.0"}}"#,
    r#"{"fullDocument.n": {"$in": [1, 2, 7]}}"#,
    r#"{"fullDocument.n": {"$gt": 4}}"#,
    r#"{"fullDocument.n": {"$gte": 2, "$lt": 5}}"#,
    r#"{"fullDocument.n": null}"#,
    r#"{"fullDocument.k": "k1", "operationType": "replace"}"#,
    r#"{"fullDocument.k": {"$regularExpression": {"pattern": "^k[12]", "options": ""}}}"#,
    r#"{"fullDocument.sub.tags": 2}"#,
    r#"{"fullDocument.sub.tags": {"$gt": 1, "$lt": 3}}"#,
    r#"{"fullDocument.sub.tags": {"$gt": 3, "$lt": 2}}"#,
    r#"{"fullDocument.sub.tags.1": 4}"#,
    r#"{"documentKey._id": 2}"#,
    r#"{"documentKey": {"_id": 2}}"#,
    r#"{"$and": [{"documentKey._id": {"$lte": 2}}, {"fullDocument.k": "k0"}]}"#,
    r#"{"$or": [{"fullDocument.n": 1}, {"operationType": "delete"}]}"#,
    r#"{"updateDescription.updatedFields.n": {"$exists": true}}"#,
    r#"{"updateDescription.removedFields": "r1"}"#,
    r#"{"ns.coll": "users", "fullDocument.k": {"$ne": "k2"}}"#,
];

#[tokio::test]
async fn watchers_get_what_reading_the_log_gives() {
    for seed in 0..6 {
        let log = MemoryLog::new();
        let hub = Hub::start(log.clone());
        let mut random = Random::seeded(seed);
        random_history(&log, &mut random, 5);
        let mut pairs = Vec::new();
        for condition in CONDITIONS {
            for name in ["*", "shop", "shop.orders"] {
                for full_document in [FullDocument::Default, FullDocument::UpdateLookup, FullDocument::WhenAvailable] {
                    let options = StreamOptions { full_document, ..StreamOptions::new(scope(name)) };
                    let mut live = open(&hub, options.clone(), condition);
                    let naive = open(&hub, options, condition);
                    attach(&mut live).await;
                    pairs.push((live, naive, format!("seed {seed}, {name}, {full_document:?}, {condition}")));
                }
            }
        }
        assert_eq!(hub.watcher_count(), pairs.len());
        random_history(&log, &mut random, 120);
        for (live, naive, what) in &mut pairs {
            // The one has been told by the hub, the other reads the log now.
            let told = live.next_batch(NO_LIMIT, Some(Duration::ZERO)).await.expect("reads");
            let read = naive.next_batch(NO_LIMIT, None).await.expect("reads");
            assert_eq!(told.events, read.events, "{what}");
            assert_eq!(told.closed, read.closed, "{what}");
            assert_eq!(told.post_batch_resume_token, read.post_batch_resume_token, "{what}");
        }
        drop(pairs);
        assert_eq!(hub.watcher_count(), 0);
    }
}

#[tokio::test]
async fn live_and_disk_join_without_gap_or_repeat() {
    for seed in 0..10 {
        let log = MemoryLog::new();
        let hub = Hub::start(log.clone());
        let writer = {
            let log = log.clone();
            std::thread::spawn(move || random_history(&log, &mut Random::seeded(seed), 300))
        };
        let mut stream = open(&hub, StreamOptions::new(Scope::Cluster), r#"{"documentKey._id": {"$gte": 1}}"#);
        let start = stream.post_batch_resume_token();
        let mut random = Random::seeded(seed);
        let (mut events, mut last) = (Vec::new(), String::new());
        let mut finished = false;
        while !finished {
            finished = writer.is_finished();
            let limit = BatchLimit { documents: 1 + random.below(50) as usize, bytes: usize::MAX };
            loop {
                let batch = stream.next_batch(limit, Some(Duration::ZERO)).await.expect("reads");
                let token = batch.post_batch_resume_token.get("_data").and_then(Raw::as_str).unwrap_or_default();
                assert!(token >= last.as_str(), "the position never goes back");
                last = token.to_owned();
                if batch.events.is_empty() {
                    break;
                }
                events.extend(batch.events);
            }
        }
        writer.join().expect("the writer is well");
        let token = crate::ResumeToken::parse(start.as_doc()).expect("own token");
        let options = StreamOptions { start: StartPoint::After(token), ..StreamOptions::new(Scope::Cluster) };
        let mut naive = open(&hub, options, r#"{"documentKey._id": {"$gte": 1}}"#);
        let all = naive.next_batch(NO_LIMIT, None).await.expect("reads").events;
        assert_eq!(events, all, "seed {seed}");
    }
}

#[tokio::test]
async fn a_slow_watcher_loses_nothing() {
    let log = MemoryLog::new();
    let hub = Hub::start(log.clone());
    let mut slow = open(&hub, StreamOptions::new(scope("shop.orders")), "{}");
    attach(&mut slow).await;
    let count = WATCHER_ENTRIES_MAX as i32 * 2 + 10;
    for round in 0..3 {
        for id in 0..count {
            log.commit("shop.orders", insert(round * count + id, ""));
        }
        hub.reached(log.durable()).await;
        let batch = slow.next_batch(NO_LIMIT, LONG).await.expect("reads");
        let ids: Vec<i64> = batch
            .events
            .iter()
            .filter_map(|event| event.get("documentKey")?.as_document()?.get("_id")?.as_whole())
            .collect();
        let expected: Vec<i64> = (0..count).map(|id| i64::from(round * count + id)).collect();
        assert_eq!(ids, expected, "round {round}");
    }
}

#[tokio::test]
async fn a_wait_ends_by_an_event_and_by_nothing_else() {
    let log = MemoryLog::new();
    let hub = Hub::start(log.clone());
    let condition = r#"{"fullDocument.k": "wanted", "fullDocument.n": {"$mod": [2, 0]}}"#;
    let mut stream = open(&hub, StreamOptions::new(scope("shop.orders")), condition);
    attach(&mut stream).await;
    let waiting = tokio::spawn(async move {
        let batch = stream.next_batch(NO_LIMIT, LONG).await.expect("reads");
        (batch, stream)
    });
    for id in 0..50 {
        log.commit("shop.users", insert(id, r#""k": "wanted", "n": 2"#));
        log.commit("shop.orders", insert(id, r#""k": "other", "n": 2"#));
        log.commit("shop.orders", insert(id, r#""k": "wanted", "n": 1"#));
        hub.reached(log.durable()).await;
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "nothing of this concerns it");
    let wanted = log.commit("shop.orders", insert(99, r#""k": "wanted", "n": 2"#));
    let (batch, _stream) = waiting.await.expect("the task is well");
    assert_eq!(batch.events.len(), 1);
    let token = crate::ResumeToken::parse(batch.post_batch_resume_token.as_doc()).expect("own token");
    assert_eq!(token.cluster_time(), wanted.position.time);
}

#[tokio::test]
async fn an_idle_watchers_token_moves_with_the_hub() {
    let log = MemoryLog::new();
    let hub = Hub::start(log.clone());
    let mut stream = open(&hub, StreamOptions::new(scope("shop.orders")), r#"{"fullDocument.k": "never"}"#);
    attach(&mut stream).await;
    log.commit("shop.orders", insert(1, ""));
    let last = log.commit("shop.orders", insert(2, ""));
    let batch = stream.next_batch(NO_LIMIT, Some(Duration::ZERO)).await.expect("reads");
    let expected = crate::ResumeToken::high_water_mark(last.position.time).to_document();
    assert_eq!((batch.events.len(), batch.post_batch_resume_token), (0, expected));
}

#[tokio::test]
async fn an_entry_visits_only_the_watchers_it_may_concern() {
    let log = MemoryLog::new();
    let hub = Hub::start(log.clone());
    let mut streams = Vec::new();
    for at in 0..500 {
        let condition = format!(r#"{{"operationType": "insert", "fullDocument.n": {at}}}"#);
        let mut stream = open(&hub, StreamOptions::new(scope("shop.orders")), &condition);
        attach(&mut stream).await;
        streams.push(stream);
    }
    let entry = log.commit("shop.orders", insert(1, r#""n": 77"#));
    let mut visited = 0;
    hub.0.shared.index.read().candidates(&entry, &mut |_| visited += 1);
    assert_eq!(visited, 1);
    let batch = streams[77].next_batch(NO_LIMIT, LONG).await.expect("reads");
    assert_eq!(batch.events.len(), 1);
}

#[test]
fn conditions_are_understood() {
    let check = |condition: &str, expected: Option<Root>| {
        let (_, key) = predicate::analyse(&[doc(condition)], FullDocument::Default);
        assert_eq!(key.map(|key| key.field().root), expected, "{condition}");
    };
    use predicate::Root;
    check(r#"{}"#, None);
    check(r#"{"fullDocument.a": 1}"#, Some(Root::FullDocument));
    check(r#"{"fullDocument.a": {"$gt": 1}, "documentKey._id": 5}"#, Some(Root::DocumentKey));
    check(r#"{"fullDocument.a": null}"#, None);
    check(r#"{"fullDocument.a": {"$in": [1, null]}}"#, None);
    check(r#"{"fullDocument.a": {"b": 1}}"#, None);
    check(r#"{"fullDocument.a": {"$ne": 1}}"#, None);
    check(r#"{"$or": [{"fullDocument.a": 1}]}"#, None);
    check(r#"{"$and": [{"x": 1}, {"$and": [{"fullDocument.a": "t"}]}]}"#, Some(Root::FullDocument));
    check(r#"{"updateDescription.updatedFields.a": {"$exists": true}}"#, Some(Root::UpdatedName));
    let (operations, _) =
        predicate::analyse(&[doc(r#"{"operationType": {"$in": ["update", "x"]}}"#)], FullDocument::Default);
    assert!(operations.contains(OperationType::Update) && !operations.contains(OperationType::Insert));
}

fn everything() -> LogFilter {
    LogFilter::everything_in(scope("shop"))
}

#[tokio::test]
async fn subscriptions_get_every_entry_once_with_transactions_whole() {
    for seed in 0..10 {
        let log = MemoryLog::new();
        let hub = Hub::start(log.clone());
        random_history(&log, &mut Random::seeded(seed), 30);
        let mut subscription = hub.subscribe(everything(), Some(LogPosition::default()));
        let writer = {
            let log = log.clone();
            std::thread::spawn(move || random_history(&log, &mut Random::seeded(seed + 100), 300))
        };
        let mut seen = Vec::new();
        let mut finished = false;
        while !finished {
            finished = writer.is_finished();
            loop {
                let before = subscription.up_to();
                let batch = subscription.next(Some(Duration::ZERO)).await.expect("reads");
                assert!(batch.up_to >= before && batch.up_to == subscription.up_to());
                for entry in batch.entries.iter() {
                    assert!(entry.position.time > before && entry.position.time <= batch.up_to);
                }
                if batch.entries.is_empty() {
                    break;
                }
                seen.extend(batch.entries.iter().cloned());
            }
        }
        writer.join().expect("the writer is well");
        let filter = everything();
        let all: Vec<_> = log.entries().into_iter().filter(|entry| filter.accepts(entry)).collect();
        assert_eq!(seen.len(), all.len(), "seed {seed}");
        assert_eq!(seen, all, "seed {seed}");
        assert_eq!(subscription.up_to(), log.durable());
    }
}

#[tokio::test]
async fn a_subscription_from_now_on_waits_for_its_kind() {
    let log = MemoryLog::new();
    let hub = Hub::start(log.clone());
    log.commit("shop.orders", insert(1, ""));
    let filter = LogFilter { operations: [OperationType::Drop].into_iter().collect(), ..everything() };
    let mut subscription = hub.subscribe(filter, None);
    let waiting = tokio::spawn(async move { subscription.next(None).await });
    for id in 2..20 {
        log.commit("shop.orders", insert(id, ""));
        hub.reached(log.durable()).await;
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    let drop = log.commit("shop.orders", Operation::Drop);
    let batch = waiting.await.expect("the task is well").expect("reads");
    assert_eq!(*batch.entries, *std::slice::from_ref(&drop));
    assert_eq!(batch.up_to, drop.position.time);
}

#[tokio::test]
async fn groups_that_do_not_fit_the_inbox_are_read_from_the_log() {
    let log = MemoryLog::new();
    let hub = Hub::start(log.clone());
    let mut stream = open(&hub, StreamOptions::new(scope("shop.orders")), "{}");
    attach(&mut stream).await;
    let mut subscription = hub.subscribe(everything(), None);
    {
        // The hub cannot move while the index is held.
        let _held = hub.0.shared.index.write();
        for id in 0..GROUPS_QUEUED_MAX as i32 + 300 {
            log.commit("shop.orders", insert(id, ""));
        }
    }
    hub.reached(log.durable()).await;
    let told = stream.next_batch(NO_LIMIT, LONG).await.expect("reads");
    assert_eq!(told.events.len(), GROUPS_QUEUED_MAX + 300);
    let mut positions = BTreeSet::new();
    while positions.len() < GROUPS_QUEUED_MAX + 300 {
        for entry in subscription.next(LONG).await.expect("reads").entries.iter() {
            assert!(positions.insert(entry.position), "no entry twice");
        }
    }
}

#[test]
fn an_idle_watcher_is_small() {
    let bytes = size_of::<ChangeStream>() + size_of::<Watcher>();
    // Its token and its places in the index take up to 200 bytes more.
    assert!(bytes < 800, "{bytes} bytes per idle watcher, without its pipeline");
}
