//! Turns a finished write closure into one batch: positions its log entries, and adds what every
//! commit carries (counts, catalog records, the applied time).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::ClusterTime;
use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::catalog::{Catalog, CollectionId, RecordId};
use crate::catalog_codec;
use crate::entry::{LogEntry, LogPosition, TxnInfo};
use crate::error::Result;
use crate::kv::{Batch, Space};
use crate::layout::{self, State};
use crate::log_codec;
use crate::transaction::Grouping;
use crate::write::{NewEntry, WriteTxn};

pub(crate) struct Prepared {
    pub batch: Batch,
    pub entries: Vec<LogEntry>,
    pub log_bytes: usize,
    /// Present if it changed.
    pub catalog: Option<Arc<Catalog>>,
    pub applied: ClusterTime,
    pub evicted: FxHashMap<CollectionId, RecordId>,
    pub log_removed: Option<(LogPosition, u64)>,
    /// Collections whose documents changed.
    pub written: Vec<Arc<AtomicU64>>,
}

pub(crate) fn prepare(txn: WriteTxn) -> Result<Prepared> {
    let now_ms = txn.now_ms();
    let WriteTxn { shared, overlay, mut catalog, effects, grouping, .. } = txn;
    let mut batch = Batch::default();
    overlay.into_batch(&mut batch);
    let changed = !effects.touched.is_empty();
    if batch.is_empty() && effects.entries.is_empty() && !changed {
        let applied = shared.applied();
        return Ok(Prepared {
            batch,
            entries: Vec::new(),
            log_bytes: 0,
            catalog: None,
            applied,
            evicted: FxHashMap::default(),
            log_removed: None,
            written: Vec::new(),
        });
    }
    let last = shared.applied().max(ClusterTime(shared.reserved.load(Ordering::Acquire)));
    let entries = position(effects.entries, last, now_ms, grouping);
    let log_bytes = append_log(&mut batch, &entries);
    if changed {
        Arc::make_mut(&mut catalog).version += 1;
        for id in &effects.touched {
            let key = Bytes::copy_from_slice(&layout::collection_key(*id));
            match catalog.by_id(*id) {
                Some(collection) => batch.put(Space::Meta, key, catalog_codec::encode(collection)),
                None => batch.remove(Space::Meta, key),
            }
        }
        let next_id = shared.next_id.load(Ordering::Relaxed).to_be_bytes();
        batch.put(Space::Meta, layout::NEXT_ID, Bytes::copy_from_slice(&next_id));
    }
    let mut written = Vec::with_capacity(effects.counts.len());
    for (collection, (documents, bytes)) in effects.counts {
        let key = Bytes::copy_from_slice(&layout::counts_key(collection));
        let Some(found) = catalog.by_id(collection) else {
            batch.remove(Space::Meta, key);
            continue;
        };
        written.push(Arc::clone(&found.changes));
        let counts = layout::read_counts(&*shared.kv, collection)?.plus(documents, bytes);
        batch.put(Space::Meta, key, counts.encode());
    }
    let applied = entries.last().map_or(last, |entry| entry.position.time);
    let mut bytes = shared.log.bytes() + log_bytes as u64;
    if let Some((removed, removed_bytes)) = effects.log_removed {
        bytes = bytes.saturating_sub(removed_bytes);
        batch.put(Space::Meta, layout::REMOVED, layout::encode_position(removed));
    }
    let state = State { applied, catalog_version: catalog.version, log_bytes: bytes };
    batch.put(Space::Meta, layout::STATE, state.encode());
    let catalog = changed.then_some(catalog);
    Ok(Prepared {
        batch,
        entries,
        log_bytes,
        catalog,
        applied,
        evicted: effects.evicted,
        log_removed: effects.log_removed,
        written,
    })
}

/// Every entry has a time of its own, except that those of a transaction share one.
fn position(new: Vec<NewEntry>, last: ClusterTime, now_ms: i64, grouping: Option<Grouping>) -> Vec<LogEntry> {
    let count = new.len();
    let mut time = last;
    let entries = new.into_iter().enumerate().map(|(i, entry)| {
        if i == 0 || grouping.is_none() {
            time = time.tick(now_ms);
        }
        let txn = grouping.as_ref().map(|grouping| TxnInfo {
            lsid: grouping.lsid.clone(),
            txn_number: grouping.txn_number,
            last: i + 1 == count,
        });
        let index = if grouping.is_some() { i as u32 } else { 0 };
        LogEntry {
            position: LogPosition { time, index },
            wall_ms: now_ms,
            namespace: entry.namespace,
            collection: entry.collection,
            operation: entry.operation,
            txn,
        }
    });
    entries.collect()
}

fn append_log(batch: &mut Batch, entries: &[LogEntry]) -> usize {
    let mut total = 0;
    let mut record = Vec::new();
    let mut first = LogPosition::default();
    for entry in entries {
        if record.is_empty() {
            first = entry.position;
        }
        log_codec::append(&mut record, entry);
        if record.len() >= log_codec::RECORD_SIZE {
            total += record.len();
            batch.put(Space::Log, Bytes::copy_from_slice(&log_codec::record_key(first)), std::mem::take(&mut record));
        }
    }
    if !record.is_empty() {
        total += record.len();
        record.shrink_to_fit();
        batch.put(Space::Log, Bytes::copy_from_slice(&log_codec::record_key(first)), record);
    }
    total
}
