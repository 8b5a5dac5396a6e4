//! Tests with real clients: a Python environment with the driver, `psql`, the built server.

use std::path::PathBuf;
use std::process::Command;

use crate::{Chore, root, run, run_with};

/// The driver version that the tests are written against.
const PYMONGO: &str = "pymongo==4.20.0";

/// Runs `tests/clients/*.py` against the debug binary. Skips, saying so, where a client is missing.
pub fn test() -> Chore {
    run("cargo", &["build", "--package", "headwater"])?;
    let Some(python) = python()? else {
        eprintln!("skipped: client tests need python3 with venv (apt-get install python3-venv)");
        return Ok(());
    };
    let server = server_binary();
    let python = python.display().to_string();
    run_with(&python, &["-m", "pytest", "-q", "tests/clients"], &[("HEADWATER_BIN", &server.display().to_string())])
}

/// The driver's own suite; see `tests/conformance`.
pub fn conformance(args: &[&str]) -> Chore {
    run("cargo", &["build", "--package", "headwater"])?;
    let python = python()?.ok_or("the conformance run needs python3 with venv (apt-get install python3-venv)")?;
    let mut words = vec!["tests/conformance/run.py"];
    words.extend_from_slice(args);
    let server = server_binary();
    run_with(&python.display().to_string(), &words, &[("HEADWATER_BIN", &server.display().to_string())])
}

/// Random queries and histories against PostgreSQL; see `tests/law`.
pub fn law(args: &[&str]) -> Chore {
    run("cargo", &["build", "--package", "headwater"])?;
    let python = python()?.ok_or("the law needs python3 with venv (apt-get install python3-venv)")?;
    let mut words = vec!["tests/law/run.py"];
    words.extend_from_slice(args);
    let server = server_binary();
    run_with(&python.display().to_string(), &words, &[("HEADWATER_BIN", &server.display().to_string())])
}

/// The release binary beside what a user would pick instead; see `crates/bench/compare`.
pub fn compare(args: &[&str]) -> Chore {
    run("cargo", &["build", "--release", "--package", "headwater"])?;
    let python = python()?.ok_or("the comparison needs python3 with venv (apt-get install python3-venv)")?;
    let mut words = vec!["crates/bench/compare/compare.py"];
    words.extend_from_slice(args);
    let server = target().join("release/headwater");
    run_with(&python.display().to_string(), &words, &[("HEADWATER_BIN", &server.display().to_string())])
}

/// Statement by statement against PostgreSQL; see `tests/law/constructs.py`.
pub fn constructs(args: &[&str]) -> Chore {
    run("cargo", &["build", "--package", "headwater"])?;
    let python = python()?.ok_or("the comparison needs python3 with venv (apt-get install python3-venv)")?;
    let mut words = vec!["tests/law/constructs.py"];
    words.extend_from_slice(args);
    let server = server_binary();
    run_with(&python.display().to_string(), &words, &[("HEADWATER_BIN", &server.display().to_string())])
}

/// Scenarios with a real server's answers, from a folder beside the checkout: `run.py`, `compare.py`
/// and `golden/`. What may differ is in `tests/diffsuite/allow.json`.
pub fn diffsuite(folder: &str) -> Chore {
    run("cargo", &["build", "--package", "headwater"])?;
    let python = python()?.ok_or("the differential run needs python3 with venv (apt-get install python3-venv)")?;
    let server = server_binary();
    let out = target().join("diffsuite.jsonl");
    let (server, out) = (server.display().to_string(), out.display().to_string());
    let words = ["tests/diffsuite/run.py", folder, &out];
    run_with(&python.display().to_string(), &words, &[("HEADWATER_BIN", &server)])
}

/// Succeeds where the clients are, in versions that the tests are written for.
const CLIENTS: &str = "import pymongo, pytest, psycopg, sqlalchemy, asyncpg, nats, pyarrow, websockets; assert pytest.version_tuple < (9,)";

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn server_binary() -> PathBuf {
    target().join("debug/headwater")
}

/// The Python of an environment of our own below the target folder; `None` if there is no Python
/// that can make one.
fn python() -> Result<Option<PathBuf>, String> {
    let home = target().join("python");
    let python = home.join("bin/python");
    let has_driver = || Command::new(&python).args(["-c", CLIENTS]).output();
    if has_driver().is_ok_and(|out| out.status.success()) {
        return Ok(Some(python));
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&home).status();
    if !made.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let python_name = python.display().to_string();
    // The driver's suite turns warnings into errors that pytest 9 no longer knows.
    let packages = [
        PYMONGO,
        "pytest>=8.4,<9",
        "pytest-asyncio",
        "psycopg[binary]",
        "sqlalchemy>=2",
        "asyncpg",
        "nats-py",
        "pyarrow",
        "websockets>=14",
    ];
    run(&python_name, &[&["-m", "pip", "install", "--quiet"], &packages[..]].concat())?;
    Ok(Some(python))
}
