//! Endless results: a view's or a query's rows as they change.
//!
//! ```text
//!   token    diff  …          diff is how many times the row is added (or removed, if negative)
//!   8265…    1     new  3     rows of one token belong together; a token resumes after them
//!   8265…    -1    new  2
//! ```

use std::time::Duration;

use ::sql::{Datum, Field, Row, SqlError, Type};
use base::ClusterTime;
use changes::ResumeToken;
use views::{Progress, Subscription};

use super::interest::PlanInterest;

/// How often a quiet feed with `progress` says how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Rows of a subscription, with their token and diff.
#[derive(Debug)]
pub struct Feed {
    pub fields: Vec<Field>,
    subscription: Subscription,
    progress: bool,
    /// The last token that was handed out.
    reached: ClusterTime,
    _interest: Option<PlanInterest>,
}

impl Feed {
    pub(super) fn new(subscription: Subscription, progress: bool, interest: Option<PlanInterest>) -> Self {
        let fields = feed_fields(&subscription.fields, progress);
        Feed { fields, subscription, progress, reached: ClusterTime::ZERO, _interest: interest }
    }

    /// Waits for rows. `None` when the subscription has ended in good order. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, SqlError>> {
        if !self.progress {
            return Some(self.subscription.next().await?.map(|progress| self.rows(&progress)));
        }
        loop {
            let quiet = tokio::time::sleep(PROGRESS_EVERY);
            let progress = tokio::select! {
                biased;
                progress = self.subscription.next() => progress?,
                () = quiet => self.subscription.now()?,
            };
            match progress.map(|progress| self.rows(&progress)) {
                Ok(rows) if rows.is_empty() => {}
                rows => return Some(rows),
            }
        }
    }

    /// Waits for changes as the subscription has them: rows have only the query's columns,
    /// `fields[2..]`. `None` when it has ended in good order. Safe to cancel.
    pub async fn next_progress(&mut self) -> Option<Result<Progress, SqlError>> {
        self.subscription.next().await
    }

    /// The same without waiting: without changes, how far it has come.
    pub fn progress(&mut self) -> Option<Result<Progress, SqlError>> {
        self.subscription.now()
    }

    /// What is there without waiting; empty if nothing is.
    pub(super) fn ready(&mut self) -> Option<Result<Vec<Row>, SqlError>> {
        Some(self.subscription.now()?.map(|progress| self.rows(&progress)))
    }

    fn rows(&mut self, progress: &Progress) -> Vec<Row> {
        let token = Datum::text(token_after(progress.token));
        let moved = progress.token > self.reached;
        self.reached = self.reached.max(progress.token);
        let mut rows: Vec<Row> = Vec::with_capacity(progress.deltas.len() + 1);
        for (row, diff) in &progress.deltas {
            rows.push(self.row(&token, false, Some(*diff), row.iter().cloned()));
        }
        if self.progress && (moved || !rows.is_empty()) {
            let nothing = std::iter::repeat_n(Datum::Null, self.subscription.fields.len());
            rows.push(self.row(&token, true, None, nothing));
        }
        rows
    }

    fn row(&self, token: &Datum, progressed: bool, diff: Option<i64>, rest: impl Iterator<Item = Datum>) -> Row {
        let mut row = Vec::with_capacity(self.fields.len());
        row.push(token.clone());
        if self.progress {
            row.push(Datum::Bool(progressed));
        }
        row.push(diff.map_or(Datum::Null, Datum::Int));
        row.extend(rest);
        row.into()
    }
}

/// The columns of a feed over a query with these columns.
pub(super) fn feed_fields(fields: &[Field], progress: bool) -> Vec<Field> {
    let mut all = vec![Field::new("token", Type::Text)];
    if progress {
        all.push(Field::new("progressed", Type::Bool));
    }
    all.push(Field::new("diff", Type::Int8));
    all.extend(fields.iter().cloned());
    all
}

/// The token that resumes after everything up to a time, that time included.
///
/// ```
/// assert!(engine::token_after(base::ClusterTime(7 << 32)) < engine::token_after(base::ClusterTime(8 << 32)));
/// ```
pub fn token_after(time: ClusterTime) -> String {
    ResumeToken::high_water_mark(time.next()).data()
}
