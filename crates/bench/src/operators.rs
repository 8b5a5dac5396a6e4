//! What maintained queries cost, operator by operator: in this process, on one thread, log entries of
//! about 500 bytes in, deltas out. Times are the processor's.
//!
//! ```text
//!   filter    three fields of a document, where a fourth says so
//!   group     count and sum by 100,000 keys
//!   join      two streams, each event of one with one of the other
//!   article   its statement 6: four kinds of documents, nine aggregates per hour
//!   update    a change's cost while 10,000 and 1,000,000 rows are held
//!   state     resident bytes per group, and what a checkpoint writes
//! ```

use std::time::Duration;

use base::{ClusterTime, Random, Uuid};
use dataflow::{Dataflow, Delta, Mode, StepContext};
use document::{Doc, DocBuf};
use rustc_hash::FxHashMap;
use sql::{Row, Source};
use store::{LogEntry, LogPosition, Namespace, Operation};
use views::events::stream_row;
use views::scan::ScanColumns;
use views::{StreamDefinition, StreamScope};

use crate::Result;
use crate::dataflow::{plan, stream};
use crate::figures::{report, report_rate};
use crate::server::DATABASE;

/// Events per tick: what a busy server's commit group holds.
const TICK: usize = 1000;
const FILLER: &str = "The quick brown fox jumps over the lazy dog and keeps running until the document is as long as one \
    that a shop would store for an order with an address, a few items, their prices and the customer's remarks on them. ";

pub fn run() -> Result {
    // First, while nothing has been freed that the groups could take.
    state()?;
    filter()?;
    group()?;
    join()?;
    article()?;
    update()
}

/// A query over streams, and what it has shown.
struct Running {
    flow: Dataflow,
    columns: Vec<ScanColumns>,
    streams: Vec<StreamDefinition>,
    rows: FxHashMap<Row, i64>,
    now_us: i64,
    scanning: Duration,
    stepping: Duration,
}

impl Running {
    fn new(query: &str) -> Result<Self> {
        let flow = Dataflow::compile(&plan(query)?, Mode::Continuous)?;
        let columns = flow.inputs().map(|input| ScanColumns::new(&input.columns)).collect();
        let name = |source: &Source| match source {
            Source::Stream { name, .. } => Ok(named_stream(name)),
            other => Err(format!("unexpected {other:?}")),
        };
        let streams = flow.inputs().map(|input| name(&input.source)).collect::<std::result::Result<_, _>>()?;
        let (scanning, stepping) = (Duration::ZERO, Duration::ZERO);
        Ok(Running { flow, columns, streams, rows: FxHashMap::default(), now_us: 0, scanning, stepping })
    }

    /// As the view runtime does: find the columns, step, keep the rows.
    fn tick(&mut self, entries: &[LogEntry]) -> Result {
        let mut ctx = StepContext::at(self.now_us);
        self.now_us += 1;
        let begun = on_cpu()?;
        let mut deltas: Vec<Vec<Delta>> = Vec::with_capacity(self.streams.len());
        for (stream, columns) in self.streams.iter().zip(&self.columns) {
            let mut rows = Vec::with_capacity(entries.len());
            for entry in entries {
                if stream.takes(entry, ctx.now_us) {
                    rows.push((stream_row(entry, stream, columns), 1));
                }
            }
            deltas.push(rows);
        }
        let scanned = on_cpu()?;
        for (row, count) in self.flow.step(deltas, &mut ctx)? {
            match self.rows.get_mut(&row) {
                Some(held) if *held + count == 0 => {
                    self.rows.remove(&row);
                }
                Some(held) => *held += count,
                None => {
                    self.rows.insert(row, count);
                }
            }
        }
        self.scanning += scanned - begun;
        self.stepping += on_cpu()? - scanned;
        Ok(())
    }

    fn run(&mut self, ticks: &[Vec<LogEntry>]) -> Result<Duration> {
        (self.scanning, self.stepping) = (Duration::ZERO, Duration::ZERO);
        for tick in ticks {
            self.tick(tick)?;
        }
        Ok(self.scanning + self.stepping)
    }
}

fn filter() -> Result {
    let mut query = Running::new(
        "SELECT full_document->>'customer' AS customer, (full_document->>'amount')::bigint AS amount,
                full_document->>'status' AS status
         FROM CHANGE_STREAM('a') WHERE (full_document->>'kind')::int < 10",
    )?;
    let ticks = ticks(300_000, |i, random| order(i, random.below(100_000), random))?;
    let took = query.run(&ticks)?;
    assert!(query.rows.len() > 20_000, "about one in ten passes");
    report_rate("operators: filter and three fields", 300_000, took, "events/s");
    Ok(())
}

const GROUPED: &str = "SELECT full_document->>'customer' AS customer, count(*) AS n,
        sum((full_document->>'amount')::bigint) AS amount FROM CHANGE_STREAM('a') GROUP BY 1";

fn group() -> Result {
    let mut query = Running::new(GROUPED)?;
    let all = ticks(400_000, |i, random| order(i, if i < 100_000 { i } else { random.below(100_000) }, random))?;
    let (fill, measured) = all.split_at(100);
    let filled = query.run(fill)?;
    report_rate("operators: group by, while its 100,000 groups come up", 100_000, filled, "events/s");
    let took = query.run(measured)?;
    assert_eq!(query.rows.len(), 100_000, "one row for each group");
    report_rate("operators: group by 100,000 keys, count and sum", 300_000, took, "events/s");
    Ok(())
}

fn join() -> Result {
    let mut query = Running::new(
        "SELECT a.full_document->>'customer' AS customer, a.full_document->>'amount' AS amount,
                b.full_document->>'amount' AS paid
         FROM CHANGE_STREAM('left') AS a JOIN CHANGE_STREAM('right') AS b
           ON a.full_document->>'order' = b.full_document->>'order'",
    )?;
    let all = ticks(200_000, |i, random| order(i / 2, random.below(100_000), random))?;
    let took = query.run(&all)?;
    assert_eq!(query.rows.values().sum::<i64>(), 100_000, "each order with its payment");
    report_rate("operators: equi-join of two streams", 200_000, took, "events/s");
    Ok(())
}

fn article() -> Result {
    let mut query = Running::new(include_str!("statement_6.sql"))?;
    let collections = ["user_profiles", "orders", "products", "reviews"];
    let mut all = ticks(100_000, shop)?;
    for (i, entry) in all.iter_mut().flatten().enumerate() {
        entry.namespace = Namespace::new(DATABASE, collections[i % collections.len()]);
    }
    let took = query.run(&all)?;
    assert_eq!(query.rows.len(), 1, "all of it happened within one hour");
    report_rate("operators: the article's statement 6", 100_000, took, "events/s");
    Ok(())
}

fn update() -> Result {
    let queries = [
        (
            "group by",
            "SELECT full_document->>'customer' AS k, count(*) AS n, max((full_document->>'amount')::bigint) AS m
            FROM CHANGE_STREAM('a') GROUP BY 1",
        ),
        (
            "percentile",
            "SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY (full_document->>'customer')::bigint) AS p
            FROM CHANGE_STREAM('a')",
        ),
        (
            "top 10",
            "SELECT k FROM (SELECT full_document->>'customer' AS k, row_number() OVER (
            ORDER BY (full_document->>'customer')::bigint DESC) AS n FROM CHANGE_STREAM('a')) AS q WHERE n <= 10",
        ),
        (
            "lag",
            "SELECT (full_document->>'customer')::bigint AS k, lag((full_document->>'amount')::bigint) OVER (
            ORDER BY (full_document->>'customer')::bigint) AS before FROM CHANGE_STREAM('a')",
        ),
    ];
    for (name, text) in queries {
        let mut costs = Vec::new();
        for held in [10_000, 1_000_000] {
            let mut query = Running::new(text)?;
            let fill = |from: u64, n: u64| {
                ticks(n, |i, random| order(from + i, (from + i).wrapping_mul(7_919) % held, random))
            };
            for from in (0..held).step_by(50_000) {
                query.run(&fill(from, 50_000.min(held))?)?;
            }
            // Small ticks: a change at a time is what a quiet server has.
            let all = fill(held, 5_000)?;
            query.run(&all.iter().flatten().take(100).map(|e| vec![e.clone()]).collect::<Vec<_>>())?;
            let single: Vec<Vec<LogEntry>> = all.iter().flatten().skip(100).map(|e| vec![e.clone()]).collect();
            query.run(&single)?;
            costs.push(query.stepping.as_secs_f64() * 1e6 / single.len() as f64);
            report(&format!("operators: one change, {name}, {held} held"), costs[costs.len() - 1], "us");
        }
        report(
            &format!("operators: one change, {name}, 1,000,000 held over 10,000 held"),
            costs[1] / costs[0],
            "times",
        );
    }
    Ok(())
}

fn state() -> Result {
    let groups = 1_000_000;
    let mut query = Running::new(GROUPED)?;
    let before = resident()?;
    for from in (0..groups).step_by(100_000) {
        let ticks = ticks(100_000, |i, random| order(from + i, from + i, random))?;
        query.run(&ticks)?;
    }
    let mut first = 0u64;
    let begun = on_cpu()?;
    query.flow.save(&mut |_, _| first += 1);
    report("state: a checkpoint of 1,000,000 new groups", (on_cpu()? - begun).as_secs_f64() * 1e3, "ms");
    assert_eq!(first, groups, "each group is written once");
    let held = resident()?.saturating_sub(before) as f64 / groups as f64;
    // A key of six digits, two numbers.
    report("state: resident bytes per group, operator and rows, key and values included", held, "bytes");
    report(
        "state: estimated bytes per group of the operator",
        query.flow.state_size().0 as f64 / groups as f64,
        "bytes",
    );
    query.run(&ticks(1_000, |i, random| order(i, i, random))?)?;
    let mut second = 0u64;
    let begun = on_cpu()?;
    query.flow.save(&mut |_, _| second += 1);
    assert_eq!(second, 1_000, "only what changed is written");
    report("state: a checkpoint after 1,000 of them changed", (on_cpu()? - begun).as_secs_f64() * 1e3, "ms");
    Ok(())
}

/// Processor time of this thread: what others do on the machine is not counted.
fn on_cpu() -> Result<Duration> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Ok(Duration::new(now.tv_sec.try_into()?, now.tv_nsec.try_into()?))
}

/// Resident bytes of this process.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

/// 500 bytes.
fn order(id: u64, customer: u64, random: &mut Random) -> Result<DocBuf> {
    let doc = Doc::new()
        .with("_id", id as i64)
        .with("order", id.to_string())
        .with("kind", random.below(100) as i64)
        .with("customer", format!("{customer:06}"))
        .with("status", if random.below(2) == 0 { "paid" } else { "new" })
        .with("amount", random.below(10_000) as i64)
        .with("remarks", filler(330));
    Ok(doc.to_buf())
}

/// A document that serves as user, order, product and review.
fn shop(id: u64, random: &mut Random) -> Result<DocBuf> {
    let doc = Doc::new()
        .with("_id", id as i64)
        .with("status", "active")
        .with("customer_id", random.below(1000) as i64)
        .with("product_id", random.below(1000) as i64)
        .with("total_amount", format!("{}.{:02}", random.below(500), random.below(100)))
        .with("name", "a product")
        .with("inventory_count", 1 + random.below(1000) as i64)
        .with("low_stock_threshold", 2i64)
        .with("rating", if random.below(100) == 0 { 1i64 } else { 3 + random.below(3) as i64 })
        .with("sentiment", "neutral")
        .with("description", filler(250));
    Ok(doc.to_buf())
}

fn filler(bytes: usize) -> String {
    FILLER.chars().cycle().take(bytes).collect()
}

fn ticks(events: u64, mut document: impl FnMut(u64, &mut Random) -> Result<DocBuf>) -> Result<Vec<Vec<LogEntry>>> {
    let mut random = Random::seeded(2026);
    let mut ticks: Vec<Vec<LogEntry>> = Vec::new();
    for i in 0..events {
        if (i as usize).is_multiple_of(TICK) {
            ticks.push(Vec::with_capacity(TICK));
        }
        let document = document(i, &mut random)?;
        let entry = LogEntry {
            position: LogPosition {
                time: ClusterTime::new(1 + (i / 1_000_000) as u32, 1 + (i % 1_000_000) as u32),
                index: 0,
            },
            wall_ms: 1000,
            // The two collections take turns.
            namespace: Namespace::new(DATABASE, if i % 2 == 0 { "left" } else { "right" }),
            collection: Some(Uuid([7; 16])),
            operation: Operation::Insert { key: Doc::new().with("_id", i as i64).to_buf(), document },
            txn: None,
            token: None,
        };
        ticks.last_mut().ok_or("a tick was begun")?.push(entry);
    }
    Ok(ticks)
}

/// One collection's events for the two streams of a join, else all.
fn named_stream(name: &str) -> StreamDefinition {
    let scope = match name {
        "left" | "right" => StreamScope::Collection { db: DATABASE.into(), name: name.into() },
        _ => StreamScope::Database(DATABASE.into()),
    };
    StreamDefinition { name: name.into(), scope, ..stream() }
}
