//! A collection of a MongoDB server: documents replaced and deleted by key.
//!
//! Where the server has transactions (a replica set, a sharded cluster), the sink's marks are in the
//! collection `headwater_marks` of the same database and in the same transaction: each event has its
//! effect exactly once, and none under an earlier fence. Of several changes of one key in a batch only
//! the last one matters.
//!
//! At a standalone server a crash may repeat the last changes of a key, in their order: the document
//! ends where it was (at least once, and the same in effect).

mod marked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use document::DocBuf;
use mongodb::bson::{self, RawDocumentBuf};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};
use rustc_hash::FxHashMap;
use tokio::sync::OnceCell;

use crate::event::{Event, Kind};
use crate::target::{Delivery, Fault, Marks, Target};

/// Where and how to write.
#[derive(Clone, Debug)]
pub struct MongoOptions {
    /// The driver's connection string.
    pub url: String,
    pub db: String,
    pub collection: String,
    /// Rows have their own `_id` (those of a change stream's documents).
    pub own_ids: bool,
    /// Names this sink in `headwater_marks`.
    pub sink: String,
}

pub struct Mongo {
    options: MongoOptions,
    open: OnceCell<Open>,
    /// Known once the server was reached.
    transactional: AtomicBool,
}

/// A connection, and what it is used for.
struct Open {
    client: Client,
    collection: Collection<RawDocumentBuf>,
}

impl Mongo {
    pub fn new(options: MongoOptions) -> Self {
        Mongo { options, open: OnceCell::new(), transactional: AtomicBool::new(false) }
    }

    async fn open(&self) -> Result<&Open, Fault> {
        self.open.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Open, Fault> {
        let mut options = ClientOptions::parse(&self.options.url).await.map_err(|e| fault_of(&e))?;
        options.app_name = Some("headwater".to_owned());
        options.server_selection_timeout.get_or_insert(std::time::Duration::from_secs(10));
        let client = Client::with_options(options).map_err(|e| fault_of(&e))?;
        let hello = client.database("admin").run_command(bson::doc! { "hello": 1 }).await;
        let hello = hello.map_err(|e| fault_of(&e))?;
        let transactional = hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        self.transactional.store(transactional, Ordering::Release);
        let collection = client.database(&self.options.db).collection(&self.options.collection);
        Ok(Open { client, collection })
    }
}

fn raw(document: &DocBuf) -> Result<RawDocumentBuf, Fault> {
    RawDocumentBuf::from_bytes(document.bytes().to_vec()).map_err(Fault::refused)
}

fn fault_of(error: &Error) -> Fault {
    match &*error.kind {
        ErrorKind::ServerSelection { .. }
        | ErrorKind::Io(_)
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::Authentication { .. } => Fault::unreachable(error),
        ErrorKind::InvalidArgument { .. } => Fault::failed(error),
        // 121: the document fails the collection's validation; 10334: it is too large.
        _ if error.sdam_code_is(&[121, 10334]) => Fault::refused(error),
        _ if error.contains_label("RetryableWriteError") => Fault::unreachable(error),
        _ => Fault::failed(error),
    }
}

trait CodeOf {
    fn sdam_code_is(&self, codes: &[i32]) -> bool;
}

impl CodeOf for Error {
    fn sdam_code_is(&self, codes: &[i32]) -> bool {
        match &*self.kind {
            ErrorKind::Command(error) => codes.contains(&error.code),
            ErrorKind::Write(mongodb::error::WriteFailure::WriteError(error)) => codes.contains(&error.code),
            _ => false,
        }
    }
}

async fn apply(collection: &Collection<RawDocumentBuf>, event: &Event, own_ids: bool) -> Result<(), Fault> {
    let id = event.id_in_collection(own_ids);
    let wanted = bson::Document::try_from(&*raw(&id)?).map_err(Fault::refused)?;
    // Without $eq, an `_id` that is a document would be read for operators.
    let filter = bson::doc! { "_id": { "$eq": wanted.get("_id").cloned() } };
    match event.kind {
        Kind::Other => Ok(()),
        Kind::Delete => collection.delete_one(filter).await.map(|_| ()).map_err(|e| fault_of(&e)),
        Kind::Upsert => {
            let document = raw(&event.document_in_collection(&id, own_ids))?;
            collection.replace_one(filter, document).upsert(true).await.map(|_| ()).map_err(|e| fault_of(&e))
        }
    }
}

#[async_trait]
impl Target for Mongo {
    async fn check(&self) -> Result<(), Fault> {
        let collection = &self.open().await?.collection;
        collection.estimated_document_count().await.map(|_| ()).map_err(|e| fault_of(&e))
    }

    fn keeps_marks(&self) -> bool {
        self.transactional.load(Ordering::Acquire)
    }

    async fn marks(&self, fence: u64) -> Result<Option<Marks>, Fault> {
        let open = self.open().await?;
        if self.keeps_marks() { self.raise_fence(open, fence).await.map(Some) } else { Ok(None) }
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let open = self.open().await?;
        if self.keeps_marks() {
            return self.deliver_marked(open, delivery).await;
        }
        // Keys do not wait for each other; the events of one key do.
        let mut lanes: FxHashMap<&[u8], Vec<&Arc<Event>>> = FxHashMap::default();
        for event in &delivery.events {
            lanes.entry(&event.lane).or_default().push(event);
        }
        let work = lanes.into_values().map(|lane| async move {
            for event in lane {
                apply(&open.collection, event, self.options.own_ids).await?;
            }
            Ok(())
        });
        futures::future::try_join_all(work).await.map(|_: Vec<()>| ())
    }
}
