//! DECLARE, FETCH, MOVE, CLOSE: cursors over rows and over feeds.
//!
//! A cursor over a feed waits for its first row only; what came with it is handed out by the
//! following FETCHes.

use std::collections::{BTreeMap, VecDeque};

use ::sql::parser::statement::FetchCount;
use ::sql::{Field, Row, SqlError};

use super::Outcome;
use super::feed::Feed;
use super::queries::Answer;

/// Open cursors of one session.
const MAX_CURSORS: usize = 256;

#[derive(Debug)]
struct Cursor {
    fields: Vec<Field>,
    rows: VecDeque<Row>,
    feed: Option<Feed>,
    hold: bool,
}

#[derive(Debug, Default)]
pub(super) struct Cursors(BTreeMap<String, Cursor>);

fn missing(name: &str) -> SqlError {
    SqlError::new("34000", format!("cursor \"{name}\" does not exist"))
}

impl Cursors {
    pub fn check_free(&self, name: &str) -> Result<(), SqlError> {
        if self.0.contains_key(name) {
            return Err(SqlError::new("42P03", format!("cursor \"{name}\" already exists")));
        }
        if self.0.len() >= MAX_CURSORS {
            return Err(
                SqlError::new("53400", format!("more than {MAX_CURSORS} open cursors")).with_hint("Close some.")
            );
        }
        Ok(())
    }

    pub fn open(&mut self, name: &str, hold: bool, answer: Answer) -> Result<(), SqlError> {
        self.check_free(name)?;
        let cursor = match answer {
            Answer::Rows(result) => Cursor { fields: result.fields, rows: result.rows.into(), feed: None, hold },
            Answer::Feed(feed) => Cursor { fields: feed.fields.clone(), rows: VecDeque::new(), feed: Some(feed), hold },
        };
        self.0.insert(name.to_owned(), cursor);
        Ok(())
    }

    pub fn fields(&self, name: &str) -> Result<Vec<Field>, SqlError> {
        self.0.get(name).map(|cursor| cursor.fields.clone()).ok_or_else(|| missing(name))
    }

    pub async fn fetch(&mut self, name: &str, count: FetchCount, move_only: bool) -> Result<Outcome, SqlError> {
        let cursor = self.0.get_mut(name).ok_or_else(|| missing(name))?;
        cursor.fill(count).await?;
        let wanted = match count {
            FetchCount::All => cursor.rows.len(),
            FetchCount::Forward(n) => usize::try_from(n).unwrap_or(usize::MAX).min(cursor.rows.len()),
        };
        let rows: Vec<Row> = cursor.rows.drain(..wanted).collect();
        if move_only {
            return Ok(Outcome::Command { tag: format!("MOVE {}", rows.len()) });
        }
        let tag = format!("FETCH {}", rows.len());
        Ok(Outcome::Rows { fields: cursor.fields.clone(), rows, tag })
    }

    pub fn close(&mut self, name: Option<&str>) -> Result<Outcome, SqlError> {
        match name {
            Some(name) => {
                self.0.remove(name).ok_or_else(|| missing(name))?;
                Ok(Outcome::command("CLOSE CURSOR"))
            }
            None => {
                self.0.clear();
                Ok(Outcome::command("CLOSE CURSOR ALL"))
            }
        }
    }

    /// Only cursors WITH HOLD outlive a transaction.
    pub fn end_transaction(&mut self) {
        self.0.retain(|_, cursor| cursor.hold);
    }
}

impl Cursor {
    /// Takes in what its feed has; waits if there is nothing for a bounded FETCH.
    async fn fill(&mut self, count: FetchCount) -> Result<(), SqlError> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        let more = match count {
            FetchCount::Forward(0) => None,
            FetchCount::Forward(_) if self.rows.is_empty() => feed.next().await,
            _ => feed.ready(),
        };
        if let Some(rows) = more {
            self.rows.extend(rows?);
        }
        Ok(())
    }
}
