//! Keys of `[metrics]`.

use super::{CA, Key, Section, Shape};
use super::{HOUR_S, duration, seconds, text};
use crate::config::defaults;

pub(super) static METRICS: Section = Section {
    name: "metrics",
    is_list: false,
    what: "What a collector is told of all metrics, by OTLP over HTTP: those of `/metrics` on the admin listener, \
           under the same names. Without `collector`, nothing.",
    keys: &[
        Key {
            name: "collector",
            shape: Shape::Text("URL"),
            example: "\"http://127.0.0.1:4318/v1/metrics\"",
            what: "Where metrics are sent, in protobuf. It has 5 s to take them; what it does not take is in what it \
                   is told next, since counters only grow",
            danger: "names of routes and addresses of replicas are told to whoever is there",
            ..Key::NEW
        },
        CA,
        Key {
            name: "interval",
            shape: seconds(1, HOUR_S),
            default: || duration(defaults::METRICS_INTERVAL),
            what: "How often, ±10 %",
            cost: "as much as being scraped: a walk over routes, replicas and workers, and some 30 kB",
            ..Key::NEW
        },
        Key {
            name: "service",
            shape: Shape::Text("a name"),
            default: || text(defaults::TRACES_SERVICE),
            what: "What this gateway is called in metrics",
            ..Key::NEW
        },
        Key {
            name: "instance",
            shape: Shape::Text("a name"),
            example: "\"edge-1\"",
            what: "What tells it from other gateways of that name; by default the name of its host",
            danger: "two with the same one are taken for one whose counters jump",
            ..Key::NEW
        },
    ],
    children: &[],
};
