//! What streams and mirrors need of the deployment, where only that is captured (`--capture needed`).
//!
//! ```text
//!   CREATE CHANGE STREAM ── add ──> version 7 ── the cursor of version 6 ends; the next is opened after
//!           waits for that                      the same position, with a wider filter
//! ```
//! A need is fulfilled from the position on at which a cursor was first opened with it. Cursors only
//! get narrower when one is opened for another reason: what is captured beside is no harm.
//!
//! # Not here
//! What `--capture` names (`options.rs`).
//!
//! # Invariants
//! - While a cursor is open without a need, nobody has been told that the need is fulfilled.

use std::collections::{BTreeMap, BTreeSet};

use base::ClusterTime;
use document::{Doc, Raw, Value};
use parking_lot::Mutex;
use store::{Reader, WriteTxn};
use tokio::sync::watch;

use crate::position::{SPACE, damaged, decode};

#[cfg(test)]
mod tests;

/// The record in `position::SPACE`.
const RECORD: &[u8] = b"needs";
/// Operations that say what becomes of a namespace; whoever follows it must see them.
const STRUCTURAL: &[&str] = &["drop", "rename", "dropDatabase", "invalidate"];

/// What somebody follows. No database is the deployment, no collection the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub db: Option<String>,
    pub collection: Option<String>,
    /// Empty means all.
    pub operations: BTreeSet<String>,
    /// Documents before and after changes, as far as the deployment has them.
    pub images: bool,
}

impl Need {
    /// Is everything that `other` needs part of this?
    fn covers(&self, other: &Need) -> bool {
        let place = self.db.is_none()
            || (self.db == other.db && (self.collection.is_none() || self.collection == other.collection));
        let operations = self.operations.is_empty()
            || (!other.operations.is_empty() && other.operations.is_subset(&self.operations));
        place && operations && (self.images || !other.images)
    }

    fn to_doc(&self, since: ClusterTime) -> Doc {
        let name = |name: &Option<String>| name.clone().map_or(Value::Null, Value::from);
        let operations: Vec<Value> = self.operations.iter().map(|name| name.as_str().into()).collect();
        Doc::new()
            .with("db", name(&self.db))
            .with("coll", name(&self.collection))
            .with("operations", operations)
            .with("images", self.images)
            .with("since", since)
    }

    fn from_doc(doc: document::RawDoc<'_>) -> Option<(Self, ClusterTime)> {
        let name = |field: &str| doc.get(field).and_then(Raw::as_str).map(str::to_owned);
        let operations = doc.get("operations").and_then(Raw::as_array)?;
        let need = Need {
            db: name("db"),
            collection: name("coll"),
            operations: operations.values().filter_map(Raw::as_str).map(str::to_owned).collect(),
            images: doc.get("images").and_then(Raw::as_bool)?,
        };
        match doc.get("since") {
            Some(Raw::Timestamp(time)) => Some((need, ClusterTime(time))),
            _ => None,
        }
    }
}

/// Since when each need is fulfilled.
pub type Fulfilled = BTreeMap<Need, ClusterTime>;

/// Everybody's needs, and what has come of them.
#[derive(Debug)]
pub struct Needs {
    state: Mutex<State>,
    /// Which version the open cursor was opened with; `None`: none is open.
    open: watch::Sender<Option<u64>>,
    /// Whoever has needs from before has named them.
    complete: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    counted: BTreeMap<Need, usize>,
    /// Grows with each need that may not be fulfilled yet.
    version: u64,
    fulfilled: Fulfilled,
}

impl Default for Needs {
    fn default() -> Self {
        Needs { state: Mutex::default(), open: watch::Sender::new(None), complete: watch::Sender::new(false) }
    }
}

impl Needs {
    /// Counted: each `add` wants its `remove`.
    pub fn add(&self, need: Need) {
        let mut state = self.state.lock();
        let covered = state.fulfilled.keys().any(|known| known.covers(&need));
        *state.counted.entry(need).or_insert(0) += 1;
        // The open cursor may show it already, as somebody else needs it too.
        if !covered {
            state.version += 1;
        }
    }

    pub fn remove(&self, need: &Need) {
        let mut state = self.state.lock();
        if let Some(count) = state.counted.get_mut(need) {
            *count -= 1;
            if *count == 0 {
                state.counted.remove(need);
            }
        }
    }

    /// All that there are, and their version.
    pub fn current(&self) -> (Vec<Need>, u64) {
        let state = self.state.lock();
        (state.counted.keys().cloned().collect(), state.version)
    }

    pub fn version(&self) -> u64 {
        self.state.lock().version
    }

    pub fn complete(&self) {
        self.complete.send_replace(true);
    }

    pub async fn until_complete(&self) {
        // The sender lives as long as this.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// A cursor was opened with the needs of a version, or (`None`) it has ended.
    pub fn opened(&self, version: Option<u64>) {
        self.open.send_replace(version);
    }

    /// Waits until no cursor is open that was opened without the needs that there are now.
    pub async fn settled(&self) {
        let version = self.version();
        let _ = self.open.subscribe().wait_for(|open| open.is_none_or(|open| open >= version)).await;
    }

    /// From when on everything that the need asks for has been captured; `None`: not yet.
    pub fn since(&self, need: &Need) -> Option<ClusterTime> {
        since(&self.state.lock().fulfilled, need)
    }

    /// Reads what was fulfilled when the process ended.
    pub fn load(&self, reader: &impl Reader) -> store::Result<()> {
        let mut fulfilled = Fulfilled::new();
        if let Some(stored) = reader.get_record(SPACE, RECORD)? {
            let stored = decode(stored)?;
            let needs = stored.get("needs").and_then(Raw::as_array).ok_or_else(damaged)?;
            for need in needs.values() {
                let (need, since) = need.as_document().and_then(Need::from_doc).ok_or_else(damaged)?;
                fulfilled.insert(need, since);
            }
        }
        self.state.lock().fulfilled = fulfilled;
        Ok(())
    }

    /// A cursor is about to be opened with these needs after `position`: what is fulfilled then.
    pub fn fulfil(&self, needs: &[Need], position: ClusterTime) -> Fulfilled {
        let mut state = self.state.lock();
        let before = std::mem::take(&mut state.fulfilled);
        let fulfilled: Fulfilled =
            needs.iter().map(|need| (need.clone(), since(&before, need).unwrap_or(position))).collect();
        state.fulfilled.clone_from(&fulfilled);
        fulfilled
    }
}

fn since(fulfilled: &Fulfilled, need: &Need) -> Option<ClusterTime> {
    fulfilled.iter().filter(|(known, _)| known.covers(need)).map(|(_, since)| *since).min()
}

pub fn save(txn: &mut WriteTxn, fulfilled: &Fulfilled) {
    let needs: Vec<Value> = fulfilled.iter().map(|(need, since)| need.to_doc(*since).into()).collect();
    txn.put_record(SPACE, RECORD, Doc::new().with("needs", needs).to_buf().bytes().clone());
}

/// The `$match` that leaves what is needed: nothing, if nothing is.
pub fn filter(needs: &[Need]) -> Option<Doc> {
    let widest: Vec<&Need> =
        needs.iter().filter(|need| !needs.iter().any(|other| other != *need && other.covers_events(need))).collect();
    if widest.iter().any(|need| need.db.is_none() && need.operations.is_empty()) {
        return None;
    }
    let mut branches: Vec<Value> = Vec::new();
    let mut whole: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for need in widest {
        match (&need.db, &need.collection) {
            (Some(db), Some(collection)) if need.operations.is_empty() => {
                whole.entry(db).or_default().push(collection.as_str().into());
            }
            (db, collection) => {
                let mut branch = Doc::new();
                db.iter().for_each(|db| branch.push("ns.db", db.as_str()));
                collection.iter().for_each(|collection| branch.push("ns.coll", collection.as_str()));
                if !need.operations.is_empty() {
                    let named = need.operations.iter().map(String::as_str).chain(STRUCTURAL.iter().copied());
                    let named: BTreeSet<&str> = named.collect();
                    let named: Vec<Value> = named.into_iter().map(Value::from).collect();
                    branch.push("operationType", Doc::new().with("$in", named));
                }
                branches.push(branch.into());
                if let (Some(db), Some(collection)) = (db, collection) {
                    branches.extend(around(db, vec![collection.as_str().into()]));
                }
            }
        }
    }
    for (db, collections) in whole {
        let named = Doc::new().with("$in", collections.clone());
        branches.push(Doc::new().with("ns.db", db).with("ns.coll", named).into());
        branches.extend(around(db, collections));
    }
    Some(match branches.is_empty() {
        true => Doc::new().with("ns.coll", Doc::new().with("$in", Vec::<Value>::new())),
        false => Doc::new().with("$or", branches),
    })
}

/// What becomes of collections by events of other namespaces.
fn around(db: &str, collections: Vec<Value>) -> [Value; 2] {
    let renamed = Doc::new().with("to.db", db).with("to.coll", Doc::new().with("$in", collections));
    let dropped = Doc::new().with("ns.db", db).with("operationType", "dropDatabase");
    [renamed.into(), dropped.into()]
}

impl Need {
    fn covers_events(&self, other: &Need) -> bool {
        let with_images = Need { images: true, ..self.clone() };
        let mutual = Need { images: true, ..other.clone() };
        // Of two that ask for the same events the first stands for both.
        with_images.covers(other) && (!mutual.covers(self) || self < other)
    }
}

/// Does anybody need documents beside the changes?
pub fn images(needs: &[Need]) -> bool {
    needs.iter().any(|need| need.images)
}
