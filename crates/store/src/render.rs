//! Values as they stand in the server's error messages: `{ a: 1, b: "x" }`.

use document::{Raw, RawDoc};

/// Longest text of one message; what is longer ends in dots.
const MAX_TEXT: usize = 4096;

pub fn document(doc: RawDoc<'_>) -> String {
    let mut out = String::new();
    append_document(&mut out, doc);
    out
}

fn append_document(out: &mut String, doc: RawDoc<'_>) {
    append_list(out, doc, ("{", "}"), |out, name| {
        out.push_str(name);
        out.push_str(": ");
    });
}

fn append_list(out: &mut String, doc: RawDoc<'_>, (open, close): (&str, &str), label: impl Fn(&mut String, &str)) {
    out.push_str(open);
    for (i, (name, value)) in doc.iter().enumerate() {
        out.push_str(if i == 0 { " " } else { ", " });
        if out.len() > MAX_TEXT {
            out.push_str("...");
            break;
        }
        label(out, name);
        append(out, value);
    }
    out.push(' ');
    out.push_str(close);
}

fn append(out: &mut String, value: Raw<'_>) {
    match value {
        Raw::Document(doc) => append_document(out, doc),
        Raw::Array(array) => append_list(out, array, ("[", "]"), |_, _| {}),
        Raw::String(s) | Raw::Symbol(s) => append_quoted(out, s),
        Raw::ObjectId(id) => {
            out.push_str("ObjectId('");
            append_hex(out, &id);
            out.push_str("')");
        }
        Raw::Double(n) if n.fract() == 0.0 && n.abs() < 1e15 => out.push_str(&format!("{n:.1}")),
        Raw::Double(n) => out.push_str(&n.to_string()),
        Raw::Int32(n) => out.push_str(&n.to_string()),
        Raw::Int64(n) => out.push_str(&n.to_string()),
        Raw::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        Raw::Null => out.push_str("null"),
        Raw::Undefined => out.push_str("undefined"),
        Raw::Date(ms) => out.push_str(&format!("new Date({ms})")),
        Raw::Timestamp(t) => out.push_str(&format!("Timestamp({}, {})", t >> 32, t & 0xffff_ffff)),
        Raw::Binary { subtype: 4, bytes } => {
            out.push_str("UUID(\"");
            append_hex(out, bytes);
            out.push_str("\")");
        }
        Raw::Binary { subtype, bytes } => {
            out.push_str(&format!("BinData({subtype}, "));
            append_hex(out, bytes);
            out.push(')');
        }
        Raw::Regex { pattern, options } => out.push_str(&format!("/{pattern}/{options}")),
        Raw::MinKey => out.push_str("MinKey"),
        Raw::MaxKey => out.push_str("MaxKey"),
        Raw::Decimal128(_) => out.push_str("NumberDecimal"),
        Raw::Code(code) | Raw::CodeWithScope { code, .. } => append_quoted(out, code),
        Raw::DbPointer { namespace, .. } => append_quoted(out, namespace),
    }
}

fn append_quoted(out: &mut String, s: &str) {
    out.push('"');
    let end = s.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_TEXT).unwrap_or(s.len());
    out.push_str(&s[..end]);
    out.push('"');
}

fn append_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes.iter().take(MAX_TEXT / 2) {
        out.push_str(&format!("{byte:02x}"));
    }
}
