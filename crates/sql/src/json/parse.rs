//! JSON text to a JSON value.
//!
//! Whole numbers become 32- or 64-bit integers, other numbers decimal128 where that is exact (so
//! that `1.50` prints as it was written), else doubles. Of a repeated name the last value counts.

use document::value::{Doc, Value};

use crate::datum::Json;
use crate::error::{Result, SqlError};
use crate::numeric::Numeric;

/// Reads one value. Errors with 22P02.
pub fn parse(text: &str) -> Result<Json> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at != text.len() {
        return Err(parser.unexpected());
    }
    Ok(crate::json::make(|writer, name| writer.value(name, &value)))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn invalid(&self, detail: impl Into<String>) -> SqlError {
        SqlError::new("22P02", "invalid input syntax for type json").with_detail(detail)
    }

    fn unexpected(&self) -> SqlError {
        let rest = &self.text[self.at..];
        let word: &str = match rest.find(|c: char| !(c.is_alphanumeric() || c == '_')) {
            Some(0) => &rest[..rest.chars().next().map_or(0, char::len_utf8)],
            Some(end) => &rest[..end],
            None => rest,
        };
        if word.is_empty() {
            self.invalid("The input string ended unexpectedly.")
        } else {
            self.invalid(format!("Token \"{word}\" is invalid."))
        }
    }

    fn space(&mut self) {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|b| b" \t\r\n".contains(b)) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth >= base::limits::MAX_NESTING_LEVELS {
            return Err(SqlError::new("54001", "JSON text is nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
                {
                    let rest = &self.text[self.at..];
                    if rest.starts_with(word) && !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric()) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected())
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value> {
        self.at += 1;
        let mut fields: Vec<(String, Value)> = Vec::new();
        let mut places = rustc_hash::FxHashMap::default();
        if self.eat(b'}') {
            return Ok(Value::Document(Doc(fields)));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.string()?;
            if !self.eat(b':') {
                return Err(self.unexpected());
            }
            let value = self.value(depth + 1)?;
            match places.get(&name) {
                Some(&place) => {
                    let slot: &mut (String, Value) = &mut fields[place];
                    slot.1 = value;
                }
                None => {
                    places.insert(name.clone(), fields.len());
                    fields.push((name, value));
                }
            }
            if self.eat(b'}') {
                return Ok(Value::Document(Doc(fields)));
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value> {
        self.at += 1;
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Ok(Value::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn number(&mut self) -> Result<Value> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |at: &mut usize| {
            let from = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at - from
        };
        let mut at = self.at + usize::from(bytes[self.at] == b'-');
        let first = bytes.get(at).copied();
        let whole = digits(&mut at);
        let mut valid = whole > 0 && (whole == 1 || first != Some(b'0'));
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            valid &= digits(&mut at) > 0;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            valid &= digits(&mut at) > 0;
        }
        let follows = bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'.');
        if !valid || follows {
            return Err(self.invalid(format!("Token \"{}\" is invalid.", &self.text[start..at])));
        }
        self.at = at;
        number(&self.text[start..at])
    }

    fn string(&mut self) -> Result<String> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        let mut out = String::new();
        loop {
            let from = self.at;
            while bytes.get(self.at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            out.push_str(&self.text[from..self.at]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(byte) => {
                    return Err(self.invalid(format!("Character with value 0x{byte:02x} must be escaped.")));
                }
                None => return Err(self.invalid("The input string ended unexpectedly.")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let letter = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.hex4()?;
                if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    let low = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(self.invalid("Unicode low surrogate must follow a high surrogate."));
                    }
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    char::from_u32(code).ok_or_else(|| self.invalid("Unicode escape is invalid."))?
                } else if high == 0 {
                    return Err(SqlError::new("22P05", "unsupported Unicode escape sequence")
                        .with_detail("\\u0000 cannot be converted to text."));
                } else {
                    char::from_u32(high)
                        .ok_or_else(|| self.invalid("Unicode low surrogate must follow a high surrogate."))?
                }
            }
            _ => {
                // Back onto a character boundary for the message.
                self.at = self.at.min(self.text.len());
                while !self.text.is_char_boundary(self.at) {
                    self.at += 1;
                }
                return Err(self.invalid("Escape sequence is invalid."));
            }
        })
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let code = code.ok_or_else(|| self.invalid("\"\\u\" must be followed by four hexadecimal digits."))?;
        self.at += 4;
        Ok(code)
    }
}

fn number(text: &str) -> Result<Value> {
    let invalid = || SqlError::new("22P02", format!("invalid input syntax for type numeric: \"{text}\""));
    let numeric = Numeric::parse(text).ok_or_else(invalid)??;
    Ok(numeric_value(&numeric))
}

/// The BSON number that keeps a numeric best.
pub fn numeric_value(numeric: &Numeric) -> Value {
    if numeric.scale() == 0
        && let Some(n) = numeric.to_i64()
    {
        return match i32::try_from(n) {
            Ok(n) => Value::Int32(n),
            Err(_) => Value::Int64(n),
        };
    }
    // Without a decimal exponent, which plain JSON would have to write out.
    let double = numeric.to_f64();
    let is_long = numeric.scale() == 0 && numeric.to_string().len() > 34;
    if is_long && double.is_finite() && Numeric::from_f64_shortest(double) == *numeric {
        return Value::Double(double);
    }
    match numeric.to_decimal128_exact() {
        Some(bytes) => Value::Decimal128(bytes),
        None => Value::Double(double),
    }
}
