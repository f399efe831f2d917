//! Keys of TLS: the certificates, how listeners terminate it, and how replicas are spoken to by it.

use longhaul_gateway::tls::TlsTerms;

use super::{Flag, HOUR_S, Key, Section, Shape};
use super::{duration, milliseconds, number, text};
use crate::config::defaults;

pub(super) static CERTIFICATES: Section = Section {
    name: "certificates",
    is_list: true,
    what: "What listeners with TLS prove themselves with. A client sees the certificate that has the \
           name it asks for; one that asks for a name nobody has, or for none, sees the first.",
    keys: &[
        Key {
            name: "certificate",
            shape: Shape::Text(PEM_FILE),
            example: "\"cert.pem\"",
            is_required: true,
            what: "PEM file with the certificate and behind it the chain that leads to its authority. \
                   Read again whenever it changes; a bad one is refused and the old one kept. A \
                   relative path starts at the directory of the configuration file",
            danger: "without the chain browsers accept it and most programs do not",
            flag: Some(Flag::new("--tls-cert", "LONGHAUL_TLS_CERT", "FILE")),
            ..Key::NEW
        },
        Key {
            name: "key",
            shape: Shape::Text(PEM_FILE),
            example: "\"key.pem\"",
            is_required: true,
            what: "PEM file with its private key, without a passphrase; may be the same file",
            danger: "who can read it can be you: only the user of the gateway should",
            flag: Some(Flag::new("--tls-key", "LONGHAUL_TLS_KEY", "FILE")),
            ..Key::NEW
        },
    ],
    children: &[],
};

pub(super) static TLS: Section = Section {
    name: "tls",
    is_list: false,
    what: "How TLS is terminated: here for all listeners, in [listeners.tls] for one.",
    keys: &[
        MODE,
        MIN_VERSION,
        CLIENT_CERTIFICATES,
        CLIENT_CA,
        HANDSHAKE,
        Key {
            name: "watch",
            shape: Shape::Duration {
                min: std::time::Duration::from_millis(100),
                max: std::time::Duration::from_secs(HOUR_S),
                or_off: true,
            },
            default: || duration(defaults::CERTIFICATE_WATCH),
            what: "How often the files of [[certificates]] are looked at; a changed pair is in use after \
                   two looks",
            cost: "two calls to the system for each certificate",
            danger: "off: a renewed certificate takes a restart, and is forgotten until it has expired",
            ..Key::NEW
        },
    ],
    children: &[],
};

pub(super) static LISTENER_TLS: Section = Section {
    name: "tls",
    is_list: false,
    what: "How TLS is terminated on this listener; what it does not say comes from [tls].",
    keys: &[MODE, MIN_VERSION, CLIENT_CERTIFICATES, CLIENT_CA, HANDSHAKE],
    children: &[],
};

pub(super) static UPSTREAM_TLS: Section = Section {
    name: "tls",
    is_list: false,
    what: "How replicas are spoken to by TLS.",
    keys: &[
        Key {
            name: "enabled",
            shape: Shape::Boolean,
            example: "true",
            what: "Whether replicas are spoken to by TLS; by default where `replicas` says https:// or \
                   wss://",
            cost: "a handshake for each connection, and cycles for each byte",
            ..Key::NEW
        },
        Key {
            name: "ca",
            shape: Shape::Text(PEM_FILE),
            example: "\"ca.pem\"",
            what: "PEM file with the authorities that replicas' certificates must come from; by default \
                   those of the system",
            ..Key::NEW
        },
        Key {
            name: "server_name",
            shape: Shape::Text("host name or IP address"),
            example: "\"chat.internal\"",
            what: "The name that replicas' certificates must have, and that replicas are told (SNI); by \
                   default the host of `replicas`. With preserve_host = false also their Host",
            danger: "must be said where replicas have different names, and with `srv`",
            ..Key::NEW
        },
        Key {
            name: "verify",
            shape: Shape::Boolean,
            default: || number(true),
            what: "Whether replicas must prove who they are",
            danger: "false: whoever gets between the gateway and a replica can read and change \
                     everything",
            ..Key::NEW
        },
        Key {
            name: "certificate",
            shape: Shape::Text(PEM_FILE),
            example: "\"client-cert.pem\"",
            what: "PEM file with the certificate that the gateway shows to replicas that ask for one",
            ..Key::NEW
        },
        Key {
            name: "key",
            shape: Shape::Text(PEM_FILE),
            example: "\"client-key.pem\"",
            what: "PEM file with its private key, without a passphrase",
            danger: "who can read it can be the gateway",
            ..Key::NEW
        },
    ],
    children: &[],
};

const PEM_FILE: &str = "path of a PEM file";

const MODE: Key = Key {
    name: "mode",
    shape: Shape::Choice(&["off", "on", "auto"]),
    example: "\"on\"",
    what: "Whether TLS is terminated: auto takes clients with and without it on one port. By default on \
           where there are [[certificates]], and off elsewhere",
    cost: "about 10 KiB for each connection, and a handshake",
    danger: "off and auto let everybody on the path read along with those who come without",
    flag: Some(Flag::new("--tls", "LONGHAUL_TLS", "MODE")),
    ..Key::NEW
};

const MIN_VERSION: Key = Key {
    name: "min_version",
    shape: Shape::Choice(&["1.2", "1.3"]),
    default: || text("1.2"),
    what: "The oldest version of TLS that is spoken; nothing below 1.2 ever is",
    danger: "1.3 shuts out clients older than about 2018",
    ..Key::NEW
};

const CLIENT_CERTIFICATES: Key = Key {
    name: "client_certificates",
    shape: Shape::Choice(&["off", "optional", "required"]),
    default: || text("off"),
    what: "Whether clients are asked for a certificate of their own. One that is shown must come from \
           client_ca; with required there is no connection without one",
    cost: "a signature to check for each new session",
    danger: "browsers show a dialog, and cannot show one for a WebSocket: the page must come from the \
             same listener first",
    ..Key::NEW
};

const CLIENT_CA: Key = Key {
    name: "client_ca",
    shape: Shape::Text(PEM_FILE),
    example: "\"client-ca.pem\"",
    what: "PEM file with the authorities that clients' certificates must come from. Must be there with \
           client_certificates; read at the start and at each reload",
    danger: "every certificate of these authorities opens the door, whoever has it",
    ..Key::NEW
};

const HANDSHAKE: Key = Key {
    name: "handshake",
    shape: milliseconds(100, 60_000),
    default: || duration(TlsTerms::default().handshake),
    what: "From the connection to the end of the TLS handshake, in total; then it is closed",
    cost: "how long a silent client holds a connection",
    danger: "under 2s phones on bad links never get through",
    ..Key::NEW
};
