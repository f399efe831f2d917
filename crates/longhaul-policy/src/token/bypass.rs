//! Tokens that let end-to-end tests in without a login: signed, named and soon over.
//!
//! Whether they count at all is a matter of the environment, and decided elsewhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The longest life of one: tests are over by then, and what leaked is worth nothing.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Tells them apart from every other token, and their form from later ones.
const PREFIX: &str = "lhb1";

/// Makes a token for `subject` that holds until `expires`.
pub fn sign(key: &[u8; 32], subject: &str, expires: SystemTime) -> String {
    let seconds = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let said = format!("{PREFIX}.{}.{seconds}", URL_SAFE_NO_PAD.encode(subject));
    let tag = mac(key, &said).finalize().into_bytes();
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The subject of a token, and its end. `None`: it is forged, over, or not one of these.
pub fn open(key: &[u8; 32], token: &str, now: SystemTime) -> Option<(String, SystemTime)> {
    let (said, tag) = token.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    mac(key, said).verify_slice(&tag).ok()?;
    let mut parts = said.split('.');
    if parts.next() != Some(PREFIX) {
        return None;
    }
    let subject = String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
    let seconds: u64 = parts.next()?.parse().ok()?;
    let expires = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    let is_good = expires > now && expires <= now + LIFE_MAX && parts.next().is_none();
    is_good.then_some((subject, expires))
}

fn mac(key: &[u8; 32], said: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(b"longhaul bypass 1");
    mac.update(said.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn it_holds_until_its_end_and_for_this_key_alone() {
        let end = now() + Duration::from_secs(60);
        let token = sign(KEY, "test.user", end);
        assert_eq!(open(KEY, &token, now()), Some(("test.user".into(), end)));
        assert_eq!(open(KEY, &token, end), None);
        assert_eq!(open(b"another key, just as long as thi", &token, now()), None);
        let too_long = sign(KEY, "a", now() + LIFE_MAX + Duration::from_secs(1));
        assert_eq!(open(KEY, &too_long, now()), None);
    }

    proptest! {
        #[test]
        fn no_changed_token_opens(at in any::<prop::sample::Index>(), byte in 0x21u8..0x7f) {
            let token = sign(KEY, "ann", now() + Duration::from_secs(60));
            let mut changed = token.clone().into_bytes();
            let at = at.index(changed.len());
            prop_assume!(changed[at] != byte);
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(open(KEY, &changed, now()), None);
        }
    }
}
