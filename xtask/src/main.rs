//! Every verb a developer of Longhaul needs, in one place that needs nothing but cargo.
//!
//! Each verb is safe to repeat: what is already installed or built is not done again.
//!
//! Start at [`run`].
// A developer's tool talks to its terminal.
#![allow(clippy::print_stdout)]

mod deny;
mod sdk;
mod setup;
mod shell;

use std::process::ExitCode;
use std::time::Instant;

use shell::{Failure, step};

const HELP: &str = "\
cargo xtask VERB

  test              installs what tests need, then check, then every test and story
  test --only NAME  only the stories whose path contains NAME, as in `socketio::` or `drain`
  check             formatting, clippy without a warning, dependencies (cargo deny)
  setup             installs what the tests need: Debian, PyPI and npm packages
  sdk               builds the TypeScript client; runs its tests, and those of the Python package
  sim SEED          plays one simulation of a durable session; --seeds N plays the first N
  dev               builds and starts the demo without optimisation
  help              this text

Installing Debian packages takes root or sudo; a missing tool is named with the command that gets it.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let started = Instant::now();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure} (after {} s)", started.elapsed().as_secs());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["test"] => test_all(),
        ["test", "--only", name] => test_only(name),
        ["check"] => {
            setup::lints()?;
            check()
        }
        ["setup"] => {
            setup::lints()?;
            setup::stories()?;
            setup::sdk()
        }
        ["sdk"] => {
            setup::stories()?;
            sdk::test_python()?;
            sdk::test()
        }
        ["sim", how @ ..] => {
            let command = ["run", "--release", "--package", "longhaul-sim", "--"];
            shell::cargo(&[&command[..], how].concat())
        }
        ["dev"] => shell::cargo(&["run", "--package", "longhaul", "--", "demo"]),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::new(format!("no verb `{}`\n\n{HELP}", other.join(" ")))),
    }
}

fn test_all() -> Result<(), Failure> {
    let started = Instant::now();
    setup::lints()?;
    setup::stories()?;
    check()?;
    // First, because stories load what it builds.
    sdk::test()?;
    sdk::test_python()?;
    step("tests and stories");
    // One command for all of it: unit tests, simulations, and the stories in `tests/it`.
    shell::cargo_test(&["test", "--workspace"])?;
    println!("\nxtask: everything passed in {} s", started.elapsed().as_secs());
    Ok(())
}

fn test_only(name: &str) -> Result<(), Failure> {
    setup::stories()?;
    sdk::build()?;
    step(&format!("stories with {name:?} in their name"));
    shell::cargo_test(&["test", "--package", "longhaul", "--test", "it", name])
}

fn check() -> Result<(), Failure> {
    step("formatting");
    shell::cargo(&["fmt", "--all", "--check"])?;
    step("clippy");
    shell::cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    deny::check()
}
