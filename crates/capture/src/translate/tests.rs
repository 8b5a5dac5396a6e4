//! Events as servers of several versions send them, and as none does.

use base::Random;
use document::Doc;

use super::*;

fn token(time: u64) -> Doc {
    let token = ResumeToken::event(&changes::token::TokenParts {
        cluster_time: ClusterTime(time),
        txn_op_index: 0,
        from_invalidate: false,
        uuid: None,
        identifier: Doc::new().with("operationType", "insert").with("documentKey", key()).to_buf().as_doc(),
        fragment: None,
    });
    token.to_document().to_doc()
}

fn key() -> Doc {
    Doc::new().with("_id", 1)
}

fn insert(token: Doc) -> Doc {
    Doc::new()
        .with("_id", token)
        .with("operationType", "insert")
        .with("clusterTime", ClusterTime(77))
        .with("fullDocument", key().with("x", 1))
        .with("ns", Doc::new().with("db", "shop").with("coll", "orders"))
        .with("documentKey", key())
}

fn entry(translated: Translated) -> Captured {
    match translated {
        Translated::Entry(captured) => *captured,
        other => panic!("no entry but {other:?}"),
    }
}

fn translate(event: &Doc) -> Result<Translated, String> {
    Translator::new(true).translate(event.to_buf().bytes().clone())
}

#[test]
fn a_token_that_follows_from_the_event_is_not_kept_twice() {
    let ours = entry(translate(&insert(token(77))).expect("an insert"));
    assert_eq!(ours.entry.token, None);
    assert_eq!(Event::new(&ours.entry).token().to_document(), ours.token);
    let foreign = Doc::new().with("_data", "8264000000000000012B0229296E04");
    let theirs = entry(translate(&insert(foreign.clone())).expect("an insert"));
    assert_eq!(theirs.entry.token, Some(foreign.to_buf()));
    assert_eq!(theirs.resume, foreign.to_buf());
}

#[test]
fn parts_of_an_event_become_the_event_again() {
    let whole = insert(token(77)).with("fullDocumentBeforeChange", key());
    let own = ResumeToken::parse(token(77).to_buf().as_doc()).expect("our own");
    let part = |number: i32, names: &[&str]| {
        let mut part = Doc::new()
            .with("_id", own.with_fragment(number as u32 - 1).to_document().to_doc())
            .with("splitEvent", Doc::new().with("fragment", number).with("of", 2));
        for name in names {
            part.push(*name, whole.get(name).expect("a field of it").clone());
        }
        part.to_buf()
    };
    let first = part(1, &["operationType", "clusterTime", "ns", "documentKey"]);
    let second = part(2, &["fullDocument"]);
    let mut translator = Translator::new(true);
    assert!(matches!(translator.translate(first.bytes().clone()), Ok(Translated::Part)));
    let joined = entry(translator.translate(second.bytes().clone()).expect("the rest"));
    let expected = entry(translate(&insert(token(77))).expect("an insert"));
    assert_eq!(joined.entry, expected.entry);
    assert_eq!(joined.token, expected.token);
    // A cursor goes on after the last part.
    assert_eq!(joined.resume, own.with_fragment(1).to_document());
    assert!(translator.translate(second.bytes().clone()).is_err(), "a second part without its first");
}

#[test]
fn descriptions_of_older_servers_get_the_parts_they_lack() {
    let mut update = insert(token(77)).with("updateDescription", Doc::new().with("updatedFields", key()));
    update.set("operationType", "update");
    update.remove("fullDocument");
    let captured = entry(Translator::new(false).translate(update.to_buf().bytes().clone()).expect("an update"));
    let Operation::Update { description, document: None, before: None, .. } = captured.entry.operation else {
        panic!("no update without images: {captured:?}")
    };
    let names: Vec<&str> = description.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["updatedFields", "removedFields", "truncatedArrays"]);
    assert_eq!(captured.entry.wall_ms, 0, "the seconds of the cluster time");
    assert!(!captured.exact);
}

#[test]
fn what_has_no_counterpart_is_skipped_and_what_is_broken_refused() {
    let mut sharding = insert(token(77));
    sharding.set("operationType", "refineCollectionShardKey");
    assert!(matches!(translate(&sharding), Ok(Translated::Skipped(_))));
    for missing in ["_id", "operationType", "ns", "documentKey", "fullDocument"] {
        let mut event = insert(token(77));
        event.remove(missing);
        assert!(translate(&event).is_err(), "without {missing}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let event = insert(token(77)).to_buf();
    let mut random = Random::seeded(7);
    let mut translator = Translator::new(true);
    for _ in 0..20_000 {
        let mut bytes = event.bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next_u64() as u8;
        }
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
        let _ = translator.translate(bytes.into());
    }
}
