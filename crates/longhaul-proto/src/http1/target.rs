//! Judges request targets and hosts (RFC 9112 §3.2, RFC 3986 §3.2).

use std::net::Ipv6Addr;

use super::Violation;

/// Judges a target by its form. CONNECT, the one method with the fourth form, is not served.
pub(crate) fn judge(method: &[u8], target: &[u8]) -> Result<(), Violation> {
    if target.contains(&b'#') {
        return Err(Violation::Fragment);
    }
    if !target.iter().all(|&byte| is_target_byte(byte)) {
        return Err(Violation::Target);
    }
    match target {
        b"*" if method == b"OPTIONS" => Ok(()),
        [b'/', ..] => path(target),
        _ => absolute(target),
    }
}

/// Judges the value of a Host field, or the authority of an absolute target.
pub(crate) fn host(value: &[u8]) -> bool {
    let (name, port) = match value.iter().rposition(|&byte| byte == b':') {
        // The last colon of a bracketed address may be inside the brackets.
        Some(colon) if !value.ends_with(b"]") => (&value[..colon], &value[colon + 1..]),
        _ => (value, &b""[..]),
    };
    is_host_name(name) && is_port(port)
}

/// More is let through than RFC 3986 allows, because browsers send `|`, `{` and the like as they
/// are. What is not: blanks, controls, bytes beyond ASCII, and what ends a URL in running text.
const fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'#')
}

fn path(path_and_query: &[u8]) -> Result<(), Violation> {
    let end = path_and_query.iter().position(|&byte| byte == b'?').unwrap_or(path_and_query.len());
    // Some servers read a backslash as a slash: a route would see another path than its backend.
    // The parser behind the screen takes no backtick. Browsers encode both in a path, not in a query.
    if path_and_query[..end].iter().any(|byte| matches!(byte, b'\\' | b'`')) {
        return Err(Violation::Target);
    }
    Ok(())
}

fn absolute(target: &[u8]) -> Result<(), Violation> {
    let colon = target.iter().position(|&byte| byte == b':').ok_or(Violation::Target)?;
    let scheme = &target[..colon];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(Violation::Target);
    }
    let rest = target[colon + 1..].strip_prefix(b"//").ok_or(Violation::Target)?;
    let end =
        rest.iter().position(|&byte| matches!(byte, b'/' | b'?' | b'\\')).unwrap_or(rest.len());
    if !host(&rest[..end]) {
        return Err(Violation::Target);
    }
    path(&rest[end..])
}

fn is_host_name(name: &[u8]) -> bool {
    if let Some(inner) = name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        return std::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    // RFC 3986 allows more in a registered name, but no name system does, and a comma or a percent
    // sign here has only ever been an attempt to be read in two ways.
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    !name.is_empty() && name.len() <= 255 && name.iter().all(allowed)
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0_u32, |number, byte| number * 10 + u32::from(byte - b'0')) <= 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_one_of_three_forms() {
        for good in [
            "/",
            "/a/b?c=d&e={f}|[g]",
            "/ws?path=C:\\x`",
            "//a",
            "http://a/",
            "HTTPS://[::1]:8443/b",
            "http://a?b",
            "http://a",
        ] {
            assert_eq!(judge(b"GET", good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "*",
            "a",
            "a:80",
            "a/b",
            "ftp://a/",
            "ws://a/",
            "http:/a",
            "http://",
            "http:///b",
            "http://u@a/",
            "http://a\\b/",
            "/a\\b",
            "/a`b",
            "/\"",
            "/ü",
            "/\u{7f}",
            "",
        ] {
            assert_eq!(judge(b"GET", bad.as_bytes()), Err(Violation::Target), "{bad}");
        }
        assert_eq!(judge(b"OPTIONS", b"*"), Ok(()));
        assert_eq!(judge(b"OPTIONS", b"**"), Err(Violation::Target));
        assert_eq!(judge(b"GET", b"/a#b"), Err(Violation::Fragment));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_perhaps_a_port() {
        for good in [
            "a",
            "a.example",
            "a_b.example",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "a:65535",
            "a.example.",
            "a:",
        ] {
            assert!(host(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "u@a",
            "a,b",
            "a:80:80",
            "a:65536",
            "a:+1",
            "a:0000080",
            "[::1",
            "::1",
            "[::1]a",
            "[a]:1",
            "a%00",
            "http://a",
            "ü",
        ] {
            assert!(!host(bad.as_bytes()), "{bad}");
        }
    }
}
