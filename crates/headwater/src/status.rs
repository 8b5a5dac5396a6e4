//! `headwater status`: what a running server says of itself, as tables in the terminal.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Deserialize;

/// A server that takes longer than this is not well.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Where the server's dashboard listens.
    #[arg(long, env = "HEADWATER_HTTP_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8027")]
    http: String,
    /// The whole answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Report {
    version: String,
    uptime_s: u64,
    collections: u64,
    events: u64,
    streams: Vec<Stream>,
    views: Vec<View>,
    sinks: Vec<Sink>,
}

#[derive(Deserialize)]
struct Stream {
    db: String,
    name: String,
    on: String,
    events: u64,
}

#[derive(Deserialize)]
struct View {
    db: String,
    name: String,
    state: String,
    build: Option<Build>,
    rows: u64,
    changes: u64,
    failures: u64,
    lag_ms: i64,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Build {
    percent: f64,
}

#[derive(Deserialize)]
struct Sink {
    db: String,
    name: String,
    target: String,
    state: String,
    delivered: u64,
    failures: u64,
    waiting: u64,
    parked_keys: u64,
    lag_ms: i64,
    error: Option<String>,
}

/// Asks and prints. The error is one sentence for the user.
pub fn run(args: &StatusArgs) -> Result<(), String> {
    let body = ask(&args.http).map_err(|error| format!("no answer from http://{}/: {error}", args.http))?;
    let text = if args.json {
        body
    } else {
        let report = serde_json::from_str(&body).map_err(|error| format!("the answer is not a status: {error}"))?;
        shown(&report)
    };
    // A closed pipe is no failure.
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
    Ok(())
}

fn ask(address: &str) -> std::io::Result<String> {
    let invalid = |message: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, message.to_owned());
    let found = address.to_socket_addrs()?.next().ok_or_else(|| invalid("the address has no host"))?;
    let mut stream = TcpStream::connect_timeout(&found, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /api/status HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| invalid("this is not HTTP"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(invalid(head.lines().next().unwrap_or_default())),
    }
}

fn table(header: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    format!("\n{table}\n")
}

fn text(value: impl std::fmt::Display) -> Cell {
    Cell::new(value.to_string())
}

fn number(value: impl std::fmt::Display) -> Cell {
    text(value).set_alignment(CellAlignment::Right)
}

fn error(error: Option<&String>) -> Cell {
    text(error.map_or("", |error| error.lines().next().unwrap_or_default()))
}

fn shown(report: &Report) -> String {
    let mut out = format!(
        "headwater {} up {} min, {} collections, {} changes\n",
        report.version,
        report.uptime_s / 60,
        report.collections,
        report.events
    );
    if !report.streams.is_empty() {
        let row = |s: &Stream| vec![text(format!("{}.{}", s.db, s.name)), text(&s.on), number(s.events)];
        out += &table(&["STREAM", "ON", "EVENTS"], report.streams.iter().map(row).collect());
    }
    if !report.views.is_empty() {
        let row = |v: &View| {
            let name = text(format!("{}.{}", v.db, v.name));
            let state = v.build.as_ref().map_or(v.state.clone(), |build| format!("{} {:.0} %", v.state, build.percent));
            let numbers = [v.rows, v.changes, v.failures].map(number);
            let lag = number(format!("{} ms", v.lag_ms));
            [name, text(state)].into_iter().chain(numbers).chain([lag, error(v.error.as_ref())]).collect()
        };
        let header = ["VIEW", "STATE", "ROWS", "CHANGES", "FAILURES", "LAG", "ERROR"];
        out += &table(&header, report.views.iter().map(row).collect());
    }
    if !report.sinks.is_empty() {
        let row = |s: &Sink| {
            let names = [text(format!("{}.{}", s.db, s.name)), text(&s.target), text(&s.state)];
            let numbers = [s.delivered, s.failures, s.waiting, s.parked_keys].map(number);
            let lag = number(format!("{} ms", s.lag_ms));
            names.into_iter().chain(numbers).chain([lag, error(s.error.as_ref())]).collect()
        };
        let header = ["SINK", "INTO", "STATE", "DELIVERED", "FAILURES", "WAITING", "PARKED", "LAG", "LAST ERROR"];
        out += &table(&header, report.sinks.iter().map(row).collect());
    }
    out
}
