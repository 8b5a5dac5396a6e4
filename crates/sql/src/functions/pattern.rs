//! LIKE, SIMILAR TO and regular expressions.
//!
//! LIKE has its own matcher. Regular expressions are PostgreSQL's, translated for an engine whose
//! time is linear in the text; what needs backtracking (back-references, look-around) is refused.

use std::cell::RefCell;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};

use super::{PlainEval, Registry};
use crate::datum::Datum;
use crate::error::{Result, SqlError};

/// Compiled expressions kept per thread; a query has few.
const CACHE_SIZE: usize = 32;
/// Largest compiled expression, in bytes.
const MAX_PROGRAM: usize = 4 * 1024 * 1024;
/// Deepest nesting of groups.
const MAX_NESTING: u32 = 100;

pub(super) fn register(r: &mut Registry) {
    let like: [(&str, PlainEval); 8] = [
        ("~~", |args, _| like(args, false).map(Datum::Bool)),
        ("!~~", |args, _| like(args, false).map(|m| Datum::Bool(!m))),
        ("~~*", |args, _| like(args, true).map(Datum::Bool)),
        ("!~~*", |args, _| like(args, true).map(|m| Datum::Bool(!m))),
        ("like", |args, _| like(args, false).map(Datum::Bool)),
        ("notlike", |args, _| like(args, false).map(|m| Datum::Bool(!m))),
        ("ilike", |args, _| like(args, true).map(Datum::Bool)),
        ("notilike", |args, _| like(args, true).map(|m| Datum::Bool(!m))),
    ];
    for (name, eval) in like {
        r.strict(&format!("{name}(text, text) -> bool"), eval);
        if name.starts_with(|c: char| c.is_alphabetic()) {
            // With an ESCAPE character.
            r.strict(&format!("{name}(text, text, text) -> bool"), eval);
        }
    }
    r.strict("similar_to(text, text) -> bool", |args, _| similar(args));
    r.strict("similar_to(text, text, text) -> bool", |args, _| similar(args));
    r.strict("~(text, text) -> bool", |args, _| matches(args, "").map(Datum::Bool));
    r.strict("!~(text, text) -> bool", |args, _| matches(args, "").map(|m| Datum::Bool(!m)));
    r.strict("~*(text, text) -> bool", |args, _| matches(args, "i").map(Datum::Bool));
    r.strict("!~*(text, text) -> bool", |args, _| matches(args, "i").map(|m| Datum::Bool(!m)));
    r.strict("like_escape(text, text) -> text", |args, _| {
        let escape = escape_character(&args[1])?;
        let mut out = String::new();
        for step in like_pattern(args[0].as_text()?, escape) {
            match step {
                Step::Any => out.push('%'),
                Step::One => out.push('_'),
                Step::Dangling => return Err(dangling()),
                Step::Literal(c) => {
                    if matches!(c, '%' | '_' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
            }
        }
        Ok(Datum::text(out))
    });
    r.strict("similar_to_escape(text) -> text", |args, _| {
        Ok(Datum::text(similar_pattern(args[0].as_text()?, Some('\\'))))
    });
    r.strict("similar_to_escape(text, text) -> text", |args, _| {
        Ok(Datum::text(similar_pattern(args[0].as_text()?, escape_character(&args[1])?)))
    });
    expressions(r);
}

/// The escape character of a pattern; none if the text is empty.
fn escape_character(escape: &Datum) -> Result<Option<char>> {
    let mut chars = escape.as_text()?.chars();
    let first = chars.next();
    if chars.next().is_some() {
        return Err(
            SqlError::new("22019", "invalid escape string").with_hint("Escape string must be empty or one character.")
        );
    }
    Ok(first)
}

fn expressions(r: &mut Registry) {
    r.strict("regexp_replace(text, text, text) -> text", |args, _| replace(args, ""));
    r.strict("regexp_replace(text, text, text, text) -> text", |args, _| replace(args, args[3].as_text()?));
    for (signature, with_flags) in [("(text, text) -> text[]", false), ("(text, text, text) -> text[]", true)] {
        let evals: (PlainEval, PlainEval) = if with_flags {
            (|args, _| first_match(args, args[2].as_text()?), |args, _| split(args, args[2].as_text()?))
        } else {
            (|args, _| first_match(args, ""), |args, _| split(args, ""))
        };
        r.strict(&format!("regexp_match{signature}"), evals.0);
        r.strict(&format!("regexp_split_to_array{signature}"), evals.1);
    }
    r.strict("regexp_count(text, text) -> int4", |args, _| count(args, ""));
    r.strict("regexp_instr(text, text) -> int4", |args, _| {
        let text = args[0].as_text()?;
        let found = compile(args[1].as_text()?, "")?.find(text).map(|m| m.start());
        Ok(Datum::Int(found.map_or(0, |at| text[..at].chars().count() as i64 + 1)))
    });
    r.strict("regexp_like(text, text) -> bool", |args, _| matches(args, "").map(Datum::Bool));
    r.strict("regexp_like(text, text, text) -> bool", |args, _| matches(args, args[2].as_text()?).map(Datum::Bool));
    r.strict("regexp_substr(text, text) -> text", |args, _| {
        let regex = compile(args[1].as_text()?, "")?;
        Ok(regex.find(args[0].as_text()?).map_or(Datum::Null, |m| Datum::text(m.as_str())))
    });
    r.strict("substring(text, text) -> text", |args, _| {
        let regex = compile(args[1].as_text()?, "")?;
        // The first group if there is one, else the whole match.
        let found = regex.captures(args[0].as_text()?);
        let part = found.and_then(|c| if c.len() > 1 { c.get(1) } else { c.get(0) });
        Ok(part.map_or(Datum::Null, |m| Datum::text(m.as_str())))
    });
}

fn like(args: &[Datum], ignore_case: bool) -> Result<bool> {
    let escape = args.get(2).map_or(Ok(Some('\\')), escape_character)?;
    let (text, pattern) = (args[0].as_text()?, args[1].as_text()?);
    if ignore_case {
        return like_match(&text.to_lowercase(), &like_pattern(&pattern.to_lowercase(), escape));
    }
    like_match(text, &like_pattern(pattern, escape))
}

/// One step of a LIKE pattern.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Literal(char),
    One,
    Any,
    /// An escape character with nothing behind it: an error if the match gets there.
    Dangling,
}

fn like_pattern(pattern: &str, escape: Option<char>) -> Vec<Step> {
    let mut steps = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        steps.push(match c {
            c if Some(c) == escape => chars.next().map_or(Step::Dangling, Step::Literal),
            '%' if steps.last() == Some(&Step::Any) => continue,
            '%' => Step::Any,
            '_' => Step::One,
            c => Step::Literal(c),
        });
    }
    steps
}

fn dangling() -> SqlError {
    SqlError::new("22025", "LIKE pattern must not end with escape character")
}

/// Greedy with one point of return: only the last `%` ever needs to take more.
fn like_match(text: &str, steps: &[Step]) -> Result<bool> {
    let mut rest = text.chars();
    let mut at = 0;
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        if steps.get(at) == Some(&Step::Any) {
            at += 1;
            if at == steps.len() {
                return Ok(true);
            }
            retry = Some((at, rest.clone()));
            continue;
        }
        let matched = match (steps.get(at), rest.next()) {
            (None, None) => return Ok(true),
            (Some(Step::One), Some(_)) => true,
            (Some(Step::Literal(wanted)), Some(found)) => *wanted == found,
            (Some(_), None) => return Ok(false),
            (Some(Step::Dangling), Some(_)) => return Err(dangling()),
            _ => false,
        };
        if matched {
            at += 1;
            continue;
        }
        match &mut retry {
            Some((step, from)) => {
                if from.next().is_none() {
                    return Ok(false);
                }
                at = *step;
                rest = from.clone();
            }
            None => return Ok(false),
        }
    }
}

thread_local! {
    static CACHE: RefCell<Vec<(String, String, Rc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

fn invalid(message: impl std::fmt::Display) -> SqlError {
    SqlError::new("2201B", format!("invalid regular expression: {message}"))
}

/// The compiled form of a PostgreSQL expression with its option letters.
pub(super) fn compile(pattern: &str, flags: &str) -> Result<Rc<Regex>> {
    let cached = CACHE.with_borrow_mut(|cache| {
        let at = cache.iter().position(|(p, f, _)| p == pattern && f == flags)?;
        let entry = cache.remove(at);
        let regex = entry.2.clone();
        cache.push(entry);
        Some(regex)
    });
    if let Some(regex) = cached {
        return Ok(regex);
    }
    let regex = Rc::new(build(pattern, flags)?);
    CACHE.with_borrow_mut(|cache| {
        if cache.len() >= CACHE_SIZE {
            cache.remove(0);
        }
        cache.push((pattern.to_owned(), flags.to_owned(), regex.clone()));
    });
    Ok(regex)
}

fn build(pattern: &str, flags: &str) -> Result<Regex> {
    let (mut ignore_case, mut newline_sensitive, mut extended, mut literal) = (false, false, false, false);
    for flag in flags.chars() {
        match flag {
            'i' => ignore_case = true,
            'c' => ignore_case = false,
            'n' | 'm' => newline_sensitive = true,
            's' => newline_sensitive = false,
            'x' => extended = true,
            'q' => literal = true,
            'g' | 'e' | 't' => {}
            other => {
                return Err(SqlError::new("22023", format!("invalid regular expression option: \"{other}\"")));
            }
        }
    }
    let pattern = match pattern.strip_prefix("***=") {
        Some(rest) => {
            literal = true;
            rest
        }
        None => pattern.strip_prefix("***:").unwrap_or(pattern),
    };
    let translated = if literal { regex::escape(pattern) } else { translate(pattern)? };
    RegexBuilder::new(&translated)
        .case_insensitive(ignore_case)
        .multi_line(newline_sensitive)
        .dot_matches_new_line(!newline_sensitive)
        .ignore_whitespace(extended)
        .size_limit(MAX_PROGRAM)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => invalid("regular expression is too complex"),
            other => {
                // The last line says what; the lines before it draw where.
                let text = other.to_string();
                invalid(text.lines().last().unwrap_or("syntax error").trim_start_matches("error: "))
            }
        })
}

/// PostgreSQL's escapes that are spelled differently here.
fn translate(pattern: &str) -> Result<String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('m') if !in_class => out.push_str(r"\b{start}"),
                Some('M') if !in_class => out.push_str(r"\b{end}"),
                Some('y') if !in_class => out.push_str(r"\b"),
                Some('Y') if !in_class => out.push_str(r"\B"),
                Some('A') if !in_class => out.push_str(r"\A"),
                Some('Z') if !in_class => out.push_str(r"\z"),
                Some('e') => out.push_str(r"\x1B"),
                Some('b') if in_class => out.push_str(r"\x08"),
                Some(d @ '1'..='9') if !in_class => {
                    return Err(SqlError::unsupported(format!("back-reference \\{d} in a regular expression")));
                }
                Some(other) if other.is_ascii_alphanumeric() => {
                    out.push('\\');
                    out.push(other);
                }
                Some(other) => out.push_str(&regex::escape(&other.to_string())),
                None => return Err(invalid("invalid escape \\ sequence")),
            },
            '[' if in_class => {
                // `[:alpha:]` passes; a bare bracket is a character.
                if chars.peek() == Some(&':') { out.push('[') } else { out.push_str(r"\[") }
            }
            '[' => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.push('^');
                    chars.next();
                }
                if chars.peek() == Some(&']') {
                    out.push_str(r"\]");
                    chars.next();
                }
            }
            ':' if in_class
                && chars.peek() == Some(&']')
                && out.rfind("[:").is_some_and(|at| !out[at..].contains(":]")) =>
            {
                out.push_str(":]");
                chars.next();
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '(' if !in_class && chars.peek() == Some(&'?') => {
                let mut ahead = chars.clone();
                ahead.next();
                if matches!(ahead.peek(), Some('=' | '!' | '<')) {
                    return Err(SqlError::unsupported("look-around in a regular expression"));
                }
                out.push('(');
            }
            '{' if !in_class && !chars.peek().is_some_and(char::is_ascii_digit) => out.push_str(r"\{"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn matches(args: &[Datum], flags: &str) -> Result<bool> {
    Ok(compile(args[1].as_text()?, flags)?.is_match(args[0].as_text()?))
}

fn count(args: &[Datum], flags: &str) -> Result<Datum> {
    let regex = compile(args[1].as_text()?, flags)?;
    Ok(Datum::Int(regex.find_iter(args[0].as_text()?).count() as i64))
}

fn replace(args: &[Datum], flags: &str) -> Result<Datum> {
    let (text, regex) = (args[0].as_text()?, compile(args[1].as_text()?, flags)?);
    let replacement = args[2].as_text()?;
    let mut out = String::new();
    let mut from = 0;
    for captures in regex.captures_iter(text) {
        let whole = captures.get(0).expect("group 0 is the match");
        out.push_str(&text[from..whole.start()]);
        substitute(replacement, &captures, &mut out);
        super::string::check_length(Some(out.len()))?;
        from = whole.end();
        if !flags.contains('g') {
            break;
        }
    }
    out.push_str(&text[from..]);
    Ok(Datum::text(out))
}

/// `\1`…`\9` are groups, `\&` the match, `\\` a backslash.
fn substitute(replacement: &str, captures: &regex::Captures<'_>, out: &mut String) {
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(captures.get(0).map_or("", |m| m.as_str())),
            Some(d @ '1'..='9') => {
                let group = d as usize - '0' as usize;
                out.push_str(captures.get(group).map_or("", |m| m.as_str()));
            }
            Some('\\') | None => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
}

/// The groups of a match, or the match itself if there are none.
pub(super) fn groups(captures: &regex::Captures<'_>) -> Datum {
    let text = |m: Option<regex::Match<'_>>| m.map_or(Datum::Null, |m| Datum::text(m.as_str()));
    if captures.len() == 1 {
        return Datum::Array([text(captures.get(0))].into());
    }
    Datum::Array((1..captures.len()).map(|i| text(captures.get(i))).collect())
}

fn first_match(args: &[Datum], flags: &str) -> Result<Datum> {
    if flags.contains('g') {
        return Err(SqlError::new("22023", "regexp_match() does not support the \"global\" option")
            .with_hint("Use the regexp_matches function instead."));
    }
    let regex = compile(args[1].as_text()?, flags)?;
    Ok(regex.captures(args[0].as_text()?).map_or(Datum::Null, |captures| groups(&captures)))
}

fn split(args: &[Datum], flags: &str) -> Result<Datum> {
    let (text, regex) = (args[0].as_text()?, compile(args[1].as_text()?, flags)?);
    let mut items = Vec::new();
    let mut from = 0;
    for found in regex.find_iter(text) {
        // An empty match at the very start or end, or right behind the last, splits nothing.
        if found.is_empty() && (found.start() == 0 || found.start() >= text.len() || found.start() == from && from == 0)
        {
            continue;
        }
        items.push(Datum::text(&text[from..found.start()]));
        from = found.end();
    }
    items.push(Datum::text(&text[from..]));
    Ok(Datum::Array(items.into()))
}

fn similar(args: &[Datum]) -> Result<Datum> {
    let escape = args.get(2).map_or(Ok(Some('\\')), escape_character)?;
    let pattern = similar_pattern(args[1].as_text()?, escape);
    Ok(Datum::Bool(compile(&pattern, "")?.is_match(args[0].as_text()?)))
}

/// SQL's expressions: `%` and `_` as in LIKE; `|*+?{}()[]` as in others; the rest is literal.
fn similar_pattern(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                if let Some(next) = chars.next() {
                    out.push_str(&regex::escape(&next.to_string()));
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            _ if in_class => out.push(c),
            '[' => {
                in_class = true;
                out.push('[');
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out.push_str(")$");
    out
}
