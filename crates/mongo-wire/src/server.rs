//! Accepting connections, and what all of them share.
//!
//! One task per connection; nothing a client does blocks another one. The background task ends
//! idle cursors, sessions and transactions.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use engine::{Expired, Headwater};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::connection;
use crate::cursors::CursorRegistry;
use crate::failpoint::FailPoints;
use crate::front::Connector;
use crate::hello::Topology;
use crate::socket::Tls;
use crate::version::Reported;

/// More connections than this are closed at once; each may hold a message and a reply.
pub const MAX_CONNECTIONS: usize = 20_000;
/// How often idle cursors, sessions and transactions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long connections may finish their command after shutdown was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What the connections of one server share.
pub struct Shared {
    pub engine: Headwater,
    pub cursors: CursorRegistry,
    pub fail_points: FailPoints,
    pub topology: Topology,
    pub version: Reported,
    pub counters: Counters,
    pub started_ms: i64,
    /// Connections are encrypted.
    pub tls: Option<Tls>,
    pub front_tls: Connector,
    /// True once the server is going down.
    pub shutdown: watch::Receiver<bool>,
}

/// What `serverStatus` counts.
#[derive(Debug, Default)]
pub struct Counters {
    pub connections_open: AtomicUsize,
    pub connections_total: AtomicU64,
    pub commands: AtomicU64,
    pub inserts: AtomicU64,
    pub queries: AtomicU64,
    pub updates: AtomicU64,
    pub deletes: AtomicU64,
    pub get_mores: AtomicU64,
}

/// Serves MongoDB's wire protocol on `listener` until `shutdown` resolves; then lets running
/// commands finish for a short while. The engine stays open.
pub async fn serve(
    listener: TcpListener,
    engine: Headwater,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let now_ms = engine.clock().now_ms();
    let shared = Arc::new(Shared {
        cursors: CursorRegistry::default(),
        fail_points: FailPoints::default(),
        topology: Topology {
            process_id: base::id::new_object_id(now_ms),
            election_id: base::id::new_object_id(now_ms),
        },
        version: Reported::default(),
        counters: Counters::default(),
        started_ms: now_ms,
        tls,
        front_tls: Connector::default(),
        shutdown: stopped,
        engine,
    });
    let sweeper = tokio::spawn(sweep(Arc::clone(&shared)));
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, remote)) => open(&shared, socket, remote),
                Err(error) => {
                    // Out of file descriptors, most likely: wait instead of spinning.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    stop.send_replace(true);
    sweeper.abort();
    let drained = async {
        while shared.counters.connections_open.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(SHUTDOWN_GRACE, drained).await.is_err() {
        tracing::warn!("connections were still busy at shutdown");
    }
    Ok(())
}

fn open(shared: &Arc<Shared>, socket: tokio::net::TcpStream, remote: std::net::SocketAddr) {
    if shared.counters.connections_open.load(Ordering::Acquire) >= MAX_CONNECTIONS {
        tracing::warn!(%remote, "too many connections");
        return;
    }
    let Ok(local) = socket.local_addr() else { return };
    // Replies are whole messages; waiting to fill a packet only delays them.
    let _ = socket.set_nodelay(true);
    let id = shared.counters.connections_total.fetch_add(1, Ordering::Relaxed) + 1;
    let open = OpenConnection::new(Arc::clone(shared));
    tokio::spawn(async move {
        let shared = Arc::clone(&open.0);
        connection::run(shared, socket, connection::Endpoints { id, local, remote }).await;
        drop(open);
    });
}

/// Counts a connection for as long as it lives, however its task ends.
struct OpenConnection(Arc<Shared>);

impl OpenConnection {
    fn new(shared: Arc<Shared>) -> Self {
        shared.counters.connections_open.fetch_add(1, Ordering::AcqRel);
        OpenConnection(shared)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counters.connections_open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn sweep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.cursors.expire(shared.engine.clock().now_ms());
        for expired in shared.engine.sessions().expire() {
            shared.cursors.kill_where(|owner| match expired {
                Expired::Session(lsid) => owner.lsid == Some(lsid),
                Expired::Transaction(lsid, number) => owner.lsid == Some(lsid) && owner.txn_number == Some(number),
            });
        }
    }
}
