//! Certificate authorities that somebody trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::files::{self, FileFault};

/// Certificate authorities that are trusted; at least one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authorities(pub(super) Arc<RootCertStore>);

/// The same authorities, wherever they were read.
impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl Eq for Authorities {}

/// Why there are no authorities to trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoritiesFault {
    /// The file is not there, or is not PEM with a certificate.
    #[error(transparent)]
    File(#[from] FileFault),
    /// A certificate in the file cannot be an authority.
    #[error("{path}: certificate {number} cannot be an authority: {reason}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Which of its certificates, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has none where they are looked for.
    #[error("this system has no certificate authorities")]
    NoneOfTheSystem,
}

impl Authorities {
    /// Reads the authorities of a PEM file. Blocks.
    ///
    /// # Errors
    /// [`AuthoritiesFault`] when the file has none or one that cannot be used: half a list of
    /// trusted authorities would refuse half of those it should admit.
    pub fn load(path: &Path) -> Result<Self, AuthoritiesFault> {
        let bytes = files::read(path)?;
        let mut store = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(&bytes).enumerate() {
            let certificate = certificate.map_err(|error| FileFault::Pem {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
            store.add(certificate).map_err(|error| AuthoritiesFault::Unusable {
                path: path.to_owned(),
                number: index + 1,
                reason: error.to_string(),
            })?;
        }
        if store.is_empty() {
            let path = path.to_owned();
            return Err(FileFault::Missing { path, what: "certificate" }.into());
        }
        Ok(Self(Arc::new(store)))
    }

    /// The authorities that the system trusts. Blocks.
    ///
    /// # Errors
    /// [`AuthoritiesFault::NoneOfTheSystem`], as in an image without `ca-certificates`.
    pub fn of_the_system() -> Result<Self, AuthoritiesFault> {
        let mut store = RootCertStore::empty();
        // The system's list is not ours to mend: what cannot be used is left out.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(AuthoritiesFault::NoneOfTheSystem);
        }
        Ok(Self(Arc::new(store)))
    }
}
