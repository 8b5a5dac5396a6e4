//! PostgreSQL's frontend messages: the first byte is the message's type, 0 the start-up packet.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, body)) = bytes.split_first() else { return };
    if kind == 0 {
        let _ = pg_wire::decode_startup(body);
    } else {
        let _ = pg_wire::decode(kind, Bytes::copy_from_slice(body));
    }
});
