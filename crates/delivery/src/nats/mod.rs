//! NATS JetStream: one message per event, each acknowledged by its stream.
//!
//! ```text
//!   nats://user:password@host/orders.changes?stream=ORDERS&create=true
//!
//!   PUB orders.changes
//!     Nats-Msg-Id: {event's id}@{sink's life}     what the server knows a repetition by
//!     headwater-event-id: {event's id}
//! ```
//!
//! The server drops a message whose `Nats-Msg-Id` it has seen within the stream's duplicate window.
//! The identifier names the sink too: two sinks into one stream, or a REPLAY, are not repetitions.
//!
//! # Invariants
//! - A message goes out when those of its key before it are acknowledged, so that a refused one is
//!   never overtaken.

#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamByNameErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, HeaderMap};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::envelope::{self, EVENT_ID, Format};
use crate::event::Event;
use crate::target::{Delivery, Fault, Target};
use crate::tls;

/// How long connecting, and asking for a stream, may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Where and how to publish.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// `nats://host:port` or `tls://host:port`, several separated by commas.
    pub servers: String,
    pub user: Option<String>,
    /// With a user their password; without one, a token.
    pub password: Option<String>,
    pub subject: String,
    /// The stream that takes the subject; without one, whichever does.
    pub stream: Option<String>,
    /// Creates the stream if there is none.
    pub create: bool,
    pub format: Format,
    /// Names the sink's life in `Nats-Msg-Id`.
    pub sink: String,
}

pub struct Nats {
    servers: Vec<async_nats::ServerAddr>,
    options: NatsOptions,
    session: Mutex<Option<Session>>,
}

#[derive(Clone)]
struct Session {
    client: Client,
    jetstream: jetstream::Context,
}

impl Nats {
    /// # Errors
    /// A sentence, if the address or the subject cannot be used.
    pub fn new(options: NatsOptions) -> Result<Self, String> {
        let servers: Result<Vec<_>, _> = options.servers.split(',').map(str::parse).collect();
        let servers = servers.map_err(|error| format!("the target: {error}"))?;
        let subject = &options.subject;
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>');
        if subject.split('.').any(str::is_empty) || subject.contains(bad) {
            return Err(format!("\"{subject}\" is no subject to publish to"));
        }
        if options.create && options.stream.is_none() {
            return Err("create=true needs the name of a stream: stream=NAME".to_owned());
        }
        Ok(Nats { servers, options, session: Mutex::new(None) })
    }

    async fn connect(&self) -> Result<Session, Fault> {
        let mut connect = ConnectOptions::new()
            .name("headwater")
            .connection_timeout(CONNECT_TIME)
            .request_timeout(Some(CONNECT_TIME))
            // A connection that breaks is made anew with the next delivery.
            .max_reconnects(1)
            .tls_client_config(tls::client_config());
        connect = match (self.options.user.clone(), self.options.password.clone()) {
            (Some(user), password) => connect.user_and_password(user, password.unwrap_or_default()),
            (None, Some(token)) => connect.token(token),
            (None, None) => connect,
        };
        let client = connect.connect(self.servers.clone()).await.map_err(|error| {
            let reason = match error.kind() {
                ConnectErrorKind::AuthorizationViolation => "wrong user or password, or no permission",
                ConnectErrorKind::TimedOut => "no answer in time",
                _ => "cannot connect",
            };
            Fault::unreachable(format!("{reason}: {}", with_causes(&error)))
        })?;
        let jetstream = jetstream::new(client.clone());
        self.find_stream(&jetstream).await?;
        Ok(Session { client, jetstream })
    }

    /// Looks which stream takes the subject; makes it, if asked to.
    async fn find_stream(&self, jetstream: &jetstream::Context) -> Result<(), Fault> {
        let NatsOptions { subject, stream, create, .. } = &self.options;
        let found = match jetstream.stream_by_subject(subject).await {
            Ok(found) => Some(found),
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => None,
            Err(error) => return Err(Fault::unreachable(format!("asking for the stream: {}", with_causes(&error)))),
        };
        match (found, stream) {
            (Some(found), Some(wanted)) if found != *wanted => Err(Fault::unreachable(format!(
                "subject \"{subject}\" belongs to stream \"{found}\", not \"{wanted}\""
            ))),
            (Some(_), _) => Ok(()),
            (None, Some(wanted)) if *create => {
                let config =
                    stream::Config { name: wanted.clone(), subjects: vec![subject.clone()], ..Default::default() };
                let made = jetstream.create_stream(config).await;
                made.map(|_| ())
                    .map_err(|error| Fault::unreachable(format!("making stream \"{wanted}\": {}", with_causes(&error))))
            }
            (None, _) => Err(Fault::unreachable(format!("no stream takes the subject \"{subject}\""))),
        }
    }

    async fn session(&self) -> Result<Session, Fault> {
        let mut held = self.session.lock().await;
        match &*held {
            Some(session) => Ok(session.clone()),
            None => {
                let session = self.connect().await?;
                *held = Some(session.clone());
                Ok(session)
            }
        }
    }

    async fn publish(&self, session: &Session, events: &[&Event]) -> Result<(), Fault> {
        let mut acks = Vec::with_capacity(events.len());
        for event in events {
            let payload = Bytes::from(envelope::render(event, self.options.format));
            if payload.len() > session.client.max_payload() {
                let (size, most) = (payload.len(), session.client.max_payload());
                return Err(Fault::refused(format!("the message has {size} bytes, the server takes {most}")));
            }
            let sent =
                session.jetstream.publish_with_headers(self.options.subject.clone(), self.headers(event), payload);
            acks.push(sent.await.map_err(|error| fault_of(&error))?);
        }
        for ack in acks {
            ack.await.map_err(|error| fault_of(&error))?;
        }
        Ok(())
    }

    fn headers(&self, event: &Event) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{}@{}", event.id, self.options.sink));
        headers.insert(EVENT_ID, &*event.id);
        headers.insert("content-type", self.options.format.media_type());
        if self.options.format == Format::CloudEventsBinary {
            for (name, value) in envelope::cloud_attributes(event) {
                headers.insert(format!("ce-{name}"), value);
            }
        }
        headers
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // The client repeats a cause in the message above it.
        if !message.contains(&cause_text) {
            message = format!("{message}: {cause_text}");
        }
        source = cause.source();
    }
    message
}

fn fault_of(error: &PublishError) -> Fault {
    let message = error.source().map_or_else(|| error.to_string(), |_| with_causes(error));
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Fault::refused(message),
        PublishErrorKind::StreamNotFound | PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            Fault::unreachable(message)
        }
        _ => Fault::failed(message),
    }
}

#[async_trait]
impl Target for Nats {
    async fn check(&self) -> Result<(), Fault> {
        self.session().await.map(|_| ())
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let session = self.session().await?;
        for wave in delivery.waves() {
            if let Err(fault) = self.publish(&session, &wave).await {
                if fault.kind == crate::FaultKind::Unreachable {
                    *self.session.lock().await = None;
                }
                return Err(fault);
            }
        }
        Ok(())
    }
}
