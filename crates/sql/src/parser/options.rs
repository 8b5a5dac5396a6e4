//! `WITH (name = value, …)` of streams, views, sinks and subscriptions: read generically, then taken
//! out by name with their type; whatever is left is unknown and refused with the list of names.

use std::time::Duration;

use sqlparser::ast::{self, Expr, UnaryOperator, Value};
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, fold};
use crate::error::{Result, SqlError};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OptionValue {
    Text(String),
    Number(String),
    Bool(bool),
    List(Vec<OptionValue>),
}

/// The options of one statement that nobody has taken yet.
pub(super) struct Options {
    /// What they belong to, for messages: `change stream`.
    kind: &'static str,
    entries: Vec<(String, OptionValue, Option<usize>)>,
    asked: Vec<&'static str>,
}

impl Options {
    /// `(name = value, …)`, the opening parenthesis first; `=` may be missing as in COPY's options.
    pub fn parse(cursor: &mut Cursor, kind: &'static str) -> Result<Self> {
        cursor.expect_token(&Token::LParen)?;
        let mut entries: Vec<(String, OptionValue, Option<usize>)> = Vec::new();
        while !cursor.token(&Token::RParen) {
            if !entries.is_empty() {
                cursor.expect_token(&Token::Comma)?;
            }
            let position = cursor.position();
            let name = cursor.identifier()?;
            if entries.iter().any(|(known, ..)| *known == name) {
                return Err(SqlError::syntax("conflicting or redundant options").at(position));
            }
            let flag = matches!(cursor.peek().token, Token::Comma | Token::RParen);
            let value = if flag {
                OptionValue::Bool(true)
            } else {
                cursor.token(&Token::Eq);
                let position = cursor.position();
                value(&cursor.expr()?).map_err(|e| e.at(position))?
            };
            entries.push((name, value, position));
        }
        Ok(Options { kind, entries, asked: Vec::new() })
    }

    pub fn none(kind: &'static str) -> Self {
        Options { kind, entries: Vec::new(), asked: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<(OptionValue, Option<usize>)> {
        self.asked.push(name);
        let at = self.entries.iter().position(|(known, ..)| known == name)?;
        let (_, value, position) = self.entries.remove(at);
        Some((value, position))
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        what: &str,
        read: impl FnOnce(&OptionValue) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some((value, position)) = self.take(name) else { return Ok(None) };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(name, &value, what).at(position)),
        }
    }

    pub fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        self.typed(name, "a string", |v| match v {
            OptionValue::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// One of `choices`, in any case.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)]) -> Result<Option<T>> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("'{name}'")).collect();
        self.typed(name, &names.join(", "), |v| match v {
            OptionValue::Text(text) => {
                choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
            }
            _ => None,
        })
    }

    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.typed(name, "a boolean", |v| match v {
            OptionValue::Bool(b) => Some(*b),
            OptionValue::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" => Some(true),
                "false" | "off" | "no" => Some(false),
                _ => None,
            },
            OptionValue::Number(n) if n == "1" => Some(true),
            OptionValue::Number(n) if n == "0" => Some(false),
            _ => None,
        })
    }

    pub fn number<T: std::str::FromStr>(&mut self, name: &'static str, what: &str) -> Result<Option<T>> {
        self.typed(name, what, |v| match v {
            OptionValue::Number(digits) => digits.parse().ok(),
            _ => None,
        })
    }

    /// A positive count.
    pub fn count(&mut self, name: &'static str) -> Result<Option<u32>> {
        self.typed(name, "a positive integer", |v| match v {
            OptionValue::Number(digits) => digits.parse().ok().filter(|n| *n > 0),
            _ => None,
        })
    }

    /// A number of bytes, or text with kB, MB, GB or TB behind it as in PostgreSQL's settings.
    pub fn size(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.typed(name, "a number of bytes or a size such as '512 MB'", |v| match v {
            OptionValue::Number(digits) => digits.parse().ok(),
            OptionValue::Text(text) => parse_size(text),
            _ => None,
        })
    }

    /// `'7 days'`, `'500 ms'`, or a number in the unit that the name ends in.
    pub fn duration(&mut self, name: &'static str, bare_unit: Duration) -> Result<Option<Duration>> {
        self.typed(name, "a duration such as '30 seconds' or '7 days'", |v| match v {
            OptionValue::Text(text) => parse_duration(text),
            OptionValue::Number(digits) => {
                let count: u32 = digits.parse().ok()?;
                bare_unit.checked_mul(count)
            }
            _ => None,
        })
    }

    /// An array of strings, or one string.
    pub fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>> {
        self.typed(name, "an array of strings", |v| match v {
            OptionValue::Text(text) => Some(vec![text.clone()]),
            OptionValue::List(items) => items
                .iter()
                .map(|item| match item {
                    OptionValue::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// Refuses what was not asked for.
    pub fn finish(self) -> Result<()> {
        let Some((name, _, position)) = self.entries.first() else { return Ok(()) };
        Err(SqlError::new("22023", format!("unrecognized {} option \"{name}\"", self.kind))
            .with_hint(format!("Valid options are: {}.", self.asked.join(", ")))
            .at(*position))
    }
}

fn invalid(name: &str, value: &OptionValue, what: &str) -> SqlError {
    SqlError::new("22023", format!("invalid value for option \"{name}\": {}", shown(value)))
        .with_hint(format!("It must be {what}."))
}

fn shown(value: &OptionValue) -> String {
    match value {
        OptionValue::Text(text) => format!("'{text}'"),
        OptionValue::Number(digits) => digits.clone(),
        OptionValue::Bool(b) => b.to_string(),
        OptionValue::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
    }
}

/// Constants only; a bare word is text, as in PostgreSQL's storage parameters.
fn value(expr: &Expr) -> Result<OptionValue> {
    match expr {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Ok(OptionValue::Text(text.clone())),
            Value::DollarQuotedString(quoted) => Ok(OptionValue::Text(quoted.value.clone())),
            Value::Number(digits, _) => Ok(OptionValue::Number(digits.clone())),
            Value::Boolean(b) => Ok(OptionValue::Bool(*b)),
            _ => Err(not_constant()),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match value(expr)? {
            OptionValue::Number(digits) => Ok(OptionValue::Number(format!("-{digits}"))),
            _ => Err(not_constant()),
        },
        Expr::Identifier(ident) => Ok(OptionValue::Text(fold(ident))),
        Expr::Interval(ast::Interval { value: text, leading_field: None, last_field: None, .. }) => value(text),
        Expr::Array(array) => Ok(OptionValue::List(array.elem.iter().map(value).collect::<Result<_>>()?)),
        Expr::Tuple(items) => Ok(OptionValue::List(items.iter().map(value).collect::<Result<_>>()?)),
        Expr::Nested(inner) => value(inner),
        _ => Err(not_constant()),
    }
}

fn not_constant() -> SqlError {
    SqlError::new("22023", "option values must be constants")
}

/// A number of bytes, perhaps with kB, MB, GB or TB behind it: powers of 1024, as in PostgreSQL's settings.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "kB" | "KB" | "kb" => 1 << 10,
        "MB" | "mb" => 1 << 20,
        "GB" | "gb" => 1 << 30,
        "TB" | "tb" => 1 << 40,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

/// Sums of `count unit`: `1 day 12 hours`, `90s`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let count: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let seconds = match rest[..letters].to_ascii_lowercase().as_str() {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 604_800.0,
            "month" | "months" | "mon" | "mons" => 2_592_000.0,
            "y" | "year" | "years" => 31_557_600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(count * seconds).ok()?)?;
        rest = rest[letters..].trim_start();
    }
    Some(total)
}
