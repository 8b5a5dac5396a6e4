//! One step of a holder as one transaction.

use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};

use super::records::{GroupRecords, ledger_id, letter_id};
use super::{GroupError, LEDGER, LETTERS, SINKS, binary, whole};
use crate::runner::Step;
use crate::scheduler::LetterState;

/// How often a commit whose answer was lost is asked for again before the step is looked up.
const COMMITS: usize = 5;

impl GroupRecords {
    /// Writes step `number`, unless it is written already.
    pub(super) async fn write_step(&self, step: &Step, number: u64) -> Result<(), GroupError> {
        let progress = &step.changes.progress;
        let delivered = step.done.iter().filter(|done| done.error.is_none()).count();
        let update = doc! {
            "$max": { "low": progress.low.to_string() },
            "$set": { "step": number as i64 },
            "$inc": { "delivered": delivered as i64 },
        };
        let mut filter = self.ours();
        filter.insert("step", number as i64 - 1);
        let changes = &step.changes;
        let alone = progress.ledger_added.is_empty()
            && progress.ledger_removed.is_empty()
            && changes.letters.is_empty()
            && changes.settled.is_empty();
        let matched = if alone {
            self.group.collection(SINKS).await?.update_one(filter, update).await?.matched_count > 0
        } else {
            let mut session = self.begin().await?;
            let done = self.statements(step, filter, update, &mut session).await;
            finish(session, done).await?
        };
        if matched { Ok(()) } else { self.is_written(number).await }
    }

    /// False: the sink is not as the filter says, and nothing was written.
    async fn statements(
        &self,
        step: &Step,
        filter: Document,
        update: Document,
        session: &mut ClientSession,
    ) -> Result<bool, GroupError> {
        let sinks = self.group.collection(SINKS).await?;
        if sinks.update_one(filter, update).session(&mut *session).await?.matched_count == 0 {
            return Ok(false);
        }
        self.write_ledger(step, session).await?;
        self.write_letters(step, session).await?;
        Ok(true)
    }

    /// Was it this step that is written, and its answer lost?
    async fn is_written(&self, number: u64) -> Result<(), GroupError> {
        let found = self.group.collection(SINKS).await?.find_one(self.ours()).await?;
        match found {
            Some(sink) if whole(&sink, "step") == number => Ok(()),
            _ => Err(GroupError::Changed(self.lease.name.clone())),
        }
    }

    async fn write_ledger(&self, step: &Step, session: &mut ClientSession) -> Result<(), GroupError> {
        let (uid, progress) = (self.lease.uid, &step.changes.progress);
        let ledger = self.group.collection(LEDGER).await?;
        if !progress.ledger_removed.is_empty() {
            let below = doc! { "$gt": format!("{uid}/"), "$lt": ledger_id(uid, progress.low) };
            ledger.delete_many(doc! { "_id": below }).session(&mut *session).await?;
        }
        let entries: Vec<Document> =
            progress.ledger_added.iter().map(|position| doc! { "_id": ledger_id(uid, *position) }).collect();
        if !entries.is_empty() {
            ledger.insert_many(entries).session(&mut *session).await?;
        }
        Ok(())
    }

    async fn write_letters(&self, step: &Step, session: &mut ClientSession) -> Result<(), GroupError> {
        let (uid, changes) = (self.lease.uid, &step.changes);
        let letters = self.group.collection(LETTERS).await?;
        for letter in &changes.letters {
            let id = letter_id(uid, &letter.key, letter.position);
            let document = doc! {
                "_id": &id,
                "sink": format!("{}.{}", self.lease.db, self.lease.name),
                "dead": letter.state == LetterState::Dead,
                "error": &letter.error,
                "attempts": i64::from(letter.attempts),
                "event": binary(letter.event.encode().bytes()),
            };
            letters.replace_one(doc! { "_id": id }, document).upsert(true).session(&mut *session).await?;
        }
        if !changes.settled.is_empty() {
            let ids: Vec<String> =
                changes.settled.iter().map(|(lane, position)| letter_id(uid, lane, *position)).collect();
            letters.delete_many(doc! { "_id": { "$in": ids } }).session(&mut *session).await?;
        }
        Ok(())
    }

    /// Forgets letters, if the lease is still ours.
    pub(super) async fn discard_ids(&self, ids: Vec<String>) -> Result<usize, GroupError> {
        let mut session = self.begin().await?;
        let mut gone = 0;
        let done = self.discard_statements(&ids, &mut gone, &mut session).await;
        if finish(session, done).await? { Ok(gone) } else { Err(GroupError::Changed(self.lease.name.clone())) }
    }

    async fn discard_statements(
        &self,
        ids: &[String],
        gone: &mut usize,
        session: &mut ClientSession,
    ) -> Result<bool, GroupError> {
        let sinks = self.group.collection(SINKS).await?;
        // A write, so that a new holder and this one cannot both go on.
        let touch = doc! { "$inc": { "discards": 1_i64 } };
        if sinks.update_one(self.ours(), touch).session(&mut *session).await?.matched_count == 0 {
            return Ok(false);
        }
        let letters = self.group.collection(LETTERS).await?;
        let deleted = letters.delete_many(doc! { "_id": { "$in": ids } }).session(&mut *session).await?;
        *gone = deleted.deleted_count as usize;
        Ok(true)
    }

    async fn begin(&self) -> Result<ClientSession, GroupError> {
        let mut session = self.group.client().await?.start_session().await?;
        session.start_transaction().await?;
        Ok(session)
    }
}

/// Commits what statements did, if they say so.
async fn finish(mut session: ClientSession, done: Result<bool, GroupError>) -> Result<bool, GroupError> {
    if !matches!(done, Ok(true)) {
        let _ = session.abort_transaction().await;
        return done;
    }
    for _ in 0..COMMITS {
        match session.commit_transaction().await {
            Ok(()) => return Ok(true),
            Err(error) if is_unknown(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Whoever counts steps looks which it was.
    Err(GroupError::Unavailable("the answer to a commit was lost".to_owned()))
}

fn is_unknown(error: &Error) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) && !error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}
