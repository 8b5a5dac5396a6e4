//! The binary: arguments, configuration, sockets, signals. Everything it serves is `engine`.

mod config;
mod demo;
mod serve;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

// Buffers are made on one thread and dropped on another; the C library's heaps fragment under that and
// kept three times what was in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "headwater", version, about = "Reactive SQL on change streams, in one binary.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the document store (MongoDB protocol), SQL (PostgreSQL protocol) and the dashboard (HTTP).
    Serve(Box<config::ServeArgs>),
    /// A shop that writes through the MongoDB driver, watched live; nothing is left behind.
    Demo(demo::DemoArgs),
    /// How a running server does: streams, views, sinks.
    Status(status::StatusArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Demo(args) => demo::run(args),
        Command::Status(args) => status::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("headwater: {message}");
            ExitCode::FAILURE
        }
    }
}
