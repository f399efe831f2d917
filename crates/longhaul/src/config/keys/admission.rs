//! Keys of `[admission]` and `[cors]`, and of the same for one route: who may come in.

use longhaul_gateway::config::RefusalStyle;

use super::{DAY_S, Flag, Key, Section, Shape};
use super::{number, text};

pub(super) static ADMISSION: Section = Section {
    name: "admission",
    is_list: false,
    what: "Who may use the routes: here for all of them, in [routes.admission] for one.",
    keys: ADMISSION_KEYS,
    children: &[],
};

pub(super) static ROUTE_ADMISSION: Section = Section {
    name: "admission",
    is_list: false,
    what: "Who may use this route; what it does not say comes from [admission].",
    keys: ADMISSION_KEYS,
    children: &[],
};

static ADMISSION_KEYS: &[Key] = &[
    Key {
        name: "origins",
        shape: Shape::Texts(
            "\"same\", \"https://app.example\", \"https://*.example\", \"null\" or \"any\"",
        ),
        default: || text("same"),
        what: "Pages that may open WebSockets, by where they came from: scheme, host and port. A list \
               replaces the default, so it names \"same\" as well if that is meant. Programs that send \
               no Origin are not concerned; others get 403",
        danger: "\"any\" lets every page on the web speak with the cookies of its visitor: CORS does \
                 not protect WebSockets, this does. Behind a proxy that changes Host, \"same\" needs \
                 that proxy in server.trusted_proxies",
        flag: Some(Flag::new("--allow-origin", "LONGHAUL_ALLOW_ORIGINS", "ORIGIN").repeated()),
        ..Key::NEW
    },
    Key {
        name: "origin_required",
        shape: Shape::Boolean,
        default: || number(false),
        what: "Whether upgrades without an Origin are refused as well: browsers send one always",
        danger: "true locks out apps and servers; it stops no program, which can send any Origin",
        ..Key::NEW
    },
    Key {
        name: "refusal",
        shape: Shape::Choice(&["status", "close"]),
        default: || {
            text(match RefusalStyle::default() {
                RefusalStyle::Status => "status",
                RefusalStyle::Close => "close",
            })
        },
        what: "How a WebSocket that may not be opened is told so: by the status of its handshake, which \
               pages cannot read, or opened and closed at once with a code and a reason, which they \
               can. Foreign origins get 403 either way",
        cost: "close: a round trip and a moment of one connection for each refusal",
        danger: "close: what counts opened WebSockets counts the refused ones as well",
        ..Key::NEW
    },
    Key {
        name: "auth",
        shape: Shape::Texts("names of [[jwt]] and [[auth_services]]"),
        default: || Some("[]".to_owned()),
        what: "Who judges the tokens of clients, in the order in which they are asked: one yes is \
               enough. An empty list asks for none",
        danger: "a route with an empty list is open to everybody whose page may",
        ..Key::NEW
    },
    Key {
        name: "auth_scope",
        shape: Shape::Choice(&["everything", "websockets"]),
        default: || text("everything"),
        what: "Which requests need a token: all, or WebSocket upgrades alone",
        danger: "websockets leaves Socket.IO's polling open, which can do the same",
        ..Key::NEW
    },
    Key {
        name: "deadline",
        shape: super::milliseconds(50, 15_000),
        example: "\"2s\"",
        what: "From the request to the verdict about its token, whatever that takes; then 503. By \
               default 2s, in staging 1s; at most 15s in production, 6s in staging, 8s in development",
        cost: "how long a client waits for a login that does not come",
        danger: "too short refuses clients while the login is merely slow",
        ..Key::NEW
    },
];

pub(super) static CORS: Section = Section {
    name: "cors",
    is_list: false,
    what: "Which pages of other origins may read answers over HTTP, Socket.IO's polling among them: \
           here for all routes, in [routes.cors] for one. Without `origins`, applications say so \
           themselves. WebSockets know no CORS; see `origins` of [admission].",
    keys: CORS_KEYS,
    children: &[],
};

pub(super) static ROUTE_CORS: Section = Section {
    name: "cors",
    is_list: false,
    what: "Which pages of other origins may read answers of this route. Replaces all of [cors].",
    keys: CORS_KEYS,
    children: &[],
};

static CORS_KEYS: &[Key] = &[
    Key {
        name: "origins",
        shape: Shape::Texts("\"https://app.example\", \"https://*.example\", \"null\" or \"any\""),
        example: "[\"https://app.example\"]",
        what: "Origins whose pages may read answers. The gateway then answers preflights itself and \
               replaces what applications say about it",
        danger: "\"any\" shows every page on the web what the gateway shows to anybody",
        ..Key::NEW
    },
    Key {
        name: "methods",
        shape: Shape::Texts("methods"),
        example: "[\"PUT\", \"DELETE\"]",
        what: "Methods beside GET, HEAD and POST that pages may use",
        ..Key::NEW
    },
    Key {
        name: "headers",
        shape: Shape::Texts("names of headers"),
        example: "[\"authorization\", \"content-type\"]",
        what: "Headers that pages may send; by default whatever they ask for",
        ..Key::NEW
    },
    Key {
        name: "expose",
        shape: Shape::Texts("names of headers"),
        example: "[\"x-request-id\"]",
        what: "Headers of answers that pages may read, beside the harmless ones",
        ..Key::NEW
    },
    Key {
        name: "credentials",
        shape: Shape::Boolean,
        default: || number(false),
        what: "Whether pages may send cookies along and read what comes back",
        danger: "not possible with \"any\": browsers refuse the pair, and it would show what belongs \
                 to one user to every page",
        ..Key::NEW
    },
    Key {
        name: "max_age",
        shape: super::seconds(0, DAY_S),
        default: || super::duration(super::super::defaults::CORS_MAX_AGE),
        what: "How long browsers may remember the answer to a preflight",
        cost: "a second request before each that is not simple, once in that time",
        danger: "browsers keep a mistake for so long; Chrome caps it at 2h",
        ..Key::NEW
    },
];

pub(super) static ROUTE_LIMITS: Section = Section {
    name: "limits",
    is_list: false,
    what: "How many upgrades and WebSockets this route takes, within what [limits] allows all of them.",
    keys: &[
        Key {
            what: "Upgrades that this route takes each second; then 429 with Retry-After",
            ..UPGRADES_PER_SECOND
        },
        Key {
            what: "Upgrades that this route takes in one moment after a pause",
            ..UPGRADES_BURST
        },
        Key {
            what: "WebSockets of this route that may be open at once; then 429",
            ..WEBSOCKETS_MAX
        },
    ],
    children: &[],
};

/// Upgrades each second, of everybody.
pub(super) const UPGRADES_PER_SECOND: Key = Key {
    name: "upgrades_per_second",
    shape: RATE,
    example: "500",
    what: "Upgrades taken each second, of all clients together; then 429 with a Retry-After that \
           spreads those who were refused, so that they come back as fast as they are taken",
    danger: "too low turns a restart of the clients into minutes of waiting; as many as the \
             applications can log in each second is right",
    ..Key::NEW
};

/// How many of them in one moment.
pub(super) const UPGRADES_BURST: Key = Key {
    name: "upgrades_burst",
    shape: RATE,
    example: "1000",
    what: "Upgrades taken in one moment after a pause; by default those of one second",
    ..Key::NEW
};

/// WebSockets of everybody.
pub(super) const WEBSOCKETS_MAX: Key = Key {
    name: "websockets_max",
    shape: COUNT,
    example: "50000",
    what: "WebSockets open at once, of all clients together; then 429. By default connections_max \
           alone bounds them",
    ..Key::NEW
};

/// The same for each client address.
pub(super) const CLIENT_UPGRADES_PER_SECOND: Key = Key {
    name: "client_upgrades_per_second",
    shape: RATE,
    example: "10",
    what: "Upgrades taken each second from one client address (of IPv6, one /64); then 429",
    danger: "many people share one address behind a company's or a phone network's translator; \
             without the ingress in server.trusted_proxies, all clients are one",
    ..Key::NEW
};

/// How many of them in one moment.
pub(super) const CLIENT_UPGRADES_BURST: Key = Key {
    name: "client_upgrades_burst",
    shape: RATE,
    example: "50",
    what: "Upgrades taken in one moment from one address after a pause; by default those of one second",
    ..Key::NEW
};

/// WebSockets of each client address.
pub(super) const CLIENT_WEBSOCKETS_MAX: Key = Key {
    name: "client_websockets_max",
    shape: COUNT,
    example: "200",
    what: "WebSockets open at once from one client address (of IPv6, one /64); then 429",
    danger: "as with client_upgrades_per_second",
    ..Key::NEW
};

/// The same for each subject of a token.
pub(super) const SUBJECT_UPGRADES_PER_SECOND: Key = Key {
    name: "subject_upgrades_per_second",
    shape: RATE,
    example: "5",
    what: "Upgrades taken each second of one subject of a token; then 429",
    danger: "tabs of one user that come back together after a restart are one subject",
    ..Key::NEW
};

/// How many of them in one moment.
pub(super) const SUBJECT_UPGRADES_BURST: Key = Key {
    name: "subject_upgrades_burst",
    shape: RATE,
    example: "20",
    what: "Upgrades taken in one moment of one subject after a pause; by default those of one second",
    ..Key::NEW
};

/// WebSockets of each subject.
pub(super) const SUBJECT_WEBSOCKETS_MAX: Key = Key {
    name: "subject_websockets_max",
    shape: COUNT,
    example: "50",
    what: "WebSockets open at once of one subject of a token; then 429",
    ..Key::NEW
};

const RATE: Shape = Shape::Count { min: 1, max: 1_000_000 };
const COUNT: Shape = Shape::Count { min: 1, max: 10_000_000 };
