//! How long until an empty server is ready, and what it costs to have it running.

use std::time::Duration;

use crate::Result;
use crate::figures::{ms, percentile, report};
use crate::server::{Durability, Server};

const RUNS: usize = 5;
/// Until background threads have done what they do after a start.
const SETTLE: Duration = Duration::from_secs(2);

pub async fn run() -> Result {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let directory = tempfile::tempdir()?;
        let server = Server::start(directory.path(), Durability::Sync)?;
        times.push(server.started_in);
        server.kill()?;
    }
    times.sort_unstable();
    report(&format!("start: spawn to ready line, empty directory, median of {RUNS}"), ms(percentile(&times, 50)), "ms");
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::Sync)?;
    tokio::time::sleep(SETTLE).await;
    report("start: resident memory, idle", server.resident_mb()?, "MB");
    server.kill()
}
