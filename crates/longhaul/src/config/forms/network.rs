//! Addresses, replicas and networks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use longhaul_gateway::config::{Listener, ReplicaSource};

/// `127.0.0.1:8080`, `[::]:8080` or `localhost:8080`.
pub(in crate::config) fn address(text: &str) -> Result<SocketAddr, String> {
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
pub(in crate::config) fn listener(text: &str) -> Result<Listener, String> {
    match text.split_once('=') {
        Some((name, address)) => Ok(Listener::new(super::name(name)?, self::address(address)?)),
        None => Ok(Listener::new(text, address(text)?)),
    }
}

/// Whether a replica was said to speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Scheme {
    Unsaid,
    Plain,
    Tls,
}

/// What one text says about replicas.
#[derive(Debug)]
pub(in crate::config) struct Replica {
    pub(in crate::config) source: ReplicaSource,
    pub(in crate::config) scheme: Scheme,
    /// Host as it was said.
    pub(in crate::config) host: String,
}

/// `10.0.0.5:9000`, `chat.internal:9000`, `https://chat.internal:9000`.
pub(in crate::config) fn replica(text: &str, weight: u32) -> Result<Replica, String> {
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
pub(in crate::config) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    const DNS_PORT: u16 = 53;
    text.parse::<IpAddr>()
        .map(|ip| SocketAddr::from((ip, DNS_PORT)))
        .or_else(|_| text.parse::<SocketAddr>())
        .map_err(|_| {
            "is not an address; write it as in \"10.0.0.2\" or \"10.0.0.2:5353\"".to_owned()
        })
}

/// A host name as DNS allows it; underscores too, which service names have.
pub(in crate::config) fn domain(text: &str) -> Result<String, String> {
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
pub(in crate::config) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
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
    fn networks_may_be_words() {
        assert_eq!(networks("10.1.2.3/8").unwrap(), ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(networks("192.0.2.7").unwrap(), ["192.0.2.7/32".parse().unwrap()]);
        assert!(networks("private").unwrap().contains(&"10.0.0.0/8".parse().unwrap()));
        assert!(networks("10.0.0.0/33").is_err());
    }
}
