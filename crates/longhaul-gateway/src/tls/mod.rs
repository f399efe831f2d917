//! TLS on either leg (RFC 8446, RFC 5246): which certificate a client sees, how long its handshake
//! may take, and whom the gateway believes to be a replica.
//!
//! Files are read and judged by [`Pair`] and [`Authorities`], for the configuration and for the
//! watcher alike, so that what `check` accepts is what runs. Start at `secure` for clients and at
//! [`UpstreamTls`] for replicas.

mod authorities;
mod certificates;
mod client;
mod files;
mod handshake;
mod pair;
mod server;
#[cfg(test)]
mod tests;
mod validity;
pub(crate) mod watch;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use authorities::{Authorities, AuthoritiesFault};
pub use certificates::CertificateSnapshot;
pub(crate) use certificates::Certificates;
pub(crate) use client::{Alpn, explain};
pub use client::{Trust, UpstreamTls, UpstreamTlsFault};
pub use files::{FileFault, Stamp};
pub(crate) use handshake::secure;
pub use pair::{Pair, PairFault};
pub(crate) use server::Termination;
pub use server::{ClientCertificates, TlsTerms, TlsVersion};
pub use validity::show_day;

/// The one provider of cryptography, named wherever one is needed: a default of the process could
/// be set by anybody.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}
