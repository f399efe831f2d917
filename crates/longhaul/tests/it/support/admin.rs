//! The admin API of a gateway, asked over plain sockets.

use std::net::SocketAddr;

use serde_json::Value;

use super::gateway::Gateway;
use super::raw::{Raw, Response};
use super::s;

/// What stories give their gateways as `server.admin_token`.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The admin API of one gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin(pub(crate) SocketAddr);

impl Admin {
    /// Finds it by what the gateway logged.
    #[track_caller]
    pub(crate) fn of(gateway: &mut Gateway) -> Self {
        Self(gateway.process.line("admin API on", s(30), |line| {
            let (_, rest) = line.split_once("admin API on ")?;
            rest.split(['"', ' ']).next()?.parse().ok()
        }))
    }

    /// Reads something, as whoever is on this machine.
    #[track_caller]
    pub(crate) fn get(self, path: &str) -> Response {
        self.ask("GET", path, "", "")
    }

    /// Reads something that is JSON.
    #[track_caller]
    pub(crate) fn json(self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("the API answers in JSON")
    }

    /// Changes something, with the token.
    #[track_caller]
    pub(crate) fn change(self, method: &str, path: &str, body: &str) -> Response {
        let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        self.ask(method, path, &fields, body)
    }

    /// Asks without the token.
    #[track_caller]
    pub(crate) fn ask_bare(self, method: &str, path: &str) -> Response {
        self.ask(method, path, "Content-Type: application/json\r\n", "")
    }

    /// The value of one series; 0 when it is not there.
    #[track_caller]
    pub(crate) fn metric(self, series: &str) -> f64 {
        let page = self.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |number| number.parse().expect("samples are numbers"))
    }

    #[track_caller]
    fn ask(self, method: &str, path: &str, fields: &str, body: &str) -> Response {
        let mut client = Raw::connect(self.0);
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.response()
    }
}
