//! Text to statements: PostgreSQL's grammar for queries, our own for everything around them.
//!
//! ```text
//!   text --lexer--> tokens per statement --cursor--> Statement
//! ```
//!
//! Names are folded here, and nothing else is decided: whether they exist is the binder's question.
//!
//! # Invariants
//! - A statement that comes out is shallow enough for a recursive walk (`lexer::check_depth`).
//! - Errors are SQLSTATE 42601 with the 1-based character position in the whole text.
//!
//! Read next: `statement.rs`, then `lexer.rs`, `cursor.rs`, and one file per family.

mod cursor;
mod lexer;
mod options;
mod read;
mod session;
mod sink;
pub mod statement;
mod stream;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use cursor::fold;
pub(crate) use lexer::{EXCLUDE, SYMMETRIC};
pub use lexer::{MAX_TEXT_BYTES, SourceMap};
pub use statement::Statement;

use cursor::Cursor;
use statement::Transaction;

use crate::error::{Result, SqlError};

/// A statement and where it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedStatement {
    pub statement: Statement,
    /// Bytes of the text, without the `;`.
    pub range: Range<usize>,
}

/// All statements of a text, in order.
///
/// ```
/// let parsed = sql::parser::parse("SELECT ';'; SHOW CHANGE STREAMS").unwrap();
/// assert_eq!(parsed.len(), 2);
/// ```
pub fn parse(text: &str) -> Result<Vec<ParsedStatement>> {
    let source = Arc::new(SourceMap::new(text));
    lexer::split(&source)?
        .into_iter()
        .map(|tokens| {
            let range = tokens.range.clone();
            let mut cursor = Cursor::new(tokens, source.clone());
            let statement = statement(&mut cursor)?;
            cursor.expect_end()?;
            Ok(ParsedStatement { statement, range })
        })
        .collect()
}

/// An expression alone, as the catalogue keeps a stream's filter.
pub fn parse_predicate(text: &str) -> Result<statement::Predicate> {
    let source = Arc::new(SourceMap::new(text));
    let mut statements = lexer::split(&source)?;
    let (Some(tokens), true) = (statements.pop(), statements.is_empty()) else {
        return Err(SqlError::syntax("expected one expression"));
    };
    let mut cursor = Cursor::new(tokens, source);
    let predicate = stream::predicate(&mut cursor)?;
    cursor.expect_end()?;
    Ok(predicate)
}

/// Writing goes through MongoDB's protocol, where every operator and option of it is available.
fn no_writes(what: &str) -> SqlError {
    SqlError::unsupported(what).with_hint("Write through a MongoDB driver; SQL reads.")
}

fn statement(cursor: &mut Cursor) -> Result<Statement> {
    if read::begins_query(cursor) {
        return Ok(Statement::Query(read::query(cursor)?));
    }
    let position = cursor.position();
    let word = match &cursor.peek().token {
        sqlparser::tokenizer::Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => return Err(cursor.unexpected()),
    };
    match word.as_str() {
        "CREATE" => create(cursor, position),
        "ALTER" => alter(cursor, position),
        "DROP" => drop(cursor, position),
        "REFRESH" => {
            cursor.next();
            cursor.expect_words(&["MATERIALIZED", "VIEW"])?;
            cursor.word("CONCURRENTLY");
            let name = cursor.name()?;
            if !cursor.words(&["WITH", "DATA"]) && cursor.words(&["WITH", "NO", "DATA"]) {
                return Err(SqlError::unsupported("WITH NO DATA").at(position));
            }
            Ok(Statement::RefreshMaterializedView { name })
        }
        "SUBSCRIBE" => {
            cursor.next();
            Ok(Statement::Subscribe(Box::new(read::subscribe(cursor)?)))
        }
        "REDRIVE" => {
            cursor.next();
            let (sink, filter) = sink::dead_letters(cursor)?;
            Ok(Statement::RedriveDeadLetters { sink, filter })
        }
        "DISCARD" => {
            cursor.next();
            if cursor.peek_word(0, "DEAD") {
                let (sink, filter) = sink::dead_letters(cursor)?;
                return Ok(Statement::DiscardDeadLetters { sink, filter });
            }
            session::discard(cursor)
        }
        "DESCRIBE" | "DESC" => {
            cursor.next();
            if cursor.words(&["CHANGE", "STREAM"]) {
                return Ok(Statement::DescribeChangeStream { name: cursor.name()? });
            }
            Ok(Statement::Describe { name: cursor.name()? })
        }
        _ => simple(&word, cursor, position),
    }
}

/// Statements with a family's function each.
fn simple(word: &str, cursor: &mut Cursor, position: Option<usize>) -> Result<Statement> {
    let parse: fn(&mut Cursor) -> Result<Statement> = match word {
        "EXPLAIN" => read::explain,
        "COPY" => read::copy,
        "DECLARE" => read::declare,
        "FETCH" => |c| read::fetch(c, false),
        "MOVE" => |c| read::fetch(c, true),
        "CLOSE" => |c| Ok(Statement::CloseCursor { name: if c.word("ALL") { None } else { Some(c.identifier()?) } }),
        "SET" => session::set,
        "SHOW" => session::show,
        "RESET" => session::reset,
        "BEGIN" => session::begin,
        "START" => |c| {
            c.expect_words(&["TRANSACTION"])?;
            session::begin(c)
        },
        "COMMIT" | "END" => session::commit,
        "ROLLBACK" | "ABORT" => session::rollback,
        "SAVEPOINT" => |c| Ok(Statement::Transaction(Transaction::Savepoint(c.identifier()?))),
        "RELEASE" => session::release,
        "PREPARE" => session::prepare,
        "EXECUTE" => session::execute,
        "DEALLOCATE" => session::deallocate,
        "LISTEN" => |c| Ok(Statement::Listen { channel: c.identifier()? }),
        "UNLISTEN" => session::unlisten,
        "NOTIFY" => session::notify,
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => {
            return Err(no_writes(word).at(position));
        }
        "GRANT" | "REVOKE" | "VACUUM" | "ANALYZE" | "REINDEX" | "CLUSTER" | "LOCK" | "COMMENT" | "CALL" | "DO"
        | "LOAD" | "CHECKPOINT" | "SECURITY" | "REASSIGN" | "IMPORT" => {
            return Err(SqlError::unsupported(word).at(position));
        }
        _ => return Err(cursor.unexpected()),
    };
    cursor.next();
    parse(cursor)
}

fn create(cursor: &mut Cursor, position: Option<usize>) -> Result<Statement> {
    cursor.next();
    let or_replace = cursor.words(&["OR", "REPLACE"]);
    if cursor.words(&["CHANGE", "STREAM"]) {
        return stream::create(cursor, or_replace);
    }
    if cursor.words(&["MATERIALIZED", "VIEW"]) {
        return read::create_view(cursor, or_replace);
    }
    if cursor.word("SINK") {
        return sink::create(cursor, or_replace);
    }
    if cursor.peek_word(0, "VIEW") || (cursor.peek_word(0, "TEMP") || cursor.peek_word(0, "TEMPORARY")) {
        return Err(unsupported_object("CREATE", cursor).with_hint("Use CREATE MATERIALIZED VIEW.").at(position));
    }
    Err(unsupported_object("CREATE", cursor)
        .with_hint("Create collections and indexes through a MongoDB driver.")
        .at(position))
}

fn alter(cursor: &mut Cursor, position: Option<usize>) -> Result<Statement> {
    cursor.next();
    if cursor.words(&["CHANGE", "STREAM"]) {
        return stream::alter(cursor);
    }
    if cursor.word("SINK") {
        return sink::alter(cursor);
    }
    Err(unsupported_object("ALTER", cursor).at(position))
}

fn drop(cursor: &mut Cursor, position: Option<usize>) -> Result<Statement> {
    cursor.next();
    if cursor.words(&["CHANGE", "STREAM"]) {
        return stream::drop(cursor);
    }
    if cursor.word("SINK") {
        return sink::drop(cursor);
    }
    let materialized = cursor.words(&["MATERIALIZED", "VIEW"]);
    if materialized || cursor.word("VIEW") {
        let (if_exists, names, cascade) = stream::drop_tail(cursor)?;
        return Ok(Statement::DropView { names, if_exists, cascade, materialized });
    }
    Err(unsupported_object("DROP", cursor)
        .with_hint("Drop collections and indexes through a MongoDB driver.")
        .at(position))
}

/// 0A000 for objects that PostgreSQL has, a syntax error for anything else.
fn unsupported_object(verb: &str, cursor: &mut Cursor) -> SqlError {
    const OBJECTS: [&str; 32] = [
        "TABLE",
        "INDEX",
        "UNIQUE",
        "VIEW",
        "TEMP",
        "TEMPORARY",
        "UNLOGGED",
        "SCHEMA",
        "DATABASE",
        "SEQUENCE",
        "FUNCTION",
        "PROCEDURE",
        "AGGREGATE",
        "OPERATOR",
        "TYPE",
        "DOMAIN",
        "TRIGGER",
        "RULE",
        "ROLE",
        "USER",
        "GROUP",
        "EXTENSION",
        "LANGUAGE",
        "CAST",
        "COLLATION",
        "CONVERSION",
        "EVENT",
        "FOREIGN",
        "POLICY",
        "PUBLICATION",
        "SUBSCRIPTION",
        "MATERIALIZED",
    ];
    match OBJECTS.iter().find(|object| cursor.peek_word(0, object)) {
        Some(object) => SqlError::unsupported(format!("{verb} {object}")),
        None => cursor.unexpected(),
    }
}
