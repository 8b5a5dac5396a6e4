//! A log in memory and random histories, for this crate's tests.

use std::collections::HashMap;
use std::sync::Arc;

use base::{ClusterTime, Random, Uuid};
use document::{DocBuf, Raw};
use parking_lot::Mutex;
use store::entry::{CollectionKind, LogEntry, LogPosition, Namespace, Operation, PreImage, TxnInfo};

use crate::error::Result;
use crate::source::{Deliver, Entries, LogSource};

/// A document from JSON.
pub fn doc(json: &str) -> DocBuf {
    document::json::parse_extended_json(json).expect("test JSON is well-formed").to_buf()
}

/// The compact JSON of a document.
pub fn json(document: &DocBuf) -> String {
    document::json::to_extended_json(Raw::Document(document.as_doc()), document::json::Dialect::Relaxed)
}

pub fn uuid_of(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    for (byte, letter) in bytes.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    Uuid(bytes)
}

pub fn insert(id: i32, fields: &str) -> Operation {
    let document = doc(&format!("{{\"_id\": {id}{}{fields}}}", if fields.is_empty() { "" } else { ", " }));
    Operation::Insert { key: doc(&format!("{{\"_id\": {id}}}")), document }
}

#[derive(Default)]
pub struct MemoryLog {
    state: Mutex<State>,
    deliver: Mutex<Vec<Deliver>>,
}

#[derive(Default)]
struct State {
    entries: Vec<LogEntry>,
    durable: ClusterTime,
    removed: Option<ClusterTime>,
    documents: HashMap<(Uuid, Vec<u8>), DocBuf>,
}

impl MemoryLog {
    pub fn new() -> Arc<Self> {
        let log = MemoryLog::default();
        log.state.lock().durable = ClusterTime::new(100, 0);
        Arc::new(log)
    }

    /// One entry, at a time of its own.
    pub fn commit(&self, namespace: &str, operation: Operation) -> LogEntry {
        self.commit_all(vec![(namespace, operation)], false).remove(0)
    }

    /// One group: entries at times of their own, or of one transaction.
    pub fn commit_all(&self, operations: Vec<(&str, Operation)>, txn: bool) -> Vec<LogEntry> {
        let group: Arc<[LogEntry]> = {
            let mut state = self.state.lock();
            let count = operations.len();
            let first = state.durable.next();
            let entries: Vec<LogEntry> = operations
                .into_iter()
                .enumerate()
                .map(|(at, (namespace, operation))| {
                    let (db, name) = namespace.split_once('.').unwrap_or((namespace, ""));
                    let position = match txn {
                        true => LogPosition { time: first, index: at as u32 },
                        false => LogPosition { time: ClusterTime(first.0 + at as u64), index: 0 },
                    };
                    let is_view =
                        matches!(operation, Operation::Create { kind, .. } if kind != CollectionKind::Collection);
                    LogEntry {
                        position,
                        wall_ms: 1000 + position.time.increment() as i64,
                        namespace: Namespace::new(db, name),
                        collection: (!name.is_empty() && !is_view).then(|| uuid_of(namespace)),
                        operation,
                        token: None,
                        txn: txn.then(|| TxnInfo { lsid: doc(r#"{"id": 1}"#), txn_number: 7, last: at + 1 == count }),
                    }
                })
                .collect();
            for entry in &entries {
                state.apply(entry);
            }
            state.entries.extend(entries.iter().cloned());
            state.durable = entries.last().expect("a commit is not empty").position.time;
            entries.into()
        };
        let up_to = group.last().expect("a commit is not empty").position.time;
        for deliver in self.deliver.lock().iter() {
            deliver(&group, up_to);
        }
        group.to_vec()
    }

    pub fn entries(&self) -> Vec<LogEntry> {
        self.state.lock().entries.clone()
    }

    /// What retention does.
    pub fn remove_up_to(&self, time: ClusterTime) {
        let mut state = self.state.lock();
        state.removed = Some(time);
        state.entries.retain(|entry| entry.position.time > time);
    }
}

impl State {
    fn apply(&mut self, entry: &LogEntry) {
        let Some(collection) = entry.collection else { return };
        match &entry.operation {
            Operation::Insert { key, document }
            | Operation::Update { key, document: Some(document), .. }
            | Operation::Replace { key, document, .. } => {
                self.documents.insert((collection, key.bytes().to_vec()), document.clone());
            }
            Operation::Delete { key, .. } => {
                self.documents.remove(&(collection, key.bytes().to_vec()));
            }
            _ => {}
        }
    }
}

impl LogSource for MemoryLog {
    fn durable(&self) -> ClusterTime {
        self.state.lock().durable
    }

    fn removed_up_to(&self) -> Option<ClusterTime> {
        self.state.lock().removed
    }

    fn read(&self, from: LogPosition, up_to: ClusterTime) -> Entries<'_> {
        let entries = self.entries();
        let wanted = move |entry: &LogEntry| entry.position >= from && entry.position.time <= up_to;
        Box::new(entries.into_iter().filter(wanted).map(Ok))
    }

    fn on_durable(&self, deliver: Deliver) {
        self.deliver.lock().push(deliver);
    }

    fn current_document(&self, entry: &LogEntry) -> Result<Option<DocBuf>> {
        let Some((collection, key)) = entry.collection.zip(crate::Event::new(entry).document_key()) else {
            return Ok(None);
        };
        Ok(self.state.lock().documents.get(&(collection, key.bytes().to_vec())).cloned())
    }
}

/// A random change: mostly of documents, in a few collections of two databases.
pub fn random_operation(random: &mut Random) -> (&'static str, Operation) {
    const NAMESPACES: [&str; 5] = ["shop.orders", "shop.users", "shop.system.x", "blog.posts", "admin.secrets"];
    let namespace = NAMESPACES[random.below(5) as usize];
    let id = random.below(6) as i32;
    let key = doc(&format!("{{\"_id\": {id}}}"));
    let (n, k) = (random.below(8), random.below(3));
    let tags: Vec<String> = (0..random.below(3)).map(|_| random.below(5).to_string()).collect();
    let fields = format!("\"n\": {n}, \"k\": \"k{k}\", \"sub\": {{\"tags\": [{}]}}", tags.join(","));
    let document = doc(&format!("{{\"_id\": {id}, {fields}}}"));
    let by_option = random.below(2) == 0;
    let before = Some(PreImage { document: doc(&format!("{{\"_id\": {id}, \"old\": true}}")), by_option });
    let operation = match random.below(100) {
        0..40 => Operation::Insert { key, document },
        40..60 => {
            let description = format!(
                "{{\"updatedFields\": {{\"n\": {n}}}, \"removedFields\": [\"r{k}\"], \"truncatedArrays\": [], \
                 \"disambiguatedPaths\": {{}}}}"
            );
            Operation::Update { key, description: doc(&description), document: Some(document), before }
        }
        60..75 => Operation::Replace { key, document, before },
        75..90 => Operation::Delete { key, before },
        90..92 => Operation::Create { description: doc("{\"idIndex\": {\"v\": 2}}"), kind: CollectionKind::Collection },
        92..94 => Operation::CreateIndexes { description: doc("{\"indexes\": []}") },
        94..96 => Operation::Drop,
        96..98 => Operation::Rename { to: Namespace::new("shop", "users"), dropped_target: None },
        98 => Operation::Modify { description: doc("{}"), before: doc("{}") },
        _ => return (if random.below(2) == 0 { "shop" } else { "blog" }, Operation::DropDatabase),
    };
    (namespace, operation)
}

/// Commits `count` groups: single writes, unordered groups and transactions.
pub fn random_history(log: &MemoryLog, random: &mut Random, count: usize) {
    for _ in 0..count {
        let size = 1 + random.below(4) as usize;
        let operations = (0..size).map(|_| random_operation(random)).collect();
        log.commit_all(operations, random.below(3) == 0);
    }
}
