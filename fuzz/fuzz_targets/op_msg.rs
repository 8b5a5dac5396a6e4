//! MongoDB's framing: any bytes with a sound header decode to a message or an error.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mongo_wire::codec::{HEADER_LEN, OP_COMPRESSED, OP_MSG, OP_QUERY, decode, decode_header};

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    // The length and the opcode are filled in, otherwise nearly every input dies in the header.
    let opcode = [OP_MSG, OP_QUERY, OP_COMPRESSED][usize::from(choice) % 3];
    let mut message = Vec::with_capacity(HEADER_LEN + rest.len());
    message.extend_from_slice(&((HEADER_LEN + rest.len()) as i32).to_le_bytes());
    message.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&opcode.to_le_bytes());
    message.extend_from_slice(rest);
    let first: &[u8; HEADER_LEN] = message[..HEADER_LEN].try_into().expect("a header's length");
    if let Ok(header) = decode_header(first) {
        let _ = decode(header, Bytes::from(message));
    }
});
