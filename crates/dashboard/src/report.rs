//! The status as the page and scripts read it: the engine's, and the server's version.

use engine::{Error, Headwater, Status};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    /// How far the slowest view is behind the log.
    pub lag_ms: i64,
    #[serde(flatten)]
    pub status: Status,
}

/// Asks the engine.
pub async fn report(engine: &Headwater) -> Result<Report, Error> {
    let status = engine.status().await?;
    let lag_ms = status.views.iter().map(|view| view.lag_ms).max().unwrap_or(0);
    Ok(Report { version: env!("CARGO_PKG_VERSION"), lag_ms, status })
}
