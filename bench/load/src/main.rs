//! Measures Longhaul beside other proxies: same backend, same load, same run.
//!
//! `run` starts an echo server, then every peer in turn in front of it, round after round, and reads
//! what each took from `/proc`. Every echo is compared byte for byte with what was sent.
//!
//! Start at [`run::run`].

mod chart;
mod echo;
mod floor;
mod load;
mod measure;
mod noise;
mod peers;
mod process;
mod report;
mod run;
mod stream;
mod uring;

use std::net::SocketAddr;
use std::process::ExitCode;

const HELP: &str = "\
longhaul-bench run [--quick] [--series plain,tls,scale] [--peers A,B,…] [--rounds N] [--out DIR]
                   [--chart FILE] [--longhaul BINARY] [--workers N] [--only TEXT]
longhaul-bench echo ADDRESS               the backend: echoes WebSocket messages
longhaul-bench floor LISTEN UPSTREAM      the floor: a relay that parses nothing
longhaul-bench uring LISTEN UPSTREAM      the same over io_uring

Peers: floor, uring (only when named, and where the kernel permits it), longhaul, nginx, haproxy, caddy; those that are not installed are left out, and said so.
Every peer has one worker; --workers gives Longhaul more, to compare Longhaul with itself.
--only leaves out what TEXT is not part of the name of, as in --only '1024 B'.
--quick takes under two minutes; without it, about half an hour.
Series: plain, tls (ended in the peers; no floor then), scale (10 to 9,000 connections in one process, 18,000 in two).
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["echo", address] => {
            address.parse().map_err(explain).and_then(|at| echo::serve(at).map_err(explain))
        }
        ["floor", listen, upstream] => both(listen, upstream)
            .and_then(|(listen, upstream)| floor::serve(listen, upstream).map_err(explain)),
        ["uring", listen, upstream] => both(listen, upstream)
            .and_then(|(listen, upstream)| uring::serve(listen, upstream).map_err(explain)),
        ["run", ref options @ ..] => {
            run::Options::parse(options).and_then(|options| run::run(&options))
        }
        _ => Err(HELP.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn both(listen: &str, upstream: &str) -> Result<(SocketAddr, SocketAddr), String> {
    Ok((listen.parse().map_err(explain)?, upstream.parse().map_err(explain)?))
}

/// An error as a line for the terminal.
pub(crate) fn explain(error: impl std::fmt::Display) -> String {
    error.to_string()
}
