//! TLS to the deployment for connections of clients, with the options of the source's connection string.
//!
//! The source's own certificate is not shown: a client could log in with it (X.509) as the source's user.

use std::sync::{Arc, OnceLock};

use engine::{Error, Result, SourceTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::socket::certificates;

/// Made once, as reading the machine's authorities takes a while.
#[derive(Default)]
pub struct Connector(OnceLock<std::result::Result<TlsConnector, String>>);

impl Connector {
    /// Agrees with the deployment on keys.
    ///
    /// # Errors
    /// 91, with what is wrong.
    pub async fn connect(&self, options: &SourceTls, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let connector = self.0.get_or_init(|| make(options)).as_ref().map_err(|why| Error::unavailable(why.clone()))?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::unavailable(format!("\"{host}\" is no name that a certificate could have")))?;
        let connecting = connector.connect(name, stream).await;
        connecting.map_err(|error| Error::unavailable(format!("no TLS with {host}: {error}")))
    }
}

fn make(options: &SourceTls) -> std::result::Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = with_roots(provider, options)?;
    if options.allow_invalid_certificates {
        config.dangerous().set_certificate_verifier(Arc::new(Any { algorithms }));
    }
    Ok(TlsConnector::from(Arc::new(config)))
}

fn with_roots(provider: Arc<CryptoProvider>, options: &SourceTls) -> std::result::Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}

/// Takes every certificate: `tlsAllowInvalidCertificates`, which the operator asked for.
#[derive(Debug)]
struct Any {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
