//! Bytes to messages and back: MongoDB's framing, as pure functions.
//!
//! ```text
//!   header (16 bytes): length, request id, response to, opcode
//!   OP_MSG        flags, sections {0: body | 1: name + documents}…, [CRC-32C]
//!   OP_QUERY      only for the first handshake of older drivers; answered by OP_REPLY
//!   OP_COMPRESSED one of the above, deflated
//! ```
//!
//! # Not here
//! Sockets (`connection.rs`), what a command means (`command`).
//!
//! # Invariants
//! - No input makes a decoder panic, recurse without bound, or allocate more than the message limit.
//! - Every document that leaves the decoder has been validated; it shares the message's allocation.

#[cfg(test)]
mod tests;

use std::io::Read;

use base::limits::MAX_MESSAGE;
use bytes::{Buf, Bytes};
use document::DocBuf;

/// Length of the header in front of every message.
pub const HEADER_LEN: usize = 16;

/// OP_REPLY.
pub const OP_REPLY: i32 = 1;
/// OP_QUERY.
pub const OP_QUERY: i32 = 2004;
/// OP_COMPRESSED.
pub const OP_COMPRESSED: i32 = 2012;
/// OP_MSG.
pub const OP_MSG: i32 = 2013;

const FLAG_CHECKSUM: u32 = 1;
const FLAG_MORE_TO_COME: u32 = 1 << 1;
const FLAG_EXHAUST_ALLOWED: u32 = 1 << 16;
/// The low half of the flags must be understood by the receiver.
const REQUIRED_FLAGS: u32 = 0xffff;

const COMPRESSOR_NOOP: u8 = 0;
const COMPRESSOR_ZLIB: u8 = 2;

/// The first 16 bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the whole message, header included.
    pub length: usize,
    pub request_id: i32,
    pub response_to: i32,
    pub opcode: i32,
}

/// A message that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    Command(Command),
    Query(Query),
}

/// An OP_MSG.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub request_id: i32,
    /// The sender does not wait for a reply.
    pub more_to_come: bool,
    /// The sender accepts a stream of replies.
    pub exhaust_allowed: bool,
    pub body: DocBuf,
    pub sequences: Vec<Sequence>,
    /// The message came deflated, so the reply may be.
    pub compressed: bool,
}

/// A kind-1 section: the documents of the command's array field `name`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    pub name: String,
    pub documents: Vec<DocBuf>,
}

/// An OP_QUERY, as old drivers begin a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub request_id: i32,
    pub namespace: String,
    pub body: DocBuf,
    pub compressed: bool,
}

/// What to do with a message that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The stream has lost its frame, or asks for what must not be ignored: hang up.
    #[error("{0}")]
    Close(&'static str),
    /// The frame is sound, its content is not: answer with this error.
    #[error("{message}")]
    Answer { code: i32, message: String },
}

impl From<document::Error> for DecodeError {
    fn from(error: document::Error) -> Self {
        answer(error.code, error.message)
    }
}

fn answer(code: i32, message: impl Into<String>) -> DecodeError {
    DecodeError::Answer { code, message: message.into() }
}

type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// Reads the header that every message begins with.
pub fn decode_header(bytes: &[u8; HEADER_LEN]) -> Result<Header> {
    let mut rest = &bytes[..];
    let length = rest.get_i32_le();
    let header = Header {
        length: usize::try_from(length).unwrap_or(0),
        request_id: rest.get_i32_le(),
        response_to: rest.get_i32_le(),
        opcode: rest.get_i32_le(),
    };
    if header.length < HEADER_LEN {
        return Err(DecodeError::Close("message is shorter than its header"));
    }
    if header.length > MAX_MESSAGE {
        return Err(DecodeError::Close("message is longer than maxMessageSizeBytes"));
    }
    Ok(header)
}

/// Reads what follows the header. `whole` is the message with its header (the checksum covers it).
pub fn decode(header: Header, whole: Bytes) -> Result<Incoming> {
    if whole.len() != header.length || whole.len() < HEADER_LEN {
        return Err(DecodeError::Close("message length does not match its header"));
    }
    let payload = whole.slice(HEADER_LEN..);
    match header.opcode {
        OP_MSG => Ok(Incoming::Command(decode_msg(header.request_id, &whole, payload, false)?)),
        OP_QUERY => Ok(Incoming::Query(decode_query(header.request_id, payload, false)?)),
        OP_COMPRESSED => {
            let (opcode, inflated) = inflate(payload)?;
            match opcode {
                OP_MSG => {
                    // The checksum of a compressed message covers a header that was never sent.
                    Ok(Incoming::Command(decode_msg(header.request_id, &Bytes::new(), inflated, true)?))
                }
                OP_QUERY => Ok(Incoming::Query(decode_query(header.request_id, inflated, true)?)),
                _ => Err(DecodeError::Close("compressed message has an unknown opcode")),
            }
        }
        _ => Err(DecodeError::Close("unknown opcode")),
    }
}

fn decode_msg(request_id: i32, whole: &Bytes, mut payload: Bytes, compressed: bool) -> Result<Command> {
    if payload.len() < 4 {
        return Err(DecodeError::Close("OP_MSG without flags"));
    }
    let flags = payload.get_u32_le();
    if flags & REQUIRED_FLAGS & !(FLAG_CHECKSUM | FLAG_MORE_TO_COME) != 0 {
        return Err(DecodeError::Close("OP_MSG has unknown required flags"));
    }
    if flags & FLAG_CHECKSUM != 0 {
        verify_checksum(whole, &mut payload)?;
    }
    let mut body = None;
    let mut sequences: Vec<Sequence> = Vec::new();
    while payload.has_remaining() {
        match payload.get_u8() {
            0 if body.is_some() => return Err(answer(40430, "Multiple body sections in message")),
            0 => body = Some(split_document(&mut payload)?),
            1 => {
                let sequence = split_sequence(&mut payload)?;
                if sequences.iter().any(|other| other.name == sequence.name) {
                    return Err(answer(40431, format!("Duplicate document sequence: {}", sequence.name)));
                }
                sequences.push(sequence);
            }
            kind => return Err(answer(40432, format!("Unknown section kind {kind}"))),
        }
    }
    let body = body.ok_or_else(|| answer(40587, "OP_MSG messages must have a body"))?;
    if let Some(twice) = sequences.iter().find(|sequence| body.as_doc().contains(&sequence.name)) {
        return Err(answer(40433, format!("Duplicate field between body and document sequence {}", twice.name)));
    }
    Ok(Command {
        request_id,
        more_to_come: flags & FLAG_MORE_TO_COME != 0,
        exhaust_allowed: flags & FLAG_EXHAUST_ALLOWED != 0,
        body,
        sequences,
        compressed,
    })
}

fn verify_checksum(whole: &Bytes, payload: &mut Bytes) -> Result<()> {
    let Some(end) = payload.len().checked_sub(4) else {
        return Err(DecodeError::Close("OP_MSG is too short for its checksum"));
    };
    let mut trailer = payload.split_off(end);
    let expected = trailer.get_u32_le();
    if whole.is_empty() {
        return Ok(());
    }
    if crc32c::crc32c(&whole[..whole.len() - 4]) != expected {
        return Err(answer(40439, "OP_MSG checksum does not match contents"));
    }
    Ok(())
}

fn split_document(bytes: &mut Bytes) -> Result<DocBuf> {
    let length = bytes.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b));
    let length = usize::try_from(length).unwrap_or(0);
    if length < 5 || length > bytes.len() {
        return Err(answer(22, format!("invalid BSON: document of {length} bytes does not fit its section")));
    }
    Ok(DocBuf::validate(bytes.split_to(length))?)
}

fn split_sequence(bytes: &mut Bytes) -> Result<Sequence> {
    let length = bytes.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b));
    let length = usize::try_from(length).unwrap_or(0);
    if length < 5 || length > bytes.len() {
        return Err(answer(22, "invalid document sequence length"));
    }
    let mut section = bytes.split_to(length);
    section.advance(4);
    let name = split_name(&mut section).ok_or_else(|| answer(22, "document sequence has no valid name"))?;
    let mut documents = Vec::new();
    while section.has_remaining() {
        documents.push(split_document(&mut section)?);
    }
    Ok(Sequence { name, documents })
}

fn split_name(bytes: &mut Bytes) -> Option<String> {
    let end = bytes.iter().position(|&b| b == 0)?;
    let name = std::str::from_utf8(&bytes.split_to(end)).ok()?.to_owned();
    bytes.advance(1);
    Some(name)
}

fn decode_query(request_id: i32, mut payload: Bytes, compressed: bool) -> Result<Query> {
    const BROKEN: DecodeError = DecodeError::Close("OP_QUERY is damaged");
    if payload.len() < 4 {
        return Err(BROKEN);
    }
    payload.advance(4); // flags: none of them matters for a handshake
    let namespace = split_name(&mut payload).ok_or(BROKEN)?;
    if payload.len() < 8 {
        return Err(BROKEN);
    }
    payload.advance(8); // how many to skip and to return
    let body = split_document(&mut payload)?;
    Ok(Query { request_id, namespace, body, compressed })
}

fn inflate(mut payload: Bytes) -> Result<(i32, Bytes)> {
    if payload.len() < 9 {
        return Err(DecodeError::Close("OP_COMPRESSED is too short"));
    }
    let opcode = payload.get_i32_le();
    let size = usize::try_from(payload.get_i32_le()).unwrap_or(usize::MAX);
    if size > MAX_MESSAGE {
        return Err(DecodeError::Close("compressed message is longer than maxMessageSizeBytes"));
    }
    match payload.get_u8() {
        COMPRESSOR_NOOP if payload.len() == size => Ok((opcode, payload)),
        COMPRESSOR_ZLIB => {
            // The declared size is a claim: memory follows what really comes out.
            let mut out = Vec::with_capacity(size.min(64 * 1024));
            flate2::read::ZlibDecoder::new(&payload[..])
                .take(size as u64 + 1)
                .read_to_end(&mut out)
                .map_err(|_| DecodeError::Close("compressed message cannot be inflated"))?;
            if out.len() != size {
                return Err(DecodeError::Close("compressed message does not have its declared size"));
            }
            Ok((opcode, Bytes::from(out)))
        }
        _ => Err(DecodeError::Close("unknown compressor")),
    }
}

/// How a reply is framed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyFrame {
    pub request_id: i32,
    pub response_to: i32,
    /// Another reply follows without a request.
    pub more_to_come: bool,
    /// Deflate it.
    pub compress: bool,
}

/// An OP_MSG with one body.
pub fn encode_msg(frame: ReplyFrame, body: &DocBuf) -> Vec<u8> {
    let mut payload = Vec::with_capacity(HEADER_LEN + 5 + body.len());
    payload.extend([0; HEADER_LEN]);
    let flags = if frame.more_to_come { FLAG_MORE_TO_COME } else { 0 };
    payload.extend(flags.to_le_bytes());
    payload.push(0);
    payload.extend_from_slice(body.bytes());
    finish(frame, OP_MSG, payload)
}

/// An OP_REPLY with one document, as OP_QUERY handshakes expect.
pub fn encode_reply(frame: ReplyFrame, body: &DocBuf) -> Vec<u8> {
    const AWAIT_CAPABLE: i32 = 8;
    let mut payload = Vec::with_capacity(HEADER_LEN + 20 + body.len());
    payload.extend([0; HEADER_LEN]);
    payload.extend(AWAIT_CAPABLE.to_le_bytes());
    payload.extend(0i64.to_le_bytes()); // no cursor
    payload.extend(0i32.to_le_bytes()); // starting from
    payload.extend(1i32.to_le_bytes()); // documents
    payload.extend_from_slice(body.bytes());
    finish(frame, OP_REPLY, payload)
}

/// `message` has room for the header at its start.
fn finish(frame: ReplyFrame, opcode: i32, mut message: Vec<u8>) -> Vec<u8> {
    let opcode = if frame.compress {
        message = deflate(opcode, &message[HEADER_LEN..]);
        OP_COMPRESSED
    } else {
        opcode
    };
    let fields = [message.len() as i32, frame.request_id, frame.response_to, opcode];
    for (slot, field) in message.chunks_exact_mut(4).zip(fields) {
        slot.copy_from_slice(&field.to_le_bytes());
    }
    message
}

fn deflate(opcode: i32, payload: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = vec![0; HEADER_LEN];
    out.extend(opcode.to_le_bytes());
    out.extend((payload.len() as i32).to_le_bytes());
    out.push(COMPRESSOR_ZLIB);
    let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::fast());
    encoder.write_all(payload).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}
