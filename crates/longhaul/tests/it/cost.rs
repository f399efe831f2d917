//! What an open WebSocket costs in memory, and a durable message in copies: what `docs/tune/cost.md` says, held against
//! the binary.

use std::fs;

use crate::support::apps::App;
use crate::support::frames;
use crate::support::gateway::Gateway;
use crate::support::raw::Raw;
use crate::support::{clients, s};

/// Bytes for each open WebSocket that the page promises. A debug build takes no more: what is open
/// for hours is the same in both.
const EACH_MAX: f64 = 2.0 * 1024.0;
/// What pages, tables that double and a neighbour's leftovers may add to a difference.
const BLUR: f64 = 200.0 * 1024.0;

#[test]
fn memory_is_a_base_and_two_kilobytes_for_each_open_websocket() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let mut open = Vec::new();
    // What is kept for good is made by a first crowd.
    grow(&gateway, &mut open, 250);
    open.clear();
    grow(&gateway, &mut open, 50);

    let base = memory(&gateway);
    grow(&gateway, &mut open, 450);
    let half = memory(&gateway);
    grow(&gateway, &mut open, 900);
    let whole = memory(&gateway);
    let (first, second) = (half - base, whole - half);
    println!("400: {:.0} B each, 450 more: {:.0} B each", first / 400.0, second / 450.0);
    assert!(first < 400.0 * EACH_MAX + BLUR, "{first} bytes for the first 400");
    assert!(second < 450.0 * EACH_MAX + BLUR, "{second} bytes for 450 more");

    // A megabyte through each of some, there and back, leaves nothing.
    let large = "x".repeat(1 << 20);
    for client in &mut open[..20] {
        frames::echo(client, &large);
    }
    let after = memory(&gateway);
    println!("after 1 MiB over 20 of them: {:+.0} B", after - whole);
    assert!(after - whole < 2.0 * BLUR + SCRATCH, "{} bytes stayed", after - whole);
}

/// Counted by what stands in front of the binary's `memcpy`; see `bench/copies`.
#[test]
fn a_durable_message_is_copied_once_whatever_its_size_and_way() {
    let measure = |more: &[&str]| {
        let gateway = ["--gateway", env!("CARGO_BIN_EXE_longhaul"), "--messages", "40"];
        // Beside one: what old payloads have left in a block that grows looks like a copy of some bytes.
        let sizes = ["--sizes", "16,1024,262144", "--most", "1.05"];
        let arguments = [&gateway[..], &sizes, more].concat();
        for line in clients::run("../../../bench/copies/measure.mjs", &arguments, s(120)) {
            println!("{line}");
        }
    };
    measure(&["--text", "--", "--on-replica-loss", "redial"]);
    measure(&["--fragments", "7"]);
}

/// What each worker reads into grows to its full size with the first large message.
const SCRATCH: f64 = 4.0 * 256.0 * 1024.0;

fn grow(gateway: &Gateway, open: &mut Vec<Raw>, count: usize) {
    while open.len() < count {
        let mut client = frames::open(gateway.address(), "/echo");
        frames::echo(&mut client, "hello");
        open.push(client);
    }
}

/// Memory of the process's own, in bytes: what it shares with others is not counted.
fn memory(gateway: &Gateway) -> f64 {
    let path = format!("/proc/{}/smaps_rollup", gateway.process.id());
    let text = fs::read_to_string(path).expect("the process runs and is ours");
    let line = text.lines().find(|line| line.starts_with("Pss_Anon:")).expect("Linux 5.4 or later");
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}
