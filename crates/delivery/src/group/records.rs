//! A sink's memory in the deployment, written only under the fence of its lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base::Uuid;
use bytes::Bytes;
use document::DocBuf;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};

use super::{Group, GroupError, HeldLease, LEDGER, LETTERS, SINKS, bytes_of, whole};
use crate::event::{Event, Position, digest};
use crate::runner::{Lease, Memory, Records, RecordsError, Step, StoredLetter};
use crate::scheduler::{Letter, LetterState};

/// Between attempts to write while the deployment cannot be reached.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// The `_id`s that begin with this, which ends with "/".
pub(super) fn within(prefix: &str) -> Document {
    // "0" is the character after "/".
    let end = format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix));
    doc! { "$gt": prefix, "$lt": end }
}

pub struct GroupRecords {
    pub group: Arc<Group>,
    pub lease: Arc<HeldLease>,
    /// Steps that are written.
    steps: AtomicU64,
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn ledger_id(uid: Uuid, position: Position) -> String {
    format!("{uid}/{position}")
}

/// Letters of a lane stand together, in order.
pub(super) fn letter_id(uid: Uuid, lane: &[u8], position: Position) -> String {
    format!("{uid}/{}/{position}", hex(&digest(lane)))
}

fn letter(document: &Document) -> Option<StoredLetter> {
    let state = if document.get_bool("dead").ok()? { LetterState::Dead } else { LetterState::Waiting };
    let event = DocBuf::validate(Bytes::copy_from_slice(bytes_of(document, "event")?)).ok()?;
    Some(StoredLetter { state, event: Event::decode(&event)? })
}

fn failed(error: GroupError) -> RecordsError {
    RecordsError::failed(error)
}

fn damaged() -> RecordsError {
    RecordsError::failed("a sink's memory in the deployment is not what was written")
}

impl GroupRecords {
    pub fn new(group: Arc<Group>, lease: Arc<HeldLease>) -> Self {
        GroupRecords { group, lease, steps: AtomicU64::new(0) }
    }

    /// The sink's document, if the lease is still ours.
    pub(super) fn ours(&self) -> Document {
        doc! {
            "_id": self.group.id(&self.lease.db, &self.lease.name),
            "uid": self.lease.uid.to_string(),
            "fence": self.lease.fence() as i64,
        }
    }

    async fn read(&self) -> Result<Memory, GroupError> {
        let uid = self.lease.uid;
        let superseded = || GroupError::Changed(self.lease.name.clone());
        let sinks = self.group.collection(SINKS).await?;
        let sink = sinks.find_one(self.ours()).await?.ok_or_else(superseded)?;
        self.steps.store(whole(&sink, "step"), Ordering::Release);
        let damaged = || GroupError::Unavailable(damaged().message);
        let position = |text: Option<&str>| text.and_then(|text| text.parse::<Position>().ok()).ok_or_else(damaged);
        let low = position(sink.get_str("low").ok())?;
        let filter = || doc! { "_id": within(&format!("{uid}/")) };
        let mut finished = self.group.collection(LEDGER).await?.find(filter()).await?;
        let mut ledger = Vec::new();
        while let Some(entry) = finished.try_next().await? {
            ledger.push(position(entry.get_str("_id").ok().and_then(|id| id.rsplit('/').next()))?);
        }
        let letters = self.group.collection(LETTERS).await?;
        let mut letters = letters.find(filter()).sort(doc! { "_id": 1 }).await?;
        let mut parked: Vec<Bytes> = Vec::new();
        while let Some(document) = letters.try_next().await? {
            let lane = letter(&document).ok_or_else(damaged)?.event.lane;
            if parked.last() != Some(&lane) {
                parked.push(lane);
            }
        }
        Ok(Memory { low, ledger, parked })
    }

    async fn letters_of(&self, prefix: String, limit: i64) -> Result<Vec<StoredLetter>, RecordsError> {
        let letters = self.group.collection(LETTERS).await.map_err(failed)?;
        let found = letters.find(doc! { "_id": within(&prefix) }).sort(doc! { "_id": 1 }).limit(limit).await;
        let found: Vec<Document> = match found {
            Ok(found) => found.try_collect().await.map_err(RecordsError::failed)?,
            Err(error) => return Err(RecordsError::failed(error)),
        };
        found.iter().map(|document| letter(document).ok_or_else(damaged)).collect()
    }

    /// All letters, in order, after the one with this `_id`; with the last one's.
    pub async fn all_letters(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Letter<Arc<Event>>>, Option<String>), RecordsError> {
        let mut range = within(&format!("{}/", self.lease.uid));
        if let Some(after) = after {
            range.insert("$gt", after);
        }
        let letters = self.group.collection(LETTERS).await.map_err(failed)?;
        let found = letters.find(doc! { "_id": range }).sort(doc! { "_id": 1 }).limit(limit as i64);
        let found = found.await.map_err(RecordsError::failed)?;
        let found: Vec<Document> = found.try_collect().await.map_err(RecordsError::failed)?;
        let last = found.last().and_then(|document| document.get_str("_id").ok()).map(str::to_owned);
        let whole_letter = |document: &Document| {
            let StoredLetter { state, event } = letter(document).ok_or_else(damaged)?;
            let error = document.get_str("error").unwrap_or_default().to_owned();
            let attempts = whole(document, "attempts") as u32;
            let (position, key) = (event.position, event.lane.clone());
            Ok(Letter { position, key, state, event: Arc::new(event), attempts, error })
        };
        let letters: Result<_, RecordsError> = found.iter().map(whole_letter).collect();
        Ok((letters?, last))
    }

    /// After an attempt that failed: whether to try again, which is then due.
    async fn again(&self, error: GroupError) -> Result<(), RecordsError> {
        if let GroupError::Changed(_) = error {
            return Err(RecordsError::superseded());
        }
        tracing::debug!(sink = self.lease.name, %error, "the group's records");
        tokio::time::sleep(TRY_AGAIN).await;
        Ok(())
    }
}

#[async_trait]
impl Records for GroupRecords {
    async fn load(&self) -> Result<Memory, RecordsError> {
        loop {
            match self.read().await {
                Ok(memory) => return Ok(memory),
                Err(error) => self.again(error).await?,
            }
        }
    }

    async fn write(&self, step: Arc<Step>) -> Result<(), RecordsError> {
        let number = self.steps.load(Ordering::Acquire) + 1;
        while let Err(error) = self.write_step(&step, number).await {
            self.again(error).await?;
        }
        self.steps.store(number, Ordering::Release);
        Ok(())
    }

    async fn letters(&self, lane: &Bytes, limit: usize) -> Result<Vec<StoredLetter>, RecordsError> {
        let prefix = format!("{}/{}/", self.lease.uid, hex(&digest(lane)));
        loop {
            match self.letters_of(prefix.clone(), limit as i64).await {
                Err(error) if self.lease.is_held() => tracing::debug!(%error, "the group's letters"),
                Err(_) => return Err(RecordsError::superseded()),
                Ok(letters) => return Ok(letters),
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn discard(&self, letters: &[(Bytes, Position)]) -> Result<usize, RecordsError> {
        let ids = letters.iter().map(|(lane, position)| letter_id(self.lease.uid, lane, *position)).collect();
        let discarded = self.discard_ids(ids).await;
        discarded.map_err(|error| match error {
            GroupError::Changed(_) => RecordsError::superseded(),
            error => failed(error),
        })
    }
}
