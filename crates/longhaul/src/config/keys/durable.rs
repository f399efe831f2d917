//! Keys of `[durable]`.

use longhaul_gateway::config::DurableConfig;

use super::{DAY_S, Key, Section, Shape};
use super::{duration, duration_or_off, milliseconds, number, seconds, seconds_or_off, size};

pub(super) static DURABLE: Section = Section {
    name: "durable",
    is_list: false,
    what: "Durable sessions, for clients that ask for them by the subprotocol longhaul.v1: their link \
           may be lost and replaced, and nothing else is.",
    keys: &[
        Key {
            name: "enabled",
            shape: Shape::Boolean,
            default: || number(DurableConfig::default().is_enabled),
            what: "Whether clients that ask get durable sessions; the others get plain WebSockets",
            danger: "false makes such clients fall back to plain WebSockets, which end with their link",
            ..Key::NEW
        },
        Key {
            name: "grace",
            shape: seconds(1, DAY_S),
            default: || duration(DurableConfig::default().grace),
            what: "How long a session without a link waits for its client, and its replica with it",
            cost: "a WebSocket at the replica for each client that left without a word, and what it says",
            danger: "shorter than a tunnel or a lift makes clients start anew",
            ..Key::NEW
        },
        Key {
            name: "stall",
            shape: seconds(1, DAY_S),
            default: || duration(DurableConfig::default().stall),
            what: "How long a session without a link may keep its replica from writing, once its window is \
                   full; then the session is over (4907)",
            danger: "longer than the replica waits for a pong: it gives up first",
            ..Key::NEW
        },
        Key {
            name: "attach",
            shape: milliseconds(100, 600_000),
            default: || duration(DurableConfig::default().attach),
            what: "How long a replica that acknowledges messages itself may take to look up what it has \
                   committed of a session; then its leg is closed (4908) and the next replica asked",
            cost: "as much of a pause for the session's client, when a replica hangs",
            danger: "shorter than a busy store takes, no replica is ever in time",
            ..Key::NEW
        },
        Key {
            name: "heartbeat",
            shape: milliseconds(200, 600_000),
            default: || duration(DurableConfig::default().heartbeat),
            what: "A link on which nothing was heard or said for so long gets a ping; after three it is dead",
            cost: "a few bytes each way, a wake-up of the radio of a phone",
            danger: "long ones find dead links late, and what was sent meanwhile waits",
            ..Key::NEW
        },
        Key {
            name: "link_lifetime",
            shape: seconds_or_off(1, 30 * DAY_S),
            default: || duration_or_off(DurableConfig::default().link_lifetime),
            what: "A link of this age (10 % either way) is replaced by a new one before it is cut: set it \
                   below what cuts connections in front of the gateway",
            cost: "a reconnect of each client each time, which nobody notices",
            danger: "above the limit of the path it does nothing",
            ..Key::NEW
        },
        Key {
            name: "window_bytes",
            shape: Shape::Size { min: 1 << 10, max: 1 << 30 },
            default: || size(DurableConfig::default().window_bytes),
            what: "Bytes of messages that may be unacknowledged, in each direction of a session",
            cost: "memory of each session whose client is slow or away",
            danger: "too small slows links with long delay; too large fills memory_bytes_max",
            ..Key::NEW
        },
        Key {
            name: "window_items",
            shape: Shape::Count { min: 16, max: 1_000_000 },
            default: || number(DurableConfig::default().window_items),
            what: "Messages and chunks that may be unacknowledged, in each direction of a session",
            danger: "too small slows streams of small messages",
            ..Key::NEW
        },
        Key {
            name: "message_bytes_max",
            shape: Shape::Size { min: 1 << 10, max: 256 << 20 },
            default: || size(DurableConfig::default().message_bytes_max),
            what: "Bytes of one message in a session; messages are held whole",
            cost: "twice this in each session, at worst",
            danger: "a larger one from a client ends its session (4911), one from a replica too (1009)",
            ..Key::NEW
        },
        Key {
            name: "chunk_bytes",
            shape: Shape::Size { min: 1 << 10, max: 1 << 20 },
            default: || size(DurableConfig::default().chunk_bytes),
            what: "Bytes of the pieces in which messages travel, so that large ones pass short-lived links",
            danger: "a link that cannot carry one piece within two and a half heartbeats is given up",
            ..Key::NEW
        },
        Key {
            name: "sessions_max",
            shape: Shape::Count { min: 1, max: 10_000_000 },
            default: || number(DurableConfig::default().sessions_max),
            what: "Sessions at once; newcomers are asked to come back (4909)",
            cost: "some 3 KiB for each, besides its connections",
            ..Key::NEW
        },
        Key {
            name: "memory_bytes_max",
            shape: Shape::Size { min: 1 << 20, max: 1 << 40 },
            default: || size(DurableConfig::default().memory_bytes_max),
            what: "Bytes of messages that all sessions hold together; from 80 % on, replicas of sessions \
                   without a link wait, and at the bound the largest of those sessions end (4907)",
            danger: "more than the container has left ends the process instead",
            ..Key::NEW
        },
        Key {
            name: "resumes_per_second",
            shape: Shape::Count { min: 1, max: 1_000_000 },
            default: || number(DurableConfig::default().resumes_per_second),
            what: "Links that may resume each second; the others are told when to come back",
            cost: "each may cost a window of replay",
            danger: "too few make clients wait after an outage that they all saw",
            ..Key::NEW
        },
        Key {
            name: "credentials",
            shape: Shape::Texts("names of header fields"),
            default: || Some("[]".to_owned()),
            what: "Header fields that must be the same when a session is resumed, as in \"cookie\" or \
                   \"authorization\"; by default whoever has the token has the session",
            danger: "a field that changes from one connection to the next (a refreshed token) ends the \
                     session at its first resume (4903)",
            ..Key::NEW
        },
    ],
    children: &[],
};
