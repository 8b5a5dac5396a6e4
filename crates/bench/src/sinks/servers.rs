//! Redis and PostgreSQL of the machine, each in a directory of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};

use crate::Result;

const PATIENCE: Duration = Duration::from_secs(30);

async fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

async fn wait_for(port: u16) -> Result<TcpStream> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(socket) => return Ok(socket),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

pub struct Redis {
    pub port: u16,
    process: Child,
    _directory: TempDir,
}

impl Redis {
    /// `None`, which is said, if it is not installed.
    pub async fn start() -> Result<Option<Self>> {
        let (port, directory) = (free_port().await?, tempfile::tempdir()?);
        let mut command = Command::new("redis-server");
        command.arg("--port").arg(port.to_string()).args(["--save", "", "--dir"]).arg(directory.path());
        let Ok(process) = command.stdout(Stdio::null()).spawn() else {
            eprintln!("left out: redis-server is not installed");
            return Ok(None);
        };
        let redis = Redis { port, process, _directory: directory };
        wait_for(port).await?;
        Ok(Some(redis))
    }

    /// How many PUBLISH commands it has run.
    pub async fn published(&self) -> Result<u64> {
        let mut socket = wait_for(self.port).await?;
        socket.write_all(b"INFO commandstats\r\nQUIT\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        let line = answer.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        Ok(line.and_then(|line| line.split(',').next()).unwrap_or("0").parse()?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Postgres {
    pub url: String,
    tools: PathBuf,
    directory: TempDir,
}

impl Postgres {
    /// `None`, which is said, if it is not installed.
    pub async fn start() -> Result<Option<Self>> {
        let tools = PathBuf::from("/usr/lib/postgresql/15/bin");
        if !tools.join("initdb").exists() {
            eprintln!("left out: postgresql-15 is not installed");
            return Ok(None);
        }
        let (port, directory) = (free_port().await?, tempfile::tempdir()?);
        let url = format!("postgres://bench@127.0.0.1:{port}/postgres");
        let postgres = Postgres { url, tools, directory };
        if is_root() {
            let path = postgres.directory.path();
            succeed(Command::new("chown").arg("postgres").arg(path))?;
        }
        let data = postgres.data();
        succeed(postgres.tool("initdb").arg("-D").arg(&data).args(["-U", "bench", "-A", "trust"]))?;
        // As it comes, but for the place of its socket.
        let options = format!("-p {port} -k {} -c listen_addresses=127.0.0.1", postgres.directory.path().display());
        let log = postgres.directory.path().join("log");
        let mut start = postgres.tool("pg_ctl");
        start.arg("-D").arg(&data).arg("-w").arg("-l").arg(log).arg("-o").arg(options).arg("start");
        succeed(&mut start)?;
        Ok(Some(postgres))
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn tool(&self, name: &str) -> Command {
        let path = self.tools.join(name);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path);
        command
    }

    pub async fn client(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        let _ = succeed(self.tool("pg_ctl").arg("-D").arg(data).args(["-m", "immediate", "stop"]));
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn succeed(command: &mut Command) -> Result {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
