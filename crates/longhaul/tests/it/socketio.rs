//! Socket.IO on two replicas: every server, client, transport and cookie policy that people have.
//!
//! Long-polling spreads one session over many requests; a replica that does not know the session
//! answers 400. So each case that works shows that all its requests met one replica.

use std::collections::BTreeSet;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::{clients, s};

/// Cookies kept or not, over polling, WebSocket and the upgrade from one to the other.
const CASES: usize = 6;

#[track_caller]
fn every_client_works_in_front_of(file: &str) {
    let replicas = [App::start(file, "one"), App::start(file, "two")];
    let gateway = Gateway::before(&replicas.each_ref().map(|app| app.address));
    let mut used = BTreeSet::new();
    for client in ["socketio_node.mjs", "socketio_python.py", "socketio_browser.mjs"] {
        let lines = clients::run(client, &[&gateway.http()], s(120));
        let cases = lines.iter().filter(|line| line.starts_with("cookies ")).count();
        assert_eq!(cases, CASES, "{client}: {lines:#?}");
        let replicas = lines.iter().filter_map(|line| line.split_once(" on "));
        used.extend(replicas.flat_map(|(_, names)| names.split(' ').map(str::to_owned)));
    }
    // 72 connections: both replicas serve, or nothing was balanced.
    assert_eq!(used, BTreeSet::from(["one".to_owned(), "two".to_owned()]));
}

#[test]
fn every_client_works_in_front_of_two_node_servers() {
    every_client_works_in_front_of("socketio_node.mjs");
}

#[test]
fn every_client_works_in_front_of_two_python_servers() {
    every_client_works_in_front_of("socketio_python.py");
}

/// The control: without affinity the same clients fail, so the two stories above can fail.
#[test]
fn without_affinity_polling_breaks_on_two_replicas() {
    let file = "socketio_node.mjs";
    let replicas = [App::start(file, "one"), App::start(file, "two")];
    let addresses = replicas.each_ref().map(|app| app.address);
    let flags = ["--affinity", "none", "--balance", "round_robin"];
    let gateway = Gateway::with_flags(&addresses, &flags);
    let lines = clients::run_to_failure("socketio_node.mjs", &[&gateway.http()], s(60));
    assert!(lines.iter().any(|line| line.contains("polling")), "{lines:#?}");
}
