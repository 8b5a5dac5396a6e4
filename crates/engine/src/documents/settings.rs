//! Settings of the whole database that are kept in it.

use document::{Doc, DocBuf, Raw};
use store::{Reader, Store, WriteTxn};

use super::requests::Caller;
use crate::{Headwater, Result};

const SPACE: &str = "settings";
const CHANGE_STREAM_OPTIONS: &[u8] = b"changeStreamOptions";

/// Applies what was set before the last restart.
pub(crate) fn restore(store: &Store) -> Result<()> {
    store.set_image_expiry(read(store)?);
    Ok(())
}

fn read(store: &Store) -> Result<Option<i64>> {
    let Some(record) = store.snapshot()?.get_record(SPACE, CHANGE_STREAM_OPTIONS)? else { return Ok(None) };
    let record = DocBuf::validate(record)?;
    Ok(record.get("expireAfterSeconds").and_then(Raw::as_whole))
}

impl Headwater {
    /// After so many seconds clients get null for a pre-image; `None`: as long as the log keeps it.
    pub async fn set_image_expiry(&self, seconds: Option<i64>) -> Result<()> {
        self.commit(&Caller::default(), || {
            move |txn: &mut WriteTxn| {
                match seconds {
                    Some(seconds) => {
                        let record = Doc::new().with("expireAfterSeconds", seconds).to_buf();
                        txn.put_record(SPACE, CHANGE_STREAM_OPTIONS, record.bytes().clone());
                    }
                    None => txn.delete_record(SPACE, CHANGE_STREAM_OPTIONS),
                }
                Ok(())
            }
        })
        .await?;
        self.store().set_image_expiry(seconds);
        Ok(())
    }

    /// What `set_image_expiry` set.
    pub fn image_expiry(&self) -> Result<Option<i64>> {
        read(self.store())
    }
}
