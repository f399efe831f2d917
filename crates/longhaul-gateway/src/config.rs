//! What the gateway is told to do. Every value here is in range: `longhaul/config` parses text into it.
//!
//! Durations and sizes carry their defaults in `Default`; the reference page and the JSON schema
//! are generated from the text's mirror, which takes its defaults from here.

mod admission;
mod collectors;
mod durable;
mod routes;
mod store;
mod upstreams;
mod websocket;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

pub use admission::*;
pub use collectors::*;
pub use durable::*;
use ipnet::IpNet;
pub use routes::*;
pub use store::*;
pub use upstreams::*;
pub use websocket::*;

use crate::tls::{Pair, TlsTerms};

/// Everything one gateway needs to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients arrive. At least one.
    pub listeners: Vec<Listener>,
    /// Sockets that somebody else has opened: a listener takes the one at its address instead of
    /// opening its own. Default: none.
    pub inherited: Vec<Arc<TcpListener>>,
    /// Sockets that a process before this one has listened on, all of an address together. Listeners take
    /// them at the start as if they had opened them; what none takes is closed. Default: none.
    pub left: Vec<Arc<TcpListener>>,
    /// What listeners that terminate TLS prove themselves with: each is shown for its own names, the
    /// first one also for all others. At least one where a listener has [`Listener::tls`].
    pub certificates: Vec<Pair>,
    /// How often the files of certificates are looked at; `None`: never. Default: 5 s. A pair that
    /// changed is in use after two looks.
    pub certificate_watch: Option<Duration>,
    /// Relay threads, each with its own accept queue. Default: the number of cores.
    pub workers: usize,
    /// Limits that hold for the whole process.
    pub limits: Limits,
    /// Deadlines of the HTTP side.
    pub timeouts: Timeouts,
    /// Paths of the health endpoints on the public port.
    pub health_paths: HealthPaths,
    /// Peers whose `Forwarded` and `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The groups of replicas that routes name by index.
    pub upstreams: Vec<UpstreamConfig>,
    /// HTTP and WebSocket routes.
    pub routes: Vec<Route>,
    /// Raw TCP routes.
    pub tcp_routes: Vec<TcpRoute>,
    /// Signs affinity cookies. Random at each start unless configured.
    pub affinity_key: [u8; 32],
    /// How durable sessions are kept.
    pub durable: DurableConfig,
    /// What a collector is told of single requests; `None`: nothing. Default: `None`.
    pub traces: Option<TraceConfig>,
    /// Whom all metrics are told; `None`: nobody, who wants them asks. Default: `None`.
    pub metrics: Option<MetricsConfig>,
    /// DNS servers that look replicas up; empty takes those of the system. The hosts file counts
    /// before either.
    pub dns_servers: Vec<SocketAddr>,
    /// Who judges tokens; routes name them by index.
    pub authorities: Vec<Authority>,
    /// Where clients get tickets for their tokens; `None`: nowhere.
    pub tickets: Option<TicketOffice>,
    /// What gateways of one deployment share; `None`: nothing, each keeps its own. Default: `None`.
    pub store: Option<StoreConfig>,
    /// Opens bypass tokens of end-to-end tests. Never set in production.
    pub bypass_key: Option<[u8; 32]>,
}

/// One address that clients connect to.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Routes refer to a listener by this name.
    pub name: String,
    /// Address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// Who must begin each connection with a PROXY protocol header; all others are refused. `None`:
    /// nobody sends one, and it would be read as the client's own bytes.
    pub proxy_senders: Option<Vec<IpNet>>,
    /// Whether HTTP/2 is offered to TLS clients (by ALPN). Default: yes.
    pub http2: bool,
    /// Whether clients may speak HTTP/2 without TLS, from their first byte on. Default: no.
    pub h2c: bool,
    /// How TLS is terminated here. `None`: it is not.
    pub tls: Option<TlsTerms>,
}

impl Listener {
    /// A listener with the default of everything but its name and address.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        let name = name.into();
        Self { name, address, proxy_senders: None, tls: None, http2: true, h2c: false }
    }
}

/// Bounds of the whole process.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections open at once; beyond it the listener stops accepting.
    pub connections_max: usize,
    /// Memory that the process may use; near its end nothing new is taken. `None`: what the container
    /// or the machine has. Where a container has less, that counts. Default: `None`.
    pub memory_bytes_max: Option<u64>,
    /// Bytes of one request head (start line and fields). Beyond it: 431, or 414 for the target.
    pub head_bytes_max: usize,
    /// Header fields of one request. Beyond it: 431.
    pub header_fields_max: usize,
    /// Streams that a client may have open at once on one HTTP/2 connection, WebSockets included.
    pub http2_streams_max: u32,
    /// Engine.IO session ids remembered per upstream, oldest out first.
    pub affinity_entries_max: usize,
    /// How many upgrades may come, and how many WebSockets may be open.
    pub admission: AdmissionLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            memory_bytes_max: None,
            head_bytes_max: 16 * 1024,
            header_fields_max: 100,
            http2_streams_max: 100,
            affinity_entries_max: 100_000,
            admission: AdmissionLimits::default(),
        }
    }
}

/// Deadlines of the HTTP side, each total and not per read.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head. Then: 408.
    pub head: Duration,
    /// Between two requests on one client connection. Then it is closed.
    pub keep_alive: Duration,
    /// Between two pieces of a request body or of a response body the client must read. Then: aborted.
    pub body_stall: Duration,
    /// How long bytes of one kind may take to tell raw TCP from HTTP where a listener serves both.
    pub detect: Duration,
    /// From SIGTERM to the end of the process; WebSockets are closed spread over the first 80 % of it.
    pub drain: Duration,
    /// How long a new binary may take to start before it is given up.
    pub upgrade_start: Duration,
    /// How long each step may take while connections stand still to be moved to a new binary.
    pub upgrade_step: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            keep_alive: Duration::from_secs(60),
            body_stall: Duration::from_secs(60),
            detect: Duration::from_millis(200),
            drain: Duration::from_secs(25),
            upgrade_start: Duration::from_secs(30),
            upgrade_step: Duration::from_secs(5),
        }
    }
}

/// Paths the gateway itself answers on the public port; an empty string turns one off.
#[derive(Debug, Clone)]
pub struct HealthPaths {
    /// 200 while the process turns.
    pub live: String,
    /// 200 while new work is welcome.
    pub ready: String,
    /// 200 once every start-up step is done.
    pub startup: String,
}

impl Default for HealthPaths {
    fn default() -> Self {
        Self {
            live: "/health/live".into(),
            ready: "/health/ready".into(),
            startup: "/health/startup".into(),
        }
    }
}
