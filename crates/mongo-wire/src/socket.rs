//! A client's connection: plain, or with TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take to agree on keys.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How connections are encrypted.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// From files in PEM: the certificate with those that it was signed with, its key, and whose clients'
    /// certificates are trusted. With the last, a client without a certificate is refused.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn from_files(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, String> {
        let chain = certificates(certificate)?;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{} holds no key: {error}", key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, private);
        let config = config.map_err(|error| {
            format!("{} and {} do not belong together: {error}", certificate.display(), key.display())
        })?;
        Ok(Tls(TlsAcceptor::from(Arc::new(config))))
    }
}

/// The certificates of a file in PEM.
///
/// # Errors
/// A sentence that names the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: rustls::pki_types::pem::Error| format!("cannot read {}: {error}", path.display());
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(found)
}

/// What a client sends.
pub enum Reader {
    Plain(OwnedReadHalf),
    Tls(ReadHalf<TlsStream<TcpStream>>),
}

/// What goes to a client.
pub enum Writer {
    Plain(OwnedWriteHalf),
    Tls(WriteHalf<TlsStream<TcpStream>>),
}

/// Agrees with the client on keys, if connections are encrypted; `None` if it does not want to.
pub async fn open(socket: TcpStream, tls: Option<&Tls>, remote: SocketAddr) -> Option<(Reader, Writer)> {
    let Some(Tls(acceptor)) = tls else {
        let (reader, writer) = socket.into_split();
        return Some((Reader::Plain(reader), Writer::Plain(writer)));
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            let (reader, writer) = tokio::io::split(stream);
            Some((Reader::Tls(reader), Writer::Tls(writer)))
        }
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "a client does not speak TLS as this server does");
            None
        }
        Err(_) => {
            tracing::debug!(%remote, "a client took too long to begin TLS");
            None
        }
    }
}

impl Reader {
    pub async fn read(&mut self, buffer: &mut BytesMut) -> std::io::Result<usize> {
        match self {
            Reader::Plain(reader) => reader.read_buf(buffer).await,
            Reader::Tls(reader) => reader.read_buf(buffer).await,
        }
    }

    /// Waits until the client sends more (false) or has left (true). Losing the future loses nothing.
    pub async fn leaves(&mut self, buffer: &mut BytesMut) -> bool {
        match self {
            Reader::Plain(reader) => {
                let mut byte = [0; 1];
                !matches!(reader.peek(&mut byte).await, Ok(1..))
            }
            // There is no looking without taking.
            Reader::Tls(reader) => !matches!(reader.read_buf(buffer).await, Ok(1..)),
        }
    }
}

impl Writer {
    pub async fn write(&mut self, message: &[u8]) -> std::io::Result<()> {
        match self {
            Writer::Plain(writer) => writer.write_all(message).await,
            Writer::Tls(writer) => {
                writer.write_all(message).await?;
                writer.flush().await
            }
        }
    }
}
