//! A handshake that passes must hold every rule, read once more in the plainest way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longhaul_proto::websocket::handshake::{self, Offer};

const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fuzz_target!(|head: &[u8]| {
    let fields = head.split(|&byte| byte == b'\n').filter_map(field).collect::<Vec<_>>();
    let view = || fields.iter().map(|(name, value)| (*name, *value));

    if let Ok(offer) = handshake::validate_request(b"GET", view()) {
        let keys = values(&fields, "sec-websocket-key");
        assert_eq!(keys, [offer.key]);
        assert!(offer.key.len() == 24 && offer.key.ends_with(b"=="));
        assert_eq!(values(&fields, "sec-websocket-version"), [b"13"]);
        assert!(values(&fields, "transfer-encoding").is_empty());
        assert!(values(&fields, "content-length").iter().all(|length| length == b"0"));
        assert!(has_member(&fields, "upgrade", b"websocket"));
        assert!(has_member(&fields, "connection", b"upgrade"));
        assert_eq!(handshake::accept_key(offer.key).len(), 28);
    }

    let offer =
        Offer { key: KEY, subprotocols: vec![b"chat"], extensions: vec![b"permessage-deflate"] };
    if let Ok(chosen) = handshake::validate_response(101, view(), &offer) {
        assert_eq!(values(&fields, "sec-websocket-accept"), [ACCEPT]);
        assert!(values(&fields, "upgrade")[0].eq_ignore_ascii_case(b"websocket"));
        assert!(has_member(&fields, "connection", b"upgrade"));
        assert_eq!(values(&fields, "sec-websocket-protocol").first().copied(), chosen);
        assert!(chosen.is_none_or(|name| name == b"chat"));
    }
    assert!(handshake::validate_response(200, view(), &offer).is_err());
});

fn field(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
}

fn values<'a>(fields: &[(&str, &'a [u8])], name: &str) -> Vec<&'a [u8]> {
    let of_name = fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name));
    of_name.map(|field| field.1).collect()
}

fn has_member(fields: &[(&str, &[u8])], name: &str, member: &[u8]) -> bool {
    let all = values(fields, name).join(&b',').to_ascii_lowercase();
    all.split(|&byte| byte == b',').any(|it| it.trim_ascii() == member)
}
