//! What is kept of the source between two runs: the token to go on from, and whose it is.
//!
//! ```text
//!   records "source":  'position'         -> {token, time, cluster}
//!                      'beginning'        -> the time from which on everything was captured, 8
//!                      'mirror' 0 db 0 c  -> MirrorRecord (mirror.rs)
//! ```

use base::ClusterTime;
use bytes::Bytes;
use document::{Doc, DocBuf, Raw};
use store::{Reader, WriteTxn};

/// The record space of everything here.
pub const SPACE: &str = "source";
const POSITION: &[u8] = b"position";
const BEGINNING: &[u8] = b"beginning";

#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// `{_data, …}`: goes on after this.
    pub token: DocBuf,
    /// Everything up to here is captured.
    pub time: ClusterTime,
    /// Name of the replica set, or what a router says of itself.
    pub cluster: String,
}

impl Position {
    pub fn save(&self, txn: &mut WriteTxn) {
        let doc =
            Doc::new().with("token", self.token.clone()).with("time", self.time).with("cluster", self.cluster.as_str());
        txn.put_record(SPACE, POSITION, doc.to_buf().bytes().clone());
    }

    pub fn load(reader: &impl Reader) -> store::Result<Option<Self>> {
        let Some(stored) = reader.get_record(SPACE, POSITION)? else { return Ok(None) };
        let doc = decode(stored)?;
        let (Some(Raw::Document(token)), Some(Raw::Timestamp(time)), Some(cluster)) =
            (doc.get("token"), doc.get("time"), doc.get("cluster").and_then(Raw::as_str))
        else {
            return Err(damaged());
        };
        let token = token.to_buf();
        Ok(Some(Position { token, time: ClusterTime(time), cluster: cluster.to_owned() }))
    }
}

/// Nothing before this time was captured.
pub fn save_beginning(txn: &mut WriteTxn, time: ClusterTime) {
    txn.put_record(SPACE, BEGINNING, time.0.to_be_bytes().to_vec());
}

pub fn load_beginning(reader: &impl Reader) -> store::Result<Option<ClusterTime>> {
    let Some(stored) = reader.get_record(SPACE, BEGINNING)? else { return Ok(None) };
    let time = stored.as_ref().try_into().map_err(|_| damaged())?;
    Ok(Some(ClusterTime(u64::from_be_bytes(time))))
}

pub fn decode(stored: Bytes) -> store::Result<DocBuf> {
    DocBuf::validate(stored).map_err(|_| damaged())
}

pub fn damaged() -> store::Error {
    store::Error::Corrupt("a record of the source".to_owned())
}
