//! Pausing and resuming a change stream, between two ticks.
//!
//! A paused stream ends at the time where all views stood. Resuming feeds its readers the events
//! since then as one tick, so that a view equals its query before, while and after.

use std::sync::Arc;

use base::ClusterTime;
use sql::{Source, SqlError};
use store::LogEntry;

use super::feeding::{Decoded, contained, feed};
use super::{Runtime, store_error};
use crate::build::missing;
use crate::checkpoint;
use crate::definition::{Definitions, StreamDefinition};

/// A stream's new definition, for the time at which all views stand.
pub type Redefine = Box<dyn FnOnce(ClusterTime) -> Redefinition + Send>;

/// A stream as it is from now on, and the record that says so.
pub struct Redefinition {
    pub stream: StreamDefinition,
    pub space: &'static str,
    pub key: Vec<u8>,
    pub record: Vec<u8>,
}

impl Runtime {
    pub(super) fn redefine(&mut self, make: Redefine) -> Result<(), SqlError> {
        let Redefinition { stream, space, key, record } = make(self.position);
        let mut definitions = Definitions::clone(&self.definitions.load());
        let before = definitions.stream(&stream.db, &stream.name).cloned();
        let before = before.ok_or_else(|| missing("change stream", &stream.name))?;
        let resumed = before.paused_at.filter(|_| stream.paused_at.is_none());
        let stream = Arc::new(stream);
        let reads = |source: &Source| match source {
            Source::Stream { db, name, .. } => *db == stream.db && *name == stream.name,
            _ => false,
        };
        // A checkpoint without the events that now come in is no longer this query's: should the
        // process die before the next one, the views are built anew.
        let outdated: Vec<u64> = self
            .views
            .iter()
            .filter(|view| resumed.is_some() && view.durable && view.feeds.iter().any(|feed| reads(&feed.source)))
            .map(|view| view.definition.id)
            .collect();
        // Nor may one that is just being written come to stand after this.
        self.writer.wait(|writer, done| writer.outdated(outdated.clone(), done))?;
        let write = move |txn: &mut store::WriteTxn| {
            txn.put_record(space, &key, record);
            outdated.iter().for_each(|id| txn.delete_record(checkpoint::SPACE, &checkpoint::position_key(*id)));
            Ok(())
        };
        self.store.write(write).wait().map_err(store_error)?;
        let key = (stream.db.clone(), stream.name.clone());
        definitions.streams.insert(key, Arc::clone(&stream));
        self.definitions.store(Arc::new(definitions.clone()));
        match resumed {
            Some(paused_at) => self.replay(&reads, paused_at, &definitions),
            None => Ok(()),
        }
    }

    /// Gives the views of a stream its events after a time, up to where all views stand.
    fn replay(
        &mut self,
        reads: &dyn Fn(&Source) -> bool,
        after: ClusterTime,
        definitions: &Definitions,
    ) -> Result<(), SqlError> {
        const GROUP: usize = 4096;
        let from = after.next().max(self.store.oldest_time());
        let store = self.store.clone();
        let mut group: Vec<LogEntry> = Vec::new();
        for entry in store.log_from_time(from, self.position) {
            let entry = entry.map_err(store_error)?;
            if group.len() >= GROUP && group.last().is_some_and(|last| last.position.time != entry.position.time) {
                self.replay_group(reads, &group, definitions);
                group.clear();
            }
            group.push(entry);
        }
        self.replay_group(reads, &group, definitions);
        self.dirty = true;
        Ok(())
    }

    /// One tick with entries for the inputs that read the stream, and for no other.
    fn replay_group(&mut self, reads: &dyn Fn(&Source) -> bool, entries: &[LogEntry], definitions: &Definitions) {
        let Some(last) = entries.last() else { return };
        for i in 0..self.views.len() {
            let (before, rest) = self.views.split_at_mut(i);
            let view = &mut rest[0];
            view.output.clear();
            if !view.is_running() || view.stale {
                continue;
            }
            let untouched = view.feeds.iter().filter(|feed| !reads(&feed.source));
            let mut decoded: Decoded = untouched.map(|feed| (feed.input.clone(), Ok(Vec::new()))).collect();
            let now_us = last.wall_ms.saturating_mul(1000);
            if let Err(error) = contained(|| feed(view, entries, before, definitions, &mut decoded, now_us)) {
                tracing::error!(view = view.definition.name, %error, "a view has stopped");
                view.fail(error);
            }
            view.publish(last.wall_ms);
        }
    }
}
