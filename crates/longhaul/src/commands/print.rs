//! Verbs that print what is generated: schema, reference, completions.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::{self, Cli, Page};
use crate::config::{metrics, reference, schema};

pub(super) fn schema() -> u8 {
    print(&schema::text())
}

pub(super) fn reference(page: Page) -> u8 {
    print(&match page {
        Page::Config => reference::page(),
        Page::Cli => cli::page(),
        Page::Toml => reference::all_keys(),
        Page::Metrics => metrics::page(),
        Page::Api => longhaul_admin::openapi::text(),
    })
}

pub(super) fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "longhaul", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// A reader that went away (`| head`) is no failure of ours, and no panic.
pub(super) fn print(text: &str) -> u8 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            eprintln!("longhaul: cannot write: {error}");
            1
        }
    }
}
