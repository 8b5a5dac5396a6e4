//! Statements about the session: settings, transactions, prepared statements, notifications.

use sqlparser::ast::DataType;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::statement::*;
use super::stream::predicate;
use super::{read, statement};
use crate::error::{Result, SqlError};

/// After `SET`.
pub(super) fn set(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.words(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) || cursor.word("TRANSACTION") {
        transaction_modes(cursor)?;
        return Ok(Statement::Transaction(Transaction::Characteristics));
    }
    if cursor.words(&["SESSION", "AUTHORIZATION"]) {
        let values = if cursor.word("DEFAULT") { None } else { Some(vec![setting_value(cursor)?]) };
        return Ok(Statement::Set { local: false, name: "session_authorization".into(), values });
    }
    let local = cursor.word("LOCAL");
    if !local && !cursor.peek_word(1, "TO") && cursor.peek_word(0, "SESSION") {
        cursor.word("SESSION");
    }
    if cursor.words(&["TIME", "ZONE"]) {
        let values = if cursor.word("DEFAULT") || cursor.word("LOCAL") { None } else { Some(vec![time_zone(cursor)?]) };
        return Ok(Statement::Set { local, name: "timezone".into(), values });
    }
    if cursor.word("NAMES") {
        let values = if cursor.word("DEFAULT") { None } else { Some(vec![setting_value(cursor)?]) };
        return Ok(Statement::Set { local, name: "client_encoding".into(), values });
    }
    if cursor.peek_word(0, "ROLE") && !cursor.peek_word(1, "TO") {
        cursor.word("ROLE");
        let values = if cursor.word("DEFAULT") { None } else { Some(vec![setting_value(cursor)?]) };
        return Ok(Statement::Set { local, name: "role".into(), values });
    }
    let name = setting_name(cursor)?;
    if !cursor.token(&Token::Eq) {
        cursor.expect_words(&["TO"])?;
    }
    if cursor.word("DEFAULT") {
        return Ok(Statement::Set { local, name, values: None });
    }
    let mut values = vec![setting_value(cursor)?];
    while cursor.token(&Token::Comma) {
        values.push(setting_value(cursor)?);
    }
    Ok(Statement::Set { local, name, values: Some(values) })
}

/// `INTERVAL '+02:00' HOUR TO MINUTE`, a number of hours, or a name.
fn time_zone(cursor: &mut Cursor) -> Result<String> {
    if cursor.word("INTERVAL") {
        let offset = cursor.string()?;
        cursor.words(&["HOUR", "TO", "MINUTE"]);
        return Ok(offset);
    }
    setting_value(cursor)
}

fn setting_name(cursor: &mut Cursor) -> Result<String> {
    let mut name = cursor.identifier()?;
    while cursor.token(&Token::Period) {
        name = format!("{name}.{}", cursor.identifier()?);
    }
    Ok(name.to_ascii_lowercase())
}

fn setting_value(cursor: &mut Cursor) -> Result<String> {
    let negative = cursor.token(&Token::Minus);
    if !negative {
        cursor.token(&Token::Plus);
    }
    match cursor.peek().token.clone() {
        Token::Number(digits, _) => {
            cursor.next();
            Ok(if negative { format!("-{digits}") } else { digits })
        }
        Token::Word(_) if !negative => {
            // Values keep their case only when quoted; true, on and the like are words.
            match cursor.peek().token.clone() {
                Token::Word(word) if word.quote_style.is_none() => {
                    cursor.next();
                    Ok(word.value.to_ascii_lowercase())
                }
                _ => cursor.identifier(),
            }
        }
        _ if !negative => cursor.string(),
        _ => Err(cursor.unexpected()),
    }
}

/// After `SHOW`.
pub(super) fn show(cursor: &mut Cursor) -> Result<Statement> {
    let objects = [
        (&["CHANGE", "STREAMS"][..], ShowObjects::ChangeStreams),
        (&["MATERIALIZED", "VIEWS"][..], ShowObjects::Views),
        (&["VIEWS"][..], ShowObjects::Views),
        (&["SINKS"][..], ShowObjects::Sinks),
        (&["COLLECTIONS"][..], ShowObjects::Collections),
        (&["TABLES"][..], ShowObjects::Collections),
        (&["DEAD", "LETTERS"][..], ShowObjects::DeadLetters),
    ];
    if let Some((_, objects)) = objects.into_iter().find(|(words, _)| cursor.words(words)) {
        return Ok(Statement::ShowObjects(objects));
    }
    if cursor.words(&["CHANGE", "STREAM"]) {
        return Ok(Statement::DescribeChangeStream { name: cursor.name()? });
    }
    if cursor.word("ALL") {
        return Ok(Statement::Show { name: None });
    }
    Ok(Statement::Show { name: Some(special_setting(cursor)?) })
}

/// After `RESET`.
pub(super) fn reset(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.word("ALL") {
        return Ok(Statement::Reset { name: None });
    }
    Ok(Statement::Reset { name: Some(special_setting(cursor)?) })
}

fn special_setting(cursor: &mut Cursor) -> Result<String> {
    if cursor.words(&["TIME", "ZONE"]) {
        return Ok("timezone".into());
    }
    if cursor.words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        return Ok("transaction_isolation".into());
    }
    if cursor.words(&["SESSION", "AUTHORIZATION"]) {
        return Ok("session_authorization".into());
    }
    setting_name(cursor)
}

// ---- transactions ------------------------------------------------------------------------------

/// After `BEGIN`, `START TRANSACTION`.
pub(super) fn begin(cursor: &mut Cursor) -> Result<Statement> {
    if !cursor.word("WORK") {
        cursor.word("TRANSACTION");
    }
    Ok(Statement::Transaction(Transaction::Begin { read_only: transaction_modes(cursor)? }))
}

fn transaction_modes(cursor: &mut Cursor) -> Result<bool> {
    let mut read_only = false;
    while !cursor.at_end() {
        if cursor.words(&["ISOLATION", "LEVEL"]) {
            let level = cursor.words(&["READ", "COMMITTED"])
                || cursor.words(&["READ", "UNCOMMITTED"])
                || cursor.words(&["REPEATABLE", "READ"])
                || cursor.word("SERIALIZABLE");
            if !level {
                return Err(cursor.unexpected());
            }
        } else if cursor.words(&["READ", "ONLY"]) {
            read_only = true;
        } else if !cursor.words(&["READ", "WRITE"])
            && !cursor.word("DEFERRABLE")
            && !cursor.words(&["NOT", "DEFERRABLE"])
        {
            return Err(cursor.unexpected());
        }
        cursor.token(&Token::Comma);
    }
    Ok(read_only)
}

/// After `COMMIT`, `END`.
pub(super) fn commit(cursor: &mut Cursor) -> Result<Statement> {
    no_chain(cursor)?;
    Ok(Statement::Transaction(Transaction::Commit))
}

/// After `ROLLBACK`, `ABORT`.
pub(super) fn rollback(cursor: &mut Cursor) -> Result<Statement> {
    no_chain(cursor)?;
    if cursor.word("TO") {
        cursor.word("SAVEPOINT");
        return Ok(Statement::Transaction(Transaction::RollbackTo(cursor.identifier()?)));
    }
    Ok(Statement::Transaction(Transaction::Rollback))
}

fn no_chain(cursor: &mut Cursor) -> Result<()> {
    if !cursor.word("WORK") {
        cursor.word("TRANSACTION");
    }
    if cursor.peek_word(0, "PREPARED") {
        return Err(SqlError::unsupported("two-phase commit").at(cursor.position()));
    }
    cursor.words(&["AND", "NO", "CHAIN"]);
    if cursor.peek_word(0, "AND") {
        return Err(SqlError::unsupported("AND CHAIN").at(cursor.position()));
    }
    Ok(())
}

/// After `RELEASE`.
pub(super) fn release(cursor: &mut Cursor) -> Result<Statement> {
    cursor.word("SAVEPOINT");
    Ok(Statement::Transaction(Transaction::Release(cursor.identifier()?)))
}

/// After `DISCARD`, dead letters apart.
pub(super) fn discard(cursor: &mut Cursor) -> Result<Statement> {
    let target = if cursor.word("ALL") {
        DiscardTarget::All
    } else if cursor.word("PLANS") {
        DiscardTarget::Plans
    } else if cursor.word("SEQUENCES") {
        DiscardTarget::Sequences
    } else if cursor.word("TEMP") || cursor.word("TEMPORARY") {
        DiscardTarget::Temp
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Statement::Discard(target))
}

// ---- prepared statements -----------------------------------------------------------------------

/// After `PREPARE`.
pub(super) fn prepare(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.peek_word(0, "TRANSACTION") {
        return Err(SqlError::unsupported("two-phase commit").at(cursor.position()));
    }
    let name = cursor.identifier()?;
    let mut types: Vec<DataType> = Vec::new();
    if cursor.token(&Token::LParen) {
        types.push(cursor.run(|p| p.parse_data_type())?);
        while cursor.token(&Token::Comma) {
            types.push(cursor.run(|p| p.parse_data_type())?);
        }
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.expect_words(&["AS"])?;
    let position = cursor.position();
    if !read::begins_query(cursor) && !cursor.peek_word(0, "SUBSCRIBE") {
        return Err(SqlError::unsupported("PREPARE of this statement").at(position));
    }
    Ok(Statement::Prepare { name, types, statement: Box::new(statement(cursor)?) })
}

/// After `EXECUTE`.
pub(super) fn execute(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.identifier()?;
    let mut arguments = Vec::new();
    if cursor.token(&Token::LParen) {
        arguments.push(predicate(cursor)?);
        while cursor.token(&Token::Comma) {
            arguments.push(predicate(cursor)?);
        }
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(Statement::Execute { name, arguments })
}

/// After `DEALLOCATE`.
pub(super) fn deallocate(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.peek_word(0, "PREPARE") {
        cursor.word("PREPARE");
    }
    if cursor.word("ALL") {
        return Ok(Statement::Deallocate { name: None });
    }
    Ok(Statement::Deallocate { name: Some(cursor.identifier()?) })
}

// ---- notifications -----------------------------------------------------------------------------

/// After `UNLISTEN`.
pub(super) fn unlisten(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.token(&Token::Mul) {
        return Ok(Statement::Unlisten { channel: None });
    }
    Ok(Statement::Unlisten { channel: Some(cursor.identifier()?) })
}

/// After `NOTIFY`.
pub(super) fn notify(cursor: &mut Cursor) -> Result<Statement> {
    let channel = cursor.identifier()?;
    let payload = if cursor.token(&Token::Comma) { cursor.string()? } else { String::new() };
    Ok(Statement::Notify { channel, payload })
}
