//! `longhaul check`: all problems of a file at once, and what is different from another.

use std::io::IsTerminal;
use std::path::Path;

use super::EXIT_USAGE;
use super::print::print;
use crate::capacity;
use crate::config::{self, Change, Loaded, Said, Sources};

pub(super) fn check(old: Option<&Path>, file: &Path) -> u8 {
    let old = match old.map(load).transpose() {
        Ok(old) => old,
        Err(exit_code) => return exit_code,
    };
    let Loaded { settings, report, said } = match load(file) {
        Ok(loaded) => loaded,
        Err(exit_code) => return exit_code,
    };
    for note in capacity::notes(&settings.gateway) {
        eprintln!("note: {note}\n");
    }
    eprintln!("{}: fine{}", file.display(), and_warnings(report.counts().1));
    old.map_or(0, |old| print(&differences(&old.said, &said)))
}

/// Reads a file and prints its problems.
///
/// # Errors
/// The exit code, when there is an error among them.
fn load(file: &Path) -> Result<Loaded, u8> {
    let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
    let loaded = config::load(sources);
    let report = match &loaded {
        Ok(loaded) => &loaded.report,
        Err(report) => report,
    };
    if !report.problems.is_empty() {
        eprintln!("{}\n", report.render(std::io::stderr().is_terminal()));
    }
    loaded.map_err(|report| {
        let (errors, warnings) = report.counts();
        eprintln!("{}: {}{}", file.display(), count(errors, "error"), and_warnings(warnings));
        EXIT_USAGE
    })
}

/// To standard output, for scripts.
fn differences(old: &Said, new: &Said) -> String {
    let changes = old.changes(new);
    if changes.is_empty() {
        return "no difference\n".to_owned();
    }
    let line = |change: &Change| format!("{change} ({})\n", change.effect.words());
    changes.iter().map(line).collect()
}

fn and_warnings(warnings: usize) -> String {
    if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
