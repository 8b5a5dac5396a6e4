//! Array and record literals: `{1,NULL,"a b"}` and `(1,,"x y")`.

use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::types::Type;

/// Deepest nesting of array literals, PostgreSQL's six dimensions.
const MAX_DIMENSIONS: usize = 6;

/// Appends an array's text.
pub fn write(items: &[Datum], element: &Type, time_zone: &str, out: &mut String) {
    out.push('{');
    let mut text = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match item {
            Datum::Null => out.push_str("NULL"),
            // A further dimension; its type may be written `int[]` or `int[][]`.
            Datum::Array(inner) => {
                let inner_type = match element {
                    Type::Array(inner) => inner,
                    _ => element,
                };
                write(inner, inner_type, time_zone, out);
            }
            _ => {
                text.clear();
                super::output(item, element, time_zone, &mut text);
                if needs_quotes(&text) {
                    quote(&text, out);
                } else {
                    out.push_str(&text);
                }
            }
        }
    }
    out.push('}');
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case("null")
        || text.contains(|c: char| "{},\"\\".contains(c) || c.is_ascii_whitespace() || c == '\x0b')
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Appends a record's text; its columns' types are not known here beyond their values.
pub fn write_record(items: &[Datum], time_zone: &str, out: &mut String) {
    out.push('(');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        if item.is_null() {
            continue;
        }
        let text = super::to_string(item, &crate::json::build::guess_type(item), time_zone);
        let quoted =
            text.is_empty() || text.contains(|c: char| "(),\"\\".contains(c) || c.is_ascii_whitespace() || c == '\x0b');
        if !quoted {
            out.push_str(&text);
            continue;
        }
        out.push('"');
        for c in text.chars() {
            if c == '"' || c == '\\' {
                out.push(c);
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push(')');
}

/// Reads an array literal with elements of a type.
pub fn read(text: &str, element: &Type, ctx: &EvalContext<'_>) -> Result<Datum> {
    let mut reader = Reader { text, at: 0, element, ctx };
    reader.space();
    if !reader.rest().starts_with('{') {
        return Err(reader.malformed("Array value must start with \"{\" or dimension information."));
    }
    let items = reader.array(1)?;
    reader.space();
    if reader.at != text.len() {
        return Err(reader.malformed("Junk after closing right brace."));
    }
    Ok(items)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    element: &'a Type,
    ctx: &'a EvalContext<'a>,
}

impl Reader<'_> {
    fn malformed(&self, detail: &str) -> SqlError {
        SqlError::new("22P02", format!("malformed array literal: \"{}\"", self.text)).with_detail(detail)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
    }

    fn array(&mut self, depth: usize) -> Result<Datum> {
        if depth > MAX_DIMENSIONS {
            return Err(SqlError::new(
                "54000",
                format!("number of array dimensions ({depth}) exceeds the maximum allowed ({MAX_DIMENSIONS})"),
            ));
        }
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.rest().starts_with('}') {
            self.at += 1;
            return Ok(Datum::Array(items.into()));
        }
        loop {
            self.space();
            let item = if self.rest().starts_with('{') { self.array(depth + 1)? } else { self.item()? };
            items.push(item);
            self.space();
            match self.rest().as_bytes().first() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return self.even(items);
                }
                _ => return Err(self.malformed("Unexpected end of input.")),
            }
        }
    }

    /// Sub-arrays must be of one size.
    fn even(&self, items: Vec<Datum>) -> Result<Datum> {
        let size = |item: &Datum| match item {
            Datum::Array(inner) => Some(inner.len()),
            _ => None,
        };
        if items.windows(2).any(|pair| size(&pair[0]) != size(&pair[1])) {
            return Err(self.malformed("Multidimensional arrays must have sub-arrays with matching dimensions."));
        }
        Ok(Datum::Array(items.into()))
    }

    fn item(&mut self) -> Result<Datum> {
        let mut value = String::new();
        let quoted = self.rest().starts_with('"');
        if quoted {
            self.at += 1;
        }
        // Length up to which trailing blanks are part of the value: escaped ones are.
        let mut keep = 0;
        let mut escaped = false;
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.malformed("Unexpected end of input."));
            };
            match c {
                '\\' => {
                    self.at += 1;
                    let next = self.rest().chars().next().ok_or_else(|| self.malformed("Unexpected end of input."))?;
                    self.at += next.len_utf8();
                    value.push(next);
                    keep = value.len();
                    escaped = true;
                }
                '"' if quoted => {
                    self.at += 1;
                    return super::input(&value, self.element, self.ctx);
                }
                ',' | '}' if !quoted => break,
                '{' | '"' if !quoted => return Err(self.malformed(&format!("Unexpected \"{c}\" character."))),
                _ => {
                    self.at += c.len_utf8();
                    value.push(c);
                }
            }
        }
        let end = value.trim_end_matches(|c: char| c.is_ascii_whitespace()).len().max(keep);
        value.truncate(end);
        if value.is_empty() && !escaped {
            let found = self.rest().chars().next().unwrap_or('}');
            return Err(self.malformed(&format!("Unexpected \"{found}\" character.")));
        }
        if !escaped && value.eq_ignore_ascii_case("null") {
            return Ok(Datum::Null);
        }
        super::input(&value, self.element, self.ctx)
    }
}
