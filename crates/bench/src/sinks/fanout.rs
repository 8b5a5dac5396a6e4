//! One view followed by thousands of WebSockets.
//!
//! Every client checks that it has seen the last update; every fiftieth reads all numbers and takes
//! the time of each, from before its write was sent until it is here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mongodb::bson::{Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Result;
use crate::figures::{report, report_latency};
use crate::server::{DATABASE, Durability, Server};

const CLIENTS: usize = 5000;
const SAMPLED: usize = 50;
const PER_SECOND: usize = 200;
const UPDATES: usize = 4000;
/// Updates before the clock counts.
const WARM_UP: usize = 400;
/// Rows of the view.
const ROWS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run() -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::Sync)?;
    let prices = server.mongo().await?.collection::<Document>("prices");
    prices.insert_many((0..ROWS as i64).map(|id| doc! { "_id": id, "n": -1_i64 })).await?;
    let sql = server.sql().await?;
    let view = "SELECT (document->>'_id')::int8 AS id, (document->>'n')::int8 AS n FROM prices";
    sql.batch_execute(&format!("CREATE MATERIALIZED VIEW v AS {view}")).await?;
    let before_mb = server.resident_mb()?;
    let sockets = connect_all(&server).await?;
    let kb = (server.resident_mb()? - before_mb) * 1024.0 / CLIENTS as f64;
    report(&format!("fan-out, {CLIENTS}: resident per client"), kb, "KB");
    let mut reading = JoinSet::new();
    for (at, socket) in sockets.into_iter().enumerate() {
        reading.spawn(read(socket, at % SAMPLED == 0));
    }
    let cpu_before = server.cpu_time()?;
    let sent = Arc::new(write(&prices).await?);
    let mut took = Vec::new();
    while let Some(seen) =
        tokio::time::timeout(PATIENCE, reading.join_next()).await.map_err(|_| "an update never came")?
    {
        let late = seen??.into_iter().filter(|(number, _)| *number >= WARM_UP);
        took.extend(late.map(|(number, at)| at.saturating_duration_since(sent[number])));
    }
    let cpu = server.cpu_time()? - cpu_before;
    report_latency(&format!("fan-out, {CLIENTS} clients, {PER_SECOND} updates/s: update to client"), &mut took);
    let sends = (UPDATES * CLIENTS) as f64;
    report("fan-out: server's processor time per update and client", cpu.as_secs_f64() * 1e6 / sends, "us");
    Ok(())
}

async fn connect_all(server: &Server) -> Result<Vec<TcpStream>> {
    let address = server.http_address().to_owned();
    let connecting = futures::stream::iter(0..CLIENTS).map(|_| connect(address.clone())).buffer_unordered(64);
    connecting.collect::<Vec<Result<TcpStream>>>().await.into_iter().collect()
}

async fn connect(address: String) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(&address).await?;
    let request = format!(
        "GET /ws/{DATABASE}.v HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is the first frame's.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&head).into_owned().into());
    }
    Ok(socket)
}

/// Each update at its time; when each was sent.
async fn write(prices: &mongodb::Collection<Document>) -> Result<Vec<Instant>> {
    let begun = Instant::now();
    let mut sent = Vec::with_capacity(UPDATES);
    for number in 0..UPDATES {
        let due = begun + Duration::from_secs_f64(number as f64 / PER_SECOND as f64);
        tokio::time::sleep_until(due.into()).await;
        sent.push(Instant::now());
        let id = (number % ROWS) as i64;
        prices.update_one(doc! { "_id": id }, doc! { "$set": { "n": number as i64 } }).await?;
    }
    Ok(sent)
}

/// Reads until the last update has come. The numbers that came, and when.
async fn read(mut socket: TcpStream, sampled: bool) -> Result<Vec<(usize, Instant)>> {
    let mut seen = Vec::new();
    let mut payload = Vec::new();
    loop {
        frame(&mut socket, &mut payload).await?;
        let at = Instant::now();
        let mut last = false;
        for number in numbers(&payload) {
            last |= number == UPDATES - 1;
            if sampled {
                seen.push((number, at));
            }
        }
        if last {
            return Ok(seen);
        }
    }
}

/// One whole frame of the server, whose frames have no mask and no parts.
async fn frame(socket: &mut TcpStream, payload: &mut Vec<u8>) -> Result {
    let mut head = [0; 2];
    socket.read_exact(&mut head).await?;
    let length = match head[1] {
        126 => usize::from(socket.read_u16().await?),
        127 => usize::try_from(socket.read_u64().await?)?,
        short => usize::from(short),
    };
    payload.resize(length, 0);
    socket.read_exact(payload).await?;
    Ok(())
}

/// The numbers in rows that were added: `[1,{"id":7,"n":42}]`.
fn numbers(payload: &[u8]) -> impl Iterator<Item = usize> {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    let added = text.split("[1,{").skip(1);
    added.filter_map(|row| row.split_once("\"n\":")?.1.split(['}', ',']).next()?.parse().ok())
}
