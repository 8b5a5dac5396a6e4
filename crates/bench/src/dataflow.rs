//! The maintained query alone, in this process and on one thread: log entries in, deltas out.
//!
//! What the server adds to it is in `view.rs`: the wire, the store, the hub, the view's rows, checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ClusterTime, Uuid};
use bytes::Bytes;
use dataflow::{Dataflow, Delta, Mode, StepContext};
use document::DocBuf;
use sql::binder::{BindOptions, bind_query};
use sql::{Catalog, Datum, Plan, Relation, Row, Source};
use store::{LogEntry, LogPosition, Namespace, Operation};
use views::definition::Images;
use views::events::stream_row;
use views::scan::ScanColumns;
use views::{StreamDefinition, StreamScope};

use crate::Result;
use crate::figures::report_rate;
use crate::load::{BATCH, Load};
use crate::server::DATABASE;
use crate::view::QUERY;

const EVENTS: u64 = 200_000;

pub fn run() -> Result {
    let mut load = Load::new()?;
    let ticks = (0..EVENTS / BATCH).map(|tick| entries(&mut load, tick)).collect::<Result<Vec<_>>>()?;
    let stream = stream();
    let mut query = Dataflow::compile(&plan(QUERY)?, Mode::Continuous)?;
    let wanted = query.inputs().next().ok_or("the query reads something")?;
    let columns = ScanColumns::new(&wanted.columns);

    let mut scanning = Duration::ZERO;
    let mut stepping = Duration::ZERO;
    let mut groups: BTreeMap<Row, i64> = BTreeMap::new();
    for (now_us, tick) in (0..).zip(&ticks) {
        let mut ctx = StepContext::at(now_us);
        let begun = Instant::now();
        let rows = scan(tick, &stream, &columns, now_us);
        let scanned = Instant::now();
        let output = query.step(vec![rows], &mut ctx)?;
        scanning += scanned - begun;
        stepping += scanned.elapsed();
        for (row, count) in output {
            *groups.entry(row).or_default() += count;
        }
        groups.retain(|_, count| *count != 0);
    }
    assert_eq!(counted(&groups), EVENTS as i64, "every event is counted once");
    report_rate("dataflow: log entry to delta, grouped query, ticks of 1,000", EVENTS, scanning + stepping, "events/s");
    report_rate("dataflow: the part that finds the columns", EVENTS, scanning, "events/s");
    report_rate("dataflow: the part that groups", EVENTS, stepping, "events/s");
    Ok(())
}

fn scan(tick: &[LogEntry], stream: &StreamDefinition, columns: &ScanColumns, now_us: i64) -> Vec<Delta> {
    let taken = tick.iter().filter(|entry| stream.takes(entry, now_us));
    taken.map(|entry| (stream_row(entry, stream, columns), 1)).collect()
}

/// The sum of the column `n`.
fn counted(groups: &BTreeMap<Row, i64>) -> i64 {
    groups.keys().map(|row| if let Datum::Int(n) = row[1] { n } else { 0 }).sum()
}

/// One tick's log entries, as an `insert_many` leaves them.
fn entries(load: &mut Load, tick: u64) -> Result<Vec<LogEntry>> {
    let collection = Uuid([7; 16]);
    load.batch()
        .iter()
        .enumerate()
        .map(|(i, document)| {
            let id = mongodb::bson::doc! { "_id": document.get_i64("_id")? };
            let encoded = |doc: &mongodb::bson::Document| Result::Ok(DocBuf::validate(Bytes::from(doc.to_vec()?))?);
            Ok(LogEntry {
                position: LogPosition { time: ClusterTime::new(1 + tick as u32, 1 + i as u32), index: 0 },
                wall_ms: 1000 * (1 + tick as i64),
                namespace: Namespace::new(DATABASE, "events"),
                collection: Some(collection),
                operation: Operation::Insert { key: encoded(&id)?, document: encoded(document)? },
                txn: None,
                token: None,
            })
        })
        .collect()
}

/// Inserts into `events`.
pub fn stream() -> StreamDefinition {
    StreamDefinition {
        db: DATABASE.into(),
        name: "inserted".into(),
        scope: StreamScope::Collection { db: DATABASE.into(), name: "events".into() },
        images: Images { full_document: false, before_change: false, before_required: false },
        operation_types: vec!["insert".into()],
        show_expanded_events: false,
        filter: None,
        filter_text: None,
        start: ClusterTime::ZERO,
        retention_ms: None,
        paused_at: None,
        statement: String::new(),
        options: Vec::new(),
        created_ms: 0,
    }
}

/// The plan of a query over streams.
pub fn plan(query: &str) -> Result<Arc<Plan>> {
    let parsed = sql::parser::parse(query)?.pop().ok_or("no statement")?;
    let sql::parser::Statement::Query(query) = parsed.statement else { return Err("not a query".into()) };
    Ok(bind_query(&query, &AnyStream, &BindOptions::default())?.plan)
}

/// A catalogue in which every name is a stream.
struct AnyStream;

impl Catalog for AnyStream {
    fn database(&self) -> &str {
        DATABASE
    }

    fn relation(&self, _: Option<&str>, _: &str) -> Option<Relation> {
        None
    }

    fn stream(&self, name: &str) -> Option<Relation> {
        let source = Source::Stream { db: DATABASE.into(), name: name.into(), since: None, up_to: None };
        Some(Relation { source, columns: sql::catalog::stream_columns(), open: None, key: vec![0] })
    }
}
