//! The backend of tests and simulations: ordered maps in memory, lost with the process.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Batch, Direction, KeyRange, Kv, KvIter, KvRead, Space};
use crate::error::Result;
use crate::overlay::{Overlaid, Overlay};

/// An empty view to lay an overlay upon.
struct Nothing;

impl KvRead for Nothing {
    fn get(&self, _: Space, _: &[u8]) -> Result<Option<Bytes>> {
        Ok(None)
    }

    fn range(&self, _: Space, _: KeyRange, _: Direction) -> KvIter {
        Box::new(std::iter::empty())
    }
}

/// Clones share the contents, so that a test can close a store and open it again.
#[derive(Clone, Default)]
pub struct MemoryKv(Arc<Mutex<Arc<Overlay>>>);

impl MemoryKv {
    fn view(&self) -> Overlaid {
        Overlaid::new(Arc::new(Nothing), Arc::clone(&self.0.lock()))
    }
}

impl KvRead for MemoryKv {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        self.view().get(space, key)
    }

    fn range(&self, space: Space, range: KeyRange, direction: Direction) -> KvIter {
        self.view().range(space, range, direction)
    }
}

impl Kv for MemoryKv {
    fn commit(&self, batch: Batch) -> Result<()> {
        let mut state = self.0.lock();
        // Copies everything while a snapshot is alive: fine for the sizes of tests.
        let overlay = Arc::make_mut(&mut state);
        for (space, key, value) in batch.ops {
            match value {
                Some(value) => overlay.put(space, key, value),
                None => overlay.forget(space, &key),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(self.view())
    }
}
