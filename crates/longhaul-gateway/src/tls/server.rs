//! TLS toward clients: what is agreed on, and the handshake itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server};

use super::authorities::Authorities;
use super::certificates::Certificates;
use super::provider;

/// Bytes that may wait inside TLS for a client that does not read; beyond it the relay's own bound
/// counts. Two full records, so that one can be filled while another goes out.
pub(super) const BUFFER_BYTES_MAX: usize = 32 * 1024;

/// How long a client that was refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a listener terminates TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsTerms {
    /// Whether clients may also come without TLS: the first bytes tell which it is.
    pub takes_plain: bool,
    /// The oldest version that is spoken. Default: 1.2.
    pub version_min: TlsVersion,
    /// Whether clients are asked for a certificate of their own.
    pub client_certificates: ClientCertificates,
    /// From the connection to the end of the handshake, in total. Default: 5 s. Then it is closed.
    pub handshake: Duration,
}

impl Default for TlsTerms {
    fn default() -> Self {
        Self {
            takes_plain: false,
            version_min: TlsVersion::Tls12,
            client_certificates: ClientCertificates::Ignored,
            handshake: Duration::from_secs(5),
        }
    }
}

/// A version of TLS. Nothing older than these is spoken at all (RFC 8996).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[1..],
        }
    }
}

/// Whether clients are asked for a certificate of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    Ignored,
    /// They are asked; one that is shown must come from these authorities.
    Optional(Authorities),
    /// Without a certificate from these authorities there is no connection.
    Required(Authorities),
}

/// Terminates TLS on one listener.
#[derive(Debug)]
pub(crate) struct Termination {
    config: Arc<ServerConfig>,
    terms: TlsTerms,
}

impl Termination {
    /// `protocols` are offered by ALPN (RFC 7301); a client that names others alone is refused. With
    /// none, whatever a client names is ignored.
    ///
    /// # Errors
    /// When the system has no random numbers for session tickets.
    pub(crate) fn new(
        terms: &TlsTerms,
        certificates: Arc<Certificates>,
        protocols: &[&[u8]],
    ) -> Result<Self, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(terms.version_min.and_newer())
            .expect("the provider has cipher suites for 1.2 and 1.3");
        let verifier = |authorities: &Authorities| {
            WebPkiClientVerifier::builder_with_provider(authorities.0.clone(), provider())
        };
        let verifier = match &terms.client_certificates {
            ClientCertificates::Ignored => None,
            ClientCertificates::Optional(them) => Some(verifier(them).allow_unauthenticated()),
            ClientCertificates::Required(them) => Some(verifier(them)),
        };
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(
                verifier.build().expect("it has an authority, and no revocation list to be wrong"),
            ),
        };
        let mut config = builder.with_cert_resolver(certificates);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Tickets keep sessions with the client, sealed by keys that change every few hours. Each
        // listener has its own keys: a session begun under other terms is not resumed here.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Ok(Self { config: Arc::new(config), terms: terms.clone() })
    }

    /// From the connection to the end of the handshake.
    pub(crate) fn handshake(&self) -> Duration {
        self.terms.handshake
    }

    /// Whether another one of these terms would be no different.
    pub(crate) fn is_of(&self, terms: &TlsTerms, protocols: &[&[u8]]) -> bool {
        self.terms == *terms && self.config.alpn_protocols.iter().eq(protocols.iter())
    }

    /// Does the handshake with a client that has said `hello` so far. Waits as long as the client
    /// does; the caller has the deadline.
    ///
    /// # Errors
    /// What the client did wrong, or that it left.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        hello: &[u8],
    ) -> io::Result<server::TlsStream<TcpStream>> {
        let mut heard = Ok(());
        let handshake = TlsAcceptor::from(self.config.clone()).accept_with(stream, |session| {
            session.set_buffer_limit(Some(BUFFER_BYTES_MAX));
            heard = hear(session, hello);
        });
        match heard {
            Ok(()) => handshake.await,
            Err(error) => {
                // The alert that says why is still to be sent.
                let _ = tokio::time::timeout(FAREWELL, handshake).await;
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }
}

/// Gives a session what was read before it began.
fn hear(session: &mut ServerConnection, mut hello: &[u8]) -> Result<(), rustls::Error> {
    while !hello.is_empty() {
        session.read_tls(&mut hello).map_err(|error| rustls::Error::General(error.to_string()))?;
        session.process_new_packets()?;
    }
    Ok(())
}
