//! Text to statements' tokens: the lexer splits at `;`, never the text (a `;` inside a literal or
//! a comment is part of it), bounds what a statement may cost, and knows where each token stands.
//!
//! Three phrases that PostgreSQL does not know are marked here, before the grammar sees them,
//! because it would read their first word as an alias: `EMIT CHANGES`, `AS OF TOKEN '…'` and a
//! sink's `INTO 'url'`. Two phrases that PostgreSQL knows and the grammar does not: `BETWEEN SYMMETRIC` (its
//! low bound becomes a call) and a frame's `EXCLUDE` (a last key of the window's order). `CHANGE_STREAM('s') SINCE 'a' UP TO 'b'` becomes a call with three arguments.

use std::ops::Range;
use std::sync::Arc;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::error::{Result, SqlError};

/// Longest text of one message, in bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// How deep the tree of a statement may become: a parenthesis costs 8, an operator 4, AND and OR 1
/// (long lists of alternatives are common, deep arithmetic is not).
const MAX_DEPTH_COST: usize = 2000;

/// Stands for `EMIT CHANGES`. Private-use characters cannot come from the tokenizer as such.
pub(super) const EMIT_CHANGES: Token = Token::Char('\u{E000}');
/// Stands for `AS OF TOKEN`, followed by its literal.
pub(super) const AS_OF_TOKEN: Token = Token::Char('\u{E001}');
/// Stands for `INTO` before a URL.
pub(super) const INTO_URL: Token = Token::Char('\u{E002}');

/// The call around the low bound of `BETWEEN SYMMETRIC`.
pub(crate) const SYMMETRIC: &str = "\u{E003}";
/// The names of window keys that stand for a frame's EXCLUDE begin with this.
pub(crate) const EXCLUDE: &str = "\u{E004}";

/// Where the lines of a text begin, to turn the grammar's line and column into PostgreSQL's
/// 1-based character position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceMap {
    text: Arc<str>,
    /// Byte offset and character offset of each line's first character.
    lines: Vec<(usize, usize)>,
}

impl SourceMap {
    pub fn new(text: &str) -> Self {
        let mut lines = vec![(0, 0)];
        for (chars, (byte, c)) in text.char_indices().enumerate() {
            if c == '\n' {
                lines.push((byte + 1, chars + 1));
            }
        }
        SourceMap { text: text.into(), lines }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The 1-based character offset of a location, if it is one (derived nodes have none).
    pub fn position(&self, location: Location) -> Option<usize> {
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?;
        self.lines.get(line).map(|(_, chars)| chars + column)
    }

    fn byte(&self, location: Location) -> Option<usize> {
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
        let (start, _) = *self.lines.get(line)?;
        let rest = self.text.get(start..)?;
        Some(rest.char_indices().nth(column).map_or(self.text.len(), |(at, _)| start + at))
    }

    /// The text between two locations.
    pub fn slice(&self, span: Span) -> &str {
        self.range(span).and_then(|range| self.text.get(range)).unwrap_or("")
    }

    pub(super) fn range(&self, span: Span) -> Option<Range<usize>> {
        Some(self.byte(span.start)?..self.byte(span.end)?)
    }

    /// The position of the first thing after `location` that is neither space nor `)`: where an
    /// operator stands, given the end of its left operand.
    pub fn position_after(&self, location: Location) -> Option<usize> {
        let start = self.byte(location)?;
        let skipped = self.text.get(start..)?.chars().take_while(|c| c.is_whitespace() || *c == ')').count();
        Some(self.position(location)? + skipped)
    }
}

/// The tokens of one statement, without its `;`.
pub(super) struct StatementTokens {
    pub tokens: Vec<TokenWithSpan>,
    pub range: Range<usize>,
}

/// Splits a text into its statements; empty ones are left out.
pub(super) fn split(source: &SourceMap) -> Result<Vec<StatementTokens>> {
    if source.text().len() > MAX_TEXT_BYTES {
        return Err(SqlError::new("54000", format!("statement is longer than {MAX_TEXT_BYTES} bytes")));
    }
    if source.text().contains('\0') {
        return Err(SqlError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, source.text()).tokenize_with_location().map_err(|e| {
        let message = e.message.to_ascii_lowercase();
        let message = if message.contains("unterminated") { message } else { format!("syntax error: {message}") };
        SqlError::syntax(message).at(source.position(e.location))
    })?;
    let mut statements = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        match token.token {
            Token::SemiColon => finish(source, std::mem::take(&mut current), &mut statements)?,
            Token::Whitespace(_) => {}
            _ => push_operator(token, &mut current),
        }
    }
    finish(source, current, &mut statements)?;
    Ok(statements)
}

/// As PostgreSQL's lexer has it, an operator ends in a sign only if one of `~ ! @ # % ^ & | \` ?` is in it:
/// `tags->-1` is an arrow and a sign.
fn push_operator(token: TokenWithSpan, into: &mut Vec<TokenWithSpan>) {
    let sign = match &token.token {
        Token::CustomBinaryOperator(text) if !text.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']) => {
            match text.split_at_checked(text.len() - 1) {
                Some(("->", "-")) => Some((Token::Arrow, Token::Minus)),
                Some(("->", "+")) => Some((Token::Arrow, Token::Plus)),
                Some(("->>", "-")) => Some((Token::LongArrow, Token::Minus)),
                Some(("->>", "+")) => Some((Token::LongArrow, Token::Plus)),
                _ => None,
            }
        }
        _ => None,
    };
    let Some((arrow, sign)) = sign else { return into.push(token) };
    let end = token.span.end;
    let middle = Location { line: end.line, column: end.column.saturating_sub(1) };
    into.push(TokenWithSpan { token: arrow, span: Span::new(token.span.start, middle) });
    into.push(TokenWithSpan { token: sign, span: Span::new(middle, end) });
}

fn finish(source: &SourceMap, tokens: Vec<TokenWithSpan>, into: &mut Vec<StatementTokens>) -> Result<()> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Ok(()) };
    let span = Span::new(first.span.start, last.span.end);
    let range = source.range(span).unwrap_or(0..source.text().len());
    check_depth(source, &tokens)?;
    into.push(StatementTokens { tokens: mark_phrases(tokens), range });
    Ok(())
}

/// One level of nesting: what its chains cost, and what of that a `,` or a new clause ends.
#[derive(Default)]
struct Level {
    /// Opened by CASE, closed by END; otherwise a parenthesis.
    case: bool,
    lasting: usize,
    chain: usize,
}

/// Refuses statements whose tree could be too deep for the stack of whoever walks it, before
/// anything walks it.
fn check_depth(source: &SourceMap, tokens: &[TokenWithSpan]) -> Result<()> {
    let mut levels = vec![Level::default()];
    let mut total = 0;
    for token in tokens {
        let opens = match &token.token {
            Token::LParen | Token::LBracket => Some(false),
            token if is_keyword(token, Keyword::CASE) => Some(true),
            _ => None,
        };
        if let Some(case) = opens {
            total += 8;
            levels.push(Level { case, ..Level::default() });
        }
        let nested = levels.len() > 1;
        let level = levels.last_mut().expect("the first level is never popped");
        let closes = match &token.token {
            Token::RParen | Token::RBracket => nested,
            token => nested && level.case && is_keyword(token, Keyword::END),
        };
        if closes {
            total -= 8 + level.lasting + level.chain;
            levels.pop();
        } else if opens.is_none() {
            let before = level.lasting + level.chain;
            weigh(&token.token, level);
            total = total + level.lasting + level.chain - before;
        }
        if total > MAX_DEPTH_COST {
            return Err(too_deep().at(source.position(token.span.start)));
        }
    }
    Ok(())
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.keyword == keyword)
}

fn weigh(token: &Token, level: &mut Level) {
    match token {
        Token::Comma => level.chain = 0,
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::AND | Keyword::OR => level.chain += 1,
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => level.lasting += 4,
            Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING => level.chain = 0,
            Keyword::NOT | Keyword::IS | Keyword::IN | Keyword::LIKE | Keyword::BETWEEN | Keyword::AT => {
                level.chain += 4;
            }
            _ => {}
        },
        Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::Period => {}
        _ => level.chain += 4,
    }
}

pub(super) fn too_deep() -> SqlError {
    SqlError::new("54001", "stack depth limit exceeded")
        .with_hint("Nest fewer expressions or subqueries in one statement.")
}

pub(super) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn is_string(token: Option<&TokenWithSpan>) -> bool {
    matches!(token.map(|t| &t.token), Some(Token::SingleQuotedString(_) | Token::Placeholder(_)))
}

fn mark_phrases(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let next = |n: usize, word: &str| tokens.get(at + n).is_some_and(|t| is_word(t, word));
        let span = tokens[at].span;
        let until = |n: usize| Span::new(span.start, tokens[at + n].span.end);
        if next(0, "EMIT") && next(1, "CHANGES") {
            out.push(TokenWithSpan { token: EMIT_CHANGES, span: until(1) });
            at += 2;
        } else if next(0, "AS") && next(1, "OF") && next(2, "TOKEN") && is_string(tokens.get(at + 3)) {
            out.push(TokenWithSpan { token: AS_OF_TOKEN, span: until(2) });
            at += 3;
        } else if next(0, "INTO") && is_string(tokens.get(at + 1)) {
            out.push(TokenWithSpan { token: INTO_URL, span });
            at += 1;
        } else if next(0, "SINCE") && is_string(tokens.get(at + 1)) && ends_stream_call(&out) {
            insert_bound(&mut out, "since", &tokens[at + 1], span);
            at += 2;
        } else if next(0, "UP") && next(1, "TO") && is_string(tokens.get(at + 2)) && ends_stream_call(&out) {
            insert_bound(&mut out, "up_to", &tokens[at + 2], span);
            at += 3;
        } else if next(0, "BETWEEN") && next(1, "SYMMETRIC") && ends_at_and(&tokens[at + 2..]).is_some() {
            let low = ends_at_and(&tokens[at + 2..]).expect("just seen");
            out.push(tokens[at].clone());
            let symmetric = until(1);
            out.push(TokenWithSpan { token: Token::make_word(SYMMETRIC, Some('"')), span: symmetric });
            out.push(TokenWithSpan { token: Token::LParen, span: symmetric });
            out.extend(mark_phrases(tokens[at + 2..at + 2 + low].to_vec()));
            out.push(TokenWithSpan { token: Token::RParen, span: symmetric });
            at += 2 + low;
        } else if let Some((name, length)) = exclusion(&tokens[at..])
            && mark_exclusion(&mut out, name, until(length - 1))
        {
            at += length;
        } else {
            out.push(tokens[at].clone());
            at += 1;
        }
    }
    out
}

/// How many tokens stand before the AND of a BETWEEN.
fn ends_at_and(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0usize;
    for (n, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            token if is_keyword(token, Keyword::CASE) => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            token if is_keyword(token, Keyword::END) => depth = depth.checked_sub(1)?,
            token if depth == 0 && is_keyword(token, Keyword::AND) => return (n > 0).then_some(n),
            Token::Comma if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// `EXCLUDE …` at the end of a window: what it excludes, and its length.
fn exclusion(tokens: &[TokenWithSpan]) -> Option<(&'static str, usize)> {
    const FORMS: [(&[&str], &str); 4] = [
        (&["EXCLUDE", "CURRENT", "ROW"], "current row"),
        (&["EXCLUDE", "GROUP"], "group"),
        (&["EXCLUDE", "TIES"], "ties"),
        (&["EXCLUDE", "NO", "OTHERS"], "no others"),
    ];
    let (words, name) = FORMS.iter().find(|(words, _)| {
        words.iter().enumerate().all(|(n, word)| tokens.get(n).is_some_and(|token| is_word(token, word)))
    })?;
    tokens.get(words.len()).is_some_and(|token| token.token == Token::RParen).then_some((*name, words.len()))
}

/// Puts the exclusion before the frame that the output ends in, as the last key of the window's order.
fn mark_exclusion(out: &mut Vec<TokenWithSpan>, name: &str, span: Span) -> bool {
    let (mut depth, mut frame, mut ordered) = (0usize, None, false);
    for (n, token) in out.iter().enumerate().rev() {
        match &token.token {
            Token::RParen | Token::RBracket => depth += 1,
            Token::LParen | Token::LBracket if depth == 0 => break,
            Token::LParen | Token::LBracket => depth -= 1,
            _ if depth > 0 => {}
            _ if ["ROWS", "RANGE", "GROUPS"].iter().any(|unit| is_word(token, unit)) => frame = Some(n),
            _ => ordered |= is_word(token, "ORDER"),
        }
    }
    let Some(frame) = frame else { return false };
    let word = |text: &str, quote| TokenWithSpan { token: Token::make_word(text, quote), span };
    let key = word(&format!("{EXCLUDE}{name}"), Some('"'));
    let before = match ordered {
        true => vec![TokenWithSpan { token: Token::Comma, span }, key],
        false => vec![word("ORDER", None), word("BY", None), key],
    };
    out.splice(frame..frame, before);
    true
}

/// Does the output end in `CHANGE_STREAM(…)`, bounds included?
fn ends_stream_call(out: &[TokenWithSpan]) -> bool {
    if out.last().is_none_or(|t| t.token != Token::RParen) {
        return false;
    }
    // The call has at most nine tokens: name, parentheses, three arguments, two bound names with arrows.
    let open = out.iter().rev().take(16).position(|t| t.token == Token::LParen);
    open.is_some_and(|back| back + 2 <= out.len() && is_word(&out[out.len() - 2 - back], "CHANGE_STREAM"))
}

/// `…)` becomes `…, name => 'value')`.
fn insert_bound(out: &mut Vec<TokenWithSpan>, name: &str, value: &TokenWithSpan, span: Span) {
    let close = out.pop().expect("ends_stream_call saw the parenthesis");
    out.push(TokenWithSpan { token: Token::Comma, span });
    out.push(TokenWithSpan { token: Token::make_word(name, None), span });
    out.push(TokenWithSpan { token: Token::RArrow, span });
    out.push(value.clone());
    out.push(close);
}
