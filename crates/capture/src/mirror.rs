//! Mirrored collections: which there are, and how far each is loaded.

use std::cmp::Ordering;

use document::{Doc, DocBuf, Raw, compare_raw};
use store::{Namespace, Reader, WriteTxn};

use crate::position::{SPACE, damaged, decode};

const PREFIX: &[u8] = b"mirror\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorState {
    /// Never complete so far: not to be read.
    Loading,
    /// Complete.
    Live,
    /// Was complete and is being compared with its original.
    Comparing,
}

impl MirrorState {
    pub fn as_str(self) -> &'static str {
        match self {
            MirrorState::Loading => "loading",
            MirrorState::Live => "live",
            MirrorState::Comparing => "comparing",
        }
    }
}

/// What a mirror's record says.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorRecord {
    pub state: MirrorState,
    /// Differences that a comparison finds become events.
    pub as_events: bool,
    /// `{_id}` of the last document of the last chunk.
    pub last: Option<DocBuf>,
    pub loaded: u64,
    pub estimated: u64,
}

impl MirrorRecord {
    /// A mirror about to be loaded for the first time.
    pub fn fresh(estimated: u64) -> Self {
        MirrorRecord { state: MirrorState::Loading, as_events: false, last: None, loaded: 0, estimated }
    }

    /// The mirror about to be compared from the beginning.
    pub fn again(&self, as_events: bool) -> Self {
        let state = match self.state {
            MirrorState::Loading => MirrorState::Loading,
            MirrorState::Live | MirrorState::Comparing => MirrorState::Comparing,
        };
        MirrorRecord { state, as_events, last: None, loaded: 0, estimated: self.estimated }
    }

    /// Has the load passed the key, so that the mirror has its document as the log has it?
    pub fn holds(&self, id: Raw<'_>) -> bool {
        match (self.state, self.last.as_ref().and_then(|last| last.get("_id"))) {
            (MirrorState::Live, _) => true,
            (_, None) => false,
            (_, Some(last)) => compare_raw(id, last) != Ordering::Greater,
        }
    }

    fn encode(&self) -> DocBuf {
        let mut doc = Doc::new()
            .with("state", self.state.as_str())
            .with("asEvents", self.as_events)
            .with("loaded", self.loaded as i64)
            .with("estimated", self.estimated as i64);
        if let Some(last) = &self.last {
            doc.push("last", last.clone());
        }
        doc.to_buf()
    }

    fn decode(doc: &DocBuf) -> store::Result<Self> {
        let state = match doc.get("state").and_then(Raw::as_str) {
            Some("loading") => MirrorState::Loading,
            Some("live") => MirrorState::Live,
            Some("comparing") => MirrorState::Comparing,
            _ => return Err(damaged()),
        };
        let count = |name: &str| doc.get(name).and_then(Raw::as_whole).unwrap_or(0).max(0) as u64;
        Ok(MirrorRecord {
            state,
            as_events: doc.get("asEvents").and_then(Raw::as_bool).unwrap_or(false),
            last: doc.get("last").and_then(Raw::as_document).map(|last| last.to_buf()),
            loaded: count("loaded"),
            estimated: count("estimated"),
        })
    }

    pub fn save(&self, txn: &mut WriteTxn, namespace: &Namespace) {
        txn.put_record(SPACE, &key(namespace), self.encode().bytes().clone());
    }
}

fn key(namespace: &Namespace) -> Vec<u8> {
    [PREFIX, namespace.db.as_bytes(), b"\0", namespace.collection.as_bytes()].concat()
}

pub fn load(reader: &impl Reader, namespace: &Namespace) -> store::Result<Option<MirrorRecord>> {
    match reader.get_record(SPACE, &key(namespace))? {
        Some(stored) => MirrorRecord::decode(&decode(stored)?).map(Some),
        None => Ok(None),
    }
}

/// Every mirror, in the order of their names.
pub fn all(reader: &impl Reader) -> store::Result<Vec<(Namespace, MirrorRecord)>> {
    let mut found = Vec::new();
    for record in reader.records(SPACE, PREFIX) {
        let (key, value) = record?;
        let name = std::str::from_utf8(&key[PREFIX.len()..]).map_err(|_| damaged())?;
        let (db, collection) = name.split_once('\0').ok_or_else(damaged)?;
        found.push((Namespace::new(db, collection), MirrorRecord::decode(&decode(value)?)?));
    }
    Ok(found)
}
