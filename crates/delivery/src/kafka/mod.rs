//! Kafka: one record per event, acknowledged by all in-sync replicas.
//!
//! ```text
//!   kafka://host:9092,host:9092/topic?tombstones=true
//!
//!   key    {"_id": 7}                  so that events of one key are in one partition, in order
//!   value  the event in its format; after a Debezium delete, null (a tombstone) as Debezium does
//!   headers  headwater-event-id: 8265…
//! ```
//!
//! The producer is idempotent (what librdkafka sends again has one effect) and gapless: after a record
//! that failed, the later ones fail too, instead of overtaking it. A delivery is tried again as a
//! whole, with the same ids.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};

use crate::envelope::{self, EVENT_ID, Format};
use crate::event::{Event, Kind};
use crate::target::{Delivery, Fault, Target};

/// How long asking for the topic may take.
const METADATA_TIME: Duration = Duration::from_secs(10);
/// Times that a topic which is just being made is asked for, and the pause between.
const METADATA_TRIES: usize = 5;
const METADATA_PAUSE: Duration = Duration::from_millis(200);

/// Where and how to produce.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port`, several separated by commas.
    pub servers: String,
    pub topic: String,
    /// SASL PLAIN.
    pub user: Option<(String, String)>,
    pub format: Format,
    /// A null value follows a delete.
    pub tombstones: bool,
    /// Of one delivery; a record is given up somewhat earlier.
    pub timeout: Duration,
}

pub struct Kafka {
    config: ClientConfig,
    options: KafkaOptions,
    producer: Mutex<Option<Arc<Connected>>>,
}

struct Connected {
    producer: FutureProducer<Listener>,
    listener: Listener,
}

/// Keeps what the client last complained about: a record that was given up only says that it was.
#[derive(Clone, Default)]
struct Listener {
    complaint: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "kafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        // "All brokers are down" follows the reason why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.complaint.lock() = Some(reason.to_owned());
        }
    }
}

impl Kafka {
    /// # Errors
    /// A sentence, if an option cannot be used.
    pub fn new(options: KafkaOptions) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let topic = &options.topic;
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) || matches!(topic.as_str(), "." | "..") {
            return Err(format!("\"{topic}\" is no name of a topic"));
        }
        if options.servers.split(',').any(str::is_empty) {
            return Err("the target names no host".to_owned());
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &options.servers)
            .set("client.id", "headwater")
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            // As the Java client, so that topics of both can be joined.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", (options.timeout.as_millis() * 9 / 10).clamp(1, 2_000_000).to_string())
            .set("queue.buffering.max.kbytes", "65536");
        if let Some((user, password)) = &options.user {
            config
                .set("security.protocol", "sasl_plaintext")
                .set("sasl.mechanism", "PLAIN")
                .set("sasl.username", user)
                .set("sasl.password", password);
        }
        Ok(Kafka { config, options, producer: Mutex::new(None) })
    }

    fn producer(&self) -> Result<Arc<Connected>, Fault> {
        let mut held = self.producer.lock();
        match &*held {
            Some(producer) => Ok(Arc::clone(producer)),
            None => {
                let listener = Listener::default();
                let made = self.config.create_with_context(listener.clone());
                let producer = made.map_err(|error| Fault::unreachable(with_cause(&error)))?;
                let connected = Arc::new(Connected { producer, listener });
                *held = Some(Arc::clone(&connected));
                Ok(connected)
            }
        }
    }

    /// After a failure nothing more goes through a gapless producer; the next delivery makes one anew.
    fn forget(&self, failed: Arc<Connected>) {
        let mut held = self.producer.lock();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, &failed)) {
            *held = None;
        }
        drop(held);
        // Waits for its threads.
        tokio::task::spawn_blocking(move || drop(failed));
    }

    fn send(&self, producer: &Connected, event: &Event, acks: &mut Vec<DeliveryFuture>) -> Result<(), Fault> {
        let payload = envelope::render(event, self.options.format);
        let key = (!event.key.is_empty()).then(|| envelope::key_text(event));
        self.send_record(producer, event, key.as_deref(), Some(&payload), acks)?;
        match &key {
            Some(key) if self.options.tombstones && event.kind == Kind::Delete => {
                self.send_record(producer, event, Some(key), None, acks)
            }
            _ => Ok(()),
        }
    }

    fn send_record(
        &self,
        producer: &Connected,
        event: &Event,
        key: Option<&str>,
        payload: Option<&str>,
        acks: &mut Vec<DeliveryFuture>,
    ) -> Result<(), Fault> {
        let mut record = FutureRecord::<str, str>::to(&self.options.topic).headers(self.headers(event));
        record.key = key;
        record.payload = payload;
        record.timestamp = (event.time_ms > 0).then_some(event.time_ms);
        acks.push(producer.producer.send_result(record).map_err(|(error, _)| fault_of(&error, producer))?);
        Ok(())
    }

    fn headers(&self, event: &Event) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new().insert(Header { key: EVENT_ID, value: Some(&*event.id) });
        if self.options.format == Format::CloudEventsBinary {
            for (name, value) in envelope::cloud_attributes(event) {
                headers = headers.insert(Header { key: &format!("ce_{name}"), value: Some(&value) });
            }
        }
        headers.insert(Header { key: "content-type", value: Some(self.options.format.media_type()) })
    }

    async fn produce(&self, producer: &Connected, delivery: &Delivery) -> Result<(), Fault> {
        let mut acks = Vec::with_capacity(delivery.events.len());
        let mut sent = Ok(());
        for event in &delivery.events {
            sent = self.send(producer, event, &mut acks);
            if sent.is_err() {
                break;
            }
        }
        for ack in acks {
            match ack.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(fault_of(&error, producer)),
                Err(_) => return Err(Fault::unreachable("the producer ended")),
            }
        }
        sent
    }
}

fn fault_of(error: &KafkaError, producer: &Connected) -> Fault {
    use RDKafkaErrorCode as Code;
    let Some(code) = error.rdkafka_error_code() else { return Fault::failed(with_cause(error)) };
    let complaint = || {
        let complaint = producer.listener.complaint.lock().clone();
        complaint.map_or_else(|| code.to_string(), |complaint| format!("{code}: {complaint}"))
    };
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidMessage | Code::InvalidRecord => {
            Fault::refused(code)
        }
        Code::MessageTimedOut
        | Code::QueueFull
        | Code::GaplessGuarantee
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Authentication
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition => Fault::unreachable(complaint()),
        _ => Fault::failed(complaint()),
    }
}

fn with_cause(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => format!("{name}: {reason}"),
        other => other.rdkafka_error_code().map_or_else(|| other.to_string(), |code| code.to_string()),
    }
}

/// Asks the brokers for the topic. Blocks.
fn find_topic(producer: &Connected, topic: &str) -> Result<(), Fault> {
    let mut trouble = String::new();
    for attempt in 0..METADATA_TRIES {
        if attempt > 0 {
            std::thread::sleep(METADATA_PAUSE);
        }
        let metadata = producer.producer.client().fetch_metadata(Some(topic), METADATA_TIME);
        let metadata = metadata.map_err(|error| {
            let complaint = producer.listener.complaint.lock().clone();
            Fault::unreachable(complaint.unwrap_or_else(|| with_cause(&error)))
        })?;
        match metadata.topics().first().map(|topic| (topic.error(), topic.partitions().len())) {
            Some((None, partitions)) if partitions > 0 => return Ok(()),
            Some((Some(error), _)) => trouble = RDKafkaErrorCode::from(error).to_string(),
            _ => "it has no partitions".clone_into(&mut trouble),
        }
    }
    Err(Fault::unreachable(format!("topic \"{topic}\": {trouble}")))
}

#[async_trait]
impl Target for Kafka {
    async fn check(&self) -> Result<(), Fault> {
        let (producer, topic) = (self.producer()?, self.options.topic.clone());
        let asked = Arc::clone(&producer);
        let found = tokio::task::spawn_blocking(move || find_topic(&asked, &topic)).await;
        let found = found.unwrap_or_else(|error| Err(Fault::failed(error)));
        if found.is_err() {
            self.forget(producer);
        }
        found
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let producer = self.producer()?;
        let produced = self.produce(&producer, delivery).await;
        if produced.is_err() {
            self.forget(producer);
        }
        produced
    }
}
