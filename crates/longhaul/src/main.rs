//! Longhaul starts: the binary.
//!
//! `cli` reads the command line, `commands` has a file for each verb, `config` turns text into
//! settings, `serve` runs the gateway from its start to its end in good order, `parent` looks after
//! the application in the same container, `succession` has another binary take this one's place.

mod capacity;
mod cli;
mod commands;
mod config;
mod descriptors;
mod house;
mod logs;
mod parent;
mod reload;
mod serve;
mod signals;
mod succession;
mod systemd;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::demo::replicas;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    // Before anything has started a thread or read an option: see `parent::exec`.
    if arguments.next_if(|name| name == parent::exec::NAME).is_some() {
        return parent::exec::exec(arguments).into();
    }
    if arguments.peek().is_some_and(|name| name == replicas::NAME) {
        return replicas::be_one(arguments);
    }
    let exit_code = commands::dispatch(cli::Cli::parse().verb);
    logs::flush();
    exit_code.into()
}

/// The runtime of everything that is not relay: admin, probes, look-ups, the application. The
/// gateway's workers have their own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    const THREADS_MAX: usize = 4;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config::defaults::workers().min(THREADS_MAX))
        .thread_name("watch")
        .enable_all()
        .build()
}

/// An error with all its sources in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
