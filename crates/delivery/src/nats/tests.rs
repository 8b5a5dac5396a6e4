//! Addresses and subjects that cannot be used.

use super::{Nats, NatsOptions};
use crate::envelope::Format;
use crate::event::Kind;
use crate::fixture::{delivery, event};

fn options(servers: &str, subject: &str) -> NatsOptions {
    NatsOptions {
        servers: servers.to_owned(),
        user: None,
        password: None,
        subject: subject.to_owned(),
        stream: None,
        create: false,
        format: Format::Json,
        sink: "life".to_owned(),
    }
}

#[test]
fn a_subject_is_one_to_publish_to() {
    let check = |subject: &str| Nats::new(options("nats://h:4222", subject)).is_ok();
    assert!(check("orders.changes"));
    assert!(!check("orders.*"));
    assert!(!check("orders.>"));
    assert!(!check("orders..changes"));
    assert!(!check("orders changes"));
    assert!(Nats::new(options("nats://h:4222,nats://:x", "s")).is_err());
    assert!(Nats::new(NatsOptions { create: true, ..options("nats://h:4222", "s") }).is_err());
}

#[test]
fn no_key_comes_twice_in_a_wave() {
    let row = |time, id| event(time, id, Kind::Upsert, document::Doc::new());
    let delivery = delivery(vec![row(1, 1), row(2, 1), row(3, 2), row(4, 1)], 5);
    let ids = |wave: &Vec<&crate::Event>| wave.iter().map(|event| event.id.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(delivery.waves().iter().map(ids).collect::<Vec<_>>(), ["e1 e3", "e2", "e4"]);
}
