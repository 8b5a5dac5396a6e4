//! A position in one statement's tokens: the grammar's primitives with our errors and positions.

use std::sync::Arc;

use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::lexer::{SourceMap, StatementTokens, is_word, too_deep};
use super::statement::Name;
use crate::error::{Result, SqlError};

/// Nested expressions and queries that the grammar follows; its own stack grows as needed.
const RECURSION_LIMIT: usize = 100;

static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

pub(super) struct Cursor {
    parser: Parser<'static>,
    tokens: Vec<TokenWithSpan>,
    pub source: Arc<SourceMap>,
}

impl Cursor {
    pub fn new(statement: StatementTokens, source: Arc<SourceMap>) -> Self {
        let parser = Parser::new(&DIALECT)
            .with_recursion_limit(RECURSION_LIMIT)
            .with_tokens_with_locations(statement.tokens.clone());
        Cursor { parser, tokens: statement.tokens, source }
    }

    /// Runs one of the grammar's own parsers.
    pub fn run<T>(&mut self, parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>) -> Result<T> {
        parse(&mut self.parser).map_err(|e| self.convert(e))
    }

    pub fn expr(&mut self) -> Result<ast::Expr> {
        self.run(|p| p.parse_expr())
    }

    pub fn peek(&self) -> &TokenWithSpan {
        self.parser.peek_token_ref()
    }

    pub fn at_end(&self) -> bool {
        self.peek().token == Token::EOF
    }

    /// Is the n-th token from here this word?
    pub fn peek_word(&self, n: usize, word: &str) -> bool {
        is_word(self.parser.peek_nth_token_ref(n), word)
    }

    /// Consumes these words if they come next.
    pub fn words(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(n, word)| self.peek_word(n, word));
        if all {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        all
    }

    pub fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    pub fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.word(word) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    pub fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    /// The position of the next token.
    pub fn position(&self) -> Option<usize> {
        self.source.position(self.peek().span.start)
    }

    /// A syntax error at the next token.
    pub fn unexpected(&self) -> SqlError {
        syntax_error(&self.source, self.peek())
    }

    pub fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// An identifier, folded as PostgreSQL folds it.
    pub fn identifier(&mut self) -> Result<String> {
        match &self.peek().token {
            Token::Word(_) => Ok(fold(&self.run(|p| p.parse_identifier())?)),
            _ => Err(self.unexpected()),
        }
    }

    /// `name` or `db.name`.
    pub fn name(&mut self) -> Result<Name> {
        let position = self.position();
        let first = self.identifier()?;
        if self.token(&Token::Period) {
            return Ok(Name { db: Some(first), name: self.identifier()?, position });
        }
        Ok(Name { db: None, name: first, position })
    }

    /// A string literal.
    pub fn string(&mut self) -> Result<String> {
        match self.peek().token.clone() {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                self.parser.advance_token();
                Ok(text)
            }
            Token::DollarQuotedString(quoted) => {
                self.parser.advance_token();
                Ok(quoted.value)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Where the next token begins; pair with `text_since`.
    pub fn mark(&self) -> Location {
        self.peek().span.start
    }

    /// The source text from `mark` to the last consumed token.
    pub fn text_since(&self, mark: Location) -> String {
        let end = match self.parser.get_current_token() {
            TokenWithSpan { token: Token::EOF, .. } => self.tokens.last().map_or(mark, |t| t.span.end),
            token => token.span.end,
        };
        self.source.slice(Span::new(mark, end)).trim().to_string()
    }

    /// The grammar reports "Expected: …, found: … at Line: l, Column: c".
    fn convert(&self, error: ParserError) -> SqlError {
        let message = match error {
            ParserError::RecursionLimitExceeded => return too_deep().at(self.position()),
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        match location_of(&message) {
            Some(location) => match self.tokens.iter().position(|t| t.span.start == location) {
                Some(index) => syntax_error(&self.source, &self.tokens[self.furthest(index)]),
                None => end_of_input(&self.source),
            },
            None if message.contains("EOF") => end_of_input(&self.source),
            None => syntax_error(&self.source, self.parser.get_current_token()).with_detail(message),
        }
    }

    /// The grammar tries `(SELECT …)` in FROM first as a query and, when that fails, as a join whose
    /// first table is called "select"; it then reports the second failure. This finds the first.
    fn furthest(&self, index: usize) -> usize {
        let mut at = index;
        while at > 0 && ["SELECT", "WITH", "VALUES"].iter().any(|word| is_word(&self.tokens[at - 1], word)) {
            let from = at - 1;
            let mut parser = Parser::new(&DIALECT)
                .with_recursion_limit(RECURSION_LIMIT)
                .with_tokens_with_locations(self.tokens[from..].to_vec());
            let result = parser.parse_query().and_then(|_| parser.expect_token(&Token::RParen).map(|_| ()));
            let found = match result {
                Err(ParserError::ParserError(message)) => {
                    location_of(&message).and_then(|location| self.tokens.iter().position(|t| t.span.start == location))
                }
                _ => None,
            };
            match found {
                Some(found) if found > at => at = found,
                _ => break,
            }
        }
        at
    }
}

fn location_of(message: &str) -> Option<Location> {
    let (_, tail) = message.rsplit_once(" at Line: ")?;
    let (line, column) = tail.split_once(", Column: ")?;
    Some(Location { line: line.parse().ok()?, column: column.parse().ok()? })
}

fn end_of_input(source: &SourceMap) -> SqlError {
    SqlError::syntax("syntax error at end of input").at(Some(source.text().chars().count() + 1))
}

fn syntax_error(source: &SourceMap, token: &TokenWithSpan) -> SqlError {
    if token.token == Token::EOF {
        return end_of_input(source);
    }
    let near = source.slice(token.span);
    SqlError::syntax(format!("syntax error at or near \"{near}\"")).at(source.position(token.span.start))
}

/// Unquoted identifiers are lower case, and names have at most 63 bytes in PostgreSQL; longer ones
/// are kept here, because collections may have them.
pub(crate) fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}
