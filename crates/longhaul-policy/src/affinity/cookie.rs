//! Names a replica in a cookie without telling a client which one it is.
//!
//! The value is a keyed hash of the upstream's name and the replica's address. It holds no address
//! and no number, nobody without the key can make one, and one that matches no replica is ignored.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{self, HeaderMap};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Bytes kept of the hash: guessing one of 2^128 is hopeless, and the cookie stays short.
const TAG_BYTES: usize = 16;

/// What stands for one replica in a cookie.
#[derive(Debug, Clone, Copy)]
pub struct Tag([u8; TAG_BYTES]);

impl Tag {
    /// Derives the tag of a replica. The same key, upstream and address give the same tag in every
    /// process, so a configured key lets cookies outlive a restart and hold on every node.
    pub fn new(key: &[u8; 32], upstream: &str, replica: SocketAddr) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        mac.update(b"longhaul affinity 1");
        mac.update(&(upstream.len() as u64).to_be_bytes());
        mac.update(upstream.as_bytes());
        mac.update(replica.to_string().as_bytes());
        let hash = mac.finalize().into_bytes();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hash[..TAG_BYTES]);
        Self(tag)
    }

    /// The cookie's value: 22 characters of base64url.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads a cookie's value. Anything that is not of this form is `None`.
    pub fn decode(value: &str) -> Option<Self> {
        let mut tag = [0; TAG_BYTES];
        let bytes = URL_SAFE_NO_PAD.decode_slice(value, &mut tag).ok()?;
        (bytes == TAG_BYTES).then_some(Self(tag))
    }

    /// Compares in constant time: how long it takes tells a forger nothing.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Finds the tag that a request carries under `name`. Of several cookies of that name the first
/// that can be read counts.
pub fn tag_of(headers: &HeaderMap, name: &str) -> Option<Tag> {
    values(headers, name).find_map(Tag::decode)
}

/// Returns every value of the cookie `name` in a request (RFC 6265 §5.4), without quotes.
pub fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(cookie, _)| *cookie == name)
        .map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

    fn tag(upstream: &str, replica: &str) -> Tag {
        Tag::new(KEY, upstream, replica.parse().unwrap())
    }

    #[test]
    fn a_tag_survives_the_trip_through_a_cookie() {
        let tag = tag("chat", "10.0.0.1:8000");
        let value = format!("theme=dark; longhaul_replica={}; x=1", tag.encode());
        let headers =
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(value).unwrap())]);
        assert!(tag_of(&headers, "longhaul_replica").is_some_and(|seen| seen.matches(&tag)));
        assert!(tag_of(&headers, "replica").is_none());
    }

    #[test]
    fn a_tag_tells_replicas_upstreams_and_keys_apart() {
        let one = tag("chat", "10.0.0.1:8000");
        assert!(one.matches(&tag("chat", "10.0.0.1:8000")));
        assert!(!one.matches(&tag("chat", "10.0.0.1:8001")));
        assert!(!one.matches(&tag("chats", "10.0.0.1:8000")));
        assert!(!one.matches(&Tag::new(&[0; 32], "chat", "10.0.0.1:8000".parse().unwrap())));
    }

    #[test]
    fn a_tag_shows_no_address() {
        let value = tag("chat", "10.0.0.1:8000").encode();
        assert_eq!(value.len(), 22);
        assert!(!value.contains("10") || !value.contains("8000"), "{value}");
    }

    #[test]
    fn the_first_readable_cookie_of_the_name_counts() {
        let tag = tag("chat", "10.0.0.1:8000");
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("r=forged; r=\"\"; r"));
        let value = format!("r={}", tag.encode());
        headers.append(header::COOKIE, HeaderValue::try_from(value).unwrap());
        assert!(tag_of(&headers, "r").is_some_and(|seen| seen.matches(&tag)));
    }

    proptest! {
        #[test]
        fn no_made_up_value_is_taken_for_a_replica(value in "[ -~]{0,64}") {
            let real = tag("chat", "10.0.0.1:8000");
            prop_assert!(Tag::decode(&value).is_none_or(|tag| !tag.matches(&real)));
        }
    }
}
