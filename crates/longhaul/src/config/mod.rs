//! From text to settings: flags, environment and file, each problem with its place and remedy.
//!
//! `keys` says once what every key is. `tree` is what was said and where, `read` checks one table
//! by its keys, `parse` makes [`Settings`]; `schema` and `reference` print the keys for others.
//!
//! Precedence: flag, then environment, then file, then default. Start at [`load`].

pub(crate) mod defaults;
mod diff;
mod effect;
mod forms;
mod in_force;
pub(crate) mod keys;
mod layers;
pub(crate) mod metrics;
mod parse;
mod platforms;
pub(crate) mod problem;
mod read;
pub(crate) mod reference;
pub(crate) mod schema;
mod tree;
mod units;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longhaul_gateway::Config;

pub(crate) use diff::{Change, Said};
pub(crate) use effect::Effect;
pub(crate) use forms::key_of_32_bytes;
use in_force::SECRETS;
pub(crate) use layers::{Override, Source};
use problem::{Origin, Problem, Report};
use tree::Table;

use crate::logs::LogSettings;
use crate::parent::AppSettings;

/// Everything a run needs. It parsed, so it is in range.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) gateway: Config,
    /// The program to be the parent of.
    pub(crate) app: Option<App>,
    pub(crate) log: LogSettings,
    /// How often the file is looked at, to be read again when it changed.
    pub(crate) config_watch: Option<Duration>,
    /// Where operators look in, if they may.
    pub(crate) admin: Option<AdminSettings>,
    /// The configuration in force as operators see it: every key, secrets masked.
    pub(crate) in_force: serde_json::Value,
}

/// The admin API: where it listens, and for whom.
#[derive(Debug)]
pub(crate) struct AdminSettings {
    pub(crate) address: longhaul_admin::Address,
    pub(crate) terms: longhaul_admin::Terms,
}

/// A program to start, and the upstream that it serves.
#[derive(Debug)]
pub(crate) struct App {
    /// Index of its upstream, which has no replica until the program has a port.
    pub(crate) upstream: usize,
    pub(crate) settings: AppSettings,
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Flags and environment variables that name keys.
    pub(crate) overrides: Vec<Override>,
    /// The program after `--`, empty when there is none.
    pub(crate) command: Vec<String>,
    /// `PORT` as platforms set it.
    pub(crate) port: Option<String>,
}

/// Settings with the warnings about them.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// Holds warnings alone.
    pub(crate) report: Report,
    /// What was said, to be compared.
    pub(crate) said: Said,
}

/// Reads all sources.
///
/// # Errors
/// A report of every problem at once. A file that cannot be read is such a problem.
pub(crate) fn load(sources: Sources) -> Result<Loaded, Report> {
    let text = sources.file.as_deref().map(read_file).transpose()?.unwrap_or_default();
    parse(sources, &text)
}

/// Reads a text as if it were a file of this name.
///
/// # Errors
/// A report of every problem at once.
#[cfg(test)]
fn load_text(name: &str, text: &str) -> Result<Loaded, Report> {
    parse(Sources { file: Some(name.into()), ..Sources::default() }, text)
}

fn parse(sources: Sources, text: &str) -> Result<Loaded, Report> {
    let mut problems = Vec::new();
    let mut root = Table::parse(text, &mut problems);
    // What a broken text seems to say would only repeat its errors.
    let is_broken = !problems.is_empty();
    let mut settings = None;
    let mut said = Said::default();
    if !is_broken {
        layers::apply(&mut root, &sources, &mut problems);
        said = Said::of(&root);
        let cell = std::cell::RefCell::new(problems);
        let file = sources.file.as_deref().and_then(Path::parent);
        settings = parse::settings(&root, file.unwrap_or(Path::new("")), &cell);
        problems = cell.into_inner();
    }
    let mut report = Report { path: sources.file, text: mask_secrets(text), problems };
    report.sort();
    match settings {
        Some(settings) if !report.has_errors() => Ok(Loaded { settings, report, said }),
        _ => Err(report),
    }
}

fn read_file(path: &Path) -> Result<String, Report> {
    /// A file beyond this is no configuration; /dev/zero would never end.
    const BYTES_MAX: u64 = 4 << 20;
    let problem = |what: String, remedy: &str| {
        let title = format!("cannot read {}: {what}", path.display());
        let problem = Problem::error(Origin::Nowhere, title).remedy(remedy);
        Report { problems: vec![problem], ..Report::default() }
    };
    let check = "check the path given with --config or LONGHAUL_CONFIG";
    let file = std::fs::File::open(path).map_err(|error| problem(error.to_string(), check))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| problem(error.to_string(), check))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > BYTES_MAX) {
        return Err(problem("it is longer than 4MiB".to_owned(), check));
    }
    String::from_utf8(bytes)
        .map_err(|_| problem("it is not UTF-8".to_owned(), "save it as UTF-8 without other bytes"))
}

/// Replaces secret values by stars of the same length, so that places stay what they are and no
/// report shows a secret that stands in its line.
fn mask_secrets(text: &str) -> String {
    let mask_line = |line: &str| {
        let first = SECRETS.iter().filter_map(|name| Some(line.find(name)? + name.len())).min();
        let Some(value) = first else { return line.to_owned() };
        let hidden = line[value..].bytes().map(|byte| match byte {
            b' ' | b'\t' | b'=' | b'"' | b'\'' | b'\n' | b'\r' => char::from(byte),
            _ => '*',
        });
        line[..value].chars().chain(hidden).collect()
    };
    text.split_inclusive('\n').map(mask_line).collect()
}

#[cfg(test)]
mod tests;
