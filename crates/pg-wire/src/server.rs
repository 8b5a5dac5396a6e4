//! Connections: accepting, cancelling, stopping.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use engine::Headwater;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::session;

/// Most connections at once; one more is told so (53300).
pub const MAX_CONNECTIONS: usize = 2000;

/// Running sessions by their process number, for cancel requests.
#[derive(Debug, Default)]
pub struct Registry {
    sessions: Mutex<FxHashMap<i32, (i32, Arc<Notify>)>>,
    next: AtomicI32,
    open: AtomicUsize,
}

impl Registry {
    /// Registers a session; returns its process number, its secret, and what a cancel wakes.
    pub fn enter(&self) -> (i32, i32, Arc<Notify>) {
        let process = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let secret = i32::from_le_bytes(base::random::os_bytes());
        let cancel = Arc::new(Notify::new());
        self.sessions.lock().insert(process, (secret, cancel.clone()));
        (process, secret, cancel)
    }

    pub fn leave(&self, process: i32) {
        self.sessions.lock().remove(&process);
    }

    /// Wakes the session whose secret matches; silent otherwise, as PostgreSQL is.
    pub fn cancel(&self, process: i32, secret: i32) {
        if let Some((held, cancel)) = self.sessions.lock().get(&process)
            && *held == secret
        {
            cancel.notify_waiters();
        }
    }
}

/// Serves PostgreSQL clients until `shutdown` resolves; running statements then end with 57P01.
pub async fn serve(
    listener: TcpListener,
    engine: Headwater,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let registry = Arc::new(Registry::default());
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                let _ = socket.set_nodelay(true);
                let (engine, registry, stopping) = (engine.clone(), registry.clone(), stopping.clone());
                connections.spawn(async move {
                    let full = registry.open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS;
                    let result = session::run(socket, engine, &registry, stopping, full).await;
                    registry.open.fetch_sub(1, Ordering::Relaxed);
                    if let Err(error) = result {
                        tracing::debug!(%error, "a PostgreSQL connection ended");
                    }
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), drained).await;
    Ok(())
}
