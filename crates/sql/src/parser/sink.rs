//! Sinks and their dead letters.

use std::time::Duration;

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::lexer::INTO_URL;
use super::options::Options;
use super::read::{ON_ERROR, query};
use super::statement::*;
use super::stream::{drop_tail, predicate};
use crate::error::{Result, SqlError};

/// After `CREATE [OR REPLACE] SINK`.
pub(super) fn create(cursor: &mut Cursor, or_replace: bool) -> Result<Statement> {
    let if_not_exists = cursor.words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name()?;
    let source = if cursor.word("FROM") {
        source(cursor)?
    } else {
        cursor.expect_words(&["AS"])?;
        SinkSource::Query(query(cursor)?)
    };
    cursor.expect_token(&INTO_URL)?;
    let position = cursor.position();
    let url = cursor.string()?;
    if !url.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()) {
        return Err(SqlError::new("22023", format!("invalid sink target '{url}'"))
            .with_hint("A target is a URL such as 'https://example.com/hook' or 'nats://host/subject'.")
            .at(position));
    }
    let mut options = Options::none("sink");
    if cursor.word("WITH") {
        options = Options::parse(cursor, "sink")?;
    }
    let options = sink_options(options)?;
    Ok(Statement::CreateSink(Box::new(CreateSink { or_replace, if_not_exists, name, source, url, options })))
}

fn source(cursor: &mut Cursor) -> Result<SinkSource> {
    let name = cursor.name()?;
    if name.db.is_some() || name.name != "change_stream" || !cursor.token(&Token::LParen) {
        return Ok(SinkSource::Name(name));
    }
    let position = cursor.position();
    let name = cursor.string()?;
    cursor.expect_token(&Token::RParen)?;
    Ok(SinkSource::Stream { name, position })
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn sink_options(mut options: Options) -> Result<SinkOptions> {
    let second = Duration::from_secs(1);
    let formats = ["json", "extended_json", "plain", "cloudevents", "cloudevents_binary", "debezium"].map(|f| (f, f));
    let result = SinkOptions {
        key: options.texts("key")?,
        max_retries: options.number("max_retries", "an integer from 0")?,
        retry_delay: options.duration("retry_delay", second)?,
        max_retry_delay: options.duration("max_retry_delay", second)?,
        timeout: options.duration("timeout", second)?,
        batch_size: options.count("batch_size")?,
        batch_bytes: options.count("batch_bytes")?,
        batch_delay: options.duration("batch_delay", Duration::from_millis(1))?,
        priority: options.text("priority")?,
        parallelism: options.count("parallelism")?,
        on_error: options.choice("on_error", &ON_ERROR)?,
        format: options.choice("format", &formats)?.map(str::to_string),
        snapshot: options.boolean("snapshot")?,
        table: options.text("table")?,
        headers: options.texts("headers")?,
        secret: options.text("secret")?,
    };
    options.finish()?;
    Ok(result)
}

/// After `ALTER SINK`.
pub(super) fn alter(cursor: &mut Cursor) -> Result<Statement> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    let action = if cursor.word("PAUSE") {
        SinkAction::Pause
    } else if cursor.word("RESUME") {
        SinkAction::Resume
    } else if cursor.word("REPLAY") {
        let since = if cursor.word("SINCE") || cursor.word("FROM") { Some(cursor.string()?) } else { None };
        SinkAction::Replay { since }
    } else if cursor.word("SET") {
        SinkAction::Set(Box::new(sink_options(Options::parse(cursor, "sink")?)?))
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Statement::AlterSink { name, if_exists, action })
}

/// After `DROP SINK`.
pub(super) fn drop(cursor: &mut Cursor) -> Result<Statement> {
    let (if_exists, names, cascade) = drop_tail(cursor)?;
    Ok(Statement::DropSink { names, if_exists, cascade })
}

/// After `REDRIVE` or `DISCARD`: `DEAD LETTERS FROM sink [WHERE predicate]`.
pub(super) fn dead_letters(cursor: &mut Cursor) -> Result<(Name, Option<Predicate>)> {
    cursor.expect_words(&["DEAD", "LETTERS", "FROM"])?;
    let sink = cursor.name()?;
    let filter = if cursor.word("WHERE") { Some(predicate(cursor)?) } else { None };
    if cursor.peek().token == Token::Comma {
        return Err(cursor.unexpected());
    }
    Ok((sink, filter))
}
