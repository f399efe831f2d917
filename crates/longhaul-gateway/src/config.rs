//! What the gateway is told to do. Every value here is in range: `longhaul/config` parses text into it.
//!
//! Durations and sizes carry their defaults in `Default`; the reference page and the JSON schema
//! are generated from the text's mirror, which takes its defaults from here.

mod admission;
mod store;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

pub use admission::*;
use http::{HeaderName, StatusCode};
use ipnet::IpNet;
pub use longhaul_policy::admission::limits::Allowance;
pub use longhaul_policy::balance::Strategy;
pub use longhaul_policy::cors::CorsRules;
pub use longhaul_policy::health::HealthPolicy;
pub use longhaul_policy::origin::{OriginPattern, OriginRules};
pub use longhaul_policy::route::{HostPattern, RoutePattern};
use longhaul_proto::durable::owner::OwnerPolicy;
use longhaul_proto::durable::{Sizes, Window};
pub use longhaul_proto::proxy_protocol;
pub use longhaul_proto::redial::{Prelude, Uncertain};
pub use longhaul_proto::session::Bounds;
pub use longhaul_proto::websocket::CloseCode;
pub use store::*;

use crate::tls::{Pair, TlsTerms, UpstreamTls};

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

/// What a collector is told of single requests, by OTLP over HTTP.
#[derive(Debug, Clone)]
pub struct TraceConfig {
    /// Where it is.
    pub collector: Service,
    /// One in so many requests is traced, of those whose caller does not say. At least 1.
    pub one_in: u32,
    /// Whether a caller's word counts that its request is traced, or is not.
    pub follows: bool,
    /// What this gateway is called in traces.
    pub service_name: String,
}

/// What a collector is told of all metrics, by OTLP over HTTP.
#[derive(Debug, Clone)]
pub struct MetricsConfig {
    /// Where it is.
    pub collector: Service,
    /// How often.
    pub interval: Duration,
    /// What this gateway is called.
    pub service_name: String,
    /// What tells it from others of that name; `None`: the name of its host.
    pub instance: Option<String>,
}

/// How durable sessions are kept. They are for clients that ask for the subprotocol `longhaul.v1`.
#[derive(Debug, Clone)]
pub struct DurableConfig {
    /// Whether there are any. Default: yes.
    pub is_enabled: bool,
    /// How long a session lives without a link. Default: 120 s.
    pub grace: Duration,
    /// How long a session without a link may keep its replica waiting. Default: 30 s.
    pub stall: Duration,
    /// How long a replica that acknowledges messages itself may take to say what it has committed of a
    /// session. Default: 5 s.
    pub attach: Duration,
    /// A link on which nothing was heard or said for so long gets a ping; after three it is dead.
    /// Default: 5 s.
    pub heartbeat: Duration,
    /// A link of this age, ±10 %, is asked for its successor before something on the path cuts it.
    /// Default: none.
    pub link_lifetime: Option<Duration>,
    /// Bytes that may be unacknowledged in each direction of a session. Default: 4 MiB.
    pub window_bytes: usize,
    /// Messages and chunks that may. Default: 4,096.
    pub window_items: u64,
    /// Bytes of one message. Default: 1 MiB.
    pub message_bytes_max: usize,
    /// Bytes of the pieces it travels in. At least a thousandth of a message. Default: 16 KiB, which a
    /// link of 1.3 kB/s carries before it counts as dead.
    pub chunk_bytes: usize,
    /// Sessions at once. Default: 100,000.
    pub sessions_max: usize,
    /// Bytes that all sessions together may hold. Default: 256 MiB.
    pub memory_bytes_max: usize,
    /// Links that may resume each second; the others are asked to come back. Default: 1,000.
    pub resumes_per_second: u32,
    /// Header fields that must be the same when a session is resumed. Default: none, so that whoever
    /// has the token has the session.
    pub credentials: Vec<HeaderName>,
}

impl Default for DurableConfig {
    fn default() -> Self {
        Self {
            is_enabled: true,
            grace: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            attach: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
            link_lifetime: None,
            window_bytes: 4 << 20,
            window_items: 4096,
            message_bytes_max: 1 << 20,
            chunk_bytes: 16 << 10,
            sessions_max: 100_000,
            memory_bytes_max: 256 << 20,
            resumes_per_second: 1_000,
            credentials: Vec::new(),
        }
    }
}

impl DurableConfig {
    /// What the machine of each session is told.
    pub(crate) fn policy(&self) -> OwnerPolicy {
        OwnerPolicy {
            window: Window { bytes: self.window_bytes as u64, items: self.window_items },
            sizes: Sizes {
                message_bytes_max: self.message_bytes_max,
                // Text is cut between code points, which costs up to three bytes of each chunk.
                chunk_bytes_max: self.chunk_bytes.max(self.message_bytes_max / 1000),
            },
            heartbeat: self.heartbeat,
            grace: self.grace,
            stall: self.stall,
            attach: self.attach,
            ..OwnerPolicy::default()
        }
    }
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

/// One HTTP and WebSocket route. The most specific pattern wins.
#[derive(Debug, Clone)]
pub struct Route {
    /// Unique name, for logs and metrics.
    pub name: String,
    /// Which requests it takes.
    pub pattern: RoutePattern,
    /// Listeners it serves, by index; empty means all.
    pub listeners: Vec<usize>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Whether the client's `Host` is passed on (the default) or replaced by the replica's address.
    pub preserve_host: bool,
    /// How its WebSockets are kept.
    pub websocket: WebSocketPolicy,
    /// Who may use it.
    pub admission: AdmissionPolicy,
}

/// How WebSockets of one route are kept.
#[derive(Debug, Clone)]
pub struct WebSocketPolicy {
    /// A leg that sent or received nothing for so long gets a ping. `None`: no pings. Default: 25 s.
    pub ping: Option<Duration>,
    /// Pings in a row that may stay unanswered before a leg is dead. Default: 2.
    pub pings_missed_max: u32,
    /// Ends a WebSocket over which no message passed for so long (1001). Default: none.
    pub idle: Option<Duration>,
    /// Ends a WebSocket of this age (1001), ±10 % jitter. Default: none.
    pub lifetime: Option<Duration>,
    /// How long the second leg may go on after the first ended or a close frame passed. Default: 10 s.
    pub linger: Duration,
    /// How long a leg may refuse bytes that wait for it. Default: 60 s.
    pub write_stall: Duration,
    /// Bytes that may wait for a slow leg, per direction. Default: 64 KiB.
    pub buffer_bytes_max: usize,
    /// What a client may send. Default: whatever it likes.
    pub bounds: Bounds,
    /// Puts the client for browsers into pages, so that the WebSockets they open to their own host are
    /// durable. Default: no.
    pub injects_client: bool,
    /// What becomes of one whose replica is lost. Default: it ends.
    pub on_replica_loss: OnReplicaLoss,
    /// How a replica is replaced, where it is.
    pub redial: Redial,
    /// When a replica that drains is left. Default: when it closes.
    pub cutover: Cutover,
    /// How long leaving a replica that drains may take. Default: 30 s.
    pub leave_within: Duration,
}

/// What becomes of a WebSocket whose replica is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReplicaLoss {
    /// It ends with 1012.
    Close,
    /// It stays open, and another replica is dialled.
    Redial,
}

/// When a WebSocket leaves a replica that drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutover {
    /// When the replica closes it, or the time for it is over.
    OnClose,
    /// When no message has passed for so long.
    Quiet(Duration),
    /// Between two messages.
    Now,
}

/// How a lost replica is replaced.
#[derive(Debug, Clone)]
pub struct Redial {
    /// How long a next replica is looked for. Then: 1013. Default: 30 s.
    pub give_up: Duration,
    /// Bytes of one unfinished message that are held, per direction. Default: 256 KiB.
    pub hold_bytes_max: usize,
    /// Bytes of client messages that may wait for the next replica. Default: 256 KiB.
    pub wait_bytes_max: usize,
    /// What becomes of messages that a lost replica may or may not have read.
    pub uncertain: Uncertain,
    /// Close codes with which a replica says that it goes. 1006 stands for an end without one.
    pub codes: Vec<CloseCode>,
    /// What each new replica hears first.
    pub prelude: Prelude,
    /// Which protocol with an opening of its own is spoken. Default: recognised.
    pub profile: Profile,
    /// Bytes of a client's opening that are remembered. Default: 64 KiB.
    pub keep_bytes_max: usize,
}

/// Which protocol the WebSockets of a route speak, as far as its opening has to be said again to each
/// new replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Recognised by path query and subprotocol.
    Auto,
    /// None: messages are opaque.
    Plain,
    /// Socket.IO over Engine.IO 4.
    SocketIo,
    /// The subprotocol `graphql-transport-ws`.
    GraphQl,
}

/// Enough for tokens and some dozens of subscriptions.
const KEEP_BYTES_MAX: usize = 64 * 1024;

impl Default for Redial {
    fn default() -> Self {
        Self {
            give_up: Duration::from_secs(30),
            hold_bytes_max: 256 * 1024,
            wait_bytes_max: 256 * 1024,
            uncertain: Uncertain::AtMostOnce,
            codes: [1001, 1006, 1012, 1013].map(CloseCode).to_vec(),
            prelude: Prelude { first: 0, bytes_max: KEEP_BYTES_MAX, suppress: 0 },
            profile: Profile::Auto,
            keep_bytes_max: KEEP_BYTES_MAX,
        }
    }
}

impl Default for WebSocketPolicy {
    fn default() -> Self {
        Self {
            ping: Some(Duration::from_secs(25)),
            pings_missed_max: 2,
            idle: None,
            lifetime: None,
            linger: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            buffer_bytes_max: 64 * 1024,
            on_replica_loss: OnReplicaLoss::Close,
            redial: Redial::default(),
            cutover: Cutover::OnClose,
            leave_within: Duration::from_secs(30),
            bounds: Bounds::default(),
            injects_client: false,
        }
    }
}

/// One raw TCP route. A listener may have many: one for each set of names, and one for the rest.
#[derive(Debug, Clone)]
pub struct TcpRoute {
    /// Unique name, for logs and metrics.
    pub name: String,
    /// The listener it serves, by index.
    pub listener: usize,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Takes TLS connections whose ClientHello asks for one of these names, as they are; the most
    /// specific of the listener wins. `None` takes what nothing else on the listener does.
    pub server_names: Option<Vec<HostPattern>>,
    /// The server speaks first: a client silent for `timeouts.detect` is connected without a byte.
    pub server_first: bool,
    /// Ends a connection without a byte either way for so long. Default: none.
    pub idle: Option<Duration>,
    /// How long the second direction may go on after the first ended. Default: 10 s without a byte.
    pub linger: Duration,
}

impl TcpRoute {
    /// A route of this listener to this upstream, with the default of everything else.
    pub fn new(name: impl Into<String>, listener: usize, upstream: usize) -> Self {
        Self {
            name: name.into(),
            listener,
            upstream,
            server_names: None,
            server_first: false,
            idle: None,
            linger: Duration::from_secs(10),
        }
    }
}

/// A client as admission, affinity and logs see it: behind trusted proxies, the forwarded address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);
