//! What to capture, and from where.

use std::time::Duration;

use document::{Doc, Value};
use store::Namespace;

/// How a source is attached.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// A MongoDB connection string with all its options.
    pub uri: String,
    /// Empty means everything that a cluster-wide change stream shows.
    pub watched: Vec<Watched>,
    /// Capture only what streams and mirrors need; `watched` is empty then.
    pub only_needed: bool,
    /// Collections to mirror from the start, beside those that views ask for.
    pub mirrored: Vec<Namespace>,
    pub on_history_lost: HistoryLost,
    /// Processes with the same group share sinks; what they share is in the deployment's database
    /// `headwater`, whose changes are then not captured.
    pub group: Option<String>,
    /// How long a process of the group may be silent before another takes over.
    pub group_lease: Duration,
}

impl SourceOptions {
    pub fn new(uri: impl Into<String>) -> Self {
        SourceOptions {
            uri: uri.into(),
            watched: Vec::new(),
            only_needed: false,
            mirrored: Vec::new(),
            on_history_lost: HistoryLost::default(),
            group: None,
            group_lease: Duration::from_secs(10),
        }
    }
}

/// What is done when the deployment no longer has the events after our position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistoryLost {
    /// Stop capturing and say so; what was captured can be read.
    #[default]
    Fail,
    /// Put a `gap` into the log, go on from now, and compare the mirrors with their collections:
    /// what differs becomes events.
    Resnapshot,
    /// Put a `gap` into the log and go on from now; mirrors are corrected without events.
    Gap,
}

impl std::str::FromStr for HistoryLost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fail" => Ok(HistoryLost::Fail),
            "resnapshot" => Ok(HistoryLost::Resnapshot),
            "gap" => Ok(HistoryLost::Gap),
            other => Err(format!("\"{other}\" is not fail, resnapshot or gap")),
        }
    }
}

/// One part of the deployment: a database, or a collection of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub db: String,
    pub collection: Option<String>,
}

impl std::str::FromStr for Watched {
    type Err = String;

    /// `db` or `db.collection`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (db, collection) = match text.split_once('.') {
            Some((db, collection)) => (db, Some(collection)),
            None => (text, None),
        };
        if db.is_empty() || collection.is_some_and(str::is_empty) {
            return Err(format!("\"{text}\" is neither a database nor database.collection"));
        }
        Ok(Watched { db: db.to_owned(), collection: collection.map(str::to_owned) })
    }
}

impl Watched {
    /// Does everything that happens in the namespace belong to it? No collection is the database.
    pub fn covers(&self, db: &str, collection: Option<&str>) -> bool {
        self.db == db && (self.collection.is_none() || self.collection.as_deref() == collection)
    }
}

/// Is the whole of a namespace captured? No database is the deployment.
pub fn covers(watched: &[Watched], db: Option<&str>, collection: Option<&str>) -> bool {
    watched.is_empty() || db.is_some_and(|db| watched.iter().any(|one| one.covers(db, collection)))
}

/// The database of what the processes of a group share.
pub const GROUP_DATABASE: &str = "headwater";

/// The `$match` that leaves only what is captured; `None` for everything.
pub fn filter(options: &SourceOptions) -> Option<Doc> {
    without_group(options, chosen(&options.watched))
}

/// The same without what a group's processes write themselves: or every position that is written would be
/// an event, and that one's a position.
pub fn without_group(options: &SourceOptions, chosen: Option<Doc>) -> Option<Doc> {
    if options.group.is_none() {
        return chosen;
    }
    let others = Doc::new().with("ns.db", Doc::new().with("$ne", GROUP_DATABASE));
    match chosen {
        None => Some(others),
        Some(chosen) => Some(Doc::new().with("$and", vec![Value::from(others), Value::from(chosen)])),
    }
}

fn chosen(watched: &[Watched]) -> Option<Doc> {
    if watched.is_empty() {
        return None;
    }
    let mut branches: Vec<Value> = Vec::new();
    for one in watched {
        match &one.collection {
            None => branches.push(Doc::new().with("ns.db", one.db.as_str()).into()),
            Some(collection) => {
                let named = |prefix: &str| {
                    Doc::new()
                        .with(format!("{prefix}.db"), one.db.as_str())
                        .with(format!("{prefix}.coll"), collection.as_str())
                };
                branches.push(named("ns").into());
                branches.push(named("to").into());
                let dropped = Doc::new().with("ns.db", one.db.as_str()).with("operationType", "dropDatabase");
                branches.push(dropped.into());
            }
        }
    }
    Some(Doc::new().with("$or", branches))
}
