//! One message for all clients, written once in both forms.
//!
//! ```text
//!   WebSocket   {"type":"delta","id":"82…","changes":[[1,{"status":"new","n":3}],[-1,{"status":"new","n":2}]]}
//!   SSE         event: delta, id: 82…, data: the same
//! ```

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use engine::{Datum, Field, Type};

/// What clients get.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What a client that has seen this comes back with; `None` within a snapshot.
    pub id: Option<String>,
    pub text: Utf8Bytes,
    pub sse: Bytes,
}

impl Frame {
    pub fn len(&self) -> usize {
        self.text.len() + self.sse.len()
    }

    fn new(event: &str, id: Option<String>, text: String) -> Self {
        let sse = sse(event, id.as_deref(), &text);
        Frame { id, text: text.into(), sse }
    }

    /// Changed rows of a view. `event` is `snapshot` or `delta`; without an id more of the snapshot
    /// follows.
    pub fn changes<'a>(
        event: &str,
        id: Option<String>,
        columns: &Columns,
        first: bool,
        changes: impl Iterator<Item = (&'a [Datum], i64)>,
    ) -> Self {
        let mut text = head(event, id.as_deref());
        if event == "snapshot" {
            text.push_str(if first { ",\"first\":true" } else { ",\"first\":false" });
        }
        text.push_str(",\"changes\":[");
        for (at, (row, diff)) in changes.enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push('[');
            text.push_str(&diff.to_string());
            text.push(',');
            columns.write(row, &mut text);
            text.push(']');
        }
        text.push_str("]}");
        Frame::new(event, id, text)
    }

    /// Events of a change stream, in order.
    pub fn events<'a>(id: String, columns: &Columns, rows: impl Iterator<Item = &'a [Datum]>) -> Self {
        let mut text = head("events", Some(&id));
        text.push_str(",\"events\":[");
        for (at, row) in rows.enumerate() {
            if at > 0 {
                text.push(',');
            }
            columns.write(row, &mut text);
        }
        text.push_str("]}");
        Frame::new("events", Some(id), text)
    }

    /// A message of a sink's topic: over SSE its data alone.
    pub fn message(id: String, json: &str) -> Self {
        let sse = sse("message", Some(&id), json);
        let mut text = head("message", Some(&id));
        text.push_str(",\"data\":");
        text.push_str(json);
        text.push('}');
        Frame { id: Some(id), text: text.into(), sse }
    }

    /// The place before everything that follows.
    pub fn start(id: &str) -> Self {
        let text = head("start", Some(id)) + "}";
        Frame::new("start", Some(id.to_owned()), text)
    }

    /// The end, or what is missing before what follows: `failed` or `gap`.
    pub fn notice(event: &str, message: &str) -> Self {
        let mut text = head(event, None);
        text.push_str(",\"message\":");
        text.push_str(&quoted(message));
        text.push('}');
        Frame::new(event, None, text)
    }
}

fn head(event: &str, id: Option<&str>) -> String {
    let mut text = format!("{{\"type\":\"{event}\"");
    if let Some(id) = id {
        text.push_str(",\"id\":\"");
        text.push_str(id);
        text.push('"');
    }
    text
}

/// The JSON has no line breaks, so it is one `data` line.
fn sse(event: &str, id: Option<&str>, json: &str) -> Bytes {
    let mut out = String::with_capacity(json.len() + 64);
    if event != "message" {
        out.push_str("event: ");
        out.push_str(event);
        out.push('\n');
    }
    if let Some(id) = id {
        out.push_str("id: ");
        out.push_str(id);
        out.push('\n');
    }
    out.push_str("data: ");
    out.push_str(json);
    out.push_str("\n\n");
    out.into()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The columns of a topic's rows.
#[derive(Clone, Debug)]
pub struct Columns {
    fields: Vec<Field>,
    /// `"name":`
    names: Vec<String>,
}

impl Columns {
    pub fn new(fields: &[Field]) -> Self {
        let names = fields.iter().map(|field| format!("{}:", quoted(&field.name))).collect();
        Columns { fields: fields.to_vec(), names }
    }

    fn write(&self, row: &[Datum], out: &mut String) {
        out.push('{');
        for (at, ((field, name), value)) in self.fields.iter().zip(&self.names).zip(row).enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(name);
            write_value(field, value, out);
        }
        out.push('}');
    }
}

/// Numbers as numbers, documents as documents, everything else as PostgreSQL prints it.
fn write_value(field: &Field, value: &Datum, out: &mut String) {
    if value.is_null() {
        return out.push_str("null");
    }
    let text = engine::datum_text(value, &field.ty);
    match field.ty {
        Type::Bool => out.push_str(if text == "t" { "true" } else { "false" }),
        Type::Json => out.push_str(&text),
        // NaN and the infinities are no JSON.
        _ if field.ty.is_numeric() && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            out.push_str(&text);
        }
        _ => out.push_str(&quoted(&text)),
    }
}
