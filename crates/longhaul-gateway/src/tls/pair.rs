//! A certificate with its private key: read from files, and judged before anybody may use it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use webpki::EndEntityCert;

use super::files::{self, FileFault, Stamp};
use super::provider;
use super::validity::{self, Validity, show_day};

/// A certificate with its chain and private key, in files. Every value of this type was fit for use
/// when it was read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pair {
    files: Arc<Files>,
    pub(super) certified: Arc<CertifiedKey>,
    names: Arc<[String]>,
    validity: Validity,
    /// The files as they were before they were read.
    pub(super) stamps: [Stamp; 2],
}

/// The same files as they were at one time.
impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files && self.stamps == other.stamps
    }
}

impl Eq for Pair {}

#[derive(Debug, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Why two files are no pair that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairFault {
    /// One of them is not there, or has not what it should have.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The certificate is none, or one that TLS cannot use.
    #[error("the certificate in {path} cannot be used: {reason}")]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is of a kind that TLS cannot use.
    #[error("the private key in {path} cannot be used: {reason}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Each is fine, but they do not belong together.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// No client would accept it any more.
    #[error("the certificate in {path} expired on {}", show_day(*.at))]
    Expired {
        /// Which file.
        path: PathBuf,
        /// Its last moment.
        at: SystemTime,
    },
    /// No client would accept it yet.
    #[error("the certificate in {path} is not valid before {}", show_day(*.from))]
    NotYetValid {
        /// Which file.
        path: PathBuf,
        /// Its first moment.
        from: SystemTime,
    },
}

impl PairFault {
    /// Whether this file must be mended.
    pub fn is_about(&self, file: &Path) -> bool {
        match self {
            Self::File(fault) => fault.path() == file,
            Self::Mismatch { key, .. } => key == file,
            Self::Certificate { path, .. }
            | Self::Key { path, .. }
            | Self::Expired { path, .. }
            | Self::NotYetValid { path, .. } => path == file,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::File(FileFault::Unreadable { .. }) => {
                "check the path, and that the user of the gateway may read it"
            }
            Self::File(FileFault::Missing { what: PRIVATE_KEY, .. }) => {
                "it must have a part that begins with -----BEGIN PRIVATE KEY-----; take a passphrase \
                 off with `openssl pkey`"
            }
            Self::File(_) => "it must be a PEM file, with parts like -----BEGIN CERTIFICATE-----",
            Self::Certificate { .. } => "have it made anew, for a server",
            Self::Key { .. } => {
                "use an RSA key of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519"
            }
            Self::Mismatch { .. } => "name the key that the certificate was made with",
            Self::Expired { .. } => "renew it",
            Self::NotYetValid { .. } => "check the clock of this machine, or use the one before it",
        }
    }
}

const PRIVATE_KEY: &str = "private key without a passphrase";

impl Pair {
    /// Reads both files (which may be one) and judges them as of `now`. Blocks.
    ///
    /// # Errors
    /// [`PairFault`] unless the certificate and the key can be used, belong together, and the
    /// certificate is valid.
    pub fn load(certificate: &Path, key: &Path, now: SystemTime) -> Result<Self, PairFault> {
        let stamps = [certificate, key].map(Stamp::of);
        let chain = read_chain(certificate)?;
        let private_key = read_key(key)?;
        let leaf = chain[0].clone();
        let unusable = |reason: String| PairFault::Certificate { path: certificate.into(), reason };
        let names = names(&leaf).map_err(unusable)?;
        let validity = validity::of(&leaf)
            .ok_or_else(|| unusable("its validity is not where it should be".to_owned()))?;
        let certified =
            CertifiedKey::from_der(chain, private_key, &provider()).map_err(|error| {
                let (certificate, key) = (certificate.to_owned(), key.to_owned());
                match error {
                    TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        PairFault::Mismatch { certificate, key }
                    }
                    error => PairFault::Key { path: key, reason: error.to_string() },
                }
            })?;
        if validity.not_after <= now {
            return Err(PairFault::Expired { path: certificate.into(), at: validity.not_after });
        }
        if validity.not_before > now {
            let from = validity.not_before;
            return Err(PairFault::NotYetValid { path: certificate.into(), from });
        }
        let files = Files { certificate: certificate.into(), key: key.into() };
        let certified = Arc::new(certified);
        Ok(Self { files: Arc::new(files), certified, names: names.into(), validity, stamps })
    }

    /// Whether `other` was read from the same files, then or later.
    pub(super) fn is_at_same_files(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// Reads the same files again. Blocks.
    pub(super) fn reload(&self, now: SystemTime) -> Result<Self, PairFault> {
        Self::load(self.certificate(), self.key(), now)
    }

    /// The file of the certificate and its chain.
    pub fn certificate(&self) -> &Path {
        &self.files.certificate
    }

    /// The file of the private key.
    pub fn key(&self) -> &Path {
        &self.files.key
    }

    /// The DNS names it is for, in lower case: `chat.example`, `*.chat.example`. A certificate
    /// without any is only shown to clients whose name nobody else has.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The last moment at which clients accept it.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let bytes = files::read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err(FileFault::Missing { path: path.into(), what: "certificate" })
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(FileFault::Pem { path: path.into(), reason: error.to_string() }),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileFault> {
    use rustls::pki_types::pem::Error;
    let bytes = files::read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        Error::NoItemsFound => FileFault::Missing { path: path.into(), what: PRIVATE_KEY },
        error => FileFault::Pem { path: path.into(), reason: error.to_string() },
    })
}

/// The names of a certificate, by the rules that TLS clients judge it by.
fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
    Ok(leaf.valid_dns_names().map(str::to_ascii_lowercase).collect())
}
