//! From a batch to a request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Uri};

use super::WebhookOptions;
use super::sign::{self, Key};
use crate::envelope::{self, Format};
use crate::target::{Delivery, Fault};

/// Set by us, so that a configuration cannot contradict the body.
const OWN_HEADERS: [&str; 7] = [
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// A sentence, if one of them cannot be sent.
pub fn check_headers(headers: &[(String, String)]) -> Result<(), String> {
    for (name, value) in headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(format!("\"{name}\" is no name of an HTTP header"));
        }
        if HeaderValue::from_str(value).is_err() {
            return Err(format!("the value of the HTTP header \"{name}\" has characters that cannot be sent"));
        }
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(format!("the HTTP header \"{name}\" is set by the sink itself"));
        }
    }
    Ok(())
}

/// The request for a batch.
pub fn request(
    uri: &Uri,
    options: &WebhookOptions,
    key: Option<&Key>,
    delivery: &Delivery,
    now_s: i64,
) -> Result<Request<Full<Bytes>>, Fault> {
    let events = delivery.events.iter().map(|event| &**event);
    let single = match &*delivery.events {
        [single] if !options.arrays => Some(single),
        _ => None,
    };
    let (id, media, body) = match single {
        Some(event) => (event.id.to_string(), options.format.media_type(), envelope::render(event, options.format)),
        None => (
            sign::batch_id(events.clone().map(|event| &*event.id)),
            options.format.batch_media_type(),
            envelope::render_array(events, options.format),
        ),
    };
    let mut request = Request::post(uri.clone())
        .header("content-type", media)
        .header("user-agent", concat!("headwater/", env!("CARGO_PKG_VERSION")))
        .header("idempotency-key", &id);
    if let (Some(event), Format::CloudEventsBinary) = (single, options.format) {
        for (name, value) in envelope::cloud_attributes(event) {
            request = request.header(format!("ce-{name}"), value);
        }
    }
    if let Some(key) = key {
        request = request
            .header("webhook-id", &id)
            .header("webhook-timestamp", now_s)
            .header("webhook-signature", key.sign(&id, now_s, body.as_bytes()));
    }
    if delivery.attempt > 1 {
        request = request.header("headwater-attempt", delivery.attempt);
    }
    for (name, value) in &options.headers {
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from(body))).map_err(|error| Fault::refused(format!("the request: {error}")))
}
