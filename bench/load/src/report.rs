//! What a run says: tables and a chart for people, every sample for programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::chart;
use crate::explain;
use crate::measure::Scenario;
use crate::noise::Noise;

/// Scenarios that share their peers and what ratios refer to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Series {
    Plain,
    /// The peers end TLS.
    Tls,
    /// Whether cost grows with the number of connections.
    Scale,
}

impl Series {
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let all = [Self::Plain, Self::Tls, Self::Scale];
        all.into_iter()
            .find(|series| series.name() == name)
            .ok_or(format!("unknown series {name}; there are plain, tls and scale"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Scale => "scale",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Plain => "Without TLS",
            Self::Tls => "With TLS ended in the peer",
            Self::Scale => "As connections grow",
        }
    }

    /// What ratios refer to.
    fn base(self) -> &'static str {
        match self {
            Self::Plain | Self::Scale => "floor",
            Self::Tls => "haproxy",
        }
    }
}

/// One number of one round.
pub(crate) struct Sample {
    pub(crate) series: Series,
    pub(crate) scenario: Scenario,
    pub(crate) peer: &'static str,
    pub(crate) round: usize,
    pub(crate) value: f64,
}

/// Everything one run found.
pub(crate) struct Report {
    command_line: String,
    rounds: usize,
    started_at: Instant,
    noise: Noise,
    pub(crate) peers: Vec<(&'static str, String)>,
    pub(crate) samples: Vec<Sample>,
}

/// The median and the extremes of what was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

impl Report {
    pub(crate) fn new(command_line: &str, rounds: usize) -> Self {
        Self {
            command_line: command_line.to_owned(),
            rounds,
            started_at: Instant::now(),
            noise: Noise::start(),
            peers: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Prints the tables, and keeps them with a chart and every sample in `out`; the chart goes to
    /// `chart` as well.
    pub(crate) fn write(&self, out: Option<&Path>, chart: Option<&Path>) -> Result<(), String> {
        let text = self.text();
        println!("{text}");
        let svg = chart::draw(self);
        if let Some(chart) = chart {
            fs::write(chart, &svg).map_err(explain)?;
        }
        let Some(out) = out else { return Ok(()) };
        fs::create_dir_all(out).map_err(explain)?;
        fs::write(out.join("report.md"), &text).map_err(explain)?;
        fs::write(out.join("chart.svg"), &svg).map_err(explain)?;
        let samples: Vec<_> = self
            .samples
            .iter()
            .map(|one| {
                json!({
                    "series": one.series.name(), "scenario": one.scenario.name(),
                    "peer": one.peer, "round": one.round, "value": one.value,
                })
            })
            .collect();
        let text = serde_json::to_string_pretty(
            &json!({"command": self.command_line, "samples": samples}),
        );
        fs::write(out.join("samples.json"), text.map_err(explain)?).map_err(explain)
    }

    fn text(&self) -> String {
        let mut text = format!("`{}`\n\n{}\n\n", self.command_line, machine());
        let minutes = self.started_at.elapsed().as_secs_f64() / 60.0;
        let _ = writeln!(text, "It took {minutes:.1} minutes. {}\n", self.noise.sentence());
        for (peer, version) in &self.peers {
            let _ = writeln!(text, "- {peer}: {version}");
        }
        for series in [Series::Plain, Series::Tls, Series::Scale] {
            if self.samples.iter().any(|one| one.series == series) {
                self.table(series, &mut text);
            }
        }
        text
    }

    fn table(&self, series: Series, text: &mut String) {
        let base = series.base();
        let _ = writeln!(
            text,
            "\n## {}\nMedian of {} rounds; in parentheses the ratio to {base} in the same round, with the \
             least and the greatest.\n",
            series.title(),
            self.rounds
        );
        let names = self.peers_of(series);
        let _ = writeln!(text, "| | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
        for scenario in self.scenarios(series) {
            let cells: Vec<String> =
                names.iter().map(|peer| self.cell(series, scenario, peer)).collect();
            let _ = writeln!(text, "| {} | {} |", scenario.name(), cells.join(" | "));
        }
    }

    fn cell(&self, series: Series, scenario: Scenario, peer: &str) -> String {
        let values = (0..self.rounds).filter_map(|round| self.value(series, scenario, peer, round));
        let Some(value) = Spread::of(values) else { return String::new() };
        match self.ratio(series, scenario, peer) {
            Some(Spread { least, median, greatest }) => {
                format!("{:.1} ({median:.2}, {least:.2} to {greatest:.2})", value.median)
            }
            None => format!("{:.1}", value.median),
        }
    }

    /// How a peer stands to the base of its series.
    pub(crate) fn ratio(&self, series: Series, scenario: Scenario, peer: &str) -> Option<Spread> {
        let value = |peer, round| self.value(series, scenario, peer, round);
        let ratios = (0..self.rounds)
            .filter_map(|round| Some(value(peer, round)? / value(series.base(), round)?));
        Spread::of(ratios)
    }

    /// The peers that took part, in the order they ran.
    pub(crate) fn peers_of(&self, series: Series) -> Vec<&'static str> {
        let took_part =
            |peer: &str| self.samples.iter().any(|one| one.series == series && one.peer == peer);
        self.peers.iter().map(|(name, _)| *name).filter(|name| took_part(name)).collect()
    }

    pub(crate) fn scenarios(&self, series: Series) -> Vec<Scenario> {
        let mut seen = Vec::new();
        for sample in self.samples.iter().filter(|one| one.series == series) {
            if !seen.contains(&sample.scenario) {
                seen.push(sample.scenario);
            }
        }
        seen
    }

    fn value(&self, series: Series, scenario: Scenario, peer: &str, round: usize) -> Option<f64> {
        let mut samples = self.samples.iter().filter(|one| one.series == series);
        samples
            .find(|one| one.scenario == scenario && one.peer == peer && one.round == round)
            .map(|one| one.value)
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len() / 2)?;
        Some(Self { least: *values.first()?, median, greatest: *values.last()? })
    }
}

/// The machine, since it colours every figure.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} × {}, Linux {}.", model.unwrap_or("unknown CPU").trim(), kernel.trim())
}
