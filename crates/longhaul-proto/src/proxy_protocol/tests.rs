use proptest::prelude::*;

use super::*;

fn ends(client: &str, local: &str) -> Ends {
    Ends { client: client.parse().unwrap(), local: local.parse().unwrap() }
}

/// Checks the verdict, and that every shorter piece says the same or asks for more.
#[track_caller]
fn check(bytes: impl AsRef<[u8]>, expected: Result<Header, HeaderFault>) {
    let bytes = bytes.as_ref();
    for len in 0..bytes.len() {
        let earlier = read(&bytes[..len]);
        let is_consistent = earlier == Ok(Header::Partial) || earlier == expected;
        assert!(is_consistent, "{}: {earlier:?}", bytes[..len].escape_ascii());
    }
    assert_eq!(read(bytes), expected, "{}", bytes.escape_ascii());
}

#[track_caller]
fn passes(bytes: impl AsRef<[u8]>, ends: Option<Ends>) {
    let bytes = bytes.as_ref();
    check(bytes, Ok(Header::Whole { ends, len: bytes.len() }));
    // What the client says behind it changes nothing.
    check([bytes, b"GET / HTTP/1.1\r\n"].concat(), Ok(Header::Whole { ends, len: bytes.len() }));
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &len, body].concat()
}

const V4_BODY: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

fn v4_ends() -> Option<Ends> {
    Some(ends("192.0.2.7:56324", "198.51.100.1:443"))
}

#[test]
fn lines_name_both_ends() {
    passes("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", v4_ends());
    passes(
        "PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n",
        Some(ends("[2001:db8::7]:0", "[2001:db8::1]:65535")),
    );
    // An IPv4 client as a socket for both families shows it is an IPv4 client.
    passes("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 56324 443\r\n", v4_ends());
}

#[test]
fn a_line_may_decline_to_say() {
    passes("PROXY UNKNOWN\r\n", None);
    passes("PROXY UNKNOWN ffff::1 ::1 1 2\r\n", None);
    check("PROXY UNKNOWN\x01\r\n", Err(HeaderFault::Malformed));
    check("PROXY UNKNOWNS\r\n", Err(HeaderFault::Malformed));
}

#[test]
fn lines_are_read_strictly() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 056324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 443\r\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 443\r\n",
        "PROXY \r\n",
        "PROXY \n",
    ] {
        check(line, Err(HeaderFault::Malformed));
    }
    check([b"PROXY UNKNOWN ".as_slice(), &[b'a'; 91], b"\r\n"].concat(), {
        Ok(Header::Whole { ends: None, len: LINE_BYTES_MAX })
    });
    check([b"PROXY UNKNOWN ".as_slice(), &[b'a'; 92], b"\r\n"].concat(), Err(HeaderFault::TooLong));
}

#[test]
fn other_protocols_are_not_headers() {
    for bytes in ["GET / HTTP/1.1\r\n", "PROXYTCP4", "\r\nGET", "\x16\x03\x01", "proxy TCP4"] {
        check(bytes, Err(HeaderFault::Absent));
    }
    check("", Ok(Header::Partial));
    check("PROX", Ok(Header::Partial));
}

#[test]
fn blocks_name_both_ends() {
    passes(v2(0x21, 0x11, &V4_BODY), v4_ends());
    let v6 = [&[0x20; 15][..], &[7], &[0x20; 15], &[1], &[0, 1, 0, 2]].concat();
    let address = |last: u8, port| {
        let mut octets = [0x20; 16];
        octets[15] = last;
        SocketAddr::new(octets.into(), port)
    };
    passes(v2(0x21, 0x21, &v6), Some(Ends { client: address(7, 1), local: address(1, 2) }));
}

/// Another proxy once crashed on a LOCAL header without addresses (CVE-2024-23327).
#[test]
fn a_block_may_decline_to_say() {
    passes(v2(0x20, 0, &[]), None);
    passes(v2(0x20, 0x11, &[1, 2, 3]), None);
    passes(v2(0x20, 0xff, &[]), None);
    passes(v2(0x21, 0, &[]), None);
    passes(v2(0x21, 0x12, &V4_BODY), None);
    passes(v2(0x21, 0x31, &[0; 216]), None);
}

#[test]
fn blocks_are_read_strictly() {
    for (command, family) in [(0x11, 0x11), (0x22, 0x11), (0x21, 0x41), (0x21, 0x13)] {
        check(v2(command, family, &V4_BODY), Err(HeaderFault::Malformed));
    }
    check(v2(0x21, 0x11, &V4_BODY[..11]), Err(HeaderFault::Malformed));
    check(v2(0x21, 0x21, &V4_BODY), Err(HeaderFault::Malformed));
    check(v2(0x20, 0, &[0; HEADER_BYTES_MAX - 15]), Err(HeaderFault::TooLong));
    passes(v2(0x20, 0, &[0; HEADER_BYTES_MAX - 16]), None);
}

#[test]
fn extensions_must_fit_exactly() {
    let with = |extensions: &[u8]| v2(0x21, 0x11, &[&V4_BODY, extensions].concat());
    passes(with(&[4, 0, 0]), v4_ends());
    passes(with(&[0xea, 0, 2, 1, 2, 4, 0, 1, 0]), v4_ends());
    for extensions in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0, 0, 9], &[4, 0xff, 0xff, 0]] {
        check(with(extensions), Err(HeaderFault::Malformed));
    }
}

#[test]
fn a_checksum_is_verified() {
    // The check value that catalogues give for this polynomial.
    assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    let mut header = v2(0x21, 0x11, &[&V4_BODY[..], &[CHECKSUM, 0, 4, 0, 0, 0, 0]].concat());
    let sum = crc32c(header.iter().copied());
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum.to_be_bytes());
    passes(&header, v4_ends());
    header[at] ^= 1;
    check(&header, Err(HeaderFault::Checksum));
    header.truncate(at);
    header[at - 1] = 0;
    header[15] -= 4;
    check(&header, Err(HeaderFault::Malformed));
}

#[test]
fn two_families_become_one() {
    let mixed = ends("192.0.2.7:1", "[2001:db8::1]:2");
    let line = encode(Version::V1, Some(mixed));
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n");
    let mapped = ends("[::ffff:192.0.2.7]:56324", "198.51.100.1:443");
    assert_eq!(encode(Version::V2, Some(mapped)), v2(0x21, 0x11, &V4_BODY));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        is_v1: bool,
        is_own: bool,
        client: (IpAddr, u16),
        local: (IpAddr, u16),
        behind: Vec<u8>,
    ) {
        let version = if is_v1 { Version::V1 } else { Version::V2 };
        let canonical = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
        let ends = Ends { client: canonical(client), local: canonical(local) };
        let ends = (!is_own).then_some(ends);
        let header = encode(version, ends);
        let bytes = [&header[..], &behind].concat();
        for len in 0..header.len() {
            prop_assert_eq!(read(&bytes[..len]), Ok(Header::Partial));
        }
        prop_assert_eq!(read(&bytes), Ok(Header::Whole { ends, len: header.len() }));
    }

    #[test]
    fn spoilt_headers_keep_their_verdict_however_they_are_cut(
        is_v1: bool,
        client: (IpAddr, u16),
        local: (IpAddr, u16),
        spoils in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        behind in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let end = |(ip, port)| SocketAddr::new(ip, port);
        let ends = Ends { client: end(client), local: end(local) };
        let version = if is_v1 { Version::V1 } else { Version::V2 };
        let mut bytes = encode(version, Some(ends));
        bytes.extend(behind);
        for (at, byte) in spoils {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let verdict = read(&bytes);
        for len in 0..bytes.len() {
            let earlier = read(&bytes[..len]);
            prop_assert!(earlier == Ok(Header::Partial) || earlier == verdict);
        }
    }
}
