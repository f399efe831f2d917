//! Everything at once, for as long as a test may take. `bench/soak` has the same for as long as one likes.

use crate::support::apps::script;
use crate::support::gateway::longhaul;
use crate::support::process::Process;
use crate::support::{e2e, s};

/// Replicas are killed, restarted, drained and suspended under plain clients and browsers while the
/// configuration is reloaded and the binary replaced. Who runs it accounts for every message, and
/// fails where one is missing of which the gateway did not say so.
#[test]
fn through_a_storm_nobody_is_closed_and_every_message_is_accounted_for() {
    let mut command = script(&e2e().join("../../bench/soak/soak.py"));
    command.arg(longhaul().get_program()).args(["--peers", "longhaul", "--clients", "48"]);
    command.args(["--browsers", "12", "--seconds", "13", "--pace", "3", "--interval", "0.25"]);
    command.args(["--upgrades", "2"]).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut soak = Process::start("soak.py", &mut command);
    let status = soak.end(s(300));
    assert!(status.success(), "it ended with {status}");
    let lines = soak.lines();
    let row = |label: &str| {
        let line = lines.iter().find(|line| line.starts_with(&format!("| {label} |")));
        line.and_then(|line| line.split('|').nth(2)).map(|cell| cell.trim().to_owned())
    };
    assert_eq!(row("connections closed under clients").as_deref(), Some("0"));
    assert_eq!(row("lost, and not told").as_deref(), Some("0"));
    let sent: u64 = row("messages sent").and_then(|sent| sent.parse().ok()).expect("they talked");
    assert!(sent > 60, "{sent} messages");
    println!("{}", lines.join("\n"));
}
