//! How message targets write an event: our own envelope, CloudEvents 1.0, Debezium's, or the row alone.

use document::json::iso_date;

use crate::event::{Event, Kind};
use crate::text::{JsonObject, Values, document};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `{"id", "source", "namespace", "operation", "time", "key", "data", "before"?}`.
    #[default]
    Json,
    /// The same with MongoDB's Extended JSON inside.
    ExtendedJson,
    /// CloudEvents 1.0 in structured mode.
    CloudEvents,
    /// CloudEvents 1.0 in binary mode: attributes as headers, the row as the body.
    CloudEventsBinary,
    /// Debezium's envelope without schemas.
    Debezium,
    /// The row alone.
    Plain,
}

impl Format {
    pub const NAMES: [(&'static str, Format); 6] = [
        ("json", Format::Json),
        ("extended_json", Format::ExtendedJson),
        ("cloudevents", Format::CloudEvents),
        ("cloudevents_binary", Format::CloudEventsBinary),
        ("debezium", Format::Debezium),
        ("plain", Format::Plain),
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Format::NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, format)| format)
    }

    /// The media type of one event.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::CloudEvents => "application/cloudevents+json; charset=utf-8",
            _ => "application/json",
        }
    }

    /// The media type of an array of events.
    pub fn batch_media_type(self) -> &'static str {
        match self {
            Format::CloudEvents => "application/cloudevents-batch+json; charset=utf-8",
            _ => "application/json",
        }
    }
}

/// The header of messages that holds the event's id.
pub const EVENT_ID: &str = "headwater-event-id";

/// CloudEvents' attributes by name, for messages that have them as headers.
pub fn cloud_attributes(event: &Event) -> [(&'static str, String); 6] {
    [
        ("specversion", "1.0".to_owned()),
        ("id", event.id.to_string()),
        ("source", cloud_source(event)),
        ("type", cloud_type(event)),
        ("time", iso_date(event.time_ms)),
        ("subject", percent_encoded(&key_text(event))),
    ]
}

/// As the HTTP binding of CloudEvents (3.1.3.2) encodes header values.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '%' => out.push_str(&format!("%{:02X}", c as u32)),
            '!'..='~' => out.push(c),
            _ => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}"))),
        }
    }
    out
}

/// CloudEvents' `source`: a URI reference.
pub fn cloud_source(event: &Event) -> String {
    format!("/headwater/{}", event.source.replace(|c: char| !is_path(c), "_"))
}

fn is_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~')
}

/// CloudEvents' `type`.
pub fn cloud_type(event: &Event) -> String {
    format!("headwater.change.{}", event.operation)
}

/// The key as text, for `subject`, message keys and file names.
pub fn key_text(event: &Event) -> String {
    let mut out = String::new();
    document(&event.key, Values::Plain, &mut out);
    out
}

/// One event as JSON text.
pub fn render(event: &Event, format: Format) -> String {
    match format {
        Format::Json => envelope(event, Values::Plain),
        Format::ExtendedJson => envelope(event, Values::Extended),
        Format::CloudEvents => cloud_event(event),
        Format::Debezium => debezium(event),
        Format::Plain | Format::CloudEventsBinary => {
            let mut out = String::new();
            document(&event.body, Values::Plain, &mut out);
            out
        }
    }
}

fn envelope(event: &Event, values: Values) -> String {
    let mut json = JsonObject::new(values);
    json.text("id", &event.id);
    json.text("source", &event.source);
    if !event.namespace.is_empty() {
        json.text("namespace", &event.namespace);
    }
    json.text("operation", &event.operation);
    json.text("time", &iso_date(event.time_ms));
    json.document("key", &event.key);
    json.document("data", &event.body);
    if let Some(before) = &event.before {
        json.document("before", before);
    }
    json.finish()
}

fn cloud_event(event: &Event) -> String {
    let mut json = JsonObject::new(Values::Plain);
    json.text("specversion", "1.0");
    json.text("id", &event.id);
    json.text("source", &cloud_source(event));
    json.text("type", &cloud_type(event));
    json.text("time", &iso_date(event.time_ms));
    json.text("subject", &key_text(event));
    json.text("datacontenttype", "application/json");
    json.document("data", &event.body);
    json.finish()
}

fn debezium(event: &Event) -> String {
    let (db, collection) = event.namespace.split_once('.').unwrap_or(("", &event.namespace));
    let mut source = JsonObject::new(Values::Plain);
    source.text("version", env!("CARGO_PKG_VERSION"));
    source.text("connector", "headwater");
    source.text("name", &event.source);
    source.number("ts_ms", event.time_ms);
    source.text("snapshot", "false");
    source.text("db", db);
    source.text("collection", collection);
    source.text("id", &event.id);
    let op = match (&*event.operation, event.kind) {
        ("insert", _) => "c",
        (_, Kind::Delete) => "d",
        (_, Kind::Upsert) => "u",
        (_, Kind::Other) => "m",
    };
    let mut json = JsonObject::new(Values::Plain);
    json.optional("before", event.before.as_ref());
    json.optional("after", (event.kind == Kind::Upsert).then_some(&event.row));
    json.json("source", &source.finish());
    json.text("op", op);
    json.number("ts_ms", event.time_ms);
    json.json("transaction", "null");
    json.finish()
}

/// Several events as a JSON array.
pub fn render_array<'a>(events: impl IntoIterator<Item = &'a Event>, format: Format) -> String {
    let mut out = String::from("[");
    for event in events {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&render(event, format));
    }
    out.push(']');
    out
}
