//! Keys of `[[upstreams]]`: where replicas are, how one is chosen, when it counts as well.

use std::time::Duration;

use longhaul_gateway::config::{HealthPolicy, Http2Policy, Probe, ProbeKind, UpstreamConfig};

use super::tls::UPSTREAM_TLS;
use super::{Flag, HOUR_S, Key, Section, Shape};
use super::{duration, duration_or_off, milliseconds, number, seconds, text};

fn defaults() -> UpstreamConfig {
    UpstreamConfig::new("", Vec::new())
}

fn http2_defaults() -> Http2Policy {
    Http2Policy::default()
}

fn probe_defaults() -> Probe {
    Probe::new(ProbeKind::Tcp)
}

pub(super) static UPSTREAMS: Section = Section {
    name: "upstreams",
    is_list: true,
    what: "Groups of replicas that serve the same thing.",
    keys: &[
        Key {
            name: "name",
            shape: Shape::Text("letters, digits, `-`, `_` and `.`"),
            example: "\"chat\"",
            is_required: true,
            what: "Unique name, for routes, logs and metrics",
            ..Key::NEW
        },
        Key {
            name: "replicas",
            shape: Shape::Replicas,
            example: "[\"127.0.0.1:9000\", { address = \"127.0.0.1:9001\", weight = 2 }]",
            what: "Where its replicas are. A name is looked up (A and AAAA) again by its TTL, and each \
                   address is a replica; `localhost` is 127.0.0.1. \
                   \"https://HOST:PORT\" speaks to it by TLS. Weight 1 to 1000, default 1",
            danger: "the port must be there; without https:// in front replicas are spoken to without TLS",
            flag: Some(Flag::new("--upstream", "LONGHAUL_UPSTREAM", "HOST:PORT").repeated()),
            ..Key::NEW
        },
        Key {
            name: "srv",
            shape: Shape::Texts("names of SRV records"),
            example: "[\"_ws._tcp.chat.example\"]",
            what: "SRV records that name replicas with port and weight, looked up again by their TTL",
            ..Key::NEW
        },
        Key {
            name: "balance",
            shape: Shape::Choice(&BALANCE),
            default: || text(BALANCE[0]),
            what: "How a replica is chosen. least_connections counts open WebSockets",
            danger: "round_robin piles WebSockets up on the replicas that never restarted",
            flag: Some(Flag::new("--balance", "LONGHAUL_BALANCE", "STRATEGY")),
            ..Key::NEW
        },
        Key {
            name: "hash_on",
            shape: Shape::Text(HASH_FORMS),
            default: || text("address"),
            what: "What consistent_hash hashes",
            danger: "behind an ingress that is not in trusted_proxies every client has one address",
            flag: Some(Flag::new("--hash-on", "LONGHAUL_HASH_ON", "WHAT")),
            ..Key::NEW
        },
        Key {
            name: "affinity",
            shape: Shape::Text(
                "\"auto\", \"none\", \"cookie\", \"cookie:NAME\", \"address\", \"header:NAME\" or \
                 \"query:NAME\"",
            ),
            default: || text("auto"),
            what: "Which clients go back to the replica they had: auto follows Engine.IO (Socket.IO) \
                   sessions, cookie is a signed one of the gateway's own, the rest is a hash",
            danger: "none breaks Socket.IO long-polling on two replicas; a hash moves some clients \
                     whenever the set of replicas changes",
            flag: Some(Flag::new("--affinity", "LONGHAUL_AFFINITY", "KIND")),
            ..Key::NEW
        },
        Key {
            name: "connect_deadline",
            shape: milliseconds(100, 300_000),
            default: || duration(defaults().connect_deadline),
            what: "From the first choice of a replica to a connection, all retries included; then 504",
            cost: "how long a client waits for a plain answer",
            danger: "shorter than one connect_attempt leaves no time for a second replica",
            ..Key::NEW
        },
        Key {
            name: "connect_attempt",
            shape: milliseconds(50, 60_000),
            default: || duration(defaults().connect_attempt),
            what: "One TCP connect to one replica",
            danger: "under 1s a lost SYN counts as a failure",
            ..Key::NEW
        },
        Key {
            name: "upgrade_answer",
            shape: seconds(1, HOUR_S),
            default: || duration(defaults().upgrade_answer),
            what: "From a WebSocket handshake sent to a replica to its answer; then 504",
            cost: "how long a hung replica holds a client that connects",
            danger: "shorter than the application takes to check a login",
            ..Key::NEW
        },
        Key {
            name: "response_head",
            shape: seconds(1, HOUR_S),
            default: || duration(defaults().response_head),
            what: "From the end of a request to the head of its answer; then 504",
            cost: "how long a hung replica holds a request",
            danger: "shorter than the slowest request of the application",
            ..Key::NEW
        },
        Key {
            name: "idle_connections_max",
            shape: Shape::Count { min: 0, max: 10_000 },
            default: || number(defaults().idle_connections_max),
            what: "Idle HTTP connections kept for each worker and replica",
            cost: "a descriptor and a few KiB each, on both ends",
            danger: "0 makes a new connection for each request",
            ..Key::NEW
        },
        Key {
            name: "idle_connection",
            shape: seconds(1, HOUR_S),
            default: || duration(defaults().idle_connection),
            what: "How long an idle HTTP connection to a replica is kept",
            danger: "longer than the replica keeps it (uvicorn 5s, Node 5s): requests meet a closing \
                     connection and are sent again",
            ..Key::NEW
        },
        Key {
            name: "send_proxy_protocol",
            shape: Shape::Choice(&SEND_PROXY_PROTOCOL),
            default: || text(SEND_PROXY_PROTOCOL[0]),
            what: "A PROXY protocol header of this version goes first on each connection to a replica \
                   and says who the client is; probes send one that speaks for nobody",
            cost: "a connection for each HTTP request: none is kept for the next client",
            danger: "a replica that does not expect it answers 400 or closes, one that expects it and \
                     gets none waits",
            ..Key::NEW
        },
        Key {
            name: "http2",
            shape: Shape::Boolean,
            default: || number(false),
            what: "Whether requests are passed on by HTTP/2, many over one connection: without TLS from \
                   the first byte on (h2c), with TLS if the replica chooses it (ALPN) and by HTTP/1.1 if \
                   not. gRPC needs it. WebSockets stay on HTTP/1.1, each on a connection of its own",
            cost: "one lost connection fails many requests at once",
            danger: "without TLS a replica that speaks only HTTP/1.1 answers nothing: 502",
            ..Key::NEW
        },
        Key {
            name: "http2_streams_max",
            shape: Shape::Count { min: 1, max: 10_000 },
            default: || number(http2_defaults().streams_max),
            what: "Requests at once on one HTTP/2 connection; the replica's own limit wins where it is \
                   lower",
            cost: "64KiB for each answer that its client does not take",
            danger: "1 makes a connection for each request that is open",
            ..Key::NEW
        },
        Key {
            name: "http2_connections_max",
            shape: Shape::Count { min: 1, max: 1000 },
            default: || number(http2_defaults().connections_max),
            what: "HTTP/2 connections for each worker and replica; one more is made when all others are \
                   full",
            cost: "a descriptor and some 20KiB each, on both ends",
            danger: "with all of them full requests wait, and get 504 after connect_deadline",
            ..Key::NEW
        },
        Key {
            name: "http2_ping",
            shape: Shape::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(HOUR_S),
                or_off: true,
            },
            default: || duration_or_off(http2_defaults().ping),
            what: "An HTTP/2 connection with open requests that brought nothing for so long gets a ping, \
                   and ends when that is not answered within 20s",
            cost: "17 bytes each time",
            danger: "gRPC servers end connections (too_many_pings) that ping more often than every 5 \
                     minutes; off: an answer is waited for as long as TCP believes in the connection",
            ..Key::NEW
        },
    ],
    children: &[&UPSTREAM_TLS, &PROBE, &REPLICA_HEALTH],
};

/// In the order of preference.
pub(in crate::config) static BALANCE: [&str; 4] =
    ["least_connections", "round_robin", "random_of_two", "consistent_hash"];

const SEND_PROXY_PROTOCOL: [&str; 3] = ["off", "v1", "v2"];

const HASH_FORMS: &str =
    "\"address\", \"target\", \"header:NAME\", \"query:NAME\" or \"cookie:NAME\"";

static PROBE: Section = Section {
    name: "probe",
    is_list: false,
    what: "How a replica is asked whether it is well. Without this table, connects alone tell.",
    keys: &[
        Key {
            name: "kind",
            shape: Shape::Choice(&["tcp", "http", "websocket"]),
            example: "\"http\"",
            is_required: true,
            what: "tcp connects, http sends a GET, websocket upgrades and closes with 1000",
            danger: "tcp passes as long as the port is open, whatever the application does",
            ..Key::NEW
        },
        Key {
            name: "path",
            shape: Shape::Text("path and query"),
            default: || text("/"),
            what: "What http and websocket ask for",
            cost: "whatever this path costs the application, each interval and replica",
            danger: "a path that asks a shared database takes all replicas down with it",
            ..Key::NEW
        },
        Key {
            name: "host",
            shape: Shape::Text("host name"),
            example: "\"chat.example\"",
            what: "Host header of the probe; by default the address of the replica",
            ..Key::NEW
        },
        Key {
            name: "status",
            shape: Shape::Count { min: 200, max: 599 },
            example: "200",
            what: "Status that http expects; by default any 2xx or 3xx",
            ..Key::NEW
        },
        Key {
            name: "interval",
            shape: milliseconds(100, 3_600_000),
            default: || duration(probe_defaults().interval),
            what: "Between two probes of one replica, spread by 20 % either way",
            cost: "one connection to each replica each time, from each gateway",
            danger: "fall times interval is how long a dead replica stays in",
            ..Key::NEW
        },
        Key {
            name: "timeout",
            shape: milliseconds(10, 60_000),
            default: || duration(probe_defaults().timeout),
            what: "Total deadline of one probe",
            danger: "too short takes busy replicas out, which makes the others busier",
            ..Key::NEW
        },
    ],
    children: &[],
};

static REPLICA_HEALTH: Section = Section {
    name: "health",
    is_list: false,
    what: "When a replica is up, down or ejected. The last replica is never ejected.",
    keys: &[
        Key {
            name: "rise",
            shape: Shape::Count { min: 1, max: 1000 },
            default: || number(HealthPolicy::default().rise),
            what: "Probes in a row that must pass before a replica that was down is up",
            ..Key::NEW
        },
        Key {
            name: "fall",
            shape: Shape::Count { min: 1, max: 1000 },
            default: || number(HealthPolicy::default().fall),
            what: "Probes in a row that must fail before a replica is down",
            danger: "1 takes a replica out for one lost packet",
            ..Key::NEW
        },
        Key {
            name: "eject_after",
            shape: Shape::Count { min: 1, max: 1000 },
            default: || number(HealthPolicy::default().eject_after),
            what: "Connects or handshakes in a row that must fail before a replica is ejected",
            ..Key::NEW
        },
        Key {
            name: "eject",
            shape: milliseconds(100, 3_600_000),
            default: || duration(HealthPolicy::default().eject),
            what: "First ejection; doubles with each one in a row up to eject_max",
            ..Key::NEW
        },
        Key {
            name: "eject_max",
            shape: milliseconds(100, 86_400_000),
            default: || duration(HealthPolicy::default().eject_max),
            what: "Longest ejection",
            danger: "a replica that came back waits this long",
            ..Key::NEW
        },
        Key {
            name: "slow_start",
            shape: seconds(0, HOUR_S),
            default: || duration(HealthPolicy::default().slow_start),
            what: "How long a returning replica takes to reach its full share; 0s: at once",
            danger: "with least_connections and 0s all new work goes to the replica that just started",
            ..Key::NEW
        },
    ],
    children: &[],
};
