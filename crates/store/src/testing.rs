//! Fixtures of this crate's tests.

use std::sync::Arc;

use base::{ManualClock, Random};
use document::json::parse_extended_json;
use document::matcher::Matcher;
use document::{Context, DocBuf};

use crate::entry::{Namespace, Operation};
use crate::error::Result;
use crate::kv::{Direction, Kv, MemoryKv};
use crate::planner::{KeyBounds, Query, plan};
use crate::read::Reader;
use crate::store::{Store, StoreOptions};
use crate::write::WriteTxn;

pub const START_MS: i64 = 1_700_000_000_000;

/// A document from relaxed JSON.
pub fn doc(json: &str) -> DocBuf {
    parse_extended_json(json).unwrap_or_else(|error| panic!("{json}: {error}")).to_buf()
}

pub fn orders() -> Namespace {
    Namespace::new("shop", "orders")
}

pub struct Fixture {
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub kv: Arc<dyn Kv>,
}

/// A store in memory, with a clock that stands still and no background thread.
pub fn memory() -> Fixture {
    on(Arc::new(MemoryKv::default()))
}

pub fn on(kv: Arc<dyn Kv>) -> Fixture {
    let clock = Arc::new(ManualClock::new(START_MS));
    let store = Store::open_on(Arc::clone(&kv), options(&clock)).unwrap();
    Fixture { store, clock, kv }
}

pub fn options(clock: &Arc<ManualClock>) -> StoreOptions {
    StoreOptions { clock: Arc::clone(clock) as _, upkeep_interval: None, ..StoreOptions::new("") }
}

impl Fixture {
    /// Runs a write and waits for it.
    pub fn write<R: Send + 'static>(
        &self,
        closure: impl FnOnce(&mut WriteTxn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        Ok(self.store.write(closure).wait()?.value)
    }

    /// Inserts into `shop.orders`.
    pub fn insert(&self, json: &str) -> Result<()> {
        let document = doc(json);
        self.write(move |txn| {
            let orders = txn.ensure_collection(&orders())?;
            txn.insert(orders.id, document).map(|_| ())
        })
    }

    pub fn create_index(&self, json: &str) -> Result<()> {
        let spec = doc(json);
        self.write(move |txn| {
            let orders = txn.ensure_collection(&orders())?;
            txn.create_indexes(orders.id, &[spec]).map(|_| ())
        })
    }

    /// Everything in `shop.orders` in natural order, as JSON.
    pub fn content(&self) -> Vec<DocBuf> {
        content(&self.store.snapshot().unwrap())
    }

    /// The log, one short word per entry.
    pub fn log(&self) -> Vec<String> {
        self.store.log(None, base::ClusterTime::MAX).map(|entry| word(&entry.unwrap().operation)).collect()
    }

    /// Every index agrees with the documents: no entry too many, none missing.
    pub fn check_indexes(&self) {
        let snapshot = self.store.snapshot().unwrap();
        for collection in snapshot.catalog().all() {
            for index in &collection.indexes {
                let range = crate::kv::KeyRange::prefix(&index.prefix());
                let found = snapshot.kv_range(crate::kv::Space::Indexes, range, Direction::Forward);
                let found: Vec<_> = found.map(Result::unwrap).collect();
                let mut expected = Vec::new();
                for row in snapshot.scan(collection.id, Direction::Forward) {
                    let row = row.unwrap();
                    for key in index.keys(row.document.as_doc()).unwrap().keys {
                        expected.push(index.entry(&key, row.record));
                    }
                }
                expected.sort();
                assert_eq!(found, expected, "entries of {} in {}", index.name, collection.namespace);
            }
        }
    }
}

pub fn content(reader: &impl Reader) -> Vec<DocBuf> {
    match reader.catalog().collection(&orders()) {
        Some(orders) => reader.scan(orders.id, Direction::Forward).map(|row| row.unwrap().document).collect(),
        None => Vec::new(),
    }
}

pub fn word(operation: &Operation) -> String {
    let id = |key: &DocBuf| crate::render::document(key.as_doc());
    match operation {
        Operation::Insert { key, .. } => format!("insert {}", id(key)),
        Operation::Update { key, .. } => format!("update {}", id(key)),
        Operation::Replace { key, .. } => format!("replace {}", id(key)),
        Operation::Delete { key, .. } => format!("delete {}", id(key)),
        Operation::Create { .. } => "create".to_owned(),
        Operation::Drop => "drop".to_owned(),
        Operation::Rename { to, .. } => format!("rename to {to}"),
        Operation::DropDatabase => "dropDatabase".to_owned(),
        Operation::CreateIndexes { .. } => "createIndexes".to_owned(),
        Operation::DropIndexes { .. } => "dropIndexes".to_owned(),
        Operation::Modify { .. } => "modify".to_owned(),
    }
}

pub fn matcher(json: &str) -> Matcher {
    Matcher::parse(doc(json).as_doc(), &Context::default()).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The documents a planned query finds, in the order of the plan, and the name of its index.
pub fn find(reader: &(impl Reader + Sync), filter: &Matcher) -> (Vec<DocBuf>, Option<String>) {
    let orders = reader.catalog().collection(&orders()).unwrap();
    let plan =
        plan(orders, &Query { matcher: filter, sort: None, hint: None, collation: None, bounds: KeyBounds::default() })
            .unwrap();
    let rows = plan.execute(reader).map(|row| row.unwrap().document);
    let found: Vec<_> = rows.filter(|document| filter.matches(document.as_doc()).unwrap()).collect();
    if let Some(count) = plan.count(reader).unwrap() {
        assert_eq!(count, found.len() as u64, "the index counted for {filter:?}");
    }
    (found, plan.index_name().map(str::to_owned))
}

/// A small random value as JSON; collides often.
pub fn random_value(random: &mut Random, depth: u32) -> String {
    match random.below(if depth == 0 { 10 } else { 13 }) {
        0..=3 => random.below(5).to_string(),
        4 => format!("{}.5", random.below(4)),
        5 => "null".to_owned(),
        6 | 7 => format!("\"{}\"", ["a", "ab", "b", ""][random.below(4) as usize]),
        8 => ["true", "false"][random.below(2) as usize].to_owned(),
        9 => format!("{{\"$numberLong\": \"{}\"}}", random.below(5)),
        10 | 11 => {
            let items: Vec<_> = (0..random.below(4)).map(|_| random_value(random, depth - 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => random_document(random, depth - 1),
    }
}

pub fn random_document(random: &mut Random, depth: u32) -> String {
    let mut fields = Vec::new();
    for name in ["a", "b", "c"] {
        if random.below(3) > 0 {
            fields.push(format!("\"{name}\": {}", random_value(random, depth)));
        }
    }
    format!("{{{}}}", fields.join(", "))
}
