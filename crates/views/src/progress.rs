//! Views that are being built: how far they are, and the wish that they stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use sql::{Plan, SqlError};

use crate::definition::ViewDefinition;

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BuildPhase {
    /// How much there is to read.
    Counting,
    Reading,
    /// The finished state goes to the disk.
    Saving,
    /// What was committed meanwhile.
    CatchingUp,
}

impl BuildPhase {
    pub fn as_str(self) -> &'static str {
        match self {
            BuildPhase::Counting => "counting",
            BuildPhase::Reading => "reading",
            BuildPhase::Saving => "saving",
            BuildPhase::CatchingUp => "catching up",
        }
    }
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    pub phase: BuildPhase,
    /// Events and documents read.
    pub read: u64,
    /// … of so many; grows with what is committed meanwhile.
    pub total: u64,
}

impl BuildProgress {
    pub fn percent(&self) -> f64 {
        match self.phase {
            BuildPhase::Counting => 0.0,
            _ if self.total == 0 => 100.0,
            _ => 100.0 * self.read as f64 / self.total as f64,
        }
    }
}

/// One build.
#[derive(Debug)]
pub struct Build {
    pub id: u64,
    pub db: String,
    pub name: String,
    pub plan: Arc<Plan>,
    read: AtomicU64,
    total: AtomicU64,
    phase: AtomicU8,
    cancelled: AtomicBool,
}

impl Build {
    pub fn of(definition: &ViewDefinition) -> Arc<Self> {
        Arc::new(Build {
            id: definition.id,
            db: definition.db.clone(),
            name: definition.name.clone(),
            plan: Arc::clone(&definition.plan),
            read: AtomicU64::new(0),
            total: AtomicU64::new(0),
            phase: AtomicU8::new(BuildPhase::Counting as u8),
            cancelled: AtomicBool::new(false),
        })
    }

    pub fn enter(&self, phase: BuildPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// There is more to read.
    pub fn expect(&self, more: u64) {
        self.total.fetch_add(more, Ordering::Relaxed);
    }

    /// Counts what was read.
    ///
    /// # Errors
    /// 57014 if the build is no longer wanted.
    pub fn advance(&self, read: u64) -> Result<(), SqlError> {
        self.read.fetch_add(read, Ordering::Relaxed);
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SqlError::new("57014", format!("building materialized view \"{}\" was canceled", self.name)));
        }
        Ok(())
    }

    pub fn progress(&self) -> BuildProgress {
        let read = self.read.load(Ordering::Relaxed);
        let phase = match self.phase.load(Ordering::Relaxed) {
            0 => BuildPhase::Counting,
            1 => BuildPhase::Reading,
            2 => BuildPhase::Saving,
            _ => BuildPhase::CatchingUp,
        };
        BuildProgress { phase, read, total: self.total.load(Ordering::Relaxed).max(read) }
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// All builds under way.
#[derive(Clone, Debug, Default)]
pub struct Builds(Arc<Mutex<Vec<Arc<Build>>>>);

impl Builds {
    pub fn add(&self, build: &Arc<Build>) {
        self.0.lock().push(Arc::clone(build));
    }

    pub fn remove(&self, build: &Arc<Build>) {
        self.0.lock().retain(|known| !Arc::ptr_eq(known, build));
    }

    pub fn find(&self, mut which: impl FnMut(&Build) -> bool) -> Option<Arc<Build>> {
        self.0.lock().iter().find(|build| which(build)).cloned()
    }

    pub fn cancel_all(&self) {
        self.0.lock().iter().for_each(|build| build.cancel());
    }
}
