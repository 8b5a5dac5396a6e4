//! Values as the server prints them in error messages: `a: "x"`, `{ a: [ 1, 2 ] }`.

use std::fmt::Write;

use crate::number::Number;
use crate::raw::{Raw, RawDoc};

/// Longest message text made from a client's value, in bytes; the rest is cut.
const MAX_TEXT: usize = 2048;
/// Longer strings are cut to this many characters, as the server cuts them.
const MAX_STRING: usize = 150;

/// `name: value`.
pub(super) fn element(name: &str, value: Raw<'_>) -> String {
    let mut out = format!("{name}: ");
    print(value, &mut out);
    out
}

/// `{ a: 1, b: "x" }`.
pub(super) fn document(doc: RawDoc<'_>) -> String {
    let mut out = String::new();
    print(Raw::Document(doc), &mut out);
    out
}

fn print(value: Raw<'_>, out: &mut String) {
    if out.len() > MAX_TEXT {
        if !out.ends_with("...") {
            out.push_str("...");
        }
        return;
    }
    let written = match value {
        Raw::Double(n) if n.is_finite() && n.fract() == 0.0 && n.abs() < 1e15 => write!(out, "{n:.1}"),
        Raw::Double(_) | Raw::Int32(_) | Raw::Int64(_) => {
            write!(out, "{}", Number::from_raw(value).expect("one of the number types"))
        }
        Raw::Decimal128(_) => {
            write!(out, "NumberDecimal(\"{}\")", Number::from_raw(value).expect("one of the number types"))
        }
        Raw::String(s) | Raw::Symbol(s) | Raw::Code(s) => string(s, out),
        Raw::Document(doc) if doc.is_empty() => out.write_str("{}"),
        Raw::Document(doc) => fields(doc, "{ ", " }", true, out),
        Raw::Array(array) if array.is_empty() => out.write_str("[]"),
        Raw::Array(array) => fields(array, "[ ", " ]", false, out),
        Raw::Binary { subtype, bytes } => {
            let hex: String = bytes.iter().take(MAX_STRING).map(|b| format!("{b:02X}")).collect();
            write!(out, "BinData({subtype}, {hex})")
        }
        Raw::Undefined => out.write_str("undefined"),
        Raw::ObjectId(id) => write!(out, "ObjectId('{}')", hex(&id)),
        Raw::Bool(b) => write!(out, "{b}"),
        Raw::Date(ms) => write!(out, "new Date({ms})"),
        Raw::Null => out.write_str("null"),
        Raw::Regex { pattern, options } => write!(out, "/{pattern}/{options}"),
        Raw::DbPointer { namespace, id } => write!(out, "DBRef('{namespace}',{})", hex(&id)),
        Raw::CodeWithScope { code, .. } => write!(out, "CodeWScope( {code})"),
        Raw::Timestamp(t) => write!(out, "Timestamp({}, {})", t >> 32, t & 0xffff_ffff),
        Raw::MinKey => out.write_str("MinKey"),
        Raw::MaxKey => out.write_str("MaxKey"),
    };
    written.expect("a string takes all text");
}

fn string(s: &str, out: &mut String) -> std::fmt::Result {
    match s.char_indices().nth(MAX_STRING + 10) {
        None => write!(out, "\"{s}\""),
        Some(_) => write!(out, "\"{}...\"", s.chars().take(MAX_STRING).collect::<String>()),
    }
}

fn fields(doc: RawDoc<'_>, open: &str, close: &str, named: bool, out: &mut String) -> std::fmt::Result {
    out.push_str(open);
    for (i, (name, value)) in doc.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        if named {
            write!(out, "{name}: ")?;
        }
        print(value, out);
        if out.len() > MAX_TEXT {
            break;
        }
    }
    out.write_str(close)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
