//! The deployment through the official driver: who it is, its change stream, its collections.

use std::sync::Arc;
use std::time::Duration;

use base::ClusterTime;
use bytes::Bytes;
use document::{Doc, DocBuf, Raw, RawDoc};
use mongodb::bson::{Bson, Document, doc};
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ClientOptions, ServerAddress};
use mongodb::raw_batch_cursor::RawBatchCursor;
use mongodb::{Client, ServerType};
use parking_lot::RwLock;
use store::Namespace;

use crate::failure::{Failure, STANDALONE};
use crate::needs::{self, Need};
use crate::options::{SourceOptions, filter, without_group};

/// How long the deployment may take to answer before it counts as unreachable, unless the
/// connection string says otherwise.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server waits for events before it answers that there are none.
const MAX_AWAIT: Duration = Duration::from_millis(500);
/// Events in a batch at most; the server also ends a batch at 16 MB.
pub const BATCH_EVENTS: u32 = 8192;

/// Wire versions with which features came.
mod wire {
    pub const SNAPSHOT_READS: i32 = 13;
    pub const IMAGES_AND_EXPANDED_EVENTS: i32 = 17;
    pub const SPLIT_LARGE_EVENTS: i32 = 21;
}

/// Where the primary is, as the driver's monitor last saw it.
pub type Primary = Arc<RwLock<Option<(String, u16)>>>;

/// What the deployment says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of the replica set, or "sharded cluster".
    pub cluster: String,
    pub version: String,
    pub sharded: bool,
    /// The answer to `hello`.
    pub hello: Arc<DocBuf>,
    wire: i32,
}

impl Identity {
    pub fn has_recorded_images(&self) -> bool {
        self.wire >= wire::IMAGES_AND_EXPANDED_EVENTS
    }

    pub fn has_snapshot_reads(&self) -> bool {
        self.wire >= wire::SNAPSHOT_READS
    }

    fn splits_large_events(&self) -> bool {
        self.wire >= wire::SPLIT_LARGE_EVENTS
    }

    /// What this version cannot give, each a sentence.
    pub fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        if !self.has_recorded_images() {
            limits.push(
                "the document after an update is looked up later, and there is none before a change: servers record \
                 images from 6.0 on",
            );
            limits.push("collections' creation, indexes and options make no events: servers from 6.0 on have them");
        }
        if !self.splits_large_events() {
            limits.push("an event larger than 16 MB stops capturing: servers can split events from 7.0 on");
        }
        limits.into_iter().map(str::to_owned).collect()
    }
}

/// What a change stream shows.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub options: &'a SourceOptions,
    pub needs: &'a [Need],
}

/// A connection to the deployment.
#[derive(Clone)]
pub struct Upstream {
    pub client: Client,
    pub identity: Identity,
}

/// Reads the connection string, which may ask the DNS.
pub async fn client_options(uri: &str, primary: &Primary) -> Result<ClientOptions, Failure> {
    let mut options = ClientOptions::parse(uri).await.map_err(|error| Failure::driver(&error, "connecting"))?;
    options.app_name.get_or_insert_with(|| "headwater".to_owned());
    options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
    let primary = Arc::clone(primary);
    options.sdam_event_handler = Some(mongodb::event::EventHandler::callback(move |event| {
        if let SdamEvent::TopologyDescriptionChanged(changed) = event {
            let writable =
                |kind: ServerType| matches!(kind, ServerType::RsPrimary | ServerType::Mongos | ServerType::Standalone);
            let servers = changed.new_description.servers();
            let found = servers.values().find(|server| writable(server.server_type()));
            *primary.write() = found.and_then(|server| match server.address() {
                ServerAddress::Tcp { host, port } => Some((host.clone(), port.unwrap_or(27017))),
                _ => None,
            });
        }
    }));
    Ok(options)
}

impl Upstream {
    /// Asks the deployment who it is.
    pub async fn identify(client: Client) -> Result<Self, Failure> {
        let admin = client.database("admin");
        let failed = |error: mongodb::error::Error| Failure::driver(&error, "connecting");
        let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(failed)?;
        let build = admin.run_command(doc! { "buildInfo": 1 }).await.map_err(failed)?;
        let sharded = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        let cluster = match hello.get_str("setName") {
            _ if sharded => "sharded cluster".to_owned(),
            Ok(name) => name.to_owned(),
            Err(_) => return Err(Failure::Passing(STANDALONE.to_owned())),
        };
        let identity = Identity {
            cluster,
            sharded,
            hello: Arc::new(from_bson(&hello)?),
            version: build.get_str("version").unwrap_or("unknown").to_owned(),
            wire: hello.get_i32("maxWireVersion").unwrap_or(0),
        };
        Ok(Upstream { client, identity })
    }

    /// Opens the change stream of everything that is captured, after `resume`.
    pub async fn watch(&self, scope: Scope<'_>, resume: Option<&DocBuf>) -> Result<RawBatchCursor, Failure> {
        let command = self.watch_command(scope, resume)?;
        let db = one_database(scope.options).unwrap_or("admin");
        self.client
            .database(db)
            .run_cursor_command(command)
            .batch_size(BATCH_EVENTS)
            .max_time(MAX_AWAIT)
            .batch()
            .await
            .map_err(|error| Failure::driver(&error, "opening the change stream"))
    }

    fn watch_command(&self, scope: Scope<'_>, resume: Option<&DocBuf>) -> Result<Document, Failure> {
        let mut stream = Document::new();
        if one_database(scope.options).is_none() {
            stream.insert("allChangesForCluster", true);
        }
        let images = !scope.options.only_needed || needs::images(scope.needs);
        match self.identity.has_recorded_images() {
            true => {
                stream.insert("showExpandedEvents", true);
                if images {
                    stream.insert("fullDocument", "whenAvailable");
                    stream.insert("fullDocumentBeforeChange", "whenAvailable");
                }
            }
            false if images => {
                stream.insert("fullDocument", "updateLookup");
            }
            false => {}
        }
        if let Some(token) = resume {
            stream.insert("startAfter", to_bson(token)?);
        }
        let mut pipeline = vec![doc! { "$changeStream": stream }];
        let filter = match scope.options.only_needed {
            true => without_group(scope.options, needs::filter(scope.needs)),
            false => filter(scope.options),
        };
        if let Some(filter) = filter {
            pipeline.push(doc! { "$match": to_bson(&filter.to_buf())? });
        }
        if self.identity.splits_large_events() {
            pipeline.push(doc! { "$changeStreamSplitLargeEvent": {} });
        }
        Ok(doc! {
            "aggregate": 1,
            "pipeline": pipeline,
            "cursor": { "batchSize": BATCH_EVENTS },
            "comment": "headwater capture",
        })
    }

    /// About how many documents a collection has.
    pub async fn estimated_count(&self, namespace: &Namespace) -> Result<u64, Failure> {
        let command = doc! { "count": &*namespace.collection };
        let reply = self.run(&namespace.db, command, "counting a collection").await?;
        Ok(reply.get("n").and_then(Raw::as_whole).unwrap_or(0).max(0) as u64)
    }

    /// The time of the newest write.
    pub async fn present(&self) -> Result<ClusterTime, Failure> {
        let reply = self.run("admin", doc! { "ping": 1 }, "asking for the time").await?;
        match reply.get("operationTime") {
            Some(Raw::Timestamp(time)) => Ok(ClusterTime(time)),
            _ => Err(Failure::reply("no operationTime")),
        }
    }

    /// Is there a collection of that name which is no view?
    pub async fn has_collection(&self, namespace: &Namespace) -> Result<bool, Failure> {
        let filter = doc! { "name": &*namespace.collection, "type": "collection" };
        let command = doc! { "listCollections": 1, "filter": filter, "nameOnly": true, "cursor": {} };
        let reply = self.run(&namespace.db, command, "looking for a collection").await?;
        Ok(reply_documents(reply.bytes())?.next().is_some())
    }

    /// Runs a command that gives a cursor; its first reply as it came.
    pub async fn first_batch(&self, db: &str, command: Document, doing: &str) -> Result<Bytes, Failure> {
        let failed = |error: mongodb::error::Error| Failure::driver(&error, doing);
        let mut cursor = self.client.database(db).run_cursor_command(command).batch().await.map_err(failed)?;
        match futures::StreamExt::next(&mut cursor).await {
            Some(batch) => Ok(Bytes::copy_from_slice(batch.map_err(failed)?.as_raw_document().as_bytes())),
            None => Err(Failure::reply("a cursor without a batch")),
        }
    }

    /// Runs a command and hands out its reply.
    pub async fn run(&self, db: &str, command: Document, doing: &str) -> Result<DocBuf, Failure> {
        let reply = self.client.database(db).run_command(command).await;
        let reply = reply.map_err(|error| Failure::driver(&error, doing))?;
        from_bson(&reply)
    }

    /// The documents with these keys as they are now, by `_id`; those that are gone are left out.
    pub async fn look_up(&self, namespace: &Namespace, ids: Vec<Bson>) -> Result<Vec<DocBuf>, Failure> {
        let command = doc! {
            "find": &*namespace.collection,
            "filter": { "_id": { "$in": ids } },
            "batchSize": 1_000_000,
            "singleBatch": false,
            "readConcern": { "level": "majority" },
        };
        let doing = "looking up changed documents";
        let failed = |error: mongodb::error::Error| Failure::driver(&error, doing);
        let cursor = self.client.database(&namespace.db).run_cursor_command(command).batch().await;
        let mut cursor = cursor.map_err(failed)?;
        let mut found = Vec::new();
        while let Some(batch) = futures::StreamExt::next(&mut cursor).await {
            let batch = batch.map_err(failed)?;
            for document in reply_documents(batch.as_raw_document().as_bytes())? {
                found.push(owned(document)?);
            }
        }
        Ok(found)
    }

    /// The time of the oldest entry of the deployment's own log; `None` where that is not ours to read.
    pub async fn oldest_time(&self) -> Option<ClusterTime> {
        if self.identity.sharded {
            return None;
        }
        let command = doc! {
            "find": "oplog.rs", "sort": { "$natural": 1 }, "limit": 1, "projection": { "ts": 1 }, "singleBatch": true,
        };
        let reply = self.run("local", command, "reading the log's beginning").await.ok()?;
        let first = reply_documents(reply.bytes()).ok()?.next()?;
        match first.get("ts") {
            Some(Raw::Timestamp(time)) => Some(ClusterTime(time)),
            _ => None,
        }
    }
}

/// If everything that is captured is in one database, its change stream needs fewer privileges.
fn one_database(options: &SourceOptions) -> Option<&str> {
    let (first, rest) = options.watched.split_first()?;
    rest.iter().all(|other| other.db == first.db).then_some(first.db.as_str())
}

pub fn to_bson(doc: &DocBuf) -> Result<Document, Failure> {
    Document::from_reader(&doc.bytes()[..]).map_err(|error| Failure::Final(format!("a stored document: {error}")))
}

pub fn from_bson(doc: &Document) -> Result<DocBuf, Failure> {
    let bytes = doc.to_vec().map_err(Failure::reply)?;
    DocBuf::validate(bytes.into()).map_err(Failure::reply)
}

/// A copy of a document in a reply, checked.
pub fn owned(document: RawDoc<'_>) -> Result<DocBuf, Failure> {
    DocBuf::validate(bytes::Bytes::copy_from_slice(document.as_bytes())).map_err(Failure::reply)
}

/// The documents of a cursor's batch.
pub fn reply_documents(reply: &[u8]) -> Result<impl Iterator<Item = RawDoc<'_>>, Failure> {
    let cursor = reply_cursor(reply)?;
    let batch = cursor.get("nextBatch").or_else(|| cursor.get("firstBatch")).and_then(Raw::as_array);
    let batch = batch.ok_or_else(|| Failure::reply("no batch"))?;
    Ok(batch.values().filter_map(Raw::as_document))
}

pub fn reply_cursor(reply: &[u8]) -> Result<RawDoc<'_>, Failure> {
    let cursor = RawDoc::trusted(reply).get("cursor").and_then(Raw::as_document);
    cursor.ok_or_else(|| Failure::reply("no cursor"))
}

/// `{_id: value}` as the driver's value.
pub fn id_to_bson(key: &DocBuf) -> Result<Option<Bson>, Failure> {
    let Some(id) = key.get("_id") else { return Ok(None) };
    let wrapped = Doc(vec![("id".to_owned(), id.to_value())]).to_buf();
    Ok(to_bson(&wrapped)?.remove("id"))
}
