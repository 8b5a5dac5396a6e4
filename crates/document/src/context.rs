//! What a query, update or pipeline is evaluated with, besides the document.

use std::sync::Arc;

use crate::collation::Collation;
use crate::value::Doc;

/// Shared by everything parsed for one command. Time is an argument: `now_ms` is `$$NOW`.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// `None` is the simple (binary) collation.
    pub collation: Option<Arc<Collation>>,
    /// The command's `let` variables, already evaluated; undefined stands for a missing value.
    pub variables: Arc<Doc>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// `$$CLUSTER_TIME`.
    pub cluster_time: base::ClusterTime,
}
