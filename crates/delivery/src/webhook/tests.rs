//! Requests as endpoints get them.

use std::sync::Arc;

use document::{Doc, DocBuf, Value};

use super::{WebhookOptions, request, sign};
use crate::envelope::Format;
use crate::event::{Event, Kind, Position};
use crate::target::Delivery;

fn event(id: &str) -> Arc<Event> {
    let row = Doc::new().with("_id", 7).with("name", "Zoë").with("at", Value::Date(0)).to_buf();
    Arc::new(Event {
        position: Position::at(1),
        id: id.into(),
        lane: "7".into(),
        kind: Kind::Upsert,
        operation: "insert".into(),
        source: "shop.s".into(),
        namespace: "shop.orders".into(),
        time_ms: 1_700_000_000_000,
        key: Doc::new().with("_id", 7).to_buf(),
        body: row.clone(),
        before: None::<DocBuf>,
        row,
        priority: 0,
    })
}

/// The request's headers (our own ones) and body, one per line.
async fn shown(format: Format, events: &[&str], secret: Option<&str>) -> String {
    use http_body_util::BodyExt;
    let options = WebhookOptions {
        url: "http://h/hook".into(),
        format,
        arrays: events.len() > 1,
        headers: vec![("authorization".into(), "Bearer x".into())],
        secret: None,
    };
    let delivery = Delivery { events: events.iter().map(|id| event(id)).collect(), attempt: 1, ..Delivery::default() };
    let key = secret.map(|secret| sign::Key::new(secret).unwrap());
    let uri = "http://h/hook".parse().unwrap();
    let request = request::request(&uri, &options, key.as_ref(), &delivery, 1_700_000_001).unwrap();
    let mut lines: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != "user-agent")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.push(String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap());
    lines.join("\n")
}

#[tokio::test]
async fn one_event_is_one_signed_request() {
    // The signature was computed with Python's hmac module.
    let wanted = r#"content-type: application/json
idempotency-key: e1
webhook-id: e1
webhook-timestamp: 1700000001
webhook-signature: SIGNATURE
authorization: Bearer x
{"id":"e1","source":"shop.s","namespace":"shop.orders","operation":"insert","time":"2023-11-14T22:13:20.000Z","key":{"_id": 7},"data":{"_id": 7, "name": "Zoë", "at": "1970-01-01T00:00:00.000Z"}}"#;
    let body = wanted.lines().last().unwrap();
    let signature = sign::Key::new("whsec_aHVzaA==").unwrap().sign("e1", 1_700_000_001, body.as_bytes());
    assert_eq!(signature, "v1,DE8f+51c0Acb8ehNQaLXL3Dig3iP3YdjdmmKMvlqmA4=");
    assert_eq!(shown(Format::Json, &["e1"], Some("hush")).await, wanted.replace("SIGNATURE", &signature));
}

#[tokio::test]
async fn cloud_events_come_structured_and_binary() {
    let structured = shown(Format::CloudEvents, &["e1"], None).await;
    assert!(structured.starts_with("content-type: application/cloudevents+json; charset=utf-8\n"), "{structured}");
    assert!(structured.contains(r#"{"specversion":"1.0","id":"e1","source":"/headwater/shop.s","type":"headwater.change.insert","time":"2023-11-14T22:13:20.000Z","subject":"#), "{structured}");
    let batch = shown(Format::CloudEvents, &["e1", "e2"], None).await;
    assert!(batch.starts_with("content-type: application/cloudevents-batch+json; charset=utf-8\n"), "{batch}");
    let binary = shown(Format::CloudEventsBinary, &["e1"], None).await;
    for line in ["ce-specversion: 1.0", "ce-id: e1", "ce-type: headwater.change.insert", "ce-subject: {%22_id%22:%207}"]
    {
        assert!(binary.lines().any(|found| found == line), "{line} is not in {binary}");
    }
    assert!(binary.ends_with(r#"{"_id": 7, "name": "Zoë", "at": "1970-01-01T00:00:00.000Z"}"#), "{binary}");
}

#[tokio::test]
async fn a_batch_keeps_its_name_as_long_as_it_has_the_same_events() {
    let name = |text: String| text.lines().find(|line| line.starts_with("idempotency-key")).unwrap().to_owned();
    let first = name(shown(Format::Json, &["e1", "e2"], None).await);
    assert_eq!(first, name(shown(Format::Plain, &["e1", "e2"], None).await));
    assert_ne!(first, name(shown(Format::Json, &["e1", "e3"], None).await));
}

#[test]
fn headers_that_would_contradict_the_sink_are_refused() {
    let check = |name: &str, value: &str| request::check_headers(&[(name.to_owned(), value.to_owned())]);
    assert!(check("x-team", "orders").is_ok());
    assert!(check("content-length", "5").is_err());
    assert!(check("no name", "5").is_err());
    assert!(check("x", "a\r\nhost: b").is_err());
    assert!(sign::Key::new("").is_err());
    assert!(sign::Key::new("whsec_!").is_err());
}
