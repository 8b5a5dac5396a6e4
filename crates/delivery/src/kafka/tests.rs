//! Against the broker that librdkafka brings for tests.

use std::time::Duration;

use document::Doc;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Kafka, KafkaOptions};
use crate::FaultKind;
use crate::envelope::{EVENT_ID, Format};
use crate::event::{Event, Kind};
use crate::fixture::{delivery, event};
use crate::target::{Fault, Target};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    cluster
}

fn options(servers: String, format: Format) -> KafkaOptions {
    let topic = "orders".to_owned();
    KafkaOptions { servers, topic, user: None, format, tombstones: true, timeout: Duration::from_secs(10) }
}

/// The first records of the topic: event id, key, value.
fn records(cluster: &Cluster, count: usize) -> Vec<(String, Option<String>, Option<String>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset("orders", 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut found = Vec::new();
    while found.len() < count {
        let record = consumer.poll(Duration::from_secs(30)).expect("a record in time").unwrap();
        let header = record.headers().unwrap().iter().find(|header| header.key == EVENT_ID).unwrap();
        found.push((text(header.value).unwrap(), text(record.key()), text(record.payload())));
    }
    found
}

/// An insert, its delete, and an event that means no row.
fn events() -> Vec<Event> {
    let row = Doc::new().with("_id", 7).with("n", 1);
    let mut dropped = event(3, 0, Kind::Other, Doc::new());
    dropped.key = Doc::new().to_buf();
    vec![event(1, 7, Kind::Upsert, row.clone()), event(2, 7, Kind::Delete, row), dropped]
}

#[tokio::test(flavor = "multi_thread")]
async fn debezium_records_come_in_order_and_a_tombstone_after_a_delete() {
    let cluster = cluster();
    let kafka = Kafka::new(options(cluster.bootstrap_servers(), Format::Debezium)).unwrap();
    kafka.check().await.unwrap();
    kafka.deliver(&delivery(events(), 4)).await.unwrap();
    let found = records(&cluster, 4);
    let key = Some("{\"_id\": 7}".to_owned());
    let heads: Vec<_> = found.iter().map(|(id, key, value)| (id.as_str(), key.clone(), value.is_some())).collect();
    assert_eq!(heads, [("e1", key.clone(), true), ("e2", key.clone(), true), ("e2", key, false), ("e3", None, true)]);
    let value = |at: usize| found[at].2.clone().unwrap();
    assert!(value(0).starts_with("{\"before\":null,\"after\":{\"_id\": 7, \"n\": 1},\"source\":{"), "{}", value(0));
    assert!(
        value(0).contains("\"connector\":\"headwater\",\"name\":\"shop.s\",\"ts_ms\":1700000000000"),
        "{}",
        value(0)
    );
    assert!(value(0).contains("},\"op\":\"c\",\"ts_ms\":1700000000000,"), "{}", value(0));
    assert!(value(1).contains("\"after\":null,") && value(1).contains("\"op\":\"d\""), "{}", value(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_refused_and_others_go_on() {
    let cluster = cluster();
    let kafka = Kafka::new(options(cluster.bootstrap_servers(), Format::Plain)).unwrap();
    let large = event(1, 1, Kind::Upsert, Doc::new().with("text", "x".repeat(2_000_000).as_str()));
    let refused = kafka.deliver(&delivery(vec![large], 2)).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Refused, "{refused}");
    kafka.deliver(&delivery(vec![event(2, 2, Kind::Upsert, Doc::new().with("n", 2))], 3)).await.unwrap();
    assert_eq!(records(&cluster, 1)[0].2.as_deref(), Some("{\"n\": 2}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_down_cost_no_attempts_and_are_found_again() {
    let cluster = cluster();
    let mut options = options(cluster.bootstrap_servers(), Format::Plain);
    options.timeout = Duration::from_secs(2);
    let kafka = Kafka::new(options).unwrap();
    kafka.check().await.unwrap();
    cluster.broker_down(1).unwrap();
    let one = delivery(vec![event(1, 1, Kind::Upsert, Doc::new().with("n", 1))], 2);
    let fault: Fault = kafka.deliver(&one).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    cluster.broker_up(1).unwrap();
    while kafka.deliver(&one).await.is_err() {}
    assert_eq!(records(&cluster, 1)[0].2.as_deref(), Some("{\"n\": 1}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_listens_is_named() {
    let kafka = Kafka::new(options("127.0.0.1:1".to_owned(), Format::Plain)).unwrap();
    let fault = kafka.check().await.unwrap_err();
    assert!(fault.kind == FaultKind::Unreachable && fault.message.contains("127.0.0.1:1"), "{fault}");
    assert!(Kafka::new(KafkaOptions { topic: "a/b".to_owned(), ..options("h".to_owned(), Format::Plain) }).is_err());
    assert!(Kafka::new(options("h:1,".to_owned(), Format::Plain)).is_err());
}
