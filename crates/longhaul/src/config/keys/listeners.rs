//! Keys of `[[listeners]]`: addresses that need more said about them than `server.listen` can.

use super::tls::LISTENER_TLS;
use super::{Key, Section, Shape};
use super::{number, text};

pub(super) static LISTENERS: Section = Section {
    name: "listeners",
    is_list: true,
    what: "Listeners beside those of server.listen, for what an address alone cannot say.",
    keys: &[
        Key {
            name: "name",
            shape: Shape::Text("letters, digits, `-`, `_` and `.`"),
            example: "\"behind-lb\"",
            is_required: true,
            what: "Unique name, by which routes refer to it",
            ..Key::NEW
        },
        Key {
            name: "address",
            shape: Shape::Text("\"ADDRESS:PORT\""),
            example: "\"127.0.0.1:8081\"",
            is_required: true,
            what: "Where clients arrive; port 0 takes a free one",
            cost: "one socket for each worker",
            danger: "127.0.0.1 cannot be reached from outside a container; 0.0.0.0 can be reached by \
                     everybody",
            ..Key::NEW
        },
        Key {
            name: "http2",
            shape: Shape::Boolean,
            default: || number(true),
            what: "Offers HTTP/2 to TLS clients, which agree on it by ALPN; browsers then open WebSockets \
                   as streams of one connection. Not offered where a [[tcp]] route takes what is in \
                   the TLS",
            danger: "false makes browsers open a connection for each WebSocket and six for a page",
            ..Key::NEW
        },
        Key {
            name: "h2c",
            shape: Shape::Boolean,
            default: || number(false),
            what: "Clients may speak HTTP/2 without TLS, by prior knowledge: a platform that ends TLS \
                   in front, or a test tool. Told from HTTP/1.1 by the first bytes",
            cost: "the first bytes of each connection are waited for",
            ..Key::NEW
        },
        Key {
            name: "proxy_protocol",
            shape: Shape::Choice(&PROXY_PROTOCOL),
            default: || text(PROXY_PROTOCOL[0]),
            what: "Whether each connection must begin with a PROXY protocol header, version 1 or 2, \
                   that says who the client is. It is never guessed",
            danger: "required refuses everybody else, probes of the platform included; off takes all \
                     clients for the load balancer",
            ..Key::NEW
        },
        Key {
            name: "proxy_protocol_from",
            shape: Shape::Texts(
                "addresses, networks as in \"10.0.0.0/8\", \"loopback\" or \"private\"",
            ),
            example: "[\"10.0.0.0/8\"]",
            what: "Who may send the header; connections from elsewhere are closed. Must be there with \
                   proxy_protocol = \"required\"",
            danger: "whoever is in this list can claim any client address",
            ..Key::NEW
        },
    ],
    children: &[&LISTENER_TLS],
};

const PROXY_PROTOCOL: [&str; 2] = ["off", "required"];
