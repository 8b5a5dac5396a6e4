//! CREATE, ALTER, DROP CHANGE STREAM.

use std::time::Duration;

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::options::Options;
use super::statement::*;
use crate::error::{Result, SqlError};

/// Operation types that a change event may have.
const OPERATION_TYPES: [&str; 18] = [
    "insert",
    "update",
    "replace",
    "delete",
    "invalidate",
    "drop",
    "dropDatabase",
    "rename",
    "create",
    "createIndexes",
    "dropIndexes",
    "modify",
    "shardCollection",
    "reshardCollection",
    "refineCollectionShardKey",
    "startIndexBuild",
    "abortIndexBuild",
    "commitIndexBuild",
];

/// After `CREATE [OR REPLACE] CHANGE STREAM`.
pub(super) fn create(cursor: &mut Cursor, or_replace: bool) -> Result<Statement> {
    let if_not_exists = cursor.words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name()?;
    cursor.expect_words(&["ON"])?;
    let on = scope(cursor)?;
    let mut options = Options::none("change stream");
    if cursor.word("WITH") {
        options = Options::parse(cursor, "change stream")?;
    }
    let options = stream_options(options)?;
    let filter = if cursor.word("FILTER") { Some(parenthesized_predicate(cursor)?) } else { None };
    Ok(Statement::CreateChangeStream(Box::new(CreateChangeStream {
        or_replace,
        if_not_exists,
        name,
        on,
        options,
        filter,
    })))
}

fn scope(cursor: &mut Cursor) -> Result<StreamScope> {
    if cursor.peek_word(0, "DATABASE") && !cursor.peek_word(1, "WITH") {
        cursor.word("DATABASE");
        return Ok(StreamScope::Database(cursor.identifier()?));
    }
    if cursor.word("CLUSTER") {
        return Ok(StreamScope::Cluster);
    }
    cursor.word("COLLECTION");
    Ok(StreamScope::Collection(cursor.name()?))
}

/// `(predicate)`, an optional WHERE inside as in an aggregate's FILTER.
fn parenthesized_predicate(cursor: &mut Cursor) -> Result<Predicate> {
    cursor.expect_token(&Token::LParen)?;
    cursor.word("WHERE");
    let predicate = predicate(cursor)?;
    cursor.expect_token(&Token::RParen)?;
    Ok(predicate)
}

pub(super) fn predicate(cursor: &mut Cursor) -> Result<Predicate> {
    let mark = cursor.mark();
    let ast = cursor.expr()?;
    Ok(Predicate { ast, text: cursor.text_since(mark), source: cursor.source.clone() })
}

fn stream_options(mut options: Options) -> Result<StreamOptions> {
    let second = Duration::from_secs(1);
    let result = StreamOptions {
        full_document: options.choice(
            "full_document",
            &[
                ("default", FullDocument::Default),
                ("updateLookup", FullDocument::UpdateLookup),
                ("whenAvailable", FullDocument::WhenAvailable),
                ("required", FullDocument::Required),
            ],
        )?,
        full_document_before_change: options.choice(
            "full_document_before_change",
            &[
                ("off", FullDocumentBeforeChange::Off),
                ("whenAvailable", FullDocumentBeforeChange::WhenAvailable),
                ("required", FullDocumentBeforeChange::Required),
            ],
        )?,
        operation_types: operation_types(options.texts("operation_types")?)?,
        batch_size: options.count("batch_size")?,
        max_await_time: options.duration("max_await_time_ms", Duration::from_millis(1))?,
        retention: options.duration("retention", second)?,
        start_at: start_at(options.text("start_at")?)?,
        show_expanded_events: options.boolean("show_expanded_events")?,
    };
    options.finish()?;
    Ok(result)
}

fn operation_types(names: Option<Vec<String>>) -> Result<Option<Vec<String>>> {
    let Some(names) = names else { return Ok(None) };
    names
        .iter()
        .map(|name| match OPERATION_TYPES.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) => Ok(known.to_string()),
            None => Err(SqlError::new("22023", format!("unknown operation type '{name}'"))
                .with_hint(format!("Operation types are: {}.", OPERATION_TYPES.join(", ")))),
        })
        .collect::<Result<Vec<_>>>()
        .map(Some)
}

fn start_at(text: Option<String>) -> Result<Option<StartAt>> {
    let Some(text) = text else { return Ok(None) };
    Ok(Some(match text.to_ascii_lowercase().as_str() {
        "now" => StartAt::Now,
        "earliest" => StartAt::Earliest,
        // Resume tokens are hexadecimal and begin with the key string's type byte of a timestamp.
        hex if hex.starts_with("82") && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            StartAt::Token(text.to_ascii_uppercase())
        }
        _ => match parse_time(text.trim()) {
            Some(us) => StartAt::Time(us),
            None => {
                return Err(SqlError::new("22023", format!("invalid value for option \"start_at\": '{text}'"))
                    .with_hint("It must be 'now', 'earliest', a resume token or a timestamp."));
            }
        },
    }))
}

/// Without an offset the time is UTC.
fn parse_time(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let local: jiff::civil::DateTime = text.parse().ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(local).ok().map(|instant| instant.as_microsecond())
}

/// After `ALTER CHANGE STREAM`.
pub(super) fn alter(cursor: &mut Cursor) -> Result<Statement> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    let action = if cursor.word("PAUSE") {
        StreamAction::Pause
    } else if cursor.word("RESUME") {
        StreamAction::Resume
    } else if cursor.word("RESNAPSHOT") {
        let chosen = if cursor.word("WHERE") { Some(Box::new(predicate(cursor)?)) } else { None };
        StreamAction::Resnapshot(chosen)
    } else if cursor.word("SET") {
        StreamAction::Set(stream_options(Options::parse(cursor, "change stream")?)?)
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Statement::AlterChangeStream { name, if_exists, action })
}

/// After `DROP CHANGE STREAM`.
pub(super) fn drop(cursor: &mut Cursor) -> Result<Statement> {
    let (if_exists, names, cascade) = drop_tail(cursor)?;
    Ok(Statement::DropChangeStream { names, if_exists, cascade })
}

/// `[IF EXISTS] name, … [CASCADE | RESTRICT]`.
pub(super) fn drop_tail(cursor: &mut Cursor) -> Result<(bool, Vec<Name>, bool)> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let mut names = vec![cursor.name()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.name()?);
    }
    let cascade = cursor.word("CASCADE");
    if !cascade {
        cursor.word("RESTRICT");
    }
    Ok((if_exists, names, cascade))
}
