//! What this machine would not let a config have: descriptors, ports, accept queues, memory. For
//! `longhaul check`; the figures behind it are in `docs/tune/cost.md`.

use std::fs;

use longhaul_gateway::Config;
use longhaul_gateway::config::{ReplicaSource, UpstreamConfig};

use crate::descriptors;

/// Longhaul's own memory for an idle WebSocket, and the kernel's for its two sockets.
const IDLE_BYTES: u64 = 2 * 1024 + 8 * 1024;

/// What the system allows.
#[derive(Debug, Clone)]
struct Machine {
    /// Client connections that the descriptor limit carries.
    descriptors: usize,
    /// Ports for connections to one address.
    ports: usize,
    /// Longest accept queue.
    backlog: usize,
    /// The container's bound, if it has one.
    memory_bytes: Option<u64>,
}

/// What stands between `config` and this machine, in words, one note each.
pub(crate) fn notes(config: &Config) -> Vec<String> {
    Machine::read().notes(config)
}

impl Machine {
    fn read() -> Self {
        let ports = read("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ends = ports.split_whitespace().filter_map(|word| word.parse::<usize>().ok());
        let ports = match (ends.next(), ends.next()) {
            (Some(first), Some(last)) if last >= first => last - first + 1,
            _ => usize::MAX,
        };
        let number = |path| read(path).and_then(|text| text.trim().parse::<u64>().ok());
        let backlog = number("/proc/sys/net/core/somaxconn");
        // No number there (`max`) is no bound; the old hierarchy has a huge one instead.
        let memory_bytes = number("/sys/fs/cgroup/memory.max")
            .or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
        Self {
            descriptors: descriptors::connections_possible(),
            ports,
            backlog: backlog
                .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            memory_bytes,
        }
    }

    fn notes(&self, config: &Config) -> Vec<String> {
        let mut notes = Vec::new();
        let wanted = config.limits.connections_max;
        let connections = wanted.min(self.descriptors);
        if connections < wanted {
            notes.push(format!(
                "the descriptor limit of this machine carries {connections} connections, \
                 limits.connections_max is {wanted}; `longhaul run` will use the smaller"
            ));
        }
        for upstream in &config.upstreams {
            let Some(replicas) = fixed_replicas(upstream) else { continue };
            let carried = self.ports.saturating_mul(replicas);
            if carried < connections {
                notes.push(format!(
                    "upstream {:?}: {carried} connections have a port here (net.ipv4.ip_local_port_range, \
                     {replicas} replica(s)), {connections} may come; widen the range or add replicas",
                    upstream.name
                ));
            }
        }
        if self.backlog < longhaul_gateway::BACKLOG {
            notes.push(format!(
                "net.core.somaxconn is {}: more clients than that at one moment wait for a second try; \
                 {} would be used",
                self.backlog,
                longhaul_gateway::BACKLOG
            ));
        }
        let idle_bytes = IDLE_BYTES.saturating_mul(connections as u64);
        if let Some(limit) = self.memory_bytes.filter(|&limit| limit < idle_bytes) {
            notes.push(format!(
                "{connections} connections take about {} MiB when idle, the container has {}; lower \
                 limits.connections_max",
                idle_bytes >> 20,
                limit >> 20
            ));
        }
        notes
    }
}

/// How many replicas there are for good; `None` where names decide.
fn fixed_replicas(upstream: &UpstreamConfig) -> Option<usize> {
    let is_fixed = |source: &ReplicaSource| matches!(source, ReplicaSource::Static { .. });
    let sources = &upstream.sources;
    (!sources.is_empty() && sources.iter().all(is_fixed)).then_some(sources.len())
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    fn config(connections_max: usize, replicas: &str) -> Config {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(
            file,
            "[limits]\nconnections_max = {connections_max}\n\
             [[upstreams]]\nname = \"app\"\nreplicas = [{replicas}]\n"
        )
        .unwrap();
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        let Ok(loaded) = config::load(sources) else { panic!("the file is fine") };
        loaded.settings.gateway
    }

    #[track_caller]
    fn check(machine: &Machine, config: &Config, words: &[&str]) {
        let notes = machine.notes(config);
        assert_eq!(notes.len(), words.len(), "{notes:#?}");
        for (note, words) in notes.iter().zip(words) {
            assert!(note.contains(words), "{words} in {note}");
        }
    }

    #[test]
    fn each_limit_that_a_config_cannot_meet_is_named() {
        let large =
            Machine { descriptors: 1_000_000, ports: 28_232, backlog: 4096, memory_bytes: None };
        let one = "\"127.0.0.1:1\"";
        check(&large, &config(20_000, one), &[]);
        check(&large, &config(50_000, one), &["upstream \"app\": 28232 connections"]);
        check(&large, &config(50_000, "\"127.0.0.1:1\", \"127.0.0.1:2\""), &[]);
        // How many a name stands for is not known before it is looked up.
        check(&large, &config(50_000, "\"app.example:80\""), &[]);
        let small = Machine { descriptors: 384, ..large.clone() };
        check(&small, &config(50_000, one), &["carries 384 connections"]);
        let slow = Machine { backlog: 128, memory_bytes: Some(64 << 20), ..large };
        check(&slow, &config(20_000, one), &["somaxconn is 128", "about 195 MiB when idle"]);
    }
}
