//! One client: read a message, run it, write the reply, in order.
//!
//! While a command runs the socket is watched, so that a wait for a client that has gone ends and
//! frees what it holds.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::codec::{self, DecodeError, HEADER_LEN, Header, Incoming, ReplyFrame};
use crate::command::{self, Context, Outcome};
use crate::front::{self, Route};
use crate::login::Login;
use crate::server::Shared;
use crate::socket::{self, Reader, Writer};

/// First read of a message; most commands fit.
const READ_CHUNK: usize = 8 * 1024;
/// Largest step by which a buffer grows before its bytes have arrived.
const READ_CHUNK_MAX: usize = 1024 * 1024;
/// A client that does not take its reply for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    pub id: u64,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// What a connection knows about its client.
#[derive(Debug)]
pub struct Peer {
    pub id: u64,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// From the handshake's metadata.
    pub app_name: OnceLock<String>,
    pub login: Login,
}

/// Serves one client until it leaves or the server stops.
pub async fn run(shared: Arc<Shared>, socket: TcpStream, ends: Endpoints) {
    let opened = socket::open(socket, shared.tls.as_ref(), ends.remote).await;
    let Some((reader, writer)) = opened else { return };
    let peer = Arc::new(Peer {
        id: ends.id,
        local: ends.local,
        remote: ends.remote,
        app_name: OnceLock::new(),
        login: Login::default(),
    });
    let (gone, watch_gone) = watch::channel(false);
    let context = Context { server: shared, peer, gone: watch_gone };
    let mut connection =
        Connection { reader, writer, buffer: BytesMut::new(), gone, replies: 0, link: front::Link::default() };
    let mut stop = context.server.shutdown.clone();
    loop {
        let message = tokio::select! {
            message = connection.read_message() => message,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((header, whole)) = message else { break };
        if connection.handle(&context, header, whole).await.is_err() {
            break;
        }
    }
}

struct Connection {
    reader: Reader,
    writer: Writer,
    buffer: BytesMut,
    gone: watch::Sender<bool>,
    /// Becomes the next reply's request id.
    replies: i32,
    /// To the deployment that changes are captured from.
    link: front::Link,
}

/// The connection has to end.
struct HangUp;

impl Connection {
    /// The next message, or `None` when the client has left or lost its frame.
    async fn read_message(&mut self) -> Option<(Header, Bytes)> {
        let mut needed = HEADER_LEN;
        let mut header = None;
        loop {
            while self.buffer.len() < needed {
                let missing = needed - self.buffer.len();
                // The announced length is a claim: memory follows what really arrives.
                self.buffer.reserve(missing.clamp(READ_CHUNK, READ_CHUNK_MAX));
                match self.reader.read(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
            match header {
                Some(header) => {
                    let whole = self.buffer.split_to(needed).freeze();
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return Some((header, whole));
                }
                None => {
                    let bytes = self.buffer.first_chunk().expect("a header's length has been read");
                    match codec::decode_header(bytes) {
                        Ok(decoded) => {
                            needed = decoded.length;
                            header = Some(decoded);
                        }
                        Err(error) => {
                            tracing::debug!(%error, "connection lost its frame");
                            return None;
                        }
                    }
                }
            }
        }
    }

    async fn handle(&mut self, context: &Context, header: Header, whole: Bytes) -> Result<(), HangUp> {
        match codec::decode(header, whole.clone()) {
            Ok(Incoming::Command(command)) if context.server.engine.source().is_some() => {
                self.handle_in_front(context, header, whole, command).await
            }
            Ok(Incoming::Command(command)) => self.handle_command(context, command).await,
            Ok(Incoming::Query(query))
                if context.server.engine.source().is_some() && front::logs_in(query.body.as_doc()) =>
            {
                self.pass(context, header, whole, false, true).await
            }
            Ok(Incoming::Query(query)) => {
                let frame = ReplyFrame { response_to: query.request_id, compress: false, ..ReplyFrame::default() };
                let body = self.watched(command::run_query(context, query)).await;
                let frame = ReplyFrame { request_id: self.next_id(), ..frame };
                self.write(codec::encode_reply(frame, &body)).await
            }
            Err(DecodeError::Answer { code, message }) => {
                let body = command::refuse(context, &engine::Error::new(code, message));
                let frame =
                    ReplyFrame { request_id: self.next_id(), response_to: header.request_id, ..ReplyFrame::default() };
                self.write(codec::encode_msg(frame, &body)).await
            }
            Err(DecodeError::Close(reason)) => {
                tracing::debug!(reason, "message ends its connection");
                Err(HangUp)
            }
        }
    }

    async fn handle_command(&mut self, context: &Context, command: codec::Command) -> Result<(), HangUp> {
        let silent = command.more_to_come;
        let stream = command.exhaust_allowed && command::can_stream(&command);
        let mut response_to = command.request_id;
        let compress = command.compressed;
        let repeat = stream.then(|| command.clone());
        let mut next = Some(command);
        while let Some(command) = next.take() {
            let (body, failed) = match self.watched(command::run(context, command)).await {
                Outcome::Reply { body, ok } => (body, !ok),
                Outcome::HangUp => return Err(HangUp),
            };
            if silent {
                return Ok(());
            }
            // A client that streams gets the next reply without asking.
            let more_to_come = stream && !failed && command::continues(&body) && !*self.gone.borrow();
            let request_id = self.next_id();
            let frame = ReplyFrame { request_id, response_to, more_to_come, compress };
            self.write(codec::encode_msg(frame, &body)).await?;
            if more_to_come && !*context.server.shutdown.borrow() {
                response_to = request_id;
                next.clone_from(&repeat);
            }
        }
        Ok(())
    }

    /// Serves what is served from the captured log, and passes on the rest.
    async fn handle_in_front(
        &mut self,
        context: &Context,
        header: Header,
        whole: Bytes,
        command: codec::Command,
    ) -> Result<(), HangUp> {
        let silent = command.more_to_come;
        let handshake = front::logs_in(command.body.as_doc());
        match front::route(context, &mut self.link, command).await {
            Ok(Route::Here(command)) => self.handle_command(context, command).await,
            Ok(Route::There) => self.pass(context, header, whole, silent, handshake).await,
            Err(error) => {
                let body = command::refuse(context, &error);
                let frame =
                    ReplyFrame { request_id: self.next_id(), response_to: header.request_id, ..ReplyFrame::default() };
                self.write(codec::encode_msg(frame, &body)).await
            }
        }
    }

    /// Passes a message to the deployment and its reply to the client. If the deployment cannot be
    /// reached the client is hung up on, which it knows how to handle: it looks for the primary.
    async fn pass(
        &mut self,
        context: &Context,
        header: Header,
        whole: Bytes,
        silent: bool,
        handshake: bool,
    ) -> Result<(), HangUp> {
        let mut link = std::mem::take(&mut self.link);
        let passed = self.watched(link.pass(context, header, &whole, silent)).await;
        self.link = link;
        match passed {
            Ok(None) => Ok(()),
            Ok(Some(reply)) if handshake => {
                let reply = front::rewrite_reply(context, &reply).ok_or(HangUp)?;
                self.write(reply).await
            }
            Ok(Some(reply)) => self.write(reply.to_vec()).await,
            Err(error) => {
                tracing::debug!(%error, "a client's command could not be passed on");
                Err(HangUp)
            }
        }
    }

    /// Runs a command while watching for the client's leaving.
    async fn watched<T>(&mut self, running: impl Future<Output = T>) -> T {
        tokio::pin!(running);
        let mut watching = self.buffer.is_empty() && !*self.gone.borrow();
        loop {
            tokio::select! {
                biased;
                output = &mut running => return output,
                left = self.reader.leaves(&mut self.buffer), if watching => {
                    // More bytes are a client that does not wait for replies; it has not left.
                    watching = false;
                    if left {
                        self.gone.send_replace(true);
                    }
                }
            }
        }
    }

    fn next_id(&mut self) -> i32 {
        self.replies = self.replies.wrapping_add(1);
        self.replies
    }

    async fn write(&mut self, message: Vec<u8>) -> Result<(), HangUp> {
        match tokio::time::timeout(WRITE_TIMEOUT, self.writer.write(&message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(HangUp),
        }
    }
}
