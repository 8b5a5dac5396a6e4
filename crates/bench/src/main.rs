//! Benchmarks: the built server, measured from outside through the drivers that users have.
//!
//! ```text
//!   this process                                   target/release/headwater serve
//!     official MongoDB driver, tokio-postgres ───>   its own process, free ports, a fresh directory
//!     clock, percentiles, one line per figure
//! ```
//!
//! `bench [name…]` runs the scenarios of those names, without names all of them. Client and server
//! share the machine, so a figure is what a developer sees on a laptop, not what a server alone could do.
//!
//! # Not here
//! Targets and results (`docs/benchmarks.md`). Nothing timed is a test.
//!
//! # Invariants
//! - A scenario checks what it measured: a run that lost an event fails instead of printing a figure.
//! - A figure names its unit and how durable the writes were.
//!
//! Read next: `server.rs`, `load.rs`, `figures.rs`, then a scenario.

// Figures are this program's output.
#![allow(clippy::print_stdout)]

mod build;
mod capture;
mod dataflow;
mod figures;
mod images;
mod insert;
mod latency;
mod load;
mod operators;
mod recovery;
mod resume;
mod server;
mod share;
mod sinks;
mod start;
mod view;
mod watchers;

use std::process::ExitCode;

// What is measured in this process has the binary's allocator, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever went wrong, for the person at the terminal.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SCENARIOS: [&str; 14] = [
    "start",
    "latency",
    "insert",
    "images",
    "resume",
    "watchers",
    "view",
    "operators",
    "dataflow",
    "share",
    "build",
    "recovery",
    "capture",
    "sinks",
];

#[tokio::main]
async fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = SCENARIOS.map(str::to_owned).to_vec();
    }
    for name in &names {
        if let Err(error) = run(name).await {
            eprintln!("bench {name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn run(name: &str) -> Result {
    match name {
        "start" => start::run().await,
        "latency" => latency::run().await,
        "insert" => insert::run().await,
        "images" => images::run().await,
        "resume" => resume::run().await,
        "watchers" => watchers::run().await,
        "view" => view::run().await,
        "dataflow" => dataflow::run(),
        "operators" => operators::run(),
        "share" => share::run().await,
        "build" => build::run().await,
        "recovery" => recovery::run().await,
        "capture" => capture::run().await,
        "sinks" => sinks::run().await,
        _ => Err(format!("no such scenario; there are {}", SCENARIOS.join(", ")).into()),
    }
}
