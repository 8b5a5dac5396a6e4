//! Values as they appear inside error messages.

use crate::number::{Decimal, text::general};
use crate::raw::{Raw, RawDoc};
use crate::value::{Doc, Value};

/// Characters of one printed value; messages are for people.
const MAX_TEXT: usize = 4096;

/// A value in the server's message style: `"text"`, `{a: 1}`, `[1, 2]`.
pub(crate) fn value_text(value: Option<&Value>) -> String {
    let mut out = String::new();
    match value {
        Some(value) => write_value(&mut out, value),
        None => out.push_str("MISSING"),
    }
    cut(out)
}

/// A document in the style of parse errors: `{ a: 1, b: "x" }`.
pub(crate) fn doc_text(doc: RawDoc<'_>) -> String {
    let mut out = String::from("{ ");
    for (i, (name, value)) in doc.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        out.push_str(": ");
        match value {
            Raw::Document(inner) => out.push_str(&doc_text(inner)),
            other => write_value(&mut out, &other.to_value()),
        }
        if out.len() > MAX_TEXT {
            break;
        }
    }
    out.push_str(" }");
    cut(out)
}

/// A document in the style of `value_text`.
pub(crate) fn document_text(doc: &Doc) -> String {
    let mut out = String::new();
    write_doc(&mut out, doc);
    cut(out)
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push_str("...");
    }
    text
}

fn write_doc(out: &mut String, doc: &Doc) {
    out.push('{');
    for (i, (name, value)) in doc.iter().enumerate() {
        if out.len() > MAX_TEXT {
            break;
        }
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        out.push_str(": ");
        write_value(out, value);
    }
    out.push('}');
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Double(n) => out.push_str(&general(*n, 6)),
        Value::String(s) => {
            out.push('"');
            out.push_str(s);
            out.push('"');
        }
        Value::Document(doc) => write_doc(out, doc),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if out.len() > MAX_TEXT {
                    break;
                }
                if i > 0 {
                    out.push_str(", ");
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Binary(binary) => {
            let hex: String = binary.bytes.iter().take(MAX_TEXT).map(|b| format!("{b:02X}")).collect();
            out.push_str(&format!("BinData({}, \"{hex}\")", binary.subtype));
        }
        Value::Undefined => out.push_str("undefined"),
        Value::ObjectId(id) => out.push_str(&hex(id)),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Date(ms) => out.push_str(&super::date::iso_text(*ms).unwrap_or_else(|_| ms.to_string())),
        Value::Null => out.push_str("null"),
        Value::Regex(regex) => out.push_str(&format!("/{}/{}", regex.pattern, regex.options)),
        Value::DbPointer { namespace, id } => out.push_str(&format!("DBRef(\"{namespace}\", {})", hex(id))),
        Value::Code(code) | Value::CodeWithScope { code, .. } => out.push_str(&format!("CODE({code})")),
        Value::Symbol(s) => out.push_str(&format!("SYMBOL({s})")),
        Value::Int32(n) => out.push_str(&n.to_string()),
        Value::Timestamp(t) => out.push_str(&format!("Timestamp({}, {})", t >> 32, t & 0xffff_ffff)),
        Value::Int64(n) => out.push_str(&n.to_string()),
        Value::Decimal128(bytes) => out.push_str(&Decimal::from_bytes(*bytes).to_string()),
        Value::MinKey => out.push_str("MinKey"),
        Value::MaxKey => out.push_str("MaxKey"),
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
