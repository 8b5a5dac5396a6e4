//! Where the log begins.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use base::ClusterTime;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::entry::LogPosition;

/// Start and size of the log, who needs how much of it, and when its images expire.
pub(crate) struct LogBounds {
    /// Last position that was removed.
    removed: Mutex<LogPosition>,
    /// Bytes of entries.
    bytes: AtomicU64,
    pins: Mutex<FxHashMap<String, ClusterTime>>,
    /// Seconds after which a pre-image is no longer shown; negative: as long as its entry.
    image_seconds: AtomicI64,
}

impl LogBounds {
    pub fn new(removed: LogPosition, bytes: u64) -> Self {
        LogBounds {
            removed: Mutex::new(removed),
            bytes: AtomicU64::new(bytes),
            pins: Mutex::default(),
            image_seconds: AtomicI64::new(-1),
        }
    }

    pub fn removed(&self) -> LogPosition {
        *self.removed.lock()
    }

    pub fn set_removed(&self, position: LogPosition) {
        let mut removed = self.removed.lock();
        *removed = position.max(*removed);
    }

    /// From here on every entry is there.
    pub fn oldest(&self) -> ClusterTime {
        self.removed().time.next()
    }

    pub fn appended(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn shrunk(&self, bytes: u64) {
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(bytes)));
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn pin(&self, name: &str, time: Option<ClusterTime>) {
        let mut pins = self.pins.lock();
        match time {
            Some(time) => pins.insert(name.to_owned(), time),
            None => pins.remove(name),
        };
    }

    /// Nothing at or after this time may be removed.
    pub fn pinned(&self) -> ClusterTime {
        self.pins.lock().values().min().copied().unwrap_or(ClusterTime::MAX)
    }

    pub fn image_seconds(&self) -> Option<i64> {
        Some(self.image_seconds.load(Ordering::Relaxed)).filter(|seconds| *seconds >= 0)
    }

    pub fn set_image_seconds(&self, seconds: Option<i64>) {
        self.image_seconds.store(seconds.unwrap_or(-1), Ordering::Relaxed);
    }
}
