//! Keys of `[websocket]` and `[routes.websocket]`: the same, for all routes and for one.

use longhaul_gateway::config::{CloseCode, Redial, WebSocketPolicy};

use super::{DAY_S, Flag, HOUR_S, Key, Section, Shape};
use super::{duration, duration_or_off, milliseconds, number, seconds, seconds_or_off, size, text};

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
        name: "on_replica_loss",
        shape: Shape::Choice(&["close", "redial"]),
        default: || text("close"),
        what: "What becomes of a WebSocket whose replica dies, hangs or drains: it ends with 1012, or it \
               stays open while another replica is dialled",
        cost: "with redial, some KiB for each WebSocket, and a copy of messages that arrive in pieces",
        danger: "with redial, an application that keeps what was said in its memory starts anew in the \
                 middle of a conversation",
        flag: Some(Flag::new("--on-replica-loss", "LONGHAUL_ON_REPLICA_LOSS", "WHAT")),
        ..Key::NEW
    },
    Key {
        name: "redial_give_up",
        shape: milliseconds(100, HOUR_S * 1000),
        default: || duration(Redial::default().give_up),
        what: "How long another replica is looked for before the client is closed with 1013",
        cost: "how long a client may wait without knowing",
        danger: "shorter than a restart takes, it closes what it should keep",
        ..Key::NEW
    },
    Key {
        name: "redial_codes",
        shape: Shape::Texts("close codes from 1000 to 4999; 1006 is an end without a close frame"),
        default: || Some(codes(&Redial::default().codes)),
        what: "Close codes with which a replica says that it goes; any other ends the session",
        danger: "an application that ends conversations with one of these never sees them end",
        ..Key::NEW
    },
    Key {
        name: "redial_hold_bytes_max",
        shape: Shape::Size { min: 1 << 10, max: 64 << 20 },
        default: || size(Redial::default().hold_bytes_max),
        what: "Bytes of one unfinished message that are held in each direction, so that half of it need \
               not be taken back; a larger message passes as it comes, and its loss shows",
        cost: "memory of each WebSocket on which a message is under way, twice this at most",
        danger: "thousands of unfinished messages times a large bound end the process",
        ..Key::NEW
    },
    Key {
        name: "redial_wait_bytes_max",
        shape: Shape::Size { min: 4 << 10, max: 64 << 20 },
        default: || size(Redial::default().wait_bytes_max),
        what: "Bytes of client messages that may wait for the next replica, and that are kept to be sent \
               again; then the client is not read",
        cost: "memory of each WebSocket without a replica",
        danger: "thousands of clients without a replica times a large bound end the process",
        ..Key::NEW
    },
    Key {
        name: "uncertain",
        shape: Shape::Choice(&["at_most_once", "at_least_once"]),
        default: || text("at_most_once"),
        what: "What becomes of messages that a lost replica may or may not have read: they are not sent \
               again, or they are sent to the next one",
        cost: "with at_least_once, a copy of every message for a second or two",
        danger: "with at_least_once, messages may be dealt with twice; with at_most_once, not at all",
        ..Key::NEW
    },
    Key {
        name: "profile",
        shape: Shape::Choice(&["auto", "plain", "socketio", "graphql_ws"]),
        default: || text("auto"),
        what: "Which protocol is spoken, as far as each new replica has to hear its opening before the \
               client goes on: `auto` recognises Socket.IO (`EIO=4&transport=websocket` in the query) and \
               `graphql-transport-ws` (the subprotocol), `plain` knows none. Only with \
               on_replica_loss = \"redial\"",
        cost: "a look at each message, and no compression, where one of them is spoken",
        danger: "where what is named is not what is spoken, a lost replica is not replaced",
        ..Key::NEW
    },
    Key {
        name: "redial_keep_bytes_max",
        shape: Shape::Size { min: 1 << 10, max: 16 << 20 },
        default: || size(Redial::default().keep_bytes_max),
        what: "Bytes of a client's opening that are remembered for later replicas: its prelude, its CONNECT \
               packets of Socket.IO, its live subscriptions of GraphQL. Of more, the loss of a replica is \
               not hidden; of a prelude, the rest is not said again",
        cost: "memory of each WebSocket, as much of it as the client says",
        danger: "too small, long tokens or many subscriptions end with their replica",
        ..Key::NEW
    },
    Key {
        name: "prelude",
        shape: Shape::Count { min: 0, max: 100 },
        default: || number(Redial::default().prelude.first),
        what: "How many of the client's first messages are kept, redial_keep_bytes_max of them at most, and \
               sent first to each new replica; of Socket.IO the first events, behind the opening",
        cost: "a copy of them for each WebSocket",
        danger: "one too many is said twice",
        ..Key::NEW
    },
    Key {
        name: "suppress",
        shape: Shape::Count { min: 0, max: 100 },
        default: || number(Redial::default().prelude.suppress),
        what: "How many of the first messages of each new replica answer the prelude and are not shown to \
               the client",
        danger: "one too many swallows what the client should see",
        ..Key::NEW
    },
    Key {
        name: "cutover",
        shape: Shape::Text("`on_close`, `now`, or `quiet:` and a duration, as in `quiet:500ms`"),
        default: || text("on_close"),
        what: "When a WebSocket leaves a replica that drains: when the replica closes it, when no message \
               has passed for so long, or between two messages. Only with on_replica_loss = \"redial\"; \
               otherwise it is closed with 1012 when leave_within is nearly over",
        cost: "quiet and now open the second connection before the first is closed",
        danger: "with now, an answer that the old replica is still thinking about may be lost",
        ..Key::NEW
    },
    Key {
        name: "leave_within",
        shape: seconds(1, DAY_S),
        default: || duration(WebSocketPolicy::default().leave_within),
        what: "How long leaving a replica that drains may take; WebSockets are told spread over the first \
               80 % of it, and those that still stay are moved, or closed, in the rest",
        cost: "how long a rolling deploy waits for each replica",
        danger: "too short, all of them arrive at the others in one moment",
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
    Key {
        name: "inject_client",
        shape: Shape::Boolean,
        default: || number(WebSocketPolicy::default().injects_client),
        what: "Whether pages get the client for browsers, by one tag behind <head>: the WebSockets they \
               open to their own host then survive lost links, where durable sessions are served",
        cost: "8 KiB for each visitor, and pages that are not compressed between replica and client",
        danger: "a Content-Security-Policy without 'self' for scripts keeps it out; pages without a \
                 <head> tag stay as they are",
        ..Key::NEW
    },
];

fn codes(codes: &[CloseCode]) -> String {
    let codes: Vec<String> = codes.iter().map(|code| format!("\"{code}\"")).collect();
    format!("[{}]", codes.join(", "))
}

pub(super) static ROUTE_WEBSOCKET: Section = Section {
    name: "websocket",
    is_list: false,
    what: "How WebSockets of this route are kept; what it does not say comes from [websocket].",
    keys: KEYS,
    children: &[],
};
