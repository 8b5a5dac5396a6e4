//! COPY … TO STDOUT: rows as text, CSV or binary.

use bytes::BufMut;
use sql::parser::statement::{Copy, CopyFormat};
use sql::{Datum, Field, SqlError};

use crate::encode;
use crate::message::Writer;

/// Formats rows; one CopyData message each.
pub struct CopyWriter<'a> {
    options: &'a Copy,
    fields: Vec<Field>,
    time_zone: String,
}

impl<'a> CopyWriter<'a> {
    pub fn new(options: &'a Copy, fields: Vec<Field>, time_zone: String) -> Self {
        CopyWriter { options, fields, time_zone }
    }

    /// The binary signature, or the header line if asked for.
    pub fn begin(&self, writer: &mut Writer) {
        match self.options.format {
            CopyFormat::Binary => writer.message(b'd', |out| {
                out.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
                out.put_i32(0);
                out.put_i32(0);
            }),
            _ if self.options.header => {
                let names: Vec<Option<String>> = self.fields.iter().map(|f| Some(f.name.clone())).collect();
                self.line(&names, writer);
            }
            _ => {}
        }
    }

    pub fn row(&self, row: &[Datum], writer: &mut Writer) -> Result<(), SqlError> {
        if self.options.format == CopyFormat::Binary {
            let mut result = Ok(());
            writer.message(b'd', |out| {
                out.put_i16(self.fields.len() as i16);
                for (datum, field) in row.iter().zip(&self.fields) {
                    if result.is_ok() {
                        result = encode::value(datum, &field.ty, true, &self.time_zone, out);
                    }
                }
            });
            return result;
        }
        let mut texts = Vec::with_capacity(self.fields.len());
        for (datum, field) in row.iter().zip(&self.fields) {
            texts.push(if datum.is_null() {
                None
            } else {
                let mut text = String::new();
                sql::text::output(datum, &field.ty, &self.time_zone, &mut text);
                Some(text)
            });
        }
        self.line(&texts, writer);
        Ok(())
    }

    pub fn end(&self, writer: &mut Writer) {
        if self.options.format == CopyFormat::Binary {
            writer.message(b'd', |out| out.put_i16(-1));
        }
    }

    fn line(&self, values: &[Option<String>], writer: &mut Writer) {
        let csv = self.options.format == CopyFormat::Csv;
        let delimiter = self.options.delimiter.unwrap_or(if csv { ',' } else { '\t' });
        let null = self.options.null.as_deref().unwrap_or(if csv { "" } else { "\\N" });
        let mut line = String::new();
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                line.push(delimiter);
            }
            match value {
                None => line.push_str(null),
                Some(text) if csv => self.quoted(text, delimiter, null, &mut line),
                Some(text) => escaped(text, delimiter, &mut line),
            }
        }
        line.push('\n');
        writer.message(b'd', |out| out.extend_from_slice(line.as_bytes()));
    }

    fn quoted(&self, text: &str, delimiter: char, null: &str, line: &mut String) {
        let quote = self.options.quote.unwrap_or('"');
        let escape = self.options.escape.unwrap_or(quote);
        let needs = text == null || text == "\\." || text.contains([delimiter, quote, '\n', '\r']);
        if !needs {
            line.push_str(text);
            return;
        }
        line.push(quote);
        for c in text.chars() {
            if c == quote || c == escape {
                line.push(escape);
            }
            line.push(c);
        }
        line.push(quote);
    }
}

fn escaped(text: &str, delimiter: char, line: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{8}' => line.push_str("\\b"),
            '\u{b}' => line.push_str("\\v"),
            '\u{c}' => line.push_str("\\f"),
            c if c == delimiter => {
                line.push('\\');
                line.push(c);
            }
            c => line.push(c),
        }
    }
}
