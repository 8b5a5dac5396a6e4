//! Statements that read: queries, views, SUBSCRIBE, COPY … TO STDOUT, cursors, EXPLAIN.

use std::time::Duration;

use sqlparser::ast::SetExpr;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::lexer::{AS_OF_TOKEN, EMIT_CHANGES};
use super::options::Options;
use super::statement::*;
use super::{no_writes, statement};
use crate::error::{Result, SqlError};

pub(super) fn begins_query(cursor: &Cursor) -> bool {
    ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|word| cursor.peek_word(0, word))
        || cursor.peek().token == Token::LParen
}

/// A query and its tails.
pub(super) fn query(cursor: &mut Cursor) -> Result<Query> {
    let mark = cursor.mark();
    let position = cursor.position();
    let ast = cursor.run(|p| p.parse_query())?;
    if matches!(*ast.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)) {
        return Err(no_writes("data modification").at(position));
    }
    let text = cursor.text_since(mark);
    let mut emit_changes = false;
    let mut as_of = None;
    loop {
        if !emit_changes && cursor.token(&EMIT_CHANGES) {
            emit_changes = true;
        } else if as_of.is_none() && cursor.token(&AS_OF_TOKEN) {
            as_of = Some(cursor.string()?);
        } else {
            return Ok(Query { ast, emit_changes, as_of, text, source: cursor.source.clone() });
        }
    }
}

// ---- views -------------------------------------------------------------------------------------

/// After `CREATE [OR REPLACE] MATERIALIZED VIEW`.
pub(super) fn create_view(cursor: &mut Cursor, or_replace: bool) -> Result<Statement> {
    let if_not_exists = cursor.words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name()?;
    let mut columns = Vec::new();
    if cursor.token(&Token::LParen) {
        columns.push(cursor.identifier()?);
        while cursor.token(&Token::Comma) {
            columns.push(cursor.identifier()?);
        }
        cursor.expect_token(&Token::RParen)?;
    }
    let mut options = Options::none("materialized view");
    if cursor.word("WITH") {
        options = Options::parse(cursor, "materialized view")?;
    }
    let options = view_options(options)?;
    cursor.expect_words(&["AS"])?;
    let position = cursor.position();
    let query = query(cursor)?;
    if query.emit_changes || query.as_of.is_some() {
        return Err(SqlError::syntax("a materialized view's query cannot have EMIT CHANGES or AS OF TOKEN")
            .with_hint("A materialized view is kept up to date by itself.")
            .at(position));
    }
    if cursor.words(&["WITH", "NO", "DATA"]) {
        return Err(SqlError::unsupported("WITH NO DATA"));
    }
    cursor.words(&["WITH", "DATA"]);
    Ok(Statement::CreateMaterializedView(Box::new(CreateView {
        or_replace,
        if_not_exists,
        name,
        columns,
        options,
        query,
    })))
}

pub(super) const ON_ERROR: [(&str, OnError); 4] =
    [("fail", OnError::Fail), ("stop", OnError::Fail), ("skip", OnError::Skip), ("dead_letter", OnError::DeadLetter)];

/// A view can also go on with NULL.
const VIEW_ON_ERROR: [(&str, OnError); 5] = [
    ("fail", OnError::Fail),
    ("stop", OnError::Fail),
    ("null", OnError::Null),
    ("skip", OnError::Skip),
    ("dead_letter", OnError::DeadLetter),
];

/// After `ALTER MATERIALIZED VIEW`.
pub(super) fn alter_view(cursor: &mut Cursor) -> Result<Statement> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    cursor.expect_words(&["SET"])?;
    let options = view_options(Options::parse(cursor, "materialized view")?)?;
    Ok(Statement::AlterMaterializedView { name, if_exists, options })
}

fn view_options(mut options: Options) -> Result<ViewOptions> {
    let result = ViewOptions {
        retention: options.duration("retention", Duration::from_secs(1))?,
        max_state_rows: options.number("max_state_rows", "a whole number of rows, 0 for any number")?,
        max_state_bytes: options.size("max_state_bytes")?,
        on_error: options.choice("on_error", &VIEW_ON_ERROR)?,
    };
    options.finish()?;
    Ok(result)
}

// ---- SUBSCRIBE ---------------------------------------------------------------------------------

/// After `SUBSCRIBE`.
pub(super) fn subscribe(cursor: &mut Cursor) -> Result<Subscribe> {
    cursor.word("TO");
    let source = match cursor.peek().token {
        Token::LParen => {
            cursor.expect_token(&Token::LParen)?;
            let query = query(cursor)?;
            cursor.expect_token(&Token::RParen)?;
            SubscribeSource::Query(query)
        }
        _ if begins_query(cursor) => SubscribeSource::Query(query(cursor)?),
        _ => SubscribeSource::Name(cursor.name()?),
    };
    let mut as_of = None;
    if cursor.token(&AS_OF_TOKEN) {
        as_of = Some(cursor.string()?);
    }
    let mut options = Options::none("subscription");
    if cursor.word("WITH") {
        options = Options::parse(cursor, "subscription")?;
    }
    let snapshot = options.boolean("snapshot")?.unwrap_or(as_of.is_none());
    let progress = options.boolean("progress")?.unwrap_or(false);
    if let Some(token) = options.text("as_of")? {
        as_of = Some(token);
    }
    options.finish()?;
    Ok(Subscribe { source, snapshot, progress, as_of })
}

/// A query or a SUBSCRIBE; a query with EMIT CHANGES stays a query.
fn rows(cursor: &mut Cursor) -> Result<Rows> {
    if cursor.word("SUBSCRIBE") {
        return Ok(Rows::Subscribe(Box::new(subscribe(cursor)?)));
    }
    if !begins_query(cursor) {
        return Err(cursor.unexpected());
    }
    Ok(Rows::Query(query(cursor)?))
}

// ---- COPY --------------------------------------------------------------------------------------

/// After `COPY`.
pub(super) fn copy(cursor: &mut Cursor) -> Result<Statement> {
    let rows = if cursor.token(&Token::LParen) {
        let rows = rows(cursor)?;
        cursor.expect_token(&Token::RParen)?;
        rows
    } else {
        Rows::Query(copied_table(cursor)?)
    };
    if cursor.peek_word(0, "FROM") {
        return Err(no_writes("COPY FROM").at(cursor.position()));
    }
    cursor.expect_words(&["TO"])?;
    if !cursor.word("STDOUT") {
        return Err(SqlError::unsupported("COPY to a file or program")
            .with_hint("Use COPY … TO STDOUT, or psql's \\copy.")
            .at(cursor.position()));
    }
    let (with, position) = (cursor.word("WITH"), cursor.position());
    let mut copy =
        Copy { rows, format: CopyFormat::Text, header: false, delimiter: None, null: None, quote: None, escape: None };
    if cursor.peek().token == Token::LParen {
        copy_options(cursor, &mut copy)?;
    } else {
        legacy_copy_options(cursor, &mut copy)?;
    }
    if with && cursor.position() == position {
        return Err(cursor.unexpected());
    }
    if copy.format == CopyFormat::Binary && (copy.header || copy.delimiter.is_some() || copy.null.is_some()) {
        return Err(SqlError::syntax("cannot specify HEADER, DELIMITER or NULL in BINARY mode"));
    }
    Ok(Statement::Copy(Box::new(copy)))
}

/// `table [(column, …)]`: the same as a query over it, so that one path serves both.
fn copied_table(cursor: &mut Cursor) -> Result<Query> {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let name = cursor.name()?;
    let mut columns = Vec::new();
    if cursor.token(&Token::LParen) {
        columns.push(quote(&cursor.identifier()?));
        while cursor.token(&Token::Comma) {
            columns.push(quote(&cursor.identifier()?));
        }
        cursor.expect_token(&Token::RParen)?;
    }
    let list = if columns.is_empty() { "*".to_string() } else { columns.join(", ") };
    let table = match &name.db {
        Some(db) => format!("{}.{}", quote(db), quote(&name.name)),
        None => quote(&name.name),
    };
    match super::parse(&format!("SELECT {list} FROM {table}"))?.pop().map(|p| p.statement) {
        Some(Statement::Query(query)) => Ok(query),
        _ => Err(SqlError::internal("COPY's query is not a query")),
    }
}

fn copy_options(cursor: &mut Cursor, copy: &mut Copy) -> Result<()> {
    let mut options = Options::parse(cursor, "COPY")?;
    let formats = [("text", CopyFormat::Text), ("csv", CopyFormat::Csv), ("binary", CopyFormat::Binary)];
    copy.format = options.choice("format", &formats)?.unwrap_or(CopyFormat::Text);
    copy.header = options.boolean("header")?.unwrap_or(false);
    copy.null = options.text("null")?;
    copy.delimiter = one_character("delimiter", options.text("delimiter")?)?;
    copy.quote = one_character("quote", options.text("quote")?)?;
    copy.escape = one_character("escape", options.text("escape")?)?;
    if options.text("encoding")?.is_some_and(|name| !is_utf8(&name)) {
        return Err(SqlError::unsupported("an encoding other than UTF8"));
    }
    options.finish()
}

fn is_utf8(name: &str) -> bool {
    ["utf8", "utf-8", "unicode"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn one_character(name: &str, text: Option<String>) -> Result<Option<char>> {
    let Some(text) = text else { return Ok(None) };
    match (text.chars().next(), text.len()) {
        (Some(c), 1) if c.is_ascii() && c != '\n' && c != '\r' => Ok(Some(c)),
        _ => Err(SqlError::new("0A000", format!("COPY {name} must be a single one-byte character"))),
    }
}

/// `CSV HEADER DELIMITER ','`, from before options had parentheses.
fn legacy_copy_options(cursor: &mut Cursor, copy: &mut Copy) -> Result<()> {
    loop {
        if cursor.word("CSV") {
            copy.format = CopyFormat::Csv;
        } else if cursor.word("BINARY") {
            copy.format = CopyFormat::Binary;
        } else if cursor.word("HEADER") {
            copy.header = true;
        } else if cursor.word("DELIMITER") {
            cursor.word("AS");
            copy.delimiter = one_character("delimiter", Some(cursor.string()?))?;
        } else if cursor.word("NULL") {
            cursor.word("AS");
            copy.null = Some(cursor.string()?);
        } else if cursor.word("QUOTE") {
            cursor.word("AS");
            copy.quote = one_character("quote", Some(cursor.string()?))?;
        } else if cursor.word("ESCAPE") {
            cursor.word("AS");
            copy.escape = one_character("escape", Some(cursor.string()?))?;
        } else {
            return Ok(());
        }
    }
}

// ---- cursors -----------------------------------------------------------------------------------

/// After `DECLARE`.
pub(super) fn declare(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.identifier()?;
    let mut binary = false;
    loop {
        if cursor.word("BINARY") {
            binary = true;
        } else if cursor.word("INSENSITIVE") || cursor.word("ASENSITIVE") || cursor.words(&["NO", "SCROLL"]) {
            // What every cursor here is.
        } else if cursor.peek_word(0, "SCROLL") {
            return Err(SqlError::unsupported("SCROLL cursor").at(cursor.position()));
        } else {
            break;
        }
    }
    cursor.expect_words(&["CURSOR"])?;
    let hold = cursor.words(&["WITH", "HOLD"]);
    if !hold {
        cursor.words(&["WITHOUT", "HOLD"]);
    }
    cursor.expect_words(&["FOR"])?;
    Ok(Statement::DeclareCursor { name, hold, binary, rows: rows(cursor)? })
}

/// After `FETCH` or `MOVE`: `[direction] [FROM | IN] cursor`.
pub(super) fn fetch(cursor: &mut Cursor, move_only: bool) -> Result<Statement> {
    let position = cursor.position();
    let backward = || {
        Err(SqlError::new("55000", "cursor can only scan forward")
            .with_hint("Cursors here do not go back.")
            .at(position))
    };
    let mut direction = true;
    let count = if cursor.word("NEXT") {
        FetchCount::Forward(1)
    } else if cursor.word("ALL") {
        FetchCount::All
    } else if cursor.word("FORWARD") {
        forward_count(cursor)?
    } else if matches!(cursor.peek().token, Token::Number(..)) {
        FetchCount::Forward(count(cursor)?)
    } else if ["PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "BACKWARD"].iter().any(|w| cursor.peek_word(0, w))
        || cursor.peek().token == Token::Minus
    {
        return backward();
    } else {
        direction = false;
        FetchCount::Forward(1)
    };
    if !cursor.word("FROM") && !cursor.word("IN") && direction && cursor.at_end() {
        return Err(cursor.unexpected());
    }
    Ok(Statement::Fetch { cursor: cursor.identifier()?, count, move_only })
}

fn forward_count(cursor: &mut Cursor) -> Result<FetchCount> {
    if cursor.word("ALL") {
        return Ok(FetchCount::All);
    }
    if matches!(cursor.peek().token, Token::Number(..)) {
        return Ok(FetchCount::Forward(count(cursor)?));
    }
    Ok(FetchCount::Forward(1))
}

fn count(cursor: &mut Cursor) -> Result<u64> {
    let position = cursor.position();
    match cursor.next().token {
        Token::Number(digits, _) => {
            digits.parse().map_err(|_| SqlError::syntax(format!("invalid row count \"{digits}\"")).at(position))
        }
        _ => Err(SqlError::syntax("a row count must be a number").at(position)),
    }
}

// ---- EXPLAIN -----------------------------------------------------------------------------------

/// After `EXPLAIN`.
pub(super) fn explain(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.words(&["CHANGE", "STREAM"]) {
        return Ok(Statement::ExplainChangeStream { name: cursor.name()? });
    }
    let (mut analyze, mut verbose, mut format) = (false, false, ExplainFormat::Text);
    let has_options = cursor.peek().token == Token::LParen
        && ["ANALYZE", "VERBOSE", "COSTS", "BUFFERS", "TIMING", "SUMMARY", "FORMAT", "SETTINGS", "WAL"]
            .iter()
            .any(|w| cursor.peek_word(1, w));
    if has_options {
        let mut options = Options::parse(cursor, "EXPLAIN")?;
        analyze = options.boolean("analyze")?.unwrap_or(false);
        verbose = options.boolean("verbose")?.unwrap_or(false);
        let formats = [("text", ExplainFormat::Text), ("json", ExplainFormat::Json)];
        format = options.choice("format", &formats)?.unwrap_or(ExplainFormat::Text);
        for ignored in ["costs", "buffers", "timing", "summary", "settings", "wal"] {
            options.boolean(ignored)?;
        }
        options.finish()?;
    } else {
        analyze |= cursor.word("ANALYZE");
        verbose |= cursor.word("VERBOSE");
    }
    let statement = statement(cursor)?;
    Ok(Statement::Explain(Box::new(Explain { analyze, verbose, format, statement })))
}
