//! From a view's changes to durable events.
//!
//! A view's rows are kept, its changes are not. So the sink keeps a shadow of what it has been told,
//! and turns each difference into numbered events: shadow and events are one commit. After a crash
//! the view's present rows are compared with the shadow, and nothing is lost or told twice.
//!
//! ```text
//!   view ──deltas──> key ─> shadow before | after ─> insert, update, delete ─> outbox ─> scheduler
//! ```
//!
//! When the target is slow the outbox fills to its bound; then the changes wait in the
//! subscription, where they cancel out: the sink skips states, never the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::sql::{Row, SqlError};
use bytes::Bytes;
use dataflow::Delta;
use delivery::{Event, Kind, Position};
use document::{Doc, DocBuf, Raw, Value};
use rustc_hash::FxHashMap;
use store::{Reader as _, Store, WriteTxn};
use tokio::sync::Notify;
use views::runtime::store_error;
use views::{Subscription, ViewDefinition, Views};

use super::definition::{SinkDefinition, SourcePlan};
use super::records::{self, Part};
use super::rows::{RowShape, lane_of, part_of, row_document};
use crate::sql::interest::PlanInterest;

/// Keys of one commit.
const KEYS_PER_COMMIT: usize = 2000;
/// Unfinished outbox events beyond which the view is not read.
const OUTBOX_MAX: u64 = 50_000;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Follows a view for one sink.
pub(super) struct Appender {
    pub sink: Arc<SinkDefinition>,
    pub shape: RowShape,
    pub store: Store,
    pub views: Views,
    /// The sink's position, as the number of the first unfinished event.
    pub low: Arc<AtomicU64>,
    pub appended: Arc<Notify>,
    /// The number of the next event.
    pub next: u64,
}

/// The rows of a key with how often each is there.
type Rows = Vec<(DocBuf, i64)>;
/// What changes of a key, in the order in which keys were met.
struct Changed {
    key: DocBuf,
    lane: Bytes,
    rows: Rows,
    /// Of the row that comes, or else of the one that goes.
    priority: i64,
}

impl Appender {
    /// Runs until the view ends. `Ok`: the server stops.
    pub async fn run(mut self) -> Result<(), SqlError> {
        let (mut subscription, _interest) = self.subscribe().await?;
        match subscription.now() {
            Some(first) => self.reconcile(&first?.deltas).await?,
            None => return Ok(()),
        }
        while let Some(progress) = subscription.next().await {
            let progress = progress?;
            let changed = self.by_key(&progress.deltas)?;
            self.append(changed, progress.wall_ms, Mode::Delta).await?;
            while self.next.saturating_sub(self.low.load(Ordering::Acquire)) > OUTBOX_MAX {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    async fn subscribe(&self) -> Result<(Subscription, Option<PlanInterest>), SqlError> {
        match &self.sink.source {
            SourcePlan::View { db, name, .. } => Ok((self.views.subscribe_view(db, name, true).await?, None)),
            SourcePlan::Query { plan, text, .. } => {
                let interest = PlanInterest::new(&self.store, plan);
                let definition = Arc::new(ViewDefinition {
                    id: 0,
                    db: self.sink.db.clone(),
                    name: format!("(sink {})", self.sink.name),
                    plan: Arc::clone(plan),
                    on_error: dataflow::OnError::DeadLetter,
                    keeps_dead_letters: false,
                    limits: views::StateLimits::default(),
                    order: Vec::new(),
                    parameters: Vec::new(),
                    query: text.clone(),
                    statement: text.clone(),
                    created_ms: self.sink.created_ms,
                });
                Ok((self.views.subscribe_query(definition, true).await?, Some(interest)))
            }
            _ => Err(SqlError::internal("a change stream has no outbox")),
        }
    }

    fn key_of(&self, row: &DocBuf) -> DocBuf {
        if self.shape.key.is_empty() { row.clone() } else { part_of(row, &self.shape.key) }
    }

    fn by_key(&self, deltas: &[Delta]) -> Result<Vec<Changed>, SqlError> {
        let now_us = self.store.clock().now_us();
        let mut places: FxHashMap<Bytes, usize> = FxHashMap::default();
        let mut changed: Vec<Changed> = Vec::new();
        for (row, count) in deltas {
            let row: &Row = row;
            let document = row_document(&self.shape.fields, row)?;
            let key = self.key_of(&document);
            let lane = lane_of("", &key);
            let at = *places.entry(lane.clone()).or_insert_with(|| {
                let priority = self.shape.priority_of(row, now_us);
                changed.push(Changed { key, lane, rows: Vec::new(), priority });
                changed.len() - 1
            });
            if *count > 0 {
                changed[at].priority = self.shape.priority_of(row, now_us);
            }
            changed[at].rows.push((document, *count));
        }
        Ok(changed)
    }

    /// Compares all rows with the shadow: after a start.
    async fn reconcile(&mut self, rows: &[Delta]) -> Result<(), SqlError> {
        let begun = records::key(Part::Position, self.sink.uid, &[b"begun"]);
        let snapshot = self.store.snapshot().map_err(store_error)?;
        let is_begun = snapshot.get_record(records::SPACE, &begun).map_err(store_error)?.is_some();
        let mut changed = self.by_key(rows)?;
        let present: rustc_hash::FxHashSet<Vec<u8>> =
            changed.iter().map(|of| records::shadow_key(self.sink.uid, &of.lane)).collect();
        let prefix = records::key(Part::Shadow, self.sink.uid, &[]);
        for record in snapshot.records(records::SPACE, &prefix) {
            let (place, value) = record.map_err(store_error)?;
            if present.contains(&place[..]) {
                continue;
            }
            // Gone while nobody looked.
            if let Some((row, _)) = decode_shadow(value).into_iter().next() {
                let key = self.key_of(&row);
                let lane = lane_of("", &key);
                changed.push(Changed { key, lane, rows: Vec::new(), priority: 0 });
            }
        }
        drop(snapshot);
        let quiet = !is_begun && self.sink.options.snapshot == Some(false);
        self.append(changed, 0, if quiet { Mode::Quiet } else { Mode::Whole }).await?;
        let write = move |txn: &mut WriteTxn| {
            txn.put_record(records::SPACE, &begun, Bytes::new());
            Ok(())
        };
        self.store.write(write).await.map(|_| ()).map_err(store_error)
    }

    /// Writes what changed, in commits of bounded size.
    async fn append(&mut self, changed: Vec<Changed>, wall_ms: i64, mode: Mode) -> Result<(), SqlError> {
        let time_ms = if wall_ms == 0 { self.store.clock().now_ms() } else { wall_ms };
        let mut changed = changed.into_iter().peekable();
        while changed.peek().is_some() {
            let snapshot = self.store.snapshot().map_err(store_error)?;
            let mut shadows: Vec<(Vec<u8>, Option<DocBuf>)> = Vec::new();
            let mut events: Vec<Event> = Vec::new();
            for Changed { key, lane, rows, priority } in changed.by_ref().take(KEYS_PER_COMMIT) {
                let place = records::shadow_key(self.sink.uid, &lane);
                let held = snapshot.get_record(records::SPACE, &place).map_err(store_error)?;
                let before = held.map(decode_shadow).unwrap_or_default();
                let after = if mode == Mode::Delta { added(&before, &rows) } else { added(&Vec::new(), &rows) };
                if before == after {
                    continue;
                }
                if mode != Mode::Quiet
                    && let Some(event) = self.event(key, lane, (shown(&before), shown(&after)), priority, time_ms)
                {
                    events.push(event);
                }
                shadows.push((place, (!after.is_empty()).then(|| encode_shadow(&after))));
            }
            drop(snapshot);
            if shadows.is_empty() {
                continue;
            }
            let uid = self.sink.uid;
            let write = move |txn: &mut WriteTxn| {
                for (place, shadow) in &shadows {
                    match shadow {
                        Some(shadow) => txn.put_record(records::SPACE, place, shadow.bytes().clone()),
                        None => txn.delete_record(records::SPACE, place),
                    }
                }
                events.iter().for_each(|event| records::put_outbox(txn, uid, event));
                Ok(())
            };
            self.store.write(write).await.map_err(store_error)?;
            self.appended.notify_one();
        }
        Ok(())
    }

    fn event(
        &mut self,
        key: DocBuf,
        lane: Bytes,
        (before, after): (Option<&DocBuf>, Option<&DocBuf>),
        priority: i64,
        time_ms: i64,
    ) -> Option<Event> {
        let (kind, operation) = match (before, after) {
            (before, after) if before == after => return None,
            (None, _) => (Kind::Upsert, "insert"),
            (Some(_), Some(_)) => (Kind::Upsert, "update"),
            (Some(_), None) => (Kind::Delete, "delete"),
        };
        let row = after.or(before)?.clone();
        let number = self.next;
        self.next += 1;
        Some(Event {
            position: Position::at(number),
            id: format!("{}-{number}", self.sink.uid).into(),
            lane,
            kind,
            operation: operation.into(),
            source: self.sink.source_name().into(),
            namespace: "".into(),
            time_ms,
            key,
            before: before.filter(|_| after.is_some()).cloned(),
            body: row.clone(),
            priority,
            row,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// `rows` are differences.
    Delta,
    /// `rows` are all there are of the key.
    Whole,
    /// The same, and nobody is told.
    Quiet,
}

fn added(rows: &Rows, deltas: &Rows) -> Rows {
    let mut sum = rows.clone();
    for (row, count) in deltas {
        match sum.iter_mut().find(|(known, _)| known == row) {
            Some((_, held)) => *held += count,
            None => sum.push((row.clone(), *count)),
        }
    }
    sum.retain(|(_, count)| *count != 0);
    sum.sort_by(|a, b| a.0.bytes().cmp(b.0.bytes()));
    sum
}

/// The row that stands for a key; a key that does not identify rows has several.
fn shown(rows: &Rows) -> Option<&DocBuf> {
    rows.iter().rev().find(|(_, count)| *count > 0).map(|(row, _)| row)
}

fn encode_shadow(rows: &Rows) -> DocBuf {
    let row = |(row, count): &(DocBuf, i64)| {
        Value::Document(Doc::new().with("row", Value::Document(row.to_doc())).with("n", *count))
    };
    Doc::new().with("rows", Value::Array(rows.iter().map(row).collect())).to_buf()
}

fn decode_shadow(stored: Bytes) -> Rows {
    let Ok(stored) = DocBuf::validate(stored) else { return Vec::new() };
    let Some(rows) = stored.get("rows").and_then(Raw::as_array) else { return Vec::new() };
    let row = |value: Raw<'_>| {
        let doc = value.as_document()?;
        Some((doc.get("row")?.as_document()?.to_buf(), doc.get("n")?.as_whole()?))
    };
    rows.values().filter_map(row).collect()
}
