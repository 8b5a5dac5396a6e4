//! Chores, one word each: `cargo xtask check | test | bench | bless | conformance | law | soak | tidy`.
//!
//! CI runs the same words. What a chore needs beyond Rust it looks for and says what is missing.

mod clients;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A chore fails with a sentence.
type Chore = Result<(), String>;

const USAGE: &str = "usage: cargo xtask <chore>
  check        format, clippy, tidy, tests
  test         all tests: Rust, then real clients (pymongo, psql) against the built server
  bench [name] benchmarks; figures go to docs/benchmarks.md by hand
  bless        rewrite the golden files from what the code answers now
  conformance  the pymongo driver's own test suite against the server
  diffsuite F  the scenarios in folder F, compared with a real server's recorded answers
  law [--seed S] [--seeds N]
               random queries and histories: view = query afresh = PostgreSQL 15
  constructs [file]
               SELECT's constructs by name: SELECT = view = PostgreSQL 15
  compare [--events N] [--only ours|postgres|flink]
               the release binary beside PostgreSQL with triggers and Flink SQL
  soak [--seed S] [--seeds N]
               simulated lives of sinks (10,000 unless said): the scheduler alone, and the real runner
  tidy         headers, paths named in the docs, forbidden words";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["check"] => check(),
        ["test"] => test(),
        ["bench", ref rest @ ..] => bench(rest),
        ["bless"] => bless(),
        ["conformance", ref rest @ ..] => clients::conformance(rest),
        ["diffsuite", folder] => clients::diffsuite(folder),
        ["law", ref rest @ ..] => clients::law(rest),
        ["constructs", ref rest @ ..] => clients::constructs(rest),
        ["compare", ref rest @ ..] => clients::compare(rest),
        ["soak", ref rest @ ..] => soak(rest),
        ["tidy"] => tidy::run(&root()),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Lives of sinks from seeds; one that fails prints its number.
fn soak(options: &[&str]) -> Chore {
    let env = match options {
        [] => ("SIMULATION_SEEDS", "10000"),
        ["--seeds", count] => ("SIMULATION_SEEDS", *count),
        ["--seed", seed] => ("SIMULATION_SEED", *seed),
        _ => return Err(USAGE.to_owned()),
    };
    let tests = ["--package", "delivery", "--test", "lives", "--test", "simulation"];
    run_with("cargo", &[&["test"], &tests[..]].concat(), &[env])
}

/// The workspace folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask stands in the workspace").to_owned()
}

/// Runs a program in the workspace folder; it must succeed.
pub fn run(program: &str, args: &[&str]) -> Chore {
    run_with(program, args, &[])
}

/// The same with environment variables.
pub fn run_with(program: &str, args: &[&str], env: &[(&str, &str)]) -> Chore {
    eprintln!("+ {program} {}", args.join(" "));
    let status = Command::new(program).args(args).envs(env.iter().copied()).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {} failed: {status}", args.join(" "))),
        Err(error) => Err(format!("cannot run {program}: {error}")),
    }
}

fn check() -> Chore {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    tidy::run(&root())?;
    test()
}

fn test() -> Chore {
    run("cargo", &["test", "--workspace"])?;
    clients::test()
}

fn bench(names: &[&str]) -> Chore {
    // Both in one build: alone, each would choose other features of what they share and build it twice.
    run("cargo", &["build", "--release", "--package", "headwater", "--package", "bench"])?;
    run(&clients::target().join("release/bench").display().to_string(), names)
}

fn bless() -> Chore {
    run_with("cargo", &["test", "--workspace"], &[("BLESS", "1")])
}
