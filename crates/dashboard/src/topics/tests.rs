//! What a client gets that comes back, and what one that falls behind.

use super::frame::Frame;
use super::ring::Ring;

fn ring(frames: u64) -> Ring {
    let mut ring = Ring::after("id0".to_owned());
    (1..=frames).for_each(|n| ring.push(Frame::message(format!("id{n}"), "{}")));
    ring
}

fn ids(ring: &Ring, from: u64, limit: usize) -> Option<Vec<String>> {
    Some(ring.from(from, limit)?.iter().map(|frame| frame.id.clone().unwrap()).collect())
}

#[test]
fn a_client_goes_on_after_the_last_frame_it_saw() {
    let ring = ring(3);
    assert_eq!(ring.resume("id0"), Some(1));
    assert_eq!(ring.resume("id2"), Some(3));
    assert_eq!(ids(&ring, 3, 10).unwrap(), ["id3"]);
    assert_eq!(ids(&ring, 4, 10).unwrap(), [""; 0]);
    assert_eq!(ids(&ring, 1, 2).unwrap(), ["id1", "id2"]);
    assert_eq!(ring.resume("id4"), None);
    assert_eq!(ring.newest_id(), "id3");
}

#[test]
fn what_is_forgotten_is_told_apart_from_what_has_not_come() {
    let ring = ring(10_005);
    assert_eq!(ids(&ring, 5, 1), None);
    assert_eq!(ids(&ring, 6, 1).unwrap(), ["id6"]);
    assert_eq!(ring.resume("id4"), None);
    // Everything after the fifth is there.
    assert_eq!(ring.resume("id5"), Some(6));
}

#[test]
fn a_message_is_one_line_of_data() {
    let frame = Frame::message("7".to_owned(), "{\"a\":1}");
    assert_eq!(frame.text.as_str(), "{\"type\":\"message\",\"id\":\"7\",\"data\":{\"a\":1}}");
    assert_eq!(frame.sse, "id: 7\ndata: {\"a\":1}\n\n");
    let notice = Frame::notice("failed", "it said \"no\"\n");
    assert_eq!(notice.sse, "event: failed\ndata: {\"type\":\"failed\",\"message\":\"it said \\\"no\\\"\\n\"}\n\n");
}
