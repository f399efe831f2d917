//! Keys of the whole process: where it listens, how long it waits, how much it takes.

use longhaul_gateway::config::{HealthPaths, Limits, Timeouts};

use super::admission;
use super::{Flag, HOUR_S, Key, Section, Shape};
use super::{duration, milliseconds, number, seconds, size, text};
use crate::config::defaults;

pub(super) static SERVER: Section = Section {
    name: "server",
    is_list: false,
    what: "Where clients arrive, and whom to believe.",
    keys: &[
        Key {
            name: "listen",
            shape: Shape::Texts("\"ADDRESS:PORT\" or \"NAME=ADDRESS:PORT\""),
            default: || text(defaults::LISTEN),
            what: "Where clients arrive; routes refer to a listener by its NAME. Port 0 takes a free \
                   one. When nothing else says where and the environment has PORT, 0.0.0.0:PORT",
            cost: "one socket for each worker",
            danger: "127.0.0.1 cannot be reached from outside a container; 0.0.0.0 can be reached by \
                     everybody",
            flag: Some(Flag::new("--listen", "LONGHAUL_LISTEN", "ADDRESS").repeated()),
            ..Key::NEW
        },
        Key {
            name: "admin",
            shape: Shape::Text("\"ADDRESS:PORT\" or \"unix:PATH\""),
            example: "\"127.0.0.1:9090\"",
            what: "Where the admin API and the dashboard listen; without it there is none. A Unix \
                   socket serves the gateway's user and root, without a token",
            cost: "one socket",
            danger: "who reaches an address sees health and metrics, on this machine all that only \
                     reads; keep it on loopback",
            flag: Some(Flag::new("--admin", "LONGHAUL_ADMIN", "ADDRESS")),
            ..Key::NEW
        },
        Key {
            name: "environment",
            shape: Shape::Choice(&["production", "staging", "development"]),
            default: || text("production"),
            what: "Where this gateway runs: it gives the defaults and bounds of admission.deadline, and \
                   says whether a bypass_key may be there",
            danger: "anything but production takes bypass tokens, where there is a key for them",
            flag: Some(Flag::new("--environment", "LONGHAUL_ENVIRONMENT", "NAME")),
            ..Key::NEW
        },
        Key {
            name: "admin_token",
            shape: Shape::Text(
                "16 or more visible ASCII characters, as from `openssl rand -hex 32`",
            ),
            example: "\"0000000000000000000000000000000000000000000000000000000000000000\"",
            what: "What lets its bearer change things by the admin API, and read from other machines; \
                   without it nobody can, but over a Unix socket",
            danger: "a secret: who has it can end every connection",
            flag: Some(Flag::new("--admin-token", "LONGHAUL_ADMIN_TOKEN", "TOKEN").env_only()),
            ..Key::NEW
        },
        Key {
            name: "admin_token_file",
            shape: Shape::Text("path"),
            example: "\"/run/secrets/longhaul-admin-token\"",
            what: "A file with the admin token, instead of `admin_token`; read at the start",
            danger: "who can read the file has the token",
            flag: Some(Flag::new("--admin-token-file", "LONGHAUL_ADMIN_TOKEN_FILE", "FILE")),
            ..Key::NEW
        },
        Key {
            name: "admin_hosts",
            shape: Shape::Texts("host names without port"),
            default: || Some("[]".to_owned()),
            what: "Names by which the admin API may be asked for, beside localhost and addresses",
            danger: "a name that strangers can point elsewhere lets their pages read the admin API in \
                     your browser",
            ..Key::NEW
        },
        Key {
            name: "workers",
            shape: Shape::Count { min: 1, max: 1024 },
            example: "2",
            what: "Threads that relay, each with its own accept queue; by default one for each core",
            cost: "a few hundred KiB each",
            danger: "more than cores only adds switching; fewer leaves cores idle",
            flag: Some(Flag::new("--workers", "LONGHAUL_WORKERS", "COUNT")),
            ..Key::NEW
        },
        Key {
            name: "trusted_proxies",
            shape: Shape::Texts(
                "addresses, networks as in \"10.0.0.0/8\", \"loopback\" or \"private\"",
            ),
            default: || Some("[]".to_owned()),
            what: "Peers whose Forwarded and X-Forwarded-* headers are believed",
            danger: "a peer in this list can claim any client address; without the ingress in it, all \
                     clients seem to have the address of the ingress",
            flag: Some(
                Flag::new("--trusted-proxy", "LONGHAUL_TRUSTED_PROXIES", "NETWORK").repeated(),
            ),
            ..Key::NEW
        },
        Key {
            name: "dns_servers",
            shape: Shape::Texts("addresses, port 53 when not said"),
            example: "[\"10.0.0.2\"]",
            what: "DNS servers asked for replicas; by default those of the system",
            danger: "with a server that does not know the names of replicas there are none",
            ..Key::NEW
        },
        Key {
            name: "bypass_key",
            shape: Shape::Text("64 hexadecimal digits, as from `openssl rand -hex 32`"),
            example: "\"0000000000000000000000000000000000000000000000000000000000000000\"",
            what: "Opens bypass tokens, by which end-to-end tests come in without a login; `longhaul \
                   bypass` makes them. Each use is logged and counted",
            danger: "a secret that opens every route; in production the gateway does not start with it",
            flag: Some(Flag::new("--bypass-key", "LONGHAUL_BYPASS_KEY", "HEX").env_only()),
            ..Key::NEW
        },
        Key {
            name: "config_watch",
            shape: Shape::Duration {
                min: std::time::Duration::from_millis(100),
                max: std::time::Duration::from_secs(HOUR_S),
                or_off: true,
            },
            default: || duration(defaults::CONFIG_WATCH),
            what: "How often the configuration file is looked at; one that changed is read again after \
                   two looks. HUP has it read at once",
            cost: "one call to the system",
            danger: "off: a change waits for HUP, the admin API or a restart",
            ..Key::NEW
        },
        Key {
            name: "affinity_key",
            shape: Shape::Text("64 hexadecimal digits, as from `openssl rand -hex 32`"),
            example: "\"0000000000000000000000000000000000000000000000000000000000000000\"",
            what: "Signs affinity cookies; by default random at each start, so that a restart \
                   forgets who was where",
            danger: "a secret: who has it can choose a replica; every gateway in front of the same \
                     replicas needs the same one",
            flag: Some(Flag::new("--affinity-key", "LONGHAUL_AFFINITY_KEY", "HEX").env_only()),
            ..Key::NEW
        },
    ],
    children: &[],
};

pub(super) static TIMEOUTS: Section = Section {
    name: "timeouts",
    is_list: false,
    what: "Deadlines of the HTTP side and of the end. Each is total, not per read.",
    keys: &[
        Key {
            name: "head",
            shape: milliseconds(100, 60_000),
            default: || duration(Timeouts::default().head),
            what: "From the first byte of a request to the end of its head; then 408",
            cost: "how long a client that trickles bytes holds a connection",
            danger: "too short cuts phones on bad links; too long lets strangers hold connections",
            ..Key::NEW
        },
        Key {
            name: "keep_alive",
            shape: seconds(1, HOUR_S),
            default: || duration(Timeouts::default().keep_alive),
            what: "Between two requests on one client connection; then it is closed",
            cost: "idle connections count towards connections_max",
            danger: "shorter than the ingress in front keeps its connections: it sends a request into \
                     a closing connection and answers 502 (behind Google load balancers, which keep \
                     theirs 600s, use 620s)",
            ..Key::NEW
        },
        Key {
            name: "body_stall",
            shape: seconds(1, HOUR_S),
            default: || duration(Timeouts::default().body_stall),
            what: "Between two pieces of a body; then the request is aborted",
            cost: "how long a stalled transfer holds its buffers",
            danger: "too short cuts slow event streams that send no comments",
            ..Key::NEW
        },
        Key {
            name: "detect",
            shape: milliseconds(10, 10_000),
            default: || duration(Timeouts::default().detect),
            what: "How long a silent client is waited for where a listener serves HTTP and raw TCP",
            cost: "delay of each connection to a server that speaks first",
            danger: "too short takes a slow HTTP client for raw TCP",
            ..Key::NEW
        },
        Key {
            name: "drain",
            shape: seconds(0, HOUR_S),
            default: || duration(Timeouts::default().drain),
            what: "From SIGTERM to the end; WebSockets are closed spread over the first 80 % of it",
            cost: "how long a deploy waits for the old process",
            danger: "longer than the platform waits before it kills (30s on Kubernetes, Render and \
                     Azure Container Apps, 10s on Cloud Run and Docker) cuts the rest without a word; \
                     0s closes all at once and they all come back at once",
            flag: Some(Flag::new("--drain", "LONGHAUL_DRAIN", "DURATION")),
            ..Key::NEW
        },
        Key {
            name: "upgrade_start",
            shape: milliseconds(100, 600_000),
            default: || duration(Timeouts::default().upgrade_start),
            what: "How long the new binary of an upgrade may take until it stands ready, its replicas \
                   looked up and probed; then it is ended, and the old one goes on",
            danger: "too short ends a new binary that waits for slow names",
            ..Key::NEW
        },
        Key {
            name: "upgrade_step",
            shape: milliseconds(100, 60_000),
            default: || duration(Timeouts::default().upgrade_step),
            what: "How long each step of an upgrade may take while connections stand still; then the \
                   new binary is ended, and they go on where they are",
            cost: "the longest pause of a connection when a new binary hangs",
            danger: "too short lets an upgrade of many connections fail on a slow machine",
            ..Key::NEW
        },
    ],
    children: &[],
};

pub(super) static LIMITS: Section = Section {
    name: "limits",
    is_list: false,
    what: "Bounds of the whole process.",
    keys: &[
        Key {
            name: "connections_max",
            shape: Shape::Count { min: 1, max: 10_000_000 },
            default: || number(Limits::default().connections_max),
            what: "Client connections open at once; beyond it clients wait until one ends, and health \
                   probes are answered. Lowered at the start to what the descriptor limit can carry",
            cost: "two descriptors for each connection, and a few KiB",
            danger: "too low makes clients wait in the accept queue; too high for the memory ends the \
                     process",
            flag: Some(Flag::new("--connections-max", "LONGHAUL_CONNECTIONS_MAX", "COUNT")),
            ..Key::NEW
        },
        Key {
            name: "memory_bytes_max",
            shape: Shape::Size { min: 16 << 20, max: 1 << 42 },
            example: "\"512MiB\"",
            what: "Memory that the process may use; by default what the container has, or the machine. At \
                   80 % the route that has the most gets no new WebSockets, at 90 % nothing new is \
                   accepted until some is free. Where the container has less, that counts as well",
            danger: "close to what is used anyway turns clients away; above what the container has it \
                     does nothing",
            flag: Some(Flag::new("--memory-max", "LONGHAUL_MEMORY_MAX", "SIZE")),
            ..Key::NEW
        },
        Key {
            name: "head_bytes_max",
            shape: Shape::Size { min: 1 << 10, max: 1 << 20 },
            default: || size(Limits::default().head_bytes_max),
            what: "Bytes of one request head; beyond it 431, or 414 when the target alone is too long",
            cost: "memory of each connection while a head is read",
            danger: "too small refuses clients with large cookies",
            ..Key::NEW
        },
        Key {
            name: "header_fields_max",
            shape: Shape::Count { min: 10, max: 10_000 },
            default: || number(Limits::default().header_fields_max),
            what: "Header fields of one request; beyond it 431",
            danger: "too small refuses requests that came through many proxies",
            ..Key::NEW
        },
        Key {
            name: "http2_streams_max",
            shape: Shape::Count { min: 1, max: 10_000 },
            default: || number(Limits::default().http2_streams_max as usize),
            what: "Streams open at once on one HTTP/2 connection, each a request or a WebSocket; a \
                   client waits with more",
            cost: "up to 256 KiB each while nobody reads",
            danger: "few starve pages that open many WebSockets; many let one client ask for much",
            ..Key::NEW
        },
        Key {
            name: "affinity_entries_max",
            shape: Shape::Count { min: 1, max: 100_000_000 },
            default: || number(Limits::default().affinity_entries_max),
            what: "Engine.IO session ids remembered for each upstream, oldest out first",
            cost: "about 100 bytes each",
            danger: "fewer than open sessions: forgotten ones are refused by the replica they land on",
            ..Key::NEW
        },
        admission::UPGRADES_PER_SECOND,
        admission::UPGRADES_BURST,
        admission::WEBSOCKETS_MAX,
        admission::CLIENT_UPGRADES_PER_SECOND,
        admission::CLIENT_UPGRADES_BURST,
        admission::CLIENT_WEBSOCKETS_MAX,
        admission::SUBJECT_UPGRADES_PER_SECOND,
        admission::SUBJECT_UPGRADES_BURST,
        admission::SUBJECT_WEBSOCKETS_MAX,
    ],
    children: &[],
};

pub(super) static HEALTH: Section = Section {
    name: "health",
    is_list: false,
    what: "Paths that the gateway itself answers on every listener; \"\" turns one off.",
    keys: &[
        Key {
            name: "live",
            shape: Shape::Text("path"),
            default: || text(HealthPaths::default().live),
            what: "200 while the process turns: for liveness probes",
            danger: "a path of the application is hidden by it",
            ..Key::NEW
        },
        Key {
            name: "ready",
            shape: Shape::Text("path"),
            default: || text(HealthPaths::default().ready),
            what: "200 while new work is welcome, 503 while starting and draining: for readiness probes",
            danger: "a path of the application is hidden by it",
            ..Key::NEW
        },
        Key {
            name: "startup",
            shape: Shape::Text("path"),
            default: || text(HealthPaths::default().startup),
            what: "200 once every start-up step is done: for startup probes",
            danger: "a path of the application is hidden by it",
            ..Key::NEW
        },
    ],
    children: &[],
};
