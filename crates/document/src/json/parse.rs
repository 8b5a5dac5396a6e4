//! Reads Extended JSON, canonical and relaxed; plain JSON is the special case without `$` names.
//!
//! A recursive reader with a depth limit; objects are recognised as BSON types after they have been
//! read, by their first name.

use super::days_from_civil;
use crate::error::{Error, Result};
use crate::number::Decimal;
use crate::value::{Binary, Doc, Regex, Value};

/// Parses one document. Errors with 9 FailedToParse.
pub fn parse_extended_json(text: &str) -> Result<Doc> {
    let mut parser = Parser { bytes: text.as_bytes(), text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at != text.len() {
        return Err(parser.error("expected the end"));
    }
    match value {
        Value::Document(doc) => Ok(doc),
        _ => Err(Error::failed_to_parse("JSON text is not an object")),
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, what: &str) -> Error {
        Error::failed_to_parse(format!("invalid JSON at byte {}: {what}", self.at))
    }

    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|b| b" \t\r\n".contains(b)) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > base::limits::MAX_NESTING_LEVELS {
            return Err(self.error("too deeply nested"));
        }
        match self.peek() {
            Some(b'{') => {
                let doc = self.object(depth)?;
                typed(doc)
            }
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
                {
                    if self.bytes[self.at..].starts_with(word.as_bytes()) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.error("expected a value"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Doc> {
        self.at += 1;
        let mut doc = Doc::new();
        if self.eat(b'}') {
            return Ok(doc);
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a field name"));
            }
            let name = self.string()?;
            if name.contains('\0') {
                return Err(self.error("a field name cannot contain NUL"));
            }
            if !self.eat(b':') {
                return Err(self.error("expected ':'"));
            }
            let value = self.value(depth + 1)?;
            doc.push(name, value);
            if self.eat(b'}') {
                return Ok(doc);
            }
            if !self.eat(b',') {
                return Err(self.error("expected ',' or '}'"));
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
                return Err(self.error("expected ',' or ']'"));
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.bytes.get(self.at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.error("unterminated string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let letter = self.bytes.get(self.at + 1).copied();
        self.at += 2;
        Ok(match letter {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.unit()?;
                let code = if (0xd800..0xdc00).contains(&unit) {
                    if !self.bytes[self.at..].starts_with(b"\\u") {
                        return Err(self.error("lone surrogate"));
                    }
                    self.at += 2;
                    let low = self.unit()?;
                    0x10000 + ((unit - 0xd800) << 10) + low.wrapping_sub(0xdc00)
                } else {
                    unit
                };
                char::from_u32(code).ok_or_else(|| self.error("lone surrogate"))?
            }
            _ => return Err(self.error("unknown escape")),
        })
    }

    fn unit(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits
            .and_then(|d| u32::from_str_radix(d, 16).ok())
            .ok_or_else(|| self.error("expected four hex digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Value> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        if let Ok(n) = text.parse::<i64>() {
            return Ok(i32::try_from(n).map_or(Value::Int64(n), Value::Int32));
        }
        text.parse().map(Value::Double).map_err(|_| self.error("malformed number"))
    }
}

/// The BSON value a `$`-object stands for, or the document itself.
fn typed(doc: Doc) -> Result<Value> {
    let Some((name, first)) = doc.0.first() else { return Ok(Value::Document(doc)) };
    if !name.starts_with('$') {
        return Ok(Value::Document(doc));
    }
    let bad = || Error::failed_to_parse(format!("invalid Extended JSON: malformed {name}"));
    let text = first.as_str();
    let two = doc.len() == 2;
    let value = match (name.as_str(), doc.len()) {
        ("$oid", 1) => Value::ObjectId(text.and_then(unhex).and_then(|b| b.try_into().ok()).ok_or_else(bad)?),
        ("$numberInt", 1) => Value::Int32(text.and_then(|s| s.parse().ok()).ok_or_else(bad)?),
        ("$numberLong", 1) => Value::Int64(text.and_then(|s| s.parse().ok()).ok_or_else(bad)?),
        ("$numberDouble", 1) => Value::Double(text.and_then(parse_double).ok_or_else(bad)?),
        ("$numberDecimal", 1) => Value::Decimal128(text.and_then(Decimal::parse).ok_or_else(bad)?.to_bytes()),
        ("$date", 1) => Value::Date(date(first).ok_or_else(bad)?),
        ("$timestamp", 1) => {
            let part = |name| first.as_document()?.get(name)?.as_whole().and_then(|n| u32::try_from(n).ok());
            let (t, i) = part("t").zip(part("i")).ok_or_else(bad)?;
            Value::Timestamp(u64::from(t) << 32 | u64::from(i))
        }
        ("$binary", _) => binary(&doc).ok_or_else(bad)?,
        ("$uuid", 1) => {
            let bytes = text.and_then(|s| unhex(&s.replace('-', ""))).filter(|b| b.len() == 16).ok_or_else(bad)?;
            Value::Binary(Binary { subtype: 4, bytes })
        }
        ("$regularExpression", 1) => {
            let part = |name| first.as_document()?.get(name)?.as_str().filter(|s| !s.contains('\0')).map(str::to_owned);
            let (pattern, options) = part("pattern").zip(part("options")).ok_or_else(bad)?;
            Value::Regex(Regex { pattern, options })
        }
        ("$symbol", 1) => Value::Symbol(text.ok_or_else(bad)?.to_owned()),
        ("$code", 1) => Value::Code(text.ok_or_else(bad)?.to_owned()),
        ("$code", _) if two && doc.contains("$scope") => Value::CodeWithScope {
            code: text.ok_or_else(bad)?.to_owned(),
            scope: doc.get("$scope").and_then(Value::as_document).ok_or_else(bad)?.clone(),
        },
        ("$dbPointer", 1) => {
            let inner = first.as_document().ok_or_else(bad)?;
            match (inner.get("$ref"), inner.get("$id")) {
                (Some(Value::String(namespace)), Some(Value::ObjectId(id))) => {
                    Value::DbPointer { namespace: namespace.clone(), id: *id }
                }
                _ => return Err(bad()),
            }
        }
        ("$undefined", 1) => Value::Undefined,
        ("$minKey", 1) => Value::MinKey,
        ("$maxKey", 1) => Value::MaxKey,
        _ => Value::Document(doc),
    };
    Ok(value)
}

fn parse_double(text: &str) -> Option<f64> {
    match text {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

/// `{"$binary": {"base64": .., "subType": ".."}}`, or the older form with `$type` beside it.
fn binary(doc: &Doc) -> Option<Value> {
    let (base64, subtype) = match doc.get("$binary")? {
        Value::String(s) => (s.as_str(), doc.get("$type")?.as_str()?),
        Value::Document(inner) => (inner.get("base64")?.as_str()?, inner.get("subType")?.as_str()?),
        _ => return None,
    };
    Some(Value::Binary(Binary { subtype: u8::from_str_radix(subtype, 16).ok()?, bytes: unbase64(base64)? }))
}

/// Bytes of hexadecimal digits in either case; `None` for odd length or another character.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut group = 0u32;
        for &c in chunk {
            let digit = super::BASE64.iter().position(|b| *b == c)?;
            group = group << 6 | digit as u32;
        }
        group <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

fn date(value: &Value) -> Option<i64> {
    match value {
        Value::Int64(ms) => Some(*ms),
        Value::Int32(ms) => Some(i64::from(*ms)),
        Value::String(text) => parse_iso_date(text),
        _ => None,
    }
}

/// RFC 3339: `YYYY-MM-DDTHH:MM:SS[.fff](Z|±HH[:]MM)`, in milliseconds since the epoch.
pub(crate) fn parse_iso_date(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mark = |at: usize, c: u8| (text.as_bytes().get(at) == Some(&c)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (h, m, s) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    for (at, c) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        mark(at, c)?;
    }
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && h < 24 && m < 60 && s < 60;
    let mut rest = text.get(19..)?;
    let mut milli = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let padded: String = fraction[..length].chars().chain("000".chars()).take(3).collect();
        milli = padded.parse().ok().filter(|_| length > 0)?;
        rest = &fraction[length..];
    }
    let offset = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let digits: Vec<u8> = digits.iter().copied().filter(|b| *b != b':').collect();
            let digits =
                std::str::from_utf8(&digits).ok().filter(|d| d.len() == 4 && d.bytes().all(|b| b.is_ascii_digit()))?;
            let minutes = digits[..2].parse::<i64>().ok()? * 60 + digits[2..].parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + h * 3600 + m * 60 + s - offset * 60;
    in_range.then_some(seconds * 1000 + milli)
}
