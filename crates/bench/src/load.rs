//! What is written: documents of 500 bytes, a thousand to a batch, from a fixed seed.

use std::time::{Duration, Instant};

use base::Random;
use mongodb::Collection;
use mongodb::bson::{Document, doc};

use crate::Result;

/// Encoded size of a document.
const DOCUMENT_BYTES: usize = 500;
/// Documents of one `insert_many`.
pub const BATCH: u64 = 1000;
/// Different values of `kind`: the groups of the views.
const KINDS: u64 = 100;
/// Text that the documents' filler is cut from. Random letters, so that compression has little to win.
const TEXT_BYTES: usize = 64 * 1024;

pub struct Load {
    random: Random,
    text: String,
    filler_bytes: usize,
    next_id: i64,
}

impl Load {
    pub fn new() -> Result<Self> {
        let mut random = Random::seeded(2026);
        let text = (0..TEXT_BYTES).map(|_| char::from(b'0' + random.below(75) as u8)).collect();
        let mut load = Load { random, text, filler_bytes: 0, next_id: 0 };
        load.filler_bytes = DOCUMENT_BYTES - load.document().to_vec()?.len();
        assert_eq!(load.document().to_vec()?.len(), DOCUMENT_BYTES, "every document has the same size");
        load.next_id = 0;
        Ok(load)
    }

    /// `kind` always has two digits, so that the size does not vary.
    fn document(&mut self) -> Document {
        let id = self.next_id;
        self.next_id += 1;
        let from = self.random.below((TEXT_BYTES - self.filler_bytes) as u64) as usize;
        doc! {
            "_id": id,
            "kind": format!("{:02}", self.random.below(KINDS)),
            "amount": self.random.below(10_000) as i64,
            "filler": &self.text[from..from + self.filler_bytes],
        }
    }

    /// The next documents.
    pub fn batch(&mut self) -> Vec<Document> {
        (0..BATCH).map(|_| self.document()).collect()
    }

    /// Inserts `count` documents, one batch after the other; how long it took, making them included.
    pub async fn insert(&mut self, collection: &Collection<Document>, count: u64) -> Result<Duration> {
        let begun = Instant::now();
        for _ in 0..count / BATCH {
            collection.insert_many(self.batch()).await?;
        }
        Ok(begun.elapsed())
    }
}
