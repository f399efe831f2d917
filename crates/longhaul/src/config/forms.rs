//! What the texts in the file mean: addresses, replicas, networks, patterns, names.
//!
//! Each function returns the value or `problem; remedy` in words that follow `key = value`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use longhaul_gateway::config::{Affinity, HashOn, Listener, ReplicaSource};
use longhaul_policy::route::HostPattern;

/// `127.0.0.1:8080`, `[::]:8080` or `localhost:8080`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self::port(port)?)));
    }
    if text.parse::<u16>().is_ok() {
        return Err(format!(
            "is a port alone; write \"0.0.0.0:{text}\" for all interfaces or \"127.0.0.1:{text}\""
        ));
    }
    if text.parse::<IpAddr>().is_ok() || text == "localhost" {
        return Err("has no port; add one, as in \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned());
    }
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
        return Err(format!(
            "has no address; write \"0.0.0.0:{port}\" for all interfaces or \"127.0.0.1:{port}\""
        ));
    }
    Err("is not an address with a port; write it as in \"127.0.0.1:8080\"".to_owned())
}

/// An address to listen on, which may have a name: `public=0.0.0.0:8080`.
pub(super) fn listener(text: &str) -> Result<Listener, String> {
    match text.split_once('=') {
        Some((name, address)) => Ok(Listener::new(self::name(name)?, self::address(address)?)),
        None => Ok(Listener::new(text, address(text)?)),
    }
}

/// Whether a replica was said to speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Unsaid,
    Plain,
    Tls,
}

/// What one text says about replicas.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) source: ReplicaSource,
    pub(super) scheme: Scheme,
    /// Host as it was said.
    pub(super) host: String,
}

/// `10.0.0.5:9000`, `chat.internal:9000`, `https://chat.internal:9000`.
pub(super) fn replica(text: &str, weight: u32) -> Result<Replica, String> {
    let (scheme, bare) = match text.split_once("://") {
        Some(("http" | "ws", rest)) => (Scheme::Plain, rest.strip_suffix('/').unwrap_or(rest)),
        Some(("https" | "wss", rest)) => (Scheme::Tls, rest.strip_suffix('/').unwrap_or(rest)),
        Some(_) => return Err("has an unknown scheme; write \"HOST:PORT\"".to_owned()),
        None => (Scheme::Unsaid, text),
    };
    if bare.contains(['/', '?', '#', '@']) {
        return Err("has more than host and port; paths belong into [[routes]]".to_owned());
    }
    if let Ok(address) = bare.parse::<SocketAddr>() {
        port_not_zero(address.port())?;
        let source = ReplicaSource::Static { address, weight };
        return Ok(Replica { source, scheme, host: address.ip().to_string() });
    }
    let Some((host, port)) = bare.rsplit_once(':') else {
        return Err(format!("has no port; write it as in \"{bare}:9000\""));
    };
    let port = self::port(port)?;
    port_not_zero(port)?;
    if host == "localhost" {
        // Not looked up: it would be two replicas, of which most programs serve one.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let source = ReplicaSource::Static { address, weight };
        return Ok(Replica { source, scheme, host: host.to_owned() });
    }
    let name = domain(host)?;
    let host = name.trim_end_matches('.').to_owned();
    Ok(Replica { source: ReplicaSource::Dns { name, port, weight }, scheme, host })
}

/// `10.0.0.2` or `10.0.0.2:5353`.
pub(super) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    const DNS_PORT: u16 = 53;
    text.parse::<IpAddr>()
        .map(|ip| SocketAddr::from((ip, DNS_PORT)))
        .or_else(|_| text.parse::<SocketAddr>())
        .map_err(|_| {
            "is not an address; write it as in \"10.0.0.2\" or \"10.0.0.2:5353\"".to_owned()
        })
}

/// A host name as DNS allows it; underscores too, which service names have.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if bare.len() <= 253 && bare.split('.').all(is_label) {
        // A name whose last label is a number is a mistyped address, never a name (RFC 1123 §2.1).
        let last = bare.rsplit('.').next().unwrap_or(bare);
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("is not an address; an IPv4 address has four numbers up to 255".to_owned());
        }
        return Ok(text.to_ascii_lowercase());
    }
    Err("is not a host name; letters, digits, `-`, `_` and `.` make one".to_owned())
}

/// Networks of one entry of `trusted_proxies`.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
    // RFC 1918, RFC 6598 (shared by carriers and some clouds), RFC 4193 and link-local.
    const PRIVATE: [&str; 6] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
    ];
    let known = |networks: &[&str]| {
        networks.iter().map(|net| net.parse().expect("the constants above are networks")).collect()
    };
    match text {
        "loopback" => Ok(known(&LOOPBACK)),
        "private" => Ok(known(&PRIVATE)),
        _ => text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(|net| vec![net.trunc()])
            .map_err(|_| {
                "is not a network; write it as in \"10.0.0.0/8\", \"192.0.2.7\", \"loopback\" or \
                 \"private\""
                    .to_owned()
            }),
    }
}

/// What a hash is taken from.
pub(super) fn hash_on(text: &str) -> Result<HashOn, String> {
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
pub(super) fn affinity(text: &str) -> Result<Affinity, String> {
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

/// `*`, `*.example.com` or `chat.example.com`.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, String> {
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
pub(super) fn server_name(text: &str) -> Result<HostPattern, String> {
    if text.parse::<IpAddr>().is_ok() || text.starts_with('[') {
        return Err("is an address, which TLS clients do not send as a name; use \"*\"".to_owned());
    }
    // Patterns are compared without the dot that ends a full name.
    host_pattern(text.strip_suffix('.').unwrap_or(text))
}

/// A path prefix, without the slash at its end.
pub(super) fn path_prefix(text: &str) -> Result<String, String> {
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
pub(super) fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("does not start with a slash; write {:?}", format!("/{text}")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has spaces or characters beyond ASCII; percent-encode them".to_owned());
    }
    Ok(text.to_owned())
}

/// The path of a health endpoint, or nothing to turn it off.
pub(super) fn health_path(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.contains(['?', '#']) {
        return Err("has a query or fragment; write the path alone".to_owned());
    }
    path(text)
}

/// A name for logs, metrics and references.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_fine) {
        return Ok(text.to_owned());
    }
    Err("is not a name; use 1 to 64 letters, digits, `-`, `_` and `.`".to_owned())
}

pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "is not a header name; as in \"x-tenant\"".to_owned())
}

/// The value a header must have; a star takes any.
pub(super) fn header_value(text: &str) -> Result<Option<HeaderValue>, String> {
    if text == "*" {
        return Ok(None);
    }
    HeaderValue::from_str(text)
        .map(Some)
        .map_err(|_| "has characters that no header may have; use printable ASCII".to_owned())
}

/// 32 bytes in hexadecimal.
pub(super) fn key_of_32_bytes(text: &str) -> Result<[u8; 32], String> {
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

fn port(text: &str) -> Result<u16, String> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u16>()
        .ok()
        .filter(|_| digits_only)
        .ok_or_else(|| "has no valid port; ports are 1 to 65535".to_owned())
}

fn port_not_zero(port: u16) -> Result<(), String> {
    if port == 0 {
        return Err("has port 0, where nothing listens; name the port of the replica".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_addresses_or_names_with_a_port() {
        for text in ["127.0.0.1:9000", "[::1]:9000", "localhost:9000", "http://10.0.0.1:80/"] {
            let source = replica(text, 1).unwrap().source;
            assert!(matches!(source, ReplicaSource::Static { .. }), "{text}");
        }
        for text in ["chat:9000", "chat.internal:9000", "http://_x.y:80", "ws://chat:1"] {
            let source = replica(text, 1).unwrap().source;
            assert!(matches!(source, ReplicaSource::Dns { .. }), "{text}");
        }
        for (text, remedy) in [
            ("chat", "no port"),
            ("chat:0", "port 0"),
            ("chat:99999", "1 to 65535"),
            ("chat:+80", "1 to 65535"),
            ("https://chat", "no port"),
            ("http://chat:80/ws", "[[routes]]"),
            ("ftp://chat:21", "unknown scheme"),
            ("user@chat:80", "more than host"),
            ("256.1.1.1:80", "four numbers"),
            ("-x:80", "not a host name"),
            (":80", "not a host name"),
        ] {
            let problem = replica(text, 1).unwrap_err();
            assert!(problem.contains(remedy), "{text}: {problem}");
        }
    }

    #[test]
    fn an_address_to_listen_on_has_interface_and_port() {
        assert_eq!(address("localhost:80").unwrap(), address("127.0.0.1:80").unwrap());
        assert_eq!(listener("pg=[::]:5432").unwrap().name, "pg");
        for (text, remedy) in [
            (":8080", "0.0.0.0:8080"),
            ("8080", "0.0.0.0:8080"),
            ("127.0.0.1", "has no port"),
            ("::1", "has no port"),
            ("example.com:80", "is not an address"),
        ] {
            let problem = address(text).unwrap_err();
            assert!(problem.contains(remedy), "{text}: {problem}");
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
    fn networks_may_be_words() {
        assert_eq!(networks("10.1.2.3/8").unwrap(), ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(networks("192.0.2.7").unwrap(), ["192.0.2.7/32".parse().unwrap()]);
        assert!(networks("private").unwrap().contains(&"10.0.0.0/8".parse().unwrap()));
        assert!(networks("10.0.0.0/33").is_err());
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert_eq!(key_of_32_bytes(&"a5".repeat(32)), Ok([0xa5; 32]));
        for text in [&"a5".repeat(31), &"g5".repeat(32), &"00".repeat(32), "", &"é".repeat(32)] {
            assert!(key_of_32_bytes(text).is_err(), "{text}");
        }
    }
}
