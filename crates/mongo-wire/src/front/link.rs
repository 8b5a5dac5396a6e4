//! One client's own connection to the deployment.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use document::DocBuf;
use engine::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::codec::{self, HEADER_LEN, Header, Incoming, ReplyFrame};
use crate::command::Context;

/// How long the deployment may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest step by which a buffer grows before its bytes have arrived.
const READ_STEP: usize = 1024 * 1024;
/// Where OP_MSG's flags stand, and the one by which a client accepts a stream of replies.
const FLAGS_AT: usize = HEADER_LEN;
const EXHAUST_ALLOWED_BYTE: usize = 2;

/// Opened when it is first needed; dropped with the client.
#[derive(Debug, Default)]
pub struct Link {
    stream: Option<TcpStream>,
    /// Request ids of our own questions, below those that drivers count up.
    asked: i32,
}

impl Link {
    async fn open(&mut self, ctx: &Context) -> Result<&mut TcpStream> {
        if self.stream.is_none() {
            let source = ctx.server.engine.source().ok_or_else(|| Error::internal("a link without a source"))?;
            if source.uses_tls() {
                return Err(Error::new(
                    115,
                    "commands do not pass through to a deployment that is reached over TLS; connect to it directly, \
                     and here for change streams",
                ));
            }
            let (host, port) =
                source.primary().ok_or_else(|| Error::unavailable("the deployment has no primary at the moment"))?;
            let connecting = TcpStream::connect((host.as_str(), port));
            let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(Error::unavailable(format!("{host}:{port} cannot be reached: {error}"))),
                Err(_) => return Err(Error::unavailable(format!("{host}:{port} does not answer"))),
            };
            let _ = stream.set_nodelay(true);
            self.stream = Some(stream);
        }
        Ok(self.stream.as_mut().expect("it was just opened"))
    }

    /// Sends a client's message as it came, except that it gets one reply, and returns that; `None`
    /// if the client expects none. An error leaves the link closed.
    pub async fn pass(
        &mut self,
        ctx: &Context,
        header: Header,
        message: &Bytes,
        silent: bool,
    ) -> Result<Option<Bytes>> {
        let stream = self.open(ctx).await?;
        let outcome = exchange(stream, header, message, silent).await;
        if outcome.is_err() {
            self.stream = None;
        }
        outcome.map_err(|error| Error::unavailable(format!("the connection to the deployment broke: {error}")))
    }

    /// Runs a command of our own as the client.
    pub async fn ask(&mut self, ctx: &Context, body: &DocBuf) -> Result<DocBuf> {
        self.asked = self.asked.wrapping_sub(1);
        let frame = ReplyFrame { request_id: self.asked, ..ReplyFrame::default() };
        let message = Bytes::from(codec::encode_msg(frame, body));
        let header = message.first_chunk().expect("a message has a header");
        let header = codec::decode_header(header).map_err(|error| Error::internal(error.to_string()))?;
        let reply = self.pass(ctx, header, &message, false).await?.unwrap_or_default();
        decode_reply(reply).ok_or_else(|| Error::unavailable("the deployment sent a reply that cannot be read"))
    }
}

/// The document of an OP_MSG reply.
fn decode_reply(reply: Bytes) -> Option<DocBuf> {
    let header = codec::decode_header(reply.first_chunk()?).ok()?;
    match codec::decode(header, reply).ok()? {
        Incoming::Command(command) => Some(command.body),
        Incoming::Query(_) => None,
    }
}

async fn exchange(
    stream: &mut TcpStream,
    header: Header,
    message: &Bytes,
    silent: bool,
) -> std::io::Result<Option<Bytes>> {
    let allowed = FLAGS_AT + EXHAUST_ALLOWED_BYTE;
    if header.opcode == codec::OP_MSG && message.get(allowed).is_some_and(|flags| flags & 1 != 0) {
        let mut once = BytesMut::from(&message[..]);
        once[allowed] &= !1;
        stream.write_all(&once).await?;
    } else {
        stream.write_all(message).await?;
    }
    if silent {
        return Ok(None);
    }
    read_message(stream).await.map(Some)
}

async fn read_message(stream: &mut TcpStream) -> std::io::Result<Bytes> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await?;
    let invalid = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "a message without its frame");
    let header = codec::decode_header(&head).map_err(invalid)?;
    let mut message = BytesMut::with_capacity(header.length.min(READ_STEP));
    message.extend_from_slice(&head);
    while message.len() < header.length {
        let missing = header.length - message.len();
        message.reserve(missing.min(READ_STEP));
        let mut rest = (&mut *stream).take(missing as u64);
        if rest.read_buf(&mut message).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message.freeze())
}
