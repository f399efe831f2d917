//! Whatever is taken for a token has an algorithm that is known, a signature and an end; and whoever
//! reads its claims another way reads the same.
#![no_main]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use longhaul_policy::token::source::{TokenSource, take_subprotocol};
use longhaul_policy::token::{Algorithm, TokenRules, Unverified, bypass};

fuzz_target!(|text: &str| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    if let Ok(token) = Unverified::read(text) {
        assert!(Algorithm::ALL.contains(&token.algorithm) && !token.signature.is_empty());
        assert!(text.as_bytes().starts_with(token.message));
        if let Ok(claims) = token.claims()
            && let Ok(grant) = TokenRules::default().judge(&claims, now)
        {
            assert!(grant.expires.is_some_and(|expires| expires > now));
        }
    }
    // Nobody has this key.
    assert!(bypass::open(&[7; 32], text, now).is_none());

    let Ok(value) = HeaderValue::from_str(text) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-protocol", value);
    let source = TokenSource::Subprotocol("bearer".into());
    if let Some(token) = source.find(&headers, &Uri::from_static("/")) {
        assert!(text.contains(&token));
        take_subprotocol(&mut headers, "bearer").expect("what was found can be taken");
    }
});
