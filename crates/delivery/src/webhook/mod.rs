//! Webhooks: one POST per event (or per batch, as a JSON array), answered by 2xx.
//!
//! ```text
//!   POST /hook
//!   content-type: application/json
//!   idempotency-key: 8265…            the event's id, the same for every attempt
//!   webhook-id, webhook-timestamp, webhook-signature: v1,…     with a secret; the Standard Webhooks
//! ```
//!
//! | answer | means |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 413, 414, 415, 422 | this event will never be taken |
//! | 429, 503 | a pause, as long as `retry-after` says; no attempt is counted |
//! | anything else, a broken connection | failed: tried again |
//! | no connection | the target is down; no attempt is counted |

mod request;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::Clock;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::envelope::Format;
use crate::target::{Delivery, Fault, Target};
use crate::tls;

/// Idle connections kept towards one host.
const IDLE_CONNECTIONS: usize = 64;
/// How much of an answer is read.
const ANSWER_MAX: usize = 64 * 1024;
/// How long the rest of a good answer may take; the connection is dropped after that.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// The longest pause that a target may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Where and how to post.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    pub url: String,
    pub format: Format,
    /// Events are posted as arrays even when a batch has one.
    pub arrays: bool,
    /// Sent with every request, lower case.
    pub headers: Vec<(String, String)>,
    pub secret: Option<String>,
}

pub struct Webhook {
    uri: Uri,
    options: WebhookOptions,
    key: Option<sign::Key>,
    clock: Arc<dyn Clock>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Webhook {
    /// # Errors
    /// A sentence, if the address, a header or the secret cannot be used.
    pub fn new(options: WebhookOptions, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let uri: Uri = options.url.parse().map_err(|error| format!("\"{}\" is no address: {error}", options.url))?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(format!("\"{}\" names no host", options.url));
        }
        request::check_headers(&options.headers)?;
        let key = options.secret.as_deref().map(sign::Key::new).transpose()?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls::client_config()).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_CONNECTIONS).build(connector);
        Ok(Webhook { uri, options, key, clock, client })
    }
}

#[async_trait]
impl Target for Webhook {
    /// Opens no connection: an endpoint may be started after the sink.
    async fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let now_s = self.clock.now_ms() / 1000;
        let request = request::request(&self.uri, &self.options, self.key.as_ref(), delivery, now_s)?;
        let response = self.client.request(request).await.map_err(|error| fault_of(&error))?;
        let status = response.status();
        if status.is_success() {
            drain(response).await;
            return Ok(());
        }
        Err(refusal(response).await)
    }
}

fn fault_of(error: &hyper_util::client::legacy::Error) -> Fault {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    if error.is_connect() { Fault::unreachable(message) } else { Fault::failed(message) }
}

/// Reads what is left, so that the connection can be used again.
async fn drain(response: Response<Incoming>) {
    let mut body = http_body_util::Limited::new(response.into_body(), ANSWER_MAX);
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(ANSWER_TIME, read).await;
}

async fn refusal(response: Response<Incoming>) -> Fault {
    let status = response.status();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_MAX);
    let text = match tokio::time::timeout(ANSWER_TIME, body.collect()).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        _ => String::new(),
    };
    let message = if text.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {text}") };
    match status.as_u16() {
        400 | 413 | 414 | 415 | 422 => Fault::refused(message),
        429 | 503 => Fault { retry_after, ..Fault::unreachable(message) },
        _ => Fault::failed(message),
    }
}
