//! A collection of a MongoDB server: documents replaced and deleted by key.
//!
//! A repeated delivery of the newest change has no further effect. A crash may repeat the last
//! changes of a key, in their order: the document ends where it was (at least once, and the same in
//! effect).

use std::sync::Arc;

use async_trait::async_trait;

use document::DocBuf;
use mongodb::bson::{self, RawDocumentBuf};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};
use rustc_hash::FxHashMap;
use tokio::sync::OnceCell;

use crate::event::{Event, Kind};
use crate::target::{Delivery, Fault, Target};

/// Where and how to write.
#[derive(Clone, Debug)]
pub struct MongoOptions {
    /// The driver's connection string.
    pub url: String,
    pub db: String,
    pub collection: String,
    /// Rows have their own `_id` (those of a change stream's documents).
    pub own_ids: bool,
}

pub struct Mongo {
    options: MongoOptions,
    collection: OnceCell<Collection<RawDocumentBuf>>,
}

impl Mongo {
    pub fn new(options: MongoOptions) -> Self {
        Mongo { options, collection: OnceCell::new() }
    }

    async fn collection(&self) -> Result<&Collection<RawDocumentBuf>, Fault> {
        let open = async || {
            let mut options = ClientOptions::parse(&self.options.url).await.map_err(|e| fault_of(&e))?;
            options.app_name = Some("headwater".to_owned());
            options.server_selection_timeout.get_or_insert(std::time::Duration::from_secs(10));
            let client = Client::with_options(options).map_err(|e| fault_of(&e))?;
            Ok(client.database(&self.options.db).collection(&self.options.collection))
        };
        self.collection.get_or_try_init(open).await
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
        let collection = self.collection().await?;
        collection.estimated_document_count().await.map(|_| ()).map_err(|e| fault_of(&e))
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let collection = self.collection().await?;
        // Keys do not wait for each other; the events of one key do.
        let mut lanes: FxHashMap<&[u8], Vec<&Arc<Event>>> = FxHashMap::default();
        for event in &delivery.events {
            lanes.entry(&event.lane).or_default().push(event);
        }
        let work = lanes.into_values().map(|lane| async move {
            for event in lane {
                apply(collection, event, self.options.own_ids).await?;
            }
            Ok(())
        });
        futures::future::try_join_all(work).await.map(|_: Vec<()>| ())
    }
}
