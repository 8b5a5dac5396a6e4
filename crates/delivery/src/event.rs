//! What is delivered: one change, with the place where it stands in its source.

use std::sync::Arc;

use bytes::Bytes;
use document::{DocBuf, DocWriter, Raw};

/// A place in a source. Unique per event, and in the source's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Cluster time of the commit, or the number of an outbox entry.
    pub time: u64,
    /// The entry within its commit.
    pub index: u32,
    /// The row within its entry: a query may make several of one change.
    pub part: u32,
}

impl Position {
    pub const START: Position = Position { time: 0, index: 0, part: 0 };

    /// The first place of a time.
    pub fn at(time: u64) -> Self {
        Position { time, index: 0, part: 0 }
    }

    /// The least place after this one.
    pub fn next(self) -> Self {
        match (self.part.checked_add(1), self.index.checked_add(1)) {
            (Some(part), _) => Position { part, ..self },
            (None, Some(index)) => Position { time: self.time, index, part: 0 },
            (None, None) => Position::at(self.time.saturating_add(1)),
        }
    }

    /// 16 bytes that sort as positions do.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.index.to_be_bytes());
        bytes[12..].copy_from_slice(&self.part.to_be_bytes());
        bytes
    }

    /// `None` if these are not the bytes of a position.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let (index, rest) = rest.split_first_chunk::<4>()?;
        Some(Position {
            time: u64::from_be_bytes(*time),
            index: u32::from_be_bytes(*index),
            part: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:08x}{:08x}", self.time, self.index, self.part)
    }
}

impl std::str::FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let part = |range: std::ops::Range<usize>| text.get(range).ok_or(());
        if text.len() != 32 {
            return Err(());
        }
        Ok(Position {
            time: u64::from_str_radix(part(0..16)?, 16).map_err(|_| ())?,
            index: u32::from_str_radix(part(16..24)?, 16).map_err(|_| ())?,
            part: u32::from_str_radix(part(24..32)?, 16).map_err(|_| ())?,
        })
    }
}

/// What an event does to the row with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The row is there with this content.
    Upsert,
    /// The row is gone.
    Delete,
    /// No row is meant: a collection was dropped, an index created.
    Other,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Upsert => "upsert",
            Kind::Delete => "delete",
            Kind::Other => "other",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Kind::Upsert, Kind::Delete, Kind::Other].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One change on its way to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub position: Position,
    /// The same for every attempt and after every restart: receivers know a repetition by it.
    pub id: Arc<str>,
    /// Events with the same bytes are delivered in order.
    pub lane: Bytes,
    pub kind: Kind,
    /// `insert`, `update`, `replace`, `delete`, `drop`, …
    pub operation: Arc<str>,
    /// `db.name` of the stream, view or sink whose rows these are.
    pub source: Arc<str>,
    /// `db.collection` where the change happened; empty for rows of a query over several.
    pub namespace: Arc<str>,
    /// Wall clock of the change, milliseconds since the epoch.
    pub time_ms: i64,
    /// The fields that identify the row at the target.
    pub key: DocBuf,
    /// The row after the change; of a deleted one what is known of it.
    pub row: DocBuf,
    /// The row before the change, where known.
    pub before: Option<DocBuf>,
    /// What message targets send: for a change stream the event's columns, otherwise the row.
    pub body: DocBuf,
    /// Higher goes first.
    pub priority: i64,
}

impl Event {
    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        256 + self.lane.len()
            + self.key.len()
            + self.row.len()
            + self.body.len()
            + self.before.as_ref().map_or(0, DocBuf::len)
    }

    /// For the disk.
    pub fn encode(&self) -> DocBuf {
        let event = self;
        let mut writer = DocWriter::with_capacity(event.bytes());
        writer.binary("position", 0, &event.position.to_bytes());
        writer.str("id", &event.id);
        writer.binary("lane", 0, &event.lane);
        writer.str("kind", event.kind.as_str());
        writer.str("operation", &event.operation);
        writer.str("source", &event.source);
        writer.str("namespace", &event.namespace);
        writer.date("time", event.time_ms);
        writer.doc("key", event.key.as_doc());
        writer.doc("row", event.row.as_doc());
        if let Some(before) = &event.before {
            writer.doc("before", before.as_doc());
        }
        if event.body != event.row {
            writer.doc("body", event.body.as_doc());
        }
        writer.i64("priority", event.priority);
        writer.finish()
    }

    /// `None` for bytes that no `encode` wrote.
    pub fn decode(stored: &DocBuf) -> Option<Self> {
        let text = |name: &str| stored.get(name)?.as_str().map(Arc::<str>::from);
        let document = |name: &str| Some(stored.share(stored.get(name)?.as_document()?));
        let binary = |name: &str| match stored.get(name)? {
            Raw::Binary { bytes, .. } => Some(bytes),
            _ => None,
        };
        let row = document("row")?;
        Some(Event {
            position: Position::from_bytes(binary("position")?)?,
            id: text("id")?,
            lane: Bytes::copy_from_slice(binary("lane")?),
            kind: Kind::parse(&text("kind")?)?,
            operation: text("operation")?,
            source: text("source")?,
            namespace: text("namespace")?,
            time_ms: match stored.get("time")? {
                Raw::Date(ms) => ms,
                _ => return None,
            },
            key: document("key")?,
            before: document("before"),
            body: document("body").unwrap_or_else(|| row.clone()),
            row,
            priority: stored.get("priority")?.as_whole()?,
        })
    }

    /// `{_id: …}` of the row in a collection: with `own_ids` the row's own; else its key, if that is one
    /// value, or the key as a document.
    pub fn id_in_collection(&self, own_ids: bool) -> DocBuf {
        let mut writer = DocWriter::with_capacity(32);
        let mut key = self.key.iter();
        match (own_ids.then(|| self.key.get("_id")).flatten(), key.next(), key.next()) {
            (Some(id), ..) | (None, Some((_, id)), None) => writer.raw("_id", id),
            _ => writer.doc("_id", self.key.as_doc()),
        }
        writer.finish()
    }

    /// The row as a document of a collection, under the `id` from `id_in_collection`.
    pub fn document_in_collection(&self, id: &DocBuf, own_ids: bool) -> DocBuf {
        if own_ids {
            return self.row.clone();
        }
        let mut writer = DocWriter::with_capacity(self.row.len() + id.len());
        writer.fields(id.as_doc());
        self.row.iter().filter(|(name, _)| *name != "_id").for_each(|(name, value)| writer.raw(name, value));
        writer.finish()
    }
}

/// What is left of a batch when only the last change of each key counts: rows to write, keys to delete.
pub(crate) fn net(events: &[Arc<Event>]) -> (Vec<&Event>, Vec<&Event>) {
    let mut last = rustc_hash::FxHashMap::default();
    for (at, event) in events.iter().enumerate() {
        last.insert(&event.lane, at);
    }
    let mut kept: Vec<usize> = last.into_values().collect();
    kept.sort_unstable();
    let kept = kept.into_iter().map(|at| &*events[at]).filter(|event| event.kind != Kind::Other);
    kept.partition(|event| event.kind == Kind::Upsert)
}

/// Bytes of any length as 32, the same for the same.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
