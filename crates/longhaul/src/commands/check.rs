//! `longhaul check`: all problems of a file at once.

use std::io::IsTerminal;
use std::path::Path;

use super::EXIT_USAGE;
use crate::capacity;
use crate::config::{self, Loaded, Sources};

pub(super) fn check(file: &Path) -> u8 {
    let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
    let (report, loaded) = match config::load(sources) {
        Ok(Loaded { settings, report }) => (report, Some(settings)),
        Err(report) => (report, None),
    };
    if !report.problems.is_empty() {
        eprintln!("{}\n", report.render(std::io::stderr().is_terminal()));
    }
    let shown = file.display();
    let Some(settings) = loaded else {
        let (errors, warnings) = report.counts();
        eprintln!("{shown}: {}{}", count(errors, "error"), and_warnings(warnings));
        return EXIT_USAGE;
    };
    for note in capacity::notes(&settings.gateway) {
        eprintln!("note: {note}\n");
    }
    eprintln!("{shown}: fine{}", and_warnings(report.counts().1));
    0
}

fn and_warnings(warnings: usize) -> String {
    if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
