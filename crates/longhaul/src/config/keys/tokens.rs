//! Keys of `[[jwt]]` and `[tickets]`: whose tokens are taken, and where they are.

use std::time::Duration;

use longhaul_gateway::config::TokenRules;

use super::{CA, HOUR_S, Key, Section, Shape};
use super::{duration, number, seconds, seconds_or_off, text};
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
            name: "key_set_start_wait",
            shape: seconds_or_off(1, 24 * HOUR_S),
            default: || duration(defaults::KEY_SET_START_WAIT),
            what: "How long a start waits for the key set: until then /health/startup names it and nothing is \
                   served. Afterwards the gateway serves without it, and who needs it is refused",
            danger: "long: an issuer that is down keeps routes closed that need no token",
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

pub(super) static AUTH_SERVICES: Section = Section {
    name: "auth_services",
    is_list: true,
    what: "Services that judge tokens. Routes name them in `auth` of [admission]. Each answer must come \
           within admission.deadline, which covers everything: the wait in line, DNS, the connection, \
           TLS, and every try.",
    keys: SERVICE_KEYS,
    children: &[],
};

static SERVICE_KEYS: &[Key] = &[
    Key {
        name: "name",
        shape: Shape::Text("letters, digits, `-`, `_` and `.`"),
        example: "\"login\"",
        is_required: true,
        what: "Unique name, by which routes refer to it",
        ..Key::NEW
    },
    Key {
        name: "kind",
        shape: Shape::Choice(&["validate", "introspect", "forward"]),
        example: "\"validate\"",
        is_required: true,
        what: "How it is asked: validate posts JSON and expects a boolean; introspect is RFC 7662; \
               forward sends the headers of the request (and X-Forwarded-Method, -Uri) by GET and \
               takes any 2xx for a yes",
        ..Key::NEW
    },
    Key {
        name: "url",
        shape: Shape::Text("URL"),
        example: "\"http://127.0.0.1:8081/auth/validate\"",
        is_required: true,
        what: "What is asked",
        danger: "http:// to another machine lets whoever stands between read tokens and say yes",
        ..Key::NEW
    },
    CA,
    SOURCES,
    PASS_TOKEN,
    Key {
        name: "headers",
        shape: Shape::Headers,
        example: "{ x-service-secret = \"env:AUTH_SECRET\" }",
        what: "Headers sent with each question, as proof of who asks; \"env:NAME\" and \"file:PATH\" \
               take a value from there",
        danger: "a secret in the file itself is read by whoever reads the file",
        ..Key::NEW
    },
    Key {
        name: "body",
        shape: Shape::Text("JSON"),
        default: || text(r#"{"token":"{token}"}"#),
        what: "What validate posts; {token}, inside of quotes, is the token",
        ..Key::NEW
    },
    Key {
        name: "verdict",
        shape: Shape::Text("name of a member"),
        default: || text("valid"),
        what: "The member of validate's answer that is true or false; dots lead into objects. An answer \
               without it is no verdict, and a 401 or 403 needs none",
        ..Key::NEW
    },
    Key {
        name: "subject",
        shape: Shape::Text("name of a member"),
        default: || text(TokenRules::default().subject),
        what: "The member of the answer that says who it is. forward takes it from its first `pass`",
        ..Key::NEW
    },
    Key {
        name: "pass",
        shape: Shape::Headers,
        example: "{ x-user = \"user_id\" }",
        what: "Headers that the application gets, and the members of the answer that they hold; for \
               forward, headers of the answer. Clients cannot send them",
        ..Key::NEW
    },
    Key {
        name: "connections_max",
        shape: Shape::Count { min: 1, max: 10_000 },
        default: || number(defaults::AUTH_CONNECTIONS_MAX),
        what: "Questions under way at once; the others wait in line, no longer than their deadline",
        cost: "connections of the service",
        danger: "too few and a slow service times those out who wait in line",
        ..Key::NEW
    },
    Key {
        name: "waiting_max",
        shape: Shape::Count { min: 0, max: 1_000_000 },
        default: || number(defaults::AUTH_WAITING_MAX),
        what: "Questions in line beside them; more are refused at once with 503",
        cost: "some 4 KiB each",
        ..Key::NEW
    },
    Key {
        name: "retries",
        shape: Shape::Count { min: 0, max: 5 },
        default: || number(defaults::AUTH_RETRIES),
        what: "Times that a question is asked again when the connection or the service fails, within \
               its deadline",
        danger: "more work for a service that has too much already",
        ..Key::NEW
    },
    Key {
        name: "cache",
        shape: seconds_or_off(1, HOUR_S),
        example: "\"60s\"",
        what: "How long a yes counts, and never beyond `exp` of the answer. By default 60s, and off for \
               forward, whose answer may depend on everything",
        danger: "how long somebody gets in who was locked out",
        ..Key::NEW
    },
    Key {
        name: "revalidate",
        shape: seconds_or_off(1, 24 * HOUR_S),
        default: || Some("\"off\"".to_owned()),
        what: "How often it is asked again about each WebSocket that it let in; a no ends that with 4401. \
               While it does not answer, they go on. A yes that is cached counts as one",
        cost: "a question for each WebSocket each time, and its token in memory",
        danger: "a minute with 100,000 WebSockets is 1,700 questions a second",
        ..Key::NEW
    },
    Key {
        name: "cache_denied",
        shape: seconds_or_off(1, 60),
        default: || duration(defaults::AUTH_CACHE_DENIED),
        what: "How long a no counts. That there was no answer is never remembered as one",
        danger: "how long somebody waits whose token was just made valid",
        ..Key::NEW
    },
    Key {
        name: "cache_stale",
        shape: seconds_or_off(1, 24 * HOUR_S),
        default: || Some("\"off\"".to_owned()),
        what: "How much longer a yes counts while the service does not answer: who was known may come \
               in, nobody else",
        danger: "somebody who was locked out gets in for as long as the service is gone",
        ..Key::NEW
    },
    Key {
        name: "cache_entries_max",
        shape: Shape::Count { min: 1, max: 10_000_000 },
        default: || number(defaults::AUTH_CACHE_ENTRIES_MAX),
        what: "Answers that are remembered, oldest out first",
        cost: "about 300 bytes each",
        ..Key::NEW
    },
    Key {
        name: "breaker_failures",
        shape: Shape::Count { min: 1, max: 1_000 },
        example: "5",
        what: "Failures in a row after which nobody is asked to wait any more. By default 5, in staging 2",
        danger: "1 refuses everybody for one lost packet",
        ..Key::NEW
    },
    Key {
        name: "breaker_recovery",
        shape: seconds(1, HOUR_S),
        example: "\"60s\"",
        what: "How long it is left alone then; afterwards one question tries. By default 60s, in staging \
               30s. A health check that finds it alive again ends it at once",
        ..Key::NEW
    },
    Key {
        name: "health",
        shape: super::seconds_or_off(1, HOUR_S),
        default: || duration(defaults::AUTH_HEALTH),
        what: "How often it is looked after in the background; two failures in a row, and nobody waits \
               for it until it is well again",
        cost: "one GET each time",
        danger: "off: the first to come find out by waiting",
        ..Key::NEW
    },
    Key {
        name: "health_path",
        shape: Shape::Text("path"),
        example: "\"/health\"",
        what: "What is looked at; by default the path of `url`. Any answer below 500 is a good one, a \
               405 to GET included",
        ..Key::NEW
    },
    Key {
        name: "health_timeout",
        shape: super::milliseconds(10, 10_000),
        default: || duration(defaults::AUTH_HEALTH_TIMEOUT),
        what: "What one look may take",
        ..Key::NEW
    },
];

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
