//! Keys of `[websocket]` and `[routes.websocket]`: the same, for all routes and for one.

use longhaul_gateway::config::WebSocketPolicy;

use super::{DAY_S, Flag, HOUR_S, Key, Section, Shape};
use super::{duration, duration_or_off, number, seconds, seconds_or_off, size};

pub(super) static WEBSOCKET: Section = Section {
    name: "websocket",
    is_list: false,
    what: "How WebSockets are kept: here for all routes, in [routes.websocket] for one.",
    keys: KEYS,
    children: &[],
};

static KEYS: &[Key] = &[
    Key {
        name: "ping",
        shape: seconds_or_off(1, HOUR_S),
        default: || duration_or_off(WebSocketPolicy::default().ping),
        what: "A leg over which nothing passed for so long gets a ping, on both sides",
        cost: "some ten bytes each way, a wake-up of the radio of a phone",
        danger: "at 55s or more idle timers on the path fire first (Heroku 55s; ALB, nginx and Fly \
                 60s; Cloudflare 100s; Azure 230s); off leaves dead peers unseen",
        flag: Some(Flag::new("--ping", "LONGHAUL_PING", "DURATION")),
        ..Key::NEW
    },
    Key {
        name: "pings_missed_max",
        shape: Shape::Count { min: 1, max: 100 },
        default: || number(WebSocketPolicy::default().pings_missed_max),
        what: "Pings in a row that may stay unanswered before a leg is dead",
        cost: "how long a dead peer is kept: this times ping",
        danger: "1 cuts a client whose link sleeps for one interval",
        ..Key::NEW
    },
    Key {
        name: "idle",
        shape: seconds_or_off(1, 30 * DAY_S),
        default: || duration_or_off(WebSocketPolicy::default().idle),
        what: "Ends a WebSocket over which no message passed for so long, with 1001; pings do not count",
        danger: "under 60s it closes chats in which somebody thinks",
        flag: Some(Flag::new("--idle", "LONGHAUL_IDLE", "DURATION")),
        ..Key::NEW
    },
    Key {
        name: "lifetime",
        shape: seconds_or_off(1, 365 * DAY_S),
        default: || duration_or_off(WebSocketPolicy::default().lifetime),
        what: "Ends a WebSocket of this age with 1001, spread by 10 % either way",
        cost: "a reconnect of each client each time",
        danger: "short lifetimes are reconnect storms",
        flag: Some(Flag::new("--lifetime", "LONGHAUL_LIFETIME", "DURATION")),
        ..Key::NEW
    },
    Key {
        name: "linger",
        shape: seconds(0, HOUR_S),
        default: || duration(WebSocketPolicy::default().linger),
        what: "How long the second leg may go on after the first ended or a close frame passed",
        cost: "connections in their last seconds count towards connections_max",
        danger: "0s loses the close code of the other side",
        ..Key::NEW
    },
    Key {
        name: "write_stall",
        shape: seconds(1, HOUR_S),
        default: || duration(WebSocketPolicy::default().write_stall),
        what: "How long a leg may refuse bytes that wait for it",
        cost: "how long a stopped reader holds its buffers",
        danger: "too short cuts phones in tunnels",
        ..Key::NEW
    },
    Key {
        name: "buffer_bytes_max",
        shape: Shape::Size { min: 4 << 10, max: 64 << 20 },
        default: || size(WebSocketPolicy::default().buffer_bytes_max),
        what: "Bytes that may wait for a slow leg in each direction; then the other leg is not read. Four \
               times as many while less than 4 MiB wait in all, for each worker and route",
        cost: "memory of each slow WebSocket, twice this at most once many are slow",
        danger: "thousands of slow readers times a large buffer end the process",
        ..Key::NEW
    },
    Key {
        name: "message_bytes_max",
        shape: Shape::Size { min: 1, max: 1 << 40 },
        example: "\"1MiB\"",
        what: "Payload of one message from a client, over all its fragments and as it is on the wire \
               (compressed, if it is); then 1009. By default messages have no bound here, since none \
               is held",
        danger: "smaller than what the application takes cuts uploads short",
        ..Key::NEW
    },
    Key {
        name: "messages_per_second",
        shape: Shape::Count { min: 1, max: 1_000_000 },
        example: "100",
        what: "Messages that a client may send each second, pings and pongs included; then 1008",
        cost: "some 150 bytes for each WebSocket with any of these three bounds",
        danger: "cuts clients that send what they saved up while they were away",
        ..Key::NEW
    },
    Key {
        name: "bytes_per_second",
        shape: Shape::Size { min: 1, max: 1 << 40 },
        example: "\"1MiB\"",
        what: "Payload that a client may send each second; then 1008. One large message passes after a \
               pause, and the next only when it is worked off",
        danger: "cuts clients on fast links in the middle of an upload",
        ..Key::NEW
    },
];

pub(super) static ROUTE_WEBSOCKET: Section = Section {
    name: "websocket",
    is_list: false,
    what: "How WebSockets of this route are kept; what it does not say comes from [websocket].",
    keys: KEYS,
    children: &[],
};
