//! How the source does, for whoever looks.

use base::ClusterTime;
use serde::Serialize;

use crate::mirror::MirrorState;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// Not connected yet, or again not.
    #[default]
    Connecting,
    /// Events arrive.
    Capturing,
    /// Stopped for good; the sentence says why.
    Failed,
}

impl SourceState {
    pub fn as_str(self) -> &'static str {
        match self {
            SourceState::Connecting => "connecting",
            SourceState::Capturing => "capturing",
            SourceState::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceStatus {
    pub state: SourceState,
    /// The last thing that went wrong, if it has not healed.
    pub problem: Option<String>,
    /// The connection string without its password.
    pub uri: String,
    /// Name of the replica set, or "sharded cluster".
    pub cluster: String,
    pub version: String,
    /// What the version of the source cannot give.
    pub limits: Vec<String>,
    /// Since the database was opened.
    pub events: u64,
    /// Events of kinds that have no counterpart here (of sharding).
    pub skipped: u64,
    /// Times the cursor was opened.
    pub cursors_opened: u64,
    /// Everything up to here is captured.
    #[serde(skip)]
    pub captured: ClusterTime,
    /// The resume token after the last captured event.
    pub token: String,
    /// How far that is behind the source's newest write, in whole seconds of cluster time.
    pub lag_ms: i64,
    /// How long the source still keeps the events after our position, if it may be asked.
    pub window_ms: Option<i64>,
    /// Gaps in the history since the database was opened.
    pub gaps: u64,
    pub mirrors: Vec<MirrorStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MirrorStatus {
    pub db: String,
    pub collection: String,
    pub state: MirrorState,
    /// Documents that the load has read.
    pub loaded: u64,
    /// The source's own estimate when the load began.
    pub estimated: u64,
}
