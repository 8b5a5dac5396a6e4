//! One client's own connection to the deployment.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use document::DocBuf;
use engine::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

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
    stream: Option<Stream>,
    /// Request ids of our own questions, below those that drivers count up.
    asked: i32,
}

/// To the deployment.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn read_exact(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.read_exact(bytes).await.map(|_| ()),
            Stream::Tls(stream) => stream.read_exact(bytes).await.map(|_| ()),
        }
    }

    async fn read_at_most(&mut self, most: usize, buffer: &mut BytesMut) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.take(most as u64).read_buf(buffer).await,
            Stream::Tls(stream) => stream.take(most as u64).read_buf(buffer).await,
        }
    }
}

impl Link {
    async fn open(&mut self, ctx: &Context) -> Result<&mut Stream> {
        if self.stream.is_none() {
            let source = ctx.server.engine.source().ok_or_else(|| Error::internal("a link without a source"))?;
            let (host, port) =
                source.primary().ok_or_else(|| Error::unavailable("the deployment has no primary at the moment"))?;
            let connecting = TcpStream::connect((host.as_str(), port));
            let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(Error::unavailable(format!("{host}:{port} cannot be reached: {error}"))),
                Err(_) => return Err(Error::unavailable(format!("{host}:{port} does not answer"))),
            };
            let _ = stream.set_nodelay(true);
            self.stream = Some(match source.tls() {
                None => Stream::Plain(stream),
                Some(options) => {
                    let connecting = ctx.server.front_tls.connect(options, &host, stream);
                    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
                    let stream = connected
                        .map_err(|_| Error::unavailable(format!("{host}:{port} does not answer to TLS")))??;
                    Stream::Tls(Box::new(stream))
                }
            });
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
    stream: &mut Stream,
    header: Header,
    message: &Bytes,
    silent: bool,
) -> std::io::Result<Option<Bytes>> {
    let allowed = FLAGS_AT + EXHAUST_ALLOWED_BYTE;
    if header.opcode == codec::OP_MSG && message.get(allowed).is_some_and(|flags| flags & 1 != 0) {
        let mut once = BytesMut::from(&message[..]);
        once[allowed] &= !1;
        stream.write(&once).await?;
    } else {
        stream.write(message).await?;
    }
    if silent {
        return Ok(None);
    }
    read_message(stream).await.map(Some)
}

async fn read_message(stream: &mut Stream) -> std::io::Result<Bytes> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await?;
    let invalid = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "a message without its frame");
    let header = codec::decode_header(&head).map_err(invalid)?;
    let mut message = BytesMut::with_capacity(header.length.min(READ_STEP));
    message.extend_from_slice(&head);
    while message.len() < header.length {
        let missing = header.length - message.len();
        message.reserve(missing.min(READ_STEP));
        if stream.read_at_most(missing, &mut message).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message.freeze())
}
