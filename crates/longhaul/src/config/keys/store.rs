//! Keys of `[store]`.

use super::{Key, Section, Shape};
use super::{duration, milliseconds, number, text};
use crate::config::defaults;

pub(super) static STORE: Section = Section {
    name: "store",
    is_list: false,
    what: "What the gateways of one deployment share: one-time tickets, so that one given by any of them is \
           taken by each other, once over all. Redis 6.2 or later, or Valkey. Without `url` each gateway keeps \
           its own tickets in memory.",
    keys: &[
        Key {
            name: "url",
            shape: Shape::Text(
                "\"redis://[USER@]HOST:PORT/DATABASE\", \"rediss://…\" for TLS, \"unix:/PATH\", or where such a \
                 URL is: \"env:NAME\" or \"file:PATH\"",
            ),
            example: "\"redis://store.internal:6379/0\"",
            what: "Where it is. With a password in it (redis://USER:PASSWORD@HOST) the URL itself has to be in \
                   the environment or in a file of its own",
            danger: "who can write there can let themselves in: let only gateways reach it. redis:// to another \
                     machine shows the password to whoever stands between",
            ..Key::NEW
        },
        Key {
            name: "password",
            shape: Shape::Text("\"env:NAME\" or \"file:PATH\""),
            example: "\"env:REDIS_PASSWORD\"",
            what: "What proves to it who asks; never in this file itself",
            ..Key::NEW
        },
        Key {
            name: "ca",
            shape: Shape::Text("path of a PEM file"),
            example: "\"internal-ca.pem\"",
            what: "Authorities that its certificate must come from, for rediss://; by default those of the system",
            ..Key::NEW
        },
        Key {
            name: "prefix",
            shape: Shape::Text("letters, digits, `-`, `_`, `.` and `:`"),
            default: || text(defaults::STORE_PREFIX),
            what: "What the name of each key begins with",
            danger: "deployments that share a store and a prefix take each other's tickets",
            ..Key::NEW
        },
        Key {
            name: "connect_timeout",
            shape: milliseconds(10, 60_000),
            default: || duration(defaults::STORE_CONNECT_TIMEOUT),
            what: "What connecting may take, from the lookup of its name until it has kept something on trial \
                   and given it back; then it is tried again, after 100ms and more, up to 2s",
            ..Key::NEW
        },
        Key {
            name: "answer",
            shape: milliseconds(1, 10_000),
            default: || duration(defaults::STORE_ANSWER),
            what: "What one operation may take, within admission.deadline; who waits for it gets 503. The store is \
                   asked each second whether it is there, and counts as away when it does not say so in this time",
            cost: "while it does not answer, who comes by a ticket in the first second waits as long",
            danger: "below its slowest answers it is away again and again",
            ..Key::NEW
        },
        Key {
            name: "required",
            shape: Shape::Boolean,
            default: || number(true),
            what: "Whether a start waits for it: until it answers /health/startup says 503 and names it, and nothing \
                   is served. With false the gateway serves without it, and refuses tickets until it answers",
            danger: "true: while it is down, a gateway that is restarted serves nobody. One that has started \
                     serves on",
            ..Key::NEW
        },
    ],
    children: &[],
};
