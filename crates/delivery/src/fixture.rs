//! Events for the tests of targets.

use std::sync::Arc;

use document::Doc;

use crate::event::{Event, Kind, Position};
use crate::target::{Delivery, Marks};

/// The `time`-th event: `body` under the key `{_id: id}`.
pub fn event(time: u64, id: i32, kind: Kind, body: Doc) -> Event {
    let row = body.to_buf();
    Event {
        position: Position::at(time),
        id: format!("e{time}").into(),
        lane: id.to_string().into(),
        kind,
        operation: if kind == Kind::Delete { "delete" } else { "insert" }.into(),
        source: "shop.s".into(),
        namespace: "shop.orders".into(),
        time_ms: 1_700_000_000_000,
        key: Doc::new().with("_id", id).to_buf(),
        body: row.clone(),
        before: None,
        row,
        priority: 0,
    }
}

/// A delivery after which everything before `low` is finished.
pub fn delivery(events: Vec<Event>, low: u64) -> Delivery {
    let marks = Marks { low: Position::at(low), finished: Vec::new() };
    Delivery { events: events.into_iter().map(Arc::new).collect(), attempt: 1, marks, ..Delivery::default() }
}
