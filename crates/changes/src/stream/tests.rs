//! Tests of `stream`.

use std::sync::Arc;

use base::{ClusterTime, Random};
use store::entry::{Namespace, PreImage};

use super::*;
use crate::scope::{Scope, Shown};
use crate::source::LogSource;
use crate::testing::{MemoryLog, doc, insert, json, random_history};

const NO_LIMIT: BatchLimit = BatchLimit { documents: usize::MAX, bytes: usize::MAX };

fn options(scope: &str) -> StreamOptions {
    StreamOptions::new(match scope.split_once('.') {
        _ if scope == "*" => Scope::Cluster,
        Some((db, name)) => Scope::Collection(Namespace::new(db, name)),
        None => Scope::Database(scope.into()),
    })
}

fn with_start(scope: &str, start: StartPoint) -> StreamOptions {
    StreamOptions { start, ..options(scope) }
}

fn request(options: StreamOptions, stages: &[&str]) -> Result<StreamRequest> {
    let stages: Vec<_> = stages.iter().map(|stage| doc(stage)).collect();
    let stages: Vec<_> = stages.iter().map(|stage| stage.as_doc()).collect();
    let (stages, split_large_events) = check_stages(&stages)?;
    Ok(StreamRequest { options, stages: Stages::parse(&stages, &Context::default())?, split_large_events })
}

struct World {
    log: Arc<MemoryLog>,
    hub: Hub,
}

impl World {
    fn new() -> Self {
        let log = MemoryLog::new();
        let hub = Hub::start(log.clone());
        World { log, hub }
    }

    fn open(&self, options: StreamOptions) -> ChangeStream {
        ChangeStream::open(&self.hub, StreamRequest::all(options)).expect("opens")
    }
}

fn token_of(event: &DocBuf) -> ResumeToken {
    let id = event.get("_id").and_then(Raw::as_document).expect("an event has an _id");
    ResumeToken::parse(id).expect("own token")
}

fn pbrt(batch: &Batch) -> ResumeToken {
    ResumeToken::parse(batch.post_batch_resume_token.as_doc()).expect("own token")
}

/// Operation type and `_id` of the document of each event.
fn short(batch: &Batch) -> Vec<String> {
    let of = |event: &DocBuf| {
        let key = event.get("documentKey").and_then(Raw::as_document).and_then(|key| key.get("_id"));
        let operation = event.get("operationType").and_then(Raw::as_str).unwrap_or("?").to_owned();
        match key.and_then(Raw::as_whole) {
            Some(id) => format!("{operation} {id}"),
            None => operation,
        }
    };
    batch.events.iter().map(of).collect()
}

async fn read(stream: &mut ChangeStream) -> Batch {
    stream.next_batch(NO_LIMIT, None).await.expect("reads")
}

/// All events from a position on, with whether the stream closed.
async fn events_after(world: &World, options: StreamOptions) -> (Vec<DocBuf>, bool) {
    let mut stream = world.open(options);
    let batch = read(&mut stream).await;
    (batch.events, batch.closed)
}

#[tokio::test]
async fn resuming_from_any_event_gives_exactly_the_events_after_it() {
    for seed in 0..12 {
        let world = World::new();
        random_history(&world.log, &mut Random::seeded(seed), 60);
        for scope in ["*", "shop", "shop.orders", "shop.users", "blog.posts"] {
            for expanded in [false, true] {
                let shown = Shown { expanded, system: false };
                // A scope that ends is read on behind its invalidate.
                let mut start = StartPoint::At(ClusterTime::ZERO);
                loop {
                    let first = StreamOptions { shown, ..with_start(scope, start.clone()) };
                    let (all, closed) = events_after(&world, first).await;
                    for (at, event) in all.iter().enumerate() {
                        let token = token_of(event);
                        let resumed = StreamOptions { shown, ..with_start(scope, StartPoint::After(token.clone())) };
                        let (rest, closes) = events_after(&world, resumed).await;
                        if token.facts().from_invalidate {
                            // Only `startAfter` goes on from here, with what the loop reads next.
                            continue;
                        }
                        assert_eq!(rest, all[at + 1..], "seed {seed}, {scope}, after event {at}");
                        assert_eq!(closes, closed);
                    }
                    match all.last() {
                        Some(last) if closed => start = StartPoint::After(token_of(last)),
                        _ => break,
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn batches_of_any_size_make_the_same_stream_and_tokens_never_go_back() {
    for seed in 0..10 {
        let world = World::new();
        let mut random = Random::seeded(seed);
        random_history(&world.log, &mut random, 50);
        for scope in ["*", "shop", "shop.orders"] {
            let start = with_start(scope, StartPoint::At(ClusterTime::ZERO));
            let (all, closed) = events_after(&world, start.clone()).await;
            let mut stream = world.open(start);
            let (mut events, mut last) = (Vec::new(), pbrt_of(&stream));
            while events.len() < all.len() || (closed && !stream.is_closed()) {
                let limit = BatchLimit { documents: random.below(4) as usize, bytes: 200 + random.below(900) as usize };
                let batch = stream.next_batch(limit, None).await.expect("reads");
                assert!(batch.events.len() <= limit.documents);
                let token = pbrt(&batch);
                assert!(token >= last, "seed {seed}: {token:?} after {last:?}");
                if let Some(event) = batch.events.last() {
                    assert!(token >= token_of(event));
                }
                // Whatever was handed out, resuming from here gives the rest.
                events.extend(batch.events);
                if !token.facts().from_invalidate {
                    let resumed = events_after(&world, with_start(scope, StartPoint::After(token.clone()))).await;
                    assert_eq!(resumed.0, all[events.len()..], "seed {seed}, {scope}");
                }
                last = token;
            }
            assert_eq!(events, all);
            assert_eq!(stream.is_closed(), closed);
        }
    }
}

fn pbrt_of(stream: &ChangeStream) -> ResumeToken {
    ResumeToken::parse(stream.post_batch_resume_token().as_doc()).expect("own token")
}

#[tokio::test]
async fn post_batch_tokens_follow_the_scan() {
    let world = World::new();
    let mut stream = world.open(options("shop.orders"));
    let first = pbrt(&read(&mut stream).await);
    assert_eq!(first, ResumeToken::high_water_mark(world.log.durable().next()));
    world.log.commit("shop.users", insert(1, ""));
    let foreign = world.log.commit("shop.users", insert(2, ""));
    let moved = pbrt(&read(&mut stream).await);
    assert_eq!(moved, ResumeToken::high_water_mark(foreign.position.time));
    assert_eq!(pbrt(&read(&mut stream).await), moved, "nothing new, nothing moves");
    world.log.commit("shop.orders", insert(1, ""));
    let batch = read(&mut stream).await;
    assert_eq!(pbrt(&batch), token_of(&batch.events[0]));
    assert_eq!(pbrt(&read(&mut stream).await), token_of(&batch.events[0]));
    world.log.commit("shop.orders", insert(2, ""));
    let behind = world.log.commit("shop.users", insert(3, ""));
    let one = BatchLimit { documents: 1, ..NO_LIMIT };
    let batch = stream.next_batch(one, None).await.expect("reads");
    assert_eq!(pbrt(&batch), token_of(&batch.events[0]), "cut by its size");
    assert_eq!(pbrt(&read(&mut stream).await), ResumeToken::high_water_mark(behind.position.time));
}

#[tokio::test]
async fn a_time_in_the_future_waits_for_it() {
    let world = World::new();
    let future = ClusterTime(world.log.durable().0 + 3);
    let mut stream = world.open(with_start("shop.orders", StartPoint::At(future)));
    for id in 1..=4 {
        world.log.commit("shop.orders", insert(id, ""));
        let batch = read(&mut stream).await;
        if id < 3 {
            assert_eq!((short(&batch), pbrt(&batch)), (vec![], ResumeToken::high_water_mark(future)));
        } else {
            assert_eq!(short(&batch), [format!("insert {id}")]);
        }
    }
}

#[tokio::test]
async fn drops_renames_and_database_drops_end_what_they_concern() {
    let world = World::new();
    let scopes = ["shop.orders", "shop.old", "shop", "*"];
    let mut streams: Vec<_> = scopes.iter().map(|scope| world.open(options(scope))).collect();
    world.log.commit("shop.orders", insert(1, ""));
    let to = Namespace::new("shop", "old");
    world.log.commit("shop.orders", Operation::Rename { to, dropped_target: None });
    world.log.commit("shop.old", Operation::Drop);
    world.log.commit("shop", Operation::DropDatabase);
    world.log.commit("shop.orders", insert(2, ""));
    let mut seen = Vec::new();
    for stream in &mut streams {
        let batch = read(stream).await;
        seen.push((short(&batch).join(", "), batch.closed));
    }
    let expected = [
        ("insert 1, rename, invalidate", true),
        ("rename, invalidate", true),
        ("insert 1, rename, drop, dropDatabase, invalidate", true),
        ("insert 1, rename, drop, dropDatabase, insert 2", false),
    ];
    assert_eq!(seen, expected.map(|(events, closed)| (events.to_owned(), closed)));
    let again = read(&mut streams[0]).await;
    assert!(again.events.is_empty() && again.closed);
}

#[tokio::test]
async fn resuming_around_an_invalidate() {
    let world = World::new();
    world.log.commit("shop.orders", insert(1, ""));
    world.log.commit("shop.orders", Operation::Drop);
    world.log.commit("shop.orders", insert(2, ""));
    let (events, _) = events_after(&world, with_start("shop.orders", StartPoint::At(ClusterTime::ZERO))).await;
    let tokens: Vec<ResumeToken> = events.iter().map(token_of).collect();
    let after = |token: &ResumeToken| with_start("shop.orders", StartPoint::After(token.clone()));
    let mut from_drop = world.open(after(&tokens[1]));
    let batch = read(&mut from_drop).await;
    assert_eq!((short(&batch), batch.closed), (vec!["invalidate".to_owned()], true));
    let mut from_invalidate = world.open(after(&tokens[2]));
    assert_eq!(pbrt_of(&from_invalidate), tokens[2]);
    let batch = read(&mut from_invalidate).await;
    assert_eq!((short(&batch), batch.closed), (vec!["insert 2".to_owned()], false));
}

#[tokio::test]
async fn an_invalidate_that_is_filtered_still_ends_the_stream() {
    let world = World::new();
    let filter = request(options("shop.orders"), &[r#"{"$match": {"operationType": "insert"}}"#]).expect("parses");
    let mut stream = ChangeStream::open(&world.hub, filter).expect("opens");
    world.log.commit("shop.orders", insert(1, ""));
    world.log.commit("shop.orders", Operation::Drop);
    let batch = read(&mut stream).await;
    assert_eq!((short(&batch), batch.closed), (vec!["insert 1".to_owned()], true));
    assert!(pbrt(&batch).facts().from_invalidate);
}

#[tokio::test]
async fn a_token_that_is_not_in_the_stream_is_fatal_at_the_first_event_past_it() {
    let world = World::new();
    world.log.commit("shop.users", insert(1, ""));
    let (events, _) = events_after(&world, with_start("*", StartPoint::At(ClusterTime::ZERO))).await;
    let foreign = with_start("shop.orders", StartPoint::After(token_of(&events[0])));
    let mut stream = world.open(foreign);
    assert_eq!(pbrt(&read(&mut stream).await), token_of(&events[0]));
    world.log.commit("shop.orders", insert(1, ""));
    let error = stream.next_batch(NO_LIMIT, None).await.expect_err("fatal");
    assert_eq!(error.code, 280);
    assert_eq!(stream.next_batch(NO_LIMIT, None).await.expect_err("for good"), error);
    assert!(error.message.starts_with("cannot resume stream; the resume token was not found."), "{error}");
}

#[tokio::test]
async fn history_that_is_gone_is_an_error() {
    let world = World::new();
    let first = world.log.commit("shop.orders", insert(1, ""));
    let mut behind = world.open(with_start("shop.orders", StartPoint::At(first.position.time)));
    let second = world.log.commit("shop.orders", insert(2, ""));
    let mut read_first = world.open(with_start("shop.orders", StartPoint::At(first.position.time)));
    read(&mut read_first).await;
    world.log.remove_up_to(first.position.time);
    assert_eq!(behind.next_batch(NO_LIMIT, None).await.expect_err("lost").code, 286);
    let code = |start| {
        let request = StreamRequest::all(with_start("shop.orders", start));
        ChangeStream::open(&world.hub, request).err().map(|error| error.code)
    };
    assert_eq!(code(StartPoint::At(first.position.time)), Some(286));
    assert_eq!(code(StartPoint::At(second.position.time)), None);
    world.log.remove_up_to(second.position.time);
    assert!(read(&mut read_first).await.events.is_empty(), "what it has read may go");
}

fn update(id: i32, value: i32, by_option: Option<bool>) -> Operation {
    let image = |by_option| PreImage { document: doc(&format!(r#"{{"_id": {id}, "n": 0}}"#)), by_option };
    Operation::Update {
        key: doc(&format!(r#"{{"_id": {id}}}"#)),
        description: doc(&format!(
            r#"{{"updatedFields": {{"n": {value}}}, "removedFields": [], "truncatedArrays": []}}"#
        )),
        document: Some(doc(&format!(r#"{{"_id": {id}, "n": {value}}}"#))),
        before: by_option.map(image),
    }
}

/// `fullDocument` and `fullDocumentBeforeChange` of every event.
async fn images(world: &World, full_document: FullDocument, before: BeforeChange) -> Result<Vec<String>> {
    let options =
        StreamOptions { full_document, before, ..with_start("shop.orders", StartPoint::At(ClusterTime::ZERO)) };
    let mut stream = world.open(options);
    let batch = stream.next_batch(NO_LIMIT, None).await?;
    let image = |event: &DocBuf, name| match event.get(name) {
        None => "-".to_owned(),
        Some(Raw::Document(image)) => json(&image.to_buf()),
        Some(other) => format!("{other:?}"),
    };
    let both =
        |event: &DocBuf| format!("{} {}", image(event, "fullDocument"), image(event, "fullDocumentBeforeChange"));
    Ok(batch.events.iter().map(both).collect())
}

#[tokio::test]
async fn images_by_mode() {
    use BeforeChange::Off;
    let world = World::new();
    world.log.commit("shop.orders", insert(1, r#""n": 0"#));
    world.log.commit("shop.orders", update(1, 1, Some(true)));
    world.log.commit("shop.orders", update(1, 2, Some(true)));
    let inserted = r#"{"_id":1,"n":0} -"#;
    let check = async |full, before, expected: [&str; 3]| {
        assert_eq!(images(&world, full, before).await.expect("images are there"), expected);
    };
    check(FullDocument::Default, Off, [inserted, "- -", "- -"]).await;
    check(FullDocument::UpdateLookup, Off, [inserted, r#"{"_id":1,"n":2} -"#, r#"{"_id":1,"n":2} -"#]).await;
    let images_of_then = [inserted, r#"{"_id":1,"n":1} -"#, r#"{"_id":1,"n":2} -"#];
    check(FullDocument::WhenAvailable, Off, images_of_then).await;
    check(FullDocument::Required, Off, images_of_then).await;
    let before = [inserted, r#"- {"_id":1,"n":0}"#, r#"- {"_id":1,"n":0}"#];
    check(FullDocument::Default, BeforeChange::Required, before).await;
    // An image kept for our own purposes is none for a client.
    world.log.commit("shop.orders", update(1, 3, Some(false)));
    world.log.commit("shop.orders", Operation::Delete { key: doc(r#"{"_id": 1}"#), before: None });
    let shown = images(&world, FullDocument::WhenAvailable, BeforeChange::WhenAvailable).await.expect("null will do");
    assert_eq!(shown[3..], ["Null Null", "- Null"]);
    let looked_up = images(&world, FullDocument::UpdateLookup, Off).await.expect("null will do");
    assert_eq!(looked_up[1..], ["Null -", "Null -", "Null -", "- -"]);
    for (full, before) in [(FullDocument::Required, Off), (FullDocument::Default, BeforeChange::Required)] {
        assert_eq!(images(&world, full, before).await.expect_err("missing").code, 47);
    }
}

#[tokio::test]
async fn a_required_image_is_not_required_of_what_the_match_rejects() {
    let world = World::new();
    let options = StreamOptions { before: BeforeChange::Required, ..options("shop") };
    let stages = [r#"{"$match": {"ns.coll": "orders", "fullDocument.x": {"$exists": false}}}"#];
    let mut stream = ChangeStream::open(&world.hub, request(options, &stages).expect("parses")).expect("opens");
    world.log.commit("shop.users", update(1, 1, None));
    world.log.commit("shop.orders", update(2, 1, Some(true)));
    assert_eq!(short(&read(&mut stream).await), ["update 2"]);
    world.log.commit("shop.orders", update(3, 1, None));
    assert_eq!(stream.next_batch(NO_LIMIT, None).await.expect_err("missing").code, 47);
}

#[tokio::test]
async fn stages_may_not_touch_the_token() {
    let world = World::new();
    let check = async |stage: &str, fine: bool| {
        let mut stream =
            ChangeStream::open(&world.hub, request(options("shop.orders"), &[stage]).expect("parses")).expect("opens");
        world.log.commit("shop.orders", insert(1, ""));
        match stream.next_batch(NO_LIMIT, None).await {
            Ok(batch) => assert!(fine && batch.events.len() == 1, "{stage}"),
            Err(error) => assert!(!fine && error.code == 280, "{stage}: {error}"),
        }
    };
    check(r#"{"$project": {"_id": 0}}"#, false).await;
    check(r#"{"$unset": "_id"}"#, false).await;
    check(r#"{"$set": {"_id": 1}}"#, false).await;
    check(r#"{"$set": {"_id.extra": 1}}"#, false).await;
    check(r#"{"$replaceRoot": {"newRoot": "$documentKey"}}"#, false).await;
    check(r#"{"$project": {"operationType": 1}}"#, true).await;
    check(r#"{"$set": {"_id": {"_data": "$_id._data"}}}"#, true).await;
    check(r#"{"$replaceWith": {"op": "$operationType", "_id": "$_id"}}"#, true).await;
}

#[tokio::test]
async fn large_events_are_refused_or_split_and_resumed_between_the_parts() {
    let world = World::new();
    let text = "x".repeat(10 * 1024 * 1024);
    let big = |mark: &str| doc(&format!(r#"{{"_id": 1, "s": "{mark}{text}"}}"#));
    world.log.commit(
        "shop.orders",
        Operation::Replace {
            key: doc(r#"{"_id": 1}"#),
            document: big("new"),
            before: Some(PreImage { document: big("old"), by_option: true }),
        },
    );
    world.log.commit("shop.orders", insert(2, ""));
    let start = |start| StreamOptions { before: BeforeChange::Required, ..with_start("shop.orders", start) };
    let everything = StartPoint::At(ClusterTime::ZERO);
    let mut whole = world.open(start(everything.clone()));
    assert_eq!(whole.next_batch(NO_LIMIT, None).await.expect_err("too large").code, 10334);
    let split = |at| request(start(at), &[r#"{"$changeStreamSplitLargeEvent": {}}"#]).expect("parses");
    let mut stream = ChangeStream::open(&world.hub, split(everything)).expect("opens");
    let all = read(&mut stream).await.events;
    assert_eq!(all.len(), 3, "two fragments and an ordinary event");
    assert!(all[0].get("splitEvent").is_some() && all[2].get("splitEvent").is_none());
    for at in 0..2 {
        let token = token_of(&all[at]);
        assert_eq!(token.facts().fragment, Some(at as u32));
        let mut resumed = ChangeStream::open(&world.hub, split(StartPoint::After(token.clone()))).expect("opens");
        assert_eq!(read(&mut resumed).await.events, all[at + 1..]);
        let without = ChangeStream::open(&world.hub, StreamRequest::all(start(StartPoint::After(token))));
        assert_eq!(without.expect_err("needs the stage").code, 280);
    }
}

#[tokio::test]
async fn internal_namespaces_and_views_are_hidden() {
    let world = World::new();
    let view = || Operation::Create { description: doc("{}"), kind: store::entry::CollectionKind::View };
    let mut plain = world.open(options("*"));
    let shown = Shown { expanded: true, system: false };
    let mut expanded = world.open(StreamOptions { shown, ..options("shop") });
    let mut on_name = world.open(StreamOptions { shown, ..options("shop.v") });
    world.log.commit("admin.x", insert(1, ""));
    world.log.commit("shop.system.js", insert(2, ""));
    world.log.commit("shop.v", view());
    world.log.commit("shop.systemfoo", insert(3, ""));
    assert_eq!(short(&read(&mut plain).await), ["insert 3"]);
    assert_eq!(short(&read(&mut expanded).await), ["create", "insert 3"]);
    assert_eq!(short(&read(&mut on_name).await), [""; 0]);
}
