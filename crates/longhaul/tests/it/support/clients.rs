//! Real clients: programs that check for themselves and print `done`.

use std::time::Duration;

use super::apps::script;
use super::e2e;
use super::process::Process;

/// Runs one of `tests/e2e/clients` to its end and returns what it printed.
///
/// Fails the story when it ends otherwise than with 0 and `done`, or not `within`.
#[track_caller]
pub(crate) fn run(file: &str, arguments: &[&str], within: Duration) -> Vec<String> {
    run_with(file, arguments, &[], within)
}

/// The same with more in its environment.
#[track_caller]
pub(crate) fn run_with(
    file: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
    within: Duration,
) -> Vec<String> {
    let mut command = script(&e2e().join("clients").join(file));
    command.envs(environment.iter().copied());
    let mut client =
        Process::start(format!("{file} {}", arguments.join(" ")), command.args(arguments));
    client.line("done", within, |line| (line == "done").then_some(()));
    let status = client.end(Duration::from_secs(20));
    assert!(status.success(), "{file} ended with {status}");
    client.lines()
}

/// Starts one that goes on while the story does things to it.
#[track_caller]
pub(crate) fn start(file: &str, arguments: &[&str]) -> Process {
    let mut command = script(&e2e().join("clients").join(file));
    Process::start(file, command.args(arguments))
}

/// The same for a client that must not succeed; returns what it complained about.
#[track_caller]
pub(crate) fn run_to_failure(file: &str, arguments: &[&str], within: Duration) -> Vec<String> {
    let mut command = script(&e2e().join("clients").join(file));
    let mut client = Process::start(file, command.args(arguments));
    let status = client.end(within);
    let lines = client.lines();
    assert!(!status.success() && !lines.iter().any(|line| line == "done"), "{lines:#?}");
    lines
}
