//! An open result: documents that are still to be fetched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::ClusterTime;
use changes::ChangeStream;
use document::DocBuf;
use parking_lot::Mutex;

use crate::documents::TailCursor;
use crate::{Result, blocking};

/// A result's documents, one by one. Holds the snapshot it reads.
pub type Rows = Box<dyn Iterator<Item = Result<DocBuf>> + Send>;

/// How much to fetch at once.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimit {
    pub documents: usize,
    /// Of all documents together. A batch holds at least one document, however large.
    pub bytes: usize,
}

impl Default for BatchLimit {
    fn default() -> Self {
        BatchLimit { documents: 101, bytes: base::limits::MAX_DOCUMENT }
    }
}

/// One batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub documents: Vec<DocBuf>,
    /// Change streams only: where a reader that has seen this batch resumes.
    pub post_batch_resume_token: Option<DocBuf>,
    /// Nothing will follow.
    pub exhausted: bool,
}

/// A result that is fetched in batches.
pub enum Cursor {
    Documents(DocumentCursor),
    Changes(Box<ChangeStream>),
    Tail(Box<TailCursor>),
}

/// A cursor, and the time of what was written to make it (`$out`, `$merge`).
pub struct Opened {
    pub cursor: Cursor,
    pub time: Option<ClusterTime>,
}

/// Until when rows may be fetched; each getMore has its own share of the operation's time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadline(Arc<Mutex<Option<Instant>>>);

impl Deadline {
    pub fn at(deadline: Option<Instant>) -> Self {
        Deadline(Arc::new(Mutex::new(deadline)))
    }

    fn set(&self, deadline: Option<Instant>) {
        *self.0.lock() = deadline;
    }

    /// 50 once it has passed. Looks at the clock only every so many documents.
    pub fn check(&self, documents: usize) -> Result<()> {
        let deadline = *self.0.lock();
        crate::documents::check_deadline(deadline, documents)
    }
}

/// Rows with at most one of them fetched ahead (it did not fit its batch).
pub struct DocumentCursor {
    rows: Rows,
    ahead: Option<DocBuf>,
    /// How many may still be returned.
    remaining: Option<u64>,
    deadline: Deadline,
    /// The rows are in memory: fetching them takes no time worth speaking of.
    at_hand: bool,
}

impl DocumentCursor {
    pub fn new(rows: Rows, limit: Option<u64>) -> Self {
        DocumentCursor { rows, ahead: None, remaining: limit, deadline: Deadline::default(), at_hand: false }
    }

    /// The same cursor, whose rows heed a deadline.
    pub(crate) fn until(self, deadline: Deadline) -> Self {
        DocumentCursor { deadline, ..self }
    }

    /// A cursor over rows in memory.
    pub fn at_hand(rows: Rows) -> Self {
        DocumentCursor { rows, ahead: None, remaining: None, deadline: Deadline::default(), at_hand: true }
    }

    fn into_rows(self) -> Rows {
        let limit = self.remaining.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Box::new(self.ahead.into_iter().map(Ok).chain(self.rows).take(limit))
    }

    /// The next batch. Ends early only at the limit or the end of the rows; a batch that is full
    /// does not look whether more would follow, as the server's does not.
    pub fn next_batch(&mut self, limit: BatchLimit) -> Result<Batch> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        loop {
            if self.remaining == Some(0) {
                batch.exhausted = true;
                return Ok(batch);
            }
            if batch.documents.len() >= limit.documents {
                return Ok(batch);
            }
            let document = match self.ahead.take() {
                Some(document) => document,
                None => match self.rows.next().transpose()? {
                    Some(document) => document,
                    None => {
                        batch.exhausted = true;
                        return Ok(batch);
                    }
                },
            };
            bytes += document.len();
            if bytes > limit.bytes && !batch.documents.is_empty() {
                self.ahead = Some(document);
                return Ok(batch);
            }
            batch.documents.push(document);
            if let Some(remaining) = &mut self.remaining {
                *remaining -= 1;
            }
        }
    }
}

impl Cursor {
    /// A cursor over documents that are at hand.
    pub fn of(documents: Vec<DocBuf>) -> Self {
        Cursor::Documents(DocumentCursor::at_hand(Box::new(documents.into_iter().map(Ok))))
    }

    /// Whether `next_batch` may wait for documents to come.
    pub fn awaits(&self) -> bool {
        match self {
            Cursor::Documents(_) => false,
            Cursor::Changes(_) => true,
            Cursor::Tail(cursor) => cursor.awaits(),
        }
    }

    /// Until when the next batch may be worked on.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        if let Cursor::Documents(cursor) = self {
            cursor.deadline.set(deadline);
        }
    }

    /// The next batch; a cursor that awaits does so for at most `wait` if it has nothing.
    pub async fn next_batch(&mut self, limit: BatchLimit, wait: Option<Duration>) -> Result<Batch> {
        match self {
            Cursor::Documents(cursor) if cursor.at_hand => cursor.next_batch(limit),
            Cursor::Documents(cursor) => blocking(|| cursor.next_batch(limit)),
            Cursor::Changes(stream) => {
                let limit = changes::BatchLimit { documents: limit.documents, bytes: limit.bytes };
                let batch = stream.next_batch(limit, wait).await?;
                Ok(Batch {
                    documents: batch.events,
                    post_batch_resume_token: Some(batch.post_batch_resume_token),
                    exhausted: batch.closed,
                })
            }
            Cursor::Tail(cursor) => cursor.next_batch(limit, wait).await,
        }
    }

    /// The documents one by one; a cursor that awaits ends where it would wait.
    pub(crate) fn into_rows(self) -> Result<Rows> {
        match self {
            Cursor::Documents(cursor) => Ok(cursor.into_rows()),
            _ => Err(crate::Error::internal("a cursor that awaits cannot be read as rows")),
        }
    }
}
