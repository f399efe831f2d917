//! Keys of `[[routes]]` and `[[tcp]]`: which traffic goes to which upstream.

use longhaul_gateway::config::TcpRoute;

use super::admission::{ROUTE_ADMISSION, ROUTE_CORS, ROUTE_LIMITS};
use super::websocket::ROUTE_WEBSOCKET;
use super::{DAY_S, HOUR_S, Key, Section, Shape};
use super::{duration, duration_or_off, number, seconds, seconds_or_off, text};

fn tcp_defaults() -> TcpRoute {
    TcpRoute::new("", 0, 0)
}

pub(super) static ROUTES: Section = Section {
    name: "routes",
    is_list: true,
    what: "HTTP and WebSocket routes; the most specific takes a request. With one upstream and no \
           route, everything goes there.",
    keys: &[
        Key {
            name: "name",
            shape: Shape::Text("letters, digits, `-`, `_` and `.`"),
            example: "\"chat\"",
            what: "Unique name, for logs and metrics; by default its host and path",
            ..Key::NEW
        },
        Key {
            name: "host",
            shape: Shape::Text("\"chat.example\", \"*.example\" or \"*\""),
            default: || text("*"),
            what: "Host to match, without port and without case",
            danger: "behind an ingress that rewrites Host nothing matches",
            ..Key::NEW
        },
        Key {
            name: "path",
            shape: Shape::Text("path prefix"),
            default: || text("/"),
            what: "Path prefix on segment borders: /ws takes /ws and /ws/x, not /wsx",
            ..Key::NEW
        },
        Key {
            name: "headers",
            shape: Shape::Headers,
            example: "{ x-tenant = \"blue\" }",
            what: "Headers that must be there with this value; \"*\" takes any value",
            danger: "clients can send any header: a route is no access control",
            ..Key::NEW
        },
        Key {
            name: "upstream",
            shape: Shape::Text("name of an upstream"),
            example: "\"chat\"",
            is_required: true,
            what: "Where its requests go; `app` is the program that `longhaul run -- CMD` starts",
            ..Key::NEW
        },
        Key {
            name: "listeners",
            shape: Shape::Texts("names of listeners"),
            example: "[\"public\"]",
            what: "Listeners it serves; by default all but those where a TCP route without `sni` takes \
                   whatever comes, and all when that leaves none",
            ..Key::NEW
        },
        Key {
            name: "preserve_host",
            shape: Shape::Boolean,
            default: || number(true),
            what: "Whether the client's Host is passed on, or replaced by the address of the replica",
            danger: "false breaks origin checks of applications that compare Origin with Host",
            ..Key::NEW
        },
    ],
    children: &[&ROUTE_WEBSOCKET, &ROUTE_ADMISSION, &ROUTE_CORS, &ROUTE_LIMITS],
};

pub(super) static TCP: Section = Section {
    name: "tcp",
    is_list: true,
    what: "Raw TCP routes. On a listener that also serves HTTP, what is not HTTP goes here; routes with \
           `sni` take TLS by name, and one without it the rest.",
    keys: &[
        Key {
            name: "name",
            shape: Shape::Text("letters, digits, `-`, `_` and `.`"),
            example: "\"postgres\"",
            what: "Unique name, for logs and metrics; by default the name of its listener",
            ..Key::NEW
        },
        Key {
            name: "listener",
            shape: Shape::Text("name of a listener"),
            example: "\"public\"",
            is_required: true,
            what: "The listener it serves",
            ..Key::NEW
        },
        Key {
            name: "upstream",
            shape: Shape::Text("name of an upstream"),
            example: "\"chat\"",
            is_required: true,
            what: "Where its connections go",
            ..Key::NEW
        },
        Key {
            name: "sni",
            shape: Shape::Texts("\"a.example\", \"*.b.example\" or \"*\""),
            example: "[\"a.example\", \"*.b.example\"]",
            what: "TLS connections that ask for one of these names go to the upstream as they are, \
                   undecrypted; \"*\" takes every name and those without one. Other names go on to the \
                   other routes of the listener",
            cost: "the first bytes of each connection are waited for",
            danger: "whoever connects chooses the name: it says where to go, not who may",
            ..Key::NEW
        },
        Key {
            name: "server_first",
            shape: Shape::Boolean,
            default: || number(tcp_defaults().server_first),
            what: "The server speaks first: a client silent for timeouts.detect is connected",
            danger: "false leaves clients of such a server waiting; true connects slow HTTP clients \
                     to it",
            ..Key::NEW
        },
        Key {
            name: "idle",
            shape: seconds_or_off(1, 30 * DAY_S),
            default: || duration_or_off(tcp_defaults().idle),
            what: "Ends a connection without a byte either way for so long",
            danger: "a few seconds kill every idle WebSocket that passes as TCP",
            ..Key::NEW
        },
        Key {
            name: "linger",
            shape: seconds(0, HOUR_S),
            default: || duration(tcp_defaults().linger),
            what: "How long the second direction may go on, without a byte, after the first ended",
            danger: "0s cuts answers to clients that closed their sending side",
            ..Key::NEW
        },
    ],
    children: &[],
};
