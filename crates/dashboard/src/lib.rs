//! The dashboard: routes, live feeds, the page, metrics.
//!
//! ```text
//!   GET /                       the page
//!   GET /healthz                200 while the server serves
//!   GET /metrics                Prometheus text
//!   GET /api/status             everything the page shows, once, as JSON
//!   GET /api/feed               server-sent events: status every second, changes as they happen
//!   GET /api/views/{db}/{name}  server-sent events: the view's rows, then its deltas
//!   GET /topics/{name}          server-sent events for pages of others: a view, a stream, a sink's topic
//!   GET /ws/{name}              the same over a WebSocket
//! ```
//!
//! # Not here
//! Anything that changes the database: the page only looks.
//!
//! # Invariants
//! - A browser that reads slowly gets fewer, larger events; it never delays the server.
//!
//! Read next: `feed.rs`, `topics/mod.rs`, `report.rs`, `metrics.rs`.

mod feed;
mod metrics;
mod report;
mod topics;

use std::future::Future;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::Headwater;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use topics::Origins;

/// What every route needs.
#[derive(Clone)]
struct App {
    engine: Headwater,
    /// Turns true when the server stops, so that endless feeds end.
    stopping: watch::Receiver<bool>,
    hubs: topics::Hubs,
    origins: Origins,
}

/// Serves HTTP until `shutdown` resolves.
pub async fn serve(
    listener: TcpListener,
    engine: Headwater,
    origins: Origins,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let app = Router::new()
        .route("/", get(|| page("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/style.css", get(|| page("text/css; charset=utf-8", include_str!("page/style.css"))))
        .route("/app.js", get(|| page("text/javascript; charset=utf-8", include_str!("page/app.js"))))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics::metrics))
        .route("/api/status", get(status))
        .route("/api/feed", get(feed::feed))
        .route("/api/views/{db}/{name}", get(feed::view))
        .route("/topics/{name}", get(topics::events))
        .route("/ws/{name}", get(topics::socket))
        .with_state(App { hubs: topics::Hubs::new(engine.clone(), stopping.clone()), engine, stopping, origins });
    let until = async move {
        shutdown.await;
        let _ = stop.send(true);
    };
    axum::serve(listener, app).with_graceful_shutdown(until).await
}

async fn page(kind: &'static str, body: &'static str) -> impl IntoResponse {
    let policy = "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'";
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, policy)], body)
}

async fn status(State(app): State<App>) -> Response {
    match report::report(&app.engine).await {
        Ok(report) => axum::Json(report).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
