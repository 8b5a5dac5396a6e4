//! Regular expressions of `$regex`: PCRE patterns on linear-time engines.
//!
//! A pattern is first rewritten from PCRE's dialect to the `regex` crate's (`translate`); what that
//! engine refuses because it needs look-around or back-references goes to the backtracking
//! `fancy_regex`, whose step limit keeps a hostile pattern from hanging the server.
//!
//! # Invariants
//! - A string is searched, not matched whole; the answer is yes or no, never a position.
//! - Option letters other than `i m s x` are ignored, as the server of our golden transcripts does.

use crate::error::{Error, Result};
use crate::raw::Raw;

/// Longest pattern the server takes, in bytes.
const MAX_PATTERN: usize = 32_764;
/// Steps of the backtracking engine before a match gives up.
const BACKTRACK_LIMIT: usize = 1_000_000;
/// Memory of one compiled program, in bytes.
const PROGRAM_LIMIT: usize = 4 * 1024 * 1024;

/// Start and end of a group, in bytes; `None` for a group that took no part.
pub type Span = Option<(usize, usize)>;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub source: Box<str>,
    pub options: Box<str>,
    program: Program,
}

#[derive(Clone, Debug)]
enum Program {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles. Errors with 51091 for an invalid pattern.
    pub fn new(source: &str, options: &str) -> Result<Self> {
        if source.len() > MAX_PATTERN {
            return Err(Error::new(51091, "Regular expression is invalid: regular expression is too large"));
        }
        let extended = options.contains('x');
        let mut flags: String = options.chars().filter(|c| "imsx".contains(*c)).collect();
        if flags.is_empty() {
            flags.push_str("-x");
        }
        // The group around the pattern is the server's too: a comment that runs to the end of an
        // `x` pattern swallows its bracket there as well, and is refused.
        let text = format!("(?{flags})(?:{})", translate(source, extended, options.contains('m')));
        let program = match regex::RegexBuilder::new(&text).size_limit(PROGRAM_LIMIT).build() {
            Ok(program) => Program::Linear(program),
            Err(refusal) => fancy_regex::RegexBuilder::new(&text)
                .backtrack_limit(BACKTRACK_LIMIT)
                .delegate_size_limit(PROGRAM_LIMIT)
                .build()
                .map(|program| Program::Backtracking(Box::new(program)))
                .map_err(|_| invalid(&refusal))?,
        };
        Ok(Pattern { source: source.into(), options: options.into(), program })
    }

    /// Whether the pattern occurs in `text`. Errors if the backtracking engine gives up.
    pub fn is_match(&self, text: &str) -> Result<bool> {
        match &self.program {
            Program::Linear(program) => Ok(program.is_match(text)),
            Program::Backtracking(program) => program.is_match(text).map_err(|_| {
                Error::new(51156, "Error occurred while executing the regular expression: match limit exceeded")
            }),
        }
    }

    /// The first match at or after byte `from`: where the whole and each group lie. `from` must be a
    /// character boundary.
    pub fn captures_from(&self, text: &str, from: usize) -> Result<Option<Vec<Span>>> {
        match &self.program {
            Program::Linear(program) => Ok(program
                .captures_at(text, from)
                .map(|groups| groups.iter().map(|group| group.map(|m| (m.start(), m.end()))).collect())),
            Program::Backtracking(program) => match program.captures_from_pos(text, from) {
                Ok(found) => {
                    Ok(found.map(|groups| groups.iter().map(|group| group.map(|m| (m.start(), m.end()))).collect()))
                }
                Err(_) => Err(Error::new(
                    51156,
                    "Error occurred while executing the regular expression: match limit exceeded",
                )),
            },
        }
    }

    /// A query's view: strings and symbols are searched, an equal regex value matches.
    pub fn matches(&self, value: Raw<'_>) -> Result<bool> {
        match value {
            Raw::String(s) | Raw::Symbol(s) => self.is_match(s),
            Raw::Regex { pattern, options } => Ok(*pattern == *self.source && *options == *self.options),
            _ => Ok(false),
        }
    }

    /// The literal text every matching string starts with, for index bounds; empty if unknown.
    pub fn literal_prefix(&self) -> &str {
        let rest = match self.source.strip_prefix('^') {
            Some(rest) if self.options.is_empty() && !rest.contains('|') => rest,
            _ => return "",
        };
        let end = rest.find(|c: char| r".*+?()[]{}^$\/".contains(c)).unwrap_or(rest.len());
        // A quantifier makes the character before it optional.
        let optional = rest[end..].starts_with(['*', '?', '{']);
        match rest[..end].char_indices().next_back() {
            Some((last, _)) if optional => &rest[..last],
            _ => &rest[..end],
        }
    }
}

fn invalid(refusal: &regex::Error) -> Error {
    let text = refusal.to_string();
    let reason = if text.contains("unclosed group") {
        "missing )"
    } else if text.contains("unopened group") {
        "unmatched parentheses"
    } else if text.contains("unclosed character class") {
        "missing terminating ] for character class"
    } else if text.contains("repetition operator missing expression") {
        "nothing to repeat"
    } else {
        text.lines().last().unwrap_or("malformed pattern").trim_start_matches("error: ")
    };
    Error::new(51091, format!("Regular expression is invalid: {reason}"))
}

/// PCRE to `regex` syntax, for the differences that change a meaning: ASCII-only classes, `$`
/// before a final newline, literal braces, `\Q..\E`, `\Z`, and the class operators PCRE lacks.
fn translate(source: &str, extended: bool, multi_line: bool) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut class = false;
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = after;
        match c {
            '\\' => rest = translate_escape(after, class, &mut out),
            '[' if class => {
                if after.starts_with([':', '.', '=']) && after.contains(":]") {
                    let end = after.find(":]").map_or(0, |at| at + 2);
                    out.push('[');
                    out.push_str(&after[..end]);
                    rest = &after[end..];
                } else {
                    out.push_str(r"\[");
                }
            }
            '[' => {
                class = true;
                out.push('[');
                if let Some(negated) = after.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                }
                // A bracket right after the opening is a member.
                if let Some(literal) = rest.strip_prefix(']') {
                    out.push_str(r"\]");
                    rest = literal;
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            ' ' | '#' if class && extended => {
                out.push('\\');
                out.push(c);
            }
            _ if class => out.push(c),
            '#' if extended => {
                let end = after.find('\n').unwrap_or(after.len());
                out.push('#');
                out.push_str(&after[..end]);
                rest = &after[end..];
            }
            '$' if !multi_line => out.push_str(r"(?:\n?\z)"),
            '{' if !is_quantifier(after) => out.push_str(r"\{"),
            _ => out.push(c),
        }
    }
    out
}

/// What follows a backslash; returns the rest of the pattern.
fn translate_escape<'a>(after: &'a str, class: bool, out: &mut String) -> &'a str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[c.len_utf8()..];
    let replacement = match (c, class) {
        ('d', false) => "[0-9]",
        ('d', true) => "0-9",
        ('D', _) => "[^0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('w', true) => "0-9A-Za-z_",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', false) => r"[ \t-\r]",
        ('s', true) => r" \t-\r",
        ('S', _) => r"[^ \t-\r]",
        ('h', false) => r"[ \t]",
        ('h', true) => r" \t",
        ('R', false) => r"(?:\r\n|[\n-\r])",
        ('b', false) => r"(?-u:\b)",
        ('b', true) => r"\x08",
        ('B', false) => r"(?-u:\B)",
        ('Z', false) => r"(?:\n?\z)",
        ('e', _) => r"\x1b",
        ('<' | '>', _) => return push_plain(c, rest, out),
        ('Q', false) => {
            let end = rest.find(r"\E").unwrap_or(rest.len());
            out.push_str(&regex::escape(&rest[..end]));
            return rest.get(end + 2..).unwrap_or("");
        }
        ('E', _) => "",
        _ => {
            if !c.is_ascii() {
                return push_plain(c, rest, out);
            }
            out.push('\\');
            out.push(c);
            return rest;
        }
    };
    out.push_str(replacement);
    rest
}

fn push_plain<'a>(c: char, rest: &'a str, out: &mut String) -> &'a str {
    out.push(c);
    rest
}

/// Whether what follows `{` is `n}`, `n,}` or `n,m}`.
fn is_quantifier(after: &str) -> bool {
    let Some(end) = after.find('}') else { return false };
    let (low, high) = after[..end].split_once(',').unwrap_or((&after[..end], ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}
