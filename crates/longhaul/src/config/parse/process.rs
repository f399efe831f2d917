//! Reads `[server]`, `[limits]`, `[timeouts]` and `[health]`.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use longhaul_gateway::config::{HealthPaths, Limits, Listener, Timeouts};

use super::admission::Environment;
use super::{Sections, admin, admission, listeners, tls};
use crate::config::AdminSettings;
use crate::config::problem::{Origin, Problem};
use crate::config::read::Reader;
use crate::config::{defaults, forms};

/// What holds for the whole process.
pub(super) struct Process<'a> {
    pub(super) listeners: Vec<Listener>,
    pub(super) tls: tls::Tls,
    pub(super) admin: Option<AdminSettings>,
    pub(super) workers: usize,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    /// Where they were said, for warnings that take more than one key.
    pub(super) timeouts_said: Reader<'a>,
    pub(super) health_paths: HealthPaths,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) affinity_key: [u8; 32],
    pub(super) environment: Environment,
    pub(super) bypass_key: Option<[u8; 32]>,
    pub(super) dns_servers: Vec<SocketAddr>,
    pub(super) config_watch: Option<Duration>,
}

pub(super) fn read<'a>(sections: &Sections<'a>) -> Process<'a> {
    let server = sections.one("server");
    let tls = tls::read(sections);
    let listeners = listeners::read(sections, &server, &tls);
    tls.warn_of_unused(sections, &listeners);
    let timeouts_said = sections.one("timeouts");
    let environment = Environment::read(&server);
    Process {
        admin: admin::read(&server, &listeners, sections.directory),
        workers: server.count("workers").map_or_else(defaults::workers, to_usize),
        limits: limits(&sections.one("limits")),
        timeouts: timeouts(&timeouts_said),
        timeouts_said,
        health_paths: health_paths(&sections.one("health")),
        trusted_proxies: trusted_proxies(&server),
        affinity_key: affinity_key(&server),
        bypass_key: bypass_key(&server, environment),
        environment,
        dns_servers: dns_servers(&server),
        config_watch: server
            .duration_or_off("config_watch")
            .unwrap_or(Some(defaults::CONFIG_WATCH)),
        listeners,
        tls,
    }
}

fn trusted_proxies(server: &Reader<'_>) -> Vec<IpNet> {
    let networks = server.parsed_list("trusted_proxies", forms::networks).unwrap_or_default();
    let networks: Vec<IpNet> = networks.into_iter().flat_map(|(networks, _)| networks).collect();
    if networks.iter().any(|network| network.prefix_len() == 0) {
        let danger = "every client can claim to be any other";
        server.warn("trusted_proxies", danger, "name the networks of the ingress alone");
    }
    networks
}

fn affinity_key(server: &Reader<'_>) -> [u8; 32] {
    server.parsed("affinity_key", forms::key_of_32_bytes).unwrap_or_else(|| {
        let mut key = [0; 32];
        if getrandom::fill(&mut key).is_err() {
            let title = "the system has no random numbers to sign affinity cookies with";
            let problem = Problem::error(Origin::Nowhere, title);
            server.report(problem.remedy("set server.affinity_key"));
        }
        key
    })
}

/// A key for bypass tokens, which has no place in production: there the login could be left out by
/// whoever got hold of it.
fn bypass_key(server: &Reader<'_>, environment: Environment) -> Option<[u8; 32]> {
    let key = server.parsed("bypass_key", forms::key_of_32_bytes)?;
    if environment == Environment::Production {
        let title = "server.bypass_key in production would let tests, and whoever has the key, in \
                     without a login";
        let problem = Problem::error(server.at_key("bypass_key"), title);
        server.report(problem.remedy(
            "remove it, or say with server.environment that this is \"staging\" or \"development\"",
        ));
        return None;
    }
    server.warn("bypass_key", "tokens made with it need no login", "remove it before production");
    Some(key)
}

fn dns_servers(server: &Reader<'_>) -> Vec<SocketAddr> {
    let servers = server.parsed_list("dns_servers", forms::dns_server).unwrap_or_default();
    servers.into_iter().map(|(server, _)| server).collect()
}

fn limits(reader: &Reader<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        connections_max: reader.count("connections_max").map_or(default.connections_max, to_usize),
        memory_bytes_max: reader.size("memory_bytes_max").map(|bytes| bytes as u64),
        head_bytes_max: reader.size("head_bytes_max").unwrap_or(default.head_bytes_max),
        header_fields_max: reader
            .count("header_fields_max")
            .map_or(default.header_fields_max, to_usize),
        http2_streams_max: reader
            .count("http2_streams_max")
            .map_or(default.http2_streams_max, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        affinity_entries_max: reader
            .count("affinity_entries_max")
            .map_or(default.affinity_entries_max, to_usize),
        admission: admission::limits(reader),
    }
}

fn timeouts(reader: &Reader<'_>) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        head: reader.duration("head").unwrap_or(default.head),
        keep_alive: reader.duration("keep_alive").unwrap_or(default.keep_alive),
        body_stall: reader.duration("body_stall").unwrap_or(default.body_stall),
        detect: reader.duration("detect").unwrap_or(default.detect),
        drain: reader.duration("drain").unwrap_or(default.drain),
        upgrade_start: reader.duration("upgrade_start").unwrap_or(default.upgrade_start),
        upgrade_step: reader.duration("upgrade_step").unwrap_or(default.upgrade_step),
    }
}

fn health_paths(reader: &Reader<'_>) -> HealthPaths {
    let default = HealthPaths::default();
    let read = |name| reader.parsed(name, forms::health_path);
    let paths = HealthPaths {
        live: read("live").unwrap_or(default.live),
        ready: read("ready").unwrap_or(default.ready),
        startup: read("startup").unwrap_or(default.startup),
    };
    let all = [("live", &paths.live), ("ready", &paths.ready), ("startup", &paths.startup)];
    for (index, (name, path)) in all.iter().enumerate() {
        let same = all[..index].iter().find(|(_, other)| other == path && !path.is_empty());
        if let Some((other, _)) = same {
            let title = format!("health.{name} = {path:?} is also the path of health.{other}");
            let problem = Problem::error(reader.at_key(name), title);
            reader.report(problem.remedy("give each its own path, or \"\" to turn one off"));
        }
    }
    paths
}

/// The table of keys bounds every count far below what 64 bits hold; 32 bits hold them as well.
pub(super) fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
