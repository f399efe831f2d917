//! Where to connect, and how.

use std::time::Duration;

use longhaul_proto::durable::client::{ClientPolicy, Reconnect};

/// Where to connect, and how.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) target: Target,
    pub(crate) protocols: Vec<String>,
    pub(crate) headers: Vec<(String, String)>,
    /// How the session is kept.
    pub policy: ClientPolicy,
}

/// A URL in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query.
    pub(crate) path: String,
}

/// What is wrong with an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Not the URL of a WebSocket.
    #[error("{0:?} is not a URL like ws://host:port/path or wss://host/path")]
    Url(String),
    /// A header or a subprotocol that would break the handshake.
    #[error("{0:?} cannot stand in a header field")]
    Header(String),
}

impl Options {
    /// To this URL, with everything else at its default.
    ///
    /// # Errors
    /// [`OptionsError::Url`].
    pub fn new(url: &str) -> Result<Self, OptionsError> {
        let target = Target::parse(url).ok_or_else(|| OptionsError::Url(url.to_owned()))?;
        let policy = ClientPolicy::default();
        Ok(Self { target, protocols: Vec::new(), headers: Vec::new(), policy })
    }

    /// Offers a subprotocol of the application's.
    ///
    /// # Errors
    /// [`OptionsError::Header`].
    pub fn protocol(mut self, name: &str) -> Result<Self, OptionsError> {
        let is_good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_good || name.contains([',', ';']) {
            return Err(OptionsError::Header(name.to_owned()));
        }
        self.protocols.push(name.to_owned());
        Ok(self)
    }

    /// Sends a header field with each handshake, as for a login.
    ///
    /// # Errors
    /// [`OptionsError::Header`].
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, OptionsError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_value = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) || !value.bytes().all(is_value) {
            return Err(OptionsError::Header(name.to_owned()));
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// What suits a phone: ten tries in a row, 2 to 60 s apart, and then the application decides.
    /// How often the link is tried is the gateway's to say; its default is 5 s.
    #[must_use]
    pub fn phone(mut self) -> Self {
        self.policy.reconnect = Reconnect { tries_max: Some(10), ..Reconnect::default() };
        self.policy.probe = Duration::from_secs(2);
        self
    }
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match scheme {
            "ws" => false,
            "wss" => true,
            _ => return None,
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        if authority.contains('@') || !path.bytes().all(is_plain) {
            return None;
        }
        let default_port = if is_tls { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, default_port),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        Some(Self { is_tls, host: host.to_owned(), port, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_they_are_meant() {
        #[track_caller]
        fn check(url: &str, expected: (bool, &str, u16, &str)) {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.is_tls, &*target.host, target.port, &*target.path), expected);
        }
        check("ws://a", (false, "a", 80, "/"));
        check("wss://a.example/ws?x=1#y", (true, "a.example", 443, "/ws?x=1"));
        check("ws://127.0.0.1:9000?x", (false, "127.0.0.1", 9000, "/?x"));
        check("ws://[::1]:80/p", (false, "[::1]", 80, "/p"));
        check("wss://[::1]/p", (true, "[::1]", 443, "/p"));
        for wrong in ["http://a", "ws://", "ws://a:b", "ws://u@a", "ws://a/\r\n", "ws://a b"] {
            assert_eq!(Target::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_would_break_a_handshake_is_refused() {
        let options = Options::new("ws://a").unwrap();
        assert!(options.clone().header("x-a", "b\r\nc: d").is_err());
        assert!(options.clone().header("x a", "b").is_err());
        assert!(options.protocol("a,b").is_err());
    }
}
