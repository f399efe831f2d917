//! Keys of `[traces]`.

use super::{CA, Key, Section, Shape};
use super::{number, text};
use crate::config::defaults;

pub(super) static TRACES: Section = Section {
    name: "traces",
    is_list: false,
    what: "What a collector is told of single requests, by OTLP over HTTP. Without `collector`, nothing; \
           traceparent is passed on either way.",
    keys: &[
        Key {
            name: "collector",
            shape: Shape::Text("URL"),
            example: "\"http://127.0.0.1:4318/v1/traces\"",
            what: "Where traces are sent, in protobuf. What it does not take within 5 s is dropped and \
                   counted; nothing that serves waits for it",
            danger: "addresses of clients and paths are told to whoever is there",
            ..Key::NEW
        },
        CA,
        Key {
            name: "one_in",
            shape: Shape::Count { min: 1, max: 1_000_000 },
            default: || number(defaults::TRACES_ONE_IN),
            what: "One in so many requests and handshakes is traced, of those whose caller does not say",
            cost: "some microseconds and about 2 KiB for each that is traced, until the collector has it",
            danger: "1 traces all of them: for development",
            ..Key::NEW
        },
        Key {
            name: "follow",
            shape: Shape::Boolean,
            default: || number(true),
            what: "Whether a request is traced when its caller's traceparent says so, and is not when it \
                   says that it is not",
            danger: "true lets strangers have each of their requests traced; what does not fit into the \
                     queue of 1,024 is dropped",
            ..Key::NEW
        },
        Key {
            name: "service",
            shape: Shape::Text("a name"),
            default: || text(defaults::TRACES_SERVICE),
            what: "What this gateway is called in traces",
            ..Key::NEW
        },
    ],
    children: &[],
};
