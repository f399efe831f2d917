//! One replica of the messaging service.

use std::process::ExitCode;

use clap::Parser;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// One replica of a messaging service: a WebSocket at /ws, a web chat at /. Ends in good order on TERM.
#[derive(Debug, Parser)]
#[command(name = "messaging", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    options: messaging::Options,
}

fn main() -> ExitCode {
    let levels = std::env::var("RUST_LOG").ok().and_then(|levels| levels.parse::<Targets>().ok());
    let levels = levels.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(levels).with(lines).init();
    messaging::main(Cli::parse().options, messaging::PAGE)
}
