//! TLS toward replicas: whom to believe, under which name, and what to say when it is not so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::authorities::{Authorities, AuthoritiesFault};
use super::pair::Pair;
use super::provider;
use super::server::BUFFER_BYTES_MAX;
use crate::transport::Transport;

/// How the replicas of one upstream are spoken to by TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    /// The same with a protocol to choose, where replicas may be spoken to by HTTP/2.
    offering: Option<Arc<Offering>>,
    /// `None`: the address of the replica.
    server_name: Option<ServerName<'static>>,
    /// What the config was made of.
    terms: Arc<(Trust, Option<Pair>)>,
}

/// Made of the same: the same authorities, and the same files that have not changed.
impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.server_name == other.server_name && self.terms == other.terms
    }
}

impl Eq for UpstreamTls {}

#[derive(Debug)]
struct Offering {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// What a replica is offered to speak behind TLS (ALPN, RFC 7301). Only upstreams with HTTP/2 offer
/// anything: everybody else is spoken to as before there was a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// Whatever raw TCP carries.
    Nothing,
    /// HTTP/1.1, as WebSockets need it.
    Http1,
    /// HTTP/2, or else HTTP/1.1.
    Http2,
}

/// Whose word counts for who a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// That of the authorities that the system trusts.
    System,
    /// That of these authorities alone.
    Authorities(Authorities),
    /// Nobody's: whoever answers is taken for the replica. The connection is private and yet may be
    /// with anybody.
    Anybody,
}

/// Why an upstream cannot be spoken to by TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamTlsFault {
    /// Nobody is there to be trusted.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesFault),
    /// The name is neither a DNS name nor an address.
    #[error("{name:?} is no name that a certificate could have")]
    ServerName {
        /// What was given.
        name: String,
    },
}

impl UpstreamTls {
    /// Replicas must prove by `trust` to be `server_name`, or, without one, to be their address.
    /// `identity` is shown to those who ask for it. Blocks while it reads the system's authorities.
    ///
    /// # Errors
    /// [`UpstreamTlsFault`] when nobody could ever fulfil this.
    pub fn new(
        trust: Trust,
        server_name: Option<&str>,
        identity: Option<&Pair>,
    ) -> Result<Self, UpstreamTlsFault> {
        let server_name = match server_name {
            Some(name) => Some(
                ServerName::try_from(name.to_owned())
                    .map_err(|_| UpstreamTlsFault::ServerName { name: name.to_owned() })?,
            ),
            None => None,
        };
        let verifier: Arc<dyn ServerCertVerifier> = match &trust {
            Trust::System => verifier(&Authorities::of_the_system()?),
            Trust::Authorities(authorities) => verifier(authorities),
            Trust::Anybody => Arc::new(Anybody),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = builder.with_no_client_auth();
        if let Some(pair) = identity {
            let resolver = rustls::sign::SingleCertAndKey::from(pair.certified.clone());
            config.client_auth_cert_resolver = Arc::new(resolver);
        }
        let terms = Arc::new((trust, identity.cloned()));
        Ok(Self { config: Arc::new(config), offering: None, server_name, terms })
    }

    /// The same for replicas that may choose HTTP/2.
    pub fn with_http2(mut self) -> Self {
        let choosing = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::clone(&self.config);
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let (http1, http2) = (choosing(&[b"http/1.1"]), choosing(&[b"h2", b"http/1.1"]));
        self.offering = Some(Arc::new(Offering { http1, http2 }));
        self
    }

    /// The DNS name that replicas must prove to have, where one was given.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match self.server_name.as_ref()? {
            ServerName::DnsName(name) => Some(name.as_ref()),
            _ => None,
        }
    }

    /// Does the handshake with a replica. Waits as long as it does; the caller has the deadline.
    ///
    /// # Errors
    /// What the connection said, or why this is not the replica; [`explain`] puts it into words.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        replica: SocketAddr,
        alpn: Alpn,
    ) -> io::Result<Transport> {
        let name = self.server_name.clone().unwrap_or_else(|| replica.ip().into());
        let config = match (&self.offering, alpn) {
            (None, _) | (_, Alpn::Nothing) => &self.config,
            (Some(offering), Alpn::Http1) => &offering.http1,
            (Some(offering), Alpn::Http2) => &offering.http2,
        };
        let connected = TlsConnector::from(config.clone())
            .connect_with(name, stream, |session| session.set_buffer_limit(Some(BUFFER_BYTES_MAX)))
            .await?;
        Ok(Transport::Tls(Box::new(TlsStream::Client(connected))))
    }
}

/// Says what went wrong in a handshake with a replica, and what to do about it.
pub(crate) fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    let remedy = match inner {
        Some(TlsError::InvalidCertificate(fault)) => match fault {
            CertificateError::UnknownIssuer => {
                "; name the authority that signed it in tls.ca of the upstream"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "; name the replica as its certificate does in tls.server_name of the upstream"
            }
            _ => "",
        },
        Some(TlsError::InvalidMessage(_)) => "; does the replica speak TLS on this port?",
        _ => "",
    };
    format!("TLS: {error}{remedy}")
}

fn verifier(authorities: &Authorities) -> Arc<dyn ServerCertVerifier> {
    WebPkiServerVerifier::builder_with_provider(authorities.0.clone(), provider())
        .build()
        .expect("there is an authority, and no revocation list to be wrong")
}

/// Believes everybody, as the operator asked for. Only that the other side has the key of what it
/// shows is still checked.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
