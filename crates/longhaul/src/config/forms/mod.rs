//! What the texts in the file mean: patterns, names and keys here, addresses in `network`.
//!
//! Each function returns the value or `problem; remedy` in words that follow `key = value`.

mod network;
mod store;
mod tokens;

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderName, HeaderValue, Method};
use longhaul_gateway::config::{Affinity, CloseCode, Cutover, HashOn, OriginPattern};
use longhaul_policy::route::HostPattern;

use super::units::parse_duration;
pub(in crate::config) use network::{Replica, Scheme};
pub(in crate::config) use network::{address, dns_server, domain, listener, networks, replica};
pub(in crate::config) use store::{
    StorePlace, StoreUrl, has_password, is_loopback, key_prefix, store_url,
};
pub(in crate::config) use tokens::{algorithm, is_elsewhere, secret, service_url, token_source};

/// What a hash is taken from.
pub(in crate::config) fn hash_on(text: &str) -> Result<HashOn, String> {
    let (kind, argument) = text.split_once(':').map_or((text, None), |(k, a)| (k, Some(a)));
    match (kind, argument) {
        ("address", None) => Ok(HashOn::Address),
        ("target", None) => Ok(HashOn::Target),
        ("header", Some(name)) => Ok(HashOn::Header(header_name(name)?)),
        ("query", Some(name)) => Ok(HashOn::Query(parameter(name)?)),
        ("cookie", Some(name)) => Ok(HashOn::Cookie(cookie_name(name)?)),
        ("header" | "query" | "cookie", None) => {
            Err(format!("does not say which; write \"{kind}:NAME\""))
        }
        _ => Err("is not known; use \"address\", \"target\", \"header:NAME\", \"query:NAME\" or \
                  \"cookie:NAME\""
            .to_owned()),
    }
}

/// Who goes back to the replica they had.
pub(in crate::config) fn affinity(text: &str) -> Result<Affinity, String> {
    /// Unlikely to be a cookie of the application.
    const COOKIE_NAME: &str = "longhaul_replica";
    let (kind, argument) = text.split_once(':').map_or((text, None), |(k, a)| (k, Some(a)));
    match (kind, argument) {
        ("auto", None) => Ok(Affinity::Auto),
        ("none", None) => Ok(Affinity::None),
        ("cookie", None) => Ok(Affinity::Cookie { name: COOKIE_NAME.to_owned() }),
        ("cookie", Some(name)) => Ok(Affinity::Cookie { name: cookie_name(name)? }),
        ("address" | "header" | "query", _) => hash_on(text).map(Affinity::Hash),
        _ => {
            Err("is not known; use \"auto\", \"none\", \"cookie\", \"cookie:NAME\", \"address\", \
                  \"header:NAME\" or \"query:NAME\""
                .to_owned())
        }
    }
}

/// When a replica that drains is left.
pub(in crate::config) fn cutover(text: &str) -> Result<Cutover, String> {
    match (text, text.strip_prefix("quiet:")) {
        ("on_close", _) => Ok(Cutover::OnClose),
        ("now", _) => Ok(Cutover::Now),
        (_, Some(quiet)) => match parse_duration(quiet)? {
            quiet if quiet.is_zero() => Err("waits for nothing; use \"now\"".to_owned()),
            quiet => Ok(Cutover::Quiet(quiet)),
        },
        (_, None) => Err("is not known; use \"on_close\", \"now\" or \"quiet:500ms\"".to_owned()),
    }
}

/// A close code with which a replica says that it goes.
pub(in crate::config) fn close_code(text: &str) -> Result<CloseCode, String> {
    let code = text.parse().ok().filter(|code| (1000..5000).contains(code));
    let code = code.ok_or("is not a close code; use 1000 to 4999, as in \"1012\"".to_owned())?;
    Ok(CloseCode(code))
}

/// `*`, `*.example.com` or `chat.example.com`.
pub(in crate::config) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if text.contains("://") || text.contains('/') {
        return Err("is more than a host; paths belong into `path`".to_owned());
    }
    if text.starts_with('[') && text.ends_with(']') {
        return match text[1..text.len() - 1].parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(HostPattern::Exact(format!("[{address}]"))),
            Err(_) => Err("is not an IPv6 address in brackets; as in \"[2001:db8::1]\"".to_owned()),
        };
    }
    if text.contains(':') {
        return Err("has a port; remove it, ports are told apart by `listeners`".to_owned());
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return Ok(HostPattern::Exact(text.to_owned()));
    }
    match text.strip_prefix("*.") {
        Some(below) => domain(below).map(HostPattern::Below),
        None if text.contains('*') => {
            Err("has a star inside; only \"*\" and \"*.example.com\" are patterns".to_owned())
        }
        None => domain(text).map(HostPattern::Exact),
    }
}

/// A name that a TLS client asks for: a host pattern, but never an address.
pub(in crate::config) fn server_name(text: &str) -> Result<HostPattern, String> {
    if text.parse::<IpAddr>().is_ok() || text.starts_with('[') {
        return Err("is an address, which TLS clients do not send as a name; use \"*\"".to_owned());
    }
    // Patterns are compared without the dot that ends a full name.
    host_pattern(text.strip_suffix('.').unwrap_or(text))
}

/// A path prefix, without the slash at its end.
pub(in crate::config) fn path_prefix(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("has a star; a prefix takes everything below it without one".to_owned());
    }
    if text.contains(['?', '#']) {
        return Err("has a query or fragment; routes match the path alone".to_owned());
    }
    let path = path(text)?;
    Ok(if path == "/" { path } else { path.trim_end_matches('/').to_owned() })
}

/// A path of printable ASCII that starts with a slash; a query may follow.
pub(in crate::config) fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("does not start with a slash; write {:?}", format!("/{text}")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has spaces or characters beyond ASCII; percent-encode them".to_owned());
    }
    Ok(text.to_owned())
}

/// The path of a health endpoint, or nothing to turn it off.
pub(in crate::config) fn health_path(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.contains(['?', '#']) {
        return Err("has a query or fragment; write the path alone".to_owned());
    }
    path(text)
}

/// A name for logs, metrics and references.
pub(in crate::config) fn name(text: &str) -> Result<String, String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_fine) {
        return Ok(text.to_owned());
    }
    Err("is not a name; use 1 to 64 letters, digits, `-`, `_` and `.`".to_owned())
}

/// `same`, `any`, `null`, `https://app.example` or `https://*.example`.
pub(in crate::config) fn origin(text: &str) -> Result<OriginPattern, String> {
    text.parse().map_err(|_| {
        let bare = text.trim_end_matches('/');
        if bare.parse::<OriginPattern>().is_ok() {
            return format!("ends with a slash, which no Origin does; write {bare:?}");
        }
        if !text.contains("://") {
            return format!("has no scheme; write {:?}", format!("https://{text}"));
        }
        "is not an origin; use scheme, host and port alone, as in \"https://app.example:8443\""
            .to_owned()
    })
}

pub(in crate::config) fn method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.as_bytes()).map_err(|_| "is not a method; as in \"DELETE\"".to_owned())
}

pub(in crate::config) fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "is not a header name; as in \"x-tenant\"".to_owned())
}

/// The value a header must have; a star takes any.
pub(in crate::config) fn header_value(text: &str) -> Result<Option<HeaderValue>, String> {
    if text == "*" {
        return Ok(None);
    }
    HeaderValue::from_str(text)
        .map(Some)
        .map_err(|_| "has characters that no header may have; use printable ASCII".to_owned())
}

/// 32 bytes in hexadecimal.
pub(crate) fn key_of_32_bytes(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "is not 64 hexadecimal digits; make one with `openssl rand -hex 32`".to_owned();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    if key == [0; 32] {
        return Err(
            "is all zeros, which everybody can guess; make one with `openssl rand -hex 32`"
                .to_owned(),
        );
    }
    Ok(key)
}

fn cookie_name(text: &str) -> Result<String, String> {
    // A cookie name is a token (RFC 6265 §4.1.1), as header names are, but for its case.
    header_name(text)
        .map(|_| text.to_owned())
        .map_err(|_| "is not a cookie name; use letters, digits and `-` or `_`".to_owned())
}

fn parameter(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['&', '=', '#', '?']) {
        return Err("is not the name of a query parameter; as in \"query:room\"".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cutover_says_when_and_a_code_is_one() {
        assert_eq!(cutover("quiet:500ms"), Ok(Cutover::Quiet(Duration::from_millis(500))));
        for text in ["later", "quiet", "quiet:", "quiet:0s", "quiet:5", ""] {
            assert!(cutover(text).is_err(), "{text}");
        }
        assert_eq!(close_code("1012"), Ok(CloseCode(1012)));
        for text in ["999", "5000", "x", "", "70000"] {
            assert!(close_code(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_exact_below_or_any() {
        assert_eq!(host_pattern("*").unwrap(), HostPattern::Any);
        assert_eq!(
            host_pattern("*.Example.com").unwrap(),
            HostPattern::Below("example.com".into())
        );
        assert_eq!(host_pattern("A.b").unwrap(), HostPattern::Exact("a.b".into()));
        for text in ["a:80", "http://a", "a.*", "*a.b", "", "a b", "[::x]"] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_lose_the_slash_at_their_end() {
        assert_eq!(path_prefix("/").unwrap(), "/");
        assert_eq!(path_prefix("/ws/").unwrap(), "/ws");
        for text in ["ws", "/ws/*", "/a?b", "/a b", "/ä", ""] {
            assert!(path_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn affinity_and_hash_say_what_they_take() {
        assert_eq!(affinity("auto").unwrap(), Affinity::Auto);
        assert_eq!(affinity("cookie:s").unwrap(), Affinity::Cookie { name: "s".into() });
        assert!(matches!(affinity("header:X-User").unwrap(), Affinity::Hash(HashOn::Header(_))));
        assert_eq!(hash_on("query:room").unwrap(), HashOn::Query("room".into()));
        for text in ["header", "header:", "cookies", "auto:x", "target", "query:a=b", "cookie:a b"]
        {
            assert!(affinity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert_eq!(key_of_32_bytes(&"a5".repeat(32)), Ok([0xa5; 32]));
        for text in [&"a5".repeat(31), &"g5".repeat(32), &"00".repeat(32), "", &"é".repeat(32)] {
            assert!(key_of_32_bytes(text).is_err(), "{text}");
        }
    }
}
