//! What falls into the moment in which connections stand still, what is told of them afterwards, and a
//! second hop that fails.

use std::fs;
use std::path::PathBuf;
use std::thread;

use super::{Upgradable, upstream};
use crate::support::apps::{App, script};
use crate::support::gateway::longhaul;
use crate::support::process::Signal;
use crate::support::{e2e, frames, s, wait_until};
use crate::traces::{TRACE, span, traceparent};

/// The real binary behind one that holds a word back until the gate is there; `gate.here` says that it
/// does.
pub(super) fn slow_heir(upgradable: &Upgradable, held: &str) -> (PathBuf, String) {
    let gate = upgradable.directory.path().join("gate");
    let slow = script(&e2e().join("apps/slow_heir.py"));
    let program = longhaul().get_program().to_string_lossy().into_owned();
    let slow: Vec<_> = std::iter::once(slow.get_program())
        .chain(slow.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let run = format!("exec {} {} {held} {program} \"$@\"", slow.join(" "), gate.display());
    let slow = upgradable.program("slow", &run);
    (gate, slow)
}

#[test]
fn an_order_that_comes_while_everybody_stands_still_is_obeyed_by_the_new_binary() {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::start(&format!(
        "[timeouts]\nupgrade_step = \"1m\"\n{}",
        upstream(echo.address)
    ));
    let (mut told, mut other) =
        (frames::open(upgradable.address(), "/echo"), frames::open(upgradable.address(), "/echo"));
    frames::echo(&mut told, "before");
    let id = upgradable.json(&["connections"])["connections"][0]["id"].clone();
    let (gate, slow) = slow_heir(&upgradable, "fitted");
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| upgradable.ask(&["upgrade", "--binary", &slow]));
        wait_until("they stand still", s(60), || gate.with_extension("here").exists());
        let (is_told, said) = upgradable.ask(&["close", &id.to_string()]);
        assert!(is_told, "{said}");
        fs::write(&gate, "").unwrap();
        let (is_done, said) = upgrade.join().unwrap();
        assert!(is_done && said.contains("2 connections moved"), "{said}");
    });
    assert_eq!(frames::close_code(&mut told).unwrap(), 1001);
    frames::echo(&mut other, "nobody told it anything");
    upgradable.wait_settled(1);
    frames::echo(&mut other, "still");
}

/// The new binary starts, and cannot once more: what serves then goes on, behind the old process id.
#[test]
fn a_second_hop_that_fails_leaves_the_process_in_between_serving() {
    let echo = App::start("echo_ws.mjs", "one");
    let config = format!("[timeouts]\ndrain = \"2s\"\n{}", upstream(echo.address));
    let mut upgradable = Upgradable::start(&config);
    let mut client = frames::open(upgradable.address(), "/echo");
    let pid = upgradable.gateway.process.id();
    let program = longhaul().get_program().to_string_lossy().into_owned();
    let run = format!(
        "case \"$LONGHAUL_HANDOFF\" in\n\
         back:*) exec {program} run --config /no/such/file ;;\n\
         *) exec {program} \"$@\" ;;\nesac"
    );
    let half = upgradable.program("half", &run);
    let (is_done, said) = upgradable.ask(&["upgrade", "--binary", &half]);
    assert!(is_done && said.contains("1 connections moved"), "{said}");
    wait_until("the old process keeps its place", s(60), || {
        upgradable.logged("this one keeps its place") == 1
            && upgradable.logged("this process goes on serving") == 1
    });
    assert_eq!(upgradable.gateway.process.id(), pid);
    frames::echo(&mut client, "served by the one in between");
    frames::echo(&mut frames::open(upgradable.address(), "/echo"), "a new one, too");
    upgradable.gateway.process.signal(Signal::TERM);
    assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
    drop(client);
    assert_eq!(upgradable.gateway.process.end(s(60)).code(), Some(0));
}

#[test]
fn a_trace_that_began_before_ends_with_the_websocket_under_the_new_binary() {
    let collector = App::start("otlp_collector.py", "collector");
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::start(&format!(
        "[traces]\ncollector = \"http://{}/v1/traces\"\none_in = 1000000\nservice = \"edge\"\n{}",
        collector.address,
        upstream(echo.address)
    ));
    let opened = frames::try_open(upgradable.address(), "/echo", &traceparent(TRACE, "01"));
    let (mut client, _) = opened.unwrap();
    let upgrade = span(&collector, TRACE, "edge", "upgrade app");
    upgradable.upgrade(0);
    frames::echo(&mut client, "after");
    drop(client);
    let end = span(&collector, TRACE, "edge", "websocket closed");
    assert_eq!(end["parent"], upgrade["span"], "{end:#?}");
}
