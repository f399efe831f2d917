//! Keys that tokens are signed with: read, and held against a signature.
//!
//! The key decides what it may have signed, never the token (RFC 8725 §3.1): a public key is no
//! secret of an HMAC, and `none` is no key at all. Where keys come from over the network, and how
//! they are kept fresh, is in [`remote`].
//!
//! Start at [`KeySet::verify`].

pub(crate) mod remote;

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longhaul_policy::token::{Algorithm, TokenFault, Unverified, json};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Map, Value};

/// Keys of one set; more are no set but an attack on whoever has to try them.
const KEYS_MAX: usize = 100;
/// Keys that one token is held against, where it does not say which.
const ATTEMPTS_MAX: usize = 8;
/// The shortest secret: shorter ones are found by trying (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Keys that tokens of one issuer may be signed with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    /// `None` fits whatever a token says: the key was given without a name.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Secret(Vec<u8>),
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point, or a SubjectPublicKeyInfo, which says itself what it is.
    Public(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &self.algorithms).finish()
    }
}

/// Why there is no key in what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// It is too easily guessed.
    #[error("is a secret of fewer than 32 bytes, which can be found by trying")]
    SecretShort,
    /// It is neither PEM nor a JWK set.
    #[error("holds neither a public key in PEM nor a JSON Web Key Set")]
    Unreadable,
    /// It has nothing that could be used.
    #[error(
        "holds no key that tokens could be checked with (RSA of 2048 bits or more, P-256, P-384, \
             P-521, Ed25519)"
    )]
    Empty,
}

impl KeySet {
    /// A set of one shared secret, as it stands.
    ///
    /// # Errors
    /// [`KeyFault::SecretShort`].
    pub fn of_secret(secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyFault::SecretShort);
        }
        let fits = |algorithm: &Algorithm| match algorithm {
            Algorithm::HS256 => true,
            Algorithm::HS384 => secret.len() >= 48,
            Algorithm::HS512 => secret.len() >= 64,
            _ => false,
        };
        let algorithms = Algorithm::ALL.into_iter().filter(fits).collect();
        Ok(Self {
            keys: vec![Key { id: None, algorithms, material: Material::Secret(secret.into()) }],
        })
    }

    /// Public keys of a file: PEM (keys or certificates), or a JSON Web Key Set.
    ///
    /// # Errors
    /// Why none of it can be used.
    pub fn of_file(bytes: &[u8]) -> Result<Self, KeyFault> {
        if bytes.trim_ascii_start().starts_with(b"{") {
            return Self::of_jwks(bytes);
        }
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(bytes)
            .filter_map(Result::ok)
            .map(|key| key.as_ref().to_vec());
        let certificates = CertificateDer::pem_slice_iter(bytes).filter_map(Result::ok);
        let certified = certificates.filter_map(|certificate| {
            let read = webpki::EndEntityCert::try_from(&certificate).ok()?;
            Some(read.subject_public_key_info().as_ref().to_vec())
        });
        let found: Vec<Vec<u8>> = keys.chain(certified).collect();
        if found.is_empty() {
            return Err(KeyFault::Unreadable);
        }
        Self::of_keys(found.into_iter().filter_map(spki))
    }

    /// A JSON Web Key Set (RFC 7517 §5). Keys that are not known here, or not for signatures, are
    /// passed over; secrets are, too, since a set is there to be read by everybody.
    ///
    /// # Errors
    /// Why none of it can be used.
    pub fn of_jwks(bytes: &[u8]) -> Result<Self, KeyFault> {
        let set = json::object(bytes).ok_or(KeyFault::Unreadable)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeyFault::Unreadable)?;
        Self::of_keys(keys.iter().filter_map(Value::as_object).filter_map(jwk))
    }

    fn of_keys(keys: impl Iterator<Item = Key>) -> Result<Self, KeyFault> {
        let keys: Vec<Key> = keys.take(KEYS_MAX).collect();
        if keys.is_empty() { Err(KeyFault::Empty) } else { Ok(Self { keys }) }
    }

    /// The keys of both.
    pub fn join(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// Leaves only these algorithms.
    pub fn restrict(&mut self, allowed: &[Algorithm]) {
        for key in &mut self.keys {
            key.algorithms.retain(|algorithm| allowed.contains(algorithm));
        }
    }

    /// Whether no token could ever be checked.
    pub fn is_empty(&self) -> bool {
        self.keys.iter().all(|key| key.algorithms.is_empty())
    }

    /// Holds a token against the keys that fit it.
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`] when none does, [`TokenFault::Signature`] when none holds.
    pub fn verify(&self, token: &Unverified<'_>) -> Result<(), TokenFault> {
        let fits = |key: &&Key| {
            let is_named = match (&key.id, &token.key_id) {
                (Some(own), Some(said)) => own == said,
                (None, _) | (_, None) => true,
            };
            is_named && key.algorithms.contains(&token.algorithm)
        };
        let mut fitting = self.keys.iter().filter(fits).take(ATTEMPTS_MAX).peekable();
        if fitting.peek().is_none() {
            return Err(TokenFault::UnknownKey);
        }
        if fitting.any(|key| key.material.holds(token)) {
            Ok(())
        } else {
            Err(TokenFault::Signature)
        }
    }
}

impl Material {
    fn holds(&self, token: &Unverified<'_>) -> bool {
        let (message, signature) = (token.message, &token.signature[..]);
        match self {
            Self::Secret(secret) => {
                let algorithm = match token.algorithm {
                    Algorithm::HS256 => hmac::HMAC_SHA256,
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => return false,
                };
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
            }
            Self::Rsa(n, e) => rsa(token.algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            Self::Public(bytes) => public(token.algorithm).is_some_and(|algorithm| {
                UnparsedPublicKey::new(algorithm, bytes).verify(message, signature).is_ok()
            }),
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn public(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::ES512 => &ECDSA_P521_SHA512_FIXED,
        Algorithm::EdDSA => &ED25519,
        other => rsa(other)?,
    })
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Reads a SubjectPublicKeyInfo, which names the one kind of key that it is.
fn spki(der: Vec<u8>) -> Option<Key> {
    let is = |algorithm| {
        let known = public(algorithm).expect("only public algorithms are asked about");
        ParsedPublicKey::new(known, &der).is_ok()
    };
    let single = [Algorithm::ES256, Algorithm::ES384, Algorithm::ES512, Algorithm::EdDSA];
    let algorithms = match single.into_iter().find(|&algorithm| is(algorithm)) {
        Some(algorithm) => vec![algorithm],
        None if is(Algorithm::RS256) => RSA.to_vec(),
        None => return None,
    };
    Some(Key { id: None, algorithms, material: Material::Public(der) })
}

/// Reads one JSON Web Key (RFC 7518 §6, RFC 8037 §2).
fn jwk(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    // A coordinate of a point has the full length of its curve (RFC 7518 §6.2.1.2).
    let point = |length: usize| {
        let (x, y) = (bytes("x")?, bytes("y")?);
        (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
    };
    let (mut algorithms, material) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            // At least 2048 bits. What is larger than 8192 no library here checks.
            let n = bytes("n")?;
            let significant = n.iter().skip_while(|&&byte| byte == 0).count();
            if !(256..=1024).contains(&significant) {
                return None;
            }
            (RSA.to_vec(), Material::Rsa(n, bytes("e")?))
        }
        ("EC", Some("P-256")) => (vec![Algorithm::ES256], Material::Public(point(32)?)),
        ("EC", Some("P-384")) => (vec![Algorithm::ES384], Material::Public(point(48)?)),
        ("EC", Some("P-521")) => (vec![Algorithm::ES512], Material::Public(point(66)?)),
        ("OKP", Some("Ed25519")) => {
            let x = bytes("x").filter(|x| x.len() == 32)?;
            (vec![Algorithm::EdDSA], Material::Public(x))
        }
        _ => return None,
    };
    if let Some(only) = text("alg") {
        let only: Algorithm = only.parse().ok()?;
        algorithms.retain(|algorithm| *algorithm == only);
    }
    let id = match jwk.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    (!algorithms.is_empty()).then_some(Key { id, algorithms, material })
}

#[cfg(test)]
mod tests;
