//! JSON by hand: fields in the order we want, values as the document crate prints them.

use document::json::{Dialect, quote, to_extended_json, to_plain_json};
use document::{DocBuf, Raw};

/// How BSON's own types are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// An ObjectId as its hex, a date as ISO 8601, numbers as numbers.
    #[default]
    Plain,
    /// MongoDB's relaxed Extended JSON: nothing is lost.
    Extended,
}

/// An object under construction.
#[derive(Debug)]
pub struct JsonObject {
    out: String,
    values: Values,
}

impl JsonObject {
    pub fn new(values: Values) -> Self {
        JsonObject { out: String::from("{"), values }
    }

    fn name(&mut self, name: &str) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        quote(name, &mut self.out);
        self.out.push(':');
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        quote(value, &mut self.out);
    }

    pub fn number(&mut self, name: &str, value: i64) {
        self.name(name);
        self.out.push_str(&value.to_string());
    }

    pub fn document(&mut self, name: &str, value: &DocBuf) {
        self.name(name);
        document(value, self.values, &mut self.out);
    }

    /// `null` if there is none.
    pub fn optional(&mut self, name: &str, value: Option<&DocBuf>) {
        match value {
            Some(value) => self.document(name, value),
            None => self.json(name, "null"),
        }
    }

    /// A value that is JSON already.
    pub fn json(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.push_str(value);
    }

    pub fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// Appends a document.
pub fn document(value: &DocBuf, values: Values, out: &mut String) {
    let raw = Raw::Document(value.as_doc());
    match values {
        Values::Plain => to_plain_json(raw, out),
        Values::Extended => out.push_str(&to_extended_json(raw, Dialect::Relaxed)),
    }
}
