//! The authentication service of the stories, and gateways that ask it.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::apps::App;
use crate::support::raw::{Raw, Response};

/// A service that misbehaves as it is told to.
pub(crate) struct Authority {
    pub(crate) app: App,
}

impl Authority {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self { app: App::start("auth.py", "auth") }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.app.address
    }

    /// Publishes a key set.
    #[track_caller]
    pub(crate) fn publish(&self, keys: &str) {
        self.control("keys", keys);
    }

    /// Says how it answers from now on.
    #[track_caller]
    pub(crate) fn set(&self, mode: &str) {
        self.control(mode, "");
    }

    /// How often a path was asked for.
    #[track_caller]
    pub(crate) fn asked(&self, path: &str) -> u64 {
        let asked: Value = serde_json::from_str(&self.control("asked", "")).unwrap();
        asked.get(path).and_then(Value::as_u64).unwrap_or(0)
    }

    #[track_caller]
    fn control(&self, what: &str, body: &str) -> String {
        let mut client = Raw::connect(self.app.address);
        let length = body.len();
        client.send(format!(
            "PUT /control/{what} HTTP/1.1\r\nHost: auth\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        client.response().text()
    }
}

/// One request with a token in its header.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, token: &str) -> Response {
    crate::support::raw::request(address, "/", &bearer(token))
}

/// The field that carries a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
