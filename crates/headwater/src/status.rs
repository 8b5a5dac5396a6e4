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
    now_ms: i64,
    uptime_ms: u64,
    collections: u64,
    events: u64,
    rate: f64,
    source: Option<Source>,
    streams: Vec<Stream>,
    views: Vec<View>,
    sinks: Vec<Sink>,
}

#[derive(Deserialize)]
struct Stream {
    db: String,
    name: String,
    on: String,
    paused: bool,
    events: u64,
    rate: f64,
    errors: u64,
    lag_events: u64,
    lag_ms: i64,
    last_event_ms: i64,
    retention_left_ms: Option<i64>,
    last_error: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    uri: String,
    state: String,
    events: u64,
    lag_ms: i64,
    window_ms: Option<i64>,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct View {
    db: String,
    name: String,
    rows: u64,
    events: u64,
    rate: f64,
    changes: u64,
    failures: u64,
    last_event_ms: i64,
    lag_events: u64,
    lag_ms: i64,
    heartbeat_ms: i64,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Sink {
    db: String,
    name: String,
    target: String,
    state: String,
    delivered: u64,
    rate: f64,
    failures: u64,
    waiting: u64,
    parked_keys: u64,
    last_event_ms: i64,
    lag_events: u64,
    lag_ms: i64,
    heartbeat_ms: i64,
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

/// How long ago, as of `now_ms`.
fn ago(ms: i64, now_ms: i64) -> String {
    if ms == 0 { "-".to_owned() } else { duration(now_ms.saturating_sub(ms).max(0)) }
}

fn duration(ms: i64) -> String {
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

fn lag(events: u64, ms: i64) -> Cell {
    number(if events == 0 && ms == 0 { "0".to_owned() } else { format!("{events} / {}", duration(ms)) })
}

fn shown(report: &Report) -> String {
    let now_ms = report.now_ms;
    let mut out = format!(
        "headwater {} up {}, {} collections, {} changes ({}/s)\n",
        report.version,
        duration(i64::try_from(report.uptime_ms).unwrap_or(i64::MAX)),
        report.collections,
        report.events,
        report.rate
    );
    if let Some(source) = &report.source {
        let window = source.window_ms.map_or("-".to_owned(), duration);
        let row = [text(&source.uri), text(&source.state), number(source.events), number(duration(source.lag_ms))];
        let row = row.into_iter().chain([number(window), error(source.problem.as_ref())]).collect();
        out += &table(&["SOURCE", "STATE", "EVENTS", "LAG", "HISTORY LEFT", "PROBLEM"], vec![row]);
    }
    if !report.streams.is_empty() {
        let row = |s: &Stream| {
            vec![
                text(format!("{}.{}", s.db, s.name)),
                text(&s.on),
                text(if s.paused { "paused" } else { "running" }),
                number(s.events),
                number(s.rate),
                number(s.errors),
                lag(s.lag_events, s.lag_ms),
                number(ago(s.last_event_ms, now_ms)),
                number(s.retention_left_ms.map_or("-".to_owned(), duration)),
                error(s.last_error.as_ref()),
            ]
        };
        let header =
            ["STREAM", "ON", "STATE", "EVENTS", "PER S", "ERRORS", "LAG", "LAST EVENT", "RETENTION LEFT", "LAST ERROR"];
        out += &table(&header, report.streams.iter().map(row).collect());
    }
    if !report.views.is_empty() {
        let row = |v: &View| {
            vec![
                text(format!("{}.{}", v.db, v.name)),
                number(v.rows),
                number(v.events),
                number(v.rate),
                number(v.changes),
                number(v.failures),
                lag(v.lag_events, v.lag_ms),
                number(ago(v.last_event_ms, now_ms)),
                number(ago(v.heartbeat_ms, now_ms)),
                error(v.error.as_ref()),
            ]
        };
        let header =
            ["VIEW", "ROWS", "EVENTS", "PER S", "CHANGES", "FAILURES", "LAG", "LAST EVENT", "HEARTBEAT", "ERROR"];
        out += &table(&header, report.views.iter().map(row).collect());
    }
    if !report.sinks.is_empty() {
        let row = |s: &Sink| {
            vec![
                text(format!("{}.{}", s.db, s.name)),
                text(&s.target),
                text(&s.state),
                number(s.delivered),
                number(s.rate),
                number(s.failures),
                number(s.waiting),
                number(s.parked_keys),
                lag(s.lag_events, s.lag_ms),
                number(ago(s.last_event_ms, now_ms)),
                number(ago(s.heartbeat_ms, now_ms)),
                error(s.error.as_ref()),
            ]
        };
        let header = [
            "SINK",
            "INTO",
            "STATE",
            "DELIVERED",
            "PER S",
            "FAILURES",
            "WAITING",
            "PARKED",
            "LAG",
            "LAST EVENT",
            "HEARTBEAT",
            "LAST ERROR",
        ];
        out += &table(&header, report.sinks.iter().map(row).collect());
    }
    out
}
