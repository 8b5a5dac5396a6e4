//! A log entry while the hub passes it round: what several watchers need of it is made once.

use std::cell::OnceCell;
use std::sync::Arc;

use document::DocBuf;
use store::entry::{LogEntry, Operation, PreImage};

use crate::event::{Event, Shape};

pub(super) struct SharedEntry<'a> {
    entry: &'a LogEntry,
    number: u64,
    shared: OnceCell<Arc<LogEntry>>,
    /// The event without images, plain and expanded.
    events: [OnceCell<DocBuf>; 2],
}

impl<'a> SharedEntry<'a> {
    /// `number` differs from entry to entry.
    pub fn new(entry: &'a LogEntry, number: u64) -> Self {
        SharedEntry { entry, number, shared: OnceCell::new(), events: Default::default() }
    }

    pub fn entry(&self) -> &'a LogEntry {
        self.entry
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn shared(&self) -> Arc<LogEntry> {
        self.shared.get_or_init(|| Arc::new(self.entry.clone())).clone()
    }

    pub fn event(&self, expanded: bool) -> DocBuf {
        let make = || {
            let event = Event::new(self.entry);
            event.to_document(&event.token(), &Shape { expanded, ..Shape::default() })
        };
        self.events[usize::from(expanded)].get_or_init(make).clone()
    }

    pub fn bytes(&self) -> usize {
        entry_bytes(self.entry)
    }
}

/// About how much memory an entry holds.
pub(crate) fn entry_bytes(entry: &LogEntry) -> usize {
    let image = |before: &Option<PreImage>| before.as_ref().map_or(0, |image| image.document.len());
    let operation = match &entry.operation {
        Operation::Insert { key, document } => key.len() + document.len(),
        Operation::Update { key, description, document, before } => {
            key.len() + description.len() + document.as_ref().map_or(0, DocBuf::len) + image(before)
        }
        Operation::Replace { key, document, before } => key.len() + document.len() + image(before),
        Operation::Delete { key, before } => key.len() + image(before),
        Operation::Create { description, .. }
        | Operation::CreateIndexes { description }
        | Operation::DropIndexes { description } => description.len(),
        Operation::Modify { description, before } => description.len() + before.len(),
        Operation::Corrected { key, document, before } => {
            key.len() + document.as_ref().map_or(0, DocBuf::len) + before.as_ref().map_or(0, DocBuf::len)
        }
        Operation::Drop | Operation::Rename { .. } | Operation::DropDatabase | Operation::Gap { .. } => 0,
    };
    size_of::<LogEntry>() + operation
}
