//! Several processes over one deployment share sinks: what they agree on stands in the deployment.
//!
//! ```text
//!   headwater.sinks         one document per sink: definition, lease (holder, fence, expires), position
//!   headwater.ledger        finished above the position
//!   headwater.dead_letters  letters, in order per lane
//!
//!   acquire: fence + 1 if the lease has expired by the server's clock ── then only writes with that fence
//!   renew:   expires = the server's now + lease, as long as the fence is ours
//! ```
//!
//! The lease decides who works; the fence makes sure of it: every write is conditional on it in one
//! document, so a holder that was paused past its lease finds nothing that it could write.
//!
//! # Not here
//! When to acquire, what a definition means (`engine`).
//!
//! # Invariants
//! - A step is one transaction whose first statement matches the fence and counts the step: it happens
//!   once, under one holder.
//! - The clock of a lease is the deployment's; a holder counts from before it asked.

mod lease;
mod records;
mod step;

use std::time::Duration;

use base::Uuid;
use document::DocBuf;
use futures::TryStreamExt;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection};
use tokio::sync::OnceCell;

use crate::event::Position;

pub use lease::HeldLease;
pub use records::GroupRecords;

/// The database of what is shared; its changes are not captured.
pub const DATABASE: &str = "headwater";
const SINKS: &str = "sinks";
const LEDGER: &str = "ledger";
const LETTERS: &str = "dead_letters";
/// How long the deployment may take to answer.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A group as one of its processes sees it.
pub struct Group {
    uri: String,
    pub name: String,
    /// This process, different after every start.
    pub holder: String,
    pub lease: Duration,
    client: OnceCell<Client>,
}

/// A sink of the group.
#[derive(Clone, Debug)]
pub struct Entry {
    pub db: String,
    pub name: String,
    /// As the engine wrote it.
    pub definition: DocBuf,
    /// The change stream that it reads, as the engine wrote it.
    pub stream: DocBuf,
    pub uid: Uuid,
    pub low: Position,
    pub delivered: u64,
    pub holder: String,
    pub fence: u64,
    /// Nobody holds it now, by the deployment's clock.
    pub free: bool,
}

/// A sink as it is published.
#[derive(Clone, Debug)]
pub struct Published<'a> {
    pub db: &'a str,
    pub name: &'a str,
    pub uid: Uuid,
    pub definition: &'a DocBuf,
    pub stream: &'a DocBuf,
}

/// Something that the deployment refused, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("sink \"{0}\" exists in the group already")]
    Exists(String),
    #[error("sink \"{0}\" is no longer what it was in the group")]
    Changed(String),
    #[error("the deployment: {0}")]
    Unavailable(String),
}

impl From<Error> for GroupError {
    fn from(error: Error) -> Self {
        GroupError::Unavailable(error.to_string())
    }
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

fn bytes_of<'a>(document: &'a Document, name: &str) -> Option<&'a [u8]> {
    match document.get(name) {
        Some(Bson::Binary(Binary { bytes, .. })) => Some(bytes),
        _ => None,
    }
}

fn stored(document: &Document, name: &str) -> Option<DocBuf> {
    DocBuf::validate(bytes::Bytes::copy_from_slice(bytes_of(document, name)?)).ok()
}

fn whole(document: &Document, name: &str) -> u64 {
    let number = match document.get(name) {
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Double(x)) => *x as i64,
        _ => 0,
    };
    number.max(0) as u64
}

fn is_duplicate(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == 11000,
        ErrorKind::Command(error) => error.code == 11000,
        _ => false,
    }
}

impl Group {
    /// Connects when it is first asked something.
    pub fn new(uri: String, name: String, holder: String, lease: Duration) -> Self {
        Group { uri, name, holder, lease, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client, GroupError> {
        Ok(self.client.get_or_try_init(|| connect(self.uri.clone())).await?)
    }

    async fn collection(&self, name: &str) -> Result<Collection<Document>, GroupError> {
        Ok(self.client().await?.database(DATABASE).collection(name))
    }

    fn id(&self, db: &str, name: &str) -> String {
        format!("{}/{db}.{name}", self.name)
    }

    /// Every sink of the group.
    pub async fn entries(&self) -> Result<Vec<Entry>, GroupError> {
        let pipeline = vec![
            doc! { "$match": { "group": &self.name } },
            doc! { "$set": { "free": { "$lt": ["$expires", "$$NOW"] } } },
        ];
        let found = self.collection(SINKS).await?.aggregate(pipeline).await?;
        let found: Vec<Document> = found.try_collect().await?;
        Ok(found.iter().filter_map(entry).collect())
    }

    /// A new sink, which begins at `low`.
    pub async fn create(&self, sink: &Published<'_>, low: Position) -> Result<(), GroupError> {
        let document = doc! {
            "_id": self.id(sink.db, sink.name),
            "group": &self.name,
            "db": sink.db,
            "name": sink.name,
            "uid": sink.uid.to_string(),
            "definition": binary(sink.definition.bytes()),
            "stream": binary(sink.stream.bytes()),
            "low": low.to_string(),
            "step": 0_i64,
            "delivered": 0_i64,
            "holder": "",
            "fence": 0_i64,
            "expires": DateTime::from_millis(0),
        };
        match self.collection(SINKS).await?.insert_one(document).await {
            Ok(_) => Ok(()),
            Err(error) if is_duplicate(&error) => Err(GroupError::Exists(sink.name.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Another definition of the sink; with `life`, the uid before and a new beginning.
    pub async fn alter(&self, sink: &Published<'_>, life: Option<(Uuid, Position)>) -> Result<(), GroupError> {
        let before = life.map_or(sink.uid, |(before, _)| before);
        let mut set = doc! { "definition": binary(sink.definition.bytes()), "stream": binary(sink.stream.bytes()) };
        let mut update = Document::new();
        if let Some((_, low)) = life {
            set.insert("uid", sink.uid.to_string());
            set.insert("low", low.to_string());
            set.insert("holder", "");
            set.insert("expires", DateTime::from_millis(0));
            // Whoever is at work on the life before can write nothing more.
            update.insert("$inc", doc! { "fence": 1_i64 });
        }
        update.insert("$set", set);
        let filter = doc! { "_id": self.id(sink.db, sink.name), "uid": before.to_string() };
        let updated = self.collection(SINKS).await?.update_one(filter, update).await?;
        if updated.matched_count == 0 {
            return Err(GroupError::Changed(sink.name.to_owned()));
        }
        if life.is_some() {
            self.forget_life(before).await?;
        }
        Ok(())
    }

    /// Forgets a sink: whoever is at work on it can write nothing more.
    pub async fn remove(&self, db: &str, name: &str, uid: Uuid) -> Result<(), GroupError> {
        let filter = doc! { "_id": self.id(db, name), "uid": uid.to_string() };
        self.collection(SINKS).await?.delete_one(filter).await?;
        self.forget_life(uid).await
    }

    async fn forget_life(&self, uid: Uuid) -> Result<(), GroupError> {
        for name in [LEDGER, LETTERS] {
            let of_life = records::within(&format!("{uid}/"));
            self.collection(name).await?.delete_many(doc! { "_id": of_life }).await?;
        }
        Ok(())
    }
}

async fn connect(uri: String) -> mongodb::error::Result<Client> {
    let mut options = ClientOptions::parse(uri).await?;
    options.app_name = Some("headwater group".to_owned());
    options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
    options.read_concern = Some(ReadConcern::majority());
    options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).build());
    // Whoever reads must see what the holder before wrote.
    options.selection_criteria = None;
    Client::with_options(options)
}

fn entry(document: &Document) -> Option<Entry> {
    let text = |name: &str| document.get_str(name).ok().map(str::to_owned);
    Some(Entry {
        db: text("db")?,
        name: text("name")?,
        definition: stored(document, "definition")?,
        stream: stored(document, "stream")?,
        uid: text("uid")?.parse().ok()?,
        low: text("low")?.parse().ok()?,
        delivered: whole(document, "delivered"),
        holder: text("holder")?,
        fence: whole(document, "fence"),
        free: document.get_bool("free").unwrap_or(false),
    })
}
