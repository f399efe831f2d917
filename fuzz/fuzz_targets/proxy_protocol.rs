//! The PROXY protocol reader beside that of ppp, beside its own writer, and beside itself on every
//! shorter input.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use longhaul_proto::proxy_protocol::{Ends, HEADER_BYTES_MAX, Header, Version, encode, read};
use ppp::{HeaderResult, v1, v2};

fuzz_target!(|bytes: &[u8]| {
    let verdict = read(bytes);
    for len in (0..bytes.len()).step_by(bytes.len() / 128 + 1) {
        let earlier = read(&bytes[..len]);
        assert!(earlier == Ok(Header::Partial) || earlier == verdict, "{earlier:?} at {len}");
    }
    let Ok(Header::Whole { ends, len }) = verdict else { return };
    assert!(len <= bytes.len() && len <= HEADER_BYTES_MAX);
    assert_eq!(read(&bytes[..len]), verdict, "bytes behind the header count");
    for version in [Version::V1, Version::V2] {
        let written = encode(version, ends);
        assert_eq!(read(&written), Ok(Header::Whole { ends, len: written.len() }));
    }
    // What we believe, another reader must believe as well.
    if ends.is_some() {
        assert_eq!(ends, other_opinion(&bytes[..len]));
    }
});

fn other_opinion(header: &[u8]) -> Option<Ends> {
    let ends = |client: SocketAddr, local: SocketAddr| {
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Some(Ends { client: canonical(client), local: canonical(local) })
    };
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(it) => ends(
                (it.source_address, it.source_port).into(),
                (it.destination_address, it.destination_port).into(),
            ),
            v1::Addresses::Tcp6(it) => ends(
                (it.source_address, it.source_port).into(),
                (it.destination_address, it.destination_port).into(),
            ),
            v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match header.addresses {
            v2::Addresses::IPv4(it) => ends(
                (it.source_address, it.source_port).into(),
                (it.destination_address, it.destination_port).into(),
            ),
            v2::Addresses::IPv6(it) => ends(
                (it.source_address, it.source_port).into(),
                (it.destination_address, it.destination_port).into(),
            ),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        },
        _ => None,
    }
}
