//! Frames of protocol version 3.0: decoding what clients send, writing what we answer.
//!
//! Source: PostgreSQL documentation, "Message Formats".

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest message from a client, in bytes: a statement with its parameters.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Longest start-up packet, PostgreSQL's own limit.
pub const MAX_STARTUP: usize = 10_000;

/// What a client may begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    Start(Vec<(String, String)>),
    /// Asks for encryption; answered with `N`.
    Encryption,
    Cancel {
        process: i32,
        secret: i32,
    },
    /// A protocol version that we do not speak.
    Version(u32),
}

/// What a client sends once the session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frontend {
    Query(String),
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        values: Vec<Option<Bytes>>,
        results: Vec<i16>,
    },
    Describe {
        portal: bool,
        name: String,
    },
    Execute {
        portal: String,
        max_rows: i32,
    },
    Close {
        portal: bool,
        name: String,
    },
    Sync,
    Flush,
    Terminate,
    /// COPY data or a password that nobody asked for.
    Ignored,
}

/// A frame that breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The body of a start-up packet (after its length).
pub fn decode_startup(body: &[u8]) -> Result<Startup, Malformed> {
    let mut body = Bytes::copy_from_slice(body);
    match get_u32(&mut body)? {
        80_877_103 | 80_877_104 => Ok(Startup::Encryption),
        80_877_102 => Ok(Startup::Cancel { process: get_u32(&mut body)? as i32, secret: get_u32(&mut body)? as i32 }),
        version if version >> 16 == 3 => {
            let mut parameters = Vec::new();
            while body.remaining() > 1 {
                let name = get_str(&mut body)?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, get_str(&mut body)?));
            }
            Ok(Startup::Start(parameters))
        }
        version => Ok(Startup::Version(version)),
    }
}

/// The body of a message of type `kind`.
pub fn decode(kind: u8, body: Bytes) -> Result<Frontend, Malformed> {
    let mut body = body;
    let message = match kind {
        b'Q' => Frontend::Query(get_str(&mut body)?),
        b'P' => {
            let (name, text) = (get_str(&mut body)?, get_str(&mut body)?);
            Frontend::Parse { name, text, types: get_list(&mut body, get_u32)? }
        }
        b'B' => Frontend::Bind {
            portal: get_str(&mut body)?,
            statement: get_str(&mut body)?,
            formats: get_list(&mut body, get_i16)?,
            values: get_list(&mut body, get_value)?,
            results: get_list(&mut body, get_i16)?,
        },
        b'D' => Frontend::Describe { portal: is_portal(&mut body)?, name: get_str(&mut body)? },
        b'E' => Frontend::Execute { portal: get_str(&mut body)?, max_rows: get_u32(&mut body)? as i32 },
        b'C' => Frontend::Close { portal: is_portal(&mut body)?, name: get_str(&mut body)? },
        b'S' => Frontend::Sync,
        b'H' => Frontend::Flush,
        b'X' => Frontend::Terminate,
        b'd' | b'c' | b'f' | b'p' => return Ok(Frontend::Ignored),
        _ => return Err(Malformed("unknown message type")),
    };
    if body.has_remaining() {
        return Err(Malformed("bytes after the end of a message"));
    }
    Ok(message)
}

fn is_portal(body: &mut Bytes) -> Result<bool, Malformed> {
    if !body.has_remaining() {
        return Err(Malformed("message ends early"));
    }
    match body.get_u8() {
        b'P' => Ok(true),
        b'S' => Ok(false),
        _ => Err(Malformed("neither a statement nor a portal")),
    }
}

fn get_u32(body: &mut Bytes) -> Result<u32, Malformed> {
    if body.remaining() < 4 { Err(Malformed("message ends early")) } else { Ok(body.get_u32()) }
}

fn get_i16(body: &mut Bytes) -> Result<i16, Malformed> {
    if body.remaining() < 2 { Err(Malformed("message ends early")) } else { Ok(body.get_i16()) }
}

fn get_str(body: &mut Bytes) -> Result<String, Malformed> {
    let end = body.iter().position(|b| *b == 0).ok_or(Malformed("string without an end"))?;
    let text = body.split_to(end);
    body.advance(1);
    String::from_utf8(text.to_vec()).map_err(|_| Malformed("text is not valid UTF-8"))
}

fn get_value(body: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
    let length = get_u32(body)? as i32;
    match usize::try_from(length) {
        Err(_) if length == -1 => Ok(None),
        Ok(length) if length <= body.remaining() => Ok(Some(body.split_to(length))),
        _ => Err(Malformed("value is longer than its message")),
    }
}

fn get_list<T>(body: &mut Bytes, get: impl Fn(&mut Bytes) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    let count = get_i16(body)? as u16;
    (0..count).map(|_| get(body)).collect()
}

/// Writes messages into a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    pub out: BytesMut,
}

impl Writer {
    /// One message; `body` writes what follows the length.
    pub fn message(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        self.out.put_u8(kind);
        let start = self.out.len();
        self.out.put_i32(0);
        body(&mut self.out);
        let length = (self.out.len() - start) as i32;
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// A message without a body.
    pub fn empty(&mut self, kind: u8) {
        self.message(kind, |_| {});
    }

    pub fn parameter_status(&mut self, name: &str, value: &str) {
        self.message(b'S', |out| {
            put_str(out, name);
            put_str(out, value);
        });
    }

    /// `status` is `I`, `T` or `E`.
    pub fn ready(&mut self, status: u8) {
        self.message(b'Z', |out| out.put_u8(status));
    }

    pub fn command_complete(&mut self, tag: &str) {
        self.message(b'C', |out| put_str(out, tag));
    }
}

/// A string and its terminator; an inner NUL would end it early, so it goes.
pub fn put_str(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().filter(|b| *b != 0));
    out.put_u8(0);
}
