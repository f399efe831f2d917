//! Names a protocol by its first bytes.
//!
//! A guess that lets each protocol be judged by its own rules: what looks like HTTP/1 may still be
//! refused by [`crate::http1`], what looks like TLS by [`crate::client_hello`]. Waiting for more
//! bytes, and what to do when they never come, is the caller's part.

use crate::http1::is_token_byte;

/// What every HTTP/2 client sends first (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer than any method in use; a token that goes on is something else.
const METHOD_BYTES_MAX: usize = 32;
/// Bytes of one TLS record (RFC 8446 §5.1).
const TLS_RECORD_BYTES_MAX: u16 = 16 * 1024;

/// What the first bytes of a connection look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Too few bytes to tell. Never said of 64 or more.
    NeedMore,
    /// A request line begins.
    Http1,
    /// The preface of HTTP/2, whole.
    Http2,
    /// A TLS handshake begins with a ClientHello; [`crate::client_hello`] reads it.
    Tls,
    /// None of these.
    Raw,
}

/// Says what `bytes`, all that arrived so far, look like. More bytes never change a verdict.
pub fn classify(bytes: &[u8]) -> Protocol {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Protocol::Http2;
    }
    if HTTP2_PREFACE.starts_with(bytes) {
        return Protocol::NeedMore;
    }
    match bytes.first() {
        Some(0x16) => tls(bytes),
        _ => http1(bytes),
    }
}

/// A handshake record of TLS 1.x that begins with a ClientHello (RFC 8446 §5.1, §4).
fn tls(bytes: &[u8]) -> Protocol {
    let may_be = |index: usize, expected| bytes.get(index).is_none_or(|&byte| byte == expected);
    if !may_be(1, 3) || !may_be(5, 1) {
        return Protocol::Raw;
    }
    let &[_, _, _, high, low, _, ..] = bytes else {
        return Protocol::NeedMore;
    };
    match u16::from_be_bytes([high, low]) {
        1..=TLS_RECORD_BYTES_MAX => Protocol::Tls,
        _ => Protocol::Raw,
    }
}

/// A method, a space, and the start of a target. Mail, chat and cache protocols begin with a word
/// too; what follows it tells them apart.
fn http1(bytes: &[u8]) -> Protocol {
    let line = match bytes {
        [b'\r'] => return Protocol::NeedMore,
        // One empty line may come first (RFC 9112 §2.2).
        [b'\r', b'\n', line @ ..] => line,
        line => line,
    };
    let method_len = line.iter().take_while(|&&byte| is_token_byte(byte)).count();
    if method_len > METHOD_BYTES_MAX {
        return Protocol::Raw;
    }
    let target = match &line[method_len..] {
        [] => return Protocol::NeedMore,
        [b' ', target @ ..] if method_len > 0 => target,
        _ => return Protocol::Raw,
    };
    // Refused later, but in words that an HTTP client understands.
    if line.starts_with(b"CONNECT ") {
        return Protocol::Http1;
    }
    let schemes = [&b"http://"[..], b"https://"];
    let matches = |scheme: &[u8]| {
        let len = target.len().min(scheme.len());
        target[..len].eq_ignore_ascii_case(&scheme[..len])
    };
    match target {
        [] => Protocol::NeedMore,
        [b'/' | b'*', ..] => Protocol::Http1,
        _ if schemes.iter().any(|it| target.len() >= it.len() && matches(it)) => Protocol::Http1,
        _ if schemes.iter().any(|it| matches(it)) => Protocol::NeedMore,
        _ => Protocol::Raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the verdict, and that every shorter piece says the same or asks for more.
    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, expected: Protocol) {
        let bytes = bytes.as_ref();
        let mut verdict = Protocol::NeedMore;
        for len in 0..=bytes.len() {
            let next = classify(&bytes[..len]);
            assert!(
                verdict == Protocol::NeedMore || next == verdict,
                "{} changes from {verdict:?} to {next:?}",
                bytes[..len].escape_ascii()
            );
            verdict = next;
        }
        assert_eq!(verdict, expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn requests_are_http1() {
        check("GET / HTTP/1.1\r\n", Protocol::Http1);
        check("\r\nPOST /a", Protocol::Http1);
        check("OPTIONS * HTTP/1.1", Protocol::Http1);
        check("PROPFIND HTTP://a/", Protocol::Http1);
        check("GET https://a/", Protocol::Http1);
        check("CONNECT a:443 HTTP/1.1", Protocol::Http1);
        check("PRI * HTTP/1.1", Protocol::Http1);
        check("PUT /", Protocol::Http1);
        check("GE", Protocol::NeedMore);
        check("GET ht", Protocol::NeedMore);
    }

    #[test]
    fn the_preface_is_http2() {
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Protocol::Http2);
        check("PRI * HTTP/2.0\r\n\r\n", Protocol::NeedMore);
    }

    #[test]
    fn a_client_hello_is_tls() {
        check(b"\x16\x03\x01\x02\x00\x01\x00", Protocol::Tls);
        check(b"\x16\x03", Protocol::NeedMore);
        check(b"\x16\x02\x01\x02\x00\x01", Protocol::Raw);
        check(b"\x16\x03\x01\x00\x00\x01", Protocol::Raw);
        check(b"\x16\x03\x01\x40\x01\x01", Protocol::Raw);
        check(b"\x16\x03\x01\x02\x00\x02", Protocol::Raw);
    }

    #[test]
    fn everything_else_is_raw() {
        check("EHLO a.example\r\n", Protocol::Raw);
        check("EHLO host.example\r\n", Protocol::Raw);
        check("SSH-2.0-OpenSSH_10.0\r\n", Protocol::Raw);
        check("*1\r\n$4\r\nPING\r\n", Protocol::Raw);
        check("get key\r\n", Protocol::Raw);
        check(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Protocol::Raw);
        check("a".repeat(40), Protocol::Raw);
        check(" GET /", Protocol::Raw);
        check("\n", Protocol::Raw);
    }
}
