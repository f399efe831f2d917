//! What gateways of one deployment share.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls::UpstreamTls;

/// A store that speaks the protocol of Redis, and how it is asked.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where it is.
    pub address: StoreAddress,
    /// Who this gateway is to it; `None`: the user that is called `default`.
    pub user: Option<String>,
    /// What proves that; `None`: it asks for nothing.
    pub password: Option<Password>,
    /// Which of its databases.
    pub database: u32,
    /// What the name of each key begins with.
    pub prefix: String,
    /// From the lookup of its name until it has shown that it can do what it is asked.
    pub connect_timeout: Duration,
    /// What one operation may take.
    pub answer: Duration,
    /// Whether a start waits until it answers.
    pub is_required: bool,
}

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// At a name or address.
    Tcp {
        /// The name or address; one of IPv6 without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// How it is spoken to by TLS; `None`: it is not.
        tls: Option<UpstreamTls>,
    },
    /// At a socket of this machine.
    Unix(PathBuf),
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if tls.is_some() { "rediss" } else { "redis" };
                match host.contains(':') {
                    true => write!(f, "{scheme}://[{host}]:{port}"),
                    false => write!(f, "{scheme}://{host}:{port}"),
                }
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A password, which is shown to nobody but whom it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_said_and_a_password_never() {
        let tcp = |host: &str| StoreAddress::Tcp { host: host.into(), port: 6379, tls: None };
        assert_eq!(tcp("::1").to_string(), "redis://[::1]:6379");
        assert_eq!(tcp("store.internal").to_string(), "redis://store.internal:6379");
        assert!(!format!("{:?}", Password::new("hunter2")).contains("hunter2"));
    }
}
