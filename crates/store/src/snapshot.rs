//! A consistent view of everything at one cluster time.

use std::sync::Arc;

use base::ClusterTime;
use bytes::Bytes;

use crate::catalog::{Catalog, Collection};
use crate::error::Result;
use crate::kv::{Direction, Entry, KeyRange, KvRead, Space};
use crate::layout::{self, Counts};
use crate::read::Reader;

/// Shows exactly the commits up to `time()`, also those not yet durable. Cheap to clone and to
/// open; while it lives, old versions stay on disk, so do not keep it for minutes.
#[derive(Clone)]
pub struct Snapshot {
    kv: Arc<dyn KvRead>,
    catalog: Arc<Catalog>,
    time: ClusterTime,
}

impl Snapshot {
    pub(crate) fn new(kv: Arc<dyn KvRead>, catalog: Arc<Catalog>, time: ClusterTime) -> Self {
        Snapshot { kv, catalog, time }
    }

    /// The time of the last commit it shows.
    pub fn time(&self) -> ClusterTime {
        self.time
    }

    pub fn catalog_arc(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(crate) fn kv(&self) -> &Arc<dyn KvRead> {
        &self.kv
    }
}

impl Reader for Snapshot {
    fn kv_get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        self.kv.get(space, key)
    }

    fn kv_range<'a>(
        &'a self,
        space: Space,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Entry>> + Send + 'a> {
        self.kv.range(space, range, direction)
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn counts(&self, collection: &Collection) -> Result<Counts> {
        layout::read_counts(&*self.kv, collection.id)
    }
}
