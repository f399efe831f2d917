//! Plays simulations by command: one seed, or many.
//!
//! `cargo xtask sim 7` plays seed 7 and says how it went; `cargo xtask sim --seeds 10000` plays the
//! first ten thousand and stops at one that fails.
// A developer's tool talks to its terminal.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;
use longhaul_sim::{Failure, Report, Scenario, run};

const HELP: &str = "longhaul-sim SEED | --seeds N";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let seeds = match arguments[..] {
        ["--seeds", count] => count.parse().ok().map(|count| 0..count),
        [seed] => seed.parse().ok().map(|seed: u64| seed..seed + 1),
        _ => None,
    };
    let Some(seeds) = seeds else {
        println!("{HELP}");
        return ExitCode::FAILURE;
    };
    let (started, count) = (Instant::now(), seeds.end - seeds.start);
    let mut total = Report::default();
    for seed in seeds {
        match play(seed) {
            Ok(report) => {
                total.links += report.links;
                total.messages += report.messages;
                total.crashes += report.crashes;
                total.took += report.took;
            }
            Err(failure) => {
                println!("seed {seed} failed {failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    let real = started.elapsed().max(Duration::from_millis(1));
    println!(
        "{count} seeds: {} links, {} messages, {} dead replicas, {:.0} s of virtual time in {:.1} s ({:.0} times as fast)",
        total.links,
        total.messages,
        total.crashes,
        total.took.as_secs_f64(),
        real.as_secs_f64(),
        total.took.as_secs_f64() / real.as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// Plays it before a plain replica, and before some that acknowledge messages themselves, and die.
fn play(seed: u64) -> Result<Report, Failure> {
    let scenario = Scenario::random(&mut Rng::with_seed(seed));
    let mut report = run(&scenario, seed)?;
    let with_crashes = run(&scenario.aware(), seed)?;
    report.links += with_crashes.links;
    report.messages += with_crashes.messages;
    report.crashes += with_crashes.crashes;
    report.took += with_crashes.took;
    Ok(report)
}
