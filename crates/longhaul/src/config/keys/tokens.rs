//! Keys of `[[jwt]]` and `[tickets]`: whose tokens are taken, and where they are.

use std::time::Duration;

use longhaul_gateway::config::TokenRules;

use super::{HOUR_S, Key, Section, Shape};
use super::{duration, number, seconds, text};
use crate::config::defaults;

/// Where a token may be, in words; the same for everybody who judges one.
pub(super) const SOURCES: Key = Key {
    name: "sources",
    shape: Shape::Texts(
        "\"authorization\", \"subprotocol:MARKER\", \"cookie:NAME\", \"query:NAME\" or \"header:NAME\"",
    ),
    default: || Some("[\"authorization\", \"subprotocol:bearer\"]".to_owned()),
    what: "Where the token is looked for; the first place that has one counts. Pages, which can set no \
           header on a WebSocket, use a subprotocol: new WebSocket(url, [\"bearer\", token]); the \
           application is not offered it. Values of query parameters are hidden in logs",
    danger: "query: what stands between may log the address; a ticket is better. cookie: comes along \
             from every page that `origins` allow",
    ..Key::NEW
};

/// Whether the token goes on.
pub(super) const PASS_TOKEN: Key = Key {
    name: "pass_token",
    shape: Shape::Boolean,
    default: || number(true),
    what: "Whether the token goes on to the application, where it was found; one in a subprotocol, and \
           a ticket, never do",
    ..Key::NEW
};

pub(super) static JWT: Section = Section {
    name: "jwt",
    is_list: true,
    what: "Takes JSON Web Tokens of one issuer, by their signature and what they claim. Routes name it \
           in `auth` of [admission].",
    keys: &[
        Key {
            name: "name",
            shape: Shape::Text("letters, digits, `-`, `_` and `.`"),
            example: "\"users\"",
            is_required: true,
            what: "Unique name, by which routes refer to it",
            ..Key::NEW
        },
        SOURCES,
        PASS_TOKEN,
        Key {
            name: "key_set_url",
            shape: Shape::Text("URL of a JSON Web Key Set"),
            example: "\"https://id.example/.well-known/jwks.json\"",
            what: "Where the issuer's public keys are. Fetched at the start and ahead of need; a token \
                   with a new key has it fetched anew, once in 10s at most; keys that were fetched stay \
                   in use when a fetch fails",
            danger: "http:// lets whoever stands between choose the keys",
            ..Key::NEW
        },
        Key {
            name: "key_set_refresh",
            shape: seconds(10, 24 * HOUR_S),
            default: || duration(defaults::KEY_SET_REFRESH),
            what: "How often the key set is fetched while all is well",
            danger: "how long a key counts that the issuer has taken back",
            ..Key::NEW
        },
        Key {
            name: "ca",
            shape: Shape::Text("path of a PEM file"),
            example: "\"issuer-ca.pem\"",
            what: "Authorities that the certificate behind key_set_url must come from; by default those \
                   of the system",
            ..Key::NEW
        },
        Key {
            name: "keys",
            shape: Shape::Texts(
                "paths of PEM files (public keys, certificates) or JSON Web Key Sets",
            ),
            example: "[\"issuer.pem\"]",
            what: "Public keys in files, read at the start",
            ..Key::NEW
        },
        Key {
            name: "secret",
            shape: Shape::Text("\"env:NAME\" or \"file:PATH\""),
            example: "\"env:JWT_SECRET\"",
            what: "The secret that tokens are signed with (HS256 and its kin), of 32 bytes or more; \
                   never in this file itself",
            danger: "who can check such tokens can make them",
            ..Key::NEW
        },
        Key {
            name: "algorithms",
            shape: Shape::Texts("names as in RFC 7518"),
            example: "[\"RS256\", \"ES256\"]",
            what: "Algorithms that count; by default all that fit the keys. The key decides which fit, \
                   never the token",
            ..Key::NEW
        },
        Key {
            name: "issuer",
            shape: Shape::Texts("text"),
            example: "\"https://id.example\"",
            what: "What `iss` must be, to the letter; by default anything, since the key says whose it is",
            ..Key::NEW
        },
        Key {
            name: "audience",
            shape: Shape::Texts("text, or \"*\" for any"),
            example: "\"chat\"",
            what: "What `aud` must name. Without it only tokens are taken that name nobody",
            danger: "\"*\" takes tokens that the issuer gave to any other application",
            ..Key::NEW
        },
        Key {
            name: "require",
            shape: Shape::Headers,
            example: "{ scope = \"chat\", email_verified = \"true\" }",
            what: "Claims that must be there with this value, with one of several (\"a|b\"), or with any \
                   (\"*\"). A list, or words with spaces between, must contain it; dots lead into objects",
            ..Key::NEW
        },
        Key {
            name: "subject",
            shape: Shape::Text("name of a claim"),
            default: || text(TokenRules::default().subject),
            what: "The claim that says who it is, for limits, logs and revocation",
            ..Key::NEW
        },
        Key {
            name: "pass",
            shape: Shape::Headers,
            example: "{ x-user = \"sub\", x-roles = \"realm_access.roles\" }",
            what: "Headers that the application gets, and the claims that they hold. Clients cannot send \
                   them: what comes under these names, in any spelling, is removed",
            ..Key::NEW
        },
        Key {
            name: "leeway",
            shape: Shape::Duration {
                min: Duration::ZERO,
                max: Duration::from_secs(60),
                or_off: false,
            },
            default: || duration(TokenRules::default().leeway),
            what: "How far the issuer's clock may be from this one",
            danger: "how much longer than it says a token counts",
            ..Key::NEW
        },
    ],
    children: &[],
};

pub(super) static TICKETS: Section = Section {
    name: "tickets",
    is_list: false,
    what: "Tickets for pages: POST a token to `path`, open the WebSocket with ?ticket=…, which holds \
           once and for moments. PUT a newer token there, and open WebSockets of its subject go on \
           until that ends.",
    keys: &[
        Key {
            name: "path",
            shape: Shape::Text("path"),
            example: "\"/auth/ticket\"",
            what: "Where tokens are posted to; without it there are no tickets",
            ..Key::NEW
        },
        Key {
            name: "life",
            shape: seconds(1, 600),
            default: || duration(defaults::TICKET_LIFE),
            what: "How long a ticket holds that was not used",
            danger: "how long somebody who reads the page's memory could use it",
            ..Key::NEW
        },
    ],
    children: &[],
};
