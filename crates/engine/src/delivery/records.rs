//! What sinks remember, in the store: every step of a sink is one commit of these.
//!
//! ```text
//!   records "sinks":
//!     'd' 0 db 0 name          definition
//!     'g' 0 db 0 name          the sink is shared by a group of processes
//!     'n' 0 db 0 name          how many events were delivered
//!     'p' uid                  position: everything before it is finished
//!     'l' uid position         finished, at or above the position
//!     'q' uid lane position    a letter: {state, attempts, error, event}
//!     'o' uid position         outbox: an event of a view, not yet finished
//!     'm' uid number           a message of a topic
//!     's' uid lane             shadow: what a view's sink has been told of a key
//!     'x' 0 time id            a letter that was done with at that time, still shown
//! ```
//!
//! A lane is the digest of a key. `uid` is new with every CREATE and REPLAY, so that nothing of an earlier life is taken for this
//! one's. People read the same as collections of the database `config` (`journal.rs`).

use std::sync::Arc;

use base::Uuid;
use bytes::Bytes;
use delivery::runner::{Memory, StoredLetter};
use delivery::{Changes, Event, Letter, LetterState, Marks, Position};
use document::{Doc, DocBuf, Value};
use store::{Reader, Store, WriteTxn};

use super::definition::SinkDefinition;

pub(super) const SPACE: &str = "sinks";

/// The parts of a sink's memory.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Part {
    Position = b'p',
    Ledger = b'l',
    Letters = b'q',
    Outbox = b'o',
    Shadow = b's',
    Messages = b'm',
}

const PARTS: [Part; 6] = [Part::Position, Part::Ledger, Part::Letters, Part::Outbox, Part::Shadow, Part::Messages];

pub(super) fn definition_key(db: &str, name: &str) -> Vec<u8> {
    ["d", db, name].join("\0").into_bytes()
}

/// Marks a sink as its group's.
pub(super) fn shared_key(db: &str, name: &str) -> Vec<u8> {
    ["g", db, name].join("\0").into_bytes()
}

fn count_key(sink: &SinkDefinition) -> Vec<u8> {
    ["n", &sink.db, &sink.name].join("\0").into_bytes()
}

/// How many events a sink has delivered in all its lives.
pub(super) fn delivered(reader: &impl Reader, sink: &SinkDefinition) -> store::Result<u64> {
    let stored = reader.get_record(SPACE, &count_key(sink))?;
    Ok(stored.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))).unwrap_or(0))
}

pub(super) fn count_delivered(txn: &mut WriteTxn, sink: &SinkDefinition, more: u64) -> store::Result<()> {
    if more > 0 {
        let count = delivered(txn, sink)? + more;
        txn.put_record(SPACE, &count_key(sink), count.to_le_bytes().to_vec());
    }
    Ok(())
}

pub(super) fn forget_delivered(txn: &mut WriteTxn, sink: &SinkDefinition) {
    txn.delete_record(SPACE, &count_key(sink));
}

pub(super) fn key(part: Part, uid: Uuid, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(part as u8);
    key.extend_from_slice(&uid.0);
    rest.iter().for_each(|piece| key.extend_from_slice(piece));
    key
}

/// A key may be a whole row, longer than any key of the store.
pub(super) fn shadow_key(uid: Uuid, lane: &[u8]) -> Vec<u8> {
    key(Part::Shadow, uid, &[&delivery::digest(lane)])
}

fn letter_key(uid: Uuid, lane: &[u8], position: Position) -> Vec<u8> {
    key(Part::Letters, uid, &[&delivery::digest(lane), &position.to_bytes()])
}

fn encode_letter(letter: &Letter<Arc<Event>>) -> DocBuf {
    Doc::new()
        .with("dead", letter.state == LetterState::Dead)
        .with("event", Value::Document(letter.event.encode().to_doc()))
        .to_buf()
}

fn decode_letter(stored: Bytes) -> Option<StoredLetter> {
    let stored = DocBuf::validate(stored).ok()?;
    let state = if stored.get("dead")?.as_bool()? { LetterState::Dead } else { LetterState::Waiting };
    let event = stored.share(stored.get("event")?.as_document()?);
    Some(StoredLetter { state, event: Event::decode(&event)? })
}

pub(super) fn load(store: &Store, uid: Uuid) -> store::Result<Memory> {
    let snapshot = store.snapshot()?;
    let mut memory = Memory::default();
    if let Some(bytes) = snapshot.get_record(SPACE, &key(Part::Position, uid, &[]))? {
        memory.low = Position::from_bytes(&bytes).ok_or_else(damaged)?;
    }
    let prefix = key(Part::Ledger, uid, &[]);
    for record in snapshot.records(SPACE, &prefix) {
        let (found, _) = record?;
        memory.ledger.push(Position::from_bytes(&found[prefix.len()..]).ok_or_else(damaged)?);
    }
    for record in snapshot.records(SPACE, &key(Part::Letters, uid, &[])) {
        let letter = decode_letter(record?.1).ok_or_else(damaged)?;
        if memory.parked.last() != Some(&letter.event.lane) {
            memory.parked.push(letter.event.lane);
        }
    }
    Ok(memory)
}

fn damaged() -> store::Error {
    store::Error::Corrupt("a sink's memory is not what was written".to_owned())
}

/// The first letters of a lane, in order.
pub(super) fn letters(store: &Store, uid: Uuid, lane: &[u8], limit: usize) -> store::Result<Vec<StoredLetter>> {
    let snapshot = store.snapshot()?;
    let stored = snapshot.records(SPACE, &key(Part::Letters, uid, &[&delivery::digest(lane)]));
    stored.take(limit).map(|record| decode_letter(record?.1).ok_or_else(damaged)).collect()
}

/// The positions of all letters of a life.
pub(super) fn all_letters(txn: &WriteTxn, uid: Uuid) -> store::Result<Vec<Position>> {
    let prefix = key(Part::Letters, uid, &[]);
    let position = |record: store::Result<(Bytes, Bytes)>| {
        let (place, _) = record?;
        Position::from_bytes(place.get(prefix.len() + 32..).unwrap_or_default()).ok_or_else(damaged)
    };
    txn.records(SPACE, &prefix).map(position).collect()
}

/// Forgets a letter: it was delivered, or discarded.
pub(super) fn remove_letter(txn: &mut WriteTxn, uid: Uuid, lane: &[u8], position: Position) -> store::Result<bool> {
    let key = letter_key(uid, lane, position);
    let known = txn.get_record(SPACE, &key)?.is_some();
    txn.delete_record(SPACE, &key);
    Ok(known)
}

/// Writes a scheduler's changes.
pub(super) fn write_changes(txn: &mut WriteTxn, uid: Uuid, changes: &Changes<Arc<Event>>) -> store::Result<()> {
    let progress = &changes.progress;
    let marks = Marks { low: progress.low, finished: progress.ledger_added.clone() };
    write_marks(txn, uid, &marks)?;
    for position in &progress.ledger_removed {
        txn.delete_record(SPACE, &key(Part::Ledger, uid, &[&position.to_bytes()]));
    }
    for letter in &changes.letters {
        txn.put_record(SPACE, &letter_key(uid, &letter.key, letter.position), encode_letter(letter).bytes().clone());
    }
    for (lane, position) in &changes.settled {
        remove_letter(txn, uid, lane, *position)?;
    }
    Ok(())
}

/// Writes position and ledger; a position never goes back.
pub(super) fn write_marks(txn: &mut WriteTxn, uid: Uuid, marks: &Marks) -> store::Result<()> {
    let place = key(Part::Position, uid, &[]);
    let known = txn.get_record(SPACE, &place)?.and_then(|bytes| Position::from_bytes(&bytes));
    let low = known.unwrap_or_default().max(marks.low);
    if known != Some(low) {
        txn.put_record(SPACE, &place, low.to_bytes().to_vec());
    }
    for position in marks.finished.iter().filter(|position| **position >= low) {
        txn.put_record(SPACE, &key(Part::Ledger, uid, &[&position.to_bytes()]), Bytes::new());
    }
    Ok(())
}

/// Appends to the outbox.
pub(super) fn put_outbox(txn: &mut WriteTxn, uid: Uuid, event: &Event) {
    let place = key(Part::Outbox, uid, &[&event.position.to_bytes()]);
    txn.put_record(SPACE, &place, event.encode().bytes().clone());
}

/// Outbox events at or after a position, in order, at most `limit`.
pub(super) fn outbox(store: &Store, uid: Uuid, from: Position, limit: usize) -> store::Result<Vec<Event>> {
    let snapshot = store.snapshot()?;
    let prefix = key(Part::Outbox, uid, &[]);
    let mut found = Vec::new();
    let from = key(Part::Outbox, uid, &[&from.to_bytes()]);
    for record in snapshot.records_from(SPACE, &prefix, &from).take(limit) {
        let stored = DocBuf::validate(record?.1).map_err(|_| damaged())?;
        found.push(Event::decode(&stored).ok_or_else(damaged)?);
    }
    Ok(found)
}

/// The number of the newest outbox event; 0 if there is none.
pub(super) fn last_outbox(store: &Store, uid: Uuid) -> store::Result<u64> {
    let snapshot = store.snapshot()?;
    let prefix = key(Part::Outbox, uid, &[]);
    let mut last = 0;
    for record in snapshot.records(SPACE, &prefix) {
        let (place, _) = record?;
        last = Position::from_bytes(&place[prefix.len()..]).map_or(last, |position| position.time);
    }
    Ok(last)
}

/// Forgets outbox events before a position.
pub(super) fn trim_outbox(txn: &mut WriteTxn, uid: Uuid, low: Position) -> store::Result<()> {
    let prefix = key(Part::Outbox, uid, &[]);
    let mut gone = Vec::new();
    for record in txn.records(SPACE, &prefix) {
        let (place, _) = record?;
        if Position::from_bytes(&place[prefix.len()..]).ok_or_else(damaged)? >= low {
            break;
        }
        gone.push(place);
    }
    gone.iter().for_each(|place| txn.delete_record(SPACE, place));
    Ok(())
}

/// Is there a definition of that name?
pub(super) fn is_known(store: &Store, sink: &SinkDefinition) -> store::Result<bool> {
    Ok(store.snapshot()?.get_record(SPACE, &definition_key(&sink.db, &sink.name))?.is_some())
}

/// Is this the life that the stored definition speaks of?
pub(super) fn is_current(txn: &WriteTxn, sink: &SinkDefinition) -> store::Result<bool> {
    let Some(stored) = txn.get_record(SPACE, &definition_key(&sink.db, &sink.name))? else { return Ok(false) };
    let stored = DocBuf::validate(stored).map_err(|_| damaged())?;
    Ok(matches!(stored.get("uid"), Some(document::Raw::Binary { bytes, .. }) if bytes == sink.uid.0))
}

/// Forgets everything of a life.
pub(super) fn forget(txn: &mut WriteTxn, uid: Uuid) -> store::Result<()> {
    for part in PARTS {
        let places: store::Result<Vec<Bytes>> =
            txn.records(SPACE, &key(part, uid, &[])).map(|record| Ok(record?.0)).collect();
        places?.iter().for_each(|place| txn.delete_record(SPACE, place));
    }
    Ok(())
}
