//! Tokens that resume a session: sealed, so that a client can neither make, read nor change one.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longhaul_proto::durable::owner::Seal;
use serde::{Deserialize, Serialize};

/// Says what a key seals, so that nothing sealed for another purpose is taken for a token.
const PURPOSE: &[u8] = b"longhaul.v1 resume";
/// Names the key, in front of what it sealed. One per gateway so far.
const KEY_ID: u8 = 1;
const NONCE_BYTES: usize = 12;
/// 32 digits, a generation and an expiry.
const PLAIN_BYTES: usize = 32 + 8 + 8;

/// Secrets of this node, which another process takes over with its sessions.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// Seals what clients resume with.
    pub(super) seal: [u8; 32],
    /// Keeps apart what credentials hash to here and elsewhere.
    pub(super) subject: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    pub(super) fn random() -> Result<Self, rustls::Error> {
        let mut keys = Self { seal: [0; 32], subject: [0; 32] };
        for key in [&mut keys.seal, &mut keys.subject] {
            getrandom::fill(key).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        }
        Ok(keys)
    }
}

/// What a token shows its issuer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) sid: String,
    pub(super) generation: u64,
}

/// Seals and opens tokens.
pub(super) struct Sealer {
    key: RandomizedNonceKey,
    life: Duration,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// With a key of this process. `life` is how long a token is good.
    pub(super) fn new(key: &[u8; 32], life: Duration) -> Option<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
        Some(Self { key, life })
    }

    /// What a token shows; `None` for whatever this process did not seal, or too long ago.
    pub(super) fn open(&self, token: &str) -> Option<Shown> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (&KEY_ID, rest) = sealed.split_first()? else { return None };
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(PURPOSE), &mut sealed).ok()?;
        let (sid, numbers) = plain.split_at_checked(32)?;
        let (generation, expires) = numbers.split_at_checked(8)?;
        let generation = u64::from_be_bytes(generation.try_into().ok()?);
        let expires = u64::from_be_bytes(expires.try_into().ok()?);
        let sid = std::str::from_utf8(sid).ok()?.to_owned();
        (expires >= now_s()).then_some(Shown { sid, generation })
    }
}

impl Seal for Sealer {
    fn seal(&self, sid: &str, generation: u64) -> String {
        let mut plain = Vec::with_capacity(PLAIN_BYTES + 16);
        plain.extend_from_slice(sid.as_bytes());
        plain.extend_from_slice(&generation.to_be_bytes());
        plain.extend_from_slice(&(now_s() + self.life.as_secs()).to_be_bytes());
        match self.key.seal_in_place_append_tag(Aad::from(PURPOSE), &mut plain) {
            Ok(nonce) => {
                let token = [&[KEY_ID][..], nonce.as_ref(), &plain].concat();
                URL_SAFE_NO_PAD.encode(token)
            }
            // Without random numbers there is no token; such a session ends with its link.
            Err(_) => String::new(),
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_opens_for_who_sealed_it_and_unchanged_only() {
        let sealer = Sealer::new(&[7; 32], Duration::from_secs(60)).unwrap();
        let token = sealer.seal(SID, 5);
        assert_eq!(sealer.open(&token), Some(Shown { sid: SID.to_owned(), generation: 5 }));
        assert_ne!(token, sealer.seal(SID, 5), "each is sealed with its own nonce");
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last digit of base64 may carry bits that no byte has.
            assert!(sealer.open(&changed).is_none() || at == token.len() - 1, "{at}");
        }
        let other = Sealer::new(&[8; 32], Duration::from_secs(60)).unwrap();
        assert_eq!(other.open(&token), None);
        for strange in ["", "AQ", "AQAAAAAAAAAAAAAAAAAAAA", "not base64!"] {
            assert_eq!(sealer.open(strange), None);
        }
    }
}
