//! Reads the change stream ahead: the deployment makes the next reply while the last one is taken in.

use bytes::Bytes;
use futures::StreamExt;
use mongodb::raw_batch_cursor::RawBatchCursor;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::Failure;

/// Replies that wait to be taken in, beside the one that is being read; each has up to 16 MB.
const AHEAD: usize = 1;

/// An open cursor. It is closed when this is dropped.
pub struct ChangeReader {
    replies: mpsc::Receiver<Result<Bytes, Failure>>,
    task: JoinHandle<()>,
}

/// Kept by whoever may hold a cursor open, so that an end can wait for all.
pub type Open = mpsc::Sender<()>;

impl ChangeReader {
    pub fn new(mut cursor: RawBatchCursor, open: Open) -> Self {
        let (sender, replies) = mpsc::channel(AHEAD);
        let task = tokio::spawn(async move {
            loop {
                let reply = next_reply(&mut cursor).await;
                let failed = reply.is_err();
                if sender.send(reply).await.is_err() || failed {
                    break;
                }
            }
            drop(cursor);
            drop(open);
        });
        ChangeReader { replies, task }
    }

    /// The next reply; its events are parts of it, so it lives as long as they do. Losing the future
    /// loses nothing.
    ///
    /// # Errors
    /// Why there is none; there will be no other.
    pub async fn next(&mut self) -> Result<Bytes, Failure> {
        let closed = || Failure::Passing("the source closed the change stream".to_owned());
        self.replies.recv().await.unwrap_or_else(|| Err(closed()))
    }
}

impl Drop for ChangeReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn next_reply(cursor: &mut RawBatchCursor) -> Result<Bytes, Failure> {
    match cursor.next().await {
        Some(Ok(batch)) => Ok(Bytes::copy_from_slice(batch.as_raw_document().as_bytes())),
        Some(Err(error)) => Err(Failure::driver(&error, "reading the change stream")),
        None => Err(Failure::Passing("the source closed the change stream".to_owned())),
    }
}
