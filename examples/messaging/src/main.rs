//! One replica of the messaging service.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// One replica of a messaging service: a WebSocket at /ws, a web chat at /. Ends in good order on TERM.
#[derive(Debug, Parser)]
#[command(name = "messaging", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    options: messaging::Options,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    messaging::main(Cli::parse().options, messaging::PAGE)
}
