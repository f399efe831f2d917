//! What the gateway looks like at one moment, as far as it is told outside.

use std::net::SocketAddr;
use std::time::Duration;

use crate::durable::Counts as SessionCounts;
use crate::tls::CertificateSnapshot;
use crate::validate::ServiceSnapshot;

/// The gateway at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Addresses that are bound.
    pub listeners: Vec<SocketAddr>,
    /// One for each upstream, in the order of the config.
    pub upstreams: Vec<UpstreamSnapshot>,
    /// WebSockets open now.
    pub websockets_open: usize,
    /// WebSockets opened since the start.
    pub websockets_total: u64,
    /// Raw TCP connections open now.
    pub tcp_open: usize,
    /// Client connections open now, WebSockets and raw TCP included.
    pub connections_open: usize,
    /// TLS handshakes of clients since the start that were finished.
    pub handshakes: u64,
    /// Those that failed or took too long.
    pub handshakes_failed: u64,
    /// One for each certificate, in the order of the config.
    pub certificates: Vec<CertificateSnapshot>,
    /// Durable sessions.
    pub sessions: SessionCounts,
    /// Since the start.
    pub uptime: Duration,
}

/// Admission at one moment.
#[derive(Debug, Clone)]
pub struct AdmissionSnapshot {
    /// How often each outcome was reached, by its name.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Open WebSockets that came by a token and end with it.
    pub granted_open: usize,
    /// How the services fare that tokens are judged by.
    pub services: Vec<ServiceSnapshot>,
}

/// One route of the config.
#[derive(Debug, Clone)]
pub struct RouteSnapshot {
    /// Its name.
    pub name: String,
    /// Whether it takes raw TCP, not HTTP.
    pub is_tcp: bool,
    /// What it takes, in words.
    pub takes: String,
    /// The upstream it leads to.
    pub upstream: String,
}

/// One upstream at one moment.
#[derive(Debug, Clone)]
pub struct UpstreamSnapshot {
    /// Its name.
    pub name: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaSnapshot>,
    /// How often a replica of it changed since the start: `up`, `down`, `ejected`.
    pub changes: [(&'static str, u64); 3],
}

/// One replica at one moment.
#[derive(Debug, Clone)]
pub struct ReplicaSnapshot {
    /// Where it is.
    pub address: SocketAddr,
    /// `up`, `starting` (slow start), `ejected` or `down`.
    pub state: &'static str,
    /// WebSockets it holds through this gateway.
    pub websockets_open: usize,
    /// Requests it answers through this gateway.
    pub requests_open: usize,
    /// Raw TCP connections it holds through this gateway.
    pub tcp_open: usize,
    /// What its last probe failed with; `None` when it passed, or none is sent.
    pub probe_failure: Option<String>,
    /// Why it drains (`asked`, `left` or `said`), if it does. What it still holds is listed above.
    pub draining: Option<&'static str>,
}
