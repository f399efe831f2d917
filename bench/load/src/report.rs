//! Samples in, a table out: medians, ratios to the floor of the same round, and their spread.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::explain;
use crate::measure::Scenario;

/// One number of one peer in one round.
pub(crate) struct Sample {
    pub(crate) scenario: Scenario,
    pub(crate) peer: &'static str,
    pub(crate) round: usize,
    pub(crate) value: f64,
}

/// Everything one run found.
pub(crate) struct Report {
    command_line: String,
    is_tls: bool,
    rounds: usize,
    pub(crate) peers: Vec<(&'static str, String)>,
    pub(crate) samples: Vec<Sample>,
}

impl Report {
    pub(crate) fn new(command_line: &str, is_tls: bool, rounds: usize) -> Self {
        let command_line = command_line.to_owned();
        Self { command_line, is_tls, rounds, peers: Vec::new(), samples: Vec::new() }
    }

    /// Prints the table, and keeps it with every sample in `out`.
    pub(crate) fn write(&self, out: Option<&Path>) -> Result<(), String> {
        let table = self.table();
        println!("{table}");
        let Some(out) = out else { return Ok(()) };
        fs::create_dir_all(out).map_err(explain)?;
        fs::write(out.join("report.md"), &table).map_err(explain)?;
        let samples: Vec<_> = self
            .samples
            .iter()
            .map(|one| {
                json!({"scenario": one.scenario.name(), "peer": one.peer, "round": one.round, "value": one.value})
            })
            .collect();
        let text = serde_json::to_string_pretty(
            &json!({"command": self.command_line, "samples": samples}),
        );
        fs::write(out.join("samples.json"), text.map_err(explain)?).map_err(explain)
    }

    fn table(&self) -> String {
        let mut text = format!("`{}`\n\n{}\n\n", self.command_line, machine());
        for (peer, version) in &self.peers {
            let _ = writeln!(text, "- {peer}: {version}");
        }
        let base = self.base();
        let _ = writeln!(
            text,
            "\nMedian of {} rounds; in parentheses the ratio to {base} in the same round, with the least \
             and the greatest.\n",
            self.rounds
        );
        let names: Vec<&str> = self.peers.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(text, "| | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
        let mut seen: Vec<Scenario> = Vec::new();
        for sample in &self.samples {
            if !seen.contains(&sample.scenario) {
                seen.push(sample.scenario);
            }
        }
        for scenario in seen {
            let cells: Vec<String> =
                names.iter().map(|peer| self.cell(scenario, peer, base)).collect();
            let _ = writeln!(text, "| {} | {} |", scenario.name(), cells.join(" | "));
        }
        text
    }

    /// What ratios refer to: the floor, which cannot end TLS.
    fn base(&self) -> &'static str {
        if self.is_tls { "haproxy" } else { "floor" }
    }

    fn cell(&self, scenario: Scenario, peer: &str, base: &str) -> String {
        let of = |peer: &str, round: usize| {
            let mut samples = self.samples.iter();
            samples
                .find(|one| one.scenario == scenario && one.peer == peer && one.round == round)
                .map(|one| one.value)
        };
        let values = sorted((0..self.rounds).filter_map(|round| of(peer, round)));
        let ratios =
            sorted((0..self.rounds).filter_map(|round| Some(of(peer, round)? / of(base, round)?)));
        let value = format!("{:.1}", median(&values));
        match (ratios.first(), ratios.last()) {
            (Some(least), Some(greatest)) => {
                format!("{value} ({:.2}, {least:.2} to {greatest:.2})", median(&ratios))
            }
            _ => value,
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The machine and how busy it is, since both colour every figure.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} × {}, Linux {}, load average at the end {}",
        model.unwrap_or("unknown CPU").trim(),
        kernel.trim(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    )
}
