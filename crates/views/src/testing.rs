//! Fixtures of this crate's tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{ClusterTime, ManualClock};
use document::Doc;
use sql::binder::{BindOptions, bind_query};
use sql::parser::Statement;
use sql::{Datum, Relation, Row, SqlError};
use store::{MemoryKv, Namespace, Store, StoreOptions};

use crate::checkpoint::{Change, Records, StoreRecords};
use crate::definition::{Definitions, Images, StateLimits, StreamDefinition, StreamScope, ViewDefinition};
use crate::names::SessionCatalog;
use crate::read::SystemTables;
use crate::view::RunningView;

pub const START_MS: i64 = 1_700_000_000_000;

pub fn memory() -> Store {
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = StoreOptions { clock, upkeep_interval: None, ..StoreOptions::new("") };
    Store::open_on(Arc::new(MemoryKv::default()), options).expect("memory opens")
}

struct NoTables;

impl SystemTables for NoTables {
    fn relation(&self, _: &str, _: Option<&str>, _: &str) -> Option<Relation> {
        None
    }

    fn rows(&self, _: &str, _: &str, name: &str) -> Result<Vec<Row>, SqlError> {
        Err(SqlError::internal(name))
    }
}

/// A view of the database `shop`, or with the number 0 an anonymous query.
pub fn definition(store: &Store, definitions: &Definitions, id: u64, text: &str) -> Arc<ViewDefinition> {
    let catalog = SessionCatalog {
        database: "shop".into(),
        definitions: Arc::new(definitions.clone()),
        collections: store.catalog(),
        system: Arc::new(NoTables),
        absent_collections: true,
    };
    let Some(Statement::Query(query)) = sql::parser::parse(text).expect("SQL").pop().map(|p| p.statement) else {
        panic!("not a query: {text}")
    };
    let plan = bind_query(&query, &catalog, &BindOptions::default()).expect("a query").plan;
    Arc::new(ViewDefinition {
        id,
        db: "shop".into(),
        name: format!("v{id}"),
        plan,
        on_error: dataflow::OnError::Fail,
        keeps_dead_letters: false,
        limits: StateLimits::default(),
        order: Vec::new(),
        parameters: Vec::new(),
        query: text.into(),
        statement: text.into(),
        created_ms: START_MS,
    })
}

/// The stream `s` of `shop.orders`, from the beginning.
pub fn stream(paused_at: Option<ClusterTime>) -> StreamDefinition {
    StreamDefinition {
        db: "shop".into(),
        name: "s".into(),
        scope: StreamScope::Collection { db: "shop".into(), name: "orders".into() },
        images: Images { full_document: false, before_change: false, before_required: false },
        operation_types: Vec::new(),
        show_expanded_events: false,
        filter: None,
        filter_text: None,
        start: ClusterTime::ZERO,
        retention_ms: None,
        paused_at,
        statement: "CREATE CHANGE STREAM s ON orders".into(),
        options: Vec::new(),
        created_ms: START_MS,
    }
}

pub fn with_stream(paused_at: Option<ClusterTime>) -> Definitions {
    let mut definitions = Definitions::default();
    definitions.streams.insert(("shop".into(), "s".into()), Arc::new(stream(paused_at)));
    definitions
}

/// `{_id, k}` into `shop.orders`.
pub fn insert(store: &Store, id: i64, k: &str) {
    let document = Doc::new().with("_id", id).with("k", k).to_buf();
    let orders = Namespace::new("shop", "orders");
    let write = move |txn: &mut store::WriteTxn| {
        let orders = txn.ensure_collection(&orders)?;
        txn.insert(orders.id, document).map(|_| ())
    };
    store.write(write).wait().expect("a fresh document");
}

/// One tick of a view with one input of one column: these values come (or go, if `count` is negative).
pub fn feed(view: &mut RunningView, values: impl IntoIterator<Item = i64>, count: i64) {
    let rows = values.into_iter().map(|n| (Row::from([Datum::Int(n)]), count)).collect();
    view.step(vec![rows], START_MS * 1000).expect("nothing fails here");
}

pub fn sorted(view: &RunningView) -> Vec<(Row, i64)> {
    let mut rows: Vec<(Row, i64)> = view.rows.iter().map(|(row, n)| (row.clone(), *n)).collect();
    rows.sort();
    rows
}

/// Records that take so many batches, and then no more until told otherwise.
#[derive(Debug)]
pub struct Refusing {
    records: StoreRecords,
    left: AtomicUsize,
    pub written: AtomicUsize,
}

impl Refusing {
    pub fn after(store: &Store, batches: usize) -> Arc<Self> {
        let records = StoreRecords(store.clone());
        Arc::new(Refusing { records, left: AtomicUsize::new(batches), written: AtomicUsize::new(0) })
    }

    pub fn allow(&self, batches: usize) {
        self.left.store(batches, Ordering::SeqCst);
    }
}

impl Records for Refusing {
    fn write(&self, changes: Arc<Vec<Change>>) -> Result<(), SqlError> {
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        taken.map_err(|_| SqlError::new("58030", "the disk refuses"))?;
        self.written.fetch_add(1, Ordering::SeqCst);
        self.records.write(changes)
    }
}
