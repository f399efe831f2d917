//! Reads `[[upstreams]]`; their probes and health are read by `health`.

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_gateway::config::proxy_protocol::Version;
use longhaul_gateway::config::{
    Affinity, HashOn, HealthPolicy, Http2Policy, ReplicaSource, Strategy, UpstreamConfig,
};
use longhaul_gateway::tls::UpstreamTls;

use super::health::{health_policy, probe};
use super::process::to_usize;
use super::{Sections, tls};
use crate::config::forms::{self, Scheme};
use crate::config::problem::{Origin, Problem};
use crate::config::read::{Problems, Reader, nearest};
use crate::config::tree::{Kind, Value};

/// The upstream of the program that the gateway is the parent of.
pub(in crate::config) const APP: &str = "app";

/// Weights beyond this only say that one replica takes everything.
const WEIGHT_MAX: i128 = 1_000;

/// All upstreams, found by name.
pub(super) struct Upstreams {
    pub(super) configs: Vec<UpstreamConfig>,
    /// Where each was said.
    pub(super) origins: Vec<Origin>,
    /// Whether one could not be read: then a name that is missing is no second problem.
    pub(super) is_partial: bool,
}

impl Upstreams {
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.configs.iter().position(|upstream| upstream.name == name)
    }

    /// Finds the upstream that `key` of `reader` names.
    pub(super) fn resolve(&self, reader: &Reader<'_>, key: &'static str) -> Option<usize> {
        let known = || self.configs.iter().map(|upstream| upstream.name.as_str());
        reader
            .parsed(key, |name| match self.index_of(name) {
                Some(index) => Ok(Some(index)),
                None if self.is_partial => Ok(None),
                None => Err(match nearest(name, known()) {
                    Some(near) => format!("names no upstream; did you mean {near:?}?"),
                    None if self.configs.is_empty() => {
                        "names no upstream; there is none, add one under [[upstreams]]".to_owned()
                    }
                    None => format!(
                        "names no upstream; known: {}",
                        known().collect::<Vec<_>>().join(", ")
                    ),
                }),
            })
            .flatten()
    }
}

pub(super) fn read(sections: &Sections<'_>, has_app: bool) -> Upstreams {
    let readers = sections.each("upstreams");
    let mut upstreams = Upstreams { configs: Vec::new(), origins: Vec::new(), is_partial: false };
    let mut seen = BTreeSet::new();
    for reader in &readers {
        reader.require();
        let name = reader.parsed("name", forms::name);
        upstreams.is_partial |= name.is_none();
        let name = name.unwrap_or_default();
        if !name.is_empty() && !seen.insert(name.clone()) {
            let title =
                format!("{}.name = {name:?} is the name of another upstream", reader.path());
            let problem = Problem::error(reader.at_key("name"), title).label("said before");
            reader.report(problem.remedy("give each upstream its own name"));
        }
        upstreams.origins.push(reader.at());
        upstreams.configs.push(one(reader, name, has_app, sections));
    }
    if has_app && upstreams.index_of(APP).is_none() {
        upstreams.configs.push(UpstreamConfig::new(APP, Vec::new()));
        upstreams.origins.push(Origin::Nowhere);
    }
    upstreams
}

fn one(
    reader: &Reader<'_>,
    name: String,
    has_app: bool,
    sections: &Sections<'_>,
) -> UpstreamConfig {
    let Sources { sources, schemes, hosts } = sources(reader, sections.problems);
    let http2 = http2(reader);
    let tls = tls::upstream(sections, reader, &schemes, &sources, &hosts);
    let tls = if http2.is_some() { tls.map(UpstreamTls::with_http2) } else { tls };
    let is_app = has_app && name == APP;
    if is_app && !sources.is_empty() {
        let title =
            format!("{}: replicas for `app`, which the gateway itself starts", reader.path());
        let problem = Problem::error(reader.at_key("replicas"), title);
        reader.report(problem.remedy("remove them, or give this upstream another name"));
    }
    if !is_app && !reader.has("replicas") && !reader.has("srv") {
        let title = format!("{} has no replicas", reader.path());
        let remedy = "add `replicas = [\"HOST:PORT\"]` or `srv = \"_ws._tcp.NAME\"`";
        reader.report(Problem::error(reader.at(), title).remedy(remedy));
    }
    let default = UpstreamConfig::new(name, sources);
    let upstream = UpstreamConfig {
        strategy: reader.choice("balance").map_or(default.strategy, strategy),
        hash_on: reader.parsed("hash_on", forms::hash_on).unwrap_or(HashOn::Address),
        affinity: reader.parsed("affinity", forms::affinity).unwrap_or(Affinity::Auto),
        health: reader
            .child("health")
            .map_or_else(HealthPolicy::default, |health| health_policy(&health)),
        probe: reader.child("probe").and_then(|reader| probe(&reader)),
        connect_deadline: reader.duration("connect_deadline").unwrap_or(default.connect_deadline),
        connect_attempt: reader.duration("connect_attempt").unwrap_or(default.connect_attempt),
        upgrade_answer: reader.duration("upgrade_answer").unwrap_or(default.upgrade_answer),
        response_head: reader.duration("response_head").unwrap_or(default.response_head),
        idle_connections_max: reader
            .count("idle_connections_max")
            .map_or(default.idle_connections_max, to_usize),
        idle_connection: reader.duration("idle_connection").unwrap_or(default.idle_connection),
        tls,
        http2,
        proxy_protocol: reader.choice("send_proxy_protocol").and_then(proxy_version),
        ..default
    };
    warn(reader, &upstream);
    upstream
}

/// How requests share connections, if they do.
fn http2(reader: &Reader<'_>) -> Option<Http2Policy> {
    if reader.boolean("http2") != Some(true) {
        for key in ["http2_streams_max", "http2_connections_max", "http2_ping"] {
            if reader.has(key) {
                let danger = "has no effect without `http2 = true`";
                reader.warn(key, danger, "add that, or remove it");
            }
        }
        return None;
    }
    if reader.choice("send_proxy_protocol").and_then(proxy_version).is_some() {
        let title = format!("{}: `http2` and `send_proxy_protocol` together", reader.path());
        let problem = Problem::error(reader.at_key("http2"), title);
        let problem = problem.label("many clients would share a connection announced for one");
        reader.report(problem.remedy("remove one; replicas find clients in X-Forwarded-For"));
    }
    let default = Http2Policy::default();
    Some(Http2Policy {
        streams_max: reader.count("http2_streams_max").map_or(default.streams_max, to_usize),
        connections_max: reader
            .count("http2_connections_max")
            .map_or(default.connections_max, to_usize),
        ping: reader.duration_or_off("http2_ping").unwrap_or(default.ping),
    })
}

fn warn(reader: &Reader<'_>, upstream: &UpstreamConfig) {
    let is_many = upstream.sources.len() > 1;
    if upstream.affinity == Affinity::None && is_many {
        let danger = "Socket.IO long-polling fails on more than one replica without affinity";
        reader.warn("affinity", danger, "use \"auto\" unless no client of it speaks Socket.IO");
    }
    if reader.has("hash_on") && upstream.strategy != Strategy::ConsistentHash {
        let danger = "has no effect without `balance = \"consistent_hash\"`";
        reader.warn("hash_on", danger, "set balance, or remove it");
    }
    if upstream.connect_attempt >= upstream.connect_deadline {
        let (name, danger) = if reader.has("connect_attempt") {
            ("connect_attempt", "one silent replica uses up the whole connect_deadline")
        } else {
            ("connect_deadline", "leaves no time for a second replica after one connect_attempt")
        };
        reader.warn(name, danger, "make connect_deadline at least twice connect_attempt");
    }
    if upstream.response_head < Duration::from_secs(5) {
        let danger = "any request that takes longer is answered 504";
        reader.warn("response_head", danger, "use 30s or more unless all answers are quick");
    }
}

/// Where replicas come from, and how they were said to be spoken to.
struct Sources {
    sources: Vec<ReplicaSource>,
    /// One for each that `replicas` says.
    schemes: Vec<Scheme>,
    /// One for each that `replicas` says.
    hosts: Vec<String>,
}

fn sources(reader: &Reader<'_>, problems: &Problems) -> Sources {
    let mut sources: Vec<ReplicaSource> = Vec::new();
    let mut schemes = Vec::new();
    let mut hosts = Vec::new();
    let mut shown: Vec<String> = Vec::new();
    for value in reader.list("replicas").unwrap_or_default() {
        let Some(forms::Replica { source, scheme, host }) = replica(reader, value, problems) else {
            continue;
        };
        let target = target(&source);
        if shown.contains(&target) {
            reader.wrong("replicas", value, "is there twice", "remove one, or raise its `weight`");
        }
        shown.push(target);
        sources.push(source);
        schemes.push(scheme);
        hosts.push(host);
    }
    for (name, _) in reader.parsed_list("srv", forms::domain).unwrap_or_default() {
        sources.push(ReplicaSource::Srv { name });
    }
    if sources.is_empty() && matches!(reader.list("replicas"), Some([])) {
        let title = format!("{}.replicas = [] leaves nowhere to go", reader.path());
        let problem = Problem::error(reader.at_key("replicas"), title);
        reader.report(problem.remedy("name a replica, as in [\"127.0.0.1:9000\"]"));
    }
    Sources { sources, schemes, hosts }
}

fn replica(reader: &Reader<'_>, value: &Value, problems: &Problems) -> Option<forms::Replica> {
    const EXAMPLE: &str = "write \"HOST:PORT\" or { address = \"HOST:PORT\", weight = 2 }";
    let (address, weight) = match &value.kind {
        Kind::Text(text) => (text.as_str(), 1),
        Kind::Table(table) => {
            for (name, entry) in &table.entries {
                if name != "address" && name != "weight" {
                    let title = format!(
                        "{}.replicas: unknown key `{}`",
                        reader.path(),
                        name.escape_debug()
                    );
                    let problem = Problem::error(entry.key_at.clone(), title);
                    problems.borrow_mut().push(problem.label("not known here").remedy(EXAMPLE));
                }
            }
            let address = table.entries.get("address").map(|entry| &entry.value.kind);
            let Some(Kind::Text(address)) = address else {
                reader.wrong("replicas", value, "has no address", EXAMPLE);
                return None;
            };
            let weight = match table.entries.get("weight").map(|entry| &entry.value) {
                None => 1,
                Some(Value { kind: Kind::Integer(weight), .. })
                    if (1..=WEIGHT_MAX).contains(weight) =>
                {
                    u32::try_from(*weight).unwrap_or(1)
                }
                Some(weight) => {
                    let remedy = format!("use 1 to {WEIGHT_MAX}, or remove it for 1");
                    reader.wrong("replicas.weight", weight, "is no weight", &remedy);
                    1
                }
            };
            (address.as_str(), weight)
        }
        other => {
            let problem = format!("is {}", other.name());
            reader.wrong("replicas", value, &problem, EXAMPLE);
            return None;
        }
    };
    forms::replica(address, weight)
        .map_err(|problem| {
            let (problem, remedy) = problem.split_once("; ").unwrap_or((&problem, EXAMPLE));
            reader.wrong("replicas", value, problem, remedy);
        })
        .ok()
}

fn target(source: &ReplicaSource) -> String {
    match source {
        ReplicaSource::Static { address, .. } => address.to_string(),
        ReplicaSource::Dns { name, port, .. } => format!("{name}:{port}"),
        ReplicaSource::Srv { name } => name.clone(),
    }
}

fn strategy(word: &str) -> Strategy {
    match word {
        "round_robin" => Strategy::RoundRobin,
        "random_of_two" => Strategy::RandomOfTwo,
        "consistent_hash" => Strategy::ConsistentHash,
        _ => Strategy::LeastConnections,
    }
}

fn proxy_version(word: &str) -> Option<Version> {
    match word {
        "v1" => Some(Version::V1),
        "v2" => Some(Version::V2),
        _ => None,
    }
}
