//! The least that is an HTTP endpoint: counts requests, answers 204.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

pub struct Endpoint {
    pub url: String,
    taken: Arc<AtomicU64>,
}

impl Endpoint {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let taken = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&counter)));
            }
        });
        Ok(Endpoint { url, taken })
    }

    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

async fn serve(mut socket: TcpStream, taken: Arc<AtomicU64>) -> Option<()> {
    let mut buffer = Vec::with_capacity(8192);
    loop {
        while let Some(length) = request_length(&buffer).filter(|length| buffer.len() >= *length) {
            buffer.drain(..length);
            taken.fetch_add(1, Ordering::Relaxed);
            socket.write_all(ANSWER).await.ok()?;
        }
        if socket.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Bytes of the request at the front; `None` if its head is not complete.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
    let body: usize = head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    Some(end + body)
}
