//! Topics for browsers: views, streams and what sinks write into `topic:name`, as they change.
//!
//! ```text
//!   GET /topics/{name}   server-sent events; Last-Event-ID or ?since= goes on after an id
//!   GET /ws/{name}       the same messages over a WebSocket; ?since=
//! ```
//!
//! | message | of | |
//! |---|---|---|
//! | `snapshot` | a view | its rows; with `first` the client forgets what it had. The last part has an id |
//! | `delta` | a view | `[diff, row]`: how many times the row is added, or removed if negative |
//! | `start` | a stream, a sink | the id before everything that follows, for a client that came without one |
//! | `events` | a stream | events in order |
//! | `message` | a sink | one event in the sink's format |
//! | `gap` | a sink | what the client asked for is no longer kept |
//! | `failed` | all | why the connection ends; a client may come back with its last id |
//!
//! # Invariants
//! - A change is written as text once, however many clients there are.
//! - A client never delays the server or another client (`hub.rs`).
//!
//! Read next: `hub.rs`, `client.rs`, `frame.rs`, `ring.rs`.

mod client;
mod frame;
mod hub;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::SinkExt;
use tokio::time::MissedTickBehavior;

use crate::App;
use client::{Client, Trouble};
pub use hub::Hubs;

/// How often a quiet connection shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client may take to make room for more.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How soon a browser comes back.
const HELLO: &str = "retry: 1000\n\n";
/// What clients may send: nothing that needs more.
const MESSAGE_MAX: usize = 4096;

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Trouble::Missing(name) => (StatusCode::NOT_FOUND, format!("there is no topic, view or stream \"{name}\"")),
            Trouble::Refused(message) => (StatusCode::BAD_REQUEST, message),
            Trouble::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many clients".to_owned()),
        };
        (status, message + "\n").into_response()
    }
}

/// Which other sites' pages may follow topics.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[String]>);

impl Origins {
    /// As browsers send them (`https://example.com`); `*` for all.
    pub fn new(allowed: impl IntoIterator<Item = String>) -> Self {
        Origins(allowed.into_iter().collect())
    }

    /// The answer's `access-control-allow-origin`; the error is a refusal.
    fn check(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, StatusCode> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let shown = origin.to_str().map_err(|_| StatusCode::FORBIDDEN)?;
        if self.0.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(shown)) {
            return Ok(Some(origin.clone()));
        }
        let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = shown.split_once("://").map(|(_, host)| host);
        match (host, own) {
            (Some(host), Some(own)) if host.eq_ignore_ascii_case(own) => Ok(None),
            _ => Err(StatusCode::FORBIDDEN),
        }
    }
}

fn since(headers: &HeaderMap, query: &HashMap<String, String>) -> Option<String> {
    // A browser that comes back keeps the address, and says in the header how far it has come since.
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    header.map(str::to_owned).or_else(|| query.get("since").cloned())
}

/// `GET /topics/{name}`.
pub async fn events(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let origin = match app.origins.check(&headers) {
        Ok(origin) => origin,
        Err(status) => return (status, "pages of this origin may not follow topics\n").into_response(),
    };
    let mut response = match app.hubs.join(&name, since(&headers, &query).as_deref()).await {
        Ok(client) => {
            let body = futures::stream::unfold((client, true), next_bytes);
            let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
            (kind, Body::from_stream(body)).into_response()
        }
        Err(trouble) => trouble.into_response(),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

async fn next_bytes((mut client, hello): (Client, bool)) -> Option<(Result<Bytes, Infallible>, (Client, bool))> {
    if hello {
        return Some((Ok(Bytes::from_static(HELLO.as_bytes())), (client, false)));
    }
    let bytes = match tokio::time::timeout(HEARTBEAT, client.next()).await {
        Err(_) => Bytes::from_static(b":\n\n"),
        Ok(frames) => match &*frames? {
            [frame] => frame.sse.clone(),
            frames => frames.iter().flat_map(|frame| frame.sse.iter().copied()).collect(),
        },
    };
    Some((Ok(bytes), (client, false)))
}

/// `GET /ws/{name}`.
pub async fn socket(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(status) = app.origins.check(&headers) {
        return (status, "pages of this origin may not follow topics\n").into_response();
    }
    let client = match app.hubs.join(&name, since(&headers, &query).as_deref()).await {
        Ok(client) => client,
        Err(trouble) => return trouble.into_response(),
    };
    // Thousands of connections: what each holds stays small.
    let upgrade = upgrade.read_buffer_size(MESSAGE_MAX).write_buffer_size(0).max_message_size(MESSAGE_MAX);
    upgrade.on_upgrade(move |socket| serve(socket, client))
}

async fn serve(mut socket: WebSocket, mut client: Client) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    loop {
        let sent = tokio::select! {
            frames = client.next() => match frames {
                Some(frames) => {
                    let messages = frames.into_iter().map(|frame| Message::Text(frame.text.clone()));
                    send(&mut socket, messages).await
                }
                None => {
                    let reason = "see the last message; come back with the last id".into();
                    let close = Message::Close(Some(CloseFrame { code: close_code::AGAIN, reason }));
                    send(&mut socket, [close]).await;
                    false
                }
            },
            message = socket.recv() => matches!(message, Some(Ok(message)) if !matches!(message, Message::Close(_))),
            _ = heartbeat.tick() => send(&mut socket, [Message::Ping(Bytes::new())]).await,
        };
        if !sent {
            return;
        }
    }
}

/// False if the client is gone, or takes nothing.
async fn send(socket: &mut WebSocket, messages: impl IntoIterator<Item = Message> + Send) -> bool {
    let sending = async {
        for message in messages {
            socket.feed(message).await?;
        }
        socket.flush().await
    };
    tokio::time::timeout(WRITE_TIME, sending).await.is_ok_and(|sent| sent.is_ok())
}
