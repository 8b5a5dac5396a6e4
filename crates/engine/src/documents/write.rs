//! Inserts, updates and deletes: parsed before, executed inside write closures.
//!
//! ```text
//!   WriteBatch ─ prepare (parse, once) ─ closures of a bounded number of statements ─ WriteReport
//!                                          │ each statement leaves all or nothing
//!                                          └ one closure = one atomic, durable commit
//! ```
//!
//! # Invariants
//! - Statements run in their order; an ordered batch stops at the first error.
//! - A retryable statement's result is stored in the commit that applies it.
//! - A closure is short: a multi-document statement is spread over many, each of which asks the
//!   filter again.

mod prepare;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::ClusterTime;
use store::{Reader, RecordId, WriteTxn};

pub(crate) use prepare::{PreparedBatch, PreparedUpdate, PreparedWrite, prepare_insert, prepare_update};
pub(crate) use run::{Target, apply_update, insert_new, insert_upsert, insertable, refuse_capped, target_of};

use super::requests::{Caller, Write, WriteBatch, WriteReport, Written};
use super::retry;
use super::search::Searches;
use crate::sessions::{Mode, RetryKey};
use crate::{Error, Headwater, Result, blocking};

/// Statements of one commit. More make the commit's sync cheaper and others wait longer.
const STATEMENTS_PER_COMMIT: usize = 512;
/// Documents of one commit of a multi-document statement.
const DOCUMENTS_PER_COMMIT: usize = 1000;
/// Bytes of inserted documents of one commit, about.
const BYTES_PER_COMMIT: usize = 8 * 1024 * 1024;
/// How long an ordinary write waits for a transaction that holds its document.
const CONFLICT_WAIT: Duration = Duration::from_secs(65);

impl Headwater {
    /// Inserts documents; the first that is refused ends the insert.
    pub async fn insert(&self, namespace: crate::Namespace, documents: Vec<document::DocBuf>) -> Result<ClusterTime> {
        let batch = WriteBatch::on(namespace, documents.into_iter().map(Write::Insert));
        let report = self.write(&Caller::default(), batch).await?;
        match report.errors().next() {
            Some((_, error)) => Err(error.clone()),
            None => Ok(report.time.unwrap_or_else(|| self.applied_time())),
        }
    }

    /// Runs a batch of writes. An `Err` means that nothing can be said of the statements (the
    /// session, the database); a refused statement stands in the report.
    ///
    /// ```
    /// # use engine::documents::*;
    /// # use engine::{Headwater, Namespace, Options};
    /// # use document::Doc;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let db = Headwater::open(Options::new(dir.path()))?;
    /// let set = Doc::new().with("$set", Doc::new().with("paid", true)).to_buf();
    /// let mut update = UpdateStatement::new(Doc::new().with("_id", 7).to_buf(), Modification::Document(set));
    /// update.upsert = true;
    /// let batch = WriteBatch::on(Namespace::new("shop", "orders"), [Write::Update(update)]);
    /// let report = db.write(&Caller::default(), batch).await?;
    /// assert_eq!(report.written().next().unwrap().1.n, 1);
    /// # Ok::<(), engine::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn write(&self, caller: &Caller, batch: WriteBatch) -> Result<WriteReport> {
        match self.mode(caller)? {
            Mode::Transaction(open) => {
                let prepared = PreparedBatch { searches: Searches::unbounded(), ..self.prepare(batch, None)? };
                let result = blocking(|| open.statement(|txn| Ok(run_in_transaction(txn, &prepared))));
                match result {
                    Ok(report) => {
                        if report.errors().next().is_some() {
                            open.abort();
                        }
                        Ok(report)
                    }
                    Err(error) => {
                        open.abort();
                        Err(error)
                    }
                }
            }
            Mode::Plain => self.run_batch(caller, self.prepare(batch, None)?).await,
            Mode::Retryable(key) => self.run_batch(caller, self.prepare(batch, Some(key))?).await,
        }
    }

    async fn run_batch(&self, caller: &Caller, batch: PreparedBatch) -> Result<WriteReport> {
        let batch = Arc::new(batch);
        let mut report = WriteReport::default();
        let mut next = 0;
        while next < batch.statements.len() {
            caller.check_deadline()?;
            let step = match self.spread(caller, &batch, next) {
                Ok(Some(places)) => self.run_spread(caller, &batch, next, places).await?,
                Ok(None) => self.run_commit(caller, &batch, next).await?,
                Err(error) => Step { results: vec![(next, Err(error))], ..Step::at(next + 1) },
            };
            next = step.next;
            if step.unfinished
                && let Some(query) = batch.statements[next].single()
            {
                let namespace = &batch.namespaces[batch.statements[next].namespace];
                self.search(caller, &batch.searches, next, query, namespace)?;
            }
            report.retried.extend(step.retried);
            report.time = step.time.or(report.time);
            let failed = step.results.iter().any(|(_, result)| result.is_err());
            report.results.extend(step.results);
            if failed && batch.ordered {
                break;
            }
        }
        Ok(report)
    }

    /// The documents of a multi-document statement that must not run in one commit.
    fn spread(&self, caller: &Caller, batch: &PreparedBatch, index: usize) -> Result<Option<Vec<RecordId>>> {
        let Some((query, upserts)) = batch.statements[index].multi() else { return Ok(None) };
        if query.wanted_id().is_some() || batch.retry.is_some() {
            return Ok(None);
        }
        let namespace = &batch.namespaces[batch.statements[index].namespace];
        let absence = self.absence(namespace);
        let snapshot = self.store().snapshot()?;
        let Some(collection) = snapshot.catalog().collection(namespace).cloned() else { return Ok(None) };
        let counts = snapshot.counts(&collection)?;
        let small = counts.documents <= DOCUMENTS_PER_COMMIT as u64 && counts.bytes <= BYTES_PER_COMMIT as u64;
        if collection.is_view() || small {
            return Ok(None);
        }
        let places = blocking(|| query.places_until(&snapshot, &collection, caller.deadline))?;
        if places.is_empty() && upserts {
            batch.searches.remember_absence(index, absence);
            return Ok(None);
        }
        Ok(Some(places))
    }

    /// One multi-document statement over many commits.
    async fn run_spread(
        &self,
        caller: &Caller,
        batch: &Arc<PreparedBatch>,
        index: usize,
        places: Vec<RecordId>,
    ) -> Result<Step> {
        let mut total = Written::default();
        let mut time = None;
        for part in places.chunks(DOCUMENTS_PER_COMMIT) {
            caller.check_deadline()?;
            let part: Arc<[RecordId]> = part.into();
            let outcome = self
                .commit(caller, || {
                    let (batch, part) = (Arc::clone(batch), Arc::clone(&part));
                    move |txn: &mut WriteTxn| Ok(run::run_places(txn, &batch, index, &part))
                })
                .await;
            let (result, at) = match outcome {
                Ok(committed) => (committed.value, Some(committed.time)),
                Err(error) => (Err(error), None),
            };
            time = at.or(time);
            match result {
                Ok(written) => {
                    total.n += written.n;
                    total.modified += written.modified;
                }
                Err(error) => {
                    return Ok(Step { results: vec![(index, Err(error))], time, ..Step::at(index + 1) });
                }
            }
        }
        Ok(Step { results: vec![(index, Ok(total))], time, ..Step::at(index + 1) })
    }

    /// As many statements as fit into one commit.
    async fn run_commit(&self, caller: &Caller, batch: &Arc<PreparedBatch>, from: usize) -> Result<Step> {
        let committed = self
            .commit(caller, || {
                let batch = Arc::clone(batch);
                move |txn: &mut WriteTxn| run_some(txn, &batch, from)
            })
            .await?;
        let mut step = committed.value;
        let wrote = step.results.iter().any(|(_, result)| result.as_ref().is_ok_and(|written| written.n > 0));
        step.time = wrote.then_some(committed.time);
        Ok(step)
    }

    /// Commits a closure; where an open transaction is in the way, waits for its end.
    pub(crate) async fn commit<R, F>(&self, caller: &Caller, mut make: impl FnMut() -> F) -> Result<store::Committed<R>>
    where
        F: FnOnce(&mut WriteTxn) -> store::Result<R> + Send + 'static,
        R: Send + 'static,
    {
        match self.store().write(make()).await {
            Err(store::Error::WriteConflict(_)) => {
                let patience = Instant::now() + CONFLICT_WAIT;
                let deadline = caller.deadline.map_or(patience, |deadline| deadline.min(patience));
                let outcome = blocking(|| self.store().write_waiting(deadline, make));
                match outcome {
                    Err(store::Error::WriteConflict(_)) if caller.check_deadline().is_err() => {
                        Err(Error::new(50, "operation exceeded time limit"))
                    }
                    other => Ok(other?),
                }
            }
            other => Ok(other?),
        }
    }
}

/// What one commit, or one spread statement, came to.
struct Step {
    /// The first statement that has not run.
    next: usize,
    results: Vec<(usize, Result<Written>)>,
    retried: Vec<i32>,
    time: Option<ClusterTime>,
    /// The document of statement `next` has to be searched outside of the committer.
    unfinished: bool,
}

impl Step {
    fn at(next: usize) -> Self {
        Step { next, results: Vec::new(), retried: Vec::new(), time: None, unfinished: false }
    }
}

fn run_some(txn: &mut WriteTxn, batch: &PreparedBatch, from: usize) -> store::Result<Step> {
    let Some(key) = &batch.retry else { return run_statements(txn, batch, from, None) };
    let mut attempt = retry::enter(txn, key, &batch.recalled)?;
    let step = run_statements(txn, batch, from, Some(&mut attempt))?;
    attempt.finish(txn);
    Ok(step)
}

fn run_statements(
    txn: &mut WriteTxn,
    batch: &PreparedBatch,
    from: usize,
    mut attempt: Option<&mut retry::Attempt<'_>>,
) -> store::Result<Step> {
    let mut step = Step::at(from);
    let mut bytes = 0;
    while step.next < batch.statements.len() {
        let index = step.next;
        let statement = &batch.statements[index];
        // What must be spread over commits begins one of its own.
        if index > from
            && (statement.multi().is_some() || index - from >= STATEMENTS_PER_COMMIT || bytes > BYTES_PER_COMMIT)
        {
            return Ok(step);
        }
        bytes += statement.bytes();
        let result = match &mut attempt {
            Some(attempt) => run_retryable(txn, batch, index, attempt, &mut step.retried),
            None => run::run(txn, batch, index),
        };
        if let Err(error) = &result
            && error.code() == 112
        {
            // Somebody's transaction is in the way. What has been done stays; the rest waits.
            if index == from {
                return Err(store::Error::WriteConflict(error.message().to_owned()));
            }
            return Ok(step);
        }
        let Some(result) = result.transpose() else {
            step.unfinished = true;
            return Ok(step);
        };
        let failed = result.is_err();
        step.results.push((index, result));
        step.next = index + 1;
        if failed && batch.ordered {
            step.next = batch.statements.len();
            return Ok(step);
        }
    }
    Ok(step)
}

fn run_retryable(
    txn: &mut WriteTxn,
    batch: &PreparedBatch,
    index: usize,
    attempt: &mut retry::Attempt<'_>,
    retried: &mut Vec<i32>,
) -> Result<Option<Written>> {
    let statement = &batch.statements[index];
    if statement.multi().is_some() {
        let message = match statement.write {
            PreparedWrite::Delete(_) => "Cannot use (or request) retryable writes with limit=0",
            _ => "Cannot use (or request) retryable writes with multi=true",
        };
        return Err(Error::new(72, message));
    }
    if let Some(written) = attempt.recall_written(statement.id)? {
        retried.push(statement.id);
        return Ok(Some(written));
    }
    let Some(written) = run::run(txn, batch, index)? else { return Ok(None) };
    attempt.remember_written(statement.id, &written);
    Ok(Some(written))
}

/// All statements within an open transaction; the first error ends it.
fn run_in_transaction(txn: &mut WriteTxn, batch: &PreparedBatch) -> WriteReport {
    let mut report = WriteReport::default();
    for index in 0..batch.statements.len() {
        let result =
            run::run(txn, batch, index).map(|written| written.expect("nothing bounds a transaction's searches"));
        let failed = result.is_err();
        report.results.push((index, result));
        if failed {
            break;
        }
    }
    report
}

/// Kept with the batch so that a retry finds its earlier result.
pub(crate) type Retry = Option<RetryKey>;
