//! The groups of replicas: where they are, which of them is chosen, and how they are spoken to.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, StatusCode};
pub use longhaul_policy::balance::Strategy;
pub use longhaul_policy::health::HealthPolicy;
pub use longhaul_proto::proxy_protocol;

use crate::tls::UpstreamTls;

/// A group of replicas that serve the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Unique name, for logs, metrics and routes.
    pub name: String,
    /// Where its replicas come from.
    pub sources: Vec<ReplicaSource>,
    /// How a replica is chosen among those that may take work.
    pub strategy: Strategy,
    /// What the hash of `consistent_hash` is taken from.
    pub hash_on: HashOn,
    /// Which clients go back to the replica they had.
    pub affinity: Affinity,
    /// When a replica counts as up, down or ejected.
    pub health: HealthPolicy,
    /// Active probes; `None` trusts connects alone.
    pub probe: Option<Probe>,
    /// From the first pick to a connection, all retries included. Default: 5 s. Then: 504.
    pub connect_deadline: Duration,
    /// One TCP connect to one replica. Default: 2 s.
    pub connect_attempt: Duration,
    /// From the handshake sent to the replica's answer, which may wait for a login. Default: 15 s.
    /// Then: 504.
    pub upgrade_answer: Duration,
    /// From the request's end to the response head. Default: 60 s. Then: 504.
    pub response_head: Duration,
    /// Idle HTTP connections kept per worker and replica. Default: 32.
    pub idle_connections_max: usize,
    /// How long an idle HTTP connection to a replica is kept. Default: 4 s, below the 5 s after which
    /// uvicorn and Node close theirs: whoever closes first cannot be surprised by a request.
    pub idle_connection: Duration,
    /// Sent first on each connection to a replica, so that it knows the client. HTTP connections
    /// are not kept for the next request then. Default: none.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// How its replicas are spoken to by TLS. `None`: they are not. The handshake is part of
    /// `connect_attempt`. Default: none.
    pub tls: Option<UpstreamTls>,
    /// How requests are passed on by HTTP/2; WebSockets stay on HTTP/1.1. Over TLS it is offered by
    /// ALPN, so `tls` must be one made for it. Not together with `proxy_protocol`. Default: none.
    pub http2: Option<Http2Policy>,
}

/// How many requests share a connection to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2Policy {
    /// Requests at once on one connection; the replica's own limit wins where it is lower. Each may
    /// keep 64 KiB of an answer that its client does not take. Default: 100.
    pub streams_max: usize,
    /// Connections per worker and replica; another one is made when all others are full. Default: 8.
    pub connections_max: usize,
    /// A connection with open requests that brought nothing for so long gets a ping, and 20 s later
    /// its end. Default: 310 s, a little more than the 5 minutes that gRPC servers insist on.
    pub ping: Option<Duration>,
}

impl Default for Http2Policy {
    fn default() -> Self {
        Self { streams_max: 100, connections_max: 8, ping: Some(Duration::from_secs(310)) }
    }
}

impl UpstreamConfig {
    /// An upstream with these replicas and the default of everything else.
    pub fn new(name: impl Into<String>, sources: Vec<ReplicaSource>) -> Self {
        Self {
            name: name.into(),
            sources,
            strategy: Strategy::default(),
            hash_on: HashOn::Address,
            affinity: Affinity::Auto,
            health: HealthPolicy::default(),
            probe: None,
            connect_deadline: Duration::from_secs(5),
            connect_attempt: Duration::from_secs(2),
            upgrade_answer: Duration::from_secs(15),
            response_head: Duration::from_secs(60),
            idle_connections_max: 32,
            idle_connection: Duration::from_secs(4),
            proxy_protocol: None,
            tls: None,
            http2: None,
        }
    }
}

/// Where replicas come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaSource {
    /// A fixed address.
    Static {
        /// Host (a name is looked up like `Dns`) and port.
        address: SocketAddr,
        /// Share of new work relative to the others. 1 by default.
        weight: u32,
    },
    /// A records, or AAAA records where there are none, looked up again when their TTL runs out
    /// (at least 1 s, at most 5 min). A name that has both gives the same instances twice.
    Dns {
        /// Name to look up.
        name: String,
        /// Port of every replica.
        port: u16,
        /// Share of each address.
        weight: u32,
    },
    /// SRV records, which carry port and weight. Those of the best priority count.
    Srv {
        /// Full record name, as in `_ws._tcp.chat.example`.
        name: String,
    },
}

/// What consistent hashing hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address (behind trusted proxies, the forwarded one).
    Address,
    /// A request header.
    Header(HeaderName),
    /// A query parameter.
    Query(String),
    /// A cookie of the application.
    Cookie(String),
    /// Path and query.
    Target,
}

/// Which clients go back to the replica they had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affinity {
    /// Engine.IO sessions follow their `sid`, learnt from the handshake answer; browsers that speak
    /// Engine.IO also get a signed cookie, so that their uploads follow. Nothing else is pinned. The
    /// cookie is called `longhaul_replica_` and 8 digits that stand for the upstream's name, so that
    /// two upstreams behind one host do not overwrite each other's.
    Auto,
    /// Every request is free to go anywhere.
    None,
    /// A signed cookie of the gateway's own.
    Cookie {
        /// Its name. Default: `longhaul_replica`.
        name: String,
    },
    /// The replica is the hash of this: same value, same replica.
    Hash(HashOn),
}

/// How a replica is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// Time between two probes of one replica, ±20 % jitter. Default: 5 s.
    pub interval: Duration,
    /// Total deadline of one probe. Default: 2 s.
    pub timeout: Duration,
}

impl Probe {
    /// A probe of this kind at the default pace.
    pub fn new(kind: ProbeKind) -> Self {
        Self { kind, interval: Duration::from_secs(5), timeout: Duration::from_secs(2) }
    }
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// A TCP connect.
    Tcp,
    /// GET of a path.
    Http {
        /// Path and query.
        path: String,
        /// Host header; the replica's address by default.
        host: Option<String>,
        /// Status to expect; `None` takes any 2xx or 3xx.
        status: Option<StatusCode>,
    },
    /// A WebSocket upgrade of a path, closed with 1000 at once.
    WebSocket {
        /// Path and query.
        path: String,
        /// Host header; the replica's address by default.
        host: Option<String>,
    },
}
