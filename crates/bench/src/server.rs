//! A server process over one directory, and the clients that reach it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::Database;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::Result;

/// The database that every scenario writes to.
pub const DATABASE: &str = "bench";

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the disk has it: the default.
    Sync,
    /// `--no-sync`: once the operating system has it.
    NoSync,
}

impl Durability {
    pub const BOTH: [Durability; 2] = [Durability::Sync, Durability::NoSync];

    /// As it stands in a figure's name.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::NoSync => "no-sync",
        }
    }
}

/// Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    mongo_uri: String,
    pg_port: u16,
    http_address: String,
    /// From the spawn to the ready line.
    pub started_in: Duration,
}

impl Server {
    pub fn start(directory: &Path, durability: Durability) -> Result<Self> {
        Server::start_with(directory, durability, &[])
    }

    /// With further options.
    pub fn start_with(directory: &Path, durability: Durability, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.arg("serve").arg("--data-dir").arg(directory).arg("--log=warn");
        command.args(["mongo", "pg", "http"].map(|name| format!("--{name}-listen=127.0.0.1:0")));
        if durability == Durability::NoSync {
            command.arg("--no-sync");
        }
        command.args(options);
        let begun = Instant::now();
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("the server has no output")?).read_line(&mut line)?;
        let started_in = begun.elapsed();
        let (mongo_uri, pg_port, http_address) =
            addresses(&line).ok_or_else(|| format!("no ready line, but {line:?}"))?;
        Ok(Server { process, mongo_uri, pg_port, http_address, started_in })
    }

    /// SIGKILL: what it acknowledged must still be there.
    pub fn kill(mut self) -> Result {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Resident memory in MB, as the kernel counts it.
    pub fn resident_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kb: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kb / 1024.0)
    }

    /// Processor time that the server has used, at the kernel's 10 ms.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // User and system time are the 12th and 13th field after the name, which ends with the last parenthesis.
        let fields: Vec<&str> = stat.rsplit(") ").next().ok_or("no stat")?.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    pub fn mongo_uri(&self) -> &str {
        &self.mongo_uri
    }

    pub fn http_address(&self) -> &str {
        &self.http_address
    }

    pub async fn mongo(&self) -> Result<Database> {
        Ok(mongodb::Client::with_uri_str(&self.mongo_uri).await?.database(DATABASE))
    }

    pub async fn sql(&self) -> Result<Client> {
        let address = format!("host=127.0.0.1 port={} user=bench dbname={DATABASE}", self.pg_port);
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `kill`; nobody to tell otherwise.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first column of a query's only row, as a number; NULL is 0.
pub async fn number(client: &Client, query: &str) -> Result<u64> {
    for message in client.simple_query(query).await? {
        if let SimpleQueryMessage::Row(row) = message {
            return Ok(row.get(0).unwrap_or("0").parse()?);
        }
    }
    Err(format!("no row from {query}").into())
}

/// `HEADWATER_BIN`, or the binary that was built next to this one.
fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("HEADWATER_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("headwater"),
    };
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing; run cargo build --release --package headwater", path.display()).into())
}

/// `ready mongodb://… postgres://host:port/db http://…`
fn addresses(ready: &str) -> Option<(String, u16, String)> {
    let mut words = ready.strip_prefix("ready ")?.split_whitespace();
    let mongo = words.next()?;
    let pg = words.next()?.strip_prefix("postgres://")?;
    let port = pg.split('/').next()?.rsplit(':').next()?;
    let http = words.next()?.strip_prefix("http://")?.trim_end_matches('/');
    Some((mongo.to_owned(), port.parse().ok()?, http.to_owned()))
}
