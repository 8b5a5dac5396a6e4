//! `headwater serve`: one process, one directory, three sockets.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;

use engine::Headwater;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, ServeArgs};

/// Serves until SIGTERM or SIGINT. The error is one sentence for the user.
pub fn run(args: ServeArgs) -> Result<(), String> {
    let config = Config::settle(args)?;
    start_log(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start the runtime: {e}"))?;
    runtime.block_on(async {
        let mut stop = StopSignal::listen()?;
        let server = Server::start(&config).await?;
        server.announce();
        stop.wait().await;
        tracing::info!("stopping: finishing what is in flight");
        server.stop().await;
        Ok(())
    })
}

fn start_log(filter: &str) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|e| format!("--log: {e}"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

/// A running server; the demo uses it too.
pub struct Server {
    pub engine: Headwater,
    pub mongo: SocketAddr,
    pub pg: SocketAddr,
    pub http: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Binds the sockets first (a busy port must not leave a touched directory), opens the data,
    /// then accepts.
    pub async fn start(config: &Config) -> Result<Self, String> {
        let mongo = bind("mongo-listen", config.mongo).await?;
        let pg = bind("pg-listen", config.pg).await?;
        let http = bind("http-listen", config.http).await?;
        let address =
            |listener: &TcpListener| listener.local_addr().map_err(|e| format!("cannot read a socket's address: {e}"));
        let (mongo_address, pg_address, http_address) = (address(&mongo)?, address(&pg)?, address(&http)?);
        let options = engine::Options {
            sync: if config.sync { engine::SyncMode::Durable } else { engine::SyncMode::Buffered },
            enable_test_commands: config.enable_test_commands,
            source: config.source.clone(),
            users: config.users.clone(),
            ..engine::Options::new(&config.data_dir)
        };
        let engine = Headwater::open(options).map_err(|e| format!("cannot open {}: {e}", config.data_dir.display()))?;
        let (stop, stopped) = watch::channel(false);
        let until = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let origins = dashboard::Origins::new(config.http_allow_origin.iter().cloned());
        let tasks = vec![
            spawn(mongo_wire::serve(mongo, engine.clone(), config.tls.clone(), until(stopped.clone()))),
            spawn(pg_wire::serve(pg, engine.clone(), until(stopped.clone()))),
            spawn(dashboard::serve(http, engine.clone(), origins, until(stopped))),
        ];
        Ok(Server { engine, mongo: mongo_address, pg: pg_address, http: http_address, stop, tasks })
    }

    /// The one line that says everything accepts.
    pub fn announce(&self) {
        let mut out = std::io::stdout().lock();
        // A closed pipe is no reason to stop serving.
        let _ = writeln!(
            out,
            "ready mongodb://{}/?directConnection=true postgres://{}/test http://{}/",
            self.mongo, self.pg, self.http
        );
        let _ = out.flush();
    }

    /// Stops accepting, lets connections finish their command, writes the last checkpoint, closes.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a listener ended with an error"),
                Err(error) => tracing::error!(%error, "a listener panicked"),
            }
        }
        let engine = self.engine;
        let closed = tokio::task::spawn_blocking(move || engine.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "closing the database panicked");
        }
    }
}

fn spawn(
    task: impl Future<Output = std::io::Result<()>> + Send + 'static,
) -> tokio::task::JoinHandle<std::io::Result<()>> {
    tokio::spawn(task)
}

async fn bind(option: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} is in use by another process; choose another address with --{option} (port 0 picks a free one)")
        }
        _ => format!("cannot listen on {address} (--{option}): {error}"),
    })
}

/// SIGTERM and Ctrl-C, listened for from its making on: a signal that comes before `wait` is not lost.
pub struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    pub fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        Ok(StopSignal { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Resolves at the first of either.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
