//! Live feeds over server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use engine::{SqlError, ViewProgress};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

use crate::App;
use crate::report::report;

/// How often the page hears the status.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Changes in one event; a burst beyond it shows its youngest.
const MOST_CHANGES: usize = 50;
/// Least time between two events of one feed: what changes in between travels together.
const PACE: Duration = Duration::from_millis(50);
/// Longest text of a change's detail, in characters.
const DETAIL_CHARACTERS: usize = 240;

/// Runs `task` with a sender whose receiver is the response; the task ends when the browser leaves
/// or the server stops.
fn spawn<F: Future<Output = Option<()>> + Send + 'static>(
    mut stopping: watch::Receiver<bool>,
    task: impl FnOnce(mpsc::Sender<Result<Event, Infallible>>) -> F,
) -> Response {
    let (sender, receiver) = mpsc::channel(4);
    let closed = sender.clone();
    let task = task(sender);
    tokio::spawn(async move {
        tokio::select! {
            _ = task => {}
            () = closed.closed() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    });
    Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::default()).into_response()
}

async fn send(to: &mpsc::Sender<Result<Event, Infallible>>, name: &str, body: &serde_json::Value) -> Option<()> {
    to.send(Ok(Event::default().event(name).data(body.to_string()))).await.ok()
}

/// Status every second, changes as they happen.
pub async fn feed(State(app): State<App>) -> Response {
    let engine = app.engine.clone();
    spawn(app.stopping, move |to| async move {
        let mut changes = engine.follow_changes();
        let mut clock = tokio::time::interval(STATUS_EVERY);
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut youngest: VecDeque<serde_json::Value> = VecDeque::new();
        loop {
            tokio::select! {
                _ = clock.tick() => send(&to, "status", &json!(report(&engine).await.ok()?)).await?,
                // Taken as fast as they come, so that what is shown is always the present.
                batch = changes.next() => {
                    let batch = batch.ok()?;
                    let from = batch.len().saturating_sub(MOST_CHANGES);
                    youngest.extend(batch[from..].iter().map(change));
                    youngest.drain(..youngest.len().saturating_sub(MOST_CHANGES));
                }
                _ = pace.tick(), if !youngest.is_empty() => {
                    send(&to, "changes", &json!(std::mem::take(&mut youngest))).await?;
                }
            }
        }
    })
}

fn change(change: &engine::ChangeSummary) -> serde_json::Value {
    let shorten = |text: &str| match text.char_indices().nth(DETAIL_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    };
    json!({
        "wall_ms": change.wall_ms,
        "operation": change.operation,
        "namespace": change.namespace,
        "key": change.key.as_deref().map(shorten),
        "detail": change.detail.as_deref().map(shorten),
    })
}

/// A view's rows, then its deltas. The event id is the token.
pub async fn view(State(app): State<App>, Path((db, name)): Path<(String, String)>) -> Response {
    let engine = app.engine.clone();
    spawn(app.stopping, move |to| async move {
        let mut subscription = match engine.follow_view(&db, &name).await {
            Ok(subscription) => subscription,
            Err(error) => return failed(&to, &error).await,
        };
        let mut kind = "snapshot";
        if let Some(first) = subscription.now() {
            let body = rows(&subscription.fields, &first.ok()?);
            send(&to, kind, &body).await?;
            kind = "delta";
        }
        while let Some(progress) = subscription.next().await {
            match progress {
                Ok(progress) => send(&to, kind, &rows(&subscription.fields, &progress)).await?,
                Err(error) => return failed(&to, &error).await,
            }
            kind = "delta";
            tokio::time::sleep(PACE).await;
        }
        Some(())
    })
}

async fn failed(to: &mpsc::Sender<Result<Event, Infallible>>, error: &SqlError) -> Option<()> {
    send(to, "failed", &json!({ "message": error.message })).await
}

fn rows(fields: &[engine::Field], progress: &ViewProgress) -> serde_json::Value {
    let rows: Vec<_> = progress.deltas.iter().map(|(row, count)| json!([count, values(fields, row)])).collect();
    json!({ "token": progress.token.to_string(), "rows": rows })
}

fn values(fields: &[engine::Field], row: &[engine::Datum]) -> Vec<serde_json::Value> {
    fields.iter().zip(row).map(|(field, value)| value_of(field, value)).collect()
}

/// Numbers as numbers, documents as documents, everything else as PostgreSQL prints it.
fn value_of(field: &engine::Field, value: &engine::Datum) -> serde_json::Value {
    if value.is_null() {
        return serde_json::Value::Null;
    }
    let text = engine::datum_text(value, &field.ty);
    if field.ty.is_numeric() || matches!(field.ty, engine::Type::Json | engine::Type::Bool) {
        let text = match text.as_str() {
            "t" if field.ty == engine::Type::Bool => "true",
            "f" if field.ty == engine::Type::Bool => "false",
            other => other,
        };
        return serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    }
    json!(text)
}
